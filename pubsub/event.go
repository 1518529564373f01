package pubsub

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Kind says what an event is about.
type Kind uint8

// The kinds of events (XEP-0060 §§7, 8).
const (
	// Published and Retracted are about items: those in Event.Items and those
	// in Event.Retracted. One event can be both; it is Published then.
	Published Kind = iota
	Retracted
	// Purged: all items are gone. Deleted: the node is gone, see Event.Redirect.
	Purged
	Deleted
	// Configured: the settings changed; Event.Form has them, or is nil.
	Configured
	// SubscriptionChanged: the own subscription did, see Event.Subscription.
	SubscriptionChanged
)

// String returns the name of the constant.
func (k Kind) String() string {
	names := [...]string{"Published", "Retracted", "Purged", "Deleted", "Configured", "SubscriptionChanged"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// An Event says what happened to a node. It must not be changed: others may have it,
// too.
type Event struct {
	// From is the service that owns the node: an account's bare address, the own
	// one included, or that of a component.
	From jid.JID
	Node string
	Kind Kind
	// Items were published. Where the service sends no payloads, Payload is nil:
	// see [Event.Fetch].
	Items []Item
	// Retracted are the ids of items that are gone.
	Retracted []string
	// Redirect is the address of the node that takes the place of one that was
	// deleted, or "".
	Redirect string
	// Form are the settings, if Kind is Configured and the service tells them.
	Form *form.Form
	// Subscription is the own one if Kind is SubscriptionChanged.
	Subscription *Subscription
	// Old reports that the event was sent late, as the last item of a node is to
	// who subscribes or signs in. Not every service says so: Prosody does not.
	// Stamp is when it happened then.
	Old   bool
	Stamp time.Time
	// Subscriptions are the ids of the subscriptions that it was sent for
	// (XEP-0060 §12.20); mostly none.
	Subscriptions []string
	// Message is the message that it came in.
	Message *confab.Message
}

// Own reports whether the event is of a node of the own account. What only the
// account itself may decide, such as its bookmarks, must come from there.
func (e *Event) Own() bool { return e.From.Equal(e.Message.To.Bare()) }

// Complete reports whether all items have their payloads.
func (e *Event) Complete() bool {
	for _, it := range e.Items {
		if it.Payload == nil {
			return false
		}
	}
	return true
}

// Fetch returns the items of an event with the payloads that the event lacks. Items
// that are gone meanwhile are left out. It asks, so it is not for handlers that the
// dispatcher runs.
func (e *Event) Fetch(ctx context.Context, r confab.Requester) ([]Item, error) {
	var ids []string
	for _, it := range e.Items {
		if it.Payload == nil && it.ID != "" {
			ids = append(ids, it.ID)
		}
	}
	if len(ids) == 0 {
		return e.Items, nil
	}
	got, err := New(r, e.From).ItemsByID(ctx, e.Node, ids...)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]Item, len(got))
	for _, it := range got {
		byID[it.ID] = it
	}
	var all []Item
	for _, it := range e.Items {
		if it.Payload == nil {
			full, ok := byID[it.ID]
			if !ok {
				continue
			}
			it = full
		}
		all = append(all, it)
	}
	return all, nil
}

// ParseEvent reads the event of a message; it returns nil if there is none, or if it
// does not come from where events come from: it must be live or kept by the server,
// of type headline or normal, and its sender must not be a client.
func ParseEvent(m *confab.Message) *Event {
	ev := eventOf(m)
	if ev == nil {
		return nil
	}
	return parseEvent(m, ev)
}

// eventOf returns the <event/> of a message if it is to be believed.
func eventOf(m *confab.Message) *confab.Element {
	if m.Type != stanza.HeadlineMessage && m.Type != stanza.NormalMessage {
		return nil
	}
	if m.Source != confab.Live && m.Source != confab.Offline || m.From.Resourcepart() != "" {
		return nil
	}
	return m.Stanza.Child(NSEvent, "event")
}

// nodeOf returns the part of an event that names the node, and the name.
func nodeOf(ev *confab.Element) (el *confab.Element, node string) {
	for el := range ev.All(NSEvent, "") {
		switch el.Name.Local {
		case "items", "purge", "delete", "configuration", "subscription":
			return el, el.Get("node")
		}
	}
	return nil, ""
}

func parseEvent(m *confab.Message, ev *confab.Element) *Event {
	el, node := nodeOf(ev)
	if el == nil || node == "" {
		return nil
	}
	e := &Event{From: m.From, Node: node, Message: m}
	switch el.Name.Local {
	case "items":
		e.Items = parseItems(el)
		for r := range el.All(NSEvent, "retract") {
			if id := r.Get("id"); id != "" {
				e.Retracted = append(e.Retracted, id)
			}
		}
		switch {
		case len(e.Items) == 0 && len(e.Retracted) == 0:
			return nil
		case len(e.Items) == 0:
			e.Kind = Retracted
		}
	case "purge":
		e.Kind = Purged
	case "delete":
		e.Kind = Deleted
		e.Redirect = el.Child(NSEvent, "redirect").Get("uri")
	case "configuration":
		e.Kind = Configured
		e.Form = form.Find(el, "")
	case "subscription":
		e.Kind = SubscriptionChanged
		sub, err := parseSubscription(el, node)
		if err != nil {
			return nil
		}
		e.Subscription = &sub
	}
	if d := m.Stanza.Child(nsDelay, "delay"); d != nil {
		e.Old = true
		if t, err := time.Parse(time.RFC3339Nano, d.Get("stamp")); err == nil {
			e.Stamp = t.UTC()
		}
	}
	for h := range m.Stanza.Child(nsSHIM, "headers").All(nsSHIM, "header") {
		if h.Get("name") == "SubID" {
			e.Subscriptions = append(e.Subscriptions, h.Text)
		}
	}
	return e
}

// Notify asks for the events of nodes of all accounts whose presence one sees, and
// of the own account (XEP-0163 §4.3.2). Called before the session runs, it is part
// of the first presence, so that the last items come at once. [OnEvent] or [Events]
// take them. The same event may come twice, from ejabberd for instance.
func Notify(s confab.Session, nodes ...string) {
	features := make([]string, len(nodes))
	for i, n := range nodes {
		features[i] = n + "+notify"
	}
	s.Advertise(features...)
}

// OnEvent calls f for the events of one node, or of every node if node is "". It is
// for features: f is called in order by the dispatcher, so it must be quick and
// must not ask. It returns whether it has taken the event; the message that brought
// an event that somebody has taken does not reach the user. Every function that is
// interested sees an event, no matter who takes it.
//
// OnEvent is called before the session runs. It does not ask for events: see
// [Notify] and [Service.Subscribe]. They come from anybody: f looks at Event.From, or
// at Event.Own for what only the own account may say.
func OnEvent(s confab.Session, node string, f func(ctx context.Context, e *Event) (taken bool)) {
	// Taken messages end in the last stage, so that all who are interested see
	// them before.
	var last atomic.Pointer[confab.Message]
	s.HandleMessage(confab.StageInterpret, func(ctx context.Context, m *confab.Message) error {
		ev := eventOf(m)
		if ev == nil {
			return nil
		}
		if node != "" {
			if _, n := nodeOf(ev); n != node {
				return nil
			}
		}
		if e := parseEvent(m, ev); e != nil && f(ctx, e) {
			last.Store(m)
		}
		return nil
	})
	s.HandleMessage(confab.StageDeliver, func(_ context.Context, m *confab.Message) error {
		if last.CompareAndSwap(m, nil) {
			return confab.ErrConsumed
		}
		return nil
	})
}

// Events has every event that accept accepts, or every one if accept is nil, given
// to the user as *[Event], for confab.On. Events that features of confab have taken
// are among them. It is called once, before the session runs.
func Events(s confab.Session, accept func(*Event) bool) {
	OnEvent(s, "", func(_ context.Context, e *Event) bool {
		if accept != nil && !accept(e) {
			return false
		}
		s.Emit(e)
		return true
	})
}
