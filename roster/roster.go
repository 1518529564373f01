package roster

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Namespaces.
const (
	ns           = "jabber:iq:roster"
	nsNick       = "http://jabber.org/protocol/nick"
	nsIdle       = "urn:xmpp:idle:1"
	nsDelay      = "urn:xmpp:delay"
	nsPars       = "urn:xmpp:pars:0"
	nsMoved      = "urn:xmpp:moved:1"
	nsMUCUser    = "http://jabber.org/protocol/muc#user"
	nsBlocking   = "urn:xmpp:blocking"
	nsReporting  = "urn:xmpp:reporting:1"
	nsSID        = "urn:xmpp:sid:0"
	nsSearch     = "jabber:iq:search"
	nsExchange   = "http://jabber.org/protocol/rosterx"
	nsPubSub     = "http://jabber.org/protocol/pubsub"
	nsCommands   = "http://jabber.org/protocol/commands"
	nsDisco      = "http://jabber.org/protocol/disco#info"
	nsPreApprove = "urn:xmpp:features:pre-approval"
	nsXML        = "http://www.w3.org/XML/1998/namespace"
)

// A Store keeps small values between runs of a program. A client.Store is one.
type Store interface {
	// Get returns the value of a key, or an error that is [fs.ErrNotExist].
	Get(ctx context.Context, key string) ([]byte, error)
	// Put sets it.
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes it; that it does not exist is no error.
	Delete(ctx context.Context, key string) error
}

// Config are the settings of a [Roster].
type Config struct {
	// Store keeps the roster and its version between runs of the program, so that
	// the server sends only what has changed, and the invitations that were given
	// out. Nil keeps them in memory. Keys begin with the account's bare JID.
	Store Store
	// Policy says what becomes of requests to see this account's presence.
	Policy Policy
}

// A Roster is an account's list of contacts, with their presence. Its methods may
// be called from any goroutine.
type Roster struct {
	s      confab.Session
	cfg    Config
	others presences

	loads sync.Mutex // held while the roster is being loaded

	mu        sync.Mutex // guards what follows
	loaded    bool       // contacts hold a roster, the newest or an older one
	contacts  map[string]*Contact
	ver       string
	loading   bool    // pushes wait in held
	reloading bool    // a goroutine is about to load
	held      []*push // in order
	edits     map[string]*edit
	saving    bool // a goroutine is about to write the roster
	dirty     bool

	requests map[string]*pending
	asking   map[string]bool // were asked and are no contacts yet
	invites  invites
	moves    int // verifications under way
	todo     []func(context.Context)
	working  bool
}

// New makes the roster of a session. It must be called before the session runs;
// the roster is complete when the user hears [confab.Ready]. The error is
// [confab.ErrTaken] if the session has one already.
func New(s confab.Session, cfg Config) (*Roster, error) {
	if cfg.Policy > Mutual {
		return nil, fmt.Errorf("roster: there is no policy %d", cfg.Policy)
	}
	r := &Roster{
		s: s, cfg: cfg, contacts: map[string]*Contact{}, edits: map[string]*edit{}, requests: map[string]*pending{}, asking: map[string]bool{},
	}
	r.others.init(s)
	r.invites.init(s, cfg.Store)
	if err := s.HandleIQ(stanza.SetIQ, xml.Name{Space: ns, Local: "query"}, r.push); err != nil {
		return nil, err
	}
	s.HandlePresence(r.presence)
	s.OnUp(r.up)
	s.OnDown(func(_ error, lost bool) {
		if lost {
			r.down()
		}
	})
	s.HandleMessage(confab.StageInterpret, r.suggested)
	onDropped(s, ns, r.reload)
	return r, nil
}

// up loads the roster on a fresh stream.
func (r *Roster) up(ctx context.Context, fresh bool) error {
	if !fresh {
		return nil
	}
	return r.load(ctx, false)
}

// reload loads the whole roster anew, unless that is under way.
func (r *Roster) reload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reloading {
		return
	}
	r.reloading = true
	r.s.Go(func(ctx context.Context) {
		if err := r.load(ctx, true); err != nil && ctx.Err() == nil {
			r.s.Emit(confab.HandlerError{Err: err})
		}
	})
}

// onDropped calls f, off the dispatcher, when a push of this namespace was dropped:
// a session may do so when too many come at once. What they said is lost.
func onDropped(s confab.Session, space string, f func()) {
	confab.On(s, func(_ context.Context, e confab.BadStanza) {
		if !e.Stanza.Is(confab.NSClient, "iq") || e.Stanza.Get("type") != "set" || e.Stanza.Child(space, "") == nil {
			return
		}
		if from := e.Stanza.Get("from"); from != "" {
			if j, err := jid.Parse(from); err != nil || !j.Equal(s.LocalAddr().Bare()) {
				return
			}
		}
		f()
	})
}

// load asks for the roster: what has changed, or all of it.
func (r *Roster) load(ctx context.Context, all bool) error {
	r.loads.Lock()
	defer r.loads.Unlock()
	r.mu.Lock()
	if all {
		r.reloading = false // what is dropped from now on makes another one
		r.ver = ""
	}
	r.loading, r.held = true, nil
	first := !r.loaded
	r.mu.Unlock()
	var problems error
	if first {
		problems = errors.Join(r.recall(ctx), r.invites.recall(ctx))
	}
	r.mu.Lock()
	ver := r.ver
	r.mu.Unlock()
	// The attribute is there even if nothing is known yet: an empty one asks for
	// versions (RFC 6121 §2.6.2). Servers that have none ignore it.
	q := confab.El(ns, "query")
	q.Attr = []xml.Attr{{Name: xml.Name{Local: "ver"}, Value: ver}}
	res, err := r.s.Ask(ctx, confab.El(confab.NSClient, "iq", q).Set("type", "get"))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if q := res.Child(ns, "query"); q != nil {
			r.replace(q)
		} else if !r.loaded {
			r.loaded = true // it is empty
		}
	}
	for _, p := range r.held {
		r.apply(p)
	}
	r.loading, r.held = false, nil
	if err != nil {
		err = fmt.Errorf("roster: loading: %w", err)
	}
	return errors.Join(problems, err)
}

// replace takes a whole roster. The lock is held.
func (r *Roster) replace(q *confab.Element) {
	all := make(map[string]*Contact, len(q.Children))
	for el := range q.All(ns, "item") {
		c, removed, err := parseItem(el)
		if err != nil {
			r.s.Emit(confab.BadStanza{Stanza: el, Err: err})
			continue
		}
		if k := key(c.JID); !removed {
			all[k] = c
		}
	}
	for k, old := range r.contacts {
		if all[k] == nil {
			r.set(k, old, nil)
		}
	}
	for k, c := range all {
		r.set(k, r.contacts[k], c)
	}
	r.loaded, r.ver = true, strings.Clone(q.Get("ver"))
	r.save()
}

// set replaces one contact and tells of it. The lock is held.
func (r *Roster) set(k string, old, c *Contact) {
	switch {
	case c == nil && old == nil:
		return
	case c == nil:
		delete(r.contacts, k)
		r.others.contact(k, false)
		r.s.Emit(Removed{old.clone()})
		return
	case old == nil:
		r.contacts[k] = c
		delete(r.asking, k)
		r.others.contact(k, true)
		if r.loaded {
			r.s.Emit(Added{c.clone()})
		}
	case !old.equal(c):
		r.contacts[k] = c
		r.s.Emit(Changed{old.clone(), c.clone()})
		if old.Subscription.SeesThem() && !c.Subscription.SeesThem() {
			r.others.forget(k) // not every server says so itself
		}
	}
	if c.Subscription.SeenByThem() {
		delete(r.requests, k)
	}
}

// push is one item that the server has pushed.
type push struct {
	contact *Contact
	removed bool
	ver     string
	hasVer  bool
}

// push answers a roster push (RFC 6121 §2.1.6).
func (r *Roster) push(_ context.Context, q *confab.IQ) (any, error) {
	if from, self := q.From, r.s.LocalAddr().Bare(); !from.Equal(self) {
		// The same answer as if nobody was listening.
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
	}
	items := slices.Collect(q.Payload.All(ns, "item"))
	if len(items) != 1 {
		return nil, r.bad(q, fmt.Errorf("roster: a push with %d items", len(items)))
	}
	c, removed, err := parseItem(items[0])
	if err != nil {
		return nil, r.bad(q, err)
	}
	p := &push{contact: c, removed: removed}
	p.ver, p.hasVer = q.Payload.Lookup("", "ver")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loading {
		r.held = append(r.held, p)
		return nil, nil
	}
	r.apply(p)
	return nil, nil
}

// bad refuses a push that makes no sense.
func (r *Roster) bad(q *confab.IQ, err error) error {
	r.s.Emit(confab.BadStanza{Stanza: q.Stanza, Err: err})
	return stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
}

// apply carries out a push. The lock is held.
func (r *Roster) apply(p *push) {
	k := key(p.contact.JID)
	c := p.contact
	if p.removed {
		c = nil
	}
	r.set(k, r.contacts[k], c)
	if p.hasVer {
		r.ver = strings.Clone(p.ver)
	}
	r.save()
	r.saw(k)
}

// down forgets what the server kept for the stream that is lost.
func (r *Roster) down() {
	r.others.clear()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.requests {
		q.stale = true
	}
}

// saved is what the store keeps.
type saved struct {
	Version string      `json:"version"`
	Items   []savedItem `json:"items"`
}

type savedItem struct {
	JID          string   `json:"jid"`
	Name         string   `json:"name,omitempty"`
	Groups       []string `json:"groups,omitempty"`
	Subscription string   `json:"subscription"`
	Asked        bool     `json:"asked,omitempty"`
	Approved     bool     `json:"approved,omitempty"`
}

func (r *Roster) storeKey() string { return key(r.s.LocalAddr()) + "/roster" }

// recall reads the roster of an earlier run. One that cannot be read is as good as
// none.
func (r *Roster) recall(ctx context.Context) error {
	if r.cfg.Store == nil {
		return nil
	}
	b, err := r.cfg.Store.Get(ctx, r.storeKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s saved
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return fmt.Errorf("roster: Config.Store: %w", err)
	}
	contacts := make(map[string]*Contact, len(s.Items))
	for _, it := range s.Items {
		j, err := jid.Parse(it.JID)
		if err != nil {
			return fmt.Errorf("roster: Config.Store: %w", err)
		}
		c := &Contact{JID: j.Bare(), Name: it.Name, Groups: it.Groups, Asked: it.Asked, Approved: it.Approved}
		if i := slices.Index(subscriptionNames[:], it.Subscription); i > 0 {
			c.Subscription = Subscription(i)
		}
		contacts[key(j)] = c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range contacts {
		r.others.contact(k, true)
	}
	r.contacts, r.loaded, r.ver = contacts, true, s.Version
	return nil
}

// saveDelay is how long changes gather before they are written. What is lost with
// the program the server sends again, as the version is written with them.
const saveDelay = time.Second

// save has the roster written. The lock is held.
func (r *Roster) save() {
	if r.cfg.Store == nil {
		return
	}
	r.dirty = true
	if r.saving {
		return
	}
	r.saving = true
	r.s.Go(func(ctx context.Context) {
		late := time.NewTimer(saveDelay)
		defer late.Stop()
		for {
			select {
			case <-late.C:
			case <-ctx.Done():
			}
			r.mu.Lock()
			if !r.dirty {
				r.saving = false
				r.mu.Unlock()
				return
			}
			r.dirty = false
			s := saved{Version: r.ver, Items: make([]savedItem, 0, len(r.contacts))}
			for _, c := range r.contacts {
				s.Items = append(s.Items, savedItem{c.JID.String(), c.Name, c.Groups, c.Subscription.String(), c.Asked, c.Approved})
			}
			r.mu.Unlock()
			b, err := json.Marshal(s)
			if err == nil {
				// Written even while the session is closing.
				err = r.cfg.Store.Put(context.WithoutCancel(ctx), r.storeKey(), b)
			}
			if err != nil {
				r.s.Emit(confab.HandlerError{Err: fmt.Errorf("roster: Config.Store: %w", err)})
			}
			late.Reset(saveDelay)
		}
	})
}
