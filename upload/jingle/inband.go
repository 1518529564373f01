package jingle

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// How much of a bytestream may wait to be read: above inBandHold blocks are not
// acknowledged until there is room, and who sends on all the same is cut off.
const (
	inBandHold = 64 << 10
	inBandHeld = 16
)

var errOrder = fmt.Errorf("%w: a block that is not in order", ErrConnect)

// inBand is a bytestream in stanzas (XEP-0047).
type inBand struct {
	c     *Client
	peer  jid.JID
	sid   string
	block int

	session *session // whose it is, or nil

	opened chan struct{} // closed when the other side has opened it, or we have
	more   chan struct{} // something has changed

	mu       sync.Mutex
	open     bool
	messages bool // blocks come as messages
	blocks   [][]byte
	size     int
	held     []*confab.IQ
	seq      uint16 // of the next block that comes
	ended    error  // io.EOF if it was closed in order
	left     bool   // nobody reads any more

	wmu  sync.Mutex
	wseq uint16
	ctx  context.Context // of writing
	stop context.CancelFunc
}

// newInBand makes a bytestream, which takes blocks once it is open. It is nil if there is
// one of this name already.
func (c *Client) newInBand(peer jid.JID, t inBandTerms) *inBand {
	s := &inBand{c: c, peer: peer, sid: t.sid, block: t.block, opened: make(chan struct{}), more: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	k := key{peer.String(), t.sid}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[k] != nil {
		s.stop()
		return nil
	}
	c.streams[k] = s
	c.s.Go(func(ctx context.Context) {
		select {
		case <-ctx.Done():
			s.fail(confab.ErrClosed)
		case <-s.ctx.Done():
		}
	})
	return s
}

// expect makes the bytestream of a session, which the other side will open.
func (x *session) expect() error {
	s := x.c.newInBand(x.peer, *x.offered)
	if s == nil {
		return fmt.Errorf("%w: the bytestream is there already", ErrConnect)
	}
	s.session = x
	return nil
}

func (c *Client) inBand(peer jid.JID, sid string) *inBand {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[key{peer.String(), sid}]
}

func (c *Client) dropInBand(s *inBand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := (key{s.peer.String(), s.sid}); c.streams[k] == s {
		delete(c.streams, k)
	}
}

// onOpen answers an <open/>: only what was agreed on is opened.
func (c *Client) onOpen(_ context.Context, q *confab.IQ) (any, error) {
	sid, block, err := parseBlocks(q.Payload)
	if err != nil || !isFull(q.From) {
		return nil, badRequest
	}
	s := c.inBand(q.From, sid)
	if s == nil {
		return c.offered(q, &Bytestream{From: q.From, terms: &inBandTerms{sid, block}})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open || s.ended != nil:
		return nil, unacceptable
	case block > s.block:
		return nil, stanza.Error{Type: stanza.Modify, Condition: stanza.ResourceConstraint}
	}
	s.block = block
	s.setOpen(q.Payload.Get("stanza") == "message")
	return nil, nil
}

// setOpen is called with the lock held.
func (s *inBand) setOpen(messages bool) {
	s.open, s.messages = true, messages
	close(s.opened)
}

// onData takes a block.
func (c *Client) onData(_ context.Context, q *confab.IQ) (any, error) {
	s := c.inBand(q.From, q.Payload.Get("sid"))
	if s == nil {
		return nil, notFound
	}
	hold, err := s.push(q.Payload, q)
	switch {
	case err != nil:
		return nil, err
	case hold:
		return nil, confab.ErrAnswered
	}
	return nil, nil
}

// onMessage takes a block in a message.
func (c *Client) onMessage(_ context.Context, m *confab.Message) error {
	d := m.Stanza.Child(nsIBB, "data")
	if d == nil || m.Source != confab.Live {
		return nil
	}
	s := c.inBand(m.From, d.Get("sid"))
	if s == nil {
		return nil
	}
	_, _ = s.push(d, nil)
	return confab.ErrConsumed
}

// onClose ends a bytestream in order.
func (c *Client) onClose(_ context.Context, q *confab.IQ) (any, error) {
	s := c.inBand(q.From, q.Payload.Get("sid"))
	if s == nil {
		return nil, notFound
	}
	s.end(io.EOF)
	c.dropInBand(s)
	return nil, nil
}

// push takes a block, and reports whether it is to be acknowledged later.
func (s *inBand) push(d *confab.Element, q *confab.IQ) (hold bool, err error) {
	data, derr := decodeBlock(d.Text)
	seq, serr := strconv.ParseUint(d.Get("seq"), 10, 16)
	s.mu.Lock()
	switch {
	case !s.open || s.ended != nil:
		err = stanza.Error{Type: stanza.Cancel, Condition: stanza.UnexpectedRequest}
	case derr != nil || serr != nil || len(data) > s.block || len(d.Children) > 0:
		err = badRequest
	case uint16(seq) != s.seq:
		err = stanza.Error{Type: stanza.Cancel, Condition: stanza.UnexpectedRequest}
	case (q == nil) != s.messages:
		err = badRequest
	case s.left:
		err = notFound
	case len(s.held) >= inBandHeld || q == nil && s.size > inBandHold+inBandHeld*s.block:
		err = busy
	}
	if err != nil {
		was := s.ended
		s.mu.Unlock()
		if was == nil {
			s.fail(errOrder)
		}
		return false, err
	}
	s.seq++
	if len(data) > 0 {
		s.blocks, s.size = append(s.blocks, data), s.size+len(data)
	}
	if s.size > inBandHold && q != nil {
		s.held = append(s.held, q)
		hold = true
	}
	s.mu.Unlock()
	s.wake()
	return hold, nil
}

// decodeBlock reads base64 and refuses all but white space beside it (XEP-0047 §6).
func decodeBlock(text string) ([]byte, error) {
	text = strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, text)
	return base64.StdEncoding.Strict().DecodeString(text)
}

func (s *inBand) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// end ends it, with what it has to be read still.
func (s *inBand) end(err error) {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = err
	}
	held := s.held
	s.held = nil
	s.mu.Unlock()
	s.stop()
	s.wake()
	s.release(held)
}

// fail ends it because of an error.
func (s *inBand) fail(err error) {
	s.end(err)
	s.c.dropInBand(s)
}

func (s *inBand) release(held []*confab.IQ) {
	if len(held) > 0 {
		s.c.s.Go(func(context.Context) {
			for _, q := range held {
				s.c.answer(q, "result")
			}
		})
	}
}

// Read implements [io.Reader].
func (s *inBand) Read(p []byte) (int, error) {
	for {
		s.mu.Lock()
		if s.size > 0 && !s.left {
			n := copy(p, s.blocks[0])
			if s.blocks[0] = s.blocks[0][n:]; len(s.blocks[0]) == 0 {
				s.blocks[0] = nil
				s.blocks = s.blocks[1:]
			}
			s.size -= n
			var held []*confab.IQ
			if s.size <= inBandHold/2 {
				held, s.held = s.held, nil
			}
			s.mu.Unlock()
			s.release(held)
			return n, nil
		}
		err, left := s.ended, s.left
		s.mu.Unlock()
		switch {
		case left:
			return 0, io.ErrClosedPipe
		case err != nil:
			return 0, err
		}
		<-s.more
	}
}

// Write implements [io.Writer]. Each block is acknowledged before the next is sent.
func (s *inBand) Write(p []byte) (n int, err error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	for len(p) > 0 {
		if s.ctx.Err() != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.ended != nil && s.ended != io.EOF {
				return n, s.ended
			}
			return n, io.ErrClosedPipe
		}
		k := min(len(p), s.block)
		d := confab.El(nsIBB, "data").Set("sid", s.sid).Set("seq", strconv.Itoa(int(s.wseq))).
			SetText(base64.StdEncoding.EncodeToString(p[:k]))
		if _, err := s.c.ask(s.ctx, s.peer, d); err != nil {
			err = fmt.Errorf("%w: %w", ErrConnect, err)
			s.fail(err)
			return n, err
		}
		s.wseq++
		n += k
		p = p[k:]
	}
	return n, nil
}

// Close implements [io.Closer]. It tells the other side, without waiting for it.
func (s *inBand) Close() error {
	s.mu.Lock()
	first := !s.left && s.open && s.ended == nil
	s.left, s.blocks, s.size = true, nil, 0
	s.mu.Unlock()
	s.end(io.ErrClosedPipe)
	if first {
		s.c.s.Go(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			_, _ = s.c.ask(ctx, s.peer, confab.El(nsIBB, "close").Set("sid", s.sid))
		})
	}
	s.c.dropInBand(s)
	return nil
}

// openInBand opens a bytestream of our own.
func (c *Client) openInBand(ctx context.Context, peer jid.JID, t inBandTerms) (*inBand, error) {
	s := c.newInBand(peer, t)
	if s == nil {
		return nil, fmt.Errorf("%w: the bytestream is there already", ErrConnect)
	}
	s.mu.Lock()
	s.setOpen(false) // the other side may send as soon as it has answered
	s.mu.Unlock()
	_, err := c.ask(ctx, peer, confab.El(nsIBB, "open").Set("sid", t.sid).Set("block-size", strconv.Itoa(t.block)).Set("stanza", "iq"))
	if err != nil {
		s.fail(err)
		return nil, err
	}
	return s, nil
}

// inBandLink is the bytestream of a session: who has begun the session opens it (XEP-0261
// §2.2).
func (x *session) inBandLink(ctx context.Context) (io.ReadWriteCloser, error) {
	t := *x.offered
	if x.initiator {
		s, err := x.c.openInBand(ctx, x.peer, t)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConnect, err)
		}
		return s, nil
	}
	s := x.c.inBand(x.peer, t.sid)
	if s == nil || s.session != x {
		return nil, ErrConnect
	}
	late := time.NewTimer(x.c.cfg.Patience)
	defer late.Stop()
	for {
		select {
		case <-s.opened:
			return s, nil
		case <-x.in: // nothing of it matters any more
			continue
		case <-s.ctx.Done():
			select {
			case <-s.opened: // and closed again: there may be something to read
				return s, nil
			default:
				return nil, errOrder
			}
		case <-x.ctx.Done():
			_ = s.Close()
			return nil, context.Cause(x.ctx)
		case <-ctx.Done():
			_ = s.Close()
			return nil, context.Cause(ctx)
		case <-late.C:
			_ = s.Close()
			return nil, ErrStalled
		}
	}
}
