package chat

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// A Timeline is one conversation as a person reads it: each message once, in order,
// with its last text, without what was taken back, with reactions and ticks. It is
// fed with events of this package or of muc, in whatever order they come: an edit before the message that it
// corrects is as good as one after. Edits and retractions count only from the author
// of the message. Its methods may be called from any goroutine.
type Timeline struct {
	chat  jid.JID
	limit int

	mu      sync.Mutex
	records []*record            // in order
	byID    map[string][]*record // by every id that the message, or an edit of it, has
	loose   map[string][]any     // events about messages that are not there, by their id
	waiting []string             // their ids, in order of arrival
	bytes   int                  // of the records, about
	shown   [2]Place             // how far the other one, and the user, have read
}

// An Entry is one message of a [Timeline].
type Entry struct {
	// Message is the message as it was first sent, Current the one whose text
	// counts: the last correction, or Message itself. Edits are how many corrections
	// there were. What came encrypted, with a trusted key, is corrected only by what did.
	Message, Current *Message
	Edits            int
	// Retracted says that it was taken back, for Reason, by By if that was not the
	// author.
	Retracted  bool
	Reason, By string
	// Reactions are those of each author that has any.
	Reactions map[string][]string
	// Received and Displayed say that it has reached the other one and was seen by
	// them, or, for messages of others, by the user on another device.
	Received, Displayed bool
}

type record struct {
	Entry
	at   Place
	last order // of Current
	when map[string]order
	ids  []string // by which it is known
	own  int      // how many of ids are its own, not those of edits
}

// maxEditIDs is how many edits of a message it is known by.
const maxEditIDs = 32

// order is where an edit or a reaction stands among others of the same author.
type order struct {
	id string // ordered, or ""
	ms int64  // when it was sent or came
}

// before reports whether o is older than what came later, n.
func (o order) before(n order) bool {
	if o.id != "" && n.id != "" {
		return o.id < n.id
	}
	return o.ms <= n.ms
}

// A Place is where a message stands in its conversation: by time, and where that is
// equal by id.
type Place struct {
	Milli int64 // milliseconds since 1970
	ID    string
}

// Compare returns -1 if p comes before q, 1 if it comes after, and 0 if they are equal.
func (p Place) Compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Milli, q.Milli), cmp.Compare(p.ID, q.ID))
}

func orderOf(m *Message) order {
	o := order{ms: m.When().UnixMilli()}
	if ms, ok := idTime(m.ID); ok && ms <= o.ms+plausible.Milliseconds() {
		o.id = m.ID
	}
	return o
}

// Place returns where the message stands. The time of its id is believed only near the
// time that the server or the own clock tells, so that nobody can say something
// yesterday; and nobody says something after it has come, so that nobody stays the
// newest, nor is read for ever.
func (m *Message) Place() Place {
	p := Place{max(m.When().UnixMilli(), 1), m.Ref()}
	if !m.Received.IsZero() {
		p.Milli = min(p.Milli, m.Received.Add(plausible).UnixMilli())
	}
	if ms, ok := idTime(m.ID); ok && max(ms-p.Milli, p.Milli-ms) <= plausible.Milliseconds() {
		p.Milli = ms
	}
	return p
}

// NewTimeline makes a Timeline of the conversation with chat, a bare address, that
// keeps the last limit messages, or fewer if they are large: about 32 MiB in all. A
// limit of 0 stands for 1,000.
func NewTimeline(chat jid.JID, limit int) *Timeline {
	if limit <= 0 {
		limit = 1000
	}
	return &Timeline{chat: chat.Bare(), limit: limit, byID: map[string][]*record{}, loose: map[string][]any{}}
}

// Follow feeds the Timeline with the events of a session. Changed, which may be nil,
// is called after each that has changed it.
func (t *Timeline) Follow(s confab.Session, changed func(ctx context.Context)) (cancel func()) {
	return s.Subscribe(func(event any) bool { return Event(event) != nil }, func(ctx context.Context, event any) {
		if t.Apply(event) && changed != nil {
			changed(ctx)
		}
	})
}

// SetShown says how far the other one, and the user, have read at least, if the events
// that tell so are not among those that the Timeline gets.
func (t *Timeline) SetShown(other, user Place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range [...]Place{other, user} {
		if p.Compare(t.shown[i]) > 0 {
			t.shown[i] = p
		}
	}
}

// An eventer is an event of a package that builds on this one, such as muc: it says which
// event of this package it comes to.
type eventer interface{ ChatEvent() any }

// Event returns the event of this package that another event comes to, such as one of a
// room; those of this package are themselves. It is nil for what is no part of a
// conversation.
func Event(event any) any {
	if e, ok := event.(eventer); ok {
		event = e.ChatEvent()
	}
	if _, ok := about(event); !ok {
		return nil
	}
	return event
}

// about returns the conversation that an event of this package is about.
func about(event any) (jid.JID, bool) {
	var m *Message
	switch e := event.(type) {
	case *Message:
		m = e
	case OwnMessage:
		m = e.Message
	case Edited:
		m = e.Message
	case Retracted:
		m = e.Message
	case Reacted:
		m = e.Message
	case Receipt:
		return e.Chat, true
	case Displayed:
		return e.Chat, true
	}
	if m == nil || m.Message == nil || m.Stanza == nil {
		return jid.JID{}, false
	}
	return m.Chat, true
}

// Apply takes an event of this package and reports whether it has changed anything.
// Events of other conversations, and of other kinds, are passed over.
func (t *Timeline) Apply(event any) (changed bool) {
	event = Event(event)
	if chat, ok := about(event); !ok || !chat.Equal(t.chat) || t.chat.String() == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.apply(event)
}

func (t *Timeline) apply(event any) bool {
	switch e := event.(type) {
	case *Message:
		return t.add(e, false)
	case OwnMessage:
		return t.add(e.Message, false)
	case Edited:
		r := t.find(e.Replaces, e.Author, anybody)
		if r == nil {
			return t.wait(e.Replaces, event)
		}
		if !sealedAsWell(r.Message.Seal, e.Message.Seal) {
			return false
		}
		return t.edit(r, e.Message)
	case Retracted:
		r := t.find(e.ID, e.Author, anybody)
		if e.By != "" {
			r = t.find(e.ID, "", anybody)
		}
		if r == nil && e.Message != nil && e.Retracted {
			return t.add(e.Message, true)
		}
		if r == nil {
			return t.wait(e.ID, event)
		}
		if r.Retracted {
			return false
		}
		r.Retracted, r.Reason, r.By = true, e.Reason, e.By
		return true
	case Reacted:
		r := t.find(e.ReactsTo, "", anybody)
		if r == nil {
			return t.wait(e.ReactsTo, event)
		}
		return r.react(e.Message)
	case Receipt: // of a message of the user
		r := t.find(e.ID, "", user)
		if r == nil {
			return t.wait(e.ID, event)
		}
		changed := !r.Received
		r.Received = true
		return changed
	case Displayed:
		i, whose := 0, user
		if e.Self {
			i, whose = 1, others
		}
		r := t.find(e.ID, "", whose)
		if r == nil {
			return t.wait(e.ID, event)
		}
		if r.at.Compare(t.shown[i]) <= 0 {
			return false
		}
		t.shown[i] = r.at
		return true
	}
	return false
}

// whose says among whose messages to look.
type whose uint8

const (
	anybody whose = iota
	user
	others
)

// find returns the message with an id, of this author if one is given. Where ids are
// not unique, the one that the archive calls so goes first, then one that has the id
// itself and not from an edit, then the oldest: nobody can take the id of another's
// message over.
func (t *Timeline) find(id, author string, w whose) *record {
	var found *record
	rank := func(r *record) int {
		switch {
		case r.Message.ServerID == id:
			return 0
		case slices.Contains(r.ids[:r.own], id):
			return 1
		}
		return 2
	}
	for _, r := range t.byID[id] {
		if author != "" && r.Message.Author != author || w == user && !r.Message.Self || w == others && r.Message.Self {
			continue
		}
		if found == nil || cmp.Or(cmp.Compare(rank(r), rank(found)), r.at.Compare(found.at)) < 0 {
			found = r
		}
	}
	return found
}

func (t *Timeline) add(m *Message, tombstone bool) bool {
	r := &record{at: m.Place(), last: orderOf(m)}
	r.Message, r.Current, r.Retracted = m, m, tombstone
	i, _ := slices.BinarySearchFunc(t.records, r, func(a, b *record) int { return a.at.Compare(b.at) })
	if i == 0 && len(t.records) >= t.limit {
		return false // older than all that is kept
	}
	t.records = slices.Insert(t.records, i, r)
	t.name(r, m)
	r.own = len(r.ids)
	t.settle(r)
	t.bytes += weight(m.Stanza)
	for len(t.records) > t.limit || t.bytes > maxTimeline && len(t.records) > 1 {
		t.drop(t.records[0])
		t.records = slices.Delete(t.records, 0, 1)
	}
	return true
}

// name makes a record known by all ids of a message.
func (t *Timeline) name(r *record, m *Message) {
	for _, id := range [...]string{m.ID, m.OriginID(), m.ServerID} {
		if id == "" || len(id) > maxID || slices.Contains(t.byID[id], r) {
			continue
		}
		t.byID[id] = append(t.byID[id], r)
		r.ids = append(r.ids, id)
	}
}

// settle applies what waits for a record under one of its ids.
func (t *Timeline) settle(r *record) {
	for _, id := range slices.Clone(r.ids) {
		events := t.loose[id]
		if len(events) == 0 {
			continue
		}
		delete(t.loose, id)
		t.waiting = slices.DeleteFunc(t.waiting, func(w string) bool { return w == id })
		for _, e := range events {
			t.apply(e) // puts it back if it is not about this one
		}
	}
}

// maxTimeline bounds what a Timeline holds, in bytes of text and 100 for each element.
const maxTimeline = 32 << 20

func weight(el *confab.Element) int {
	n := 100 + len(el.Text) + len(el.Tail)
	for _, a := range el.Attr {
		n += len(a.Value)
	}
	for _, c := range el.Children {
		n += weight(c)
	}
	return n
}

func (t *Timeline) drop(r *record) {
	t.bytes -= weight(r.Message.Stanza)
	if r.Current != r.Message {
		t.bytes -= weight(r.Current.Stanza)
	}
	for len(r.ids) > 0 {
		t.unname(r, len(r.ids)-1)
	}
}

// Bounds of what waits for messages that are not there: as many events as the
// Timeline keeps messages, none of them large.
const maxLooseText = 64 << 10

func (t *Timeline) wait(id string, event any) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	if e, ok := event.(Edited); ok && len(e.Body) > maxLooseText {
		return false
	}
	t.loose[id] = append(t.loose[id], event)
	if t.waiting = append(t.waiting, id); len(t.waiting) > t.limit {
		// The oldest event goes.
		oldest := t.waiting[0]
		t.waiting = t.waiting[1:]
		if es := t.loose[oldest]; len(es) > 1 {
			t.loose[oldest] = es[1:]
		} else {
			delete(t.loose, oldest)
		}
	}
	return false
}

func (t *Timeline) edit(r *record, m *Message) (changed bool) {
	for len(r.ids)-r.own >= maxEditIDs { // nobody goes back that far
		t.unname(r, r.own)
	}
	t.name(r, m)
	r.Edits++
	if o := orderOf(m); r.last.before(o) || r.Current == r.Message {
		if r.Current != r.Message {
			t.bytes -= weight(r.Current.Stanza)
		}
		t.bytes += weight(m.Stanza)
		r.Current, r.last, changed = m, o, true
	}
	t.settle(r)
	return changed
}

// sealedAsWell reports whether an edit is at least as trustworthy as what it replaces:
// what came encrypted is not replaced by what a server could have made.
func sealedAsWell(was, now *confab.Seal) bool {
	return was == nil || now != nil && (now.Trusted || !was.Trusted)
}

// unname forgets one of the ids of a record.
func (t *Timeline) unname(r *record, i int) {
	id := r.ids[i]
	r.ids = slices.Delete(r.ids, i, i+1)
	if rs := slices.DeleteFunc(t.byID[id], func(o *record) bool { return o == r }); len(rs) == 0 {
		delete(t.byID, id)
	} else {
		t.byID[id] = rs
	}
}

func (r *record) react(m *Message) bool {
	o := orderOf(m)
	if last, ok := r.when[m.Author]; ok && !last.before(o) {
		return false
	}
	if len(r.when) >= maxReactors {
		if _, ok := r.when[m.Author]; !ok {
			return false
		}
	}
	if r.when == nil {
		r.when, r.Reactions = map[string]order{}, map[string][]string{}
	}
	r.when[m.Author] = o
	if len(m.Reactions) == 0 {
		delete(r.Reactions, m.Author)
	} else {
		r.Reactions[m.Author] = m.Reactions
	}
	return true
}

// maxReactors bounds whose reactions to one message are kept.
const maxReactors = 10_000

// Entries returns the conversation, oldest first. What it returns is the caller's.
func (t *Timeline) Entries() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Entry, len(t.records))
	for i, r := range t.records {
		all[i] = t.entry(r)
	}
	return all
}

// Entry returns the message with an id: one that its author, or the archive, gave it
// or an edit of it.
func (t *Timeline) Entry(id string) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.find(id, "", anybody)
	if r == nil {
		return Entry{}, false
	}
	return t.entry(r), true
}

func (t *Timeline) entry(r *record) Entry {
	e := r.Entry
	e.Reactions = nil
	if len(r.Reactions) > 0 {
		e.Reactions = maps.Clone(r.Reactions)
	}
	side := 0
	if !r.Message.Self {
		side = 1
	}
	e.Displayed = r.at.Compare(t.shown[side]) <= 0
	e.Received = e.Received || e.Displayed && e.Message.Self
	return e
}
