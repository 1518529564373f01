package muc

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const nsActivity = "urn:xmpp:rai:0"

// maxActive bounds the rooms that one notice may name, and maxWatched the services.
const (
	maxActive  = 10_000
	maxWatched = 100
)

// Activity is the event for rooms in which something was said while the user was not in
// them (XEP-0437).
type Activity struct {
	// Service is who tells, Rooms are rooms of it.
	Service jid.JID
	Rooms   []jid.JID
}

// WatchActivity asks a service of rooms to tell when something is said in those that the
// user belongs to but is not in (XEP-0437), by the event [Activity]. It is asked again
// after each new sign-in. The error is one of the service, which announces
// urn:xmpp:rai:0 if it can.
func (c *Client) WatchActivity(ctx context.Context, service jid.JID) error {
	if service.Domainpart() == "" || service.Localpart() != "" {
		return fmt.Errorf("muc: %q is not the address of a service", service)
	}
	service = service.Bare()
	c.mu.Lock()
	if c.watched == nil {
		c.watched = map[string]jid.JID{}
	}
	if len(c.watched) >= maxWatched {
		c.mu.Unlock()
		return errors.New("muc: too many services are watched")
	}
	c.watched[service.String()] = service
	c.mu.Unlock()
	return c.askActivity(ctx, service)
}

// UnwatchActivity ends it.
func (c *Client) UnwatchActivity(ctx context.Context, service jid.JID) error {
	service = service.Bare()
	c.mu.Lock()
	_, ok := c.watched[service.String()]
	delete(c.watched, service.String())
	c.mu.Unlock()
	if !ok {
		return nil
	}
	return c.s.SendElement(ctx, confab.El(confab.NSClient, "presence").Set("to", service.String()).Set("type", "unavailable"))
}

func (c *Client) askActivity(ctx context.Context, service jid.JID) error {
	return c.s.SendElement(ctx, confab.El(confab.NSClient, "presence", confab.El(nsActivity, "rai")).Set("to", service.String()))
}

// watchAgain asks the services again, on a new stream.
func (c *Client) watchAgain(ctx context.Context) error {
	c.mu.Lock()
	all := make([]jid.JID, 0, len(c.watched))
	for _, s := range c.watched {
		all = append(all, s)
	}
	c.mu.Unlock()
	for _, s := range all {
		if err := c.askActivity(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// active takes what a service tells. Only one that is watched is believed, and only
// about its own rooms.
func (c *Client) active(_ context.Context, m *confab.Message) error {
	rai := m.Stanza.Child(nsActivity, "rai")
	if rai == nil || m.Type == stanza.GroupChatMessage || m.Source != confab.Live && m.Source != confab.Offline {
		return nil
	}
	c.mu.Lock()
	service, ok := c.watched[m.From.String()]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	e := Activity{Service: service}
	for el := range rai.All(nsActivity, "activity") {
		j, err := jid.Parse(el.Text)
		if err != nil || j.Localpart() == "" || j.Resourcepart() != "" || j.Domainpart() != service.Domainpart() {
			continue
		}
		if e.Rooms = append(e.Rooms, j); len(e.Rooms) == maxActive {
			break
		}
	}
	if len(e.Rooms) > 0 {
		c.s.Emit(e)
	}
	return confab.ErrConsumed
}
