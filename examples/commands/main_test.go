package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

func TestReminders(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		a, pw := s.Account(t)
		b := testclient.Up(t, testclient.Config(s, a, pw), func(c *client.Client) {
			require.NoError(t, serve(c, time.Millisecond))
		})
		who, pw := s.Account(t)
		var heard *testclient.Seen[*chat.Message]
		c := testclient.Up(t, testclient.Config(s, who, pw), func(c *client.Client) {
			chat.New(c, chat.Config{})
			heard = testclient.Watch[*chat.Message](c)
		})
		list, err := commands.List(ctx, c, b.LocalAddr())
		require.NoError(t, err)
		require.Len(t, list, 2)
		ask := func(text, minutes string) *commands.Dialog {
			d, err := commands.Execute(ctx, c, b.LocalAddr(), "remind")
			require.NoError(t, err)
			require.NotNil(t, d.Stage().Form)
			assert.Equal(t, "10", d.Stage().Form.Get("minutes"))
			require.NoError(t, d.Submit(ctx, d.Stage().Form.Set("text", text).Set("minutes", minutes)))
			return d
		}
		d := ask("tea", "0")
		assert.NotNil(t, d.Stage().Form, "such a form is asked for again")
		require.NoError(t, d.Submit(ctx, d.Stage().Form.Set("text", "tea").Set("minutes", "2")))
		assert.Equal(t, "In 2 minutes.", d.Stage().Notes[0].Text)
		assert.Equal(t, "Remember: tea", heard.Next(t, nil).Text)

		// Somebody else's, that takes its time.
		a, pw = s.Account(t)
		b = testclient.Up(t, testclient.Config(s, a, pw), func(c *client.Client) {
			require.NoError(t, serve(c, time.Hour))
		})
		for i := range most {
			assert.Equal(t, "In 1440 minutes.", ask(fmt.Sprint("later ", i), "1440").Stage().Notes[0].Text)
		}
		assert.Contains(t, ask("one more", "1440").Stage().Notes[0].Text, "too much")
		d, err = commands.Execute(ctx, c, b.LocalAddr(), "list")
		require.NoError(t, err)
		assert.Contains(t, d.Stage().Notes[0].Text, "1. later 0\n")
		assert.NotContains(t, d.Stage().Notes[0].Text, "one more")
	})
}
