package omemo

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Messages without content keep sessions in order: they answer who has begun one, move
// a ratchet that went in one direction for long, and begin a session in the place of one
// that is lost.

const (
	answerAfter = time.Second // a message of the user's may do it until then
	retryAfter  = 5 * time.Second
	// quiet is how long nothing old must come until catching up is over.
	quiet = 10 * time.Second
	// longest is how long what is owed waits at most: anybody can have a message look
	// old.
	longest = 10 * time.Minute
	// Lost sessions of a device are replaced so often at most, and those of an
	// account so many in that time.
	healEvery = time.Hour
	healsMost = 10

	maxOwed    = 10_000
	maxWaiting = 500     // messages in all
	maxEach    = 50      // of one device
	maxWaits   = 1 << 17 // bytes of one, with all that is around it
)

// catchup is the time in which old messages come.
type catchup struct {
	on    bool
	since time.Time
	last  time.Time
	owed  map[string]target // devices to be answered
	heal  map[string]target // sessions to be replaced
}

// past notes that an old message comes.
func (c *catchup) past(m *Manager) {
	m.mu.Lock()
	c.last = time.Now()
	if !c.on {
		c.on, c.since = true, c.last
	}
	m.mu.Unlock()
	m.later("catch-up", quiet, m.endCatchup)
}

// endCatchup sends what is owed.
func (m *Manager) endCatchup(ctx context.Context) error {
	m.mu.Lock()
	if left := quiet - time.Since(m.catchup.last); left > 0 && time.Since(m.catchup.since) < longest {
		m.mu.Unlock()
		m.later("catch-up", left, m.endCatchup)
		return nil
	}
	m.catchup.on = false
	owed, heal := m.catchup.owed, m.catchup.heal
	m.catchup.heal = nil
	m.mu.Unlock()
	err := m.changeSelf(ctx, func(tx Tx) error { return m.refill(tx, time.Now()) })
	for _, k := range slices.Sorted(maps.Keys(owed)) {
		m.later("answer "+k, 0, func(ctx context.Context) error { return m.answer(ctx, k) })
	}
	for _, k := range slices.Sorted(maps.Keys(heal)) {
		m.healLater(heal[k])
	}
	return err
}

// owesAnswer notes that a device waits for a message of ours, whatever it says.
func (m *Manager) owesAnswer(addr jid.JID, id uint32, v ratchet.Version) {
	k := sessionKey(v, addr, id)
	m.mu.Lock()
	if m.catchup.owed == nil {
		m.catchup.owed = map[string]target{}
	}
	if len(m.catchup.owed) < maxOwed {
		m.catchup.owed[k] = target{addr: addr, id: id, v: v}
	}
	on := m.catchup.on
	m.mu.Unlock()
	if !on {
		m.later("answer "+k, answerAfter, func(ctx context.Context) error { return m.answer(ctx, k) })
	}
}

// answered notes that a message has gone to a device. The lock is held.
func (m *Manager) answered(t target) { delete(m.catchup.owed, sessionKey(t.v, t.addr, t.id)) }

func (m *Manager) answer(ctx context.Context, k string) error {
	m.mu.Lock()
	t, ok := m.catchup.owed[k]
	delete(m.catchup.owed, k)
	m.mu.Unlock()
	if !ok {
		return nil
	}
	return m.sendEmpty(ctx, t)
}

// sendEmpty sends a message without content. If t has a bundle, it begins a session.
func (m *Manager) sendEmpty(ctx context.Context, t target) error {
	key, iv, err := ratchet.EmptyKey(t.v, rand.Reader)
	if err != nil {
		return err
	}
	var keys []sealedKey
	m.mu.Lock()
	err = m.st.update(ctx, func(tx Tx) error {
		rec, err := getRecord(tx, t.v, t.addr, t.id)
		if err != nil {
			return err
		}
		if t.bundle != nil {
			if err := rec.Start(rand.Reader, m.self.identity, m.id.Load(), t.bundle, choosePreKey(t.bundle)); err != nil {
				return fmt.Errorf("%w: %w", ErrBundle, err)
			}
		}
		if !rec.Ready() {
			return nil
		}
		keys, err = encryptKeys(tx, []work{{target: t, rec: rec}}, key)
		return err
	})
	m.mu.Unlock()
	if err != nil || keys == nil {
		return err
	}
	_, err = m.s.SendMessage(ctx, confab.Draft{To: t.addr, Type: stanza.ChatMessage, Extra: []any{
		encryptedElement(t.v, m.id.Load(), keys, iv, nil), confab.El(nsHints, "store"),
	}})
	return err
}

// ReplaceSession begins a new session with a device of somebody, in the place of one
// with which something is wrong: their messages cannot be read, or ours not by them. It
// tells the device so by a message without content.
func (m *Manager) ReplaceSession(ctx context.Context, addr jid.JID, id uint32) error {
	addr = addr.Bare()
	t, err := m.find(ctx, addr, id)
	if err != nil {
		return err
	}
	if t.bundle, err = m.fetchBundle(ctx, t.v, addr, id); err != nil {
		return err
	}
	if err := m.meetDevice(ctx, addr, id, t.bundle.Identity); err != nil {
		return err
	}
	return m.sendEmpty(ctx, t)
}

// find returns a device that is in a list of its account.
func (m *Manager) find(ctx context.Context, addr jid.JID, id uint32) (target, error) {
	for _, fresh := range [...]bool{false, true} {
		if fresh {
			if err := m.Refresh(ctx, addr); err != nil {
				return target{}, err
			}
		}
		m.mu.Lock()
		var v ratchet.Version
		ok := false
		err := m.st.view(ctx, func(tx Tx) error {
			p, err := m.peer(tx, addr)
			if d := p.device(id); err == nil && d != nil {
				v, ok = d.version()
			}
			return err
		})
		m.mu.Unlock()
		if err != nil || ok {
			return target{addr: addr, id: id, v: v}, err
		}
	}
	return target{}, fmt.Errorf("%w: %s has no device %d", ErrNoDevices, addr, id)
}

// heal replaces a session that is lost on this side, if that is what an error says.
func (o *opening) heal(err error) {
	if !o.revealed {
		return
	}
	if !errors.Is(err, ratchet.ErrNoSession) && !errors.Is(err, ratchet.ErrUnknownPreKey) && !errors.Is(err, ratchet.ErrUnknownSignedPreKey) {
		return
	}
	m := o.m
	if o.from.String() == "" || o.from.Equal(m.addr) && o.device == m.id.Load() {
		return
	}
	t := target{addr: o.from, id: o.device, v: o.in.v}
	m.mu.Lock()
	on := m.catchup.on
	if on {
		if m.catchup.heal == nil {
			m.catchup.heal = map[string]target{}
		}
		if len(m.catchup.heal) < maxOwed {
			m.catchup.heal[sessionKey(t.v, t.addr, t.id)] = t
		}
	}
	m.mu.Unlock()
	if !on {
		m.healLater(t)
	}
}

// healLater replaces a session, if that was not done lately.
func (m *Manager) healLater(t target) {
	m.mu.Lock()
	ok := m.budget.heal(t)
	m.mu.Unlock()
	if ok {
		m.later("heal "+sessionKey(t.v, t.addr, t.id), 0, func(ctx context.Context) error {
			err := m.ReplaceSession(ctx, t.addr, t.id)
			if errors.Is(err, ErrBundle) || errors.Is(err, ErrNoDevices) {
				return nil // a device that is gone, or never was
			}
			return err
		})
	}
}

// checkListed asks for the devices of somebody if a message came from one that is in
// none of the lists.
func (m *Manager) checkListed(addr jid.JID, id uint32) {
	m.mu.Lock()
	p := m.peers[addr.String()]
	known := p == nil
	if p != nil {
		d := p.device(id)
		known = d != nil && (d.V1 || d.V2)
	}
	ask := !known && time.Since(p.at) > budgetEvery
	m.mu.Unlock()
	if ask {
		m.later("devices "+addr.String(), 0, func(ctx context.Context) error {
			_ = m.Refresh(ctx, addr) // it is asked again when there is something to send
			return nil
		})
	}
}

// waiting are messages that came before the session that they are of.
type waiting struct {
	by    map[string][]*confab.Message // by sender and device
	count int
}

// waits reports whether a message that cannot be read may be readable later.
func (o *opening) waits(err error) bool {
	return o.from.String() != "" && weight(o.msg.Stanza) <= maxWaits && (errors.Is(err, ratchet.ErrNoSession) || errors.Is(err, ratchet.ErrMAC) || errors.Is(err, ErrTooMany))
}

// weight is about how many bytes an element takes.
func weight(el *confab.Element) int {
	n := 64 + len(el.Text) + len(el.Tail)
	for _, a := range el.Attr {
		n += 32 + len(a.Value)
	}
	for _, c := range el.Children {
		n += weight(c)
	}
	return n
}

func (m *Manager) keepWaiting(addr jid.JID, id uint32, msg *confab.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &m.waiting
	if w.by == nil {
		w.by = map[string][]*confab.Message{}
	}
	k := addr.String() + "\x00" + itoa(id)
	c := *msg
	if len(w.by[k]) >= maxEach {
		w.by[k] = w.by[k][1:]
		w.count--
	}
	for old := range w.by { // any: who has many is met sooner
		if w.count < maxWaiting {
			break
		}
		if old != k {
			w.count -= len(w.by[old])
			delete(w.by, old)
		}
	}
	if w.count < maxWaiting {
		w.by[k] = append(w.by[k], &c)
		w.count++
	}
}

// retry reads the messages again that waited for a session with a device. Those that
// cannot be read now, either, were told of already.
func (m *Manager) retry(ctx context.Context, addr jid.JID, id uint32) {
	k := addr.String() + "\x00" + itoa(id)
	m.mu.Lock()
	msgs := m.waiting.by[k]
	delete(m.waiting.by, k)
	m.waiting.count -= len(msgs)
	m.mu.Unlock()
	ctx = context.WithValue(ctx, again{}, true)
	for i, msg := range msgs {
		if got, err := m.s.Inject(ctx, confab.StageDecrypt, msg); err == nil && got != nil {
			m.s.Emit(got)
		}
		m.mu.Lock()
		w := &m.waiting
		kept := slices.ContainsFunc(w.by[k], func(c *confab.Message) bool { return c.Stanza == msg.Stanza })
		if kept { // the store still fails: those behind wait, too
			w.by[k] = append(w.by[k], msgs[i+1:]...)
			w.count += len(msgs) - i - 1
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
	}
}

func random(n int) int {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return int(uint64(binary.BigEndian.Uint32(b[:])) % uint64(n))
}
