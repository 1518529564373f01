package ratchet

import (
	"io"
)

// Bounds of one session.
const (
	// maxSkip is how many messages may be missing before one, and how many keys of
	// missing messages are kept; the oldest are forgotten.
	maxSkip = 1000
	// keepSteps is for how many steps of the ratchet such keys are kept.
	keepSteps = 200
	// keepHeads is how many former ratchet keys of the other side are known, so that
	// copies of old messages are told from forged ones.
	keepHeads = 24
	// heartbeatAt is the counter at which a message without content is due, so that the
	// ratchet moves on (XEP-0384 §5.3.6).
	heartbeatAt = 53
)

// session is one Double Ratchet. Its fields are values and slices that are replaced,
// never changed, so that a copy of the struct is a copy of the session.
type session struct {
	v         Version
	initiator bool
	peer      IdentityKey
	self      IdentityKey

	root           [32]byte
	sendKey        [32]byte // the chains; they are there if has… is set
	recvKey        [32]byte
	hasRecv        bool
	n, nr, pn      uint32 // counters of sending, of receiving, and of the sending chain before
	own            private
	theirs         PublicKey
	steps          uint32
	heartbeat      bool // one was due for theirs already
	skipped        []skippedKey
	heads          [][8]byte // the beginnings of former keys of theirs
	pending        bool      // the other side has not answered: messages carry the key exchange
	rival          bool      // both sides began a session at once, and this is one of them
	base           PublicKey // of who began
	preKeyID       uint32
	signedID       uint32
	registrationID uint32
}

// skippedKey is the key of a message that has not come yet.
type skippedKey struct {
	theirs PublicKey
	n      uint32
	step   uint32
	key    [32]byte
	// spare is set for the one key more than there should be of a chain: see
	// [session.skipOld].
	spare bool
}

// start begins a session with the owner of a bundle (X3DH §3.3).
func start(rand io.Reader, self *Identity, b *Bundle, preKeyID, registrationID uint32) (*session, error) {
	pre, ok := b.preKey(preKeyID)
	if !ok {
		return nil, ErrUnknownPreKey
	}
	base, err := newPrivate(rand)
	if err != nil {
		return nil, err
	}
	shared, err := agree(b.Version, func() ([]byte, error) { return self.dh.dh(b.SignedPreKey) },
		func() ([]byte, error) { return base.dh(b.Identity.curve) },
		func() ([]byte, error) { return base.dh(b.SignedPreKey) },
		func() ([]byte, error) { return base.dh(pre) })
	if err != nil {
		return nil, ErrMalformed
	}
	s := &session{v: b.Version, initiator: true, peer: b.Identity, self: self.pub, root: shared, theirs: b.SignedPreKey,
		pending: true, base: base.pub, preKeyID: preKeyID, signedID: b.SignedPreKeyID, registrationID: registrationID}
	if s.own, err = newPrivate(rand); err != nil {
		return nil, err
	}
	dh, err := s.own.dh(s.theirs)
	if err != nil {
		return nil, ErrMalformed
	}
	s.root, s.sendKey = rootStep(s.v, s.root[:], dh)
	return s, nil
}

// answerTo makes the session that somebody has begun (X3DH §3.4).
func answerTo(v Version, self *Identity, k *KeyExchange, pre, signed *PreKey) (*session, error) {
	shared, err := agree(v, func() ([]byte, error) { return signed.key.dh(k.Identity.curve) },
		func() ([]byte, error) { return self.dh.dh(k.base) },
		func() ([]byte, error) { return signed.key.dh(k.base) },
		func() ([]byte, error) { return pre.key.dh(k.base) })
	if err != nil {
		return nil, err
	}
	return &session{v: v, peer: k.Identity, self: self.pub, root: shared, own: signed.key,
		base: k.base, preKeyID: k.PreKeyID, signedID: k.SignedPreKeyID}, nil
}

// agree is the key derivation of X3DH.
func agree(v Version, dhs ...func() ([]byte, error)) (root [32]byte, err error) {
	ikm := make([]byte, 32, 160)
	for i := range ikm {
		ikm[i] = 0xff
	}
	for _, f := range dhs {
		s, err := f()
		if err != nil {
			return root, err
		}
		ikm = append(ikm, s...)
	}
	var out [64]byte
	p := &profiles[v]
	hkdf(out[:p.sharedSize], zero32[:], ikm, p.infoX3DH)
	copy(root[:], out[:])
	return root, nil
}

// ad appends the associated data of a message.
func (s *session) ad(b []byte, sending bool) []byte {
	selfFirst := sending
	if profiles[s.v].fixedAD {
		selfFirst = s.initiator
	}
	if selfFirst {
		return s.peer.ad(s.self.ad(b, s.v), s.v)
	}
	return s.self.ad(s.peer.ad(b, s.v), s.v)
}

// encrypt encrypts with the next key of the sending chain.
func (s *session) encrypt(plain []byte) []byte {
	key := chainStep(&s.sendKey)
	k := expand(s.v, &key)
	b := make([]byte, 0, 160+len(plain))
	b = appendMessage(b, s.v, s.own.pub, s.n, s.pn, k.encrypt(plain))
	s.n++
	var ad [66]byte
	mac := k.mac(s.v, s.ad(ad[:0], true), b)
	if s.v == V1 {
		b = append(b, mac...)
	} else {
		b = appendBytes(appendBytes(make([]byte, 0, len(b)+24), 1, mac), 2, b)
	}
	if s.pending {
		return appendKeyExchange(make([]byte, 0, len(b)+128), s.v, s.registrationID, s.self, s, b)
	}
	return b
}

// decrypt decrypts a message. S is changed even if it fails: call it on a copy.
func (s *session) decrypt(rand io.Reader, m *message) (plain []byte, err error) {
	for i := range s.skipped {
		if k := &s.skipped[i]; k.n == m.n && k.theirs == m.key {
			keys := expand(s.v, &k.key)
			if plain, err = s.open(&keys, m); err != nil {
				return nil, err
			}
			rest := make([]skippedKey, 0, len(s.skipped)-1)
			s.skipped = append(append(rest, s.skipped[:i]...), s.skipped[i+1:]...)
			return plain, nil
		}
	}
	if s.hasRecv && m.key == s.theirs {
		if m.n < s.nr {
			return nil, ErrDuplicate
		}
	} else {
		if s.known(m.key) {
			return nil, ErrDuplicate
		}
		if s.initiator && !s.hasRecv && m.key == s.theirs {
			return nil, ErrMAC // nobody sends with a signed prekey
		}
		dh, err := s.own.dh(m.key)
		if err != nil {
			return nil, err
		}
		s.skipOld(m.pn)
		if s.hasRecv {
			s.remember(s.theirs)
		}
		s.theirs, s.nr, s.hasRecv, s.heartbeat = m.key, 0, true, false
		s.steps++
		s.root, s.recvKey = rootStep(s.v, s.root[:], dh)
		if err := s.skip(m.n); err != nil {
			return nil, err
		}
		if plain, err = s.next(m); err != nil {
			return nil, err
		}
		// Now that it is authentic, the own side moves on.
		if s.own, err = newPrivate(rand); err != nil {
			return nil, err
		}
		if dh, err = s.own.dh(s.theirs); err != nil {
			return nil, err
		}
		s.root, s.sendKey = rootStep(s.v, s.root[:], dh)
		s.pn, s.n = s.n, 0
		s.forget()
		return plain, nil
	}
	if err := s.skip(m.n); err != nil {
		return nil, err
	}
	return s.next(m)
}

// next decrypts with the next key of the receiving chain.
func (s *session) next(m *message) ([]byte, error) {
	key := chainStep(&s.recvKey)
	s.nr++
	k := expand(s.v, &key)
	return s.open(&k, m)
}

func (s *session) open(k *messageKeys, m *message) ([]byte, error) {
	var ad [66]byte
	if !equal(k.mac(s.v, s.ad(ad[:0], false), m.signed), m.mac) {
		return nil, ErrMAC
	}
	plain, err := k.decrypt(m.cipher)
	if err != nil {
		return nil, ErrMalformed // by who has the keys: nobody else learns of the padding
	}
	return plain, nil
}

// skip keeps the keys of the messages before the n-th of the receiving chain.
func (s *session) skip(n uint32) error {
	if n-s.nr > maxSkip {
		return ErrSkipLimit
	}
	s.keep(n, false)
	return nil
}

// skipOld keeps those that are missing of the chain that ends. There should be pn in it;
// one more is kept, as some clients tell one too few. A claim that cannot be believed
// must not stop the new chain.
func (s *session) skipOld(pn uint32) {
	if !s.hasRecv || pn >= s.nr && pn-s.nr > maxSkip {
		return
	}
	s.keep(pn, false)
	s.keep(pn+1, true)
}

func (s *session) keep(n uint32, spare bool) {
	if n <= s.nr {
		return
	}
	grown := make([]skippedKey, len(s.skipped), len(s.skipped)+int(n-s.nr))
	copy(grown, s.skipped)
	for s.nr < n {
		grown = append(grown, skippedKey{s.theirs, s.nr, s.steps, chainStep(&s.recvKey), spare})
		s.nr++
	}
	if over := len(grown) - maxSkip; over > 0 {
		grown = grown[over:]
	}
	s.skipped = grown
}

// forget drops keys that were kept long, and the spare one of the chain before last.
func (s *session) forget() {
	old := func(k *skippedKey) bool {
		return s.steps-k.step > keepSteps || k.spare && s.steps-k.step > 1
	}
	for i := range s.skipped {
		if !old(&s.skipped[i]) {
			continue
		}
		var rest []skippedKey
		for _, k := range s.skipped {
			if !old(&k) {
				rest = append(rest, k)
			}
		}
		s.skipped = rest
		return
	}
}

func (s *session) known(k PublicKey) bool {
	for _, h := range s.heads {
		if h == [8]byte(k[:8]) {
			return true
		}
	}
	return false
}

func (s *session) remember(k PublicKey) {
	heads := append(make([][8]byte, 0, keepHeads), s.heads[max(0, len(s.heads)-keepHeads+1):]...)
	s.heads = append(heads, [8]byte(k[:8]))
}
