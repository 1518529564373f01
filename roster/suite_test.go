package roster_test

import (
	"os"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/roster"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

// device is a client with everything of this package on it.
type device struct {
	*testclient.Client
	r        *roster.Roster
	b        *roster.Blocklist
	added    *testclient.Seen[roster.Added]
	changed  *testclient.Seen[roster.Changed]
	removed  *testclient.Seen[roster.Removed]
	requests *testclient.Seen[roster.Request]
	answers  *testclient.Seen[roster.Answered]
	presence *testclient.Seen[roster.PresenceChanged]
	blocks   *testclient.Seen[roster.BlocklistChanged]
	moved    *testclient.Seen[roster.Moved]
	nicks    *testclient.Seen[roster.NickChanged]
	bad      *testclient.Seen[confab.BadStanza]
}

func prepare(t testing.TB, cfg roster.Config) (*device, func(*client.Client)) {
	d := &device{}
	return d, func(c *client.Client) {
		var err error
		d.r, err = roster.New(c, cfg)
		require.NoError(t, err)
		d.b, err = roster.NewBlocklist(c)
		require.NoError(t, err)
		roster.WatchNicks(c)
		d.added, d.changed, d.removed = testclient.Watch[roster.Added](c), testclient.Watch[roster.Changed](c), testclient.Watch[roster.Removed](c)
		d.requests, d.answers = testclient.Watch[roster.Request](c), testclient.Watch[roster.Answered](c)
		d.presence, d.blocks = testclient.Watch[roster.PresenceChanged](c), testclient.Watch[roster.BlocklistChanged](c)
		d.moved, d.nicks = testclient.Watch[roster.Moved](c), testclient.Watch[roster.NickChanged](c)
		d.bad = testclient.Watch[confab.BadStanza](c)
	}
}

// signIn signs in a device.
func signIn(t testing.TB, ccfg client.Config, cfg roster.Config) *device {
	t.Helper()
	d, setup := prepare(t, cfg)
	d.Client = testclient.Up(t, ccfg, setup)
	// The server has taken its presence: now it is there for others.
	d.presence.Next(t, func(e roster.PresenceChanged) bool { return e.JID.Equal(d.LocalAddr()) })
	return d
}

// account signs in to a new account. The configuration is for more devices.
func account(t testing.TB, s *testbed.Server, cfg roster.Config) (*device, client.Config) {
	t.Helper()
	address, password := s.Account(t)
	c := testclient.Config(s, address, password)
	return signIn(t, c, cfg), c
}

func (d *device) addr() jid.JID { return d.LocalAddr().Bare() }

// from accepts what is about a bare address.
func from[T any](j jid.JID, of func(T) jid.JID, more ...func(T) bool) func(T) bool {
	return func(e T) bool {
		if !of(e).Bare().Equal(j.Bare()) {
			return false
		}
		for _, f := range more {
			if !f(e) {
				return false
			}
		}
		return true
	}
}

func ofRequest(e roster.Request) jid.JID          { return e.From }
func ofAnswer(e roster.Answered) jid.JID          { return e.From }
func ofPresence(e roster.PresenceChanged) jid.JID { return e.JID }
func ofAdded(e roster.Added) jid.JID              { return e.Contact.JID }
func ofChanged(e roster.Changed) jid.JID          { return e.New.JID }
func ofRemoved(e roster.Removed) jid.JID          { return e.Contact.JID }
func ofNick(e roster.NickChanged) jid.JID         { return e.JID }
func there(e roster.PresenceChanged) bool         { return e.New.Available }
func gone(e roster.PresenceChanged) bool          { return !e.New.Available }
func becomes(s roster.Subscription) func(roster.Changed) bool {
	return func(e roster.Changed) bool { return e.New.Subscription == s }
}

// befriend makes contacts of two accounts.
func befriend(t testing.TB, a, b *device) {
	t.Helper()
	ctx := testclient.Context(t)
	require.NoError(t, a.r.Subscribe(ctx, b.addr()))
	b.requests.Next(t, from(a.addr(), ofRequest))
	require.NoError(t, b.r.Accept(ctx, a.addr()))
	require.NoError(t, b.r.Subscribe(ctx, a.addr()))
	a.requests.Next(t, from(b.addr(), ofRequest))
	require.NoError(t, a.r.Accept(ctx, b.addr()))
	a.changed.Next(t, from(b.addr(), ofChanged, becomes(roster.Both)))
	b.changed.Next(t, from(a.addr(), ofChanged, becomes(roster.Both)))
	a.presence.Next(t, from(b.addr(), ofPresence, there))
	b.presence.Next(t, from(a.addr(), ofPresence, there))
}
