package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
)

var zero32 [32]byte

// shortMAC is HMAC with SHA-256 (RFC 2104) of at most 192 bytes, with a key of at most
// 64. The one of the standard library makes half a dozen objects for it, and each
// message takes eight of them.
func shortMAC(key []byte, parts ...[]byte) [32]byte {
	var in [64 + 192]byte
	var out [64 + 32]byte
	copy(in[:64], key)
	for i, k := range in[:64] {
		in[i], out[i] = k^0x36, k^0x5c
	}
	n := 64
	for _, p := range parts {
		if n+len(p) > len(in) {
			panic("ratchet: too long for a short MAC")
		}
		n += copy(in[n:], p)
	}
	sum := sha256.Sum256(in[:n])
	copy(out[64:], sum[:])
	return sha256.Sum256(out[:])
}

// hkdf is HKDF with SHA-256 (RFC 5869). It fills out.
func hkdf(out, salt, ikm []byte, info string) {
	var label [32]byte
	l := label[:copy(label[:], info)]
	prk := shortMAC(salt, ikm)
	var t [32]byte
	prev := t[:0]
	for i, n := byte(1), 0; n < len(out); i++ {
		t = shortMAC(prk[:], prev, l, []byte{i})
		prev = t[:]
		n += copy(out[n:], t[:])
	}
}

// rootStep is one step of the root chain: a new root and a new chain.
func rootStep(v Version, root, dh []byte) (newRoot, chain [32]byte) {
	var out [64]byte
	hkdf(out[:], root, dh, profiles[v].infoRoot)
	copy(newRoot[:], out[:32])
	copy(chain[:], out[32:])
	return newRoot, chain
}

// chainStep is one step of a chain: the key of a message, and the chain after it.
func chainStep(chain *[32]byte) (key [32]byte) {
	key = shortMAC(chain[:], []byte{1})
	*chain = shortMAC(chain[:], []byte{2})
	return key
}

// messageKeys are what one message is encrypted with: cipher, MAC, initial vector.
type messageKeys [80]byte

func expand(v Version, key *[32]byte) (k messageKeys) {
	hkdf(k[:], zero32[:], key[:], profiles[v].infoMessage)
	return k
}

func (k *messageKeys) mac(v Version, ad, signed []byte) []byte {
	h := hmac.New(sha256.New, k[32:64])
	h.Write(ad)
	h.Write(signed)
	return h.Sum(nil)[:profiles[v].macSize]
}

func (k *messageKeys) encrypt(plain []byte) []byte { return encryptCBC(k[:32], k[64:], plain) }

func (k *messageKeys) decrypt(b []byte) ([]byte, error) { return decryptCBC(k[:32], k[64:], b) }

// encryptCBC is AES-256-CBC with the padding of PKCS#7.
func encryptCBC(key, iv, plain []byte) []byte {
	c, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length of the key is ours
	}
	n := 16 - len(plain)%16
	b := make([]byte, len(plain)+n)
	copy(b, plain)
	for i := len(plain); i < len(b); i++ {
		b[i] = byte(n)
	}
	cipher.NewCBCEncrypter(c, iv).CryptBlocks(b, b)
	return b
}

// decryptCBC undoes encryptCBC. What it is given was authenticated, so it may tell of
// the padding.
func decryptCBC(key, iv, b []byte) ([]byte, error) {
	if len(b) == 0 || len(b)%16 != 0 {
		return nil, ErrMalformed
	}
	c, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(b))
	cipher.NewCBCDecrypter(c, iv).CryptBlocks(out, b)
	n := int(out[len(out)-1])
	if n == 0 || n > 16 {
		return nil, ErrMalformed
	}
	for _, p := range out[len(out)-n:] {
		if int(p) != n {
			return nil, ErrMalformed
		}
	}
	return out[:len(out)-n], nil
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
