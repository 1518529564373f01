package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

func TestArchive(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		juliet := jid.MustParse(b)
		var chats *chat.Client
		testclient.Up(t, testclient.Config(s, a, pw), func(c *client.Client) { chats = chat.New(c, chat.Config{}) })
		say := func(text string) *confab.Sent {
			sent, err := chats.With(juliet).Send(ctx, text)
			require.NoError(t, err)
			require.NoError(t, sent.Wait(ctx, confab.Acked))
			return sent
		}
		for i := range 150 {
			say(fmt.Sprintf("line %d", i))
		}
		sent := say("over the orchard bricks")
		_, err := chats.With(juliet).Edit(ctx, sent.ID, "over the orchard walls")
		require.NoError(t, err)
		say("the end")

		file := filepath.Join(t.TempDir(), "juliet.db")
		run := func() (progress, found string) {
			db, err := store.Open(file)
			require.NoError(t, err)
			defer db.Close()
			var out, res bytes.Buffer
			cfg := testclient.Config(s, b, pw2)
			cfg.Store = db
			require.NoError(t, download(ctx, cfg, db, &out))
			require.NoError(t, search(ctx, db, juliet, "orchard", &res))
			return out.String(), res.String()
		}
		progress, found := run()
		last := regexp.MustCompile(`(\d+)(?: of \d+| messages)\n$`).FindStringSubmatch(progress)
		require.NotNil(t, last, progress)
		n, err := strconv.Atoi(last[1])
		require.NoError(t, err)
		assert.GreaterOrEqual(t, n, 153)
		assert.Contains(t, found, `"over the orchard walls"`)
		assert.NotContains(t, found, "bricks")
		say("beyond the orchard")
		_, found = run()
		assert.Contains(t, found, `"beyond the orchard"`)
		assert.Equal(t, 2, bytes.Count([]byte(found), []byte("\n")))

		cfg := testclient.Config(s, b, "wrong")
		db, err := store.Open(filepath.Join(t.TempDir(), "none.db"))
		require.NoError(t, err)
		defer db.Close()
		require.Error(t, download(ctx, cfg, db, &bytes.Buffer{}))
	})
}
