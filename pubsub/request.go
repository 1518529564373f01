package pubsub

import (
	"context"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// formAuthorize is the FORM_TYPE of what a service asks an owner.
const formAuthorize = NS + "#subscribe_authorization"

// A SubscriptionRequest is the event for somebody who wants to subscribe to a node
// whose owner decides, [AccessAuthorize] (XEP-0060 §8.6).
type SubscriptionRequest struct {
	// From is the service, Node the node, JID who wants to subscribe.
	From jid.JID
	Node string
	JID  jid.JID

	form *form.Form
}

// Requests has the requests of those who want to subscribe to own nodes given to the
// user as *[SubscriptionRequest]. Anybody can send such a message: an answer goes to
// who has sent it, and does nothing where one owns no node.
func Requests(s confab.Session) {
	s.HandleMessage(confab.StageInterpret, func(_ context.Context, m *confab.Message) error {
		if r := parseRequest(m); r != nil {
			s.Emit(r)
			return confab.ErrConsumed
		}
		return nil
	})
}

func parseRequest(m *confab.Message) *SubscriptionRequest {
	if m.From.Resourcepart() != "" || m.Source != confab.Live && m.Source != confab.Offline ||
		m.Type != stanza.NormalMessage && m.Type != stanza.HeadlineMessage {
		return nil
	}
	f := form.Find(m.Stanza, formAuthorize)
	if f == nil || f.Type != form.Questions || f.Get("pubsub#node") == "" {
		return nil
	}
	who, err := jid.Parse(f.Get("pubsub#subscriber_jid"))
	if err != nil {
		return nil
	}
	return &SubscriptionRequest{From: m.From, Node: f.Get("pubsub#node"), JID: who, form: f}
}

// Answer lets who asks in, or not. It returns when the answer is queued.
func (r *SubscriptionRequest) Answer(ctx context.Context, s confab.Session, allow bool) error {
	a := form.New(form.Answers, formAuthorize)
	for _, fd := range r.form.Fields {
		if fd.Var != "" && fd.Type != form.Fixed && fd.Var != form.FormType {
			a.Fields = append(a.Fields, form.Field{Var: fd.Var, Values: fd.Values})
		}
	}
	a.SetBool("pubsub#allow", allow)
	return s.SendElement(ctx, confab.El(confab.NSClient, "message", a.Element()).
		Set("to", r.From.String()).Set("id", confab.NewID()))
}
