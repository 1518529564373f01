package jingle

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Reach says to whom connections are made, and so who learns the network address of this
// machine. Where no connection comes about the bytes go in stanzas.
type Reach uint8

const (
	// OwnProxies connects to nothing but the proxies of the own server.
	OwnProxies Reach = iota
	// Proxies connects also to what the other side offers as its proxy, which may be
	// anything: who sends the offer can learn the address.
	Proxies
	// Direct also listens, offers the addresses of this machine to the other side, and
	// connects to those that it offers: each learns those of the other, also in private
	// networks.
	Direct
)

// Config has the settings of a [Client]. The zero value is good, but that a client with a
// proxy or a dialer of its own needs Dial.
type Config struct {
	// Dial opens connections. That of client.Client.HTTPTransport().DialContext goes the
	// way that the account's connection goes. Nil stands for a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Reach says to whom connections are made.
	Reach Reach
	// Listen is where connections are taken with Direct; ":0" if it is "".
	Listen string
	// Addresses are those that are offered with Direct; nil stands for those of this
	// machine's interfaces.
	Addresses []string
	// Hosts are hosts that are connected to, as far as Reach goes, also when they are in a
	// private network. With Direct all private networks are.
	Hosts []string
	// AllowLoopback takes addresses on this machine: for tests and development.
	AllowLoopback bool
	// Sealed reports whether a conversation is encrypted: files for it are refused, with
	// upload.ErrClear, unless they are sent with [InClear].
	//
	//	Sealed: func(j jid.JID) bool { return keys.Mode(j) != omemo.Off }
	Sealed func(conversation jid.JID) bool
	// Bytestreams takes bytestreams without Jingle, as [Bytestream]; otherwise they are
	// refused.
	Bytestreams bool
	// BlockSize is how many bytes a stanza has; 0 stands for 4096 (XEP-0047 §3), 65535 is
	// the most.
	BlockSize int
	// Patience is how long a transfer may stand still; 0 stands for a minute.
	Patience time.Duration
	// OfferTime is how long an offer of others waits for the user; 0 stands for 10
	// minutes.
	OfferTime time.Duration
	// MaxPeer and MaxAll are how many sessions of one account, and of all, there may be at
	// once that others have begun; 0 stands for 8 and 64.
	MaxPeer, MaxAll int
}

// A Client sends and takes files. Make one with [New]. Its methods may be called from any
// goroutine.
type Client struct {
	s   confab.Session
	cfg Config

	refusals chan struct{} // bounds what is sent to those who are refused

	mu       sync.Mutex
	sessions map[key]*session
	streams  map[key]*inBand
	waiting  map[*Bytestream]struct{}
	proxies  []candidate // of the own server
	known    bool        // they were asked for
}

// key names a session or a bytestream: ids mean something only with who uses them.
type key struct{ peer, sid string }

// New puts file transfer on a session, before it runs. The error is
// [confab.ErrTaken] if something else on the session takes Jingle or bytestreams.
func New(s confab.Session, cfg Config) (*Client, error) {
	def := func(n *int, to int) {
		if *n <= 0 {
			*n = to
		}
	}
	def(&cfg.BlockSize, 4096)
	def(&cfg.MaxPeer, 8)
	def(&cfg.MaxAll, 64)
	cfg.BlockSize = min(cfg.BlockSize, 65535)
	if cfg.Patience <= 0 {
		cfg.Patience = time.Minute
	}
	if cfg.OfferTime <= 0 {
		cfg.OfferTime = 10 * time.Minute
	}
	if cfg.Listen == "" {
		cfg.Listen = ":0"
	}
	c := &Client{
		s: s, cfg: cfg, refusals: make(chan struct{}, 8),
		sessions: map[key]*session{}, streams: map[key]*inBand{}, waiting: map[*Bytestream]struct{}{},
	}
	for _, h := range []struct {
		space, local string
		f            confab.IQFunc
	}{
		{nsJingle, "jingle", c.onJingle}, {nsIBB, "open", c.onOpen}, {nsIBB, "data", c.onData},
		{nsIBB, "close", c.onClose}, {nsBytestreams, "query", c.onQuery},
	} {
		if err := s.HandleIQ(stanza.SetIQ, xml.Name{Space: h.space, Local: h.local}, h.f); err != nil {
			return nil, fmt.Errorf("jingle: %w", err)
		}
	}
	s.HandleMessage(confab.StageUnwrap, c.onMessage)
	s.HandlePresence(c.onPresence)
	s.OnDown(c.onDown)
	s.Advertise(nsJingle, nsFile, nsSOCKS, nsInBand, nsIBB)
	if cfg.Bytestreams {
		s.Advertise(nsBytestreams)
	}
	return c, nil
}

var (
	badRequest   = stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
	notFound     = stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	busy         = stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint}
	unacceptable = stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAcceptable}
)

// isFull reports whether an address is a client's.
func isFull(j jid.JID) bool { return j.Resourcepart() != "" }

// onJingle hands what comes to its session. It must not wait for anything.
func (c *Client) onJingle(_ context.Context, q *confab.IQ) (any, error) {
	a, err := parseAction(q.Payload)
	if err != nil || !isFull(q.From) {
		return nil, badRequest
	}
	c.mu.Lock()
	x := c.sessions[key{q.From.String(), a.sid}]
	c.mu.Unlock()
	if a.name == "session-initiate" {
		if x != nil {
			return c.refuse(q, stanza.Error{Type: stanza.Cancel, Condition: stanza.Conflict}, "tie-break")
		}
		return c.onInitiate(q, a)
	}
	if x == nil {
		return c.refuse(q, notFound, "unknown-session")
	}
	return x.take(q, a)
}

// refuse answers with an error that has a condition of Jingle's beside its own (XEP-0166
// §10).
func (c *Client) refuse(q *confab.IQ, se stanza.Error, condition string) (any, error) {
	el, err := confab.ToElement(se)
	if err != nil {
		return nil, err
	}
	c.answer(q, "error", el.Add(confab.El(nsJingleErrors, condition)))
	return nil, confab.ErrAnswered
}

// answer answers a request, later than its handler.
func (c *Client) answer(q *confab.IQ, typ string, payload ...*confab.Element) {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Patience)
	defer cancel()
	_ = c.s.SendElement(ctx, confab.El(confab.NSClient, "iq", payload...).Set("type", typ).Set("id", q.ID).Set("to", q.Stanza.Get("from")))
}

// ask sends a request to a client or a proxy and waits for its answer.
func (c *Client) ask(ctx context.Context, to jid.JID, payload *confab.Element) (*confab.Element, error) {
	return c.s.Ask(ctx, confab.El(confab.NSClient, "iq", payload).Set("type", "set").Set("to", to.String()))
}

// room reports whether somebody may begin one more session. The lock is held.
func (c *Client) room(from jid.JID) bool {
	all, theirs := len(c.waiting), 0
	for b := range c.waiting {
		if b.From.Bare().Equal(from.Bare()) {
			theirs++
		}
	}
	for _, x := range c.sessions {
		if x.initiator {
			continue
		}
		all++
		if x.peer.Bare().Equal(from.Bare()) {
			theirs++
		}
	}
	return all < c.cfg.MaxAll && theirs < c.cfg.MaxPeer
}

// onInitiate looks at what others begin, and tells the user.
func (c *Client) onInitiate(q *confab.IQ, a *action) (any, error) {
	if len(a.contents) == 0 {
		return nil, badRequest
	}
	k := a.contents[0]
	x := newSession(c, q.From, a.sid, false, k.senders == "responder")
	x.content, x.creator, x.senders = k.name, k.creator, k.senders
	reason := ""
	switch {
	case len(a.contents) > 1, !k.description.Is(nsFile, "description"), k.senders != "initiator" && k.senders != "responder", k.creator != "initiator":
		reason = "unsupported-applications"
	case !x.takeTransport(k.transport):
		reason = "unsupported-transports"
	}
	d, err := parseFile(k.description.Child(nsFile, "file"))
	if reason == "" && (err != nil || k.description.Child(nsFile, "file") == nil) {
		return nil, badRequest
	}
	if reason != "" {
		select {
		case c.refusals <- struct{}{}:
			c.s.Go(func(ctx context.Context) {
				defer func() { <-c.refusals }()
				x.sayEnd(ctx, reason, "")
			})
			return nil, nil
		default:
			return nil, busy
		}
	}
	c.mu.Lock()
	ok := c.room(q.From)
	if ok {
		c.sessions[x.key()] = x
	}
	c.mu.Unlock()
	if !ok {
		x.cancel(ErrBusy)
		return nil, busy
	}
	x.follow()
	p := &pending{x: x, d: d}
	p.timer = time.AfterFunc(c.cfg.OfferTime, func() {
		if p.answered.CompareAndSwap(false, true) {
			x.endWith("timeout", "", ErrUsed)
		}
	})
	context.AfterFunc(x.ctx, func() { p.timer.Stop() })
	file := d.File
	if x.sending {
		c.s.Emit(&Request{From: x.peer, File: file, Offset: d.offset, Length: d.length, p: p})
	} else {
		c.s.Emit(&Offer{From: x.peer, File: file, Offset: d.offset, Length: d.length, Ranges: d.ranged, p: p})
	}
	return nil, nil
}

// begin makes a session of ours.
func (c *Client) begin(to jid.JID, sending bool) (*session, error) {
	if !isFull(to) {
		return nil, errors.New("jingle: files go to a client: its full address is needed")
	}
	x := newSession(c, to, confab.NewID(), true, sending)
	x.content, x.creator, x.senders = "file", "initiator", "initiator"
	if !sending {
		x.senders = "responder"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[x.key()] = x
	x.follow()
	return x, nil
}

// forget takes a session away.
func (c *Client) forget(x *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[x.key()] == x {
		delete(c.sessions, x.key())
	}
}

// onPresence ends what is under way with clients that sign off.
func (c *Client) onPresence(_ context.Context, p *confab.Presence) error {
	if p.Type == stanza.UnavailablePresence && isFull(p.From) {
		c.endAll(ErrGone, func(peer jid.JID) bool { return peer.Equal(p.From) })
	}
	return nil
}

// onDown ends everything if the stream is gone for good: others cannot answer any more.
func (c *Client) onDown(_ error, lost bool) {
	if !lost {
		return
	}
	c.mu.Lock()
	c.proxies, c.known = nil, false
	c.mu.Unlock()
	c.endAll(confab.ErrLost, func(jid.JID) bool { return true })
}

func (c *Client) endAll(err error, of func(peer jid.JID) bool) {
	c.mu.Lock()
	var sessions []*session
	var streams []*inBand
	for _, x := range c.sessions {
		if of(x.peer) {
			sessions = append(sessions, x)
		}
	}
	for _, s := range c.streams {
		if of(s.peer) {
			streams = append(streams, s)
		}
	}
	for b := range c.waiting {
		if of(b.From) {
			delete(c.waiting, b)
		}
	}
	c.mu.Unlock()
	for _, x := range sessions {
		x.over(err)
	}
	for _, s := range streams {
		s.fail(err)
	}
}
