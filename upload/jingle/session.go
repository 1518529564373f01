package jingle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// session is one Jingle session with one file (XEP-0166). The handler of requests puts
// what comes into it; the goroutine of the user's call takes it out.
type session struct {
	c         *Client
	peer      jid.JID
	sid       string
	initiator bool // we have begun
	sending   bool // we have the file

	content, creator, senders string // of its one content

	in     chan *action
	ctx    context.Context // ends with the session; its cause says why
	cancel context.CancelCauseFunc
	told   atomic.Bool // the other side knows of the end

	mu       sync.Mutex
	accepted bool          // by the responder
	moving   bool          // bytes are
	done     bool          // the other side has all, or has sent all
	sums     description   // what came as checksum
	summed   chan struct{} // closed, and made anew, when one has come
	finished chan struct{} // closed with done

	offered   *inBandTerms // the transport is in-band
	theirs    offer        // what the other side offers
	ours      offer
	own       *listener // takes connections for what we offer, or nil
	replaced  *confab.Element
	forceBand bool
}

// inBandTerms are the terms of an in-band bytestream.
type inBandTerms struct {
	sid   string
	block int
}

func newSession(c *Client, peer jid.JID, sid string, initiator, sending bool) *session {
	x := &session{c: c, peer: peer, sid: sid, initiator: initiator, sending: sending, in: make(chan *action, 16),
		summed: make(chan struct{}), finished: make(chan struct{})}
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	return x
}

func (x *session) key() key { return key{x.peer.String(), x.sid} }

// takeTransport reads the transport that the other side has offered first.
func (x *session) takeTransport(el *confab.Element) bool {
	switch {
	case el.Is(nsSOCKS, "transport"):
		o, err := parseOffer(el)
		x.theirs = o
		return err == nil
	case el.Is(nsInBand, "transport"):
		sid, block, err := parseBlocks(el)
		x.offered = &inBandTerms{sid, min(block, x.c.cfg.BlockSize)}
		return err == nil && el.Get("stanza") != "message"
	}
	return false
}

// take gets what the other side says. It must not wait.
func (x *session) take(q *confab.IQ, a *action) (any, error) {
	outOfOrder := func() (any, error) {
		return x.c.refuse(q, stanza.Error{Type: stanza.Wait, Condition: stanza.UnexpectedRequest}, "out-of-order")
	}
	x.mu.Lock()
	accepted := x.accepted
	if a.name == "session-accept" && x.initiator && !accepted {
		x.accepted = true
	}
	x.mu.Unlock()
	switch a.name {
	case "session-terminate":
		end := a.end
		if end == nil || end.Reason == "" {
			end = &EndError{Reason: "cancel"}
		}
		x.told.Store(true)
		if end.Reason != "success" || !x.setDone() {
			x.over(end)
		}
		return nil, nil
	case "session-info":
		if len(a.el.Children) == 0 {
			return nil, nil // is anybody there?
		}
		sum, got := a.el.Child(nsFile, "checksum"), a.el.Child(nsFile, "received")
		if sum == nil && got == nil {
			return x.c.refuse(q, stanza.Error{Type: stanza.Cancel, Condition: stanza.FeatureNotImplemented}, "unsupported-info")
		}
		if d, err := parseFile(sum.Child(nsFile, "file")); sum != nil && err == nil && sum.Get("name") == x.content {
			x.mu.Lock()
			x.sums = d
			close(x.summed)
			x.summed = make(chan struct{})
			x.mu.Unlock()
		}
		if got != nil && got.Get("name") == x.content && x.sending {
			x.setDone()
		}
		return nil, nil
	case "session-accept":
		if !x.initiator || accepted {
			return outOfOrder()
		}
	case "transport-info", "transport-accept", "transport-reject", "transport-replace":
		if len(a.contents) != 1 || a.contents[0].name != x.content || a.contents[0].creator != x.creator {
			return nil, badRequest
		}
		if !accepted && a.name != "transport-info" {
			return outOfOrder()
		}
		if !accepted {
			return nil, nil // nothing that matters yet, and nobody to take it
		}
	case "content-remove", "content-reject":
		end := a.end
		if end == nil || end.Reason == "" {
			end = &EndError{Reason: "cancel"}
		}
		x.over(end) // there is no other content
		x.sayEndSoon("success")
		return nil, nil
	default:
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.FeatureNotImplemented}
	}
	a.el = nil // which may be large, and is not looked at any more
	select {
	case x.in <- a:
		return nil, nil
	default:
		x.endWith("general-error", "", ErrBusy)
		return nil, busy
	}
}

// setDone notes that the other side is done, if bytes have moved.
func (x *session) setDone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.moving && !x.done {
		x.done = true
		close(x.finished)
	}
	return x.moving
}

// next waits for what the other side says. At most for so long, if it is not 0.
func (x *session) next(ctx context.Context, wait time.Duration) (*action, error) {
	select {
	case a := <-x.in: // before the end, if that has come as well
		return a, nil
	default:
	}
	var late <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		late = t.C
	}
	select {
	case a := <-x.in:
		return a, nil
	case <-x.ctx.Done():
		return nil, context.Cause(x.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-late:
		return nil, ErrStalled
	}
}

// closeOwn ends what was made for the session and is not used any more.
func (x *session) closeOwn() { x.own.close() }

// follow ends the session with that of the account.
func (x *session) follow() {
	x.c.s.Go(func(ctx context.Context) {
		select {
		case <-ctx.Done():
			x.over(confab.ErrClosed)
		case <-x.ctx.Done():
		}
	})
}

// over ends the session here.
func (x *session) over(err error) {
	x.cancel(err)
	x.c.forget(x)
}

// endWith ends the session and tells the other side, without waiting for it.
func (x *session) endWith(reason, detail string, err error) {
	x.over(err)
	if x.told.CompareAndSwap(false, true) {
		x.c.s.Go(func(ctx context.Context) { x.sayEnd(ctx, reason, detail) })
	}
}

func (x *session) sayEndSoon(reason string) {
	if x.told.CompareAndSwap(false, true) {
		x.c.s.Go(func(ctx context.Context) { x.sayEnd(ctx, reason, "") })
	}
}

// sayEnd tells the other side.
func (x *session) sayEnd(ctx context.Context, reason, detail string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r := confab.El(nsJingle, "reason", confab.El(nsJingle, reason))
	if detail != "" {
		r.Add(confab.El(nsFileErrors, detail))
	}
	_, _ = x.c.ask(ctx, x.peer, x.element("session-terminate", r))
}

// finish ends the session with what came of it, whatever that is, and returns it as an
// error for the user.
func (x *session) finish(ctx context.Context, err error) error {
	// What has ended the session says more than what broke because of it.
	var end *EndError
	if cause := context.Cause(x.ctx); err != nil && cause != nil && (!errors.As(err, &end) || errors.As(cause, &end)) {
		err = cause
	}
	if x.offered != nil {
		if s := x.c.inBand(x.peer, x.offered.sid); s != nil && s.session == x {
			_ = s.Close()
		}
	}
	if err == nil {
		x.endWith("success", "", nil)
		return nil
	}
	reason, detail := reasonOf(ctx, err)
	x.endWith(reason, detail, err)
	if ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) {
		return fmt.Errorf("jingle: it was given up: %w", context.Cause(ctx))
	}
	return err
}

func (x *session) element(name string, kids ...*confab.Element) *confab.Element {
	el := confab.El(nsJingle, "jingle", kids...).Set("action", name).Set("sid", x.sid)
	switch name {
	case "session-initiate":
		el.Set("initiator", x.c.s.LocalAddr().String())
	case "session-accept":
		el.Set("responder", x.c.s.LocalAddr().String())
	}
	return el
}

// say sends something about the content.
func (x *session) say(ctx context.Context, name string, kids ...*confab.Element) error {
	k := confab.El(nsJingle, "content", kids...).Set("creator", x.creator).Set("name", x.content)
	if name == "session-initiate" || name == "session-accept" {
		k.Set("senders", x.senders)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(x.ctx, cancel)()
	_, err := x.c.ask(ctx, x.peer, x.element(name, k))
	if x.ctx.Err() != nil && !x.told.Load() {
		return context.Cause(x.ctx)
	}
	return err
}

// tell is say for transport-info.
func (x *session) tell(ctx context.Context, name, cid string) error {
	return x.say(ctx, "transport-info", confab.El(nsSOCKS, "transport", confab.El(nsSOCKS, name).Set("cid", cid)).Set("sid", x.ours.sid))
}

// initiate sends our offer or request, and waits for the other side to accept it. The
// description that it accepts comes back.
func (x *session) initiate(ctx context.Context, d description) (description, error) {
	transport, err := x.transport(ctx)
	if err != nil {
		return description{}, err
	}
	if err := x.say(ctx, "session-initiate", confab.El(nsFile, "description", d.element()), transport); err != nil {
		var se stanza.Error
		if errors.As(err, &se) {
			x.told.Store(true) // there is no session
			switch se.Condition {
			case stanza.ServiceUnavailable, stanza.FeatureNotImplemented:
				err = fmt.Errorf("%w: %w", ErrUnsupported, err)
			case stanza.ResourceConstraint:
				err = fmt.Errorf("%w: %w", ErrBusy, err)
			}
		}
		return description{}, err
	}
	for {
		a, err := x.next(ctx, 0)
		if err != nil {
			return description{}, err
		}
		if a.name != "session-accept" {
			continue // candidates that come one by one are not waited for
		}
		if len(a.contents) != 1 || a.contents[0].name != x.content {
			return description{}, fmt.Errorf("%w: session-accept", errMalformed)
		}
		k := a.contents[0]
		got, err := parseFile(k.description.Child(nsFile, "file"))
		if err != nil {
			return description{}, err
		}
		return got, x.acceptedTransport(k.transport)
	}
}

// transport is what we offer first: in-band or a connection.
func (x *session) transport(ctx context.Context) (*confab.Element, error) {
	if x.forceBand {
		x.offered = &inBandTerms{confab.NewID(), x.c.cfg.BlockSize}
		return blocksElement(x.offered.sid, x.offered.block), nil
	}
	x.ours = offer{sid: confab.NewID()}
	x.gather(ctx)
	return x.ours.element(true), nil
}

// acceptedTransport reads what the other side answers to it.
func (x *session) acceptedTransport(el *confab.Element) error {
	if x.offered != nil {
		sid, block, err := parseBlocks(el)
		if !el.Is(nsInBand, "transport") || err != nil || sid != x.offered.sid {
			return fmt.Errorf("%w: the transport", errMalformed)
		}
		x.offered.block = min(block, x.offered.block)
		return nil
	}
	o, err := parseOffer(el)
	if err != nil || o.sid != x.ours.sid {
		return fmt.Errorf("%w: the transport", errMalformed)
	}
	x.theirs = o
	return nil
}

// accept answers the other side's offer or request.
func (x *session) accept(ctx context.Context, d description) error {
	var transport *confab.Element
	if x.offered != nil {
		transport = blocksElement(x.offered.sid, x.offered.block)
		if err := x.expect(); err != nil { // before it can be opened
			return err
		}
	} else {
		x.ours = offer{sid: x.theirs.sid}
		x.gather(ctx)
		transport = x.ours.element(false)
	}
	x.mu.Lock()
	x.accepted = true
	x.mu.Unlock()
	return x.say(ctx, "session-accept", confab.El(nsFile, "description", d.element()), transport)
}
