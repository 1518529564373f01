package upload

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math/bits"
)

// The standard library has AES-GCM for whole messages only. A file is encrypted here with
// the counter mode that GCM is made of, and its tag is made piece by piece. The hash in
// the tag (GHASH) is the library's own, too: the tag that [cipher.AEAD] gives for a piece
// of additional data is that piece's GHASH under a mask, which is known. So all that
// touches the data is the library's code, with the machine's instructions, in constant
// time; what is done here is one multiplication for each piece of 64 KiB.

const (
	tagSize  = 16
	gcmPiece = 64 << 10
	// maxGCM is how much one key and vector can encrypt: the counter has 32 bits
	// (NIST SP 800-38D §5.2.1.1).
	maxGCM = 1<<36 - 32
)

// gcm encrypts or decrypts one file, piece by piece.
type gcm struct {
	ctr  cipher.Stream
	hash ghash
	mask [tagSize]byte // over the tag
	size int64
}

// newGCM takes a key for AES and a vector of any size that is not empty.
func newGCM(key, iv []byte) (*gcm, error) {
	if len(iv) == 0 {
		return nil, errors.New("upload: no initialization vector")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.New("upload: the key has a size that AES does not know")
	}
	g := &gcm{}
	if err := g.hash.init(block); err != nil {
		return nil, err
	}
	var counter [aes.BlockSize]byte
	if len(iv) == 12 {
		copy(counter[:], iv)
		counter[15] = 1
	} else {
		h := g.hash
		h.add(iv)
		counter = h.sum(0, uint64(len(iv)))
	}
	block.Encrypt(g.mask[:], counter[:])
	// The counter of GCM has 32 bits, that of CTR 128. They are the same until the 32
	// bits are used up.
	low := binary.BigEndian.Uint32(counter[12:]) + 1
	binary.BigEndian.PutUint32(counter[12:], low)
	if len(iv) == 12 {
		g.ctr = cipher.NewCTR(block, counter[:])
	} else {
		w := &wrapping{block: block, counter: counter, left: (1<<32 - int64(low)) * aes.BlockSize}
		w.restart()
		g.ctr = w
	}
	return g, nil
}

// wrapping is counter mode whose counter has 32 bits: one that does not begin at 1 may
// come to its end.
type wrapping struct {
	cipher.Stream
	block   cipher.Block
	counter [aes.BlockSize]byte
	left    int64
}

func (w *wrapping) restart() { w.Stream = cipher.NewCTR(w.block, w.counter[:]) }

// XORKeyStream implements [cipher.Stream].
func (w *wrapping) XORKeyStream(dst, src []byte) {
	if int64(len(src)) > w.left {
		n := w.left
		w.Stream.XORKeyStream(dst[:n], src[:n])
		dst, src = dst[n:], src[n:]
		clear(w.counter[12:])
		w.left = 1 << 36
		w.restart()
	}
	w.Stream.XORKeyStream(dst[:len(src)], src)
	w.left -= int64(len(src))
}

var errGCMSize = errors.New("upload: the file is larger than one key can encrypt (64 GiB)")

// encrypt encrypts the next piece in place. All pieces but the last have a size that is a
// multiple of 16.
func (g *gcm) encrypt(p []byte) error {
	if g.size += int64(len(p)); g.size > maxGCM {
		return errGCMSize
	}
	g.ctr.XORKeyStream(p, p)
	g.hash.add(p)
	return nil
}

// decrypt decrypts the next piece in place; the pieces are as those of encrypt.
func (g *gcm) decrypt(p []byte) error {
	if g.size += int64(len(p)); g.size > maxGCM {
		return errGCMSize
	}
	g.hash.add(p)
	g.ctr.XORKeyStream(p, p)
	return nil
}

// tag is that of what was encrypted or decrypted.
func (g *gcm) tag() [tagSize]byte {
	t := g.hash.sum(0, uint64(g.size))
	subtle.XORBytes(t[:], t[:], g.mask[:])
	return t
}

// ghash is the hash of GCM over data that comes in pieces.
type ghash struct {
	aead    cipher.AEAD
	mask    [tagSize]byte
	h, inv  element // the key of the hash, and what undoes it
	y       [tagSize]byte
	scratch []byte
}

var zeroNonce [12]byte

func (g *ghash) init(block cipher.Block) error {
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return errors.New("upload: AES-GCM: " + err.Error())
	}
	g.aead = aead
	// Of nothing the GHASH is zero.
	copy(g.mask[:], aead.Seal(nil, zeroNonce[:], nil, nil))
	var h [tagSize]byte
	block.Encrypt(h[:], h[:])
	g.h = load(h)
	g.inv = g.h.inverse()
	return nil
}

// add hashes the next piece. If its size is no multiple of 16 it is the last.
func (g *ghash) add(p []byte) {
	for len(p) > 0 {
		n := min(len(p), gcmPiece)
		g.piece(p[:n])
		p = p[n:]
	}
}

func (g *ghash) piece(p []byte) {
	if cap(g.scratch) == 0 {
		g.scratch = make([]byte, 0, gcmPiece+tagSize)
	}
	// What was hashed before is added to the first block.
	b := g.scratch[:max(len(p), tagSize)]
	clear(b[len(p):])
	copy(b, p)
	subtle.XORBytes(b[:tagSize], b[:tagSize], g.y[:])
	// The tag is that of y = (... + lengths) * H, under the mask.
	var t [tagSize]byte
	g.aead.Seal(t[:0], zeroNonce[:], nil, b)
	subtle.XORBytes(t[:], t[:], g.mask[:])
	y := load(t).mul(g.inv)
	y.hi ^= uint64(len(b)) * 8
	g.y = y.store()
}

// sum ends the hash, with the number of bytes of additional data and of the rest.
func (g *ghash) sum(additional, size uint64) [tagSize]byte {
	y := load(g.y)
	y.hi ^= additional * 8
	y.lo ^= size * 8
	return y.mul(g.h).store()
}

// element is one of GF(2^128) as GCM writes them: the first bit of hi is the coefficient
// of 1 (NIST SP 800-38D §6.3).
type element struct{ hi, lo uint64 }

func load(b [tagSize]byte) element {
	return element{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (e element) store() (b [tagSize]byte) {
	binary.BigEndian.PutUint64(b[:8], e.hi)
	binary.BigEndian.PutUint64(b[8:], e.lo)
	return b
}

// mul multiplies, in constant time.
func (e element) mul(f element) (z element) {
	for i := range 128 {
		w := e.hi
		if i >= 64 {
			w = e.lo
		}
		take := -(w >> (63 - i%64) & 1)
		z.hi ^= f.hi & take
		z.lo ^= f.lo & take
		carry := -(f.lo & 1)
		f.lo = f.lo>>1 | f.hi<<63
		f.hi = f.hi>>1 ^ carry&(0xe1<<56)
	}
	return z
}

// inverse is e to the power of 2^128 - 2; zero of zero.
func (e element) inverse() element {
	r := element{hi: bits.Reverse64(1)} // one
	sq := e
	for range 127 {
		sq = sq.mul(sq)
		r = r.mul(sq)
	}
	return r
}
