package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// person is a client that keeps everything in one file.
type person struct {
	*testclient.Client
	db    *store.DB
	h     *store.History
	chats *chat.Client
	rooms *muc.Client
	own   *testclient.Seen[muc.OwnMessage]
	heard *testclient.Seen[*chat.Message]
	inn   *testclient.Seen[*muc.Message]
}

func signIn(t *testing.T, cfg client.Config, path string, mode omemo.Mode) *person {
	t.Helper()
	p := &person{db: open(t, path)}
	cfg.Store = p.db
	p.Client = testclient.Up(t, cfg, func(c *client.Client) {
		p.h = p.db.History(c.LocalAddr())
		p.h.Follow(c)
		p.chats = chat.New(c, chat.Config{})
		archives := mam.New(c, mam.Config{Store: p.db})
		p.rooms = muc.New(c, muc.Config{Archives: archives})
		if mode != omemo.Off {
			_, err := omemo.New(c, omemo.Config{Store: p.db.Keys(), Mode: mode})
			require.NoError(t, err)
		}
		p.own, p.heard, p.inn = testclient.Watch[muc.OwnMessage](c), testclient.Watch[*chat.Message](c), testclient.Watch[*muc.Message](c)
	})
	return p
}

// texts shows a conversation of the file.
func (p *person) texts(t *testing.T, with jid.JID) (all []string) {
	t.Helper()
	es, err := p.h.Entries(t.Context(), with, store.Page{Limit: 1000})
	require.NoError(t, err)
	for _, e := range es {
		s := e.Current.Text
		if e.Retracted {
			s = "-"
		}
		for _, r := range e.Reactions {
			s += " " + strings.Join(r, "")
		}
		if e.Message.Seal != nil {
			s += " (sealed)"
		}
		all = append(all, s)
	}
	return all
}

func (p *person) wait(t *testing.T, with jid.JID, want ...string) {
	t.Helper()
	if !testclient.Eventually(func() bool { return fmt.Sprint(p.texts(t, with)) == fmt.Sprint(want) }) {
		require.Equal(t, want, p.texts(t, with))
	}
}

// TestConversation: what two people say, correct, take back and react to is in their files
// as it is said, also after a restart, and what was said meanwhile; in clear and encrypted.
func TestConversation(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		for _, mode := range []omemo.Mode{omemo.Off, omemo.Required} {
			t.Run(fmt.Sprint("mode ", mode), func(t *testing.T) {
				ctx := testclient.Context(t)
				a, pw := s.Account(t)
				b, pw2 := s.Account(t)
				dir := t.TempDir()
				alice := signIn(t, testclient.Config(s, a, pw), filepath.Join(dir, "alice.db"), mode)
				bob := signIn(t, testclient.Config(s, b, pw2), filepath.Join(dir, "bob.db"), mode)
				aj, bj := alice.LocalAddr().Bare(), bob.LocalAddr().Bare()
				seal := ""
				if mode == omemo.Required {
					seal = " (sealed)"
				}
				say := func(p *person, to jid.JID, text string) string {
					t.Helper()
					sent, err := p.chats.With(to).Send(ctx, text)
					require.NoError(t, err)
					return sent.ID
				}
				one := say(alice, bj, "one")
				bob.wait(t, aj, "one"+seal)
				two := say(bob, aj, "two")
				alice.wait(t, bj, "one"+seal, "two"+seal)
				_, err := alice.chats.With(bj).Edit(ctx, one, "One!")
				require.NoError(t, err)
				_, err = bob.chats.With(aj).React(ctx, one, "+")
				require.NoError(t, err)
				alice.wait(t, bj, "One! +"+seal, "two"+seal)
				bob.wait(t, aj, "One! +"+seal, "two"+seal)
				_, err = bob.chats.With(aj).Retract(ctx, two, "")
				require.NoError(t, err)
				alice.wait(t, bj, "One! +"+seal, "-"+seal)

				alice.Stop(t)
				require.NoError(t, alice.db.Close())
				say(bob, aj, "three")
				bob.wait(t, aj, "One! +"+seal, "-"+seal, "three"+seal)
				alice = signIn(t, testclient.Config(s, a, pw), filepath.Join(dir, "alice.db"), mode)
				alice.wait(t, bj, "One! +"+seal, "-"+seal, "three"+seal)
				list, err := alice.h.Conversations(ctx, 0)
				require.NoError(t, err)
				require.Len(t, list, 1)
				require.Equal(t, 1, list[0].Unread)
				found, err := alice.h.Search(ctx, store.Search{Text: "thre"})
				require.NoError(t, err)
				require.Len(t, found, 1)
			})
		}
	})
}

// TestRoomHistory: rooms are conversations like others.
func TestRoomHistory(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		if s.Rooms == "" {
			s.Skip(t, "rooms")
		}
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		dir := t.TempDir()
		alice := signIn(t, testclient.Config(s, a, pw), filepath.Join(dir, "alice.db"), omemo.Off)
		bob := signIn(t, testclient.Config(s, b, pw2), filepath.Join(dir, "bob.db"), omemo.Off)
		room := jid.MustParse("hall" + strings.ToLower(confab.NewID()) + "@" + s.Rooms)
		in, err := alice.rooms.Join(ctx, room, "alice", muc.Create(muc.PublicChannel("Hall")))
		require.NoError(t, err)
		if !in.Info().Info.Has(mam.NS) {
			s.Skip(t, "archives of rooms")
		}
		its, err := bob.rooms.Join(ctx, room, "bob")
		require.NoError(t, err)
		_, err = in.Send(ctx, "one")
		require.NoError(t, err)
		said := alice.own.Next(t, nil)
		_, err = its.Send(ctx, "two")
		require.NoError(t, err)
		alice.wait(t, room, "one", "two")
		bob.wait(t, room, "one", "two")
		_, err = in.Edit(ctx, said.ID, "One!")
		require.NoError(t, err)
		_, err = its.React(ctx, said.Ref(), "+")
		require.NoError(t, err)
		alice.wait(t, room, "One! +", "two")
		bob.wait(t, room, "One! +", "two")
		bob.Stop(t)
		require.NoError(t, bob.db.Close())
		_, err = in.Send(ctx, "three")
		require.NoError(t, err)
		alice.wait(t, room, "One! +", "two", "three")
		bob = signIn(t, testclient.Config(s, b, pw2), filepath.Join(dir, "bob.db"), omemo.Off)
		_, err = bob.rooms.Join(ctx, room, "bob")
		require.NoError(t, err)
		bob.wait(t, room, "One! +", "two", "three")
	})
}
