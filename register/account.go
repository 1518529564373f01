package register

import (
	"context"
	"errors"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// ChangePassword changes the password of the account that is signed in (XEP-0077 §3.3).
// The session stays; sign-ins that follow need the new password.
func ChangePassword(ctx context.Context, s confab.Requester, password string) error {
	if password == "" {
		return errors.New("register: the new password is empty")
	}
	own := s.LocalAddr()
	q := confab.El(NS, "query", confab.El(NS, "username").SetText(own.Localpart()), confab.El(NS, "password").SetText(password))
	err := confab.Do(ctx, s, stanza.IQ{Type: stanza.SetIQ, To: own.Domain()}, q, nil)
	if err != nil {
		return explain(err, false)
	}
	return nil
}

// Delete deletes the account that is signed in, for good (XEP-0077 §3.2). The server ends
// the session afterwards, or at once: that the link is lost before an answer is no error.
// Run of a client.Client then ends with an error such as the stream's not-authorized.
func Delete(ctx context.Context, s confab.Requester) error {
	err := confab.Do(ctx, s, stanza.IQ{Type: stanza.SetIQ, To: s.LocalAddr().Domain()}, confab.El(NS, "query", confab.El(NS, "remove")), nil)
	if errors.Is(err, confab.ErrLost) || errors.Is(err, confab.ErrClosed) {
		return nil
	}
	if err != nil {
		return explain(err, false)
	}
	return nil
}

// Server is what a server says of itself.
type Server struct {
	// Contacts are addresses to write to, as URIs such as mailto: and xmpp:, by what
	// they are for: abuse, admin, feedback, sales, security, status, support
	// (XEP-0157).
	Contacts map[string][]string
	// Policy says what it does with data (XEP-0504); nil if it does not say.
	Policy *form.Form
}

// maxContacts bounds the addresses for one purpose that are taken.
const maxContacts = 100

// About asks a server about itself.
func About(ctx context.Context, s confab.Requester, server jid.JID) (Server, error) {
	const nsInfo = "http://jabber.org/protocol/disco#info"
	var el confab.Element
	if err := confab.Do(ctx, s, stanza.IQ{Type: stanza.GetIQ, To: server}, confab.El(nsInfo, "query"), &el); err != nil {
		return Server{}, err
	}
	info := Server{Contacts: map[string][]string{}, Policy: form.Find(&el, "urn:xmpp:data-policy:0")}
	if f := form.Find(&el, "http://jabber.org/network/serverinfo"); f != nil {
		for _, fd := range f.Fields {
			if what, ok := strings.CutSuffix(fd.Var, "-addresses"); ok && len(fd.Values) > 0 {
				info.Contacts[what] = fd.Values[:min(len(fd.Values), maxContacts)]
			}
		}
	}
	return info, nil
}
