package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// A Guest is an encrypted stream to a server on which nobody is signed in. It is for
// making an account: see package register. Its methods may be called from any goroutine,
// one question goes after the other.
type Guest struct {
	server   jid.JID
	features *confab.Element
	t        transport
	release  func()
	cfg      *Config

	turn chan struct{} // has one while a question is asked

	mu     sync.Mutex
	closed error // why the stream has ended
}

// OpenGuest reaches the server of Config.Address, a domain or an address there, as a
// Client with this Config would: with its encryption, proxy and certificates. Ctx bounds
// that; close the Guest when it is not needed any more.
func OpenGuest(ctx context.Context, cfg Config) (*Guest, error) {
	addr, err := jid.Parse(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("client: Config.Address: %w", err)
	}
	cfg.Address, cfg.Anonymous, cfg.Password, cfg.OAuthToken, cfg.Store = addr.Domain().String(), true, "", nil, nil
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	t, err := c.reach(ctx, c.cfg.Server)
	if err != nil {
		c.setClosing()
		return nil, err
	}
	g := &Guest{server: addr.Domain(), t: t, release: c.setClosing, cfg: &c.cfg, turn: make(chan struct{}, 1)}
	end := context.AfterFunc(ctx, func() { _ = t.Close() })
	if _, err = t.open(jid.JID{}, g.server); err == nil {
		g.features, err = nextFeatures(t)
	}
	if !end() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = t.Close()
		g.release()
		return nil, err
	}
	return g, nil
}

// Server returns the domain that was reached.
func (g *Guest) Server() jid.JID { return g.server }

// Features returns what the server offers before anybody has signed in.
func (g *Guest) Features() *confab.Element { return g.features }

// maxStray bounds what a server says unasked while a question waits.
const maxStray = 1000

// Ask sends a request, whose id it sets, and returns the answer; an answer of type error
// is a [stanza.Error]. Config.Timeout bounds it if ctx has no deadline. When ctx ends
// before the answer the stream is closed.
func (g *Guest) Ask(ctx context.Context, iq *confab.Element) (*confab.Element, error) {
	if !iq.Is(confab.NSClient, "iq") {
		return nil, errors.New("client: Ask takes an iq")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.cfg.Timeout)
		defer cancel()
	}
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := g.ended(nil); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	end := context.AfterFunc(ctx, func() { _ = g.t.Close() })
	res, err := g.ask(iq)
	if !end() { // the next question would find no stream
		if res == nil {
			err = ctx.Err()
		}
		_ = g.ended(ctx.Err())
	}
	if res != nil {
		return res, err
	}
	_ = g.t.Close()
	if was := g.ended(err); errors.Is(was, confab.ErrClosed) {
		return nil, was
	}
	return nil, err
}

// ended returns why the stream has ended, or nil. If it has not, an err is why it does now.
func (g *Guest) ended(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil && err != nil {
		g.closed = fmt.Errorf("client: the stream has ended: %w", err)
	}
	return g.closed
}

func (g *Guest) ask(iq *confab.Element) (*confab.Element, error) {
	id := confab.NewID()
	if err := g.t.send(iq.Clone().Set("id", id)); err != nil {
		return nil, err
	}
	for range maxStray {
		el, _, err := g.t.next()
		switch {
		case err != nil:
			return nil, err
		case el.Is(nsStream, "error"):
			return nil, streamError(el)
		case !el.Is(confab.NSClient, "iq"), el.Get("id") != id, el.Get("from") != "" && el.Get("from") != g.server.String():
			continue
		}
		switch el.Get("type") {
		case "result":
			return el, nil
		case "error":
			return el, *confab.StanzaError(el)
		}
	}
	return nil, errors.New("client: the server does not answer, but says other things")
}

// Close ends the stream, and with it a question that waits for its answer, whose error is
// [confab.ErrClosed].
func (g *Guest) Close() error {
	g.mu.Lock()
	was := g.closed
	g.closed = confab.ErrClosed
	g.mu.Unlock()
	if errors.Is(was, confab.ErrClosed) {
		return nil
	}
	g.release()
	select {
	case g.turn <- struct{}{}:
		if was == nil {
			// A server that reads no more does not hold this up.
			late := time.AfterFunc(g.cfg.Patience, func() { _ = g.t.Close() })
			_ = g.t.end()
			late.Stop()
		}
		<-g.turn
	default:
	}
	return g.t.Close()
}
