package roster

import (
	"context"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// Suggested is the event for somebody, such as a gateway, who suggests changes of
// the roster (XEP-0144). Nothing is done about it: whom to believe is the
// program's choice, which uses [Roster.Add] and the like.
type Suggested struct {
	From  jid.JID
	Items []Suggestion
}

// A Suggestion is one change. Of Contact, JID, Name and Groups are set.
type Suggestion struct {
	// Action is "add", "delete" or "modify".
	Action  string
	Contact Contact
}

// maxSuggestions bounds the items of a [Suggested]: what is beyond is left out.
const maxSuggestions = 256

// suggested looks for suggestions in messages.
func (r *Roster) suggested(_ context.Context, m *confab.Message) error {
	x := m.Stanza.Child(nsExchange, "x")
	if x == nil || m.Source != confab.Live && m.Source != confab.Offline {
		return nil
	}
	e := Suggested{From: m.From}
	for it := range x.All(nsExchange, "item") {
		j, err := jid.Parse(it.Get("jid"))
		if err != nil || len(e.Items) >= maxSuggestions {
			continue
		}
		s := Suggestion{Action: it.Get("action"), Contact: Contact{JID: j.Bare(), Name: it.Get("name")}}
		switch s.Action {
		case "":
			s.Action = "add"
		case "add", "delete", "modify":
		default:
			continue
		}
		for g := range it.All(nsExchange, "group") {
			if g.Text != "" && len(s.Contact.Groups) < maxGroups {
				s.Contact.Groups = append(s.Contact.Groups, g.Text)
			}
		}
		e.Items = append(e.Items, s)
	}
	if len(e.Items) > 0 {
		r.s.Emit(e)
	}
	return nil
}
