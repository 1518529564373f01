package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
)

// The payload of a message is encrypted once, for all devices, with a key that the
// sessions carry.

// SealV1 encrypts a text with AES-128-GCM. The key, with the tag behind it, is what the
// sessions are to encrypt.
func SealV1(rand io.Reader, text []byte) (key, iv, payload []byte, err error) {
	key, iv = make([]byte, 16, 32), make([]byte, 12)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, nil, nil, err
	}
	if _, err := io.ReadFull(rand, iv); err != nil {
		return nil, nil, nil, err
	}
	g, err := gcm(key, 12)
	if err != nil {
		return nil, nil, nil, err
	}
	out := g.Seal(nil, iv, text, nil)
	return append(key, out[len(text):]...), iv, out[:len(text)], nil
}

// OpenV1 decrypts a text. Key is what a session has decrypted: 32 bytes, or 16 from old
// clients, which have the tag at the end of the payload; iv has 12 bytes, or 16.
func OpenV1(key, iv, payload []byte) ([]byte, error) {
	if len(iv) != 12 && len(iv) != 16 {
		return nil, fmt.Errorf("%w: an initial vector of %d bytes", ErrMalformed, len(iv))
	}
	sealed := payload
	switch {
	case len(key) == 32:
		sealed = append(append(make([]byte, 0, len(payload)+16), payload...), key[16:]...)
	case len(key) != 16:
		return nil, fmt.Errorf("%w: a key of %d bytes", ErrMalformed, len(key))
	}
	g, err := gcm(key[:16], len(iv))
	if err != nil {
		return nil, err
	}
	text, err := g.Open(nil, iv, sealed, nil)
	if err != nil {
		return nil, ErrPayload
	}
	return text, nil
}

func gcm(key []byte, iv int) (cipher.AEAD, error) {
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithNonceSize(c, iv)
}

// SealV2 encrypts an envelope. The key, with the MAC behind it, is what the sessions are
// to encrypt.
func SealV2(rand io.Reader, envelope []byte) (key, payload []byte, err error) {
	key = make([]byte, 32, 48)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, nil, err
	}
	k := payloadKeys(key)
	payload = encryptCBC(k[:32], k[64:], envelope)
	return append(key, payloadMAC(&k, payload)...), payload, nil
}

// OpenV2 decrypts an envelope. Key is what a session has decrypted.
func OpenV2(key, payload []byte) ([]byte, error) {
	if len(key) != 48 {
		return nil, fmt.Errorf("%w: a key of %d bytes", ErrMalformed, len(key))
	}
	k := payloadKeys(key[:32])
	if !equal(payloadMAC(&k, payload), key[32:]) {
		return nil, ErrPayload
	}
	b, err := decryptCBC(k[:32], k[64:], payload)
	if err != nil {
		return nil, ErrPayload
	}
	return b, nil
}

func payloadKeys(key []byte) (k [80]byte) {
	hkdf(k[:], zero32[:], key, "OMEMO Payload")
	return k
}

func payloadMAC(k *[80]byte, payload []byte) []byte {
	h := hmac.New(sha256.New, k[32:64])
	h.Write(payload)
	return h.Sum(nil)[:16]
}

// EmptyKey returns what a session is to encrypt for a message without content, and, of
// V1, the initial vector that is sent along.
func EmptyKey(v Version, rand io.Reader) (key, iv []byte, err error) {
	if v == V2 {
		return make([]byte, 32), nil, nil
	}
	key, iv = make([]byte, 16), make([]byte, 12)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, nil, err
	}
	_, err = io.ReadFull(rand, iv)
	return key, iv, err
}
