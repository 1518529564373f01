package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxArchived is how many former sessions with a device are kept.
const maxArchived = 40

// A Record has the sessions with one device, in one version. Make one with [NewRecord].
// It may be used from one goroutine at a time.
type Record struct {
	v Version
	// sessions has the one that is written with first, then the others, the last used
	// before the rest. A session is replaced, never changed, so that a failure leaves
	// no trace.
	sessions []*session
}

// NewRecord makes a record without sessions.
func NewRecord(v Version) *Record { return &Record{v: v} }

// Version returns the version of the sessions.
func (r *Record) Version() Version { return r.v }

// Ready reports whether there is a session, so that Encrypt can be called.
func (r *Record) Ready() bool { return len(r.sessions) > 0 }

// Identity returns the other device's key, as the session has it that is written with;
// zero if there is none.
func (r *Record) Identity() IdentityKey {
	if !r.Ready() {
		return IdentityKey{}
	}
	return r.sessions[0].peer
}

// String does not tell secrets.
func (r *Record) String() string { return fmt.Sprintf("Record(%d sessions)", len(r.sessions)) }

// GoString does not, either.
func (r *Record) GoString() string { return r.String() }

// Start begins a session with the device that has published a bundle, which was
// verified, with one of its prekeys. Messages carry the key exchange until the device
// has answered. In V1 they tell a registration id, which is the own device's id by
// custom; 0 leaves it out.
func (r *Record) Start(rand io.Reader, self *Identity, registrationID uint32, b *Bundle, preKeyID uint32) error {
	if b.Version != r.v {
		return fmt.Errorf("%w: a bundle of another version", ErrMalformed)
	}
	s, err := start(rand, self, b, preKeyID, registrationID)
	if err != nil {
		return err
	}
	r.promote(s, -1)
	return nil
}

// promote makes s the session that is written with, in the place of the i-th.
func (r *Record) promote(s *session, i int) {
	all := make([]*session, 0, len(r.sessions)+1)
	all = append(all, s)
	for j, o := range r.sessions {
		if j != i && len(all) <= maxArchived {
			all = append(all, o)
		}
	}
	r.sessions = all
}

// Sealed is a key that was encrypted for a device.
type Sealed struct {
	// Data is what is sent.
	Data []byte
	// KeyExchange says that it begins a session, or repeats how.
	KeyExchange bool
}

// Encrypt encrypts what is short, such as the key of a payload. The record has to be
// stored before the result is sent: no key is used twice then.
func (r *Record) Encrypt(plain []byte) (Sealed, error) {
	if !r.Ready() {
		return Sealed{}, ErrNoSession
	}
	s := *r.sessions[0]
	if s.n == 1<<32-1 {
		return Sealed{}, fmt.Errorf("%w: the chain is at its end", ErrMalformed)
	}
	data := s.encrypt(plain)
	r.set(0, &s)
	return Sealed{Data: data, KeyExchange: s.pending}, nil
}

// set replaces a session without touching the slice that others may have.
func (r *Record) set(i int, s *session) {
	all := append(make([]*session, 0, len(r.sessions)), r.sessions...)
	all[i] = s
	r.sessions = all
}

// A PreKeySource finds the own prekeys; nil if there is none with an id.
type PreKeySource interface {
	PreKey(id uint32) *PreKey
	SignedPreKey(id uint32) *PreKey
}

// Opened is what came of a message.
type Opened struct {
	// Plain is what was encrypted.
	Plain []byte
	// Identity is the key of the device that has sent it.
	Identity IdentityKey
	// NewSession says that the message has begun a session, with the prekey PreKeyID,
	// which is used up: nobody may begin another with it.
	NewSession bool
	PreKeyID   uint32
	// Heartbeat says that the other side has sent much without an answer: a message
	// without content is due (XEP-0384 §5.3.6). It is said once.
	Heartbeat bool
}

// Knows reports whether a message begins a session that was begun by an earlier one, so
// that it costs no work on curves.
func (r *Record) Knows(data []byte) bool {
	k, err := ParseKeyExchange(r.v, data)
	return err == nil && r.find(&k) >= 0
}

// find returns the place of the session that a key exchange has begun, or -1.
func (r *Record) find(k *KeyExchange) int {
	for i, s := range r.sessions {
		if !s.initiator && s.base == k.base && s.peer.Same(k.Identity) && s.preKeyID == k.PreKeyID && s.signedID == k.SignedPreKeyID {
			return i
		}
	}
	return -1
}

// Decrypt decrypts what a device has sent; keyExchange says that the sender says that it
// begins a session. After an error the record is what it was.
func (r *Record) Decrypt(rand io.Reader, self *Identity, keys PreKeySource, data []byte, keyExchange bool) (Opened, error) {
	if !keyExchange {
		m, err := parseMessage(r.v, data)
		if err != nil {
			return Opened{}, err
		}
		return r.tryAll(rand, &m)
	}
	k, err := ParseKeyExchange(r.v, data)
	if err != nil {
		return Opened{}, err
	}
	m, err := parseMessage(r.v, k.inner)
	if err != nil {
		return Opened{}, err
	}
	if i := r.find(&k); i >= 0 {
		return r.try(rand, i, &m, true)
	}
	signed := keys.SignedPreKey(k.SignedPreKeyID)
	if signed == nil {
		return Opened{}, ErrUnknownSignedPreKey
	}
	pre := keys.PreKey(k.PreKeyID)
	if pre == nil {
		return Opened{}, ErrUnknownPreKey
	}
	s, err := answerTo(r.v, self, &k, pre, signed)
	if err != nil {
		return Opened{}, err
	}
	o, err := s.opened(rand, &m)
	if err != nil {
		return Opened{}, err
	}
	o.NewSession, o.PreKeyID = true, k.PreKeyID
	if r.Ready() && r.sessions[0].initiator && r.sessions[0].pending {
		own := *r.sessions[0]
		own.rival, s.rival = true, true
		r.set(0, &own)
	}
	r.promote(s, -1)
	return o, nil
}

// tryAll finds the session that a message is of.
func (r *Record) tryAll(rand io.Reader, m *message) (Opened, error) {
	if !r.Ready() {
		return Opened{}, ErrNoSession
	}
	// A session that knows the key of the message is asked first, and only it can say
	// that there are copies or too many missing.
	var fails error
	for _, sure := range [...]bool{true, false} {
		for i, s := range r.sessions {
			if s.has(m.key) != sure {
				continue
			}
			o, err := r.try(rand, i, m, false)
			if err == nil || sure && !errors.Is(err, ErrMAC) {
				return o, err
			}
			if fails == nil || errors.Is(fails, ErrMAC) {
				fails = err
			}
		}
	}
	return Opened{}, fails
}

// has reports whether a ratchet key of the other side was seen in a session.
func (s *session) has(k PublicKey) bool {
	if s.hasRecv && s.theirs == k || s.known(k) {
		return true
	}
	for i := range s.skipped {
		if s.skipped[i].theirs == k {
			return true
		}
	}
	return false
}

// try decrypts with one session.
func (r *Record) try(rand io.Reader, i int, m *message, begins bool) (Opened, error) {
	was := r.sessions[i]
	s := *was
	o, err := s.opened(rand, m)
	if err != nil {
		return Opened{}, err
	}
	if i != 0 && (begins || s.steps != was.steps && r.prefers(was)) {
		r.promote(&s, i)
	} else {
		r.set(i, &s)
	}
	return o, nil
}

// prefers reports whether a former session, in which the other side has moved on, is to
// be written with again. A session that was replaced is not: what comes in it is late.
// But if both sides began one at once, there are two that are good: the one that is
// answered first is taken, and of two answered ones that with the lower key, so that
// both sides come to the same.
func (r *Record) prefers(s *session) bool {
	cur := r.sessions[0]
	return s.rival && cur.rival && (s.pending || bytes.Compare(s.base[:], cur.base[:]) < 0)
}

// opened decrypts and says what follows. S is changed even if it fails.
func (s *session) opened(rand io.Reader, m *message) (o Opened, err error) {
	if o.Plain, err = s.decrypt(rand, m); err != nil {
		return Opened{}, err
	}
	s.pending = false
	o.Identity = s.peer
	if m.n >= heartbeatAt && m.key == s.theirs && !s.heartbeat {
		s.heartbeat, o.Heartbeat = true, true
	}
	return o, nil
}
