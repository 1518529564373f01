package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

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

	mu     sync.Mutex // held while a question is asked
	closed error
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
	g := &Guest{server: addr.Domain(), t: t, release: c.setClosing}
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
// is a [stanza.Error]. When ctx ends before the answer the stream is closed.
func (g *Guest) Ask(ctx context.Context, iq *confab.Element) (*confab.Element, error) {
	if !iq.Is(confab.NSClient, "iq") {
		return nil, errors.New("client: Ask takes an iq")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		return nil, g.closed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	end := context.AfterFunc(ctx, func() { _ = g.t.Close() })
	res, err := g.ask(iq)
	if !end() && err != nil {
		err = ctx.Err()
	}
	if res == nil && err != nil {
		g.closed = fmt.Errorf("client: the stream has ended: %w", err)
		_ = g.t.Close()
		return nil, err
	}
	return res, err
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

// Close ends the stream.
func (g *Guest) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if errors.Is(g.closed, confab.ErrClosed) {
		return nil
	}
	if g.closed == nil {
		_ = g.t.end()
	}
	g.closed = confab.ErrClosed
	g.release()
	return g.t.Close()
}
