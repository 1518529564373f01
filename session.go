package confab

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"time"

	"mellium.im/xmlstream"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// What can go wrong, beside a [stanza.Error] from who was asked.
var (
	// ErrClosed is returned once a session was closed.
	ErrClosed = errors.New("confab: the session is closed")
	// ErrLost ends requests whose answer was lost with its link: the server
	// could not resume the stream, so nobody knows whether it was carried out.
	ErrLost = errors.New("confab: the link was lost before the answer came")
	// ErrNoAcks is returned by [Sent.Wait] when the server does not acknowledge.
	ErrNoAcks = errors.New("confab: this server does not acknowledge messages (no XEP-0198)")
	// ErrUnacknowledged fails a message that was written to a link which then
	// died for good: it may have arrived, or not.
	ErrUnacknowledged = errors.New("confab: the link was lost before the server acknowledged the message")
	// ErrTooLarge refuses to send a stanza that is larger than the server takes: it
	// would end the stream. Split it, or send a file instead.
	ErrTooLarge = errors.New("confab: the stanza is larger than the server takes")
	// ErrSlow ends a link on which more came in than the handlers take.
	ErrSlow = errors.New("confab: handlers are too slow: the inbound queue is full")
	// ErrTaken is returned when a kind of request has a handler already.
	ErrTaken = errors.New("confab: this kind of request has a handler already")
	// ErrInHandler is returned by [Session.Fence] when it is called from the
	// dispatcher, which would wait for itself.
	ErrInHandler = errors.New("confab: cannot wait for the dispatcher in a handler that it runs")

	// ErrAnswered is returned by an [IQFunc] that has sent the answer itself, or
	// will. It is not a failure.
	ErrAnswered = errors.New("confab: answered already")
	// ErrConsumed is returned by a message handler that has dealt with a message:
	// later stages and the user do not see it. It is not a failure.
	ErrConsumed = errors.New("confab: consumed")
)

// A Requester is what functions need that ask and get an answer. A
// [*mellium.im/xmpp.Session] is one as it is.
type Requester interface {
	// LocalAddr is the own full JID, or the bare one before the first sign-in.
	LocalAddr() jid.JID
	// Send sends one stanza.
	Send(ctx context.Context, r xml.TokenReader) error
	// SendIQ sends a request and returns the answer, which must be closed.
	SendIQ(ctx context.Context, r xml.TokenReader) (xmlstream.TokenReadCloser, error)
}

// A Session is one account, across links: the seam between confab's features
// and what keeps the account connected. A client.Client is one; [Attach] makes
// one of a plain mellium session. All methods may be called from any goroutine.
//
// Handlers of features (HandleIQ, HandleMessage, HandlePresence) are registered
// while the program starts, before the session runs.
type Session interface {
	Requester

	// Ask sends a request and returns its answer, a stanza of type result. It is
	// believed only from the entity that was asked. A stanza of type error
	// becomes a [*Refused], which wraps a [stanza.Error]. Without a deadline in ctx a default applies. If
	// the link is lost and cannot be resumed, Ask returns [ErrLost] at once.
	Ask(ctx context.Context, iq *Element) (*Element, error)
	// SendElement sends a stanza, such as a presence. It returns when the stanza
	// is queued, and blocks while the queue is full.
	SendElement(ctx context.Context, el *Element) error
	// SendMessage passes a message through the outbound stages and queues it. It
	// blocks while the queue is full.
	SendMessage(ctx context.Context, d Draft) (*Sent, error)
	// Sent returns the tracker of a message that was sent not long ago, or nil.
	Sent(id string) *Sent

	// HandleIQ makes h answer requests of this type whose payload has this name.
	// There is one owner per kind: a second gets [ErrTaken]. An empty name
	// stands for all that nobody else handles. Each handler runs on a goroutine
	// of its own, so it may block and ask; its requests come in order.
	HandleIQ(typ stanza.IQType, payload xml.Name, h IQFunc) error
	// HandleNode makes f answer service discovery, disco#info and disco#items,
	// about a node of this client (XEP-0030 §4). There is one owner per node: a
	// second gets [ErrTaken]. F must be quick.
	HandleNode(node string, f IQFunc) error
	// HandleMessage lets f see, and change, every message in this stage. A
	// handler returns nil to let the message go on, [ErrConsumed] to end it, any
	// other error to report a failure and let it go on.
	HandleMessage(st Stage, f func(context.Context, *Message) error)
	// HandleDraft lets f see, and change, every message that is sent. Outbound,
	// the stages are run in reverse. An error stops the message.
	HandleDraft(st Stage, f func(context.Context, *Draft) error)
	// HandlePresence lets f see every presence.
	HandlePresence(f func(context.Context, *Presence) error)

	// OnUp is called when the stream is there: fresh after a new sign-in, not
	// fresh after a resumption. All functions run side by side, and all finish
	// before the own presence is sent and the user hears [Ready].
	OnUp(f func(ctx context.Context, fresh bool) error)
	// OnDown is called when the link is gone: lost if the stream cannot be
	// resumed and all state that the server kept for it is gone. It must not
	// block.
	OnDown(f func(err error, lost bool))
	// Advertise adds features to the answers about this client (XEP-0030). What
	// is added before the first sign-in is part of its first presence.
	Advertise(features ...string)

	// Inject passes a message, such as one from an archive, through the inbound
	// stages from st on, on the caller's goroutine. It returns nil if a stage
	// consumed it.
	Inject(ctx context.Context, st Stage, m *Message) (*Message, error)
	// DecodeMessage makes a Message of a stanza that was found inside another.
	DecodeMessage(el *Element) (*Message, error)
	// Fence returns when every stanza that was read before has been handled. A
	// reply overtakes the stanzas before it; who needs both calls Fence between.
	Fence(ctx context.Context) error
	// Emit hands an event to the user, in order. It never blocks.
	Emit(event any)
	// Subscribe calls deliver for every event that match accepts. Users call
	// [On] or [Events].
	Subscribe(match func(event any) bool, deliver func(ctx context.Context, event any)) (cancel func())
	// Go runs f on a goroutine that belongs to the session: its context ends
	// when the session is closed, and closing waits for it.
	Go(f func(ctx context.Context))
}

// An IQFunc answers a request. It returns the payload of the result, nil for an
// empty one. An error that is, or wraps, a [stanza.Error] is sent as it is; any
// other becomes internal-server-error, and its text stays here.
type IQFunc func(ctx context.Context, iq *IQ) (payload any, err error)

// A Stage is a step that each message passes.
type Stage uint8

// The stages, in the order in which messages that come in pass them.
const (
	// StageUnwrap replaces envelopes by what they carry: carbons, archives.
	StageUnwrap Stage = iota
	// StageDecrypt opens encrypted messages; outbound, it seals them.
	StageDecrypt
	// StageInterpret understands what the message says: rooms, edits, receipts.
	StageInterpret
	// StageDeliver comes last, before the user.
	StageDeliver
	// StageError is apart from the others: only messages of type error pass it,
	// and they pass no other.
	StageError
	stages
)

// The lifecycle of a session, as events for the user.
type (
	// Ready says that the session is up and every feature has done what it does
	// first. Fresh is false after a resumption, when nothing was lost.
	Ready struct {
		Addr  jid.JID
		Fresh bool
	}
	// Suspended says that the link is gone; the server keeps the stream for a
	// while, and nothing is lost if it can be resumed.
	Suspended struct{ Err error }
	// Lost says that the link is gone and the stream with it.
	Lost struct{ Err error }
)

// Refused is the error of a request that was answered with an error. It wraps the
// [stanza.Error].
type Refused struct {
	Err stanza.Error
	// Element is the <error/> itself, which may have an element that tells more
	// (RFC 6120 §8.3.4). It is nil if the answer has none.
	Element *Element
}

// Error implements error.
func (r *Refused) Error() string { return r.Err.Error() }

// Unwrap returns Err.
func (r *Refused) Unwrap() error { return r.Err }

// Tells reports whether the error has an element of this namespace and name, beside
// its general condition.
func (r *Refused) Tells(space, local string) bool { return r.Element.Child(space, local) != nil }

func refused(res *Element) error {
	e := res.Child(res.Name.Space, "error")
	if e == nil {
		e = res.Child(NSClient, "error")
	}
	return &Refused{Err: *StanzaError(res), Element: e}
}

// HandlerError is the event for a handler that returned an error or panicked.
type HandlerError struct {
	Err error
	// Panicked is set if it was a panic, which was logged with its stack.
	Panicked bool
}

// DefaultTimeout bounds requests whose context has no deadline.
const DefaultTimeout = time.Minute

// Do sends the request iq with a payload (anything that [ToElement] takes, or
// nil), checks who answered, and decodes the payload of the answer into v: a
// struct with xml tags, an *[Element], or nil if only success matters. The error
// is a [stanza.Error] if the entity refused.
func Do(ctx context.Context, s Requester, iq stanza.IQ, payload, v any) error {
	if iq.Type != stanza.GetIQ && iq.Type != stanza.SetIQ {
		return fmt.Errorf("confab: a request has type get or set, not %q", iq.Type)
	}
	req := El(NSClient, "iq").Set("type", string(iq.Type)).Set("id", iq.ID).Set("to", iq.To.String())
	if payload != nil {
		p, err := ToElement(payload)
		if err != nil {
			return err
		}
		req.Children = []*Element{p}
	}
	var res *Element
	var err error
	if a, ok := s.(interface {
		Ask(context.Context, *Element) (*Element, error)
	}); ok {
		res, err = a.Ask(ctx, req)
	} else {
		res, err = askPlain(ctx, s, req, iq.To)
	}
	if err != nil || v == nil {
		return err
	}
	if len(res.Children) == 0 {
		return fmt.Errorf("confab: the answer has no payload: %w", io.ErrUnexpectedEOF)
	}
	return res.Children[0].Decode(v)
}

// askPlain is Ask over a session that neither compares who answers nor has a
// time-out.
func askPlain(ctx context.Context, s Requester, req *Element, to jid.JID) (*Element, error) {
	if req.Get("id") == "" {
		req.Set("id", NewID())
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	rc, err := s.SendIQ(ctx, req.TokenReader())
	if err != nil {
		return nil, err
	}
	res, err := ReadElement(rc)
	if cerr := rc.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	if !answersFor(s.LocalAddr(), to, res.Get("from")) {
		return nil, fmt.Errorf("confab: asked %q, but %q answered", to, res.Get("from"))
	}
	if res.Get("type") == "error" {
		return nil, refused(res)
	}
	return res, nil
}

// answersFor reports whether an answer with this from may come from to, the
// entity that was asked (RFC 6120 §10.3.3: the server may leave its own
// account's address out).
func answersFor(self, to jid.JID, from string) bool {
	own := isZero(to) || to.Equal(self.Bare())
	if from == "" {
		return own || to.Equal(self.Domain())
	}
	if !own {
		return sameJID(from, to)
	}
	return sameJID(from, self.Bare()) || isZero(to) && (sameJID(from, self) || sameJID(from, self.Domain()))
}
