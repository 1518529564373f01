package upload

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/confab-im/confab/chat"
)

// piece is how much is taken at a time.
const piece = gcmPiece

// sink takes what comes from a server, decrypts it, and writes the file. What it has
// written is not to be used before finish has returned without an error.
type sink struct {
	out     io.Writer
	f       chat.File
	s       chat.FileSource
	o       *options
	hash    hash.Hash
	want    []byte
	gcm     *gcm
	cbc     cipher.BlockMode
	buf     []byte // came, and is not decrypted
	raw     int64  // bytes that came
	written int64  // bytes of the file
}

// hashes are those that are trusted, the fastest first.
var hashes = []struct {
	name string
	make func() hash.Hash
}{
	{"sha-256", sha256.New},
	{"sha-512", sha512.New},
	{"sha3-256", func() hash.Hash { return sha3.New256() }},
	{"sha3-512", func() hash.Hash { return sha3.New512() }},
}

func newSink(out io.Writer, f chat.File, s chat.FileSource, o *options) (*sink, error) {
	k := &sink{out: out, f: f, s: s, o: o}
	for _, h := range hashes {
		text, ok := f.Hashes[h.name]
		if !ok {
			continue
		}
		want, err := base64.StdEncoding.DecodeString(text)
		if k.hash = h.make(); err != nil || len(want) != k.hash.Size() {
			return nil, fmt.Errorf("upload: the hash in the message, by %s, is none", h.name)
		}
		k.want = want
		break
	}
	var err error
	switch s.Cipher {
	case "":
	case chat.AES128GCM, chat.AES256GCM:
		k.gcm, err = newGCM(s.Key, s.IV)
	case chat.AES256CBC:
		// Nothing but the hash tells whether it is what was sent.
		if k.hash == nil {
			return nil, errors.New("upload: a file that is encrypted with AES-CBC needs a hash, and the message has none that is known")
		}
		var block cipher.Block
		if block, err = aes.NewCipher(s.Key); err == nil && len(s.IV) == aes.BlockSize {
			k.cbc = cipher.NewCBCDecrypter(block, s.IV)
		} else {
			err = errors.New("upload: the key or the initialization vector has a wrong size")
		}
	default:
		err = fmt.Errorf("upload: the cipher %q is not known", s.Cipher)
	}
	if err != nil {
		return nil, err
	}
	k.buf = make([]byte, 0, 2*piece+tagSize)
	return k, nil
}

// verified reports whether a wrong file would be noticed.
func (k *sink) verified() bool { return k.hash != nil || k.gcm != nil }

// overhead is how much larger than the file that may be which comes.
func (k *sink) overhead() int64 {
	switch {
	case k.gcm != nil:
		return tagSize
	case k.cbc != nil:
		return aes.BlockSize
	}
	return 0
}

// announce is told how much will come, before it does.
func (k *sink) announce(total int64) error {
	if total > k.o.limit+k.overhead() {
		return ErrLimit
	}
	if k.f.Size > 0 && (total < k.f.Size || k.s.Cipher == "" && total > k.f.Size) {
		return fmt.Errorf("%w: it has another size", ErrCorrupt)
	}
	return nil
}

// write takes the next bytes.
func (k *sink) write(p []byte) error {
	if k.raw += int64(len(p)); k.raw > k.o.limit+k.overhead() {
		return ErrLimit
	}
	if k.f.Size > 0 && k.s.Cipher == "" && k.raw > k.f.Size {
		return fmt.Errorf("%w: it has another size", ErrCorrupt)
	}
	if k.s.Cipher == "" {
		return k.emit(p)
	}
	for len(p) > 0 {
		n := min(len(p), piece+tagSize-len(k.buf))
		k.buf = append(k.buf, p[:n]...)
		if p = p[n:]; len(k.buf) == piece+tagSize {
			if err := k.decrypt(k.buf[:piece]); err != nil {
				return err
			}
			k.buf = k.buf[:copy(k.buf, k.buf[piece:])]
		}
	}
	return nil
}

// decrypt decrypts in place, and writes.
func (k *sink) decrypt(p []byte) error {
	if k.cbc != nil {
		k.cbc.CryptBlocks(p, p)
	} else if err := k.gcm.decrypt(p); err != nil {
		return err
	}
	return k.emit(p)
}

func (k *sink) emit(p []byte) error {
	if k.f.Size > 0 {
		p = p[:min(int64(len(p)), k.f.Size-k.written)] // the rest only hides the size (XEP-0448 §3.2)
	}
	if k.written == 0 && len(p) > 0 && !k.o.wantsHead(p) {
		return ErrType
	}
	if k.hash != nil {
		k.hash.Write(p)
	}
	n, err := k.out.Write(p)
	k.written += int64(n)
	return err
}

// finish decrypts what is left and checks all of it.
func (k *sink) finish() error {
	switch {
	case k.gcm != nil:
		// XEP-0448 allows to leave the tag out, as there is a hash.
		if k.hash != nil && k.f.Size > 0 && k.raw == k.f.Size {
			if err := k.decrypt(k.buf); err != nil {
				return err
			}
			break
		}
		if len(k.buf) < tagSize {
			return fmt.Errorf("%w: it is too short", ErrCorrupt)
		}
		n := len(k.buf) - tagSize
		tag := [tagSize]byte(k.buf[n:])
		if err := k.decrypt(k.buf[:n]); err != nil {
			return err
		}
		if want := k.gcm.tag(); subtle.ConstantTimeCompare(want[:], tag[:]) != 1 {
			return fmt.Errorf("%w: its tag is wrong", ErrCorrupt)
		}
	case k.cbc != nil:
		n := len(k.buf)
		if n == 0 || n%aes.BlockSize != 0 {
			return fmt.Errorf("%w: it is no number of whole blocks", ErrCorrupt)
		}
		k.cbc.CryptBlocks(k.buf, k.buf)
		pad := int(k.buf[n-1])
		if pad == 0 || pad > aes.BlockSize || !bytes.Equal(k.buf[n-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
			return fmt.Errorf("%w: its padding is wrong", ErrCorrupt)
		}
		if err := k.emit(k.buf[:n-pad]); err != nil {
			return err
		}
	}
	if k.f.Size > 0 && k.written != k.f.Size {
		return fmt.Errorf("%w: it has another size", ErrCorrupt)
	}
	if k.written > k.o.limit {
		return ErrLimit
	}
	if k.hash != nil && subtle.ConstantTimeCompare(k.hash.Sum(nil), k.want) != 1 {
		return fmt.Errorf("%w: its hash is wrong", ErrCorrupt)
	}
	return nil
}

// resume takes what an earlier call has written, so that the rest can follow. It returns
// how much of it was good for that.
func (k *sink) resume(from io.Reader, size int64) (int64, error) {
	if !k.verified() || k.cbc != nil {
		return 0, nil
	}
	n := min(size, k.o.limit)
	if k.f.Size > 0 {
		n = min(n, k.f.Size)
	}
	n -= n % piece
	p := make([]byte, piece)
	for range n / piece {
		if _, err := io.ReadFull(from, p); err != nil {
			return 0, err
		}
		if k.hash != nil {
			k.hash.Write(p)
		}
		if k.gcm != nil {
			// As it came; encrypting again is what decrypting was.
			if err := k.gcm.encrypt(p); err != nil {
				return 0, err
			}
		}
	}
	k.raw, k.written = n, n
	return n, nil
}
