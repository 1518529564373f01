package roster

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Policy says what becomes of requests to see this account's presence.
type Policy uint8

// The policies.
const (
	// AskUser emits a [Request], which the program answers with [Roster.Accept] or
	// [Roster.Decline], now or later.
	AskUser Policy = iota
	// AcceptAll accepts everyone.
	AcceptAll
	// Mutual accepts everyone and asks back, so that both are contacts of each
	// other. That is what most bots want.
	Mutual
)

// A Request is the event for somebody who asks to see this account's presence
// (RFC 6121 §3.1). One that is not answered comes again after later sign-ins of
// the program; while the program runs it is told once.
type Request struct {
	// From is the bare address.
	From jid.JID
	// Status is what the person wrote, Nick what it calls itself (XEP-0172). Both
	// are claims: show the address beside them.
	Status, Nick string
	// Invited says that it came with an invitation of this account's, see
	// [Roster.Invite]. Such requests are accepted.
	Invited bool
	// Accepted says that it was accepted already: by the policy, or as invited.
	Accepted bool
}

// What others answer.
type (
	// Answered says that a contact has accepted, or refused, to be seen; also when
	// it takes back later what it had accepted.
	Answered struct {
		From     jid.JID
		Accepted bool
		Status   string
	}
	// Withdrawn says that somebody has taken a request back before it was answered.
	Withdrawn struct{ From jid.JID }
)

// pending is a request that waits for an answer.
type pending struct {
	Request
	stale bool // the stream that it came on is lost
}

// maxRequests bounds the requests that are remembered. The server has them all.
const maxRequests = 1024

// Requests returns the requests that wait for an answer, in order of the
// addresses.
func (r *Roster) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Request
	for _, p := range r.requests {
		if !p.stale {
			all = append(all, p.Request)
		}
	}
	slices.SortFunc(all, func(a, b Request) int { return cmp.Compare(a.From.String(), b.From.String()) })
	return all
}

// requested takes a request.
func (r *Roster) requested(ctx context.Context, p *confab.Presence) {
	from := p.From.Bare()
	if from.Equal(r.s.LocalAddr().Bare()) {
		return
	}
	k := key(from)
	q := Request{From: from, Status: limit(p.Status), Nick: limit(strings.TrimSpace(p.Stanza.ChildText(nsNick, "nick")))}
	q.Invited = r.invites.redeem(p.Stanza.Child(nsPars, "preauth").Get("token"), k)
	expected := r.invites.expects(k)
	q.Accepted = q.Invited || expected || r.cfg.Policy != AskUser

	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.contacts[k]
	if c != nil && c.Subscription.SeenByThem() {
		return // the server has answered
	}
	r.verifyMove(p, from)
	if q.Accepted {
		back := (q.Invited || r.cfg.Policy == Mutual) && (c == nil || !c.Subscription.SeesThem() && !c.Asked)
		accept := func(ctx context.Context) {
			if r.sendTo(ctx, from, stanza.SubscribedPresence, nil) == nil && back {
				_ = r.sendTo(ctx, from, stanza.SubscribePresence, nil)
			}
		}
		if !r.later(accept) {
			// More come than can be sent: who sends them has to wait.
			r.mu.Unlock()
			accept(ctx)
			r.mu.Lock()
		}
		delete(r.requests, k)
		r.s.Emit(q)
		return
	}
	if old := r.requests[k]; old != nil {
		again := old.stale || old.Status == q.Status && old.Nick == q.Nick
		old.Request, old.stale = q, false
		if again {
			return
		}
	} else if len(r.requests) < maxRequests {
		r.requests[k] = &pending{Request: q}
	}
	r.s.Emit(q)
}

// later runs f after those before it, off the dispatcher. It reports false if too
// much is waiting. The lock is held.
func (r *Roster) later(f func(context.Context)) bool {
	if len(r.todo) >= maxRequests {
		return false
	}
	r.todo = append(r.todo, f)
	if r.working {
		return true
	}
	r.working = true
	r.s.Go(func(ctx context.Context) {
		for {
			r.mu.Lock()
			if len(r.todo) == 0 || ctx.Err() != nil {
				r.working = false
				r.mu.Unlock()
				return
			}
			f := r.todo[0]
			r.todo[0] = nil
			if r.todo = r.todo[1:]; len(r.todo) == 0 {
				r.todo = nil
			}
			r.mu.Unlock()
			f(ctx)
		}
	})
	return true
}

// answered takes the answer of a contact.
func (r *Roster) answered(p *confab.Presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Others were not asked. The push that makes a contact of somebody may still be
	// on its way through the handlers.
	if k := key(p.From); r.contacts[k] != nil || r.asking[k] {
		delete(r.asking, k)
		r.s.Emit(Answered{From: p.From.Bare(), Accepted: p.Type == stanza.SubscribedPresence, Status: limit(p.Status)})
	}
}

// withdrawn takes back a request.
func (r *Roster) withdrawn(p *confab.Presence) {
	k := key(p.From)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.requests[k] != nil {
		delete(r.requests, k)
		r.s.Emit(Withdrawn{From: p.From.Bare()})
	}
}

// sendTo sends presence about a subscription.
func (r *Roster) sendTo(ctx context.Context, to jid.JID, typ stanza.PresenceType, kids []*confab.Element) error {
	to = to.Bare()
	if to.Equal(jid.JID{}) {
		return errors.New("roster: an address is needed")
	}
	if to.Equal(r.s.LocalAddr().Bare()) {
		return errors.New("roster: this is the own account, which needs no subscription")
	}
	return r.s.SendElement(ctx, confab.El(confab.NSClient, "presence", kids...).Set("to", to.String()).Set("type", string(typ)).Set("id", confab.NewID()))
}

// answer sends an answer to a request.
func (r *Roster) answer(ctx context.Context, j jid.JID, typ stanza.PresenceType) error {
	if err := r.sendTo(ctx, j, typ, nil); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.requests, key(j))
	r.mu.Unlock()
	return nil
}

// Accept lets somebody who has asked see this account's presence. It is for
// answering a [Request]: where the server allows that, others are approved in
// advance by it, as by [Roster.PreApprove].
func (r *Roster) Accept(ctx context.Context, j jid.JID) error {
	return r.answer(ctx, j, stanza.SubscribedPresence)
}

// Decline refuses a request.
func (r *Roster) Decline(ctx context.Context, j jid.JID) error {
	return r.answer(ctx, j, stanza.UnsubscribedPresence)
}

// Cancel stops a contact from seeing this account's presence (RFC 6121 §3.2), and
// takes back an approval in advance.
func (r *Roster) Cancel(ctx context.Context, j jid.JID) error {
	return r.answer(ctx, j, stanza.UnsubscribedPresence)
}

// Subscribe asks to see somebody's presence (RFC 6121 §3.1). Who is no contact yet
// becomes one, with Asked set. The answer comes as [Answered], maybe days later.
func (r *Roster) Subscribe(ctx context.Context, j jid.JID, opts ...Option) error {
	var kids []*confab.Element
	for _, o := range opts {
		if o == nil {
			continue
		}
		if el := o(); el != nil {
			kids = append(kids, el)
		}
	}
	r.mu.Lock()
	if r.contacts[key(j)] == nil && len(r.asking) < maxRequests {
		r.asking[key(j)] = true
	}
	r.mu.Unlock()
	return r.sendTo(ctx, j, stanza.SubscribePresence, kids)
}

// Unsubscribe ends seeing a contact's presence, or takes back a request to
// (RFC 6121 §3.3).
func (r *Roster) Unsubscribe(ctx context.Context, j jid.JID) error {
	return r.sendTo(ctx, j, stanza.UnsubscribePresence, nil)
}

// ErrNoPreApproval is returned by [Roster.PreApprove] if the server cannot.
var ErrNoPreApproval = errors.New("roster: this server knows no approval in advance (urn:xmpp:features:pre-approval)")

// PreApprove has the server accept a request of somebody's that has not come yet
// (RFC 6121 §3.4).
func (r *Roster) PreApprove(ctx context.Context, j jid.JID) error {
	if !r.canPreApprove() {
		return ErrNoPreApproval
	}
	return r.sendTo(ctx, j, stanza.SubscribedPresence, nil)
}

// canPreApprove asks the session for the stream feature, if that can tell.
func (r *Roster) canPreApprove() bool {
	f, ok := r.s.(interface {
		StreamFeature(space, local string) bool
	})
	return ok && f.StreamFeature(nsPreApprove, "sub")
}

// An Option adds something to a request.
type Option func() *confab.Element

// WithNick tells what this account's person is called (XEP-0172 §4.2).
func WithNick(nick string) Option {
	return func() *confab.Element { return confab.El(nsNick, "nick").SetText(nick) }
}

// WithStatus adds a text for the person who is asked.
func WithStatus(text string) Option {
	return func() *confab.Element { return confab.El(confab.NSClient, "status").SetText(text) }
}

// WithToken adds the token of an invitation by the one who is asked (XEP-0379
// §3.4). [Roster.AcceptInvitation] does it all.
func WithToken(token string) Option {
	return func() *confab.Element { return confab.El(nsPars, "preauth").Set("token", token) }
}

// WithMoved says that this account takes the place of old, where a statement says
// so (XEP-0283 §4.2): see [PublishMove].
func WithMoved(old jid.JID) Option {
	return func() *confab.Element {
		return confab.El(nsMoved, "moved", confab.El(nsMoved, "old-jid").SetText(old.Bare().String()))
	}
}
