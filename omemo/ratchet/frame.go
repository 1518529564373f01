package ratchet

import (
	"encoding/binary"
	"fmt"
)

// The frame of messages: protocol buffers of a few fields, and around them a version
// byte and a MAC (V1) or another buffer with the MAC (V2).

// fields reads a protocol buffer: numbers and byte strings by their field number, the
// last one of each. Fields that nobody knows are passed over; groups and fixed numbers,
// which none of ours has, too.
func fields(b []byte, number func(field int, n uint64) error, bytes func(field int, s []byte) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return fmt.Errorf("%w: a field without a number", ErrMalformed)
		}
		b = b[n:]
		field := int(tag >> 3)
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return fmt.Errorf("%w: a number is cut", ErrMalformed)
			}
			b = b[n:]
			if err := number(field, v); err != nil {
				return err
			}
		case 1, 5:
			n := 8
			if tag&7 == 5 {
				n = 4
			}
			if len(b) < n {
				return fmt.Errorf("%w: a number is cut", ErrMalformed)
			}
			b = b[n:]
			if err := bytes(-field, nil); err != nil {
				return err
			}
		case 2:
			l, n := binary.Uvarint(b)
			if n <= 0 || l > uint64(len(b)-n) {
				return fmt.Errorf("%w: a string is cut", ErrMalformed)
			}
			s := b[n : n+int(l)]
			b = b[n+int(l):]
			if err := bytes(field, s); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: a field of an unknown kind", ErrMalformed)
		}
	}
	return nil
}

// wrongKind refuses known fields that are of another kind than they should be.
func wrongKind(field int) error {
	return fmt.Errorf("%w: field %d is of the wrong kind", ErrMalformed, field)
}

func appendNumber(b []byte, field int, n uint32) []byte {
	return binary.AppendUvarint(append(b, byte(field<<3)), uint64(n))
}

func appendBytes(b []byte, field int, s ...[]byte) []byte {
	l := 0
	for _, p := range s {
		l += len(p)
	}
	b = binary.AppendUvarint(append(b, byte(field<<3|2)), uint64(l))
	for _, p := range s {
		b = append(b, p...)
	}
	return b
}

func number32(n uint64, to *uint32, has *bool) error {
	if n > 1<<32-1 {
		return fmt.Errorf("%w: a number is too large", ErrMalformed)
	}
	*to, *has = uint32(n), true
	return nil
}

// message is the header of a message and its ciphertext.
type message struct {
	key    PublicKey // of the ratchet
	n, pn  uint32
	cipher []byte
	signed []byte // what the MAC is over, behind the associated data
	mac    []byte
}

// appendMessage appends the part of a message that the MAC is over.
func appendMessage(b []byte, v Version, key PublicKey, n, pn uint32, cipher []byte) []byte {
	if v == V1 {
		b = append(b, version1)
		b = appendBytes(b, 1, []byte{djb}, key[:])
		b = appendNumber(b, 2, n)
		b = appendNumber(b, 3, pn)
		return appendBytes(b, 4, cipher)
	}
	b = appendNumber(b, 1, n)
	b = appendNumber(b, 2, pn)
	b = appendBytes(b, 3, key[:])
	return appendBytes(b, 4, cipher)
}

// parseMessage reads a message with its MAC.
func parseMessage(v Version, b []byte) (m message, err error) {
	size := profiles[v].macSize
	body := b
	if v == V1 {
		if len(b) < 1+size || b[0]>>4 != 3 {
			return m, fmt.Errorf("%w: not a message of version 3", ErrMalformed)
		}
		m.signed, m.mac = b[:len(b)-size], b[len(b)-size:]
		body = m.signed[1:]
	} else {
		err := fields(b, func(f int, _ uint64) error {
			if f == 1 || f == 2 {
				return wrongKind(f)
			}
			return nil
		}, func(f int, s []byte) error {
			switch f {
			case 1:
				m.mac = s
			case 2:
				m.signed = s
			case -1, -2:
				return wrongKind(-f)
			}
			return nil
		})
		if err != nil {
			return m, err
		}
		if len(m.mac) != size || m.signed == nil {
			return m, fmt.Errorf("%w: a message without a MAC", ErrMalformed)
		}
		body = m.signed
	}
	var hasN, hasPN, hasKey bool
	// The places of counter, length of the chain before, and key.
	fn, fp, fk := 1, 2, 3
	if v == V1 {
		fn, fp, fk = 2, 3, 1
	}
	err = fields(body, func(f int, n uint64) error {
		switch f {
		case fn:
			return number32(n, &m.n, &hasN)
		case fp:
			return number32(n, &m.pn, &hasPN)
		case fk, 4:
			return wrongKind(f)
		}
		return nil
	}, func(f int, s []byte) (err error) {
		switch f {
		case fk:
			m.key, err = ParsePublicKey(v, s)
			hasKey = true
		case 4:
			m.cipher = s
		case fn, fp, -1, -2, -3, -4:
			return wrongKind(f)
		}
		return err
	})
	if err != nil {
		return m, err
	}
	// A number that is 0 may be left out in version 1, where it is optional.
	if !hasKey || m.cipher == nil || v == V2 && !(hasN && hasPN) {
		return m, fmt.Errorf("%w: a message without its header", ErrMalformed)
	}
	if len(m.cipher) == 0 || len(m.cipher)%16 != 0 {
		return m, fmt.Errorf("%w: a ciphertext of %d bytes", ErrMalformed, len(m.cipher))
	}
	return m, nil
}

// A KeyExchange is what a message that begins a session says of the keys in it.
type KeyExchange struct {
	PreKeyID, SignedPreKeyID uint32
	Identity                 IdentityKey
	base                     PublicKey
	inner                    []byte
}

// appendKeyExchange appends a message that begins a session.
func appendKeyExchange(b []byte, v Version, registration uint32, self IdentityKey, s *session, inner []byte) []byte {
	if v == V1 {
		b = append(b, version1)
		b = appendNumber(b, 1, s.preKeyID)
		b = appendBytes(b, 2, []byte{djb}, s.base[:])
		b = appendBytes(b, 3, []byte{djb}, self.curve[:])
		b = appendBytes(b, 4, inner)
		if registration != 0 {
			b = appendNumber(b, 5, registration)
		}
		return appendNumber(b, 6, s.signedID)
	}
	b = appendNumber(b, 1, s.preKeyID)
	b = appendNumber(b, 2, s.signedID)
	b = appendBytes(b, 3, self.ed[:])
	b = appendBytes(b, 4, s.base[:])
	return appendBytes(b, 5, inner)
}

// Base returns the key that the exchange was begun with. No honest device begins two
// with the same one.
func (k KeyExchange) Base() PublicKey { return k.base }

// ParseKeyExchange reads a message that begins a session, as far as it can be read
// without any work on curves. Nothing of it is authentic yet.
func ParseKeyExchange(v Version, b []byte) (k KeyExchange, err error) {
	// The places of prekey, signed prekey, identity, base and message.
	pk, spk, ik, ek, in := 1, 2, 3, 4, 5
	if v == V1 {
		if len(b) < 1 || b[0]>>4 != 3 {
			return k, fmt.Errorf("%w: not a message of version 3", ErrMalformed)
		}
		b = b[1:]
		pk, spk, ik, ek, in = 1, 6, 3, 2, 4
	}
	var hasPK, hasSPK, hasEK bool
	var identity []byte
	err = fields(b, func(f int, n uint64) error {
		switch f {
		case pk:
			return number32(n, &k.PreKeyID, &hasPK)
		case spk:
			return number32(n, &k.SignedPreKeyID, &hasSPK)
		case ik, ek, in:
			return wrongKind(f)
		}
		return nil
	}, func(f int, s []byte) (err error) {
		switch f {
		case ik:
			identity = s
		case ek:
			k.base, err = ParsePublicKey(v, s)
			hasEK = true
		case in:
			k.inner = s
		case pk, spk, -1, -2, -3, -4, -6:
			return wrongKind(f)
		}
		return err
	})
	if err != nil {
		return k, err
	}
	// Without a prekey there is no forward secrecy for what comes first.
	if !hasPK || !hasSPK || !hasEK || k.inner == nil || identity == nil {
		return k, fmt.Errorf("%w: a key exchange that lacks a key", ErrMalformed)
	}
	k.Identity, err = ParseIdentityKey(v, identity)
	return k, err
}

// LooksLikeKeyExchange reports whether a message of V1 begins a session: there are
// clients that do not say so beside it.
func LooksLikeKeyExchange(b []byte) bool {
	// Field 1 is a number in a key exchange, and bytes in a message.
	return len(b) > 1 && b[0]>>4 == 3 && b[1] == 1<<3 || len(b) > 1 && b[0]>>4 == 3 && b[1] != 1<<3|2 && validV1(b)
}

func validV1(b []byte) bool {
	_, err := ParseKeyExchange(V1, b)
	return err == nil
}
