package roster

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

// The commands of XEP-0401.
const (
	nodeInvite  = "urn:xmpp:invite#invite"
	nodeAccount = "urn:xmpp:invite#create-account"
)

// RequestInvitation has the own server make an invitation to become a contact of
// this account (XEP-0401 §3.1): the server itself accepts who comes with it, and
// may let them make an account. A server that makes none answers with a
// [stanza.Error], mostly item-not-found or service-unavailable.
func RequestInvitation(ctx context.Context, s confab.Requester) (Invitation, error) {
	return inviteCommand(ctx, s, nodeInvite, func(*form.Form) {})
}

// AccountOptions say what account is to be made.
type AccountOptions struct {
	// User is the name of the account; by default who is invited chooses it.
	User string
	// Subscribe makes the new account a contact of this one.
	Subscribe bool
}

// RequestAccountInvitation has the own server make an invitation to make an account
// there (XEP-0401 §5), which it mostly does for its operators only.
func RequestAccountInvitation(ctx context.Context, s confab.Requester, o AccountOptions) (Invitation, error) {
	return inviteCommand(ctx, s, nodeAccount, func(f *form.Form) {
		if o.User != "" {
			f.Set("username", o.User)
		}
		if f.Field("roster-subscription") != nil {
			f.SetBool("roster-subscription", o.Subscribe)
		}
	})
}

// maxSteps is how often a server may ask back.
const maxSteps = 4

// inviteCommand runs an ad-hoc command to its end, filling in the forms it asks.
func inviteCommand(ctx context.Context, s confab.Requester, node string, fill func(*form.Form)) (Invitation, error) {
	server := s.LocalAddr().Domain()
	cmd := confab.El(nsCommands, "command").Set("node", node).Set("action", "execute")
	for range maxSteps {
		var res confab.Element
		if err := confab.Do(ctx, s, stanza.IQ{Type: stanza.SetIQ, To: server}, cmd, &res); err != nil {
			return Invitation{}, err
		}
		if !res.Is(nsCommands, "command") {
			return Invitation{}, fmt.Errorf("roster: %s answered with <%s>", server, res.Name.Local)
		}
		f := form.Find(&res, "")
		switch res.Get("status") {
		case "completed":
			return invitationOf(f)
		case "executing":
		default:
			return Invitation{}, fmt.Errorf("roster: the command has status %q", res.Get("status"))
		}
		cmd = confab.El(nsCommands, "command").Set("node", node).Set("sessionid", res.Get("sessionid"))
		if f != nil {
			fill(f)
			a, err := f.Submit()
			if err != nil {
				return Invitation{}, err
			}
			cmd.Add(a.Element())
		}
	}
	return Invitation{}, errors.New("roster: the server keeps asking")
}

// invitationOf reads the result (XEP-0401 §4).
func invitationOf(f *form.Form) (Invitation, error) {
	if f == nil || f.Get("uri") == "" {
		return Invitation{}, errors.New("roster: the server's answer has no invitation")
	}
	i, err := ParseInvitation(f.Get("uri"))
	if err != nil {
		return i, err
	}
	i.LandingURL = f.Get("landing-url")
	if t, err := time.Parse(time.RFC3339Nano, f.Get("expire")); err == nil {
		i.Expires = t.UTC()
	}
	return i, nil
}

// announces asks an entity whether it has a feature (XEP-0030).
func announces(ctx context.Context, s confab.Requester, to jid.JID, feature string) (bool, error) {
	var info confab.Element
	err := confab.Do(ctx, s, stanza.IQ{Type: stanza.GetIQ, To: to}, confab.El(nsDisco, "query"), &info)
	if err != nil {
		return false, err
	}
	for f := range info.All(nsDisco, "feature") {
		if f.Get("var") == feature {
			return true, nil
		}
	}
	return false, nil
}
