package omemo

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/confab-im/confab/omemo/ratchet"
)

// The keys of this device.

const (
	bucketSelf   = "self"
	bucketPreKey = "prekey"
	bucketBegun  = "begun" // key exchanges with the prekeys that are still known

	keyIdentity = "identity"
	keyState    = "state"

	// preKeyCount is how many prekeys are published, and refillAt how few may be left
	// before there are new ones.
	preKeyCount = 100
	refillAt    = 80

	// rotateAfter is how long a signed prekey is the one that is published. The one
	// before it can be used as long again.
	rotateAfter = 14 * day
	keepSigned  = 2 * rotateAfter
)

// self is this device: its long-lived keys, and those that others begin sessions with.
type self struct {
	identity *ratchet.Identity
	state    selfState
	preKeys  map[uint32]*ratchet.PreKey // those that are published
	hidden   map[uint32]usedPreKey      // those that were used lately
}

// A usedPreKey can be used for a while longer: by somebody who has fetched the keys before
// its use was known, such as all those who write into a room at once, or while this
// device was away.
type usedPreKey struct {
	*ratchet.PreKey
	at time.Time
}

// keepUsed is how long.
const keepUsed = time.Hour

// selfState is what changes now and then.
type selfState struct {
	// NextID is the id of the next prekey, and NextSigned of the next signed one. No
	// id is used twice.
	NextID, NextSigned uint32
	// Signed has the signed prekeys, the one that is published first.
	Signed []signedPreKey
	// Announced says that the device was in the account's list once.
	Announced bool
}

type signedPreKey struct {
	Key     []byte // ratchet.PreKey
	Made    time.Time
	Retired time.Time `json:",omitzero"`

	key *ratchet.PreKey
}

// load reads the keys of this device, or makes them.
func (m *Manager) load(ctx context.Context) error {
	return m.st.update(ctx, func(tx Tx) error {
		b, err := tx.Get(bucketSelf, keyIdentity)
		if err != nil {
			return err
		}
		if b == nil {
			if err := m.create(tx); err != nil {
				return err
			}
		} else if err := m.read(tx, b); err != nil {
			return fmt.Errorf("omemo: the keys in the store: %w", err)
		}
		if err := m.refill(tx, time.Now()); err != nil {
			return err
		}
		if err := m.plain.load(tx, time.Now()); err != nil {
			return err
		}
		if err := m.loadCallers(tx); err != nil {
			return err
		}
		if err := m.rejected.load(tx); err != nil {
			return err
		}
		return tx.Scan(bucketMode, "", func(k string, v []byte) error {
			if len(v) == 1 {
				m.modes[k] = Mode(v[0])
			}
			return nil
		})
	})
}

// create makes a new device.
func (m *Manager) create(tx Tx) error {
	id, err := ratchet.NewIdentity(rand.Reader)
	if err != nil {
		return err
	}
	m.self.identity = id
	m.self.state = selfState{NextID: 1, NextSigned: 1}
	m.self.preKeys, m.self.hidden = map[uint32]*ratchet.PreKey{}, map[uint32]usedPreKey{}
	return m.newID(tx)
}

// newID draws another id for this device.
func (m *Manager) newID(tx Tx) error {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<31-1))
	if err != nil {
		return err
	}
	id := uint32(n.Int64()) + 1
	if err := m.putIdentity(tx, id); err != nil {
		return err
	}
	m.id.Store(id)
	return nil
}

func (m *Manager) putIdentity(tx Tx, id uint32) error {
	return tx.Put(bucketSelf, keyIdentity, append(binary.BigEndian.AppendUint32(nil, id), m.self.identity.Seed()...))
}

func (m *Manager) putState(tx Tx) error {
	b, err := json.Marshal(m.self.state)
	if err != nil {
		return err
	}
	return tx.Put(bucketSelf, keyState, b)
}

// read reads what create and the rest have written.
func (m *Manager) read(tx Tx, identity []byte) error {
	if len(identity) != 36 {
		return errors.New("the identity is damaged")
	}
	var err error
	m.id.Store(binary.BigEndian.Uint32(identity))
	if m.self.identity, err = ratchet.IdentityFromSeed(identity[4:]); err != nil {
		return err
	}
	b, err := tx.Get(bucketSelf, keyState)
	if err != nil {
		return err
	}
	if b == nil {
		return errors.New("the state is missing")
	}
	if err := json.Unmarshal(b, &m.self.state); err != nil {
		return err
	}
	for i := range m.self.state.Signed {
		s := &m.self.state.Signed[i]
		if s.key, err = ratchet.ParsePreKey(s.Key); err != nil {
			return err
		}
	}
	m.self.preKeys, m.self.hidden = map[uint32]*ratchet.PreKey{}, map[uint32]usedPreKey{}
	return tx.Scan(bucketPreKey, "", func(_ string, v []byte) error {
		if len(v) < 8 {
			return errors.New("a prekey is damaged")
		}
		k, err := ratchet.ParsePreKey(v[8:])
		if err != nil {
			return err
		}
		if at := int64(binary.BigEndian.Uint64(v)); at != 0 {
			m.self.hidden[k.ID()] = usedPreKey{k, time.Unix(at, 0)}
		} else {
			m.self.preKeys[k.ID()] = k
		}
		return nil
	})
}

func preKeyName(id uint32) string { return fmt.Sprintf("%08x", id) }

// begunKey names a key exchange: its session may be gone, but it begins no other.
func begunKey(k *ratchet.KeyExchange) string {
	base := k.Base()
	return preKeyName(k.PreKeyID) + hex.EncodeToString(base[:])
}

// putPreKey stores a prekey with when it was used, zero if it was not.
func putPreKey(tx Tx, k *ratchet.PreKey, used time.Time) error {
	var at uint64
	if !used.IsZero() {
		at = uint64(used.Unix())
	}
	return tx.Put(bucketPreKey, preKeyName(k.ID()), k.AppendBinary(binary.BigEndian.AppendUint64(nil, at)))
}

// refill makes the prekeys that are missing, and a new signed one when it is time, and
// lets go of those that were used. It is called in a transaction, with the lock held.
func (m *Manager) refill(tx Tx, now time.Time) error {
	st := &m.self.state
	changed := false
	if len(m.self.preKeys) < refillAt {
		for len(m.self.preKeys) < preKeyCount {
			k, err := ratchet.NewPreKey(rand.Reader, st.NextID)
			if err != nil {
				return err
			}
			st.NextID = nextPreKeyID(st.NextID)
			if err := putPreKey(tx, k, time.Time{}); err != nil {
				return err
			}
			m.self.preKeys[k.ID()] = k
		}
		changed = true
	}
	if len(st.Signed) == 0 || now.Sub(st.Signed[0].Made) >= rotateAfter {
		k, err := ratchet.NewPreKey(rand.Reader, st.NextSigned)
		if err != nil {
			return err
		}
		st.NextSigned = nextPreKeyID(st.NextSigned)
		if len(st.Signed) > 0 {
			st.Signed[0].Retired = now
		}
		st.Signed = slices.Insert(st.Signed, 0, signedPreKey{Key: k.AppendBinary(nil), Made: now, key: k})
		changed = true
	}
	for id, k := range m.self.hidden {
		if now.Sub(k.at) > keepUsed && !m.catchup.on {
			if err := tx.Delete(bucketPreKey, preKeyName(id)); err != nil {
				return err
			}
			if err := deleteAll(tx, bucketBegun, preKeyName(id)); err != nil {
				return err
			}
			delete(m.self.hidden, id)
		}
	}
	n := len(st.Signed)
	st.Signed = slices.DeleteFunc(st.Signed, func(s signedPreKey) bool {
		return !s.Retired.IsZero() && now.Sub(s.Retired) > keepSigned
	})
	if changed || len(st.Signed) != n {
		return m.putState(tx)
	}
	return nil
}

// nextPreKeyID counts from 1 to the highest id that no peer takes for something else.
func nextPreKeyID(id uint32) uint32 {
	if id >= ratchet.MaxPreKeyID {
		return 1
	}
	return id + 1
}

// clone copies what a transaction may change.
func (s *self) clone() self {
	c := *s
	c.preKeys, c.hidden = maps.Clone(s.preKeys), maps.Clone(s.hidden)
	c.state.Signed = slices.Clone(s.state.Signed)
	return c
}

// changeSelf changes the keys of this device, in the store and in memory, or neither.
func (m *Manager) changeSelf(ctx context.Context, f func(Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.self.clone()
	err := m.st.update(ctx, f)
	if err != nil {
		m.self = before
	}
	return err
}

// rotates reports whether it is time for a new signed prekey.
func (s *self) rotates(now time.Time) bool {
	return len(s.state.Signed) == 0 || now.Sub(s.state.Signed[0].Made) >= rotateAfter
}

// PreKey implements ratchet.PreKeySource.
func (s *self) PreKey(id uint32) *ratchet.PreKey {
	if k := s.preKeys[id]; k != nil {
		return k
	}
	return s.hidden[id].PreKey
}

// SignedPreKey implements ratchet.PreKeySource.
func (s *self) SignedPreKey(id uint32) *ratchet.PreKey {
	for _, k := range s.state.Signed {
		if k.key.ID() == id {
			return k.key
		}
	}
	return nil
}

// bundle makes the public keys of this device in one version.
func (s *self) bundle(v ratchet.Version) (*ratchet.Bundle, error) {
	keys := make([]*ratchet.PreKey, 0, len(s.preKeys))
	for _, k := range s.preKeys {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *ratchet.PreKey) int { return int(a.ID()) - int(b.ID()) })
	b := ratchet.NewBundle(v, s.identity, s.state.Signed[0].key, keys)
	return b, b.Verify() // nobody publishes what others would refuse
}
