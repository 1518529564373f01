package client

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/confab-im/confab/internal/discover"
)

// connect finds a server, connects and signs in.
func (c *Client) connect(ctx context.Context, server string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(c.closeCtx, cancel)
	defer stop()
	t, err := c.reach(ctx, server)
	if err != nil {
		return nil, err
	}
	end := context.AfterFunc(ctx, func() { _ = t.Close() })
	s, err := c.negotiate(ctx, t)
	if !end() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = t.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("client: signing in: %w", ctx.Err())
		}
		return nil, err
	}
	return s, nil
}

// reach finds a server and makes an encrypted transport.
func (c *Client) reach(ctx context.Context, server string) (transport, error) {
	d := c.cfg.discovery(c.account.Domainpart())
	c.sm.mu.Lock()
	location := c.sm.location
	c.sm.mu.Unlock()
	noTCP := onlyWebSocket || c.cfg.WebSocket
	if d.Override = server; server == "" && location != "" && !noTCP && c.sm.resumable() {
		d.Override = location // the server that has our stream (XEP-0198 §3)
	}
	prepare := func(ctx context.Context, conn net.Conn, t discover.Target) (transport, error) {
		if t.URL != "" {
			return c.prepareWS(ctx, t.URL)
		}
		return c.prepareTCP(ctx, conn, t.Direct)
	}
	var first error
	if !noTCP || d.Override != "" {
		targets, err := d.Targets(ctx)
		if err == nil {
			var t transport
			if t, _, err = discover.Race(ctx, d, targets, prepare); err == nil {
				return t, nil
			}
		}
		if server == "" && d.Override != "" { // the location hint was of no use
			c.sm.mu.Lock()
			c.sm.location = ""
			c.sm.mu.Unlock()
		}
		first = connectError(err)
		var ee *EncryptionError
		if d.Override != "" || ctx.Err() != nil || isPermanent(err) || errors.As(err, &ee) {
			return nil, only(first)
		}
	}
	targets, err := d.WebSockets(ctx)
	if err == nil && len(targets) == 0 {
		err = fmt.Errorf("client: the host-meta file of %s names no WebSocket", c.account.Domainpart())
	}
	if err == nil {
		var t transport
		if t, _, err = discover.Race(ctx, d, targets, prepare); err == nil {
			return t, nil
		}
	}
	if first != nil {
		return nil, only(first)
	}
	return nil, only(connectError(err))
}

// only returns the reason itself if there was but one attempt that got far
// enough to have one of its own, so that callers see what matters.
func only(err error) error {
	var ce *ConnectError
	if errors.As(err, &ce) && len(ce.Attempts) == 1 {
		switch e := ce.Attempts[0].Err.(type) {
		case *EncryptionError, *StreamError:
			return e
		}
	}
	return err
}
