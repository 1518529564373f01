package omemo

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
)

// Trust is what the user thinks of a key.
type Trust uint8

// The values of Trust. Messages are encrypted only for Blind and Verified keys.
const (
	// Undecided keys wait for a decision.
	Undecided Trust = iota
	// Blind keys are used though nobody has compared the fingerprint.
	Blind
	// Verified keys are those whose fingerprint was compared.
	Verified
	// Distrusted keys are not used.
	Distrusted
)

// String returns the name of the constant.
func (t Trust) String() string {
	if int(t) < len(trustNames) {
		return trustNames[t]
	}
	return fmt.Sprintf("Trust(%d)", t)
}

var trustNames = [...]string{"Undecided", "Blind", "Verified", "Distrusted"}

// used reports whether messages are encrypted for a key.
func (t Trust) used() bool { return t == Blind || t == Verified }

// A Policy says what is thought of keys that nobody has decided about.
type Policy uint8

const (
	// BlindBeforeVerified trusts every key of an account until the user has verified
	// one of it; from then on new keys are Undecided. It is what most clients do.
	BlindBeforeVerified Policy = iota
	// Ask leaves every new key Undecided: nothing is sent before a decision.
	Ask
)

const bucketTrust = "trust"

func trustKey(addr jid.JID, k ratchet.IdentityKey) string {
	return addr.String() + "\x00" + k.Hex()
}

// trustOf returns what is thought of a key, and whether it is known.
func trustOf(tx Tx, addr jid.JID, k ratchet.IdentityKey) (t Trust, known bool, err error) {
	v, err := tx.Get(bucketTrust, trustKey(addr, k))
	if err != nil || len(v) == 0 {
		return Undecided, false, err
	}
	return Trust(v[0]), true, nil
}

// appendDecision writes what is thought of a key, the key, and when it was decided: zero if
// nobody has.
func appendDecision(t Trust, k ratchet.IdentityKey, at time.Time) ([]byte, error) {
	text, err := k.MarshalText()
	if err != nil {
		return nil, err
	}
	b := append([]byte{byte(t)}, text...)
	if !at.IsZero() {
		b = append(b, 0)
		b = strconv.AppendInt(b, at.Unix(), 10)
	}
	return b, nil
}

// parseDecision reads it.
func parseDecision(v []byte) (t Trust, k ratchet.IdentityKey, at time.Time, err error) {
	if len(v) == 0 {
		return t, k, at, errors.New("omemo: what is stored of a key is damaged")
	}
	text, when, ok := bytes.Cut(v[1:], []byte{0})
	if ok {
		n, err := strconv.ParseInt(string(when), 10, 64)
		if err != nil {
			return t, k, at, err
		}
		at = time.Unix(n, 0)
	}
	return Trust(v[0]), k, at, k.UnmarshalText(text)
}

// setTrust stores what is thought of a key, with the key in all forms that were seen. When
// the user has decided about it last stays.
func setTrust(tx Tx, addr jid.JID, k ratchet.IdentityKey, t Trust) error {
	return decide(tx, addr, k, t, time.Time{})
}

// decide stores what was decided about a key at some time.
func decide(tx Tx, addr jid.JID, k ratchet.IdentityKey, t Trust, at time.Time) error {
	v, err := tx.Get(bucketTrust, trustKey(addr, k))
	if err != nil {
		return err
	}
	if len(v) > 0 {
		_, was, when, err := parseDecision(v)
		if err != nil {
			return err
		}
		if k.OnlyV1() {
			k = was
		}
		if at.IsZero() {
			at = when
		}
	}
	b, err := appendDecision(t, k, at)
	if err != nil {
		return err
	}
	return tx.Put(bucketTrust, trustKey(addr, k), b)
}

// decideLater stores what another device has decided at some time, unless something was
// decided later: messages come late, and in any order. It reports whether
// it counts. Times have whole seconds, as they have on the wire.
func decideLater(tx Tx, d decision) (bool, error) {
	v, err := tx.Get(bucketTrust, trustKey(d.addr, d.key))
	if err != nil {
		return false, err
	}
	if len(v) > 0 {
		if _, _, when, err := parseDecision(v); err != nil || d.at.Unix() < when.Unix() {
			return false, err
		}
	}
	return true, decide(tx, d.addr, d.key, d.trust, d.at)
}

// keysOf calls f for every known key of an account, or of all if addr is zero.
func keysOf(tx Tx, addr jid.JID, f func(addr jid.JID, k ratchet.IdentityKey, t Trust) error) error {
	prefix := addr.String() + "\x00"
	if addr.String() == "" {
		prefix = ""
	}
	return tx.Scan(bucketTrust, prefix, func(name string, v []byte) error {
		t, k, _, err := parseDecision(v)
		if err != nil {
			return nil
		}
		owner, _, _ := strings.Cut(name, "\x00")
		a, err := jid.Parse(owner)
		if err != nil {
			return nil
		}
		return f(a, k, t)
	})
}

// fresh says what is thought of a key that is seen for the first time.
func (m *Manager) fresh(tx Tx, addr jid.JID) (Trust, error) {
	if m.cfg.Policy == Ask {
		return Undecided, nil
	}
	t := Blind
	err := keysOf(tx, addr, func(_ jid.JID, _ ratchet.IdentityKey, was Trust) error {
		if was == Verified {
			t = Undecided
		}
		return nil
	})
	return t, err
}

// meet returns what is thought of a key, and whether it was not known before; then it
// is now.
func (m *Manager) meet(tx Tx, addr jid.JID, k ratchet.IdentityKey) (t Trust, met bool, err error) {
	t, known, err := trustOf(tx, addr, k)
	if err != nil || known {
		return t, false, err
	}
	if t, err = m.fresh(tx, addr); err != nil {
		return t, false, err
	}
	return t, true, setTrust(tx, addr, k, t)
}

// SetTrust decides about a key of somebody, or of another device of the user. The
// other devices of the user, and for the user's own keys those of contacts, are told in
// the background, if their keys are verified themselves (XEP-0450). The event is
// [TrustChanged].
func (m *Manager) SetTrust(ctx context.Context, addr jid.JID, k ratchet.IdentityKey, t Trust) error {
	if t != Blind && t != Verified && t != Distrusted && t != Undecided {
		return fmt.Errorf("omemo: there is no trust %d", t)
	}
	if addr.String() == "" || k.IsZero() {
		return errors.New("omemo: SetTrust needs an address and a key")
	}
	addr = addr.Bare()
	now := time.Now()
	m.mu.Lock()
	var learned []decision
	err := m.st.update(ctx, func(tx Tx) error {
		if err := decide(tx, addr, k, t, now); err != nil {
			return err
		}
		v, err := tx.Get(bucketTrust, trustKey(addr, k))
		if err == nil {
			_, k, _, err = parseDecision(v) // a fingerprint is not all of a key
		}
		if err != nil {
			return err
		}
		if t != Verified {
			return nil
		}
		learned, err = m.believe(tx, addr, k)
		return err
	})
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.trustChanged(ctx, append(learned, decision{addr, k, t, now}))
	if t == Verified || t == Distrusted {
		m.spread(decision{addr, k, t, now})
	}
	return nil
}

// trustChanged tells the user, for every device that has one of the keys.
func (m *Manager) trustChanged(ctx context.Context, all []decision) {
	for _, c := range all {
		ds, err := m.Devices(ctx, c.addr)
		if err != nil {
			return
		}
		for _, d := range ds {
			if d.Key.Same(c.key) {
				m.s.Emit(TrustChanged{d})
			}
		}
	}
}

// ParseFingerprint reads a fingerprint as people see it: 64 hexadecimal digits, in
// groups or not.
func ParseFingerprint(s string) (ratchet.IdentityKey, error) {
	digits := strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\n', '\t', '\r', ':', '-', '\u00a0':
			return -1
		}
		return r
	}, s)
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != 32 {
		return ratchet.IdentityKey{}, errors.New("omemo: a fingerprint has 64 hexadecimal digits")
	}
	return ratchet.ParseFingerprint(digits)
}
