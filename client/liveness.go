package client

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
)

// liveness finds links that are dead and do not say so. It is a timer, not a
// goroutine.
type liveness struct {
	c      *Client
	parked atomic.Bool // the reader waits for the handlers: silence is our own

	mu    sync.Mutex
	t     transport
	timer *time.Timer
	probe time.Time // when a sign of life was asked for; zero if none is due
}

func (l *liveness) start(t transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t, l.probe = t, time.Time{}
	if l.timer == nil {
		l.timer = time.AfterFunc(l.period(), l.check)
	} else {
		l.timer.Reset(l.period())
	}
}

func (l *liveness) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *liveness) period() time.Duration { return min(l.c.cfg.Keepalive, l.c.cfg.Patience) }

// check looks when something came last: after Keepalive it asks for a sign of
// life, after Patience without one it ends the link. Stanzas that were sent are
// followed by a question anyway, so that a link which swallows them is found
// within twice Patience.
func (l *liveness) check() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t == nil {
		return
	}
	now, last := time.Now(), l.t.lastRead()
	if asked := l.c.out.askedAt(); l.probe.IsZero() && !asked.IsZero() {
		l.probe = asked
	}
	if !l.probe.IsZero() && !last.Before(l.probe) { // also at the same instant, as fake clocks have it
		l.probe = time.Time{}
		if asked := l.c.out.askedAt(); !asked.IsZero() && now.Sub(asked) > 2*l.c.cfg.Patience && !l.parked.Load() {
			// It talks, but will not say what it has: what we send would pile up.
			l.c.fail(ErrTimeout)
			return
		}
	}
	next := l.period()
	switch {
	case l.parked.Load():
		l.probe = time.Time{}
	case !l.probe.IsZero():
		left := l.c.cfg.Patience - now.Sub(l.probe)
		if left <= 0 {
			l.c.fail(ErrTimeout)
			return
		}
		next = min(next, left)
	case now.Sub(last) >= l.c.cfg.Keepalive:
		l.probe = now
		l.c.ping()
		next = l.c.cfg.Patience
	default:
		next = min(next, l.c.cfg.Keepalive-now.Sub(last))
	}
	l.timer.Reset(max(next, time.Millisecond))
}

// ping asks the server for a sign of life, the cheapest way there is.
func (c *Client) ping() {
	c.out.mu.Lock()
	acks := c.out.acks
	c.out.mu.Unlock()
	if acks {
		c.out.ask()
		return
	}
	// Without stream management nothing is counted, so this may pass by the
	// queue of stanzas.
	c.out.say("<iq xmlns='jabber:client' type='get' id='" + confab.NewID() + "' to='" + escape(c.account.Domain().String()) + "'><ping xmlns='urn:xmpp:ping'/></iq>")
}

// Alive asks at once whether the link is still there, for programs that know of
// a change of network or a wake-up from sleep. The link is ended, and made anew,
// if nothing comes within Patience.
func (c *Client) Alive() {
	c.live.mu.Lock()
	defer c.live.mu.Unlock()
	if c.live.t == nil {
		return
	}
	c.live.probe = time.Now()
	c.ping()
	c.live.timer.Reset(c.cfg.Patience)
}

// SetActive tells the server whether a person is looking (XEP-0352). While
// nobody is, it may hold back what can wait, such as presence and typing
// notifications. It is told again on every new link. Bots stay active.
func (c *Client) SetActive(active bool) {
	c.mu.Lock()
	c.passive = !active
	say := c.csi && c.t != nil
	c.mu.Unlock()
	if !say {
		return
	}
	if active {
		c.out.say("<active xmlns='urn:xmpp:csi:0'/>")
	} else {
		c.out.say("<inactive xmlns='urn:xmpp:csi:0'/>")
	}
}
