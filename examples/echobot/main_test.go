package main

import (
	"os"
	"testing"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

func TestEcho(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		bot := testclient.Up(t, testclient.Config(s, a, pw), func(c *client.Client) { echo(c) })
		b, pw := s.Account(t)
		var chats *chat.Client
		var heard *testclient.Seen[*chat.Message]
		testclient.Up(t, testclient.Config(s, b, pw), func(c *client.Client) {
			chats, heard = chat.New(c, chat.Config{}), testclient.Watch[*chat.Message](c)
		})
		for _, text := range []string{"> not this", "Double, double", "toil & trouble"} {
			_, err := chats.With(bot.LocalAddr().Bare()).Send(testclient.Context(t), text)
			require.NoError(t, err)
		}
		require.Equal(t, "> Double, double", heard.Next(t, nil).Text)
		require.Equal(t, "> toil & trouble", heard.Next(t, nil).Text)
	})
}
