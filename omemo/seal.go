package omemo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Outbound: drafts are sealed.

const bucketSession = "session"

// fallbackText is what clients show that know no OMEMO.
const fallbackText = "I sent you an OMEMO encrypted message but your client doesn't seem to support that."

func sessionKey(v ratchet.Version, addr jid.JID, id uint32) string {
	return addr.String() + "\x00" + v.String() + "\x00" + itoa(id)
}

// getRecord returns the sessions with a device; a new record if there are none.
func getRecord(tx Tx, v ratchet.Version, addr jid.JID, id uint32) (*ratchet.Record, error) {
	b, err := tx.Get(bucketSession, sessionKey(v, addr, id))
	if err != nil {
		return nil, err
	}
	rec := ratchet.NewRecord(v)
	if b == nil {
		return rec, nil
	}
	if err := rec.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("omemo: the sessions with %s, device %d, in the store: %w", addr, id, err)
	}
	return rec, nil
}

func putRecord(tx Tx, v ratchet.Version, addr jid.JID, id uint32, rec *ratchet.Record) error {
	b, err := rec.AppendBinary(nil)
	if err != nil {
		return err
	}
	return tx.Put(bucketSession, sessionKey(v, addr, id), b)
}

// seal encrypts a draft if its conversation is encrypted.
func (m *Manager) seal(ctx context.Context, d *confab.Draft) error {
	children := make([]*confab.Element, 0, len(d.Extra))
	for _, x := range d.Extra {
		el, err := confab.ToElement(x)
		if err != nil {
			return err
		}
		if el.Name.Local == "encrypted" && (el.Name.Space == NSv1 || el.Name.Space == NSv2) {
			return nil // our own, or the program has done it
		}
		children = append(children, el)
	}
	conv, room, peer, err := m.conversation(d, children)
	if err != nil {
		return err
	}
	if m.Mode(conv) == Off || !hasContent(d, children) {
		return nil
	}
	if room.String() != "" && m.cfg.Rooms == nil {
		return ErrNoRooms
	}
	addrs := []jid.JID{m.addr}
	switch {
	case peer.String() == "": // everybody in the room
		members, err := m.cfg.Rooms.Members(ctx, room)
		if err != nil {
			return fmt.Errorf("omemo: who is in %s: %w", room, err)
		}
		for _, a := range members {
			if a = a.Bare(); !slices.ContainsFunc(addrs, a.Equal) {
				addrs = append(addrs, a)
			}
		}
	case !peer.Equal(m.addr):
		addrs = append(addrs, peer)
	}
	c, err := m.contentOf(d, children, room, peer)
	if err != nil {
		return err
	}
	sealed, err := m.encrypt(ctx, conv, peer, addrs, c, d.ID)
	if err != nil {
		return err
	}
	c.apply(d, sealed)
	d.Seal = &confab.Seal{Scheme: sealed.scheme(), Sender: m.self.identity.Key().Fingerprint(), Trusted: true}
	return nil
}

// conversation says which conversation a draft is of. Room is set for what is said in a
// room, and peer for what is said to one account: both for private messages in rooms.
func (m *Manager) conversation(d *confab.Draft, children []*confab.Element) (conv, room, peer jid.JID, err error) {
	conv = d.To.Bare()
	if d.Type == stanza.GroupChatMessage {
		return conv, conv, jid.JID{}, nil
	}
	private := slices.ContainsFunc(children, func(c *confab.Element) bool { return c.Name.Space == nsMUCUser })
	if d.To.Resourcepart() != "" && m.cfg.Rooms != nil {
		if real := m.cfg.Rooms.RealJID(d.To, ""); real.String() != "" {
			return conv, jid.JID{}, real.Bare(), nil
		}
	}
	if private && d.To.Resourcepart() != "" && m.Mode(conv) != Off {
		if m.cfg.Rooms == nil {
			return conv, conv, conv, ErrNoRooms
		}
		return conv, conv, conv, ErrAnonymous
	}
	return conv, jid.JID{}, conv, nil
}

// hasContent reports whether a draft says something, and not only what somebody does,
// has got or has seen, or what clients and servers have to do with each other.
func hasContent(d *confab.Draft, children []*confab.Element) bool {
	if d.Body != "" {
		return true
	}
	if d.Subject != "" || d.SetSubject {
		// The topic of a room is no message, and the room has to read it.
		return d.Type != stanza.GroupChatMessage
	}
	form := d.Type == stanza.NormalMessage // for a room, such as a request for voice
	return slices.ContainsFunc(children, func(c *confab.Element) bool {
		if c.Is("urn:xmpp:message-retract:1", "retract") {
			return true // who takes back what was encrypted does so encrypted
		}
		return !stays(c) && !pointsOnly(c) && !forClients(c) && !(form && c.Name.Space == "jabber:x:data")
	})
}

// forClients reports whether an element is an agreement between clients, which starts
// before there is anything to encrypt: calls and invitations.
func forClients(c *confab.Element) bool {
	ns := c.Name.Space
	return ns == "jabber:x:conference" || strings.HasPrefix(ns, "urn:xmpp:jingle-message:") || strings.HasPrefix(ns, "urn:xmpp:call-invites:")
}

// content is what a draft says, in the form of each version.
type content struct {
	sce      []byte // of version 2
	text     string // of version 1
	hasText  bool
	outside  []*confab.Element // for servers
	pointers []*confab.Element // outside in version 1 only
	thread   string
	store    bool // a hint to keep it is to be added
}

func (m *Manager) contentOf(d *confab.Draft, children []*confab.Element, room, peer jid.JID) (*content, error) {
	c := &content{text: d.Body, hasText: d.Body != "", thread: d.Thread, store: true}
	e := envelope{from: m.addr, to: peer, stamp: time.Now()}
	if room.String() != "" {
		e.to = room
	}
	text := func(local, s string) {
		if s != "" {
			e.content = append(e.content, confab.El(confab.NSClient, local).SetText(s))
		}
	}
	text("subject", d.Subject)
	text("body", d.Body)
	text("thread", d.Thread)
	for _, el := range children {
		if stays(el) {
			c.outside = append(c.outside, el)
			if el.Name.Space == nsHints {
				c.store = false
			}
			continue
		}
		e.content = append(e.content, el)
		switch {
		case pointsOnly(el):
			p := *el // without what it says: the reason of a retraction
			if el.Name.Space == "urn:xmpp:message-retract:1" {
				p.Children, p.Text = nil, ""
			}
			c.pointers = append(c.pointers, &p)
		case el.Is("urn:xmpp:reactions:0", "reactions") && !c.hasText:
			// Version 1 has no way to encrypt a reaction: it becomes an answer.
			for r := range el.All("urn:xmpp:reactions:0", "reaction") {
				if c.hasText {
					c.text += " "
				}
				c.text, c.hasText = c.text+r.Text, true
			}
			if c.hasText {
				c.pointers = append(c.pointers, confab.El("urn:xmpp:reply:0", "reply").Set("id", el.Get("id")))
			}
		}
	}
	if d.Subject != "" && c.hasText {
		c.text = d.Subject + "\n\n" + c.text
	} else if d.Subject != "" {
		c.text, c.hasText = d.Subject, true
	}
	var err error
	c.sce, err = e.marshal()
	return c, err
}

// sealed is what encrypt makes: an element for each version that somebody needs.
type sealed struct{ v1, v2 *confab.Element }

func (s sealed) scheme() string {
	if s.v2 != nil {
		return NSv2
	}
	return NSv1
}

// apply puts what was encrypted in the place of what was said.
func (c *content) apply(d *confab.Draft, s sealed) {
	d.Body, d.Subject, d.SetSubject, d.Thread = "", "", false, ""
	d.Extra = nil
	add := func(els ...*confab.Element) {
		for _, el := range els {
			d.Extra = append(d.Extra, el)
		}
	}
	if s.v2 != nil {
		add(s.v2)
	}
	if s.v1 != nil {
		d.Body, d.Thread = fallbackText, c.thread
		add(s.v1)
		add(c.pointers...)
	}
	add(c.outside...)
	add(eme(s.scheme()))
	if c.store {
		add(confab.El(nsHints, "store"))
	}
}

func eme(ns string) *confab.Element {
	return confab.El(nsEME, "encryption").Set("namespace", ns).Set("name", "OMEMO")
}

// encrypt encrypts for all devices of accounts. Peer is the one that has to be reached;
// zero in a room.
func (m *Manager) encrypt(ctx context.Context, conv, peer jid.JID, addrs []jid.JID, c *content, id string) (sealed, error) {
	b := batch{m: m, conv: conv, peer: peer, addrs: addrs, c: c, id: id, trouble: m.ensure(ctx, addrs)}
	if err := ctx.Err(); err != nil {
		return sealed{}, err
	}
	first := b
	out, err := first.try(ctx, true)
	if err != nil || len(first.missing) == 0 {
		return out, err
	}
	m.fetchBundles(ctx, first.missing)
	if err := ctx.Err(); err != nil {
		return sealed{}, err
	}
	b.fetched = map[string]*target{}
	for i := range first.missing {
		t := &first.missing[i]
		b.fetched[sessionKey(t.v, t.addr, t.id)] = t
	}
	return b.try(ctx, false)
}

// batch is the encryption of one message.
type batch struct {
	m          *Manager
	conv, peer jid.JID
	addrs      []jid.JID
	c          *content
	id         string
	trouble    map[string]error   // lists that could not be had
	fetched    map[string]*target // keys that were fetched, by session

	todo        []work
	missing     []target // those that have no session yet
	done        []work
	failures    []Failure
	news        []any
	unreachable *UnreachableError
}

// try encrypts in one transaction. If it has to be complete and sessions are missing,
// nothing happens.
func (b *batch) try(ctx context.Context, complete bool) (out sealed, err error) {
	m := b.m
	m.mu.Lock()
	defer m.mu.Unlock()
	err = m.st.update(ctx, func(tx Tx) error {
		if err := b.plan(tx); err != nil || complete && len(b.missing) > 0 {
			return err
		}
		out, err = b.run(tx)
		return err
	})
	if err != nil {
		for _, a := range b.addrs {
			m.forgetPeer(a)
		}
		return sealed{}, err
	}
	m.plain.gone = nil
	m.tell(b.news)
	if b.unreachable != nil {
		return sealed{}, b.unreachable
	}
	if len(b.failures) > 0 && (!complete || len(b.missing) == 0) {
		m.s.Emit(Skipped{To: b.conv, Failures: b.failures})
	}
	for _, w := range b.done {
		m.answered(w.target)
	}
	return out, nil
}

type work struct {
	target
	rec   *ratchet.Record
	fresh bool // the session is to be begun
}

// plan finds the devices, and those without a session.
func (b *batch) plan(tx Tx) error {
	m := b.m
	for _, a := range b.addrs {
		p, err := m.peer(tx, a)
		if err != nil {
			return err
		}
		if p.OptOut {
			b.failures = append(b.failures, Failure{Addr: a, Err: ErrOptedOut})
			continue
		}
		found := false
		for _, d := range p.Devices {
			v, ok := d.version()
			if !ok || a.Equal(m.addr) && d.ID == m.id.Load() {
				continue
			}
			found = true
			rec, err := getRecord(tx, v, a, d.ID)
			if err != nil {
				return err
			}
			w := work{target: target{addr: a, id: d.ID, v: v}, rec: rec, fresh: !rec.Ready()}
			b.todo = append(b.todo, w)
			if w.fresh {
				b.missing = append(b.missing, w.target)
			}
		}
		if !found && !a.Equal(m.addr) {
			err := b.trouble[a.String()]
			if err == nil {
				err = ErrNoDevices
			}
			b.failures = append(b.failures, Failure{Addr: a, Err: err})
		}
	}
	return nil
}

// run encrypts for the devices of the plan. What it learns of keys is kept even if
// nobody can be reached.
func (b *batch) run(tx Tx) (out sealed, err error) {
	m := b.m
	var ready []work
	reached := map[string]bool{}
	for _, w := range b.todo {
		err := b.begin(tx, &w)
		if isStore(err) {
			return out, err
		}
		if err == nil && w.v == ratchet.V1 && m.cfg.OnlyV2 {
			err = ErrOnlyV1
		}
		if err == nil && w.v == ratchet.V1 && !b.c.hasText {
			err = ErrOnlyText
		}
		if err != nil {
			b.failures = append(b.failures, Failure{Addr: w.addr, Device: w.id, Err: err})
			continue
		}
		ready = append(ready, w)
		reached[w.addr.String()] = true
	}
	// Somebody has to be reached: in a chat the other one, or another device for notes
	// to oneself. A room may be empty but for us.
	others := len(reached)
	if reached[m.addr.String()] {
		others--
	}
	if b.peer.String() != "" && !reached[b.peer.String()] || b.peer.String() == "" && others == 0 && len(b.failures) > 0 {
		b.unreachable = &UnreachableError{To: b.conv, Failures: b.failures}
		return out, nil
	}
	var v1, v2 []work
	for _, w := range ready {
		if w.v == ratchet.V2 {
			v2 = append(v2, w)
		} else {
			v1 = append(v1, w)
		}
	}
	if len(v1) > 0 {
		key, iv, enc, err := ratchet.SealV1(rand.Reader, []byte(b.c.text))
		if err != nil {
			return out, err
		}
		keys, err := encryptKeys(tx, v1, key)
		if err != nil {
			return out, err
		}
		out.v1 = encryptedElement(ratchet.V1, m.id.Load(), keys, iv, enc)
	}
	if len(v2) > 0 || len(v1) == 0 {
		key, enc, err := ratchet.SealV2(rand.Reader, b.c.sce)
		if err != nil {
			return out, err
		}
		keys, err := encryptKeys(tx, v2, key)
		if err != nil {
			return out, err
		}
		out.v2 = encryptedElement(ratchet.V2, m.id.Load(), keys, nil, enc)
	}
	for _, a := range b.addrs {
		if p, err := m.peer(tx, a); err != nil {
			return out, err
		} else if reached[a.String()] && !p.Known && !a.Equal(m.addr) {
			p.Known = true
			if err := m.putPeer(tx, a, p); err != nil {
				return out, err
			}
		}
	}
	b.done = ready
	return out, m.plain.sent(tx, b.conv, b.id, b.c.sce)
}

// begin looks whether the key of a device is trusted, and begins a session if there is
// none.
func (b *batch) begin(tx Tx, w *work) error {
	m := b.m
	key := w.rec.Identity()
	if w.fresh {
		t := b.fetched[sessionKey(w.v, w.addr, w.id)]
		switch {
		case t == nil:
			return ErrBundle // a session that has gone since the plan
		case t.err != nil:
			return t.err
		}
		w.bundle, key = t.bundle, t.bundle.Identity
	}
	p, err := m.peer(tx, w.addr)
	if err != nil {
		return storeError{err}
	}
	trust, changed, err := m.note(tx, w.addr, p, w.id, key, &b.news)
	if err == nil && changed {
		err = m.putPeer(tx, w.addr, p)
	}
	if err != nil {
		return storeError{err}
	}
	if !trust.used() {
		return fmt.Errorf("%w (%s)", ErrUntrusted, strings.ToLower(trust.String()))
	}
	if !w.fresh {
		return nil
	}
	if err := w.rec.Start(rand.Reader, m.self.identity, m.id.Load(), w.bundle, choosePreKey(w.bundle)); err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return nil
}

// encryptKeys encrypts a key for devices and keeps the state of the sessions.
func encryptKeys(tx Tx, ws []work, key []byte) ([]sealedKey, error) {
	keys := make([]sealedKey, 0, len(ws))
	for _, w := range ws {
		s, err := w.rec.Encrypt(key)
		if err != nil {
			return nil, err
		}
		if err := putRecord(tx, w.v, w.addr, w.id, w.rec); err != nil {
			return nil, err
		}
		keys = append(keys, sealedKey{to: w.addr, rid: w.id, kex: s.KeyExchange, data: s.Data})
	}
	return keys, nil
}

// choosePreKey draws one of the prekeys, but not that with the id 0 if there are
// others: some clients publish it and cannot use it.
func choosePreKey(b *ratchet.Bundle) uint32 {
	ids := make([]uint32, 0, len(b.PreKeys))
	for _, k := range b.PreKeys {
		if k.ID != 0 || len(b.PreKeys) == 1 {
			ids = append(ids, k.ID)
		}
	}
	return ids[random(len(ids))]
}

// storeError is an error of the store, for which the whole message fails.
type storeError struct{ error }

func (e storeError) Unwrap() error { return e.error }

func isStore(err error) bool {
	var s storeError
	return errors.As(err, &s)
}
