package roster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// A Reason says why somebody is reported (XEP-0377 §3).
type Reason string

// The reasons.
const (
	// Spam is for unwanted messages.
	Spam Reason = "urn:xmpp:reporting:spam"
	// Abuse is for everything else that should not be.
	Abuse Reason = "urn:xmpp:reporting:abuse"
)

// A StanzaID names a message that the archive By has under ID (XEP-0359), see
// [confab.Message.StanzaID].
type StanzaID struct {
	By jid.JID
	ID string
}

// A Report tells the server's operators about somebody (XEP-0377).
type Report struct {
	// JID is who is reported, and blocked.
	JID    jid.JID
	Reason Reason
	// Text explains, in the language Lang (such as "en"; empty if not known).
	Text, Lang string
	// Messages are those that it is about.
	Messages []StanzaID
	// ToOrigin and ToThirdParties allow the server to pass the report on: to the
	// server of who is reported, and to others such as makers of block lists.
	ToOrigin, ToThirdParties bool
}

// ErrNoReporting is returned if the server takes no reports.
var ErrNoReporting = errors.New("roster: this server takes no reports (" + nsReporting + ")")

// Report blocks those who are reported, and reports them. If the server takes no
// reports it returns [ErrNoReporting] and nobody is blocked.
func (b *Blocklist) Report(ctx context.Context, reports ...Report) error {
	el := confab.El(nsBlocking, "block")
	var jids []jid.JID
	for i := range reports {
		rep, err := reports[i].element()
		if err != nil {
			return err
		}
		jids = append(jids, reports[i].JID)
		el.Add(confab.El(nsBlocking, "item", rep).Set("jid", reports[i].JID.String()))
	}
	if err := check(jids); err != nil {
		return err
	}
	b.mu.Lock()
	known := b.reporting
	b.mu.Unlock()
	if !known {
		yes, err := announces(ctx, b.s, b.s.LocalAddr().Domain(), nsReporting)
		if err != nil {
			return fmt.Errorf("roster: does the server take reports? %w", err)
		}
		if !yes {
			return ErrNoReporting
		}
		b.mu.Lock()
		b.reporting = true
		b.mu.Unlock()
	}
	return b.send(ctx, el, blockPush{jids: jids, block: true})
}

func (r *Report) element() (*confab.Element, error) {
	if r.Reason == "" {
		return nil, errors.New("roster: a report needs a reason: Spam or Abuse")
	}
	el := confab.El(nsReporting, "report").Set("reason", string(r.Reason))
	for _, m := range r.Messages {
		if m.ID == "" || m.By.Equal(jid.JID{}) {
			return nil, errors.New("roster: a message that is reported needs the id of an archive and the archive's address")
		}
		el.Add(confab.El(nsSID, "stanza-id").Set("by", m.By.String()).Set("id", m.ID))
	}
	if r.Text != "" {
		t := confab.El(nsReporting, "text").SetText(r.Text)
		if r.Lang != "" {
			t.Attr = append(t.Attr, xml.Attr{Name: xml.Name{Space: nsXML, Local: "lang"}, Value: r.Lang})
		}
		el.Add(t)
	}
	if r.ToOrigin {
		el.Add(confab.El(nsReporting, "report-origin"))
	}
	if r.ToThirdParties {
		el.Add(confab.El(nsReporting, "third-party"))
	}
	return el, nil
}
