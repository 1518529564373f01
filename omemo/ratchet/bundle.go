package ratchet

import "fmt"

// A PublicPreKey is a prekey as others see it.
type PublicPreKey struct {
	ID  uint32
	Key PublicKey
}

// A Bundle has the public keys of a device, which others begin sessions with. Call
// [Bundle.Verify] for one that somebody else has published.
type Bundle struct {
	Version        Version
	Identity       IdentityKey
	SignedPreKeyID uint32
	SignedPreKey   PublicKey
	Signature      []byte
	PreKeys        []PublicPreKey
}

// NewBundle makes the bundle of a device.
func NewBundle(v Version, id *Identity, signed *PreKey, keys []*PreKey) *Bundle {
	b := &Bundle{Version: v, Identity: id.pub, SignedPreKeyID: signed.id, SignedPreKey: signed.key.pub,
		Signature: id.signature(v, signed.key.pub.Wire(v)), PreKeys: make([]PublicPreKey, len(keys))}
	for i, k := range keys {
		b.PreKeys[i] = PublicPreKey{k.id, k.key.pub}
	}
	return b
}

// Verify checks the signature of the signed prekey.
func (b *Bundle) Verify() error {
	if !b.Version.valid() || b.Version == V2 && !b.Identity.known {
		return fmt.Errorf("%w: a bundle", ErrMalformed)
	}
	if !b.Identity.verify(b.Version, b.SignedPreKey.Wire(b.Version), b.Signature) {
		return ErrSignature
	}
	return nil
}

// preKey returns the prekey with an id.
func (b *Bundle) preKey(id uint32) (PublicKey, bool) {
	for _, k := range b.PreKeys {
		if k.ID == id {
			return k.Key, true
		}
	}
	return PublicKey{}, false
}
