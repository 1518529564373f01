package jingle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Bytestream is the event for a bytestream that somebody wants to open, without Jingle,
// with Config.Bytestreams. It ends after a minute: that long the other side waits.
type Bytestream struct {
	// From is the client that opens it.
	From jid.JID
	// SID is the id that it has given it.
	SID string
	// InBand says that it goes in stanzas (XEP-0047), and not over a proxy or another
	// connection (XEP-0065).
	InBand bool

	c     *Client
	q     *confab.IQ
	terms *inBandTerms
	hosts []candidate
	timer *time.Timer
}

// offered tells the user of a bytestream, or refuses it.
func (c *Client) offered(q *confab.IQ, b *Bytestream) (any, error) {
	if !c.cfg.Bytestreams {
		return nil, unacceptable
	}
	b.c, b.q, b.SID, b.InBand = c, q, q.Payload.Get("sid"), b.terms != nil
	c.mu.Lock()
	ok := c.room(b.From)
	if ok {
		c.waiting[b] = struct{}{}
		b.timer = time.AfterFunc(min(c.cfg.OfferTime, time.Minute), func() { _ = b.Decline(context.Background()) })
	}
	c.mu.Unlock()
	if !ok {
		return nil, busy
	}
	c.s.Emit(b)
	return nil, confab.ErrAnswered
}

// use has the user's answer be the only one.
func (b *Bytestream) use() error {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	if _, ok := b.c.waiting[b]; !ok {
		return ErrUsed
	}
	delete(b.c.waiting, b)
	b.timer.Stop()
	return nil
}

func (b *Bytestream) refuse(se stanza.Error) {
	el, err := confab.ToElement(se)
	if err == nil {
		b.c.answer(b.q, "error", el)
	}
}

// Decline refuses the bytestream.
func (b *Bytestream) Decline(context.Context) error {
	if err := b.use(); err != nil {
		return err
	}
	b.refuse(unacceptable)
	return nil
}

// Accept opens the bytestream. A read returns [io.EOF] when the other side has closed it.
func (b *Bytestream) Accept(ctx context.Context) (io.ReadWriteCloser, error) {
	if err := b.use(); err != nil {
		return nil, err
	}
	if b.terms != nil {
		t := *b.terms
		if t.block > b.c.cfg.BlockSize && b.c.cfg.BlockSize > 4096 || t.block > 65535 {
			b.refuse(stanza.Error{Type: stanza.Modify, Condition: stanza.ResourceConstraint})
			return nil, fmt.Errorf("%w: the blocks are too large", ErrConnect)
		}
		s := b.c.newInBand(b.From, t)
		if s == nil {
			b.refuse(unacceptable)
			return nil, fmt.Errorf("%w: there is one of this name", ErrConnect)
		}
		s.mu.Lock()
		s.setOpen(b.q.Payload.Get("stanza") == "message")
		s.mu.Unlock()
		b.c.answer(b.q, "result")
		return s, nil
	}
	me := b.c.s.LocalAddr()
	dst := digest(b.SID, b.From, me)
	r := b.c.try(ctx, b.hosts, func(candidate) string { return dst }, nil)
	if r.conn == nil {
		b.refuse(notFound)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, ErrConnect
	}
	b.c.answer(b.q, "result", confab.El(nsBytestreams, "query", confab.El(nsBytestreams, "streamhost-used").Set("jid", r.jid)).Set("sid", b.SID))
	return r.conn, nil
}

// onQuery reads what a bytestream over a connection is offered by (XEP-0065 §5.3.1).
func (c *Client) onQuery(ctx context.Context, q *confab.IQ) (any, error) {
	if !isFull(q.From) || !good(q.Payload.Get("sid")) || q.Payload.Get("mode") == "udp" {
		return nil, badRequest
	}
	return c.offered(q, &Bytestream{From: q.From, hosts: parseHosts(q.Payload, q.From)})
}

// parseHosts reads streamhosts. The first is the best.
func parseHosts(el *confab.Element, from jid.JID) (list []candidate) {
	for h := range el.All(nsBytestreams, "streamhost") {
		port, err := strconv.ParseUint(h.Get("port"), 10, 16)
		by, jerr := jid.Parse(h.Get("jid"))
		if err != nil || port == 0 || jerr != nil || !goodHost(h.Get("host")) || len(list) == maxCandidates {
			continue
		}
		k := candidate{host: h.Get("host"), jid: by.String(), port: int(port), typ: "proxy", priority: uint32(maxCandidates - len(list))}
		if by.Equal(from) {
			k.typ = "direct"
		}
		list = append(list, k)
	}
	return list
}

// Open opens a bytestream to a client, by its full address, for any purpose: over the own
// server's proxy or, with [Direct], a direct connection (XEP-0065); with [InBand], or if
// there is neither, in stanzas (XEP-0047). Other options mean nothing here.
func (c *Client) Open(ctx context.Context, to jid.JID, opts ...Option) (io.ReadWriteCloser, error) {
	if !isFull(to) {
		return nil, errors.New("jingle: a bytestream goes to a client: its full address is needed")
	}
	if !optionsOf(opts).inBand {
		conn, err := c.open(ctx, to)
		if err == nil || !errors.Is(err, errNoWay) {
			return conn, err
		}
	}
	s, err := c.openInBand(ctx, to, inBandTerms{confab.NewID(), c.cfg.BlockSize})
	if err != nil {
		return nil, refusal(err)
	}
	return s, nil
}

func refusal(err error) error {
	var se stanza.Error
	if errors.As(err, &se) {
		switch se.Condition {
		case stanza.NotAcceptable, stanza.Forbidden:
			return fmt.Errorf("%w: %w", ErrDeclined, err)
		case stanza.ServiceUnavailable, stanza.FeatureNotImplemented:
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return err
}

// open is Open over a connection.
func (c *Client) open(ctx context.Context, to jid.JID) (io.ReadWriteCloser, error) {
	sid := confab.NewID()
	dst := digest(sid, c.s.LocalAddr(), to)
	hosts, own := c.hosts(ctx, dst)
	defer own.close()
	if len(hosts) == 0 {
		return nil, errNoWay
	}
	q := confab.El(nsBytestreams, "query").Set("sid", sid).Set("mode", "tcp")
	for _, h := range hosts {
		q.Add(confab.El(nsBytestreams, "streamhost").Set("jid", h.jid).Set("host", h.host).Set("port", strconv.Itoa(h.port)))
	}
	res, err := c.ask(ctx, to, q)
	var se stanza.Error
	if errors.As(err, &se) && (se.Condition == stanza.ItemNotFound || se.Condition == stanza.ServiceUnavailable || se.Condition == stanza.FeatureNotImplemented) {
		return nil, fmt.Errorf("%w: %w", errNoWay, err)
	}
	if err != nil {
		return nil, refusal(err)
	}
	used := res.Child(nsBytestreams, "query").Child(nsBytestreams, "streamhost-used").Get("jid")
	for _, h := range hosts {
		if h.jid != used {
			continue
		}
		if h.typ == "proxy" {
			return c.activate(ctx, h, sid, dst, to)
		}
		return own.take(ctx, connectTime)
	}
	return nil, fmt.Errorf("%w: streamhost-used", errMalformed)
}
