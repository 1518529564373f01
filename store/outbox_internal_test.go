package store

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// idle is a session that only counts what is started.
type idle struct {
	confab.Session
	started int
}

func (s *idle) Go(func(context.Context)) { s.started++ }

// TestForgedRooms has strangers play rooms: they fill no memory and start nothing.
func TestForgedRooms(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "store.db"))
	require.NoError(t, err)
	defer db.Close()
	s := &idle{}
	o := &Outbox{Session: s, d: db, account: "romeo@confab.test", active: map[string]bool{}, in: map[string]bool{}}
	b, keep, err := encodeDraft(confab.Draft{To: jid.MustParse("garden@rooms.confab.test"), Type: stanza.GroupChatMessage, ID: "1", Body: "left"})
	require.NoError(t, err)
	require.True(t, keep)
	require.NoError(t, db.update(t.Context(), func(c conn) error {
		return exec(t.Context(), c, "INSERT INTO outbox (account, id, draft, at) VALUES (?, '1', ?, 1)", o.account, string(b))
	}))
	require.NoError(t, o.expect(t.Context(), true))

	enters := func(from string, typ stanza.PresenceType) {
		x := confab.El(nsMUCUser, "x", confab.El(nsMUCUser, "status").Set("code", "110"))
		p := &confab.Presence{}
		p.From, p.Type = jid.MustParse(from), typ
		p.Stanza = confab.El("jabber:client", "presence", x)
		require.NoError(t, o.entered(t.Context(), p))
	}
	for i := range 1000 {
		enters(fmt.Sprintf("room%d@mallory.test/me", i), "")
	}
	require.Empty(t, o.in)
	require.Zero(t, s.started)
	enters("garden@rooms.confab.test/me", "")
	require.Len(t, o.in, 1)
	require.Equal(t, 1, s.started)
	enters("garden@rooms.confab.test/me", "")
	require.Equal(t, 1, s.started, "entered once")
	enters("garden@rooms.confab.test/me", stanza.UnavailablePresence)
	require.Empty(t, o.in)
}

// TestRefused: an archive that cannot answer now is asked again; one that does not answer
// at all is not waited for.
func TestRefused(t *testing.T) {
	for want, list := range map[bool][]error{
		true: {
			stanza.Error{Type: stanza.Cancel, Condition: stanza.FeatureNotImplemented},
			stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable},
			fmt.Errorf("asked: %w", stanza.Error{Type: stanza.Auth, Condition: stanza.Forbidden}),
		},
		false: {
			nil,
			confab.ErrLost,
			stanza.Error{Type: stanza.Wait, Condition: stanza.ServiceUnavailable},
			stanza.Error{Type: stanza.Cancel, Condition: stanza.InternalServerError},
			stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerTimeout},
			stanza.Error{Type: stanza.Cancel, Condition: stanza.ResourceConstraint},
		},
	} {
		for _, err := range list {
			require.Equal(t, want, refused(err), "%v", err)
		}
	}
}
