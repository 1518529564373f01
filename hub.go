package confab

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mellium.im/xmlstream"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Link is where a [Hub] puts what is to be sent.
type Link interface {
	// LocalAddr is the own address.
	LocalAddr() jid.JID
	// Write appends one stanza to what is to be sent. It blocks while too much
	// waits to be sent, and returns when the stanza is queued. It must not keep
	// st. If sent is not nil, the link raises it to Written and Acked, or fails it.
	Write(ctx context.Context, st Appender, sent *Sent) error
}

// HubConfig are the settings of a [Hub].
type HubConfig struct {
	// Log gets what goes wrong in handlers. Nil discards it.
	Log *slog.Logger
	// Timeout bounds requests whose context has no deadline; 0 stands for
	// [DefaultTimeout].
	Timeout time.Duration
	// QueueBytes is how much may have been read and not yet been handled before
	// reading pauses; 0 stands for 8 MiB. A stanza counts with its bytes, or with
	// 120 for each of its elements if that is more. While somebody waits for a reply
	// reading goes on, up to eight times as much: beyond that the link is ended
	// with [ErrSlow].
	QueueBytes int
}

// A Hub is all of a [Session] but the connection: handlers, stages, requests
// that wait for their answer, events. It is for those who write a Session of
// their own; users have a client.Client. A Hub is driven by its [Driver].
//
// The reader calls Driver.Deliver. Replies go straight to who waits for them;
// all else is queued, in wire order, for one dispatcher, which runs the
// handlers of features and queues events for the user, whose functions run on
// one more goroutine. Both goroutines exist only while there is work.
type Hub struct {
	link Link
	cfg  HubConfig
	jids jidCache

	ctx     context.Context // of the session
	fenced  context.Context // of handlers that the dispatcher runs
	cancel  context.CancelFunc
	workers sync.WaitGroup

	in      inbox
	out     eventQueue
	waiters waiters
	tracked tracked
	recent  recent

	mu       sync.Mutex // guards what follows; the lists are replaced, never changed
	closed   bool
	iqs      map[iqKey]*iqHandler
	noIQ     *iqHandler
	nodes    map[string]IQFunc
	up       []func(context.Context, bool) error
	down     []func(error, bool)
	features []string
	changed  func() // called when the features change
	asked    func() // called when a request is sent; set before the hub is used

	handlers atomic.Pointer[handlers]
	subs     atomic.Pointer[[]*subscriber]
}

// handlers are the functions that look at stanzas. A value is never changed,
// only replaced, so that the dispatcher reads it without a lock.
type handlers struct {
	msgs     [stages][]func(context.Context, *Message) error
	drafts   [stages][]func(context.Context, *Draft) error
	presence []func(context.Context, *Presence) error
}

type iqKey struct {
	typ  stanza.IQType
	name xml.Name
}

type subscriber struct {
	match   func(any) bool
	deliver func(context.Context, any)
	gone    atomic.Bool
}

type inHandler struct{}

// NewHub makes a Hub over a link, and the Driver for the link's own use.
func NewHub(link Link, cfg HubConfig) (*Hub, *Driver) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = 8 << 20
	}
	h := &Hub{link: link, cfg: cfg}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.fenced = context.WithValue(h.ctx, inHandler{}, true)
	h.in.hub, h.out.hub = h, h
	h.handlers.Store(&handlers{})
	h.in.soft, h.in.hard = cfg.QueueBytes, 8*cfg.QueueBytes
	h.noIQ = &iqHandler{hub: h, f: func(context.Context, *IQ) (any, error) {
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
	}}
	return h, &Driver{h}
}

// LocalAddr implements [Requester].
func (h *Hub) LocalAddr() jid.JID { return h.link.LocalAddr() }

// HandleIQ implements [Session].
func (h *Hub) HandleIQ(typ stanza.IQType, payload xml.Name, f IQFunc) error {
	if typ != stanza.GetIQ && typ != stanza.SetIQ {
		return fmt.Errorf("confab: requests have type get or set, not %q", typ)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k := iqKey{typ, payload}
	if h.iqs[k] != nil {
		return fmt.Errorf("%w: %s {%s}%s", ErrTaken, typ, payload.Space, payload.Local)
	}
	if h.iqs == nil {
		h.iqs = map[iqKey]*iqHandler{}
	}
	h.iqs[k] = &iqHandler{hub: h, f: f}
	return nil
}

// HandleNode implements [Session].
func (h *Hub) HandleNode(node string, f IQFunc) error {
	if node == "" {
		return errors.New("confab: a node has a name")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nodes[node] != nil {
		return fmt.Errorf("%w: node %q", ErrTaken, node)
	}
	if h.nodes == nil {
		h.nodes = map[string]IQFunc{}
	}
	h.nodes[node] = f
	return nil
}

// HandleMessage implements [Session].
func (h *Hub) HandleMessage(st Stage, f func(context.Context, *Message) error) {
	h.handle(func(t *handlers) { t.msgs[st] = append(slices.Clip(t.msgs[st]), f) })
}

// HandleDraft implements [Session].
func (h *Hub) HandleDraft(st Stage, f func(context.Context, *Draft) error) {
	h.handle(func(t *handlers) { t.drafts[st] = append(slices.Clip(t.drafts[st]), f) })
}

// HandlePresence implements [Session].
func (h *Hub) HandlePresence(f func(context.Context, *Presence) error) {
	h.handle(func(t *handlers) { t.presence = append(slices.Clip(t.presence), f) })
}

func (h *Hub) handle(add func(*handlers)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := *h.handlers.Load()
	add(&t)
	h.handlers.Store(&t)
}

// OnUp implements [Session].
func (h *Hub) OnUp(f func(context.Context, bool) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up = append(slices.Clip(h.up), f)
}

// OnDown implements [Session].
func (h *Hub) OnDown(f func(error, bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = append(slices.Clip(h.down), f)
}

// Advertise implements [Session].
func (h *Hub) Advertise(features ...string) {
	h.mu.Lock()
	all := slices.Clone(h.features)
	for _, f := range features {
		if i, ok := slices.BinarySearch(all, f); !ok {
			all = slices.Insert(all, i, f)
		}
	}
	grown := len(all) > len(h.features)
	h.features = all
	changed := h.changed
	h.mu.Unlock()
	if grown && changed != nil {
		changed()
	}
}

// Subscribe implements [Session].
func (h *Hub) Subscribe(match func(any) bool, deliver func(context.Context, any)) (cancel func()) {
	sub := &subscriber{match: match, deliver: deliver}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setSubs(append(slices.Clone(h.subscribers()), sub))
	return func() {
		sub.gone.Store(true)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.setSubs(slices.DeleteFunc(slices.Clone(h.subscribers()), func(s *subscriber) bool { return s == sub }))
	}
}

func (h *Hub) setSubs(s []*subscriber) { h.subs.Store(&s) }

func (h *Hub) subscribers() []*subscriber {
	if p := h.subs.Load(); p != nil {
		return *p
	}
	return nil
}

// Emit implements [Session].
func (h *Hub) Emit(event any) { h.emit(event, false) }

// emit is Emit. See eventQueue.add for held.
func (h *Hub) emit(event any, held bool) {
	for _, s := range h.subscribers() {
		if s.match(event) {
			h.out.add(event, held)
			return
		}
	}
}

// Go implements [Session].
func (h *Hub) Go(f func(context.Context)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.workers.Go(func() {
		defer h.recover("Go")
		f(h.ctx)
	})
}

// done is closed when the session is. Unlike Go it works after that, too.
func (h *Hub) done() <-chan struct{} { return h.ctx.Done() }

// recover reports a panic in code that is not the hub's: it must not take the
// process down with it.
func (h *Hub) recover(where string) {
	r := recover()
	if r == nil {
		return
	}
	h.cfg.Log.Error("confab: a handler panicked", "in", where, "panic", r, "stack", string(debug.Stack()))
	h.Emit(HandlerError{Err: fmt.Errorf("confab: panic in %s: %v", where, r), Panicked: true})
}

func (h *Hub) failed(where string, err error) {
	h.cfg.Log.Warn("confab: a handler failed", "in", where, "err", err)
	h.Emit(HandlerError{Err: fmt.Errorf("%s: %w", where, err)})
}

// DecodeMessage implements [Session].
func (h *Hub) DecodeMessage(el *Element) (*Message, error) {
	if !el.Is(NSClient, "message") {
		return nil, errors.New("confab: not a message")
	}
	m, err := h.jids.decodeMessage(el, h.LocalAddr())
	if err == nil {
		m.Received = time.Now()
	}
	return m, err
}

// Inject implements [Session].
func (h *Hub) Inject(ctx context.Context, st Stage, m *Message) (*Message, error) {
	if m == nil || st >= StageError {
		return nil, errors.New("confab: Inject takes a message and a stage before StageError")
	}
	for ; st < StageError; st++ {
		if h.runStage(ctx, st, m) {
			return nil, ctx.Err()
		}
	}
	return m, ctx.Err()
}

// runStage reports whether a handler consumed the message.
func (h *Hub) runStage(ctx context.Context, st Stage, m *Message) (consumed bool) {
	for _, f := range h.handlers.Load().msgs[st] {
		if h.runMessage(ctx, f, m) {
			return true
		}
	}
	return false
}

func (h *Hub) runMessage(ctx context.Context, f func(context.Context, *Message) error, m *Message) (consumed bool) {
	defer h.recover("message handler")
	switch err := f(ctx, m); {
	case errors.Is(err, ErrConsumed):
		return true
	case err != nil:
		h.failed("message handler", err)
	}
	return false
}

// Fence implements [Session].
func (h *Hub) Fence(ctx context.Context) error {
	if ctx.Value(inHandler{}) != nil {
		return ErrInHandler
	}
	return h.in.fence(ctx)
}

// SendElement implements [Session].
func (h *Hub) SendElement(ctx context.Context, el *Element) error {
	if el == nil || el.Name.Space != NSClient && el.Name.Space != "" {
		return errors.New("confab: only stanzas of jabber:client can be sent")
	}
	switch el.Name.Local {
	case "message", "presence", "iq":
	default:
		return fmt.Errorf("confab: <%s> is not a stanza", el.Name.Local)
	}
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	return h.link.Write(ctx, el, nil)
}

// Send implements [Requester].
func (h *Hub) Send(ctx context.Context, r xml.TokenReader) error {
	el, err := ReadElement(r)
	if err != nil {
		return err
	}
	return h.SendElement(ctx, el)
}

// SendIQ implements [Requester]. Unlike mellium's, it returns an answer that is
// complete: closing it is good manners, but nothing waits for it. Requests
// without an answer awaited (type result and error) are for Send.
func (h *Hub) SendIQ(ctx context.Context, r xml.TokenReader) (xmlstream.TokenReadCloser, error) {
	el, err := ReadElement(r)
	if err != nil {
		return nil, err
	}
	res, err := h.ask(ctx, el)
	if err != nil {
		return nil, err
	}
	return answer{res.TokenReader()}, nil
}

type answer struct{ xml.TokenReader }

func (answer) Close() error { return nil }

// drafts has the drafts that no handler has seen, to use them again.
var drafts = sync.Pool{New: func() any { return new(Draft) }}

// SendMessage implements [Session].
func (h *Hub) SendMessage(ctx context.Context, d Draft) (*Sent, error) {
	if err := d.prepare(); err != nil {
		return nil, err
	}
	p := drafts.Get().(*Draft)
	*p = d
	changed := false
	for st := StageError; st > 0; st-- {
		for _, f := range h.handlers.Load().drafts[st-1] {
			changed = true
			if err := h.runDraft(ctx, f, p); err != nil {
				return nil, err
			}
		}
	}
	if changed {
		if err := p.prepare(); err != nil {
			return nil, err
		}
	} else {
		defer func() {
			*p = Draft{}
			drafts.Put(p)
		}()
	}
	if h.ctx.Err() != nil {
		return nil, ErrClosed
	}
	s := &Sent{ID: p.ID, To: p.To, Seal: p.Seal}
	h.tracked.add(s)
	if err := h.link.Write(ctx, p, s); err != nil {
		h.tracked.remove(s)
		return nil, err
	}
	return s, nil
}

func (h *Hub) runDraft(ctx context.Context, f func(context.Context, *Draft) error, d *Draft) (err error) {
	defer func() {
		if r := recover(); r != nil {
			h.cfg.Log.Error("confab: a handler panicked", "in", "draft handler", "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("confab: panic in a draft handler: %v", r)
		}
	}()
	return f(ctx, d)
}

// Sent implements [Session].
func (h *Hub) Sent(id string) *Sent { return h.tracked.get(id) }

// Ask implements [Session].
func (h *Hub) Ask(ctx context.Context, iq *Element) (*Element, error) {
	res, err := h.ask(ctx, iq)
	if err != nil {
		return nil, err
	}
	if res.Get("type") == "error" {
		return nil, refused(res)
	}
	return res, nil
}
