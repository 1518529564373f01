package upload

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

const (
	// DefaultLimit is the size of a file that [Client.Save] takes without [Limit].
	DefaultLimit = 128 << 20
	// DefaultFetch is the same for [Client.Fetch].
	DefaultFetch = 8 << 20

	fetchTries = 4 // without a byte in between
	maxAnew    = 8 // times that a transfer begins at the beginning again
)

// Limit takes only files of up to this many bytes.
func Limit(n int64) Option { return func(o *options) { o.limit = min(n, 1<<62) } }

// Types takes only files of these media types, such as "image/png", or "image/" for all
// of a kind. What the message says, what the server says and, for pictures and sounds,
// what the file begins with must not tell of something else.
func Types(types ...string) Option { return func(o *options) { o.types = types } }

// Resumable keeps what has come when a transfer is broken off, in a file that is named
// like the one that is wanted, with ".part" at its end: the next call with the same file
// and path goes on from there. It does so only if there is a hash or a tag to check the
// whole with.
func Resumable() Option { return func(o *options) { o.keep = true } }

// Save fetches a file and writes it to path, in the place of what was there. The sources
// are tried one after the other; a transfer that breaks off is resumed. What comes is
// decrypted on the way into a temporary file beside path, which nobody else can read. It
// gets its name when all of it was found to be right: its tag, its hash and its size. If
// anything fails, no file is left. Errors are [ErrCorrupt], [ErrLimit], [ErrType],
// [ErrURL], a [*StatusError], or those of the disk, the network and ctx.
func (c *Client) Save(ctx context.Context, f chat.File, path string, opts ...Option) error {
	o := optionsOf(opts)
	if o.limit <= 0 {
		o.limit = DefaultLimit
	}
	return c.each(ctx, f, o, func(s chat.FileSource) error {
		resumed, err := c.save(ctx, f, s, path, o, true)
		if resumed && errors.Is(err, ErrCorrupt) {
			_, err = c.save(ctx, f, s, path, o, false) // what was kept may have been wrong
		}
		return err
	})
}

// Fetch is like Save for small files, which it returns.
func (c *Client) Fetch(ctx context.Context, f chat.File, opts ...Option) ([]byte, error) {
	o := optionsOf(opts)
	if o.limit <= 0 {
		o.limit = DefaultFetch
	}
	var data []byte
	err := c.each(ctx, f, o, func(s chat.FileSource) error {
		m := &memory{}
		k, err := newSink(m, f, s, o)
		if err != nil {
			return err
		}
		g := &get{c: c, s: s, o: o, f: f, sink: k, restart: func() (*sink, error) {
			m.Reset()
			return newSink(m, f, s, o)
		}}
		if err := g.run(ctx); err != nil {
			return err
		}
		data = m.Bytes()
		return nil
	})
	return data, err
}

type memory struct{ bytes.Buffer }

// Thumbnail fetches a thumbnail of a file that the full address from has shared: out of
// the message, from there, or from a server. It has at most 64 KiB.
func (c *Client) Thumbnail(ctx context.Context, t chat.Thumbnail, from jid.JID) (Bits, error) {
	scheme, rest, _ := strings.Cut(t.URI, ":")
	switch strings.ToLower(scheme) {
	case "cid":
		return c.Bits(ctx, from, t.URI)
	case "data":
		head, data, ok := strings.Cut(rest, ",")
		typ, is64 := strings.CutSuffix(head, ";base64")
		var b []byte
		var err error
		// The form of XEP-0454 does not say that it is base64.
		if b, err = base64.StdEncoding.DecodeString(data); err != nil && !is64 {
			var text string
			text, err = url.PathUnescape(data)
			b = []byte(text)
		}
		if !ok || err != nil || len(b) > MaxBits {
			return Bits{}, fmt.Errorf("%w: the thumbnail is malformed", ErrCorrupt)
		}
		return Bits{Type: typ, Data: b, MaxAge: -1}, nil
	case "https":
		b, err := c.Fetch(ctx, chat.File{Type: t.Type, Sources: []chat.FileSource{{URL: t.URI}}}, Limit(MaxBits), Types("image/"))
		return Bits{Type: t.Type, Data: b, MaxAge: -1}, err
	}
	return Bits{}, fmt.Errorf("%w: the thumbnail", ErrURL)
}

// each tries the sources, the encrypted ones first.
func (c *Client) each(ctx context.Context, f chat.File, o *options, get func(chat.FileSource) error) error {
	if len(f.Sources) == 0 {
		return errors.New("upload: the message does not say where the file is")
	}
	if f.Size > o.limit {
		return ErrLimit
	}
	if !o.wants(f.Type) {
		return ErrType
	}
	var first error
	for _, encrypted := range [...]bool{true, false} {
		for _, s := range f.Sources {
			if (s.Cipher != "") != encrypted {
				continue
			}
			err := get(s)
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("upload: it was given up: %w", context.Cause(ctx))
			}
			if first == nil {
				first = err
			}
			var pe *os.PathError
			if errors.As(err, &pe) {
				return err
			}
		}
	}
	return first
}

// wants reports whether a file of this type is taken; "" is not known.
func (o *options) wants(typ string) bool {
	if len(o.types) == 0 || typ == "" {
		return true
	}
	if t, _, err := mime.ParseMediaType(typ); err == nil {
		typ = t
	}
	for _, w := range o.types {
		if typ == w || strings.HasSuffix(w, "/") && strings.HasPrefix(typ, w) {
			return true
		}
	}
	return false
}

// wantsHead looks at how a file begins, if nothing but media are wanted.
func (o *options) wantsHead(head []byte) bool {
	for _, w := range o.types {
		kind, _, _ := strings.Cut(w, "/")
		if kind != "image" && kind != "audio" && kind != "video" {
			return true
		}
	}
	if len(o.types) == 0 {
		return true
	}
	typ, _, _ := mime.ParseMediaType(http.DetectContentType(head))
	kind, _, _ := strings.Cut(typ, "/")
	switch typ {
	case "application/octet-stream", "application/ogg", "text/plain", "text/xml": // may be anything, or SVG
		return true
	}
	return kind == "image" || kind == "audio" || kind == "video"
}

// save fetches one source into a file. It reports whether an earlier call had begun.
func (c *Client) save(ctx context.Context, f chat.File, s chat.FileSource, path string, o *options, resume bool) (resumed bool, err error) {
	k, err := newSink(nil, f, s, o)
	if err != nil {
		return false, err
	}
	var out *os.File
	part := path + ".part"
	keep := o.keep && k.verified()
	if keep {
		if info, err := os.Lstat(part); err == nil && !info.Mode().IsRegular() || !resume {
			_ = os.Remove(part)
		}
		out, err = os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	} else {
		out, err = os.CreateTemp(filepath.Dir(path), ".*.part") // for the user only
	}
	if err != nil {
		return false, err
	}
	name := out.Name()
	defer func() {
		_ = out.Close()
		broken := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrLimit) || errors.Is(err, ErrType)
		if err != nil && (!keep || broken || k.written == 0) {
			_ = os.Remove(name)
		}
	}()
	k.out = out
	if keep {
		if err := k.pickUp(out); err != nil {
			return false, err
		}
		resumed = k.raw > 0
	}
	g := &get{c: c, s: s, o: o, f: f, sink: k, restart: func() (*sink, error) {
		if err := out.Truncate(0); err != nil {
			return nil, err
		}
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		k, err = newSink(out, f, s, o)
		return k, err
	}}
	if err := g.run(ctx); err != nil {
		return resumed, err
	}
	if err := out.Close(); err != nil {
		return resumed, err
	}
	return resumed, os.Rename(name, path)
}

// pickUp goes on behind what an earlier call has left.
func (k *sink) pickUp(out *os.File) error {
	info, err := out.Stat()
	if err != nil {
		return err
	}
	n, err := k.resume(out, info.Size())
	if err != nil {
		return err
	}
	if err := out.Truncate(n); err != nil {
		return err
	}
	_, err = out.Seek(n, io.SeekStart)
	return err
}

// get is one download.
type get struct {
	c       *Client
	s       chat.FileSource
	f       chat.File
	o       *options
	sink    *sink
	restart func() (*sink, error)
	tag     string // of the version that is under way; "" if the server gives none
	told    int64
	total   int64
	anew    int // how often it began at the beginning again
}

// errBroken wraps what may be better at the next try.
type errBroken struct{ error }

func (e errBroken) Unwrap() error { return e.error }

// run fetches and checks.
func (g *get) run(ctx context.Context) error {
	u, err := g.c.address(g.s.URL)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		before := g.sink.raw
		err := g.once(ctx, u)
		if err == nil {
			return g.sink.finish()
		}
		var broken errBroken
		if !errors.As(err, &broken) {
			return err
		}
		if g.sink.raw > before {
			try = 1
		}
		if ctx.Err() != nil || try == fetchTries {
			return broken.error
		}
		pause := time.NewTimer(time.Duration(try*try) * 100 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return broken.error
		}
	}
}

// position is where the next byte that is wanted is.
func (g *get) position() int64 { return g.sink.raw }

// once asks for what is missing.
func (g *get) once(ctx context.Context, u *url.URL) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := newWatch(g.c.cfg.Patience, cancel)
	defer w.stop()
	broken := func(err error) error {
		if errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
		return errBroken{clean("fetching from", u.Host, err)}
	}
	if g.position() > 0 && g.tag == "" && !g.sink.verified() {
		if err := g.again(); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return clean("fetching from", u.Host, err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	from := g.position()
	if g.s.Cipher == "" && from > 0 && from == g.f.Size {
		return nil // an earlier call had all of it
	}
	if from > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
		if g.tag != "" {
			req.Header.Set("If-Range", g.tag)
		}
	}
	res, err := g.c.http.Do(req)
	if err != nil {
		if errors.Is(err, ErrURL) {
			return fmt.Errorf("%w: a redirect", ErrURL)
		}
		if v := (*tls.CertificateVerificationError)(nil); errors.As(err, &v) {
			return clean("fetching from", u.Host, err)
		}
		return broken(err)
	}
	defer res.Body.Close()
	if err := g.answer(res, from); err != nil {
		return err
	}
	p := make([]byte, 2*piece)
	for {
		n, err := 0, error(nil)
		for n < len(p) && err == nil { // a read gives what is in one TLS record
			var k int
			k, err = res.Body.Read(p[n:])
			n += k
			w.moved()
		}
		if n > 0 {
			if err := g.take(p[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			if g.total > 0 && g.position() < g.total {
				return broken(io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			return broken(err)
		}
	}
}

// again begins at the beginning. A server that breaks off each time, a little later, does
// not have it go on for ever.
func (g *get) again() (err error) {
	if g.anew++; g.anew > maxAnew {
		return errors.New("upload: the server breaks off again and again, and does not go on where it was")
	}
	g.sink, err = g.restart()
	g.told = 0
	return err
}

// answer looks at how the server has answered.
func (g *get) answer(res *http.Response, from int64) error {
	host := res.Request.URL.Host
	status := &StatusError{Method: http.MethodGet, Host: host, Code: res.StatusCode}
	switch {
	case res.StatusCode == http.StatusOK:
		if from > 0 {
			if err := g.again(); err != nil {
				return err
			}
		}
		g.total = max(0, res.ContentLength)
	case res.StatusCode == http.StatusPartialContent && from > 0:
		var first, last, total int64
		if n, _ := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); n != 3 || first != from || last != total-1 || last < first {
			return fmt.Errorf("%w: the server has sent another part", ErrCorrupt)
		}
		if g.total > 0 && total != g.total {
			return fmt.Errorf("%w: it has another size than before", ErrCorrupt)
		}
		g.total = total
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0:
		if err := g.again(); err != nil {
			return err
		}
		return errBroken{status}
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout:
		return errBroken{status}
	default:
		return status
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fmt.Errorf("%w: the server has compressed it", ErrCorrupt)
	}
	if g.s.Cipher == "" && g.f.Type == "" && !g.o.wants(res.Header.Get("Content-Type")) {
		return ErrType
	}
	g.tag = res.Header.Get("ETag")
	if strings.HasPrefix(g.tag, "W/") {
		g.tag = ""
	}
	if g.total > 0 {
		return g.sink.announce(g.total)
	}
	return nil
}

// take takes the next bytes.
func (g *get) take(p []byte) error {
	if err := g.sink.write(p); err != nil {
		return err
	}
	if done := g.sink.raw; g.o.progress != nil && (done-g.told >= 128<<10 || done == g.total) {
		g.told = done
		g.o.progress(done, g.total)
	}
	return nil
}
