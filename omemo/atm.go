package omemo

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Automatic trust management (XEP-0450): what the user has decided about a key on one
// device is told to those devices that are verified themselves, in trust messages
// (XEP-0434), which exist in version 2 only.

const (
	nsTM  = "urn:xmpp:tm:1"
	nsATM = "urn:xmpp:atm:1"

	bucketPending = "atm" // what was said by devices that are not verified yet

	maxDecisions = 1000 // of one message
	maxPending   = 1000 // of one device
	maxTold      = 1000 // keys of one account, when others tell of more
)

// A decision is what was decided about a key.
type decision struct {
	addr  jid.JID
	key   ratchet.IdentityKey
	trust Trust
	at    time.Time
}

// trustElement writes decisions, by owner. Keys that were seen in version 1 only cannot be
// told.
func trustElement(ds []decision) *confab.Element {
	el := confab.El(nsTM, "trust-message").Set("usage", nsATM).Set("encryption", NSv2)
	by := map[string]*confab.Element{}
	for _, d := range ds {
		key := d.key.Wire(ratchet.V2)
		if key == nil {
			continue
		}
		name := "trust"
		if d.trust == Distrusted {
			name = "distrust"
		}
		owner := by[d.addr.String()]
		if owner == nil {
			owner = confab.El(nsTM, "key-owner").Set("jid", d.addr.String())
			by[d.addr.String()] = owner
			el.Add(owner)
		}
		owner.Add(base64Element(nsTM, name, key))
	}
	if len(el.Children) == 0 {
		return nil
	}
	return el
}

// parseTrust reads decisions that were told at some time.
func parseTrust(el *confab.Element, at time.Time) []decision {
	if now := time.Now(); at.After(now) {
		at = now // a clock that is wrong does not decide for good
	}
	if el.Get("usage") != nsATM || el.Get("encryption") != NSv2 {
		return nil
	}
	var ds []decision
	for owner := range el.All(nsTM, "key-owner") {
		addr, err := jid.Parse(owner.Get("jid"))
		if err != nil || addr.String() == "" {
			continue
		}
		for _, c := range owner.Children {
			t := Verified
			switch {
			case c.Is(nsTM, "distrust"):
				t = Distrusted
			case !c.Is(nsTM, "trust"):
				continue
			}
			b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(c.FullText()))
			if err != nil {
				continue
			}
			k, err := ratchet.ParseIdentityKey(ratchet.V2, b)
			if err != nil {
				continue
			}
			if ds = append(ds, decision{addr.Bare(), k, t, at}); len(ds) == maxDecisions {
				return ds
			}
		}
	}
	return ds
}

// spread tells others what the user has decided.
func (m *Manager) spread(d decision) {
	m.later("trust "+d.addr.String()+d.key.Hex(), 0, func(ctx context.Context) error {
		own := d.addr.Equal(m.addr)
		isKey := func(k ratchet.IdentityKey) bool { return k.Same(d.key) }
		notKey := func(k ratchet.IdentityKey) bool { return !k.Same(d.key) }
		// The user's other devices hear of every decision, contacts of those about the
		// user's own keys.
		if err := m.tellTrust(ctx, m.addr, notKey, []decision{d}); err != nil {
			return err
		}
		var verified []decision
		err := m.st.view(ctx, func(tx Tx) error {
			return keysOf(tx, jid.JID{}, func(a jid.JID, k ratchet.IdentityKey, t Trust) error {
				if t == Verified {
					verified = append(verified, decision{a, k, t, time.Time{}})
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		told := map[string]bool{m.addr.String(): true}
		if own {
			for _, v := range verified {
				if told[v.addr.String()] {
					continue
				}
				told[v.addr.String()] = true
				if err := m.tellTrust(ctx, v.addr, notKey, []decision{d}); err != nil {
					return err
				}
			}
		}
		if d.trust != Verified {
			return nil
		}
		// The device that is verified now hears of the user's keys; if it is one of the
		// user's, of all keys.
		news := []decision{{m.addr, m.self.identity.Key(), Verified, time.Time{}}}
		for _, v := range verified {
			if (own || v.addr.Equal(m.addr)) && !v.key.Same(d.key) {
				news = append(news, v)
			}
		}
		return m.tellTrust(ctx, d.addr, isKey, news)
	})
}

// tellTrust sends a trust message to those devices of an account that speak version 2, are
// verified, and have a key that is accepted.
func (m *Manager) tellTrust(ctx context.Context, to jid.JID, accept func(ratchet.IdentityKey) bool, ds []decision) error {
	el := trustElement(ds)
	if el == nil {
		return nil
	}
	m.ensure(ctx, []jid.JID{to})
	all, err := m.Devices(ctx, to)
	if err != nil {
		return err
	}
	var works []work
	var missing []target
	m.mu.Lock()
	err = m.st.view(ctx, func(tx Tx) error {
		for _, d := range all {
			if d.Self || !d.V2 || d.Trust != Verified || !accept(d.Key) {
				continue
			}
			t := target{addr: to, id: d.ID, v: ratchet.V2}
			rec, err := getRecord(tx, t.v, to, d.ID)
			if err != nil {
				return err
			}
			if rec.Ready() {
				works = append(works, work{target: t})
			} else {
				missing = append(missing, t)
			}
		}
		return nil
	})
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.fetchBundles(ctx, missing)
	for _, t := range missing {
		if t.bundle != nil && accept(t.bundle.Identity) {
			works = append(works, work{target: t, fresh: true})
		}
	}
	if len(works) == 0 {
		return nil
	}
	e := envelope{content: []*confab.Element{el}, from: m.addr, to: to, stamp: time.Now()}
	plain, err := e.marshal()
	if err != nil {
		return err
	}
	key, payload, err := ratchet.SealV2(rand.Reader, plain)
	if err != nil {
		return err
	}
	var keys []sealedKey
	m.mu.Lock()
	err = m.st.update(ctx, func(tx Tx) error {
		keys = nil
		for i := range works {
			w := &works[i]
			if w.rec, err = getRecord(tx, w.v, w.addr, w.id); err != nil {
				return err
			}
			if w.fresh && !w.rec.Ready() {
				if err := w.rec.Start(rand.Reader, m.self.identity, m.id.Load(), w.bundle, choosePreKey(w.bundle)); err != nil {
					return err
				}
			}
		}
		keys, err = encryptKeys(tx, works, key)
		return err
	})
	m.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = m.s.SendMessage(ctx, confab.Draft{To: to, Type: stanza.ChatMessage, Extra: []any{
		encryptedElement(ratchet.V2, m.id.Load(), keys, nil, payload), eme(NSv2), confab.El(nsHints, "store"),
	}})
	return err
}

// trustMessage takes what another device says of keys. It ends a message that says only
// that.
func (m *Manager) trustMessage(ctx context.Context, o *opening, r *opened) error {
	el := o.msg.Stanza.Child(nsTM, "trust-message")
	if el == nil {
		return nil
	}
	st := *o.msg.Stanza // nobody else has to do with it
	st.Children = nil
	rest := false
	for _, c := range o.msg.Stanza.Children {
		if c != el {
			st.Children = append(st.Children, c)
			rest = rest || !keepsOutside(c)
		}
	}
	o.msg.Stanza = &st
	if o.in.v == ratchet.V2 && !o.stamp.IsZero() && o.room.String() == "" {
		if err := m.takeTrust(ctx, r, parseTrust(el, o.stamp)); err != nil {
			m.s.Emit(Failed{err})
		}
	}
	if rest {
		return nil
	}
	m.forgetHash(r.hash)
	return confab.ErrConsumed
}

// takeTrust applies decisions of a verified device, and keeps those of others until they
// are.
func (m *Manager) takeTrust(ctx context.Context, r *opened, ds []decision) error {
	var applied []decision
	m.mu.Lock()
	err := m.st.update(ctx, func(tx Tx) error {
		applied = nil
		trust, _, err := trustOf(tx, r.from, r.key)
		if err != nil {
			return err
		}
		count := 0
		prefix := trustKey(r.from, r.key) + "\x00"
		if trust != Verified {
			if err := tx.Scan(bucketPending, prefix, func(string, []byte) error { count++; return nil }); err != nil {
				return err
			}
		}
		for _, d := range ds {
			// A contact decides about their own keys only.
			if !r.from.Equal(m.addr) && !d.addr.Equal(r.from) || d.key.Same(m.self.identity.Key()) {
				continue
			}
			if trust == Verified {
				if full, err := isFull(tx, d); err != nil {
					return err
				} else if full {
					continue
				}
				ok, err := decideLater(tx, d)
				if err != nil {
					return err
				}
				if ok {
					applied = append(applied, d)
				}
				continue
			}
			if count++; count > maxPending {
				break
			}
			if err := putPending(tx, prefix+d.addr.String()+"\x00"+d.key.Hex(), d); err != nil {
				return err
			}
		}
		// What the devices have said that are verified by this counts, too.
		for i := 0; i < len(applied) && len(applied) < maxDecisions; i++ {
			if applied[i].trust != Verified {
				continue
			}
			more, err := m.believe(tx, applied[i].addr, applied[i].key)
			if err != nil {
				return err
			}
			applied = append(applied, more...)
		}
		return nil
	})
	m.mu.Unlock()
	if err == nil {
		m.trustChanged(ctx, applied)
	}
	return err
}

// isFull reports whether a key is not known and there are enough of its account.
func isFull(tx Tx, d decision) (bool, error) {
	if _, known, err := trustOf(tx, d.addr, d.key); err != nil || known {
		return false, err
	}
	n := 0
	err := keysOf(tx, d.addr, func(jid.JID, ratchet.IdentityKey, Trust) error { n++; return nil })
	return n >= maxTold, err
}

// putPending keeps what a device has said that is not verified yet, unless it has said
// something later already.
func putPending(tx Tx, name string, d decision) error {
	was, err := tx.Get(bucketPending, name)
	if err != nil {
		return err
	}
	if was != nil {
		if _, _, at, err := parseDecision(was); err == nil && d.at.Unix() < at.Unix() {
			return nil
		}
	}
	b, err := appendDecision(d.trust, d.key, d.at)
	if err != nil {
		return err
	}
	return tx.Put(bucketPending, name, b)
}

// forgetPending drops what a device has said that was never verified.
func forgetPending(tx Tx, addr jid.JID, k ratchet.IdentityKey) error {
	return deleteAll(tx, bucketPending, trustKey(addr, k)+"\x00")
}

// believe applies what a device has said before it was verified.
func (m *Manager) believe(tx Tx, addr jid.JID, k ratchet.IdentityKey) ([]decision, error) {
	var ds []decision
	var names []string
	prefix := trustKey(addr, k) + "\x00"
	err := tx.Scan(bucketPending, prefix, func(name string, v []byte) error {
		names = append(names, name)
		owner, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "\x00")
		a, err := jid.Parse(owner)
		if t, key, at, bad := parseDecision(v); err == nil && bad == nil {
			ds = append(ds, decision{a, key, t, at})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if err := tx.Delete(bucketPending, n); err != nil {
			return nil, err
		}
	}
	var applied []decision
	for _, d := range ds {
		ok, err := decideLater(tx, d)
		if err != nil {
			return nil, err
		}
		if ok {
			applied = append(applied, d)
		}
	}
	return applied, nil
}
