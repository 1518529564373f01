package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

type guest struct {
	room     *muc.Room
	heard    *testclient.Seen[*muc.Message]
	changes  *testclient.Seen[muc.Change]
	out      *testclient.Seen[muc.State]
	retracts *testclient.Seen[muc.Retracted]
}

func join(t *testing.T, s *testbed.Server, room jid.JID, nick string, opts ...muc.JoinOption) *guest {
	a, pw := s.Account(t)
	g := &guest{}
	var rooms *muc.Client
	testclient.Up(t, testclient.Config(s, a, pw), func(c *client.Client) {
		rooms = muc.New(c, muc.Config{})
		g.retracts = testclient.Watch[muc.Retracted](c)
		g.heard, g.changes, g.out = testclient.Watch[*muc.Message](c), testclient.Watch[muc.Change](c), testclient.Watch[muc.State](c)
	})
	var err error
	g.room, err = rooms.Join(testclient.Context(t), room, nick, opts...)
	require.NoError(t, err)
	return g
}

func saying(part string) func(*muc.Message) bool {
	return func(m *muc.Message) bool { return strings.Contains(m.Text, part) && m.Nick == "keeper" }
}

func TestBot(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		room := jid.MustParse("roombot-" + jid.MustParse(a).Localpart() + "@" + s.Rooms)
		owner := join(t, s, room, "owner", muc.Create(muc.PublicChannel("The Heath")))
		ctx := testclient.Context(t)
		require.NoError(t, owner.room.SetAffiliation(ctx, jid.MustParse(a), muc.Admin, ""))
		db, err := store.Open(filepath.Join(t.TempDir(), "bot.db"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		run := func() *testclient.Client {
			return testclient.Up(t, testclient.Config(s, a, pw), func(c *client.Client) { newBot(c, db, "keeper", 10*time.Millisecond, room.String()) })
		}
		bot := run()
		entered := func(c muc.Change) bool { return c.Kind == muc.Entered && c.Occupant.Nick == "keeper" }
		owner.changes.Next(t, entered)

		witch := join(t, s, room, "witch")
		owner.heard.Next(t, saying("witch: welcome"))
		_, err = witch.room.Send(ctx, "!who")
		require.NoError(t, err)
		owner.heard.Next(t, saying("3 of us"))
		_, err = witch.room.Send(ctx, "!topic hers")
		require.NoError(t, err)
		_, err = owner.room.Send(ctx, "!topic When shall we three meet again?")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return witch.room.Subject().Text == "When shall we three meet again?" }, testclient.Patience, time.Millisecond)

		// Kicked, it comes back.
		require.NoError(t, owner.room.Kick(ctx, "keeper", "to see"))
		owner.changes.Next(t, entered)

		t.Run("restart", func(t *testing.T) {
			info := owner.room.Info()
			if !info.Info.Has("urn:xmpp:mam:2") || !info.Moderation {
				s.Skip(t, "archives and moderation of rooms")
			}
			bot.Stop(t)
			for range 4 {
				_, err := witch.room.Send(ctx, "buy cauldrons")
				require.NoError(t, err)
			}
			for range 4 {
				owner.heard.Next(t, func(m *muc.Message) bool { return m.Text == "buy cauldrons" })
			}
			bot = run()
			owner.retracts.Next(t, nil)
		})

		// Spam is removed, and so is who has sent it.
		for range 4 {
			_, err = witch.room.Send(ctx, "buy brooms")
			require.NoError(t, err)
		}
		require.Equal(t, muc.Out, witch.out.Next(t, func(st muc.State) bool { return st.Status == muc.Out }).Status)
		_, ok := owner.room.Occupant("owner")
		require.True(t, ok)
	})
}
