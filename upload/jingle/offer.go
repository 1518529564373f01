package jingle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab/upload"
	"mellium.im/xmpp/jid"
)

// pending is a session that waits for the user.
type pending struct {
	x        *session
	d        description
	answered atomic.Bool
	timer    *time.Timer
}

// use has the user's answer be the only one.
func (p *pending) use() error {
	if !p.answered.CompareAndSwap(false, true) {
		return ErrUsed
	}
	p.timer.Stop()
	if p.x.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrUsed, context.Cause(p.x.ctx))
	}
	return nil
}

func (p *pending) decline(detail string) error {
	if err := p.use(); err != nil {
		return err
	}
	p.x.endWith("decline", detail, ErrUsed)
	return nil
}

// An Offer is the event for a file that somebody wants to send. Nothing of it comes before
// it is accepted; if it is neither accepted nor declined it ends after Config.OfferTime.
// Accept it on a goroutine of its own: functions that events are handed to hold up those
// behind.
type Offer struct {
	// From is the client that offers it.
	From jid.JID
	File
	// Offset and Length say what part of the file it is: from Offset on, and all of it if
	// Length is -1.
	Offset, Length int64
	// Ranges says that the other side can begin elsewhere, see [From].
	Ranges bool

	p *pending
}

// Done is closed when the offer is no more: it was taken back, or all has come.
func (o *Offer) Done() <-chan struct{} { return o.p.x.ctx.Done() }

// Decline refuses the file.
func (o *Offer) Decline(context.Context) error { return o.p.decline("") }

// Accept takes the file and writes it to w, as it comes; it is right only if Accept
// returns nil. Errors are [ErrUsed], upload.ErrCorrupt, upload.ErrLimit, an [*EndError]
// if the other side has given up, [ErrGone], [ErrConnect], [ErrStalled], or those of w
// and ctx.
func (o *Offer) Accept(ctx context.Context, w io.Writer, opts ...Option) error {
	op := optionsOf(opts)
	if op.from > 0 && op.from != o.Offset && !o.Ranges {
		return errors.New("jingle: the other side begins nowhere else")
	}
	if err := o.p.use(); err != nil {
		return err
	}
	d := o.p.d
	if op.from > 0 {
		if err := d.begin(op.from); err != nil {
			o.p.x.endWith("cancel", "", err)
			return err
		}
	}
	return o.accept(ctx, newSink(w, d, d.offset == 0 && d.length < 0), d, op)
}

// begin begins at another byte.
func (d *description) begin(at int64) error {
	if d.length >= 0 && at != d.offset || at < d.offset || d.Size >= 0 && at > d.Size {
		return errors.New("jingle: From is not in what is offered")
	}
	d.offset = at
	return nil
}

func (o *Offer) accept(ctx context.Context, k *sink, d description, op *options) error {
	x := o.p.x
	return x.finish(ctx, func() error {
		if d.Size > op.limit {
			return upload.ErrLimit
		}
		defer x.closeOwn()
		if err := x.accept(ctx, d); err != nil {
			return err
		}
		return x.get(ctx, k, d, op)
	}())
}

// Save accepts the file and writes it to path, in the place of what was there: into a
// temporary file beside it first, that nobody else can read, which gets its name when all
// of it was found to be right. If anything fails no file is left, but with [Resumable].
// Errors are those of [Offer.Accept] and of the disk.
func (o *Offer) Save(ctx context.Context, path string, opts ...Option) (err error) {
	op := optionsOf(opts)
	if err := o.p.use(); err != nil {
		return err
	}
	d := o.p.d
	part := path + ".part"
	keep := op.keep && o.Ranges && d.length < 0 && (best(d.Hashes) != "" || d.later != "")
	var out *os.File
	if keep {
		if info, err := os.Lstat(part); err == nil && !info.Mode().IsRegular() {
			_ = os.Remove(part)
		}
		out, err = os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	} else {
		out, err = os.CreateTemp(filepath.Dir(path), ".*.part") // for the user only
	}
	if err != nil {
		o.p.x.endWith("cancel", "", err)
		return err
	}
	name := out.Name()
	defer func() {
		_ = out.Close()
		bad := errors.Is(err, upload.ErrCorrupt) || errors.Is(err, upload.ErrLimit)
		if info, serr := os.Stat(name); err != nil && (!keep || bad || serr == nil && info.Size() == 0) {
			_ = os.Remove(name)
		}
	}()
	k := newSink(out, d, true)
	if keep {
		if d.offset, err = k.pickUp(out, d); err != nil {
			o.p.x.endWith("cancel", "", err)
			return err
		}
	}
	if d.offset < o.Offset || d.length >= 0 {
		err = errors.New("jingle: this is a part of a file, of which the beginning is not there")
		o.p.x.endWith("cancel", "", err)
		return err
	}
	if err := o.accept(ctx, k, d, op); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(name, path)
}

// pickUp goes on behind what an earlier call has left, and returns where that is.
func (k *sink) pickUp(out *os.File, d description) (int64, error) {
	info, err := out.Stat()
	if err != nil {
		return 0, err
	}
	n := info.Size()
	if d.Size >= 0 && n > d.Size {
		n = 0
	}
	if err := out.Truncate(n); err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for left := n; left > 0; {
		m, err := out.Read(buf[:min(left, int64(len(buf)))])
		if err != nil {
			return 0, err
		}
		k.sum(buf[:m])
		left -= int64(m)
	}
	_, err = out.Seek(n, io.SeekStart)
	return n, err
}

// A Request is the event for a file that somebody wants to have: the hashes or the name
// say which. Nothing is sent before [Request.Send].
type Request struct {
	// From is the client that asks.
	From jid.JID
	File
	// Offset and Length say what part of the file it is: from Offset on, and all of it if
	// Length is -1.
	Offset, Length int64

	p *pending
}

// Done is closed when the request is no more.
func (r *Request) Done() <-chan struct{} { return r.p.x.ctx.Done() }

// Decline refuses the request.
func (r *Request) Decline(context.Context) error { return r.p.decline("file-not-available") }

// Send gives what was asked for, and returns when the other side has it. Its errors are
// those of [Client.Send]. A source that has not the hash that was asked for is
// upload.ErrChanged.
func (r *Request) Send(ctx context.Context, src upload.Source, opts ...Option) error {
	op := optionsOf(opts)
	c := r.p.x.c
	if c.cfg.Sealed != nil && !op.clear && c.cfg.Sealed(r.From.Bare()) {
		return upload.ErrClear
	}
	if err := r.p.use(); err != nil {
		return err
	}
	x := r.p.x
	op.from = r.p.d.offset
	return x.finish(ctx, func() error {
		d, err := describe(ctx, src, op)
		if err != nil {
			return err
		}
		if want := r.p.d.Hashes["sha-256"]; want != "" && want != d.Hashes["sha-256"] || r.p.d.length > d.Size-d.offset {
			return upload.ErrChanged
		}
		d.length = r.p.d.length
		defer x.closeOwn()
		if err := x.accept(ctx, d); err != nil {
			return err
		}
		return x.give(ctx, src, d, op)
	}())
}

// Request asks a client, by its full address, for a file that it has, and writes it to w
// as it comes; it is right only if Request returns nil. What is known of the file says
// which: its hashes, or its name. With [From] it begins elsewhere. Errors are those of
// [Offer.Accept] and [ErrUnsupported].
func (c *Client) Request(ctx context.Context, from jid.JID, f File, w io.Writer, opts ...Option) error {
	op := optionsOf(opts)
	if len(f.Hashes) == 0 && f.Name == "" {
		return errors.New("jingle: what file is asked for: its hash or its name is needed")
	}
	if f.Size <= 0 {
		f.Size = -1
	}
	x, err := c.begin(from, false)
	if err != nil {
		return err
	}
	x.forceBand = op.inBand
	d := description{File: f, ranged: op.from > 0, offset: op.from, length: -1}
	return x.finish(ctx, func() error {
		got, err := x.initiate(ctx, d)
		defer x.closeOwn()
		if err != nil {
			return err
		}
		for algo, v := range f.Hashes { // what was asked for counts
			got.Hashes[algo] = v
		}
		switch {
		case got.offset != op.from, f.Size >= 0 && got.Size >= 0 && got.Size != f.Size:
			return fmt.Errorf("%w: this is another file, or another part of it", upload.ErrCorrupt)
		case got.Size > op.limit:
			return upload.ErrLimit
		}
		return x.get(ctx, newSink(w, got, got.offset == 0 && got.length < 0), got, op)
	}())
}
