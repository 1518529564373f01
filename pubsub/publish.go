package pubsub

import (
	"context"
	"errors"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// An Item is one entry of a node.
type Item struct {
	// ID names the item in its node. Publishing another one with the same id
	// replaces it.
	ID string
	// Payload is the content: one element, or nil for a mere notice.
	Payload *confab.Element
	// Publisher is who published it, if the service says so; zero otherwise. It is
	// the service that vouches for it.
	Publisher jid.JID
}

// Publish puts an item into a node, which the account's own service makes if there
// is none, and returns the item's id: the service makes one up if it is empty
// (XEP-0060 §7.1).
//
// What is set in c is demanded of the node (publish-options, §7.1.5). A node that
// is different is configured anew; this takes its owner. Where a service does not
// understand a demand, the node is made or configured first. [ErrPrecondition] says
// that all this was in vain; the item was not published then.
func (s Service) Publish(ctx context.Context, node string, item Item, c Config) (id string, err error) {
	if err := need(node); err != nil {
		return "", err
	}
	if err := c.check(); err != nil {
		return "", err
	}
	if item.Payload != nil && item.Payload.Name.Space == "" {
		return "", errors.New("pubsub: the payload of an item needs a namespace")
	}
	id, err = s.publish(ctx, node, item, c)
	switch {
	case err == nil || c.zero():
		return id, err
	case errors.Is(err, ErrPrecondition):
		if cerr := s.Configure(ctx, node, c); cerr != nil {
			return "", errors.Join(err, cerr)
		}
		if id, err = s.publish(ctx, node, item, c); !errors.Is(err, ErrPrecondition) {
			return id, err
		}
	case !badValue(err) && !errors.Is(err, ErrUnsupported):
		return "", err
	}
	// The service does not understand all demands, or compares them otherwise than
	// it should. It is the node that counts, so look at it.
	refused := err
	if err := s.ensure(ctx, node, c); err != nil {
		return "", errors.Join(refused, err)
	}
	// Who may read is demanded once more, in case that somebody changes the node
	// right now.
	id, err = s.publish(ctx, node, item, Config{Access: c.Access})
	if c.Access != "" && err != nil && !errors.Is(err, ErrPrecondition) && (badValue(err) || errors.Is(err, ErrUnsupported)) {
		id, err = s.publish(ctx, node, item, Config{})
	}
	return id, err
}

// ensure makes a node, or makes it like c.
func (s Service) ensure(ctx context.Context, node string, c Config) error {
	now, err := s.Config(ctx, node)
	if errors.Is(err, ErrNotFound) {
		if _, err = s.Create(ctx, node, c); !errors.Is(err, ErrExists) {
			return err
		}
		now, err = s.Config(ctx, node) // somebody was faster
	}
	if err != nil {
		return err
	}
	return s.change(ctx, node, now, c)
}

func (s Service) publish(ctx context.Context, node string, item Item, c Config) (string, error) {
	el := child("item", "id", item.ID)
	if item.Payload != nil {
		el.Add(item.Payload)
	}
	pub := child("publish", "node", node)
	if item.Payload != nil || item.ID != "" {
		pub.Add(el)
	}
	kids := []*confab.Element{pub}
	if !c.zero() {
		kids = append(kids, child("publish-options").Add(c.submission("#publish-options")))
	}
	res, err := s.pubsub(ctx, stanza.SetIQ, NS, kids...)
	if err != nil {
		return "", err
	}
	if id := res.Child(NS, "publish").Child(NS, "item").Get("id"); id != "" {
		return id, nil
	}
	return item.ID, nil // §7.1.2: the answer may be empty if we gave the id
}

// Retract deletes an item. Those who are subscribed are told, where the service
// does not forbid it (XEP-0060 §7.2).
func (s Service) Retract(ctx context.Context, node, id string) error {
	if err := need(node, id); err != nil {
		return err
	}
	_, err := s.pubsub(ctx, stanza.SetIQ, NS,
		child("retract", "node", node, "notify", "true").Add(child("item", "id", id)))
	return err
}
