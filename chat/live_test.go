package chat_test

import (
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestConversation is all that two people do to each other, one of them with two
// devices.
func TestConversation(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		cfg := chat.Config{Reveal: everybody}
		phone := signIn(t, testclient.Config(s, a, pw), cfg)
		desk := signIn(t, testclient.Config(s, a, pw), cfg)
		other := signIn(t, testclient.Config(s, b, pw2), cfg)
		ctx := phone.ctx
		there, here := phone.chats.With(other.bare()), other.chats.With(phone.bare())

		// Text, with a receipt; the other device gets a copy.
		sent, err := there.Send(ctx, "hello")
		require.NoError(t, err)
		m := other.heard.Next(t, saying("hello"))
		require.Contains(t, []confab.Source{confab.Live, confab.Offline}, m.Source)
		require.True(t, m.Chat.Equal(phone.bare()))
		require.NoError(t, sent.Wait(ctx, confab.Received))
		require.Equal(t, sent.ID, phone.receipts.Next(t, nil).ID)
		mine := phone.own.Next(t, nil)
		require.Equal(t, "hello", mine.Text)
		require.Same(t, sent, mine.Sent)
		copied := desk.own.Next(t, nil)
		require.Equal(t, "hello", copied.Text)
		require.Equal(t, confab.CarbonOut, copied.Source)
		require.True(t, copied.Chat.Equal(other.bare()))

		// An answer reaches both devices.
		_, err = here.Reply(ctx, m, "hello yourself")
		require.NoError(t, err)
		for _, p := range []*person{phone, desk} {
			r := p.heard.Next(t, saying("hello yourself"))
			require.Equal(t, sent.ID, r.ReplyTo.ID)
			require.Equal(t, "hello", r.Quote)
			require.False(t, r.Self)
		}

		// Typing.
		require.NoError(t, here.State(ctx, chat.Composing))
		e := phone.typing.Next(t, func(e chat.Typing) bool { return e.State == chat.Composing })
		require.True(t, e.Chat.Equal(other.bare()))

		// Edits, reactions, retractions; also of the other device.
		_, err = there.Edit(ctx, sent.ID, "good evening")
		require.NoError(t, err)
		ed := other.edits.Next(t, nil)
		require.Equal(t, sent.ID, ed.Replaces)
		require.Equal(t, "good evening", ed.Text)
		require.Equal(t, "good evening", desk.edits.Next(t, nil).Text)
		_, err = here.React(ctx, m.Ref(), "👋", "🐢")
		require.NoError(t, err)
		for _, p := range []*person{phone, desk} {
			r := p.reacts.Next(t, nil)
			require.Equal(t, sent.ID, r.ReactsTo)
			require.Equal(t, []string{"👋", "🐢"}, r.Reactions)
			require.Equal(t, other.bare().String(), r.Author)
		}
		_, err = desk.chats.With(other.bare()).Retract(ctx, sent.ID, "never mind")
		require.NoError(t, err)
		rt := other.retracts.Next(t, nil)
		require.Equal(t, sent.ID, rt.ID)
		require.Equal(t, "never mind", rt.Reason)
		require.Equal(t, phone.bare().String(), rt.Author)
		phone.retracts.Next(t, nil)

		// Markers, and the position for the other device.
		_, err = here.Send(ctx, "read this")
		require.NoError(t, err)
		last := phone.heard.Next(t, saying("read this"))
		require.NoError(t, phone.chats.With(other.bare()).MarkDisplayed(ctx, last))
		require.Equal(t, last.ID, other.shown.Next(t, func(e chat.Displayed) bool { return !e.Self }).ID)
		require.True(t, desk.shown.Next(t, nil).Self)
		require.Empty(t, phone.bad.All())
		require.Empty(t, desk.bad.All())
		require.Empty(t, other.bad.All())
		require.Empty(t, phone.heard.All(), "nothing came twice")
	})
}

// TestPositions: how far the user has read is the same on all devices (XEP-0490).
func TestPositions(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		phone := signIn(t, testclient.Config(s, a, pw), chat.Config{})
		desk := signIn(t, testclient.Config(s, a, pw), chat.Config{})
		other := signIn(t, testclient.Config(s, b, pw2), chat.Config{})
		ctx := phone.ctx
		none, err := phone.chats.Positions(ctx)
		require.NoError(t, err)
		require.Empty(t, none)
		_, err = other.chats.With(phone.bare()).Send(ctx, "one")
		require.NoError(t, err)
		m := phone.heard.Next(t, nil)
		id := m.ServerID
		if id == "" {
			id = "0f710f2b" // a server without an archive keeps positions all the same
		}
		require.NoError(t, phone.chats.SetPosition(ctx, chat.Position{Chat: other.bare(), By: phone.bare(), ID: id}))
		p := desk.places.Next(t, nil)
		require.True(t, p.Chat.Equal(other.bare()))
		require.Equal(t, id, p.ID)
		all, err := desk.chats.Positions(ctx)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, p, all[0])
	})
}

// TestStrangers: who may not know that the user is there does not learn it.
func TestStrangers(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		alice := signIn(t, testclient.Config(s, a, pw), chat.Config{})
		bob := signIn(t, testclient.Config(s, b, pw2), chat.Config{})
		ctx := alice.ctx
		// Alice has never written to Bob, and gives no receipt.
		_, err := bob.chats.With(alice.bare()).Send(ctx, "are you there?")
		require.NoError(t, err)
		m := alice.heard.Next(t, nil)
		require.NoError(t, alice.chats.With(bob.bare()).MarkDisplayed(ctx, m))
		// Then she does.
		_, err = alice.chats.With(bob.bare()).Send(ctx, "who asks?")
		require.NoError(t, err)
		bob.heard.Next(t, nil)
		second, err := bob.chats.With(alice.bare()).Send(ctx, "Bob")
		require.NoError(t, err)
		require.NoError(t, second.Wait(ctx, confab.Received))
		require.Equal(t, second.ID, bob.receipts.Next(t, nil).ID)
		require.Empty(t, bob.receipts.All(), "there was a receipt for the first message")
		require.Empty(t, bob.shown.All())
	})
}

// TestStickers: a pack is published by one and read by another, who verifies it.
func TestStickers(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		alice := signIn(t, testclient.Config(s, a, pw), chat.Config{})
		bob := signIn(t, testclient.Config(s, b, pw2), chat.Config{})
		ctx := alice.ctx
		one := chat.Sticker{Text: "👍", Type: "image/png", Size: 71045, Width: 512, Height: 512,
			Hashes: map[string]string{"sha-256": "0AdP8lJOWJrugSKOIAqfEKqFatIpG5JBCjjxY253ojQ="},
			URLs:   []string{"https://download.montague.lit/thumbs_up.png"}, Suggest: []string{"+1"}}
		two := one
		two.Text, two.Suggest = "😘", nil
		pack := chat.StickerPack{Name: "Marsey the Cat", Summary: "Be cute or be cynical", Stickers: []chat.Sticker{one, two}}
		id, err := chat.PublishStickers(ctx, alice, pack)
		require.NoError(t, err)
		pack.ID = id
		got, err := chat.Stickers(ctx, bob, alice.bare(), "", id)
		require.NoError(t, err)
		require.Equal(t, pack, got)
		_, err = chat.Stickers(ctx, bob, alice.bare(), "", "EpRv28DHHzFrE4zd+xaNpVb4")
		require.Error(t, err)
		// A pack that says to be another one is refused.
		own := pubsub.New(bob, jid.JID{})
		it, err := pubsub.New(bob, alice.bare()).Item(ctx, "urn:xmpp:stickers:0", id)
		require.NoError(t, err)
		forged := it.Payload.Clone()
		forged.Child("urn:xmpp:stickers:0", "name").SetText("Another")
		_, err = own.Publish(ctx, "urn:xmpp:stickers:0", pubsub.Item{ID: id, Payload: forged}, pubsub.Open())
		require.NoError(t, err)
		_, err = chat.Stickers(ctx, bob, jid.JID{}, "", id)
		require.ErrorIs(t, err, chat.ErrStickers)

		_, err = alice.chats.With(bob.bare()).Send(ctx, one.Text, chat.AsSticker(chat.StickerRef{Pack: id}, one))
		require.NoError(t, err)
		m := bob.heard.Next(t, nil)
		require.Equal(t, id, m.Sticker.Pack)
		require.Equal(t, one.Hashes, m.StickerFile.Hashes)
	})
}
