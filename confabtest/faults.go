package confabtest

import (
	"errors"
	"time"

	"github.com/confab-im/confab"
)

var errCut = errors.New("confabtest: the connection was cut")

// CutAfterBytes cuts the connection when n bytes have been written to the client,
// counted from the beginning and before encryption. The client gets exactly
// those. Over WebSocket the message that has the last of them is not sent.
func (c *Conn) CutAfterBytes(n int64) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.q.cutBy(max(n, 0))
}

// CutAfterStanzas cuts the connection when n stanzas have been written to the
// client.
func (c *Conn) CutAfterStanzas(n int) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	if c.q.cutStanzas = n; c.q.stanzas >= n {
		c.q.cutBy(c.q.total)
	}
}

// CutAfterElements is CutAfterStanzas, counting every element: also stream
// features, those of the sign-in and of stream management.
func (c *Conn) CutAfterElements(n int) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	if c.q.cutElements = n; c.q.elements >= n {
		c.q.cutBy(c.q.total)
	}
}

// CutAfterReadBytes cuts the connection when n bytes of the client have been
// read. Stanzas that are complete by then are handled, and what the server says
// to them is written first.
func (c *Conn) CutAfterReadBytes(n int64) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.cutBytes = max(n, 0)
	c.gate.cond.Broadcast()
}

// CutAfterReadStanzas cuts the connection when n stanzas of the client have been
// handled. What the server has to say to the last of them is not written, but
// all that it had to say before is: the client cannot know that the last one
// arrived.
func (c *Conn) CutAfterReadStanzas(n int) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.cutStanzas = n
}

// Cut cuts the connection now, as if the network was gone.
func (c *Conn) Cut() { c.q.cutNow() }

// Delay holds everything that is written back for a while, keeping its order.
func (c *Conn) Delay(d time.Duration) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.q.delay = d
}

// Mute makes the server silent towards the client, or lets it go on: it reads and
// handles what comes, but writes nothing. What it has to say waits.
func (c *Conn) Mute(on bool) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.q.muted = on
	c.q.cond.Broadcast()
}

// Stall makes the server stop reading from the client, or lets it go on.
func (c *Conn) Stall(on bool) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.stalled = on
	c.gate.cond.Broadcast()
}

// Tamper has f decide what becomes of each stanza for the client: it is replaced
// by what f returns, none or several. f must not change e, but may return a
// changed copy. It runs before stream management counts and must not call the
// server. With a nil f, that ends.
func (c *Conn) Tamper(f func(e *confab.Element) []*confab.Element) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.tamper = f
}

// Drop has stanzas for the client that match vanish. It is a form of
// [Conn.Tamper].
func (c *Conn) Drop(match func(e *confab.Element) bool) {
	c.Tamper(func(e *confab.Element) []*confab.Element {
		if match(e) {
			return nil
		}
		return []*confab.Element{e}
	})
}

// Duplicate has stanzas for the client that match be sent twice. It is a form of
// [Conn.Tamper].
func (c *Conn) Duplicate(match func(e *confab.Element) bool) {
	c.Tamper(func(e *confab.Element) []*confab.Element {
		if match(e) {
			return []*confab.Element{e, e}
		}
		return []*confab.Element{e}
	})
}

// Forge has stanzas for the client that match come from somebody else, or from
// nobody if from is "". It is a form of [Conn.Tamper].
func (c *Conn) Forge(match func(e *confab.Element) bool, from string) {
	c.Tamper(func(e *confab.Element) []*confab.Element {
		if match(e) {
			e = with(e).Set("from", from)
		}
		return []*confab.Element{e}
	})
}

// EndStream ends the stream with a stream error such as "reset", and the session
// with it.
func (c *Conn) EndStream(condition, text string) {
	c.srv.lock()
	defer c.srv.unlock()
	c.endWith(condition, text)
}

func (c *Conn) tampered(e *confab.Element) []*confab.Element {
	c.q.mu.Lock()
	f := c.tamper
	c.q.mu.Unlock()
	if f == nil {
		return []*confab.Element{e}
	}
	return f(e)
}
