package roster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// A Subscription says who sees whose presence (RFC 6121 §2.1.2.5).
type Subscription uint8

// The subscriptions.
const (
	// None: neither sees the other.
	None Subscription = iota
	// To: this account sees the contact.
	To
	// From: the contact sees this account.
	From
	// Both see each other.
	Both
)

var subscriptionNames = [...]string{"none", "to", "from", "both"}

// String returns the word that is used on the wire.
func (s Subscription) String() string {
	if int(s) < len(subscriptionNames) {
		return subscriptionNames[s]
	}
	return fmt.Sprintf("Subscription(%d)", s)
}

// SeesThem reports whether this account sees the contact's presence.
func (s Subscription) SeesThem() bool { return s == To || s == Both }

// SeenByThem reports whether the contact sees this account's presence.
func (s Subscription) SeenByThem() bool { return s == From || s == Both }

// Sees reports whether somebody may see this account's presence, as the roster says.
// It is what Config.Reveal of the chat package asks for.
func (r *Roster) Sees(bare jid.JID) bool {
	c, ok := r.Contact(bare)
	return ok && c.Subscription.SeenByThem()
}

// A Contact is an entry of the roster.
type Contact struct {
	// JID is the bare address.
	JID jid.JID
	// Name is what the user calls the contact, or "".
	Name string
	// Groups are the names of the groups that it is in, in the server's order.
	Groups       []string
	Subscription Subscription
	// Asked says that the contact was asked for its presence and has not answered
	// (ask='subscribe').
	Asked bool
	// Approved says that a request by the contact would be accepted by the server
	// (RFC 6121 §3.4).
	Approved bool
}

func (c *Contact) clone() Contact {
	d := *c
	d.Groups = slices.Clone(c.Groups)
	return d
}

func (c *Contact) equal(d *Contact) bool {
	return c.Name == d.Name && c.Subscription == d.Subscription && c.Asked == d.Asked && c.Approved == d.Approved &&
		slices.Equal(c.Groups, d.Groups)
}

// The changes of the roster, whoever made them: this client, another one of the
// account, the contact or the server. What was changed while no client of the
// account was listening is told after the next sign-in, before [confab.Ready].
// Only the very first roster, when there is none to compare it with, comes
// without events.
type (
	// Added says that there is a new contact.
	Added struct{ Contact Contact }
	// Changed says that a contact is not what it was.
	Changed struct{ Old, New Contact }
	// Removed says that a contact is gone. Contact is what it was.
	Removed struct{ Contact Contact }
)

// ErrNotContact is returned for what only works with somebody who is in the roster.
var ErrNotContact = errors.New("roster: this is no contact")

// key is what contacts are found by: the bare address in its one spelling.
func key(j jid.JID) string { return j.Bare().String() }

// parseItem reads an <item/>. Removed is set for a contact that is gone.
func parseItem(el *confab.Element) (c *Contact, removed bool, err error) {
	if !el.Is(ns, "item") {
		return nil, false, errors.New("roster: this is no item")
	}
	j, err := jid.Parse(el.Get("jid"))
	if err != nil {
		return nil, false, fmt.Errorf("roster: item with jid=%q: %w", el.Get("jid"), err)
	}
	// The clones let go of the stanza, of which the strings are parts.
	c = &Contact{JID: j.Bare(), Name: strings.Clone(el.Get("name")), Asked: el.Get("ask") == "subscribe"}
	switch el.Get("approved") {
	case "true", "1":
		c.Approved = true
	}
	switch s := el.Get("subscription"); s {
	case "remove":
		return c, true, nil
	case "to", "from", "both":
		c.Subscription = Subscription(slices.Index(subscriptionNames[:], s))
	}
	for g := range el.All(ns, "group") {
		if g.Text != "" && !slices.Contains(c.Groups, g.Text) && len(c.Groups) < maxGroups {
			c.Groups = append(c.Groups, strings.Clone(g.Text))
		}
	}
	return c, false, nil
}

// maxGroups bounds the groups of one contact.
const maxGroups = 256

// item makes the <item/> of a request to change a contact.
func (c *Contact) item() *confab.Element {
	el := confab.El(ns, "item").Set("jid", c.JID.String()).Set("name", c.Name)
	for _, g := range c.Groups {
		el.Add(confab.El(ns, "group").SetText(g))
	}
	return el
}

// Contacts returns all contacts, in order of their addresses.
func (r *Roster) Contacts() []Contact {
	r.mu.Lock()
	all := make([]Contact, 0, len(r.contacts))
	for _, c := range r.contacts {
		all = append(all, c.clone())
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b Contact) int { return cmp.Compare(a.JID.String(), b.JID.String()) })
	return all
}

// Len returns how many contacts there are.
func (r *Roster) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.contacts)
}

// Contact returns the contact with this address, of which only the bare part
// counts, and whether there is one.
func (r *Roster) Contact(j jid.JID) (Contact, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.contacts[key(j)]
	if c == nil {
		return Contact{}, false
	}
	return c.clone(), true
}

// Groups returns the names of all groups, sorted.
func (r *Roster) Groups() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	var all []string
	for _, c := range r.contacts {
		for _, g := range c.Groups {
			if !seen[g] {
				seen[g] = true
				all = append(all, g)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Add adds a contact, or gives one that is there this name and these groups. It
// does not ask for presence: see [Roster.Subscribe].
func (r *Roster) Add(ctx context.Context, j jid.JID, name string, groups ...string) error {
	return r.edit(ctx, j, true, func(c *Contact) { c.Name, c.Groups = name, slices.Clone(groups) })
}

// Rename gives a contact another name; "" takes it away.
func (r *Roster) Rename(ctx context.Context, j jid.JID, name string) error {
	return r.edit(ctx, j, false, func(c *Contact) { c.Name = name })
}

// Regroup puts a contact into these groups and no others.
func (r *Roster) Regroup(ctx context.Context, j jid.JID, groups ...string) error {
	return r.edit(ctx, j, false, func(c *Contact) { c.Groups = slices.Clone(groups) })
}

// Remove removes a contact. Subscriptions in both directions end with it.
func (r *Roster) Remove(ctx context.Context, j jid.JID) error {
	return r.editing(ctx, j, func(*Contact) (*confab.Element, error) {
		return confab.El(ns, "item").Set("jid", key(j)).Set("subscription", "remove"), nil
	})
}

// edit changes a contact's name and groups, which the server replaces as a whole.
func (r *Roster) edit(ctx context.Context, j jid.JID, add bool, f func(*Contact)) error {
	return r.editing(ctx, j, func(old *Contact) (*confab.Element, error) {
		c := Contact{JID: j.Bare()}
		if old != nil {
			c = old.clone()
		} else if !add {
			return nil, fmt.Errorf("%w: %s", ErrNotContact, j.Bare())
		}
		f(&c)
		for i, g := range c.Groups {
			if g == "" {
				return nil, errors.New("roster: a group needs a name")
			}
			if slices.Contains(c.Groups[:i], g) {
				return nil, fmt.Errorf("roster: the group %q stands there twice", g)
			}
		}
		if old != nil && c.equal(old) {
			return nil, nil
		}
		return c.item(), nil
	})
}

// pushPatience is how long a change waits for the server to repeat it, which it
// must do (RFC 6121 §2.1.6).
const pushPatience = 5 * time.Second

// editing sends one item and returns when the change has come back, so that the
// next one sees it. Changes of one contact wait for each other. The item is made
// from the contact as it is, which is nil if there is none; no item, no request.
func (r *Roster) editing(ctx context.Context, j jid.JID, item func(old *Contact) (*confab.Element, error)) error {
	if j.Equal(jid.JID{}) {
		return errors.New("roster: an address is needed")
	}
	k := key(j)
	e := &edit{done: make(chan struct{}), pushed: make(chan struct{})}
	defer close(e.done)
	r.mu.Lock()
	for r.edits[k] != nil {
		before := r.edits[k]
		r.mu.Unlock()
		select {
		case <-before.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
	}
	r.edits[k] = e
	old := r.contacts[k]
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.edits, k)
		r.mu.Unlock()
	}()
	el, err := item(old)
	if el == nil || err != nil {
		return err
	}
	iq := confab.El(confab.NSClient, "iq", confab.El(ns, "query", el)).Set("type", "set")
	if _, err := r.s.Ask(ctx, iq); err != nil {
		return err
	}
	late := time.NewTimer(pushPatience)
	defer late.Stop()
	select {
	case <-e.pushed:
	case <-late.C:
	case <-ctx.Done():
	}
	return nil
}

// edit is a change of a contact that is under way.
type edit struct {
	done, pushed chan struct{}
	seen         bool // pushed is closed
}

// saw says that the server has told of a change. The lock is held.
func (r *Roster) saw(k string) {
	if e := r.edits[k]; e != nil && !e.seen {
		e.seen = true
		close(e.pushed)
	}
}
