package disco

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Config are the settings of a [Client].
type Config struct {
	// Store keeps answers between runs of the program. Nil keeps them in memory.
	Store Store
}

// Bounds of what a Client keeps in memory.
const (
	maxEntities = 32768 // whose hashes are known
	maxInfos    = 4096
	maxBytes    = 8 << 20 // of infos, as XML
)

// patience is how long one of several holders of a hash is waited for.
const patience = 30 * time.Second

// others is how many further holders of a hash are asked if the first fails.
const others = 2

// A Client remembers what others can do. Make one with [New].
type Client struct {
	s     confab.Session
	store Store

	mu       sync.Mutex
	entities *lru[string, *hashed]          // by full JID
	hashes   map[notice]*hashed             // those that entities refer to
	clients  map[string]map[string]struct{} // the keys of entities, by bare JID
	infos    *lru[flightKey, *Info]         // by hash, or by JID
	flights  map[flightKey]*flight
	stream   int // how many streams were lost: answers do not outlast theirs

	servicesLock chan struct{} // held while services are asked
	services     []Service     // what follows is guarded by mu
	servicesTill time.Time
}

// hashed is a hash that entities have.
type hashed struct {
	notice
	refs int
	// alone says that asking under this hash has failed or that it cannot be checked:
	// each holder is asked for itself.
	alone bool
}

// flightKey says what is asked: a hash, or an entity for itself.
type flightKey struct {
	announced
	jid string
}

// A flight is a request whose answer others may wait for.
type flight struct {
	done   chan struct{}
	info   Info // these three are set when done is closed
	err    error
	gaveUp bool   // because who asked did not want to wait any longer
	asked  string // who is being asked, guarded by the Client's lock
	cancel context.CancelFunc
}

// New makes a Client of a session, before the session runs.
func New(s confab.Session, cfg Config) *Client {
	c := &Client{
		s: s, store: cfg.Store,
		hashes: map[notice]*hashed{}, flights: map[flightKey]*flight{},
		infos:        newLRU[flightKey, *Info](maxInfos, maxBytes, nil),
		servicesLock: make(chan struct{}, 1),
	}
	c.clients = map[string]map[string]struct{}{}
	c.entities = newLRU[string](maxEntities, maxEntities, c.unref)
	s.HandlePresence(c.presence)
	s.OnDown(c.down)
	return c
}

// unref is called with the lock for an entity that is forgotten.
func (c *Client) unref(key string, h *hashed) {
	bare, _, _ := strings.Cut(key, "/")
	delete(c.clients[bare], key)
	if len(c.clients[bare]) == 0 {
		delete(c.clients, bare)
	}
	if h.refs--; h.refs == 0 {
		delete(c.hashes, h.notice)
	}
}

// presence notes the hashes of those who are there. It asks nothing.
func (c *Client) presence(_ context.Context, p *confab.Presence) error {
	switch p.Type {
	case stanza.AvailablePresence:
		n, ok := noticed(p.Stanza)
		if !ok {
			return nil // XEP-0115 §8.4: the server leaves out what has not changed
		}
		key := p.From.String()
		c.mu.Lock()
		defer c.mu.Unlock()
		if h, ok := c.entities.get(key); ok {
			if h.notice == n {
				return nil
			}
			c.forget(key)
		}
		h := c.hashes[n]
		if h == nil {
			n = n.clone()
			h = &hashed{notice: n, alone: n.algo == ""}
			c.hashes[n] = h
		}
		h.refs++
		key = strings.Clone(key)
		c.entities.put(key, h, 1)
		bare, _, _ := strings.Cut(key, "/")
		if c.clients[bare] == nil {
			c.clients[bare] = map[string]struct{}{}
		}
		c.clients[bare][key] = struct{}{}
	case stanza.UnavailablePresence, stanza.ErrorPresence:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.forget(p.From.String())
		if leftRoom(p) {
			// Only those of that address are looked at: anybody may send this.
			for key := range c.clients[p.From.Bare().String()] {
				c.forget(key)
			}
		}
	}
	return nil
}

// leftRoom reports whether a presence says that this client is in a room no more:
// the other occupants leave it without a word.
func leftRoom(p *confab.Presence) bool {
	const ns = "http://jabber.org/protocol/muc#user"
	self, nick := false, false
	for st := range p.Stanza.Child(ns, "x").All(ns, "status") {
		self = self || st.Get("code") == "110"
		nick = nick || st.Get("code") == "303"
	}
	return self && !nick
}

// forget drops what is known of an entity, and lets those who wait for its answer ask
// somebody else. The lock is held.
func (c *Client) forget(key string) {
	if h, ok := c.entities.get(key); ok {
		if f := c.flights[flightKey{announced: h.announced}]; f != nil && f.asked == key {
			f.cancel()
		}
	}
	c.entities.remove(key)
	c.infos.remove(flightKey{jid: key})
}

// down forgets all that belongs to a stream that is lost. Hashes stay true.
func (c *Client) down(_ error, lost bool) {
	if !lost {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream++
	c.entities.removeIf(func(string) bool { return true })
	c.infos.removeIf(func(k flightKey) bool { return k.jid != "" })
	c.services, c.servicesTill = nil, time.Time{}
}

// Server returns what the own server can do. It is asked once per stream.
func (c *Client) Server(ctx context.Context) (Info, error) {
	return c.Info(ctx, c.s.LocalAddr().Domain())
}

// Account returns what the server does for the own account, such as PEP or an
// archive. It is asked once per stream.
func (c *Client) Account(ctx context.Context) (Info, error) {
	return c.Info(ctx, c.s.LocalAddr().Bare())
}

// Services is [Services], asked once per stream; if some did not answer they
// are asked again after a minute.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	select {
	case c.servicesLock <- struct{}{}:
		defer func() { <-c.servicesLock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	found, till, stream := c.services, c.servicesTill, c.stream
	c.mu.Unlock()
	if time.Now().Before(till) {
		return found, nil
	}
	found, complete, err := services(ctx, c.s)
	if err != nil {
		return nil, err
	}
	keep := time.Minute
	if complete {
		keep = 24 * time.Hour
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == stream {
		c.services, c.servicesTill = found, time.Now().Add(keep)
	}
	return found, nil
}

// Find is [Find] over what Services remembers.
func (c *Client) Find(ctx context.Context, feature string) ([]Service, error) {
	all, err := c.Services(ctx)
	return having(all, feature), err
}

// FindIdentity is [FindIdentity] over what Services remembers.
func (c *Client) FindIdentity(ctx context.Context, category, typ string) ([]Service, error) {
	all, err := c.Services(ctx)
	return being(all, category, typ), err
}

// Known returns what an entity can do if that is known without asking.
func (c *Client) Known(j jid.JID) (Info, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, _, ok := c.known(j.String())
	return info, ok
}

// known looks at what is in memory. The lock is held.
func (c *Client) known(key string) (Info, *hashed, bool) {
	h, hashed := c.entities.get(key)
	if info, ok := c.infos.get(flightKey{jid: key}); ok {
		return *info, h, true
	}
	if hashed && h.algo != "" {
		if info, ok := c.infos.get(flightKey{announced: h.announced}); ok {
			return *info, h, true
		}
	}
	return Info{}, h, false
}

// Info returns what an entity can do: a client, named by its full JID, an occupant of
// a room, a service. It asks if the answer is not known by the hash in the entity's
// last presence, and many who want to know the same wait for one answer. An
// entity that has sent no hash is asked each time.
func (c *Client) Info(ctx context.Context, j jid.JID) (Info, error) {
	key := j.String()
	for {
		c.mu.Lock()
		info, h, ok := c.known(key)
		if ok {
			c.mu.Unlock()
			return info, nil
		}
		k := flightKey{jid: key}
		if h != nil && !h.alone {
			k = flightKey{announced: h.announced}
		}
		f := c.flights[k]
		if f == nil {
			f = &flight{done: make(chan struct{}), cancel: func() {}}
			c.flights[k] = f
			c.mu.Unlock()
			if info, final, err := c.lead(ctx, f, k, j, h); final {
				return info, err
			}
			continue
		}
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return Info{}, fmt.Errorf("disco: %s: %w", j, ctx.Err())
		}
		if f.err == nil {
			return f.info, nil
		}
		if k.jid != "" && !f.gaveUp || over(f.err) {
			return Info{}, f.err
		}
		// Who asked gave up, or the hash is of no use: ask for oneself.
	}
}

// errHash ends a flight that has not found what has the hash.
var errHash = errors.New("disco: nobody has given the answer that has the hash")

// lead asks on behalf of all who wait for f, and returns the answer for j. Final is
// false if there is none: j is to be asked for itself.
func (c *Client) lead(ctx context.Context, f *flight, k flightKey, j jid.JID, h *hashed) (info Info, final bool, err error) {
	if k.jid != "" {
		info, _, err = c.ask(ctx, j, "", h)
		c.land(ctx, f, k, info, err)
		return info, true, err
	}
	if info, ok := c.load(ctx, k.announced); ok {
		info, _ = c.keep(k, info)
		c.land(ctx, f, k, info, nil)
		return info, true, nil
	}
	var own *Info // of j, if its hash is wrong: that counts for it alone
	who := []jid.JID{j}
	for i := 0; i < len(who) && i <= others; i++ {
		got, verified, err := c.try(ctx, f, who[i], h)
		switch {
		case err == nil && verified:
			c.land(ctx, f, k, got, nil)
			if own != nil {
				got = *own
			}
			return got, true, nil
		case ctx.Err() != nil, over(err):
			c.land(ctx, f, k, Info{}, err)
			return Info{}, true, err
		}
		if i == 0 {
			if err == nil {
				own = &got
			}
			who = append(who, c.holders(h, j)...)
		}
	}
	c.mu.Lock()
	h.alone = true
	c.mu.Unlock()
	c.land(ctx, f, k, Info{}, errHash)
	if own != nil {
		return *own, true, nil
	}
	return Info{}, false, nil
}

// land ends a flight.
func (c *Client) land(ctx context.Context, f *flight, k flightKey, info Info, err error) {
	c.mu.Lock()
	f.info, f.err, f.gaveUp = info, err, err != nil && ctx.Err() != nil
	delete(c.flights, k)
	c.mu.Unlock()
	close(f.done)
}

// over reports whether an error is that of the session and not of who was asked.
func over(err error) bool {
	return errors.Is(err, confab.ErrClosed) || errors.Is(err, confab.ErrLost)
}

// try asks one holder of a hash until it leaves.
func (c *Client) try(ctx context.Context, f *flight, j jid.JID, h *hashed) (Info, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c.mu.Lock()
	f.asked, f.cancel = j.String(), cancel
	c.mu.Unlock()
	return c.ask(ctx, j, h.query(), h)
}

// holders returns some who have the same hash as j.
func (c *Client) holders(h *hashed, j jid.JID) (list []jid.JID) {
	self := j.String()
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, el := range c.entities.m {
		if len(list) == others {
			break
		}
		if el.Value.(*lruEntry[string, *hashed]).v != h || key == self {
			continue
		}
		if other, err := jid.Parse(key); err == nil {
			list = append(list, other)
		}
	}
	return list
}

// ask asks j, which has the hash h if that is not nil, and keeps the answer: under
// the hash if it is right, else for j.
func (c *Client) ask(ctx context.Context, j jid.JID, node string, h *hashed) (info Info, verified bool, err error) {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	res, err := c.s.Ask(ctx, confab.El(confab.NSClient, "iq",
		confab.El(NSInfo, "query").Set("node", node)).Set("type", "get").Set("to", j.String()))
	if err != nil {
		return Info{}, false, fmt.Errorf("disco: %s: %w", j, err)
	}
	q := res.Child(NSInfo, "query")
	if info, err = ParseInfo(q); err != nil {
		return Info{}, false, fmt.Errorf("disco: %s: %w", j, err)
	}
	if h != nil {
		lang, _ := res.Lookup(nsXML, "lang")
		var right Info
		if right, verified = h.verify(q, lang); verified {
			right, b := c.keep(flightKey{announced: h.announced}, right)
			c.save(ctx, h.announced, b)
			c.mu.Lock()
			h.alone = false
			c.mu.Unlock()
			return right, true, nil
		}
	}
	info.Node = ""
	c.mu.Lock()
	now, there := c.entities.get(j.String())
	same := c.stream == stream && (there && now == h || h == nil && !there && c.own(j))
	c.mu.Unlock()
	if same {
		c.keep(flightKey{jid: j.String()}, info)
	}
	return info, false, nil
}

// own reports whether j stays what it is for the length of a stream.
func (c *Client) own(j jid.JID) bool {
	self := c.s.LocalAddr()
	return j.Equal(self.Domain()) || j.Equal(self.Bare())
}

// keep puts an answer into memory, unless it is too large. It returns it as it is
// kept, and as XML.
func (c *Client) keep(k flightKey, info Info) (Info, []byte) {
	small, b, ok := compact(info)
	if ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.infos.put(k, &small, len(b)+256)
	}
	return small, b
}
