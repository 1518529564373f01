package chat_test

import (
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/require"
)

// TestSlixmpp chats with slixmpp in both directions.
func TestSlixmpp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		cfg := chat.Config{Reveal: everybody}
		phone := signIn(t, testclient.Config(s, a, pw), cfg)
		desk := signIn(t, testclient.Config(s, a, pw), cfg)
		ctx := phone.ctx
		peer := testclient.StartSlixmpp(t, s, b, pw2)
		v := phone.chats.With(mustParse(b))
		own := phone.bare().String()

		// From us.
		sent, err := v.Send(ctx, "hello, slixmpp")
		require.NoError(t, err)
		got := peer.Expect("message")
		require.Equal(t, "hello, slixmpp", got["body"])
		require.Equal(t, sent.ID, got["id"])
		require.NoError(t, sent.Wait(ctx, confab.Received), "slixmpp gives a receipt")
		require.Equal(t, "hello, slixmpp", desk.own.Next(t, nil).Text)
		require.NoError(t, v.State(ctx, chat.Composing))
		peer.Expect("composing")
		_, err = v.Edit(ctx, sent.ID, "hello, Slixmpp")
		require.NoError(t, err)
		got = peer.Expect("edit")
		require.Equal(t, "hello, Slixmpp", got["body"])
		require.Equal(t, sent.ID, got["id"])

		// To us, on both devices.
		peer.Do("composing", own)
		require.Equal(t, chat.Composing, phone.typing.Next(t, func(e chat.Typing) bool { return e.State == chat.Composing }).State)
		peer.Do("send", own, "slix-1", "hello, confab")
		for _, p := range []*person{phone, desk} {
			m := p.heard.Next(t, saying("hello, confab"))
			require.Equal(t, "slix-1", m.ID)
		}
		require.Equal(t, "slix-1", peer.Expect("receipt")["id"])
		peer.Do("edit", own, "slix-1", "hello, Confab")
		for _, p := range []*person{phone, desk} {
			e := p.edits.Next(t, func(e chat.Edited) bool { return !e.Self })
			require.Equal(t, "slix-1", e.Replaces)
			require.Equal(t, "hello, Confab", e.Text)
		}
		peer.Do("react", own, sent.ID, "👋", "🐢")
		for _, p := range []*person{phone, desk} {
			r := p.reacts.Next(t, nil)
			require.Equal(t, sent.ID, r.ReactsTo)
			require.ElementsMatch(t, []string{"👋", "🐢"}, r.Reactions)
		}
		_, err = v.React(ctx, "slix-1", "❤️")
		require.NoError(t, err)
		got = peer.Expect("reactions")
		require.Equal(t, "slix-1", got["id"])
		require.Equal(t, []any{"❤️"}, got["values"])

		// What the second device says is copied, too.
		_, err = desk.chats.With(mustParse(b)).Send(ctx, "from the desk")
		require.NoError(t, err)
		require.Equal(t, "from the desk", peer.Expect("message")["body"])
		require.Equal(t, "from the desk", phone.own.Next(t, func(o chat.OwnMessage) bool { return o.Source == confab.CarbonOut }).Text)
	})
}
