package confab

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// ring is a queue that keeps its memory while it is busy and lets go of it when
// it is empty after a flood.
type ring[T any] struct {
	buf     []T
	head, n int
}

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		buf := make([]T, max(8, 2*len(r.buf)))
		for i := range r.n {
			buf[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = buf, 0
	}
	r.buf[(r.head+r.n)%len(r.buf)] = v
	r.n++
}

func (r *ring[T]) pop() T {
	var zero T
	v := r.buf[r.head]
	r.buf[r.head] = zero
	r.head = (r.head + 1) % len(r.buf)
	if r.n--; r.n == 0 && len(r.buf) > 64 {
		r.buf, r.head = nil, 0
	}
	return v
}

// last returns the newest entry, or nil.
func (r *ring[T]) last() *T {
	if r.n == 0 {
		return nil
	}
	return &r.buf[(r.head+r.n-1)%len(r.buf)]
}

type inItem struct {
	el   *Element // nil for a reply, which was routed when it was read
	size int
	err  error // why it was not taken in; el is its start tag then
}

// inbox is the queue between the reader and the dispatcher. It numbers the
// stanzas of a session from 1: read ≥ started ≥ finished ≥ handled. What is
// finished has passed the handlers of features; it is handled when the user's
// functions have returned as well.
type inbox struct {
	hub        *Hub
	soft, hard int

	mu                               sync.Mutex
	q                                ring[inItem]
	running, closed                  bool
	held                             bool // the reader has more at hand: see Driver.Hold
	bytes                            int  // of what is read and not yet handled
	read, started, finished, handled uint64
	room                             chan struct{} // closed when bytes fall or a waiter comes
	idle                             chan struct{} // closed when all that is read is handled
	fences                           []fenced
	advanced                         func() // called after handled has grown
}

type fenced struct {
	at   uint64
	done chan error
}

// maxHeld is how many stanzas or events may gather before those who wait for
// them are woken. Waking somebody costs as much as handling a stanza.
const maxHeld = 128

// push queues a stanza and blocks while the queue is too full.
func (in *inbox) push(ctx context.Context, it inItem) error {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return ErrClosed
	}
	in.read++
	if it.el == nil && !in.running && in.q.n == 0 {
		// A reply with nothing before it: there is nothing to do but count.
		in.started++
		f := in.finish(0)
		in.mu.Unlock()
		if f != nil {
			f()
		}
		return nil
	}
	in.bytes += it.size
	in.q.push(it)
	if !in.held || in.q.n >= maxHeld || in.bytes > in.soft {
		in.start()
	}
	for in.bytes > in.soft && !in.closed {
		if in.bytes > in.hard {
			in.mu.Unlock()
			return ErrSlow
		}
		if in.hub.waiters.waiting() {
			break // or the reply could never be read
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		in.mu.Lock()
	}
	in.mu.Unlock()
	return nil
}

// start starts the dispatcher, unless it runs.
func (in *inbox) start() {
	if !in.running {
		in.running = true
		in.hub.workers.Go(in.run)
	}
}

// hold says whether the reader has more at hand.
func (in *inbox) hold(on bool) {
	in.mu.Lock()
	in.held = on
	if !on && in.q.n > 0 && !in.closed {
		in.start()
	}
	behind := in.bytes > in.soft/16
	in.mu.Unlock()
	if !on && behind {
		// The others get the processor before more is read, which keeps the
		// queue short without waiting for them.
		runtime.Gosched()
	}
}

// wake lets a parked reader look again.
func (in *inbox) wake() {
	in.mu.Lock()
	in.wakeLocked()
	in.mu.Unlock()
}

func (in *inbox) wakeLocked() {
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
}

// run is the dispatcher. It ends when the queue is empty.
func (in *inbox) run() {
	in.mu.Lock()
	for in.q.n > 0 && !in.closed {
		it := in.q.pop()
		in.started++
		in.mu.Unlock()
		if it.el != nil {
			in.hub.dispatch(it)
		}
		in.mu.Lock()
		if f := in.finish(it.size); f != nil {
			in.mu.Unlock()
			f()
			in.mu.Lock()
		}
	}
	in.running = false
	in.mu.Unlock()
	if in.hub.out.take() {
		in.hub.out.run() // this goroutine is free now, and waking another is dear
	}
}

// finish counts a stanza that has passed the handlers of features. It is called
// with the lock, and returns what is then to be called without it, or nil.
func (in *inbox) finish(size int) func() {
	in.finished++
	for len(in.fences) > 0 && in.fences[0].at <= in.finished {
		in.fences[0].done <- nil
		in.fences = in.fences[1:]
	}
	if in.hub.out.mark(size) {
		return nil
	}
	return in.handle(1, size)
}

// handle counts stanzas that the user has dealt with, as finish does.
func (in *inbox) handle(count, size int) func() {
	in.handled += uint64(count)
	in.bytes -= size
	if in.bytes <= in.soft/2 { // not at once, or each stanza would wake the reader
		in.wakeLocked()
	}
	if in.handled == in.read && in.idle != nil {
		close(in.idle)
		in.idle = nil
	}
	return in.advanced
}

// done counts stanzas that the user has dealt with.
func (in *inbox) done(count, size int) {
	in.mu.Lock()
	f := in.handle(count, size)
	in.mu.Unlock()
	if f != nil {
		f()
	}
}

// truncate forgets what no handler has seen yet, and returns the number of the
// last stanza that remains.
func (in *inbox) truncate() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.q.n > 0 {
		in.bytes -= in.q.pop().size
		in.read--
	}
	in.wakeLocked()
	if in.handled == in.read && in.idle != nil {
		close(in.idle)
		in.idle = nil
	}
	return in.read
}

func (in *inbox) fence(ctx context.Context) error {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return ErrClosed
	}
	if in.finished == in.read {
		in.mu.Unlock()
		return nil
	}
	f := fenced{in.read, make(chan error, 1)}
	in.fences = append(in.fences, f)
	in.mu.Unlock()
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-in.hub.ctx.Done():
		return ErrClosed
	}
}

// drain waits until all that was read is handled.
func (in *inbox) drain(ctx context.Context) error {
	in.mu.Lock()
	if in.handled == in.read || in.closed {
		in.mu.Unlock()
		return nil
	}
	if in.idle == nil {
		in.idle = make(chan struct{})
	}
	idle := in.idle
	in.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (in *inbox) close() {
	in.mu.Lock()
	in.closed = true
	in.wakeLocked()
	if in.idle != nil {
		close(in.idle)
		in.idle = nil
	}
	in.mu.Unlock()
}

// outEvent is an event for the user, or nil, and a mark: when it has been dealt
// with, so many stanzas have been handled.
type outEvent struct {
	event       any
	count, size int
}

// eventQueue is the queue between the dispatcher and the user's functions. Its
// bound is the inbox's, which counts the bytes of a stanza until it is handled.
type eventQueue struct {
	hub             *Hub
	mu              sync.Mutex
	q               ring[outEvent]
	running, closed bool
}

// add queues an event. If it is held, the caller will call kick before it does
// anything that may block.
func (o *eventQueue) add(event any, held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.q.push(outEvent{event: event})
	if !held || o.q.n >= maxHeld {
		o.start()
	}
}

// kick sees to it that what was held is handed on.
func (o *eventQueue) kick() {
	o.mu.Lock()
	if o.q.n > 0 && !o.closed {
		o.start()
	}
	o.mu.Unlock()
}

// take reports whether there are events that nobody handles: then the caller
// must, by run.
func (o *eventQueue) take() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.q.n == 0 || o.closed || o.running {
		return false
	}
	o.running = true
	return true
}

func (o *eventQueue) start() {
	if !o.running {
		o.running = true
		o.hub.workers.Go(o.run)
	}
}

// mark counts a stanza as handled when all events that are queued now have been
// dealt with. It reports false if there are none: then it is handled already.
func (o *eventQueue) mark(size int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch l := o.q.last(); {
	case o.closed:
	case l != nil:
		l.count++
		l.size += size
	case o.running:
		o.q.push(outEvent{count: 1, size: size})
	default:
		return false
	}
	return true
}

func (o *eventQueue) run() {
	o.mu.Lock()
	for o.q.n > 0 && !o.closed {
		e := o.q.pop()
		o.mu.Unlock()
		if e.event != nil {
			for _, s := range o.hub.subscribers() {
				if !s.gone.Load() && s.match(e.event) {
					o.call(s, e.event)
				}
			}
		}
		if e.count > 0 {
			o.hub.in.done(e.count, e.size)
		}
		o.mu.Lock()
	}
	o.running = false
	o.mu.Unlock()
}

func (o *eventQueue) call(s *subscriber, event any) {
	if _, ok := event.(HandlerError); ok {
		// A panic in here must not make the next one.
		defer func() {
			if r := recover(); r != nil {
				o.hub.cfg.Log.Error("confab: a function for HandlerError panicked", "panic", r)
			}
		}()
	} else {
		defer o.hub.recover("event function")
	}
	s.deliver(o.hub.ctx, event)
}

func (o *eventQueue) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}

// dispatch hands one stanza to its handlers.
func (h *Hub) dispatch(it inItem) {
	self, el := h.LocalAddr(), it.el
	if it.err != nil {
		h.bad(el, it.err)
		if el.Name.Local != "iq" {
			return
		}
	}
	switch el.Name.Local {
	case "message":
		m, err := h.jids.decodeMessage(el, self)
		if err != nil {
			h.bad(el, err)
			return
		}
		if id := h.jids.archiveID(el, self); id != "" && h.recent.again(id) {
			return
		}
		m.Received = time.Now()
		h.message(m)
	case "presence":
		p, err := h.jids.decodePresence(el, self)
		if err != nil {
			h.bad(el, err)
			return
		}
		p.Received = time.Now()
		if fs := h.handlers.Load().presence; len(fs) > 0 {
			h.out.kick()
			for _, f := range fs {
				h.runPresence(f, p)
			}
		}
		h.emit(p, true)
	case "iq":
		h.request(el, self, it.size)
	}
}

func (h *Hub) message(m *Message) {
	if m.Type == stanza.ErrorMessage {
		h.cameBack(m)
		h.out.kick()
		h.runStage(h.fenced, StageError, m)
		return
	}
	hs := h.handlers.Load()
	for st := StageUnwrap; st < StageError; st++ {
		if len(hs.msgs[st]) == 0 {
			continue
		}
		h.out.kick() // a handler may block
		if h.runStage(h.fenced, st, m) {
			return
		}
	}
	h.emit(m, true)
}

// cameBack fails the message that m is the error of, if m comes from where that
// went.
func (h *Hub) cameBack(m *Message) {
	s := h.tracked.get(m.ID)
	if s == nil {
		return
	}
	self := h.LocalAddr()
	for _, j := range [...]jid.JID{s.To, s.To.Bare(), s.To.Domain(), self.Bare(), self.Domain()} {
		// Not another resource of the same address: in a room that is anybody.
		if m.From.Equal(j) {
			s.Fail(*m.Err)
			h.Emit(SendFailed{ID: s.ID, To: s.To, Err: *m.Err, Sent: s})
			return
		}
	}
}

func (h *Hub) runPresence(f func(context.Context, *Presence) error, p *Presence) {
	defer h.recover("presence handler")
	if err := f(h.fenced, p); err != nil {
		h.failed("presence handler", err)
	}
}

func (h *Hub) bad(el *Element, err error) {
	h.cfg.Log.Warn("confab: stanza dropped", "err", err)
	h.Emit(BadStanza{Stanza: el, Err: err})
}

// request finds the handler of an IQ of type get or set.
func (h *Hub) request(el *Element, self jid.JID, size int) {
	q := &IQ{ID: el.Get("id"), Type: stanza.IQType(el.Get("type")), Stanza: el}
	var err error
	if q.From, q.To, err = h.jids.addresses(el, self); err != nil {
		h.bad(el, err)
		return
	}
	if q.Type == stanza.ResultIQ || q.Type == stanza.ErrorIQ {
		h.bad(el, fmt.Errorf("confab: an answer from %q, who was not asked", el.Get("from")))
		return
	}
	if q.ID == "" || q.Type != stanza.GetIQ && q.Type != stanza.SetIQ {
		h.bad(el, fmt.Errorf("confab: a request with type %q and id %q", q.Type, q.ID))
		return
	}
	hd := h.noIQ
	if len(el.Children) > 0 {
		q.Payload = el.Children[0]
		h.mu.Lock()
		if f := h.iqs[iqKey{q.Type, q.Payload.Name}]; f != nil {
			hd = f
		} else if f := h.iqs[iqKey{typ: q.Type}]; f != nil {
			hd = f
		}
		h.mu.Unlock()
	}
	hd.add(q, size)
}
