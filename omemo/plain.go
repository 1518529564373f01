package omemo

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
)

// A message can be decrypted once. What it says is therefore kept, in the transaction
// that moves the ratchet, until the program has dealt with it: the server sends what was
// not acknowledged again, and it is read from here then. What this device has sent is
// kept, too, as rooms and archives give it back encrypted for the others only.

const (
	bucketPlain = "plain"
	bucketSent  = "sent"
	bucketSlot  = "sentslot"

	keepPlain = month
	keptSent  = 1000    // messages that this device has sent
	maxSent   = 1 << 16 // bytes of one
	// consumedAfter is when a message that a later stage has consumed counts as dealt
	// with.
	consumedAfter = time.Minute
	flushAfter    = time.Second
)

// plain knows what was decrypted and not yet handled.
type plain struct {
	old   map[string]bool // left by an earlier run of the program
	under []underWay
	gone  []string // handled, and to be deleted with the next transaction

	flushing bool // or soon by one of its own
}

type underWay struct {
	msg  *confab.Message
	hash string
	at   time.Time
}

// A kept message is one in the store.
type kept struct {
	V     ratchet.Version
	Key   ratchet.IdentityKey
	Trust Trust
	Text  []byte
	At    time.Time
}

// load finds what an earlier run has left.
func (p *plain) load(tx Tx, now time.Time) error {
	p.old = map[string]bool{}
	var stale []string
	err := tx.Scan(bucketPlain, "", func(k string, v []byte) error {
		var e kept
		if json.Unmarshal(v, &e) != nil || now.Sub(e.At) > keepPlain {
			stale = append(stale, k)
			return nil
		}
		p.old[k] = true
		return nil
	})
	for _, k := range stale {
		if err == nil {
			err = tx.Delete(bucketPlain, k)
		}
	}
	return err
}

// take returns what an earlier run has decrypted and not handled.
func (p *plain) take(ctx context.Context, st scoped, hash string) *kept {
	if !p.old[hash] {
		return nil
	}
	var e kept
	err := st.view(ctx, func(tx Tx) error {
		v, err := tx.Get(bucketPlain, hash)
		if err != nil {
			return err
		}
		return json.Unmarshal(v, &e)
	})
	if err != nil {
		return nil
	}
	delete(p.old, hash)
	return &e
}

// put keeps a message, and lets go of those that were handled.
func (p *plain) put(tx Tx, r *opened, v ratchet.Version, now time.Time) error {
	b, err := json.Marshal(kept{v, r.key, r.trust, r.plain, now})
	if err != nil {
		return err
	}
	if err := tx.Put(bucketPlain, r.hash, b); err != nil {
		return err
	}
	return p.flush(tx)
}

// flush deletes what was handled. Before the transaction is over it stays listed.
func (p *plain) flush(tx Tx) error {
	for _, h := range p.gone {
		if err := tx.Delete(bucketPlain, h); err != nil {
			return err
		}
	}
	return nil
}

// track notes a message that goes through the stages now.
func (p *plain) track(msg *confab.Message, hash string) {
	now := time.Now()
	p.under = slices.DeleteFunc(p.under, func(u underWay) bool {
		if now.Sub(u.at) > consumedAfter {
			p.gone = append(p.gone, u.hash)
			return true
		}
		return false
	})
	p.under = append(p.under, underWay{msg, hash, now})
}

// handled is an event for ourselves: when it is handled, so is the message before it.
type handled struct {
	m    *Manager
	hash string
}

// delivered sees a message behind all other stages.
func (m *Manager) delivered(_ context.Context, msg *confab.Message) error {
	if msg.Seal == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, u := range m.plain.under {
		if u.msg == msg {
			m.plain.under = slices.Delete(m.plain.under, i, i+1)
			m.s.Emit(handled{m, u.hash})
			break
		}
	}
	return nil
}

func (m *Manager) forgetPlain(e handled) {
	if e.m == m {
		m.forgetHash(e.hash)
		m.flushSoon()
	}
}

// flushSoon does what can wait, such as to delete what was handled, if no other transaction
// does it before, and before the session is closed.
func (m *Manager) flushSoon() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plain.flushing {
		return
	}
	m.plain.flushing = true
	m.s.Go(func(ctx context.Context) {
		t := time.NewTimer(flushAfter)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.plain.flushing = false
		m.tidy(context.WithoutCancel(ctx))
	})
}

// forgetHash lets a message be deleted, with the next transaction.
func (m *Manager) forgetHash(hash string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plain.gone = append(m.plain.gone, hash)
}

func sentKey(conv jid.JID, id string) string { return conv.String() + "\x00" + id }

// sent keeps what this device says, in the place of what it said long ago.
func (p *plain) sent(tx Tx, conv jid.JID, id string, text []byte) error {
	if id == "" || len(id) > 1024 || len(text) > maxSent {
		return p.flush(tx)
	}
	var n uint32
	next, err := tx.Get(bucketSlot, "next")
	if err != nil {
		return err
	}
	if len(next) == 4 {
		n = binary.BigEndian.Uint32(next) % keptSent
	}
	slot := itoa(n)
	was, err := tx.Get(bucketSlot, slot)
	if err != nil {
		return err
	}
	key := sentKey(conv, id)
	if was != nil && string(was) != key {
		if err := tx.Delete(bucketSent, string(was)); err != nil {
			return err
		}
	}
	for _, put := range [...]struct {
		bucket, key string
		value       []byte
	}{
		{bucketSent, key, text}, {bucketSlot, slot, []byte(key)}, {bucketSlot, "next", binary.BigEndian.AppendUint32(nil, n+1)},
	} {
		if err := tx.Put(put.bucket, put.key, put.value); err != nil {
			return err
		}
	}
	return p.flush(tx)
}

// find returns what this device has said, nil if it is not known any more.
func (p *plain) find(tx Tx, conv jid.JID, id string) ([]byte, error) {
	return tx.Get(bucketSent, sentKey(conv, id))
}
