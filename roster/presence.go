package roster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Presence is what one client of somebody's says of itself.
type Presence struct {
	// JID is the full address.
	JID jid.JID
	// Available is false for a client that is gone; then only JID and Received
	// say anything.
	Available bool
	// Show is "" (available), "chat", "away", "xa" or "dnd". Status is what the
	// person wrote, at most 4 KiB of it.
	Show, Status string
	Priority     int8
	// Idle is since when nobody has touched the client (XEP-0319), zero if it does
	// not tell or is in use.
	Idle time.Time
	// Received is when it came.
	Received time.Time
}

func (p *Presence) same(q *Presence) bool {
	return p.Available == q.Available && p.Show == q.Show && p.Status == q.Status && p.Priority == q.Priority && p.Idle.Equal(q.Idle)
}

// PresenceChanged is the event for a client that came, went, or says something
// else about itself. Presence of people in rooms is not told here.
type PresenceChanged struct {
	// JID is the full address.
	JID      jid.JID
	Old, New Presence
}

// What is remembered is bounded: whoever is a contact may have some clients;
// whoever is none shares little room with all the others.
const (
	maxResources         = 64 // of a contact
	maxStrangers         = 256
	maxStrangerResources = 4
	maxStatus            = 4096
)

// presences has the presence of contacts, of the own account and, for a while, of
// some that are no contacts: a contact's presence may come before the push that
// says that it is one.
type presences struct {
	s confab.Session

	mu        sync.Mutex
	contacts  map[string]*tracked
	strangers map[string]*tracked
	clock     uint64
}

// tracked is what is known of one bare address.
type tracked struct {
	clients  []client
	seen     time.Time // when the last one went
	used     uint64    // by the clock, for strangers
	stranger bool
}

type client struct {
	resource string
	Presence
}

func (t *presences) init(s confab.Session) {
	t.s, t.contacts, t.strangers = s, map[string]*tracked{}, map[string]*tracked{}
}

// presence takes every presence that comes in.
func (r *Roster) presence(ctx context.Context, p *confab.Presence) error {
	switch p.Type {
	case stanza.AvailablePresence, stanza.UnavailablePresence, stanza.ErrorPresence:
		r.others.take(p)
	case stanza.SubscribePresence:
		r.requested(ctx, p)
	case stanza.SubscribedPresence, stanza.UnsubscribedPresence:
		r.answered(p)
	case stanza.UnsubscribePresence:
		r.withdrawn(p)
	}
	return nil
}

// take notes the presence of a client.
func (t *presences) take(p *confab.Presence) {
	if p.Stanza.Child(nsMUCUser, "x") != nil {
		return // somebody in a room
	}
	// Most come just as they are written here, and finding those takes no memory.
	bare, resource, _ := strings.Cut(p.Stanza.Get("from"), "/")
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.find(bare)
	if e == nil || e.index(resource) < 0 {
		bare, resource = key(p.From), p.From.Resourcepart()
		e = t.find(bare)
	}
	if p.Type != stanza.AvailablePresence {
		if e != nil {
			t.gone(e, resource, p)
		}
		return
	}
	if e == nil {
		e = t.add(bare)
	}
	e.used = t.tick()
	n := Presence{JID: p.From, Available: true, Show: show(p.Show), Status: p.Status, Priority: p.Priority, Received: p.Received}
	if len(n.Status) > maxStatus {
		n.Status = limit(n.Status)
	}
	if c := p.Stanza.Child(nsIdle, "idle"); c != nil {
		if since, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(c.Get("since"))); err == nil {
			n.Idle = since.UTC()
		}
	}
	i := e.index(resource)
	if i >= 0 && e.clients[i].same(&n) {
		e.clients[i].Received = n.Received
		return
	}
	n.Status = strings.Clone(n.Status) // lets go of the stanza
	if i < 0 {
		t.room(e)
		e.clients = append(e.clients, client{strings.Clone(resource), Presence{JID: p.From}})
		i = len(e.clients) - 1
	}
	old := e.clients[i].Presence
	e.clients[i].Presence = n
	t.s.Emit(PresenceChanged{n.JID, old, n})
}

// show returns one of the words that are known, not a part of a stanza.
func show(s string) string {
	for _, known := range [...]string{"chat", "away", "xa", "dnd"} {
		if s == known {
			return known
		}
	}
	return ""
}

// limit returns the beginning of a text.
func limit(s string) string {
	if len(s) <= maxStatus {
		return strings.Clone(s)
	}
	n := maxStatus
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}

func (t *presences) tick() uint64 {
	t.clock++
	return t.clock
}

func (t *presences) find(bare string) *tracked {
	if e := t.contacts[bare]; e != nil {
		return e
	}
	return t.strangers[bare]
}

func (e *tracked) index(resource string) int {
	for i := range e.clients {
		if e.clients[i].resource == resource {
			return i
		}
	}
	return -1
}

// add makes an entry for the own account or a stranger.
func (t *presences) add(bare string) *tracked {
	if bare == key(t.s.LocalAddr()) {
		e := &tracked{}
		t.contacts[bare] = e
		return e
	}
	if len(t.strangers) >= maxStrangers {
		var oldest string
		least := ^uint64(0)
		for k, e := range t.strangers {
			if e.used < least {
				oldest, least = k, e.used
			}
		}
		delete(t.strangers, oldest) // quietly: nobody has gone
	}
	e := &tracked{stranger: true}
	t.strangers[bare] = e
	return e
}

// room makes room for one more client.
func (t *presences) room(e *tracked) {
	most := maxResources
	if e.stranger {
		most = maxStrangerResources
	}
	if len(e.clients) < most {
		return
	}
	oldest := 0
	for i := range e.clients {
		if e.clients[i].Received.Before(e.clients[oldest].Received) {
			oldest = i
		}
	}
	e.clients = slices.Delete(e.clients, oldest, oldest+1)
}

// gone notes that a client, or all of an address, cannot be reached any more.
func (t *presences) gone(e *tracked, resource string, p *confab.Presence) {
	was := len(e.clients)
	e.clients = slices.DeleteFunc(e.clients, func(c client) bool {
		if resource != "" && c.resource != resource {
			return false
		}
		t.s.Emit(PresenceChanged{c.JID, c.Presence, Presence{JID: c.JID, Received: p.Received}})
		return true
	})
	if len(e.clients) < was {
		e.seen = p.Received
	}
	if d := p.Stanza.Child(nsDelay, "delay"); d != nil && p.Type == stanza.UnavailablePresence {
		// The server answers for somebody who has been gone for a while.
		if at, err := time.Parse(time.RFC3339Nano, d.Get("stamp")); err == nil && at.Before(p.Received) {
			e.seen = at.UTC()
		}
	}
}

// contact says whether an address is that of a contact.
func (t *presences) contact(k string, is bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := t.contacts[k]; {
	case is && e == nil:
		if e = t.strangers[k]; e == nil {
			e = &tracked{}
		}
		e.stranger = false
		delete(t.strangers, k)
		t.contacts[k] = e
	case !is && e != nil:
		delete(t.contacts, k)
		t.lose(e, time.Now())
	}
}

// forget notes that a contact no longer shows its presence.
func (t *presences) forget(k string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.contacts[k]; e != nil {
		t.lose(e, time.Now())
	}
}

// clear forgets everybody: the stream is lost, and the next one tells anew.
func (t *presences) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, m := range []map[string]*tracked{t.contacts, t.strangers} {
		for _, e := range m {
			t.lose(e, now)
		}
	}
	clear(t.strangers)
}

func (t *presences) lose(e *tracked, now time.Time) {
	for _, c := range e.clients {
		t.s.Emit(PresenceChanged{c.JID, c.Presence, Presence{JID: c.JID, Received: now}})
		e.seen = now
	}
	e.clients = nil
}

// Presences returns what the clients of a contact, or of the own account, say of
// themselves, the best to reach the person first: by priority, then by show (chat,
// available, dnd, away, xa), then the newest. For a full address it is that client
// alone.
func (r *Roster) Presences(j jid.JID) []Presence {
	resource := j.Resourcepart()
	r.others.mu.Lock()
	var all []Presence
	if e := r.others.find(key(j)); e != nil {
		for i := range e.clients {
			if c := &e.clients[i]; resource == "" || c.resource == resource {
				all = append(all, c.Presence)
			}
		}
	}
	r.others.mu.Unlock()
	slices.SortStableFunc(all, func(a, b Presence) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(rank(a.Show), rank(b.Show)), b.Received.Compare(a.Received))
	})
	return all
}

func rank(show string) int { return slices.Index([]string{"chat", "", "dnd", "away", "xa"}, show) }

// Best returns the first of [Roster.Presences], or one that is not available.
func (r *Roster) Best(j jid.JID) Presence {
	if all := r.Presences(j); len(all) > 0 {
		return all[0]
	}
	return Presence{JID: j}
}

// LastSeen returns when a contact was last there, as far as it lets one know: now,
// if a client is in use; since when all are idle; or when the last one went. It
// returns false if nothing is known.
func (r *Roster) LastSeen(j jid.JID) (time.Time, bool) {
	r.others.mu.Lock()
	defer r.others.mu.Unlock()
	e := r.others.find(key(j))
	if e == nil {
		return time.Time{}, false
	}
	last := e.seen
	for i := range e.clients {
		at := e.clients[i].Idle
		if at.IsZero() {
			return time.Now(), true
		}
		if at.After(last) {
			last = at
		}
	}
	return last, !last.IsZero()
}
