package pubsub_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

const nsMood = "urn:example:mood"

func mood(text string) *confab.Element { return confab.El(nsMood, "mood").SetText(text) }

// account signs in to a new account, which collects its events.
func account(t *testing.T, s *testbed.Server, setup ...func(*client.Client)) (*testclient.Client, *testclient.Seen[*pubsub.Event]) {
	t.Helper()
	address, password := s.Account(t)
	var seen *testclient.Seen[*pubsub.Event]
	setup = append(setup, func(c *client.Client) {
		pubsub.Events(c, nil)
		seen = testclient.Watch[*pubsub.Event](c)
	})
	return testclient.Up(t, testclient.Config(s, address, password), setup...), seen
}

// admin signs in to the account that may make nodes at Prosody's component.
func admin(t *testing.T, s *testbed.Server) *testclient.Client {
	t.Helper()
	return testclient.Up(t, testclient.Config(s, s.NamedAccount(t, "admin", "a secret of the tests"), "a secret of the tests"))
}

func bare(c *testclient.Client) jid.JID { return c.LocalAddr().Bare() }

// befriend lets two accounts see each other's presence.
func befriend(t *testing.T, a, b *testclient.Client) {
	t.Helper()
	ctx := testclient.Context(t)
	send := func(from, to *testclient.Client, typ string) {
		require.NoError(t, from.SendElement(ctx, confab.El(confab.NSClient, "presence").Set("to", bare(to).String()).Set("type", typ)))
	}
	heard := func(c *testclient.Client) *testclient.Seen[*confab.Presence] {
		return testclient.Watch[*confab.Presence](c)
	}
	atA, atB := heard(a), heard(b)
	from := func(c *testclient.Client, typ string) func(*confab.Presence) bool {
		return func(p *confab.Presence) bool { return p.From.Bare().Equal(bare(c)) && string(p.Type) == typ }
	}
	send(a, b, "subscribe")
	atB.Next(t, from(a, "subscribe"))
	send(b, a, "subscribed")
	send(b, a, "subscribe")
	atA.Next(t, from(b, ""))
	atA.Next(t, from(b, "subscribe"))
	send(a, b, "subscribed")
	atB.Next(t, from(a, ""))
}

func collect(ctx context.Context, s pubsub.Service, node string) (ids []string, err error) {
	for it, e := range s.Items(ctx, node) {
		if e != nil {
			return ids, e
		}
		ids = append(ids, it.ID)
	}
	return ids, nil
}

func skipUnsupported(t *testing.T, s *testbed.Server, err error, what string) {
	t.Helper()
	if errors.Is(err, pubsub.ErrUnsupported) {
		s.Skip(t, what)
	}
}
