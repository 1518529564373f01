package register

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/stanza"
)

// maxToken bounds tokens, in bytes.
const maxToken = 1024

// Present shows the token of an invitation to its server, before [Fetch] (XEP-0445 §3).
// The error is [ErrToken] if the server does not take it.
func Present(ctx context.Context, s Stream, token string) error {
	if token == "" || len(token) > maxToken {
		return errors.New("register: the token of the invitation is empty, or too long")
	}
	_, err := s.Ask(ctx, request(s, "set", confab.El(nsPreauth, "preauth").Set("token", token)))
	var se stanza.Error
	if errors.As(err, &se) {
		if se.Condition == stanza.ServiceUnavailable || se.Condition == stanza.FeatureNotImplemented {
			return fmt.Errorf("%w: it takes no invitations: %w", ErrNotAllowed, err)
		}
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	return err
}
