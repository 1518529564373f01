package chat

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/stanza"
)

// errForged is the reason of [confab.BadStanza] for carbons that nobody but the own
// server may send.
var errForged = errors.New("chat: a carbon that is not from the own account")

// unwrap replaces a carbon by the message that it carries (XEP-0280).
func (c *Client) unwrap(_ context.Context, m *confab.Message) error {
	var env *confab.Element
	for _, el := range m.Stanza.Children {
		if el.Name.Space == nsCarbons && (el.Name.Local == "received" || el.Name.Local == "sent") {
			env = el
			break
		}
	}
	if env == nil {
		return nil
	}
	own := c.s.LocalAddr().Bare()
	if m.Source != confab.Live || !m.From.Equal(own) {
		c.s.Emit(confab.BadStanza{Stanza: m.Stanza, Err: errForged})
		return confab.ErrConsumed
	}
	inner, err := c.s.DecodeMessage(env.Child(nsForward, "forwarded").Child(confab.NSClient, "message"))
	if err != nil {
		c.s.Emit(confab.BadStanza{Stanza: m.Stanza, Err: fmt.Errorf("chat: a carbon: %w", err)})
		return confab.ErrConsumed
	}
	out := env.Name.Local == "sent"
	mine := inner.To.Bare()
	if out {
		mine = inner.From.Bare()
	}
	if !mine.Equal(own) {
		c.s.Emit(confab.BadStanza{Stanza: m.Stanza, Err: errForged})
		return confab.ErrConsumed
	}
	inner.Source, inner.By = confab.CarbonIn, own
	if out {
		inner.Source = confab.CarbonOut
	}
	inner.Received = m.Received
	*m = *inner
	if m.Type == stanza.ErrorMessage {
		return confab.ErrConsumed // somebody else's failure to deliver
	}
	return nil
}

// enableCarbons asks for copies. Servers that have none are left alone.
func (c *Client) enableCarbons(ctx context.Context) error {
	err := confab.Do(ctx, c.s, stanza.IQ{Type: stanza.SetIQ}, confab.El(nsCarbons, "enable"), nil)
	var se stanza.Error
	if errors.As(err, &se) {
		switch se.Condition {
		case stanza.ServiceUnavailable, stanza.FeatureNotImplemented, stanza.Forbidden, stanza.NotAllowed:
			return nil
		}
	}
	return err
}
