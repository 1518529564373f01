package omemo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Inbound: messages are opened.

// open decrypts a message, if it is encrypted.
func (m *Manager) open(ctx context.Context, msg *confab.Message) error {
	if msg.Stanza.Child(nsSCE, "envelope") != nil { // nobody has encrypted this
		st := *msg.Stanza
		st.Children = slices.DeleteFunc(slices.Clone(st.Children), func(c *confab.Element) bool { return c.Name.Space == nsSCE })
		msg.Stanza = &st
	}
	has := false
	for _, v := range versions {
		has = has || msg.Stanza.Child(v.Namespace(), "encrypted") != nil
	}
	if !has {
		return m.inClear(msg)
	}
	if msg.Source == confab.Archive || msg.Source == confab.Offline || msg.Source == confab.RoomHistory {
		m.catchup.past(m)
	}
	o := &opening{m: m, msg: msg}
	err := o.open(ctx)
	if err == nil {
		return nil
	}
	if errors.Is(err, confab.ErrConsumed) {
		return err
	}
	first := ctx.Value(again{}) == nil
	waits := first && o.waits(err)
	if !ours(err) { // the store, most likely: it may do better soon
		waits = true
		from, id := o.from, o.device
		m.later("retry "+from.String()+"\x00"+itoa(id), retryAfter, func(ctx context.Context) error {
			m.retry(ctx, from, id)
			return nil
		})
	}
	if waits {
		m.keepWaiting(o.from, o.device, msg)
	}
	if first {
		m.s.Emit(Undecryptable{Message: msg, From: o.from, Device: o.device, Err: err, Waiting: waits})
		o.heal(err)
	}
	return confab.ErrConsumed
}

// ours reports whether an error says something of the message: any other is one of the
// store.
func ours(err error) bool {
	for _, e := range [...]error{ErrMalformed, ErrNotForThisDevice, ErrUnknownSender, ErrContent, ErrTooMany,
		ratchet.ErrMalformed, ratchet.ErrMAC, ratchet.ErrDuplicate, ratchet.ErrSkipLimit, ratchet.ErrNoSession,
		ratchet.ErrUnknownPreKey, ratchet.ErrUnknownSignedPreKey, ratchet.ErrPayload} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// again marks the context of messages that are tried once more.
type again struct{}

// inClear takes a message that nobody has encrypted.
func (m *Manager) inClear(msg *confab.Message) error {
	conv := msg.From.Bare()
	if conv.Equal(m.addr) {
		conv = msg.To.Bare()
	}
	if oo := msg.Stanza.Child(NSv2, "opt-out"); oo != nil && !conv.Equal(m.addr) && msg.Type != stanza.GroupChatMessage && msg.Source != confab.Archive {
		m.later("opt-out "+conv.String(), 0, func(ctx context.Context) error {
			changed, err := m.changePeer(ctx, conv, func(_ Tx, p *peer) (bool, error) {
				was := p.OptOut
				p.OptOut = true
				return !was, nil
			})
			if changed {
				m.s.Emit(OptedOut{Addr: conv, Reason: oo.ChildText(NSv2, "reason")})
			}
			return err
		})
	}
	if m.Mode(conv) != Required || msg.Source == confab.Archive && !msg.By.Equal(m.addr) && !msg.By.Equal(conv) {
		return nil
	}
	if conv.Localpart() == "" || !msg.HasBody && !msg.HasSubject && (msg.Type == stanza.NormalMessage || msg.Type == stanza.HeadlineMessage) {
		return nil // of a server, or an event
	}
	if msg.Type == stanza.GroupChatMessage && msg.From.Resourcepart() == "" && !msg.HasBody {
		return nil // of the room itself: what was moderated
	}
	d := confab.Draft{Type: msg.Type, Body: msg.Body}
	if !msg.HasBody && msg.HasSubject {
		d.Subject, d.SetSubject = msg.Subject, true
	}
	var children []*confab.Element
	for _, c := range msg.Stanza.Children {
		if c.Name.Space != confab.NSClient && c.Name.Space != "urn:xmpp:delay" && c.Name.Space != "urn:xmpp:occupant-id:0" {
			children = append(children, c)
		}
	}
	if !hasContent(&d, children) {
		return nil
	}
	if !m.toldRejected(msg, conv) {
		m.s.Emit(Rejected{msg})
	}
	return confab.ErrConsumed
}

// opening is a message that is being decrypted.
type opening struct {
	m      *Manager
	msg    *confab.Message
	from   jid.JID // bare
	room   jid.JID // it was said in
	device uint32
	in     incoming
	guess  bool // the room does not tell who it is from
	// Who has sent it is no stranger, and may know that this device is there.
	known, revealed bool
	stamp           time.Time
}

func (o *opening) open(ctx context.Context) error {
	m, msg := o.m, o.msg
	self := m.Own().ID
	var fails error
	for _, v := range versions {
		el := msg.Stanza.Child(v.Namespace(), "encrypted")
		if el == nil {
			continue
		}
		in, err := parseEncrypted(v, el, m.addr, self)
		if err != nil {
			fails = errors.Join(fails, err)
			continue
		}
		if o.in.v == 0 || len(o.in.keys) == 0 {
			o.in = in
		}
		if len(in.keys) > 0 {
			break
		}
	}
	if o.in.v == 0 {
		return fails
	}
	o.device = o.in.sid
	senders, err := o.senders(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(senders, m.addr.Equal) && o.in.sid == self {
		return o.reflected(ctx)
	}
	if len(o.in.keys) == 0 {
		if !o.in.hasPayload {
			return confab.ErrConsumed // an empty message for another device
		}
		return ErrNotForThisDevice
	}
	for _, from := range senders {
		o.from = from
		if err := o.meets(ctx, from); err != nil {
			return err
		}
		if err = o.decrypt(ctx, from); err == nil || errors.Is(err, confab.ErrConsumed) || len(senders) == 1 {
			return err
		}
		fails = errors.Join(fails, err)
	}
	if len(senders) > 1 {
		o.from = jid.JID{}
	}
	return fails
}

// senders returns the accounts that the message can be from: one, but for old messages
// of rooms.
func (o *opening) senders(ctx context.Context) ([]jid.JID, error) {
	m, msg := o.m, o.msg
	rooms := m.cfg.Rooms
	occupant := func() jid.JID {
		if rooms == nil {
			return jid.JID{}
		}
		return rooms.RealJID(msg.From, msg.Stanza.Child("urn:xmpp:occupant-id:0", "occupant-id").Get("id")).Bare()
	}
	if msg.Type != stanza.GroupChatMessage {
		o.from = msg.From.Bare()
		if msg.From.Resourcepart() == "" || o.from.Equal(m.addr) {
			return []jid.JID{o.from}, nil
		}
		if a := occupant(); a.String() != "" {
			o.from = a
			return []jid.JID{a}, nil
		}
		if msg.Stanza.Child(nsMUCUser, "x") == nil {
			return []jid.JID{o.from}, nil
		}
		// A copy of what was said to another device, in a room that this one is not in.
		o.from = jid.JID{}
		return o.guessSender()
	}
	o.room = msg.From.Bare()
	old := msg.Source == confab.Archive && msg.By.Equal(o.room) || msg.Source == confab.RoomHistory
	if old {
		// The room says itself who it was, if it does at all.
		if j, err := jid.Parse(msg.Stanza.Child(nsMUCUser, "x").Child(nsMUCUser, "item").Get("jid")); err == nil && j.String() != "" {
			o.from = j.Bare()
			return []jid.JID{o.from}, nil
		}
	}
	if a := occupant(); a.String() != "" {
		o.from = a
		return []jid.JID{a}, nil
	}
	if !old {
		return nil, ErrUnknownSender
	}
	return o.guessSender()
}

// guessSender returns those who have a device with the id of the sender's. Which of them
// it was is told by the key: see [opening.try].
func (o *opening) guessSender() ([]jid.JID, error) {
	m := o.m
	o.guess = true
	var all []jid.JID
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.loadPeers(); err != nil {
		return nil, err
	}
	for k, p := range m.peers {
		if p.device(o.in.sid) != nil && len(all) < maxTries {
			if a, err := jid.Parse(k); err == nil {
				all = append(all, a)
			}
		}
	}
	if len(all) == 0 {
		if o.in.sid == m.id.Load() {
			return []jid.JID{m.addr}, nil
		}
		return nil, ErrUnknownSender
	}
	return all, nil
}

// decrypt decrypts the message as one of an account.
func (o *opening) decrypt(ctx context.Context, from jid.JID) error {
	m := o.m
	m.mu.Lock()
	var fails error
	for _, k := range o.in.keys {
		res, err := o.try(ctx, from, k)
		if err == nil {
			m.mu.Unlock()
			return o.done(ctx, res)
		}
		if errors.Is(err, confab.ErrConsumed) {
			m.mu.Unlock()
			return err
		}
		fails = errors.Join(fails, err)
	}
	m.mu.Unlock()
	return fails
}

// opened is what came of a message.
type opened struct {
	from  jid.JID
	key   ratchet.IdentityKey
	trust Trust
	plain []byte // nil for an empty message
	hash  string
	res   ratchet.Opened
	news  []any
	begun bool // a session is new
}

// try decrypts with one of the keys. The lock is held.
func (o *opening) try(ctx context.Context, from jid.JID, k sealedKey) (*opened, error) {
	m := o.m
	if o.in.v == ratchet.V1 && !k.kex {
		k.kex = ratchet.LooksLikeKeyExchange(k.data) // some clients forget to say so
	}
	sum := sha256.Sum256(append([]byte(from.String()+"\x00"+itoa(o.in.sid)+"\x00"), k.data...))
	r := &opened{from: from, hash: hex.EncodeToString(sum[:])}
	if k := m.plain.take(ctx, m.st, r.hash); k != nil { // decrypted by a run of the program that did not get to it
		r.key, r.trust, r.plain = k.Key, k.Trust, k.Text
		return r, nil
	}
	var hide *ratchet.PreKey
	var caller callers
	now, past := time.Now(), m.catchup.on
	rotates := m.self.rotates(now)
	err := m.st.update(ctx, func(tx Tx) error {
		rec, err := getRecord(tx, o.in.v, from, o.in.sid)
		if err != nil {
			return err
		}
		var begun string
		if kex, err := ratchet.ParseKeyExchange(o.in.v, k.data); k.kex && err == nil && !rec.Knows(k.data) {
			if !m.budget.take(from, o.known, past) {
				return ErrTooMany
			}
			begun = begunKey(&kex)
			was, err := tx.Get(bucketBegun, begun)
			if err != nil {
				return err
			}
			if was != nil {
				return ratchet.ErrUnknownPreKey // its session is gone: nobody replays what it began
			}
		}
		if r.res, err = rec.Decrypt(rand.Reader, m.self.identity, &m.self, k.data, k.kex); err != nil {
			return err
		}
		if err := o.payload(r); err != nil {
			return err // the ratchet stays where it was: an intact copy may come
		}
		r.key = r.res.Identity
		p, err := m.peer(tx, from)
		if err != nil {
			return err
		}
		if d := p.device(o.in.sid); o.guess && (d == nil || d.Key.IsZero() || !d.Key.Same(r.key)) {
			return ErrUnknownSender // only a key that is known can tell who it is
		}
		var changed bool
		if r.trust, changed, err = m.note(tx, from, p, o.in.sid, r.key, &r.news); err != nil {
			return err
		}
		if changed {
			if err := m.putPeer(tx, from, p); err != nil {
				return err
			}
		}
		if id := r.res.PreKeyID; r.res.NewSession {
			r.begun = true
			if err := tx.Put(bucketBegun, begun, []byte{1}); err != nil {
				return err
			}
			if hide = m.self.preKeys[id]; hide != nil {
				if err := putPreKey(tx, hide, now); err != nil {
					return err
				}
			}
		}
		if caller, err = m.called(tx, from, o.known, r.begun, now); err != nil {
			return err
		}
		if err := putRecord(tx, o.in.v, from, o.in.sid, rec); err != nil {
			return err
		}
		if r.plain == nil {
			return m.plain.flush(tx)
		}
		return m.plain.put(tx, r, o.in.v, now)
	})
	switch {
	case errors.Is(err, ratchet.ErrDuplicate):
		return nil, confab.ErrConsumed
	case err != nil:
		m.forgetPeer(from)
		return nil, err
	}
	m.plain.gone = nil
	m.count(caller)
	if hide != nil {
		delete(m.self.preKeys, r.res.PreKeyID)
		m.self.hidden[r.res.PreKeyID] = usedPreKey{hide, now}
	}
	if hide != nil || rotates {
		m.republish()
	}
	return r, nil
}

// payload decrypts what the message says, with the key that the session has given.
func (o *opening) payload(r *opened) error {
	if !o.in.hasPayload {
		return nil
	}
	var err error
	if o.in.v == ratchet.V2 {
		r.plain, err = ratchet.OpenV2(r.res.Plain, o.in.payload)
	} else {
		r.plain, err = ratchet.OpenV1(r.res.Plain, o.in.iv, o.in.payload)
	}
	if err == nil && r.plain == nil {
		r.plain = []byte{}
	}
	return err
}

// done puts what was decrypted in the place of what came, and does what follows.
func (o *opening) done(ctx context.Context, r *opened) error {
	m := o.m
	m.tell(r.news)
	if r.begun {
		m.retry(ctx, r.from, o.in.sid)
	}
	if o.revealed {
		if r.begun || r.res.Heartbeat {
			m.owesAnswer(r.from, o.in.sid, o.in.v)
		}
		m.checkListed(r.from, o.in.sid)
	}
	if r.plain == nil {
		return confab.ErrConsumed
	}
	if err := o.show(r.plain, r.from); err != nil {
		m.forgetHash(r.hash)
		return err
	}
	o.msg.Seal = &confab.Seal{Scheme: o.in.v.Namespace(), Sender: r.key.Fingerprint(), Trusted: r.trust.used(),
		Stamp: o.stamp.UTC(), Displaced: displaced(o.stamp, o.msg.When())}
	m.mu.Lock()
	m.plain.track(o.msg, r.hash)
	m.mu.Unlock()
	return m.trustMessage(ctx, o, r)
}

// show changes the message to what it says.
func (o *opening) show(plain []byte, from jid.JID) error {
	v2 := o.in.v == ratchet.V2
	st := *o.msg.Stanza
	st.Children = nil
	for _, c := range o.msg.Stanza.Children {
		if keepsOutside(c) || !v2 && pointsOnly(c) {
			st.Children = append(st.Children, c)
		}
	}
	if v2 {
		e, err := parseEnvelope(plain, from, o.room)
		if err != nil {
			return err
		}
		if !o.meant(e.to) {
			return fmt.Errorf("%w: the envelope is to somebody else than the stanza", ErrContent)
		}
		o.stamp = e.stamp
		for _, c := range e.content {
			if o.room.String() != "" && c.Is(confab.NSClient, "subject") {
				continue // the topic of a room is the room's
			}
			st.Children = append(st.Children, c)
		}
	} else {
		st.Children = append(st.Children, confab.El(confab.NSClient, "body").SetText(string(plain)))
	}
	d, err := o.m.s.DecodeMessage(&st)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	msg := o.msg
	msg.Stanza = &st
	msg.Body, msg.HasBody, msg.Subject, msg.HasSubject, msg.Thread = d.Body, d.HasBody, d.Subject, d.HasSubject, d.Thread
	return nil
}

// meant reports whether a message came where its envelope is to, if that says it: what was
// said in a room is not said in private, nor to somebody else (XEP-0420 §3).
func (o *opening) meant(to jid.JID) bool {
	m, msg := o.m, o.msg
	to = to.Bare()
	if o.room.String() != "" || to.String() == "" { // rooms: see parseEnvelope
		return true
	}
	if msg.To.String() == "" || !msg.From.Bare().Equal(m.addr) {
		return to.Equal(m.addr) // also if it came by way of a room
	}
	if to.Equal(msg.To.Bare()) {
		return true
	}
	// A copy of what the user said in private to an occupant is to the real address.
	if msg.To.Resourcepart() == "" {
		return false
	}
	if m.cfg.Rooms != nil {
		if real := m.cfg.Rooms.RealJID(msg.To, ""); real.String() != "" {
			return to.Equal(real.Bare())
		}
	}
	return msg.Stanza.Child(nsMUCUser, "x") != nil
}

// keepsOutside reports whether an element beside the encryption is believed: it is of
// servers and rooms, not of the sender.
func keepsOutside(c *confab.Element) bool {
	switch c.Name.Space {
	case "urn:xmpp:delay", "urn:xmpp:occupant-id:0":
		return true
	case NSv2:
		return false
	}
	return stays(c)
}

// reflected takes a message of this device that comes back: from a room, or out of an
// archive.
func (o *opening) reflected(ctx context.Context) error {
	m, msg := o.m, o.msg
	o.from = m.addr
	conv := msg.To.Bare()
	if o.room.String() != "" {
		conv = o.room
	}
	id := msg.OriginID()
	if id == "" {
		id = msg.ID
	}
	m.mu.Lock()
	var plain []byte
	err := m.st.view(ctx, func(tx Tx) (err error) {
		plain, err = m.plain.find(tx, conv, id)
		return err
	})
	m.mu.Unlock()
	if err != nil || plain == nil {
		if !o.in.hasPayload {
			return confab.ErrConsumed
		}
		return errors.Join(ErrNotForThisDevice, err)
	}
	o.in.v = ratchet.V2 // what is kept is an envelope
	scheme := NSv1
	if msg.Stanza.Child(NSv2, "encrypted") != nil {
		scheme = NSv2
	}
	if err := o.show(plain, m.addr); err != nil {
		return err
	}
	msg.Seal = &confab.Seal{Scheme: scheme, Sender: m.Own().Key.Fingerprint(), Trusted: true}
	return nil
}
