package disco_test

import (
	"context"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestServer(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		var d *disco.Client
		c := testclient.Up(t, testclient.Config(account(t, s)), func(c *client.Client) { d = disco.New(c, disco.Config{}) })
		info, err := d.Server(ctx)
		require.NoError(t, err)
		_, ok := info.Identity("server", "im")
		assert.True(t, ok)
		assert.True(t, info.Has("urn:xmpp:ping"))
		info, err = d.Account(ctx)
		require.NoError(t, err)
		_, ok = info.Identity("account", "registered")
		assert.True(t, ok, "%+v", info)

		_, err = disco.GetInfo(ctx, c, jid.MustParse("nobody@"+s.Domain), "")
		var se stanza.Error
		require.ErrorAs(t, err, &se)

		services, err := d.Services(ctx)
		require.NoError(t, err)
		assert.Equal(t, s.Domain, services[0].JID.String())
		names := map[string]bool{}
		for _, sv := range services {
			names[sv.JID.String()] = true
		}
		if s.Absent != "" {
			assert.False(t, names[s.Absent])
		}
		for feature, name := range map[string]string{
			"http://jabber.org/protocol/muc": s.Rooms, "urn:xmpp:http:upload:0": s.Upload, "http://jabber.org/protocol/bytestreams": s.Proxy,
		} {
			if name == "" {
				continue
			}
			found, err := disco.Find(ctx, c, feature)
			require.NoError(t, err)
			var jids []string
			for _, sv := range found {
				jids = append(jids, sv.JID.String())
			}
			assert.Contains(t, jids, name)
		}
		if s.Rooms != "" {
			found, err := d.FindIdentity(ctx, "conference", "text")
			require.NoError(t, err)
			assert.NotEmpty(t, found)
			for _, err := range disco.Items(ctx, c, jid.MustParse(s.Rooms), "") {
				require.NoError(t, err)
			}
		}
	})
}

func account(t *testing.T, s *testbed.Server) (*testbed.Server, string, string) {
	address, password := s.Account(t)
	return s, address, password
}

// Another client of the account announces its hashes; they verify, and the nodes
// answer, also that of an answer which has changed since.
func TestContact(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		address, password := s.Account(t)
		var d *disco.Client
		got := make(chan *confab.Presence, 100)
		testclient.Up(t, testclient.Config(s, address, password), func(c *client.Client) {
			d = disco.New(c, disco.Config{})
			c.HandlePresence(func(_ context.Context, p *confab.Presence) error {
				got <- p
				return nil
			})
		})
		other := testclient.Up(t, testclient.Config(s, address, password), func(c *client.Client) { c.Advertise("urn:example:one") })
		next := func() *confab.Presence {
			for {
				select {
				case p := <-got:
					if p.From.Equal(other.LocalAddr()) && p.Type == "" {
						return p
					}
				case <-ctx.Done():
					t.Fatal("no presence came")
				}
			}
		}
		p := next()
		old := p.Stanza.Child("urn:xmpp:caps", "c").Child("urn:xmpp:hashes:2", "hash").Text
		require.NotEmpty(t, old)
		info, err := d.Info(ctx, other.LocalAddr())
		require.NoError(t, err)
		assert.True(t, info.Has("urn:example:one"))
		assert.True(t, info.Has("urn:xmpp:caps"))

		other.Advertise("urn:example:two")
		p = next()
		info, err = d.Info(ctx, other.LocalAddr())
		require.NoError(t, err)
		assert.True(t, info.Has("urn:example:two"))

		now := p.Stanza.Child("http://jabber.org/protocol/caps", "c")
		plain, err := disco.GetInfo(ctx, other, other.LocalAddr(), "")
		require.NoError(t, err)
		assert.Equal(t, c1(t, plain.Element()).Get("ver"), now.Get("ver"))
		assert.Equal(t, c2(t, plain.Element()).Children[0].Text, p.Stanza.Child("urn:xmpp:caps", "c").Child("urn:xmpp:hashes:2", "hash").Text)
		for node, two := range map[string]bool{
			"": true, now.Get("node") + "#" + now.Get("ver"): true,
			"urn:xmpp:caps#sha-256." + p.Stanza.Child("urn:xmpp:caps", "c").Child("urn:xmpp:hashes:2", "hash").Text: true,
			"urn:xmpp:caps#sha-256." + old: false,
		} {
			info, err := disco.GetInfo(ctx, other, other.LocalAddr(), node)
			require.NoError(t, err, node)
			assert.Equal(t, node, info.Node)
			assert.Equal(t, two, info.Has("urn:example:two"), node)
		}
		_, err = disco.GetInfo(ctx, other, other.LocalAddr(), "urn:xmpp:caps#sha-256.other")
		var se stanza.Error
		require.ErrorAs(t, err, &se)
		assert.Equal(t, stanza.ItemNotFound, se.Condition)
	})
}
