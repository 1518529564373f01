package upload

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

// An Option says how one file is uploaded or fetched.
type Option func(*options)

type options struct {
	progress func(done, total int64)
	encrypt  bool
	purpose  Purpose
	expire   time.Time
	describe func(*chat.File)
	thumb    bool
	limit    int64
	types    []string
	keep     bool
}

func optionsOf(opts []Option) *options {
	o := &options{}
	for _, f := range opts {
		if f != nil {
			f(o)
		}
	}
	return o
}

// Progress has f called, now and then and one call after the other, with how many bytes
// of how many were moved; total is 0 if it is not known. It must not block. When
// something is tried again, done may begin anew.
func Progress(f func(done, total int64)) Option { return func(o *options) { o.progress = f } }

// Encrypted encrypts the file with AES-256-GCM, on the way and with a key of its own,
// which is in the [chat.File] that comes back. It must be sent in an encrypted message.
func Encrypted() Option { return func(o *options) { o.encrypt = true } }

// For says for what the file is to be kept.
func For(p Purpose) Option { return func(o *options) { o.purpose = p } }

// ExpireBefore has the file gone at some time, or before (XEP-0363 §6.3).
func ExpireBefore(t time.Time) Option {
	return func(o *options) { o.purpose, o.expire = ForEphemeral, t }
}

// Describe lets f change what the message will say of the file, such as Desc.
func Describe(f func(*chat.File)) Option { return func(o *options) { o.describe = f } }

// WithThumbnail adds a small picture of a picture. It is part of the message, as a data:
// address of a few kilobytes.
func WithThumbnail() Option { return func(o *options) { o.thumb = true } }

// A Conversation is where a file is shared: a chat.Conversation or a *muc.Room.
type Conversation interface {
	Send(ctx context.Context, text string, opts ...chat.Option) (*confab.Sent, error)
}

// Share uploads a file and sends it to a conversation. It is encrypted if Config.Sealed
// says that the conversation is.
func (c *Client) Share(ctx context.Context, v Conversation, src Source, opts ...Option) (*confab.Sent, chat.File, error) {
	if c.cfg.Sealed != nil {
		var to jid.JID
		switch v := v.(type) {
		case interface{ Peer() jid.JID }:
			to = v.Peer()
		case interface{ JID() jid.JID }:
			to = v.JID()
		default:
			return nil, chat.File{}, errors.New("upload: Share cannot tell whose conversation this is: upload with Encrypted, or without, and send the file")
		}
		if c.cfg.Sealed(to.Bare()) {
			opts = append(opts[:len(opts):len(opts)], Encrypted())
		}
	}
	f, err := c.Upload(ctx, src, opts...)
	if err != nil {
		return nil, f, err
	}
	sent, err := v.Send(ctx, "", chat.WithFile(f))
	return sent, f, err
}

// Upload puts a file on the service and returns what a message has to say of it, for
// [chat.WithFile]: its type, hash (SHA-256), size, the size of a picture, the length of a
// sound. If the upload fails, it is tried once more with a new slot. Errors are
// [ErrNoService], a [*TooLargeError] (before a byte is sent), a [*WaitError], [ErrSlot],
// a [*StatusError], a [*confab.Refused], or those of the network and ctx.
func (c *Client) Upload(ctx context.Context, src Source, opts ...Option) (chat.File, error) {
	o := optionsOf(opts)
	if err := src.check(); err != nil {
		return chat.File{}, err
	}
	switch o.purpose {
	case "", ForMessage, ForProfile, ForPermanent:
	case ForEphemeral:
		if o.expire.IsZero() {
			return chat.File{}, errors.New("upload: what is ephemeral has an end: use ExpireBefore")
		}
	default:
		return chat.File{}, fmt.Errorf("upload: there is no purpose %q", o.purpose)
	}
	f, err := probe(src, o.thumb)
	if err != nil {
		return chat.File{}, err
	}
	j := job{c: c, src: src, o: o, name: f.Name, typ: f.Type, size: src.Size}
	if o.encrypt {
		if src.Size > maxGCM {
			return chat.File{}, errGCMSize
		}
		j.size += tagSize
		j.name, j.typ = secretName(f.Name), "application/octet-stream"
	}
	s, err := c.choose(ctx, j.size, o.purpose)
	if err != nil {
		return chat.File{}, err
	}
	if s.Purposes == nil && o.purpose == ForMessage {
		o.purpose = "" // an older service
	}
	got, err := j.run(ctx, s)
	if err != nil && ctx.Err() == nil && again(err) {
		got, err = j.run(ctx, s)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("upload: it was given up: %w", context.Cause(ctx))
		}
		return chat.File{}, err
	}
	f.Hashes = map[string]string{"sha-256": base64.StdEncoding.EncodeToString(got.hash)}
	f.Sources = []chat.FileSource{got.source}
	if o.describe != nil {
		o.describe(&f)
	}
	return f, nil
}

// secretName tells nothing but the kind of the file, which those need to know who get no
// more than a link.
func secretName(name string) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	ext := strings.ToLower(path.Ext(name))
	if len(ext) > 9 || strings.ContainsFunc(ext, func(r rune) bool { return r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
		ext = ""
	}
	return hex.EncodeToString(b[:]) + ext
}

// again reports whether a new slot may help.
func again(err error) bool {
	var status *StatusError
	var net *failure
	switch {
	case errors.As(err, &status):
		return status.Code != http.StatusRequestEntityTooLarge && status.Code != http.StatusInsufficientStorage
	case errors.As(err, &net):
		return !errors.Is(err, ErrChanged)
	}
	return false
}

// job is one upload.
type job struct {
	c    *Client
	src  Source
	o    *options
	name string // as the service sees it
	typ  string
	size int64
}

type uploaded struct {
	hash   []byte
	source chat.FileSource
}

// run gets a slot and fills it.
func (j *job) run(ctx context.Context, s Service) (u uploaded, err error) {
	sl, err := j.c.slot(ctx, s, j.name, j.typ, j.size, j.o)
	if err != nil {
		return u, err
	}
	in, err := j.src.Open()
	if err != nil {
		return u, fmt.Errorf("upload: opening the file: %w", err)
	}
	sum := sha256.New()
	b := &body{
		in: in, left: j.src.Size, sum: sum, total: j.size, progress: j.o.progress,
		closed: make(chan struct{}), buf: make([]byte, 0, gcmPiece+tagSize),
	}
	u.source.URL = sl.get
	if j.o.encrypt {
		u.source.Cipher = chat.AES256GCM
		u.source.Key, u.source.IV = make([]byte, 32), make([]byte, 12)
		_, _ = rand.Read(u.source.Key) // never fails
		_, _ = rand.Read(u.source.IV)
		if b.gcm, err = newGCM(u.source.Key, u.source.IV); err != nil {
			_ = in.Close()
			return u, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.watch = newWatch(j.c.cfg.Patience, cancel)
	defer b.watch.stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, sl.put, b)
	if err != nil {
		_ = in.Close()
		return u, clean("sending to", sl.host, err)
	}
	req.Header = sl.header
	req.Header.Set("Content-Type", j.typ)
	req.ContentLength = j.size
	res, err := j.c.http.Do(req)
	// The transport may read on for a moment after it has returned.
	<-b.closed
	if err != nil {
		switch {
		case b.failed() != nil:
			return u, b.failed()
		case errors.Is(context.Cause(ctx), errStalled):
			err = errStalled
		}
		return u, clean("sending to", sl.host, err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4096)
	_ = res.Body.Close()
	if err := b.failed(); err != nil {
		return u, err
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return u, &StatusError{Method: http.MethodPut, Host: sl.host, Code: res.StatusCode}
	}
	if !b.complete.Load() {
		return u, clean("sending to", sl.host, errors.New("the server did not take all of the file"))
	}
	u.hash = sum.Sum(nil)
	return u, nil
}

// body is what goes over the wire: the file, encrypted or not.
type body struct {
	in       io.ReadCloser
	left     int64 // of the file
	sum      hash.Hash
	gcm      *gcm
	watch    *watch
	progress func(done, total int64)
	total    int64
	done     int64
	told     int64

	buf, rest []byte // rest is the part of buf that is to be sent
	ended     bool   // of the file

	once     sync.Once
	closed   chan struct{}
	complete atomic.Bool
	err      atomic.Pointer[error]
}

func (b *body) failed() error {
	if p := b.err.Load(); p != nil {
		return *p
	}
	return nil
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if b.ended {
			b.complete.Store(true)
			return 0, io.EOF
		}
		if err := b.fill(); err != nil {
			b.err.CompareAndSwap(nil, &err)
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	b.done += int64(n)
	b.watch.moved()
	if b.progress != nil && (b.done-b.told >= 128<<10 || b.done == b.total) {
		b.told = b.done
		b.progress(b.done, b.total)
	}
	if len(b.rest) == 0 && b.ended {
		b.complete.Store(true)
	}
	return n, nil
}

// fill reads the next piece of the file.
func (b *body) fill() error {
	n := int(min(b.left, gcmPiece))
	piece := b.buf[:n]
	if _, err := io.ReadFull(b.in, piece); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return ErrChanged
		}
		return fmt.Errorf("upload: reading the file: %w", err)
	}
	b.left -= int64(n)
	b.sum.Write(piece)
	if b.left == 0 {
		if k, _ := b.in.Read(make([]byte, 1)); k > 0 {
			return ErrChanged
		}
		b.ended = true
	}
	if b.gcm != nil {
		if err := b.gcm.encrypt(piece); err != nil {
			return err
		}
		if b.ended {
			tag := b.gcm.tag()
			piece = append(piece, tag[:]...)
		}
	}
	b.rest = piece
	return nil
}

// Close implements [io.Closer].
func (b *body) Close() error {
	b.once.Do(func() {
		_ = b.in.Close()
		close(b.closed)
	})
	return nil
}

var errStalled = errors.New("nothing moved for too long")

// watch ends a transfer that stands still.
type watch struct {
	last  atomic.Int64
	mu    sync.Mutex
	timer *time.Timer
}

func newWatch(patience time.Duration, cancel context.CancelCauseFunc) *watch {
	w := &watch{}
	w.moved()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(patience, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if idle := time.Since(time.Unix(0, w.last.Load())); idle < patience {
			w.timer.Reset(patience - idle)
			return
		}
		cancel(errStalled)
	})
	return w
}

func (w *watch) moved() { w.last.Store(time.Now().UnixNano()) }
func (w *watch) stop()  { w.timer.Stop() }

// TypeOf finds out what a file is, by its name and its first bytes: its media type.
func TypeOf(name string, head []byte) string {
	ext := strings.ToLower(path.Ext(name))
	if t := types[ext]; t != "" {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		t, _, _ = mime.ParseMediaType(t)
		return t
	}
	t, _, _ := mime.ParseMediaType(http.DetectContentType(head))
	return t
}

// types are those that systems do not agree on.
var types = map[string]string{
	".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".m4a": "audio/mp4",
	".mp4": "video/mp4", ".webm": "video/webm", ".txt": "text/plain", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png",
	".gif": "image/gif", ".webp": "image/webp", ".pdf": "application/pdf", ".zip": "application/zip",
}
