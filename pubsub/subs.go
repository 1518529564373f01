package pubsub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// SubscriptionState says how far a subscription is (XEP-0060 §4.2).
type SubscriptionState string

// The states of a subscription.
const (
	Subscribed   SubscriptionState = "subscribed"
	Pending      SubscriptionState = "pending"      // an owner has to let us in
	Unconfigured SubscriptionState = "unconfigured" // options have to be set first
	Unsubscribed SubscriptionState = "none"
)

// A Subscription has a node's events sent to an address.
type Subscription struct {
	Node  string
	JID   jid.JID
	State SubscriptionState
	// ID tells several subscriptions of one address to one node apart; mostly "".
	ID string
	// Expiry is when it ends; zero if it does not.
	Expiry time.Time
}

func parseSubscription(el *confab.Element, node string) (Subscription, error) {
	j, err := jid.Parse(el.Get("jid"))
	if err != nil {
		return Subscription{}, fmt.Errorf("pubsub: subscription of %q: %w", el.Get("jid"), err)
	}
	sub := Subscription{Node: el.Get("node"), JID: j, State: SubscriptionState(el.Get("subscription")), ID: el.Get("subid")}
	if sub.Node == "" {
		sub.Node = node
	}
	if t, err := time.Parse(time.RFC3339Nano, el.Get("expiry")); err == nil {
		sub.Expiry = t.UTC()
	}
	return sub, nil
}

// parseSubscriptions reads those that make sense.
func parseSubscriptions(el *confab.Element, node string) []Subscription {
	if el == nil {
		return nil
	}
	var subs []Subscription
	if n := el.Get("node"); n != "" {
		node = n
	}
	for c := range el.All(el.Name.Space, "subscription") {
		if sub, err := parseSubscription(c, node); err == nil {
			subs = append(subs, sub)
		}
	}
	return subs
}

// Subscribe has the events of a node sent to the own account, that is, to all its
// clients that are there (XEP-0060 §6.1). The subscription may be [Pending]. For
// the nodes of contacts, [Notify] does without.
func (s Service) Subscribe(ctx context.Context, node string) (Subscription, error) {
	if err := need(node); err != nil {
		return Subscription{}, err
	}
	res, err := s.pubsub(ctx, stanza.SetIQ, NS, child("subscribe", "node", node, "jid", s.me()))
	if err != nil {
		return Subscription{}, err
	}
	el := res.Child(NS, "subscription")
	if el == nil {
		return Subscription{}, errors.New("pubsub: the service does not say what became of the subscription")
	}
	return parseSubscription(el, node)
}

// Unsubscribe ends a subscription of the own account. Subid is needed only if there
// are several (XEP-0060 §6.2). It is no error if there is none.
func (s Service) Unsubscribe(ctx context.Context, node, subid string) error {
	if err := need(node); err != nil {
		return err
	}
	_, err := s.pubsub(ctx, stanza.SetIQ, NS, child("unsubscribe", "node", node, "jid", s.me(), "subid", subid))
	var e *Error
	if errors.As(err, &e) && e.Condition == "not-subscribed" {
		return nil
	}
	return err
}

// Subscriptions returns those of the own account to a node, or to all nodes of the
// service if node is empty (XEP-0060 §5.6).
func (s Service) Subscriptions(ctx context.Context, node string) ([]Subscription, error) {
	res, err := s.pubsub(ctx, stanza.GetIQ, NS, child("subscriptions", "node", node))
	if err != nil {
		return nil, err
	}
	return parseSubscriptions(res.Child(NS, "subscriptions"), node), nil
}

// SubscriptionOptions returns the form with the options of a subscription of the own
// account (XEP-0060 §6.3).
func (s Service) SubscriptionOptions(ctx context.Context, node, subid string) (*form.Form, error) {
	if err := need(node); err != nil {
		return nil, err
	}
	res, err := s.pubsub(ctx, stanza.GetIQ, NS, child("options", "node", node, "jid", s.me(), "subid", subid))
	if err != nil {
		return nil, err
	}
	if f := form.Find(res.Child(NS, "options"), ""); f != nil {
		return f, nil
	}
	return nil, errors.New("pubsub: the service sent no form with options")
}

// SetSubscriptionOptions sends that form, with other values (XEP-0060 §6.3.5).
func (s Service) SetSubscriptionOptions(ctx context.Context, node, subid string, f *form.Form) error {
	if err := need(node); err != nil {
		return err
	}
	a, err := f.Submit()
	if err != nil {
		return err
	}
	_, err = s.pubsub(ctx, stanza.SetIQ, NS,
		child("options", "node", node, "jid", s.me(), "subid", subid).Add(a.Element()))
	return err
}

// Subscribers returns the subscriptions of all to a node that one owns (XEP-0060
// §8.8.1).
func (s Service) Subscribers(ctx context.Context, node string) ([]Subscription, error) {
	if err := need(node); err != nil {
		return nil, err
	}
	res, err := s.pubsub(ctx, stanza.GetIQ, NSOwner, child("subscriptions", "node", node))
	if err != nil {
		return nil, err
	}
	return parseSubscriptions(res.Child(NSOwner, "subscriptions"), node), nil
}

// SetSubscriber changes the subscription of somebody to a node that one owns: to
// [Subscribed], which also lets in who is [Pending], or [Unsubscribed] (XEP-0060
// §8.8.2).
func (s Service) SetSubscriber(ctx context.Context, node string, who jid.JID, state SubscriptionState) error {
	if err := need(node); err != nil {
		return err
	}
	_, err := s.pubsub(ctx, stanza.SetIQ, NSOwner, child("subscriptions", "node", node).Add(
		child("subscription", "jid", who.String(), "subscription", string(state))))
	return err
}

// Role is what somebody may do with a node (XEP-0060 §4.1).
type Role string

// The roles, called affiliations in the XEP.
const (
	Owner       Role = "owner"
	Publisher   Role = "publisher"
	PublishOnly Role = "publish-only"
	Member      Role = "member"
	NoRole      Role = "none"
	Outcast     Role = "outcast"
)

// An Affiliation is somebody's role at a node.
type Affiliation struct {
	Node string
	JID  jid.JID
	Role Role
}

func parseAffiliations(el *confab.Element, node string, self jid.JID) []Affiliation {
	if el == nil {
		return nil
	}
	var list []Affiliation
	for c := range el.All(el.Name.Space, "affiliation") {
		a := Affiliation{Node: c.Get("node"), JID: self, Role: Role(c.Get("affiliation"))}
		if a.Node == "" {
			a.Node = node
		}
		if v := c.Get("jid"); v != "" {
			j, err := jid.Parse(v)
			if err != nil {
				continue
			}
			a.JID = j
		}
		list = append(list, a)
	}
	return list
}

// Affiliations returns the roles of the own account at a node, or at all nodes of the
// service if node is empty (XEP-0060 §5.7).
func (s Service) Affiliations(ctx context.Context, node string) ([]Affiliation, error) {
	res, err := s.pubsub(ctx, stanza.GetIQ, NS, child("affiliations", "node", node))
	if err != nil {
		return nil, err
	}
	return parseAffiliations(res.Child(NS, "affiliations"), node, s.r.LocalAddr().Bare()), nil
}

// Affiliates returns the roles of all at a node that one owns (XEP-0060 §8.9.1).
func (s Service) Affiliates(ctx context.Context, node string) ([]Affiliation, error) {
	if err := need(node); err != nil {
		return nil, err
	}
	res, err := s.pubsub(ctx, stanza.GetIQ, NSOwner, child("affiliations", "node", node))
	if err != nil {
		return nil, err
	}
	return parseAffiliations(res.Child(NSOwner, "affiliations"), node, jid.JID{}), nil
}

// SetAffiliation gives somebody a role at a node that one owns; [NoRole] takes it
// away (XEP-0060 §8.9.2).
func (s Service) SetAffiliation(ctx context.Context, node string, who jid.JID, role Role) error {
	if err := need(node); err != nil {
		return err
	}
	_, err := s.pubsub(ctx, stanza.SetIQ, NSOwner, child("affiliations", "node", node).Add(
		child("affiliation", "jid", who.Bare().String(), "affiliation", string(role))))
	return err
}

func (s Service) me() string { return s.r.LocalAddr().Bare().String() }
