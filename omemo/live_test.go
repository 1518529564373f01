package omemo_test

import (
	"testing"

	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/stretchr/testify/require"
)

// TestChat: two people, one of them with two devices, talk.
func TestChat(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		phone := signIn(t, testclient.Config(s, a, pw), omemo.Config{})
		desk := signIn(t, testclient.Config(s, a, pw), omemo.Config{})
		juliet := signIn(t, testclient.Config(s, b, pw2), omemo.Config{})
		ctx := phone.ctx
		require.NoError(t, phone.keys.SetMode(ctx, juliet.bare(), omemo.On))
		require.NoError(t, juliet.keys.SetMode(ctx, phone.bare(), omemo.On))

		sent, err := phone.chats.With(juliet.bare()).Send(ctx, "hello")
		require.NoError(t, err)
		require.NotNil(t, sent.Seal)
		m := juliet.heard.Next(t, saying("hello"))
		sealed(t, m.Message, omemo.NSv2)
		o := desk.own.Next(t, ownSaying("hello"))
		sealed(t, o.Message.Message, omemo.NSv2)
		_, err = juliet.chats.With(phone.bare()).Reply(ctx, m, "and hello to you")
		require.NoError(t, err)
		for _, p := range []*person{phone, desk} {
			r := p.heard.Next(t, saying("and hello to you"))
			sealed(t, r.Message, omemo.NSv2)
			require.NotNil(t, r.ReplyTo)
			require.Equal(t, sent.ID, r.ReplyTo.ID)
			require.Nil(t, r.Stanza.Child(omemo.NSv2, "encrypted"))
		}
		_, err = phone.chats.With(juliet.bare()).Edit(ctx, sent.ID, "hello, Juliet")
		require.NoError(t, err)
		e := juliet.edits.Next(t, nil)
		require.Equal(t, "hello, Juliet", e.Text)
		sealed(t, e.Message.Message, omemo.NSv2)
		_, err = juliet.chats.With(phone.bare()).React(ctx, sent.ID, "❤️")
		require.NoError(t, err)
		r := phone.reacts.Next(t, nil)
		require.Equal(t, []string{"❤️"}, r.Reactions)
		sealed(t, r.Message.Message, omemo.NSv2)
		_, err = phone.chats.With(juliet.bare()).Retract(ctx, sent.ID, "a mistake")
		require.NoError(t, err)
		x := juliet.retracts.Next(t, nil)
		require.Equal(t, sent.ID, x.ID)
		require.Equal(t, "a mistake", x.Reason)
		for _, p := range []*person{phone, desk, juliet} {
			require.Empty(t, p.dark.All())
			require.Empty(t, p.failed.All())
		}
	})
}
