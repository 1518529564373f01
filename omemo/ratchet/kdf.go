package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
)

var zero32 [32]byte

// hkdf is HKDF with SHA-256 (RFC 5869). It fills out.
func hkdf(out, salt, ikm []byte, info string) {
	h := hmac.New(sha256.New, salt)
	h.Write(ikm)
	var prk, t [32]byte
	h.Sum(prk[:0])
	h = hmac.New(sha256.New, prk[:])
	for i, n := 1, 0; n < len(out); i++ {
		if i > 1 {
			h.Reset()
			h.Write(t[:])
		}
		h.Write([]byte(info))
		h.Write([]byte{byte(i)})
		h.Sum(t[:0])
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
	h := hmac.New(sha256.New, chain[:])
	h.Write([]byte{1})
	h.Sum(key[:0])
	h.Reset()
	h.Write([]byte{2})
	h.Sum(chain[:0])
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
