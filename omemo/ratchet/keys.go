package ratchet

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// A PublicKey is the u coordinate of a point on Curve25519 (RFC 7748).
type PublicKey [32]byte

// djb is the byte before Curve25519 keys in V1.
const djb = 0x05

// ParsePublicKey reads a key as it is on the wire.
func ParsePublicKey(v Version, wire []byte) (k PublicKey, err error) {
	if v == V1 {
		if len(wire) != 33 || wire[0] != djb {
			return k, fmt.Errorf("%w: a public key of %d bytes", ErrMalformed, len(wire))
		}
		wire = wire[1:]
	}
	if len(wire) != 32 {
		return k, fmt.Errorf("%w: a public key of %d bytes", ErrMalformed, len(wire))
	}
	copy(k[:], wire)
	return k, nil
}

// Wire returns the key as it is on the wire.
func (k PublicKey) Wire(v Version) []byte { return k.append(nil, v) }

func (k PublicKey) append(b []byte, v Version) []byte {
	if v == V1 {
		b = append(b, djb)
	}
	return append(b, k[:]...)
}

// private is a key pair on Curve25519.
type private struct {
	secret [32]byte
	pub    PublicKey
	// key is nil in what was stored: to make it costs as much as to use it.
	key *ecdh.PrivateKey
}

func newPrivate(rand io.Reader) (private, error) {
	var b [32]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return private{}, err
	}
	return privateFrom(b)
}

func privateFrom(b [32]byte) (p private, err error) {
	p.secret = b
	if p.key, err = ecdh.X25519().NewPrivateKey(b[:]); err != nil {
		return p, fmt.Errorf("%w: a private key", ErrMalformed)
	}
	copy(p.pub[:], p.key.PublicKey().Bytes())
	return p, nil
}

// dh is the Diffie-Hellman function. Its only error is a point of low order, which
// nobody has who plays by the rules.
func (p *private) dh(k PublicKey) ([]byte, error) {
	if p.key == nil {
		q, err := privateFrom(p.secret)
		if err != nil {
			return nil, err
		}
		p.key = q.key
	}
	pub, err := ecdh.X25519().NewPublicKey(k[:])
	if err != nil {
		return nil, ErrMAC
	}
	s, err := p.key.ECDH(pub)
	if err != nil {
		return nil, ErrMAC
	}
	return s, nil
}

// An Identity is the long-lived private key of a device, the same in all versions.
type Identity struct {
	seed [32]byte
	sign ed25519.PrivateKey
	dh   private
	pub  IdentityKey
}

// NewIdentity draws an identity. There are clients that refuse half of all keys, so the
// other half is taken.
func NewIdentity(rand io.Reader) (*Identity, error) {
	for range 256 {
		var seed [32]byte
		if _, err := io.ReadFull(rand, seed[:]); err != nil {
			return nil, err
		}
		id, err := IdentityFromSeed(seed[:])
		if err != nil || id.pub.ed[31]&0x80 == 0 {
			return id, err
		}
	}
	return nil, fmt.Errorf("%w: the source of random bytes is not random", ErrMalformed)
}

// IdentityFromSeed makes the identity of a seed of 32 bytes (RFC 8032 §5.1.5).
func IdentityFromSeed(seed []byte) (*Identity, error) {
	if len(seed) != 32 {
		return nil, fmt.Errorf("%w: a seed of %d bytes", ErrMalformed, len(seed))
	}
	id := &Identity{sign: ed25519.NewKeyFromSeed(seed)}
	copy(id.seed[:], seed)
	h := sha512.Sum512(seed)
	h[0] &= 248
	h[31] = h[31]&127 | 64
	var err error
	if id.dh, err = privateFrom([32]byte(h[:32])); err != nil {
		return nil, err
	}
	id.pub = IdentityKey{curve: id.dh.pub, known: true}
	copy(id.pub.ed[:], id.sign.Public().(ed25519.PublicKey))
	return id, nil
}

// Seed returns the secret of which the identity is made.
func (id *Identity) Seed() []byte { return append([]byte(nil), id.seed[:]...) }

// Key returns the public key.
func (id *Identity) Key() IdentityKey { return id.pub }

// Sign signs in the form of V2, which is Ed25519.
func (id *Identity) Sign(msg []byte) []byte { return ed25519.Sign(id.sign, msg) }

// signature signs a signed prekey in the form of a version. V1 has the sign of the
// Ed25519 key, which its identity keys lack, in a bit of the signature.
func (id *Identity) signature(v Version, msg []byte) []byte {
	sig := id.Sign(msg)
	if v == V1 {
		sig[63] |= id.pub.ed[31] & 0x80
	}
	return sig
}

// String does not tell the secret.
func (id *Identity) String() string { return "Identity(" + id.pub.Fingerprint() + ")" }

// GoString does not, either.
func (id *Identity) GoString() string { return id.String() }

// An IdentityKey is the public key of a device. Those of both versions of one device
// are the same; but V1 leaves out one bit: compare with [IdentityKey.Same].
type IdentityKey struct {
	curve PublicKey
	ed    [32]byte // Ed25519, if known
	known bool
}

// ParseIdentityKey reads a key as it is on the wire.
func ParseIdentityKey(v Version, wire []byte) (k IdentityKey, err error) {
	if v != V2 {
		k.curve, err = ParsePublicKey(v, wire)
		return k, err
	}
	if len(wire) != 32 {
		return k, fmt.Errorf("%w: an identity key of %d bytes", ErrMalformed, len(wire))
	}
	p, err := new(edwards25519.Point).SetBytes(wire)
	if err != nil {
		return k, fmt.Errorf("%w: the identity key is not on the curve", ErrMalformed)
	}
	copy(k.ed[:], wire)
	copy(k.curve[:], p.BytesMontgomery())
	k.known = true
	return k, nil
}

// ParseFingerprint reads what Hex or Fingerprint returns.
func ParseFingerprint(s string) (k IdentityKey, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil || len(b) != 32 {
		return k, fmt.Errorf("%w: a fingerprint has 64 hexadecimal digits", ErrMalformed)
	}
	copy(k.curve[:], b)
	return k, nil
}

// Wire returns the key as it is on the wire; nil for V2 if only V1 has been seen of it.
func (k IdentityKey) Wire(v Version) []byte {
	if v != V2 {
		return k.curve.Wire(v)
	}
	if !k.known {
		return nil
	}
	return append([]byte(nil), k.ed[:]...)
}

// Hex returns the fingerprint as 64 hexadecimal digits.
func (k IdentityKey) Hex() string { return hex.EncodeToString(k.curve[:]) }

// Fingerprint returns what people compare: the key in eight groups of eight digits
// (XEP-0384 §8).
func (k IdentityKey) Fingerprint() string {
	h := k.Hex()
	var b strings.Builder
	for i := 0; i < len(h); i += 8 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(h[i : i+8])
	}
	return b.String()
}

// String returns the fingerprint.
func (k IdentityKey) String() string { return k.Fingerprint() }

// Same reports whether both are the key of one device.
func (k IdentityKey) Same(o IdentityKey) bool {
	return k.curve == o.curve && (!k.known || !o.known || k.ed == o.ed)
}

// IsZero reports whether there is no key.
func (k IdentityKey) IsZero() bool { return k == IdentityKey{} }

// OnlyV1 reports whether the key was seen in its V1 form only.
func (k IdentityKey) OnlyV1() bool { return !k.known }

// Verify reports whether the device has signed msg, in the form of V2. It is false for
// keys that were seen in V1 only.
func (k IdentityKey) Verify(msg, sig []byte) bool {
	return k.known && len(sig) == ed25519.SignatureSize && ed25519.Verify(k.ed[:], msg, sig)
}

// verify does it in the form of a version.
func (k IdentityKey) verify(v Version, msg, sig []byte) bool {
	if v != V1 {
		return k.Verify(msg, sig)
	}
	if len(sig) != ed25519.SignatureSize {
		return false
	}
	ed, ok := toEdwards(k.curve, sig[63]>>7)
	if !ok {
		return false
	}
	s := append([]byte(nil), sig...)
	s[63] &= 0x7f
	return ed25519.Verify(ed[:], msg, s)
}

// toEdwards converts a point to its Ed25519 form with a sign: y = (u-1)/(u+1).
func toEdwards(u PublicKey, sign byte) (ed [32]byte, ok bool) {
	var x, num, den field.Element
	if _, err := x.SetBytes(u[:]); err != nil {
		return ed, false
	}
	one := new(field.Element).One()
	num.Subtract(&x, one)
	den.Add(&x, one)
	if den.Equal(new(field.Element).Zero()) == 1 {
		return ed, false
	}
	num.Multiply(&num, den.Invert(&den))
	copy(ed[:], num.Bytes())
	ed[31] = ed[31]&0x7f | sign<<7
	return ed, true
}

// ad is the form of the key in associated data.
func (k IdentityKey) ad(b []byte, v Version) []byte {
	if v == V1 {
		return k.curve.append(b, V1)
	}
	return append(b, k.ed[:]...)
}

// MarshalText returns the key in hexadecimal digits: the V1 form, and behind it the
// other if it is known.
func (k IdentityKey) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return []byte{}, nil
	}
	b := hex.AppendEncode(nil, k.curve[:])
	if k.known {
		b = hex.AppendEncode(b, k.ed[:])
	}
	return b, nil
}

// UnmarshalText reads what MarshalText returns.
func (k *IdentityKey) UnmarshalText(text []byte) error {
	*k = IdentityKey{}
	b, err := hex.AppendDecode(nil, text)
	switch {
	case err != nil || len(b) != 0 && len(b) != 32 && len(b) != 64:
		return fmt.Errorf("%w: a stored identity key", ErrMalformed)
	case len(b) == 64:
		if *k, err = ParseIdentityKey(V2, b[32:]); err != nil {
			return err
		}
	}
	copy(k.curve[:], b)
	return nil
}

// MaxPreKeyID is the highest id that a prekey may have: the next one is something else
// in libsignal. The lowest is 1, as 0 is none to some clients.
const MaxPreKeyID = 0xFFFFFE

// A PreKey is a key pair that others begin sessions with: once, if it is not signed.
type PreKey struct {
	id  uint32
	key private
}

// NewPreKey draws a prekey.
func NewPreKey(rand io.Reader, id uint32) (*PreKey, error) {
	if id == 0 || id > MaxPreKeyID {
		return nil, fmt.Errorf("%w: a prekey cannot have the id %d", ErrMalformed, id)
	}
	k, err := newPrivate(rand)
	if err != nil {
		return nil, err
	}
	return &PreKey{id, k}, nil
}

// ID returns the key's id.
func (k *PreKey) ID() uint32 { return k.id }

// Public returns the public half.
func (k *PreKey) Public() PublicKey { return k.key.pub }

// String does not tell the secret.
func (k *PreKey) String() string { return fmt.Sprintf("PreKey(%d)", k.id) }

// GoString does not, either.
func (k *PreKey) GoString() string { return k.String() }

// AppendBinary appends the key, secret and all, in 36 bytes.
func (k *PreKey) AppendBinary(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, k.id), k.key.secret[:]...)
}

// ParsePreKey reads what AppendBinary has written.
func ParsePreKey(b []byte) (*PreKey, error) {
	if len(b) != 36 {
		return nil, fmt.Errorf("%w: a stored prekey of %d bytes", ErrMalformed, len(b))
	}
	k, err := privateFrom([32]byte(b[4:]))
	if err != nil {
		return nil, err
	}
	return &PreKey{binary.BigEndian.Uint32(b), k}, nil
}
