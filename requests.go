package confab

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"sync"

	"mellium.im/xmpp/jid"
)

// waiters are the requests that wait for their answer, by id.
type waiters struct {
	mu sync.Mutex
	m  map[string]*waiter
}

type waiter struct {
	to  string // as it was sent
	jid jid.JID
	ch  chan reply
}

type reply struct {
	el  *Element
	err error
}

func (w *waiters) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.m) > 0
}

// fail ends all of them.
func (w *waiters) fail(err error) {
	w.mu.Lock()
	m := w.m
	w.m = nil
	w.mu.Unlock()
	for _, x := range m {
		select {
		case x.ch <- reply{err: err}:
		default: // it was answered a moment ago
		}
	}
}

func (w *waiters) remove(id string, x *waiter) {
	w.mu.Lock()
	if w.m[id] == x {
		delete(w.m, id)
	}
	w.mu.Unlock()
}

func (h *Hub) ask(ctx context.Context, iq *Element) (*Element, error) {
	if iq == nil || iq.Name.Local != "iq" || iq.Name.Space != NSClient && iq.Name.Space != "" {
		return nil, errors.New("confab: only an <iq> can be asked")
	}
	switch iq.Get("type") {
	case "get", "set":
	default:
		return nil, fmt.Errorf("confab: a request has type get or set, not %q", iq.Get("type"))
	}
	x := &waiter{to: iq.Get("to"), ch: make(chan reply, 1)}
	var err error
	if x.jid, err = h.jids.parse(x.to); err != nil {
		return nil, fmt.Errorf("confab: to=%q: %w", x.to, err)
	}
	id := iq.Get("id")
	if id == "" {
		id = NewID()
		c := *iq
		c.Attr = append(c.Attr[:len(c.Attr):len(c.Attr)], xml.Attr{Name: xml.Name{Local: "id"}, Value: id})
		iq = &c
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.cfg.Timeout)
		defer cancel()
	}
	h.waiters.mu.Lock()
	if h.ctx.Err() != nil {
		h.waiters.mu.Unlock()
		return nil, ErrClosed
	}
	if h.waiters.m == nil {
		h.waiters.m = map[string]*waiter{}
	}
	if h.waiters.m[id] != nil {
		h.waiters.mu.Unlock()
		return nil, fmt.Errorf("confab: a request with the id %q waits already", id)
	}
	h.waiters.m[id] = x
	first := len(h.waiters.m) == 1
	h.waiters.mu.Unlock()
	defer h.waiters.remove(id, x)
	if first {
		h.in.wake()
	}
	if h.asked != nil {
		h.asked()
	}
	if err := h.link.Write(ctx, iq, nil); err != nil {
		return nil, err
	}
	select {
	case r := <-x.ch:
		return r.el, r.err
	case <-ctx.Done():
		select {
		case r := <-x.ch:
			return r.el, r.err
		default:
		}
		who := x.to
		if who == "" {
			who = "the own server"
		}
		return nil, fmt.Errorf("confab: no answer from %s (is the session running, and ready?): %w", who, ctx.Err())
	}
}

// route hands an IQ of type result or error to who waits for it. It is called
// on the reader, and never blocks. It is false for an answer from somebody who
// was not asked. With an error, that is what the one who waits gets.
func (h *Hub) route(el *Element, err error) (done bool) {
	id, from := el.Get("id"), el.Get("from")
	h.waiters.mu.Lock()
	x := h.waiters.m[id]
	h.waiters.mu.Unlock()
	if x == nil {
		return true // its request was given up
	}
	if from != x.to || from == "" {
		if !h.mayAnswer(x.jid, from) {
			return false
		}
	}
	h.waiters.remove(id, x)
	select {
	case x.ch <- reply{el, err}:
	default: // it failed a moment ago
	}
	return true
}

func (h *Hub) mayAnswer(to jid.JID, from string) bool {
	self := h.LocalAddr()
	if from != "" {
		// Through the cache: the same few servers answer again and again.
		j, err := h.jids.parse(from)
		if err != nil {
			return false
		}
		if j.Equal(to) {
			return true
		}
	}
	return answersFor(self, to, from)
}

// tracked keeps the newest messages that were sent, to find them again when
// something is heard of them: at least the last maxTracked.
type tracked struct {
	mu       sync.Mutex
	cur, old map[string]*Sent // when cur is full, it becomes old
}

const maxTracked = 1024

func (t *tracked) add(s *Sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cur) >= maxTracked {
		clear(t.old)
		t.cur, t.old = t.old, t.cur
	}
	if t.cur == nil {
		t.cur = map[string]*Sent{}
	}
	t.cur[s.ID] = s
}

func (t *tracked) remove(s *Sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range [...]map[string]*Sent{t.cur, t.old} {
		if m[s.ID] == s {
			delete(m, s.ID)
		}
	}
}

func (t *tracked) get(id string) *Sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.cur[id]; s != nil {
		return s
	}
	return t.old[id]
}

// A Driver is the engine's side of a [Hub]: what the owner of the connection
// calls.
type Driver struct{ hub *Hub }

// Deliver takes one stanza that was read, of size bytes. Replies go to who waits
// for them; all else is queued. It blocks while the queue is full and nobody
// waits for a reply, and returns [ErrSlow] if the queue is over its hard limit.
// Elements that are no stanzas are refused.
func (d *Driver) Deliver(ctx context.Context, el *Element, size int) error {
	// A stanza of many tiny elements takes much more memory than it had bytes.
	return d.deliver(ctx, el, max(size, elements(el)*elementBytes), nil)
}

func (d *Driver) deliver(ctx context.Context, el *Element, size int, reason error) error {
	if el.Name.Space != NSClient {
		return fmt.Errorf("confab: not a stanza: {%s}%s", el.Name.Space, el.Name.Local)
	}
	switch el.Name.Local {
	case "message", "presence":
	case "iq":
		switch el.Get("type") {
		case "result", "error":
			// One that is refused goes the way of all that is wrong, and its
			// size counts; the others leave a mark, which is not for nothing
			// either.
			if d.hub.route(el, reason) {
				el, size = nil, 64
			}
		}
	default:
		return fmt.Errorf("confab: not a stanza: <%s>", el.Name.Local)
	}
	return d.hub.in.push(ctx, inItem{el, size, reason})
}

// Refuse takes the start tag of a stanza that was read, but not taken in, such as one
// that is too large. Who waits for it, if it is a reply, gets err, requests are
// answered with an error, and the user hears of it as a [BadStanza]. It counts like
// those that are delivered.
func (d *Driver) Refuse(ctx context.Context, el *Element, err error) error {
	return d.deliver(ctx, el, 1024, err)
}

// elementBytes is about what an element takes in memory.
const elementBytes = 120

func elements(el *Element) int {
	if el == nil {
		return 0
	}
	n := 1
	for _, c := range el.Children {
		n += elements(c)
	}
	return n
}

// Hold says that the reader has more at hand, and will deliver it without waiting
// for anything: until Hold(false), which must come before it waits, what is
// delivered may stay in the queue, so that the dispatcher is woken once for many
// stanzas. Calling it is a matter of speed only.
func (d *Driver) Hold(on bool) { d.hub.in.hold(on) }

// Counts returns how many stanzas were read since the beginning, how many of
// those were begun by a handler, and how many are handled: passed by all
// features and by the user.
func (d *Driver) Counts() (read, started, handled uint64) {
	in := &d.hub.in
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.read, in.started, in.handled
}

// OnHandled sets the function that is called when more stanzas are handled. It
// is called with no lock held, and must not block.
func (d *Driver) OnHandled(f func()) {
	d.hub.in.mu.Lock()
	defer d.hub.in.mu.Unlock()
	d.hub.in.advanced = f
}

// Truncate forgets the stanzas that no handler has begun, because the server
// will send them again, and returns the number of those that remain read.
func (d *Driver) Truncate() uint64 { return d.hub.in.truncate() }

// Backlog returns how many bytes were read and are not yet handled.
func (d *Driver) Backlog() int {
	d.hub.in.mu.Lock()
	defer d.hub.in.mu.Unlock()
	return d.hub.in.bytes
}

// Drain returns when all that was read is handled.
func (d *Driver) Drain(ctx context.Context) error { return d.hub.in.drain(ctx) }

// Up runs the functions given to OnUp, side by side, and returns when all have
// returned. Their errors are reported as [HandlerError].
func (d *Driver) Up(ctx context.Context, fresh bool) {
	h := d.hub
	h.mu.Lock()
	up := h.up
	h.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range up {
		wg.Go(func() {
			defer h.recover("OnUp")
			if err := f(ctx, fresh); err != nil && ctx.Err() == nil {
				h.failed("OnUp", err)
			}
		})
	}
	wg.Wait()
}

// Down runs the functions given to OnDown. If lost, all requests that wait end
// with [ErrLost].
func (d *Driver) Down(err error, lost bool) {
	h := d.hub
	h.mu.Lock()
	down := h.down
	h.mu.Unlock()
	if lost {
		h.waiters.fail(ErrLost)
		h.in.lost()
	}
	for _, f := range down {
		func() {
			defer h.recover("OnDown")
			f(err, lost)
		}()
	}
}

// lost ends the fences: what they wait for may never come.
func (in *inbox) lost() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, f := range in.fences {
		if f.at > in.read {
			f.done <- ErrLost
		}
	}
	in.fences = slices.DeleteFunc(in.fences, func(f fenced) bool { return f.at > in.read })
}

// Features returns what was advertised, sorted, and calls changed whenever it
// grows from now on.
func (d *Driver) Features(changed func()) []string {
	h := d.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if changed != nil {
		h.changed = changed
	}
	return h.features
}

// Node returns what answers service discovery about a node, or nil.
func (d *Driver) Node(node string) IQFunc {
	d.hub.mu.Lock()
	defer d.hub.mu.Unlock()
	return d.hub.nodes[node]
}

// Close ends the context of all handlers, fails all that waits with
// [ErrClosed], and returns when every goroutine of the hub has ended, or with
// the error of ctx. Events that were not handed on are dropped.
func (d *Driver) Close(ctx context.Context) error {
	h := d.hub
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.in.close()
	h.out.close()
	h.waiters.fail(ErrClosed)
	ended := make(chan struct{})
	go func() {
		h.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
