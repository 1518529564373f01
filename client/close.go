package client

import (
	"context"
	"errors"
	"time"

	"github.com/confab-im/confab"
)

// Close signs off: what was sent is delivered and acknowledged first, as long as
// ctx allows; then the stream is closed and Run returns nil. Without a link it
// waits for one, if there is anything to deliver. Messages that came in and were
// not handled are left to the server, which keeps them. Close does not wait for
// handlers, so it may be called from one, but not from a function given to OnDown. If ctx ends first its error is
// returned, and the link is cut.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	again := c.signoff
	c.signoff = true
	c.mu.Unlock()
	if again {
		// The first call is at it.
		select {
		case <-c.closeCtx.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer c.setClosing()
	if !c.running.Load() {
		return nil
	}
	err := c.out.drain(ctx)
	c.setClosing()
	c.mu.Lock()
	t, linked := c.t, c.linked
	c.mu.Unlock()
	if t == nil {
		return err
	}
	// The orderly end: the last word on what was handled, then the end of the
	// stream, which the server answers with its own.
	final := c.sm.final()
	c.sm.reset()
	end := make(chan error, 1)
	go func() {
		c.out.finish(final)
		end <- t.end()
	}()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-linked:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	case <-grace.C:
	}
	c.fail(confab.ErrClosed)
	<-end
	return err
}

// closeGrace is how long the server may take to close its side of the stream.
const closeGrace = 3 * time.Second
