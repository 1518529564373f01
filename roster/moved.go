package roster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// Moved is the event for a contact that has another address now (XEP-0283). Both
// sides have said so: the new address by a [Request], which comes as an event of
// its own, the old one by a statement that was read from it. Nothing is changed
// until the user agrees, by [Roster.AcceptMove].
type Moved struct{ Old, New jid.JID }

// maxMoves bounds the statements that are being read.
const maxMoves = 4

// verifyMove looks into a request by somebody who claims to be a contact. The lock
// is held.
func (r *Roster) verifyMove(p *confab.Presence, from jid.JID) {
	m := p.Stanza.Child(nsMoved, "moved")
	if m == nil || r.moves >= maxMoves {
		return
	}
	old, err := jid.Parse(strings.TrimSpace(m.ChildText(nsMoved, "old-jid")))
	if err != nil || old.Resourcepart() != "" || old.Equal(from) {
		return
	}
	// A claim about somebody who could not see this account is ignored.
	if c := r.contacts[key(old)]; c == nil || !c.Subscription.SeenByThem() {
		return
	}
	r.moves++
	r.s.Go(func(ctx context.Context) {
		to, err := movedTo(ctx, r.s, old)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.moves--
		if err == nil && to.Equal(from) {
			r.s.Emit(Moved{Old: old, New: from})
		}
	})
}

// movedTo reads where an account says that it has moved to (XEP-0283 §4.3).
func movedTo(ctx context.Context, s confab.Requester, old jid.JID) (jid.JID, error) {
	rc, err := s.SendIQ(ctx, confab.El(confab.NSClient, "iq", confab.El(nsPubSub, "pubsub",
		confab.El(nsPubSub, "items", confab.El(nsPubSub, "item").Set("id", "current")).Set("node", nsMoved))).
		Set("type", "get").Set("to", old.Bare().String()).TokenReader())
	if err != nil {
		return jid.JID{}, err
	}
	res, err := confab.ReadElement(rc)
	if cerr := rc.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return jid.JID{}, err
	}
	if res.Get("type") == "error" {
		// An account that is gone may say where in the error.
		gone := res.Child(confab.NSClient, "error").Child(confab.NSStanzas, "gone")
		if uri, ok := strings.CutPrefix(strings.TrimSpace(gone.FullText()), "xmpp:"); ok {
			to, _, _ := strings.Cut(uri, "?")
			return bareJID(to)
		}
		return jid.JID{}, *confab.StanzaError(res)
	}
	items := res.Child(nsPubSub, "pubsub").Child(nsPubSub, "items")
	if items.Get("node") != nsMoved {
		return jid.JID{}, errors.New("roster: no statement of having moved")
	}
	return bareJID(items.Child(nsPubSub, "item").Child(nsMoved, "moved").ChildText(nsMoved, "new-jid"))
}

func bareJID(s string) (jid.JID, error) {
	j, err := jid.Parse(strings.TrimSpace(s))
	if err == nil && j.Resourcepart() != "" {
		err = fmt.Errorf("roster: %q is no bare address", s)
	}
	return j, err
}

// AcceptMove puts a contact's new address in the place of its old one: it gets the
// name and the groups, is accepted, is asked if the old one was seen, and the old
// one no longer sees this account. The old entry stays in the roster. The old
// account's statement is read once more before.
func (r *Roster) AcceptMove(ctx context.Context, m Moved) error {
	c, ok := r.Contact(m.Old)
	if !ok || !c.Subscription.SeenByThem() {
		return fmt.Errorf("%w that sees this account: %s", ErrNotContact, m.Old)
	}
	to, err := movedTo(ctx, r.s, m.Old)
	if err != nil {
		return fmt.Errorf("roster: asking %s: %w", m.Old, err)
	}
	if !to.Equal(m.New.Bare()) {
		return fmt.Errorf("roster: %s says that it has moved to %s, not to %s", m.Old, to, m.New.Bare())
	}
	if err := r.Add(ctx, to, c.Name, c.Groups...); err != nil {
		return err
	}
	if err := r.Accept(ctx, to); err != nil {
		return err
	}
	if c.Subscription.SeesThem() {
		if err := r.Subscribe(ctx, to); err != nil {
			return err
		}
	}
	return r.Cancel(ctx, m.Old)
}

// PublishMove says that this account has moved to another one (XEP-0283 §4.1).
// Afterwards the new account asks its contacts with [WithMoved].
func PublishMove(ctx context.Context, s confab.Requester, to jid.JID) error {
	if to.Equal(jid.JID{}) || to.Bare().Equal(s.LocalAddr().Bare()) {
		return errors.New("roster: an account moves to another one")
	}
	moved := confab.El(nsMoved, "moved", confab.El(nsMoved, "new-jid").SetText(to.Bare().String()))
	_, err := pubsub.New(s, jid.JID{}).Publish(ctx, nsMoved, pubsub.Item{ID: "current", Payload: moved}, pubsub.Contacts())
	return err
}
