package roster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// Own is what this client says of itself. The zero value is plain availability.
type Own struct {
	// Unavailable hides the client: contacts see it gone, and the server delivers
	// no messages to the bare address. The rest but Status and Extra is left out then.
	Unavailable bool
	// Show is "" (available), "chat", "away", "xa" or "dnd".
	Show   string
	Status string
	// Priority decides which client gets what is sent to the bare address; with a
	// negative one this client gets nothing of it.
	Priority int8
	// Idle, if set, tells contacts since when nobody has touched this client
	// (XEP-0319). It is nobody's business by default.
	Idle time.Time
	// Extra are further children: what [confab.ToElement] takes.
	Extra []any
}

// element makes the stanza.
func (o *Own) element() (*confab.Element, error) {
	if o.Show != show(o.Show) {
		return nil, fmt.Errorf("roster: Show is %q; it can be empty, chat, away, xa or dnd", o.Show)
	}
	p := confab.El(confab.NSClient, "presence")
	if o.Unavailable {
		p.Set("type", "unavailable")
	} else if o.Show != "" {
		p.Add(confab.El(confab.NSClient, "show").SetText(o.Show))
	}
	if o.Status != "" {
		p.Add(confab.El(confab.NSClient, "status").SetText(o.Status))
	}
	if !o.Unavailable {
		if o.Priority != 0 {
			p.Add(confab.El(confab.NSClient, "priority").SetText(strconv.Itoa(int(o.Priority))))
		}
		if !o.Idle.IsZero() {
			p.Add(confab.El(nsIdle, "idle").Set("since", o.Idle.UTC().Format("2006-01-02T15:04:05Z")))
		}
	}
	for _, x := range o.Extra {
		el, err := confab.ToElement(x)
		if err != nil {
			return nil, fmt.Errorf("roster: Own.Extra: %w", err)
		}
		p.Add(el)
	}
	return p, nil
}

// SetPresence tells contacts, and the account's other clients, about this client.
// A client.Client remembers it: later sign-ins begin with what was set last, and
// before the first one it is what that will begin with.
func (r *Roster) SetPresence(ctx context.Context, o Own) error {
	p, err := o.element()
	if err != nil {
		return err
	}
	return r.s.SendElement(ctx, p)
}

// SendPresence tells one other entity about this client (RFC 6121 §4.6), whether
// it is a contact or not. The server tells it when this client goes.
func (r *Roster) SendPresence(ctx context.Context, to jid.JID, o Own) error {
	if to.Equal(jid.JID{}) {
		return errors.New("roster: an address is needed")
	}
	p, err := o.element()
	if err != nil {
		return err
	}
	return r.s.SendElement(ctx, p.Set("to", to.String()))
}
