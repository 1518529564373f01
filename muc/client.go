package muc

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Config has the settings of a [Client]. The zero value is good.
type Config struct {
	// PingAfter is how long a room may be silent before it is asked whether the user
	// is still there (XEP-0410); 10 minutes if 0, never if negative.
	PingAfter time.Duration
	// PingTimeout is how long an answer to that may take, and Patience how long an
	// attempt to enter a room again; a minute each if 0.
	PingTimeout, Patience time.Duration
	// Archives, if not nil, read what was said while the user was not in a room, where
	// the room keeps an archive; else the room is asked for its short history. Give it
	// the program's *mam.Archives.
	Archives Archives
}

// A Client is the user's rooms. Make one with [New]. Its methods may be called from
// any goroutine.
type Client struct {
	s     confab.Session
	cfg   Config
	slots chan struct{} // for attempts to enter again: so many at once
	ids   chat.IDs

	mu    sync.Mutex
	up    bool
	rooms map[string]*Room // by bare address

	watched map[string]jid.JID // services that tell of activity
}

// atOnce is how many rooms are entered again at once.
const atOnce = 16

// New puts rooms on a session, before it runs.
func New(s confab.Session, cfg Config) *Client {
	if cfg.PingAfter == 0 {
		cfg.PingAfter = 10 * time.Minute
	}
	if cfg.PingTimeout <= 0 {
		cfg.PingTimeout = time.Minute
	}
	if cfg.Patience <= 0 {
		cfg.Patience = time.Minute
	}
	c := &Client{s: s, cfg: cfg, slots: make(chan struct{}, atOnce), rooms: map[string]*Room{}}
	s.Advertise(NS, nsConference, nsOccupant, nsHats, nsModerate, nsMentioned)
	s.HandlePresence(c.presence)
	s.HandleMessage(confab.StageDecrypt, c.mark)
	s.HandleMessage(confab.StageInterpret, c.active)
	s.HandleMessage(confab.StageInterpret, c.message)
	s.HandleMessage(confab.StageError, c.bounced)
	c.watchArchives()
	s.OnUp(func(_ context.Context, fresh bool) error {
		all := c.Rooms()
		for _, r := range all { // before any of them can enter again
			r.linkUp(fresh)
		}
		c.mu.Lock()
		c.up = true
		c.mu.Unlock()
		for _, r := range all {
			r.poke()
		}
		return nil
	})
	// Behind the first presence: before it the service would hear of nobody.
	confab.On(s, func(ctx context.Context, e confab.Ready) {
		if e.Fresh {
			_ = c.watchAgain(ctx) // fails only when the session ends
		}
	})
	s.OnDown(func(err error, lost bool) {
		c.mu.Lock()
		c.up = false
		c.mu.Unlock()
		if !lost {
			return
		}
		for _, r := range c.Rooms() {
			r.linkLost(err)
		}
	})
	return c
}

// Room returns the room with an address if the user is in it, or about to enter it
// again; nil if not.
func (c *Client) Room(room jid.JID) *Room { return c.room(room) }

// room returns a room by the address of it or of an occupant.
func (c *Client) room(a jid.JID) *Room {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rooms) == 0 {
		return nil
	}
	return c.rooms[a.Bare().String()]
}

// Rooms returns all rooms that the user is in, or about to enter, sorted by address.
func (c *Client) Rooms() []*Room {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*Room, 0, len(c.rooms))
	for _, r := range c.rooms {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Room) int { return strings.Compare(a.key, b.key) })
	return all
}

func (c *Client) isUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// forget takes a room out of the list.
func (c *Client) forget(r *Room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rooms[r.key] == r {
		delete(c.rooms, r.key)
	}
}

// presence passes presence on to its room. That of rooms which were never entered is
// nobody's business.
func (c *Client) presence(_ context.Context, p *confab.Presence) error {
	if r := c.room(p.From); r != nil {
		r.presence(p)
	}
	return nil
}

// mark puts the sign of what is of a room on messages that lack it, so that nobody takes
// them for a chat with the room.
func (c *Client) mark(_ context.Context, m *confab.Message) error {
	switch m.Type {
	case stanza.ChatMessage, stanza.NormalMessage:
	default:
		return nil
	}
	if m.Stanza.Child(nsUser, "x") != nil || c.room(m.From) == nil {
		return nil
	}
	st := *m.Stanza
	st.Children = append(slices.Clip(st.Children), confab.El(nsUser, "x"))
	m.Stanza = &st
	return nil
}

// bounced looks again whether the user is still in a room that refuses a message.
func (c *Client) bounced(_ context.Context, m *confab.Message) error {
	if m.Err == nil || m.Err.Condition != stanza.NotAcceptable || m.From.Resourcepart() != "" {
		return nil
	}
	if r := c.room(m.From); r != nil {
		r.mu.Lock()
		r.doubt = true
		r.mu.Unlock()
		r.poke()
	}
	return nil
}

// backoff returns how long to wait after so many failures.
func backoff(fails int) time.Duration {
	d := min(2*time.Second<<min(fails, 8), 5*time.Minute)
	return d*3/4 + rand.N(d/2)
}
