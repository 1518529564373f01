package store

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/mam"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// outboxTable has what is to be sent, in order.
const outboxTable = `
CREATE TABLE outbox (
	n INTEGER PRIMARY KEY, account TEXT NOT NULL, id TEXT NOT NULL, draft TEXT NOT NULL,
	at INTEGER NOT NULL, UNIQUE (account, id));
`

// An Outbox is a session that keeps each message until the server has it, also when the
// program ends before: see [DB.Outbox].
type Outbox struct {
	confab.Session
	d        *DB
	account  string
	archives *mam.Archives

	mu     sync.Mutex
	active map[string]bool // what this run sends
	rooms  map[string]bool // for which something is left
	in     map[string]bool // those of them that the user is in
	busy   sync.Mutex      // held while what an earlier run has left is sent
}

type (
	// Left is the event for a message of an [Outbox] that was given up after
	// SendMessage had returned: somebody refused it. It is not kept any more.
	Left struct {
		Draft confab.Draft
		Err   error
	}
	// Unsent is a message of an [Outbox] that the server may not have.
	Unsent struct {
		Draft confab.Draft
		// At is when it was sent first.
		At time.Time
	}
)

// Outbox returns a session that is s, but keeps what is sent. Make it before s runs, and
// give it to the packages whose messages are to be kept:
//
//	out := db.Outbox(c, archives)
//	chats := chat.New(out, chat.Config{})
//
// What an earlier run of the program has left is sent after the sign-in, in order, beside
// what is sent then; to a room when it is entered, which would refuse it before. Whether
// the server has got a message that it did not confirm is looked up in the archives, which
// may be nil; without one, or on a server that has none, such a message may be sent twice,
// under the same id. Messages are kept as they are before they are encrypted. What is of
// the moment, such as typing, is not kept.
func (d *DB) Outbox(s confab.Session, archives *mam.Archives) *Outbox {
	o := &Outbox{Session: s, d: d, account: s.LocalAddr().Bare().String(), archives: archives, active: map[string]bool{}, in: map[string]bool{}}
	s.OnUp(o.expect)
	s.HandlePresence(o.entered)
	s.OnDown(func(_ error, lost bool) {
		if lost {
			o.mu.Lock()
			clear(o.in)
			o.mu.Unlock()
		}
	})
	confab.On(s, func(_ context.Context, e confab.Ready) {
		if e.Fresh {
			s.Go(o.resume)
		}
	})
	return o
}

const nsMUCUser = "http://jabber.org/protocol/muc#user"

// ofRoom reports whether a message is for a room, or for somebody in it (XEP-0045 §7.5).
func ofRoom(d confab.Draft) bool {
	return d.Type == stanza.GroupChatMessage || slices.ContainsFunc(d.Extra, func(x any) bool {
		el, ok := x.(*confab.Element)
		return ok && el.Is(nsMUCUser, "x")
	})
}

// expect finds out for which rooms something is left. Others are of no interest: anybody
// can play a room.
func (o *Outbox) expect(ctx context.Context, fresh bool) error {
	if !fresh {
		return nil
	}
	left, err := o.Unsent(ctx)
	rooms := map[string]bool{}
	for _, u := range left {
		if ofRoom(u.Draft) {
			rooms[u.Draft.To.Bare().String()] = true
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rooms = rooms
	return err
}

// entered takes note of rooms that say that the user is in (XEP-0045 §7.2.2), or out.
func (o *Outbox) entered(_ context.Context, p *confab.Presence) error {
	for st := range p.Stanza.Child(nsMUCUser, "x").All(nsMUCUser, "status") {
		if st.Get("code") != "110" {
			continue
		}
		room := p.From.Bare().String()
		o.mu.Lock()
		if !o.rooms[room] {
			o.mu.Unlock()
			return nil
		}
		was := o.in[room]
		if p.Type == "" {
			o.in[room] = true
		} else {
			delete(o.in, room)
		}
		o.mu.Unlock()
		if p.Type == "" && !was {
			o.Go(o.resume)
		}
	}
	return nil
}

// SendMessage keeps a message and sends it. An error says that it is not kept, nor sent;
// nil, that it will be: if not by this run of the program then by a later one, or become
// a [Left].
func (o *Outbox) SendMessage(ctx context.Context, d confab.Draft) (*confab.Sent, error) {
	if d.ID == "" {
		d.ID = confab.NewID()
	}
	b, keep, err := encodeDraft(d)
	if err != nil {
		return nil, err
	}
	if !keep {
		return o.Session.SendMessage(ctx, d)
	}
	o.mu.Lock()
	if o.active[d.ID] {
		o.mu.Unlock()
		return nil, fmt.Errorf("store: a message with the id %q is in the outbox", d.ID)
	}
	o.active[d.ID] = true
	o.mu.Unlock()
	o.d.mu.Lock()
	err = o.d.update(ctx, func(c conn) error {
		return exec(ctx, c, "INSERT INTO outbox (account, id, draft, at) VALUES (?, ?, ?, ?)", o.account, d.ID, string(b), time.Now().UnixMilli())
	})
	o.d.mu.Unlock()
	if err != nil {
		o.forget(d.ID)
		return nil, err
	}
	sent, err := o.send(ctx, d)
	if err != nil {
		return nil, errors.Join(err, o.drop(context.WithoutCancel(ctx), d.ID))
	}
	return sent, nil
}

// send sends what is kept, and lets go of it when the server has it.
func (o *Outbox) send(ctx context.Context, d confab.Draft) (*confab.Sent, error) {
	sent, err := o.Session.SendMessage(ctx, d)
	if err != nil {
		return nil, err
	}
	o.Go(func(ctx context.Context) {
		err := sent.Wait(ctx, confab.Acked)
		if err != nil && !errors.Is(err, confab.ErrNoAcks) {
			o.fails(ctx, d, err)
			return
		}
		// It has arrived, whatever becomes of the session.
		if err := o.drop(context.WithoutCancel(ctx), d.ID); err != nil && !errors.Is(err, errClosed) {
			o.Emit(confab.HandlerError{Err: err})
		}
	})
	return sent, nil
}

// fails is for a message that was kept and may not have arrived. If nobody has refused it
// the next sign-in, or the next run, sends it.
func (o *Outbox) fails(ctx context.Context, d confab.Draft, err error) {
	var se stanza.Error
	if !errors.As(err, &se) {
		o.forget(d.ID)
		return
	}
	if err2 := o.drop(context.WithoutCancel(ctx), d.ID); err2 != nil {
		err = errors.Join(err, err2)
	}
	o.Emit(Left{d, err})
}

// resume sends what was left, in order.
func (o *Outbox) resume(ctx context.Context) {
	o.busy.Lock()
	defer o.busy.Unlock()
	left, err := o.Unsent(ctx)
	has := map[string]map[string]bool{} // what has arrived, by conversation
	stuck := map[string]bool{}
	var later []error
	for i, u := range left {
		id, to := u.Draft.ID, u.Draft.To.Bare().String()
		o.mu.Lock()
		mine := o.active[id] || ofRoom(u.Draft) && !o.in[to]
		if !mine {
			o.active[id] = true
		}
		o.mu.Unlock()
		if mine {
			continue
		}
		var kept bool // it may have arrived since
		if kept, err = o.keeps(ctx, id); err == nil && !kept {
			o.forget(id)
			continue
		}
		if err == nil && has[to] == nil {
			has[to], err = o.arrived(ctx, left[i:])
			if se := (stanza.Error{}); errors.As(err, &se) {
				// Its archive cannot answer now: what is for others goes out.
				later, has[to], err = append(later, err), map[string]bool{}, nil
				stuck[to] = true
			}
		}
		if err == nil && stuck[to] {
			o.forget(id)
			continue
		}
		if err == nil && has[to][id] {
			err = o.drop(ctx, id)
		} else if err == nil {
			_, err = o.send(ctx, u.Draft)
		}
		if err != nil {
			o.forget(id)
			break // the next sign-in begins again
		}
	}
	if err = errors.Join(append(later, err)...); err != nil && ctx.Err() == nil && !errors.Is(err, confab.ErrLost) {
		o.Emit(confab.HandlerError{Err: fmt.Errorf("store: sending what was left: %w", err)})
	}
}

// clocks is how far the clock of a server may be from the own one.
const clocks = 10 * time.Minute

// arrived looks which messages are in the archive of the conversation of the first.
func (o *Outbox) arrived(ctx context.Context, left []Unsent) (map[string]bool, error) {
	has, wanted := map[string]bool{}, map[string]bool{}
	if o.archives == nil {
		return has, nil
	}
	first, since := left[0].Draft, left[0].At
	for _, u := range left {
		if u.Draft.To.Bare().Equal(first.To.Bare()) {
			wanted[u.Draft.ID] = true
			if u.At.Before(since) { // by a clock that was set
				since = u.At
			}
		}
	}
	q := mam.Query{Start: since.Add(-clocks), Apart: true}
	if first.Type == stanza.GroupChatMessage {
		q.Archive = first.To.Bare()
	} else {
		q.With = first.To.Bare()
	}
	for r, err := range o.archives.Query(ctx, q) {
		if refused(err) {
			return has, nil // there is no archive
		}
		if err != nil {
			return nil, err
		}
		m := r.Message
		if m == nil || first.Type != stanza.GroupChatMessage && !m.From.Bare().Equal(o.LocalAddr().Bare()) {
			continue
		}
		for _, id := range [...]string{m.ID, m.OriginID()} {
			if wanted[id] {
				has[id] = true
			}
		}
		if len(has) == len(wanted) {
			break
		}
	}
	return has, nil
}

// refused reports whether an archive says that it does not answer, now or later.
func refused(err error) bool {
	var se stanza.Error
	if !errors.As(err, &se) || se.Type == stanza.Wait {
		return false
	}
	switch se.Condition {
	case stanza.InternalServerError, stanza.ResourceConstraint, stanza.RemoteServerTimeout, stanza.RemoteServerNotFound:
		return false
	}
	return true
}

// Unsent returns what the server may not have yet, in order.
func (o *Outbox) Unsent(ctx context.Context) ([]Unsent, error) {
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	if o.d.closed {
		return nil, errClosed
	}
	rows, err := o.d.db.QueryContext(ctx, "SELECT draft, at FROM outbox WHERE account = ? ORDER BY n", o.account)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return scan(rows, func(u *Unsent) error {
		var b string
		var at int64
		if err := rows.Scan(&b, &at); err != nil {
			return err
		}
		u.At = time.UnixMilli(at).UTC()
		u.Draft, err = decodeDraft([]byte(b))
		return err
	})
}

func (o *Outbox) keeps(ctx context.Context, id string) (bool, error) {
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	if o.d.closed {
		return false, errClosed
	}
	var n int
	if err := o.d.db.QueryRowContext(ctx, "SELECT count(*) FROM outbox WHERE account = ? AND id = ?", o.account, id).Scan(&n); err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	return n > 0, nil
}

// Discard gives a message up that an earlier run has left, such as one to a room that the
// user does not enter any more. One that is being sent is not to be stopped.
func (o *Outbox) Discard(ctx context.Context, id string) error {
	o.busy.Lock() // not in the middle of sending it
	defer o.busy.Unlock()
	o.mu.Lock()
	active := o.active[id]
	o.mu.Unlock()
	if active {
		return fmt.Errorf("store: the message %q is being sent", id)
	}
	return o.drop(ctx, id)
}

func (o *Outbox) drop(ctx context.Context, id string) error {
	defer o.forget(id)
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	return o.d.update(ctx, func(c conn) error {
		return exec(ctx, c, "DELETE FROM outbox WHERE account = ? AND id = ?", o.account, id)
	})
}

func (o *Outbox) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.active, id)
}

// keptDraft is a draft as it is kept. Extra is XML.
type keptDraft struct {
	To, Type, ID, Lang, Subject, Body, Thread string
	SetSubject                                bool
	Extra                                     []string `json:",omitempty"`
}

// ofTheMoment are the namespaces of what means nothing later.
var ofTheMoment = [...]string{"http://jabber.org/protocol/chatstates", "urn:xmpp:receipts", "urn:xmpp:hints", "urn:xmpp:sid:0"}

// encodeDraft says, too, whether the draft is to be kept.
func encodeDraft(d confab.Draft) (b []byte, keep bool, err error) {
	if _, err := d.Element(); err != nil { // what cannot be sent is not kept
		return nil, false, err
	}
	keep = d.Body != "" || d.Subject != "" || d.SetSubject
	k := keptDraft{To: d.To.String(), Type: string(d.Type), ID: d.ID, Lang: d.Lang, Subject: d.Subject, Body: d.Body, Thread: d.Thread, SetSubject: d.SetSubject}
	for _, x := range d.Extra {
		el, err := confab.ToElement(x)
		if err != nil {
			return nil, false, fmt.Errorf("store: %w", err)
		}
		keep = keep || !slices.Contains(ofTheMoment[:], el.Name.Space)
		b, err := el.AppendXML(nil, "")
		if err != nil {
			return nil, false, fmt.Errorf("store: %w", err)
		}
		k.Extra = append(k.Extra, string(b))
	}
	b, err = json.Marshal(k)
	return b, keep, err
}

func decodeDraft(b []byte) (d confab.Draft, err error) {
	var k keptDraft
	if err := json.Unmarshal(b, &k); err != nil {
		return d, fmt.Errorf("a message of the outbox is damaged: %w", err)
	}
	d = confab.Draft{Type: stanza.MessageType(k.Type), ID: k.ID, Lang: k.Lang, Subject: k.Subject, Body: k.Body, Thread: k.Thread, SetSubject: k.SetSubject}
	if d.To, err = jid.Parse(k.To); err != nil {
		return d, fmt.Errorf("a message of the outbox is damaged: %w", err)
	}
	for _, x := range k.Extra {
		el, err := confab.ReadElement(xml.NewDecoder(bytes.NewReader([]byte(x))))
		if err != nil {
			return d, fmt.Errorf("a message of the outbox is damaged: %w", err)
		}
		d.Extra = append(d.Extra, el)
	}
	return d, nil
}
