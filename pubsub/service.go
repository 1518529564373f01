package pubsub

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Namespaces of publish-subscribe.
const (
	NS      = "http://jabber.org/protocol/pubsub"
	NSEvent = NS + "#event"
	NSOwner = NS + "#owner"

	nsErrors = NS + "#errors"
	nsInfo   = "http://jabber.org/protocol/disco#info"
	nsItems  = "http://jabber.org/protocol/disco#items"
	nsDelay  = "urn:xmpp:delay"
	nsSHIM   = "http://jabber.org/protocol/shim"
)

// A Service is where nodes are: a component such as pubsub.example.org or an
// account (PEP). Its methods may be called from any goroutine. It holds no state.
type Service struct {
	r    confab.Requester
	addr jid.JID
}

// New makes a Service of the session's own account, or of another address if
// service is not zero. A resource in it does not count: nodes belong to accounts.
func New(r confab.Requester, service jid.JID) Service {
	return Service{r, service.Bare()}
}

// Addr returns the address that the service's events come from.
func (s Service) Addr() jid.JID {
	if s.own() {
		return s.r.LocalAddr().Bare()
	}
	return s.addr
}

// own reports whether it is the own account.
func (s Service) own() bool {
	return s.addr.Equal(jid.JID{}) || s.addr.Equal(s.r.LocalAddr().Bare())
}

// pep reports whether it is an account.
func (s Service) pep() bool { return s.own() || s.addr.Localpart() != "" }

var errNoNode = errors.New("pubsub: the name of the node is missing")

// need checks what every request about a node needs.
func need(node string, ids ...string) error {
	if node == "" {
		return errNoNode
	}
	for _, id := range ids {
		if id == "" {
			return errors.New("pubsub: the id of an item is missing")
		}
	}
	return nil
}

// pubsub asks with children of <pubsub/> in this namespace, and returns the one in
// the answer, which may be nil.
func (s Service) pubsub(ctx context.Context, typ stanza.IQType, space string, kids ...*confab.Element) (*confab.Element, error) {
	res, err := s.ask(ctx, typ, confab.El(space, "pubsub", kids...))
	if err != nil {
		return nil, err
	}
	return res.Child(space, "pubsub"), nil
}

// ask sends a request and returns the answer. Unlike [confab.Do] it reads what the
// error says in the terms of publish-subscribe.
func (s Service) ask(ctx context.Context, typ stanza.IQType, payload *confab.Element) (*confab.Element, error) {
	iq := confab.El(confab.NSClient, "iq", payload).Set("type", string(typ)).Set("id", confab.NewID())
	if !s.own() {
		iq.Set("to", s.addr.String())
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, confab.DefaultTimeout)
		defer cancel()
	}
	rc, err := s.r.SendIQ(ctx, iq.TokenReader())
	if err != nil {
		return nil, err
	}
	res, err := confab.ReadElement(rc)
	if cerr := rc.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	// A confab session has looked already at who answers; a plain one has not.
	if !s.answered(res.Get("from")) {
		return nil, fmt.Errorf("pubsub: asked %q, but %q answered", s.Addr(), res.Get("from"))
	}
	if res.Get("type") == "error" {
		return nil, s.readError(res)
	}
	return res, nil
}

func (s Service) answered(from string) bool {
	if from == "" {
		return s.own() || s.addr.Equal(s.r.LocalAddr().Domain())
	}
	j, err := jid.Parse(from)
	if err != nil {
		return false
	}
	return j.Equal(s.Addr()) || s.own() && (j.Equal(s.r.LocalAddr()) || j.Equal(s.r.LocalAddr().Domain()))
}

// Errors that can be told with [errors.Is].
var (
	// ErrNotFound says that a node or an item does not exist, or that a PEP
	// service hides it.
	ErrNotFound = errors.New("pubsub: there is no such node or item, or not for us")
	// ErrExists says that there is a node of this name already.
	ErrExists = errors.New("pubsub: there is a node of this name already")
	// ErrPrecondition says that a node is not as it has to be for an item.
	ErrPrecondition = errors.New("pubsub: the node is not as the publish-options demand")
	// ErrUnsupported says that the service cannot do this, or is none.
	ErrUnsupported = errors.New("pubsub: the service does not support this")
)

// An Error is what a service answers if it refuses. It wraps a [stanza.Error].
type Error struct {
	Stanza stanza.Error
	// Condition is the name of the condition in the terms of publish-subscribe,
	// such as "precondition-not-met" (XEP-0060 §18), or "".
	Condition string
	// Feature names what is missing if Condition is "unsupported".
	Feature string
	// Redirect is the address of the node that has taken the place of one that is
	// gone, or "".
	Redirect string

	pep bool
}

// Error implements error.
func (e *Error) Error() string {
	s := "pubsub: " + string(e.Stanza.Condition)
	if e.Condition != "" {
		s += " (" + e.Condition
		if e.Feature != "" {
			s += " " + e.Feature
		}
		s += ")"
	}
	for _, text := range e.Stanza.Text {
		return s + ": " + text
	}
	return s
}

// Unwrap returns the stanza error.
func (e *Error) Unwrap() error { return e.Stanza }

// Is implements [errors.Is] for the errors of this package.
func (e *Error) Is(target error) bool {
	c := e.Stanza.Condition
	switch target {
	case ErrNotFound:
		switch c {
		case stanza.ItemNotFound, stanza.Gone:
			return true
		case stanza.Forbidden, stanza.NotAuthorized, stanza.ServiceUnavailable:
			return e.pep // to tell them apart would tell what is hidden
		case stanza.NotAllowed:
			return e.pep && e.Condition == "closed-node"
		}
	case ErrExists:
		return c == stanza.Conflict && e.Condition == ""
	case ErrPrecondition:
		return e.Condition == "precondition-not-met"
	case ErrUnsupported:
		return c == stanza.FeatureNotImplemented || e.Condition == "unsupported" || c == stanza.ServiceUnavailable && !e.pep
	}
	return false
}

// readError reads the error of an answer. Accounts of others may hide behind any
// answer; the own account does not.
func (s Service) readError(res *confab.Element) error {
	e := &Error{Stanza: *confab.StanzaError(res), pep: s.pep() && !s.own()}
	el := res.Child(res.Name.Space, "error")
	if g := el.Child(confab.NSStanzas, "gone"); g != nil {
		e.Redirect = strings.TrimSpace(g.Text)
	}
	if c := el.Child(nsErrors, ""); c != nil {
		e.Condition, e.Feature = c.Name.Local, c.Get("feature")
	}
	return e
}

// child is a part of a request.
func child(local string, attr ...string) *confab.Element {
	el := &confab.Element{Name: xml.Name{Local: local}}
	for i := 0; i < len(attr); i += 2 {
		el.Set(attr[i], attr[i+1])
	}
	return el
}
