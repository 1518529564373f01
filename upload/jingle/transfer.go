package jingle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/upload"
	"mellium.im/xmpp/jid"
)

// An Option says how one file is sent or taken.
type Option func(*options)

type options struct {
	progress func(done, total int64)
	desc     string
	from     int64
	limit    int64
	keep     bool
	inBand   bool
	clear    bool
}

func optionsOf(opts []Option) *options {
	o := &options{limit: upload.DefaultLimit}
	for _, f := range opts {
		if f != nil {
			f(o)
		}
	}
	return o
}

// Progress has f called, now and then and one call after the other, with how many bytes
// of how many were moved; total is -1 if it is not known. It must not block.
func Progress(f func(done, total int64)) Option { return func(o *options) { o.progress = f } }

// Describe tells what the file is, in words.
func Describe(text string) Option { return func(o *options) { o.desc = text } }

// From begins at a byte that is not the first, to go on with what was broken off (XEP-0234
// §6.3): of the file that is sent, that is accepted (if [Offer].Ranges says that it can
// be), or that is asked for. Who takes the file writes behind what there is already;
// the hash of the whole is not checked then.
func From(offset int64) Option { return func(o *options) { o.from = max(0, offset) } }

// Limit takes only files of up to this many bytes, instead of [upload.DefaultLimit].
func Limit(n int64) Option { return func(o *options) { o.limit = max(0, n) } }

// Resumable keeps what has come when [Offer.Save] is broken off, in a file that is named
// like the one that is wanted, with ".part" at its end: when the file is offered again the
// next call with the same path goes on from there, and checks the whole.
func Resumable() Option { return func(o *options) { o.keep = true } }

// InBand sends the bytes in stanzas, whatever Config.Reach says.
func InBand() Option { return func(o *options) { o.inBand = true } }

// InClear sends a file also in a conversation that is encrypted.
func InClear() Option { return func(o *options) { o.clear = true } }

// describe reads the source once, for its hash.
func describe(ctx context.Context, src upload.Source, o *options) (d description, err error) {
	if src.Open == nil || src.Size < 0 {
		return d, errors.New("jingle: the source has no Open, or no Size")
	}
	d = description{File: File{Name: chat.SafeName(src.Name), Type: src.Type, Desc: o.desc, Size: src.Size, Date: src.Date}, ranged: true, length: -1, offset: o.from}
	in, err := src.Open()
	if err != nil {
		return d, fmt.Errorf("jingle: opening the file: %w", err)
	}
	defer in.Close()
	sum := sha256.New()
	buf := make([]byte, 64<<10)
	for left := src.Size; left > 0; {
		if ctx.Err() != nil {
			return d, context.Cause(ctx)
		}
		n, err := in.Read(buf[:min(left, int64(len(buf)))])
		if left == src.Size && d.Type == "" {
			d.Type = upload.TypeOf(src.Name, buf[:n])
		}
		sum.Write(buf[:n])
		left -= int64(n)
		if err == io.EOF && left > 0 {
			return d, upload.ErrChanged
		}
		if err != nil && err != io.EOF {
			return d, fmt.Errorf("jingle: reading the file: %w", err)
		}
	}
	d.Hashes = map[string]string{"sha-256": sumText(sum)}
	if d.offset > d.Size {
		return d, fmt.Errorf("jingle: From is behind the end of the file")
	}
	return d, nil
}

// Send offers a file to a client, by its full address, and returns when the other side
// has all of it. Until it has accepted, which may last until its user looks, and while the
// file moves, the end of ctx takes the offer back. The file is read twice, first for its
// hash. Errors are [ErrUnsupported], an [*EndError] if the other side has refused it or has
// given up, [ErrGone], [ErrConnect], [ErrStalled], upload.ErrClear, or those of the file
// and ctx.
func (c *Client) Send(ctx context.Context, to jid.JID, src upload.Source, opts ...Option) error {
	o := optionsOf(opts)
	if c.cfg.Sealed != nil && !o.clear && c.cfg.Sealed(to.Bare()) {
		return upload.ErrClear
	}
	d, err := describe(ctx, src, o)
	if err != nil {
		return err
	}
	x, err := c.begin(to, true)
	if err != nil {
		return err
	}
	return x.finish(ctx, x.send(ctx, src, d, o))
}

// send is Send for a session of ours.
func (x *session) send(ctx context.Context, src upload.Source, d description, o *options) error {
	x.forceBand = o.inBand
	got, err := x.initiate(ctx, d)
	defer x.own.close()
	if err != nil {
		return err
	}
	if got.ranged && (got.offset > 0 || got.length >= 0) {
		if got.offset < d.offset || got.offset > d.Size || got.length > d.Size-got.offset {
			return fmt.Errorf("%w: the range", errMalformed)
		}
		d.offset, d.length = got.offset, got.length
	}
	return x.give(ctx, src, d, o)
}

// reasonTime is how long a reason is waited for when a connection is broken.
const reasonTime = 3 * time.Second

// A transfer is the bytes of a session under way.
type transfer struct {
	x        *session
	ctx      context.Context // ends with it
	link     io.ReadWriteCloser
	o        *options
	last     atomic.Int64
	done     int64 // of the whole file
	total    int64
	told     int64
	patience time.Duration
}

// moved tells of progress.
func (t *transfer) moved(n int) {
	t.done += int64(n)
	t.last.Store(time.Now().UnixNano())
	if t.o.progress != nil && (t.done-t.told >= 128<<10 || t.done == t.total) {
		t.told = t.done
		t.o.progress(t.done, t.total)
	}
}

// run moves bytes, until they have been, or ctx, the session or somebody's patience ends.
// Then it waits for what is under way: after it nothing of the user's is used.
func (x *session) run(ctx context.Context, o *options, from, total int64, move func(*transfer) error) error {
	link, err := x.link(ctx)
	if err != nil {
		return err
	}
	defer link.Close()
	x.mu.Lock()
	x.moving = true
	x.mu.Unlock()
	tctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &transfer{x: x, ctx: tctx, link: link, o: o, done: from, told: from, total: total, patience: x.c.cfg.Patience}
	t.moved(0)
	ended := make(chan error, 1)
	go func() { ended <- move(t) }()
	watch := time.NewTimer(t.patience)
	defer watch.Stop()
	stop, gone := ctx.Done(), x.ctx.Done()
	var why error
	end := func(err error) {
		if why == nil {
			why = err
		}
		cancel()
		_ = link.Close()
	}
	for {
		select {
		case err := <-ended:
			if why == nil && errors.Is(err, ErrConnect) && !errors.Is(err, errOrder) {
				// The other side may be about to say why.
				late := time.NewTimer(min(reasonTime, t.patience))
				defer late.Stop()
				select {
				case <-gone:
				case <-stop:
				case <-x.finished:
				case <-late.C:
				}
			}
			if why != nil {
				return why
			}
			return err
		case <-x.in: // what it said is in the session already
		case <-stop:
			stop = nil
			end(context.Cause(ctx))
		case <-gone:
			gone = nil
			end(context.Cause(x.ctx))
		case <-watch.C:
			if idle := time.Since(time.Unix(0, t.last.Load())); idle < t.patience {
				watch.Reset(t.patience - idle)
				continue
			}
			end(ErrStalled)
		}
	}
}

// give sends the bytes, and waits for the other side to have them.
func (x *session) give(ctx context.Context, src upload.Source, d description, o *options) error {
	n := d.Size - d.offset
	if d.length >= 0 {
		n = d.length
	}
	part := sha256.New()
	err := x.run(ctx, o, d.offset, d.Size, func(t *transfer) error {
		in, err := src.Open()
		if err != nil {
			return fmt.Errorf("jingle: opening the file: %w", err)
		}
		defer in.Close()
		if s, ok := in.(io.Seeker); ok && d.offset > 0 {
			_, err = s.Seek(d.offset, io.SeekStart)
		} else {
			_, err = io.CopyN(io.Discard, in, d.offset)
		}
		if err != nil {
			return fmt.Errorf("jingle: reading the file: %w", err)
		}
		buf := make([]byte, 32<<10)
		for left := n; left > 0; {
			k, err := io.ReadFull(in, buf[:min(left, int64(len(buf)))])
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return upload.ErrChanged
			}
			if err != nil {
				return fmt.Errorf("jingle: reading the file: %w", err)
			}
			part.Write(buf[:k])
			if err := t.write(buf[:k]); err != nil {
				return err
			}
			left -= int64(k)
		}
		if n < d.Size {
			x.sendChecksum(d, n, part)
		}
		switch s := t.link.(type) {
		case *inBand:
			_ = s.Close()
		case interface{ CloseWrite() error }:
			_ = s.CloseWrite() // Prosody's proxy may keep the last piece back until then
		}
		return t.received()
	})
	var end *EndError
	switch {
	case err == nil:
	case errors.As(err, &end) && end.Reason == "success" && n == 0:
		return nil // nothing to wait for: it was done before the connection was there
	case !errors.Is(err, upload.ErrChanged) && x.isDone():
		return nil // it has all, and has closed the connection before it was looked at
	}
	return err
}

// write sends a piece, and tells of what has gone.
func (t *transfer) write(p []byte) error {
	for len(p) > 0 {
		k := len(p)
		if s, ok := t.link.(*inBand); ok {
			k = min(k, s.block)
		}
		n, err := t.link.Write(p[:k])
		if err != nil {
			return broken(err)
		}
		t.moved(n)
		p = p[n:]
	}
	return nil
}

func broken(err error) error {
	if errors.Is(err, ErrConnect) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrConnect, err)
}

// sendChecksum tells the hash of a part (XEP-0234 §8.2).
func (x *session) sendChecksum(d description, n int64, part hash.Hash) {
	ctx, cancel := context.WithTimeout(x.ctx, 30*time.Second)
	defer cancel()
	r := description{File: File{Size: -1}, ranged: true, offset: d.offset, length: n, rangeHashes: map[string]string{"sha-256": sumText(part)}}
	_, _ = x.c.ask(ctx, x.peer, x.element("session-info",
		confab.El(nsFile, "checksum", r.element()).Set("creator", x.creator).Set("name", x.content)))
}

// received waits for the other side to say that it has everything.
func (t *transfer) received() error {
	select {
	case <-t.x.finished:
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err() // run knows why
	}
}

func (x *session) isDone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.done
}

// sink is where what comes goes, and what is made of it on the way.
type sink struct {
	w      io.Writer
	hashes map[string]hash.Hash // of the whole; nil if its beginning is not known
	part   hash.Hash            // of what came
}

// newSink looks at a file of which the hashes are known, or are told later.
func newSink(w io.Writer, d description, whole bool) *sink {
	k := &sink{w: w, part: sha256.New()}
	if whole {
		k.hashes = map[string]hash.Hash{}
		for _, name := range []string{best(d.Hashes), d.later} {
			if h := newHash(name); h != nil {
				k.hashes[name] = h
			}
		}
		if len(k.hashes) == 0 {
			k.hashes["sha-256"] = sha256.New()
		}
	}
	return k
}

func (k *sink) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	k.sum(p[:max(0, min(n, len(p)))])
	k.part.Write(p[:max(0, min(n, len(p)))])
	return n, err
}

// sum takes a part of the whole.
func (k *sink) sum(p []byte) {
	for _, h := range k.hashes {
		h.Write(p)
	}
}

// errWrite wraps what went wrong where the file is written.
type errWrite struct{ error }

func (e errWrite) Unwrap() error { return e.error }

// get takes the bytes from offset on. D is what was said of the file.
func (x *session) get(ctx context.Context, k *sink, d description, o *options) error {
	want := int64(-1)
	switch {
	case d.length >= 0:
		want = d.length
	case d.Size >= 0:
		want = d.Size - d.offset
	}
	err := x.run(ctx, o, d.offset, d.Size, func(t *transfer) error {
		buf := make([]byte, 32<<10)
		for got := int64(0); want < 0 || got < want; {
			room := int64(len(buf))
			if want >= 0 {
				room = min(room, want-got)
			}
			n, err := t.link.Read(buf[:room])
			if n > 0 {
				got += int64(n)
				if want < 0 && d.offset+got > o.limit {
					return upload.ErrLimit
				}
				if _, werr := k.Write(buf[:n]); werr != nil {
					return errWrite{fmt.Errorf("jingle: writing the file: %w", werr)}
				}
				t.moved(n)
			}
			switch {
			case err == io.EOF && want < 0:
				return nil
			case err == io.EOF && got < want:
				return fmt.Errorf("%w: %d bytes are missing", ErrConnect, want-got)
			case err != nil && err != io.EOF:
				return broken(err)
			}
		}
		if s, ok := t.link.(*inBand); ok && want >= 0 && s.waiting() {
			return fmt.Errorf("%w: it is larger than was told", upload.ErrCorrupt)
		}
		return x.awaitChecksum(t, d)
	})
	if err != nil {
		return err
	}
	return x.check(k, d)
}

// waiting reports whether there is something that nobody has read.
func (s *inBand) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size > 0
}

// checksumTime is how long a hash is waited for that was to come later.
const checksumTime = 10 * time.Second

func (x *session) awaitChecksum(t *transfer, d description) error {
	if d.later == "" || d.Hashes[d.later] != "" || d.offset > 0 {
		return nil
	}
	late := time.NewTimer(min(checksumTime, t.patience))
	defer late.Stop()
	for {
		x.mu.Lock()
		there, summed := x.sums.Hashes[d.later] != "" || x.done, x.summed
		x.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-summed:
		case <-x.finished:
		case <-t.ctx.Done():
			return t.ctx.Err() // run knows why
		case <-late.C:
			return nil
		}
	}
}

// check compares what came with what was said of it.
func (x *session) check(k *sink, d description) error {
	x.mu.Lock()
	sums := x.sums
	x.mu.Unlock()
	want := maps.Clone(sums.Hashes)
	if want == nil {
		want = map[string]string{}
	}
	maps.Copy(want, d.Hashes)
	for name, h := range k.hashes {
		if want[name] != "" && !sameHash(h, want[name]) {
			return upload.ErrCorrupt
		}
	}
	if v := sums.rangeHashes["sha-256"]; v != "" && sums.offset == d.offset && !sameHash(k.part, v) {
		return upload.ErrCorrupt
	}
	return nil
}

// reasonOf is what the other side is told of an error (XEP-0166 §7.4).
func reasonOf(ctx context.Context, err error) (reason, detail string) {
	var w errWrite
	switch {
	case errors.Is(err, upload.ErrLimit):
		return "media-error", "file-too-large"
	case errors.Is(err, upload.ErrCorrupt), errors.Is(err, upload.ErrChanged):
		return "media-error", ""
	case ctx.Err() != nil, errors.As(err, &w):
		return "cancel", ""
	case errors.Is(err, ErrStalled):
		return "timeout", ""
	case errors.Is(err, ErrConnect):
		return "connectivity-error", ""
	case errors.Is(err, errMalformed):
		return "incompatible-parameters", ""
	}
	return "general-error", ""
}
