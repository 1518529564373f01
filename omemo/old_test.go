package omemo_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// TestOldVersion: those who know version 1 only get all that it can carry, and what it
// cannot carry does not go out in clear.
func TestOldVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		var mu sync.Mutex
		var wire []*confab.Element
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On}, func(c *client.Client) {
			c.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
				mu.Lock()
				defer mu.Unlock()
				wire = append(wire, m.Stanza)
				return nil
			})
		})
		ctx, v := a.ctx, a.chats.With(b.bare())
		require.NoError(t, a.keys.Refresh(ctx, b.bare()))
		require.NoError(t, a.keys.OnlyV1(b.bare()))
		one, err := v.Send(ctx, "one")
		require.NoError(t, err)
		m := b.heard.Next(t, saying("one"))
		sealed(t, m.Message, omemo.NSv1)
		require.True(t, m.WantsReceipt, "receipts are asked for beside the text")
		_, err = v.Edit(ctx, one.ID, "one!")
		require.NoError(t, err)
		e := b.edits.Next(t, nil)
		require.Equal(t, one.ID, e.Replaces)
		require.Equal(t, "one!", e.Text)
		sealed(t, e.Message.Message, omemo.NSv1)
		_, err = b.chats.With(a.bare()).Send(ctx, "two")
		require.NoError(t, err)
		two := a.heard.Next(t, saying("two"))
		_, err = v.Reply(ctx, two, "three")
		require.NoError(t, err)
		r := b.heard.Next(t, saying("three"))
		require.Equal(t, two.ID, r.ReplyTo.ID)
		require.Equal(t, "two", r.Quote)
		_, err = v.React(ctx, two.ID, "👍")
		require.NoError(t, err)
		r = b.heard.Next(t, saying("👍"))
		require.Equal(t, two.ID, r.ReplyTo.ID)
		sealed(t, r.Message, omemo.NSv1)
		_, err = v.Retract(ctx, one.ID, "a secret reason")
		require.NoError(t, err)
		x := b.retracts.Next(t, nil)
		require.Equal(t, one.ID, x.ID)
		_, err = v.Send(ctx, "spoken", chat.WithSubject("about"))
		require.NoError(t, err)
		b.heard.Next(t, saying("about\n\nspoken"))

		// What is no text cannot be sent, and is not.
		_, err = a.SendMessage(ctx, confab.Draft{To: b.bare(), Type: stanza.ChatMessage, Extra: []any{confab.El("urn:example:secret", "secret").SetText("plans")}})
		require.ErrorIs(t, err, omemo.ErrOnlyText)
		_, err = v.React(ctx, two.ID)
		require.ErrorIs(t, err, omemo.ErrOnlyText)
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		for _, el := range wire {
			s := el.String()
			for _, secret := range []string{"one", "three", "👍", "secret reason", "spoken", "about", "plans"} {
				if el.Child(omemo.NSv1, "encrypted") != nil {
					require.NotContains(t, s, ">"+secret, s)
				}
			}
			require.NotContains(t, s, "secret reason")
		}
		require.NotEmpty(t, wire)
		require.Empty(t, b.dark.All())
	})
}
