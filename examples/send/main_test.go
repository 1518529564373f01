package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

func TestSend(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		from, pw := s.Account(t)
		admin, pw2 := s.Account(t)
		room := jid.MustParse("send-" + jid.MustParse(admin).Localpart() + "@" + s.Rooms)
		var rooms *muc.Client
		var files *upload.Client
		var heard *testclient.Seen[*chat.Message]
		var said *testclient.Seen[*muc.Message]
		a := testclient.Up(t, testclient.Config(s, admin, pw2), func(c *client.Client) {
			chat.New(c, chat.Config{})
			_, err := omemo.New(c, omemo.Config{Store: &omemo.MemoryStore{}})
			require.NoError(t, err)
			rooms, files = muc.New(c, muc.Config{}), upload.New(c, upload.Config{Transport: c.HTTPTransport(), AllowLoopback: true})
			heard, said = testclient.Watch[*chat.Message](c), testclient.Watch[*muc.Message](c)
		})
		to := a.LocalAddr().Bare()
		mail := func(l letter) error { return send(ctx, testclient.Config(s, from, pw), l) }

		require.NoError(t, mail(letter{to: to, text: "The backup is done."}))
		m := heard.Next(t, nil)
		assert.Equal(t, "The backup is done.", m.Text)
		assert.Nil(t, m.Seal)

		data := bytes.Repeat([]byte("plot "), 1000)
		file := filepath.Join(t.TempDir(), "plot.dat")
		require.NoError(t, os.WriteFile(file, data, 0o600))
		require.NoError(t, mail(letter{to: to, file: file, local: true}))
		m = heard.Next(t, nil)
		require.Len(t, m.Files, 1)
		got := filepath.Join(t.TempDir(), "got")
		require.NoError(t, files.Save(ctx, m.Files[0], got))
		read, err := os.ReadFile(got)
		require.NoError(t, err)
		assert.Equal(t, data, read)

		secret := letter{to: to, text: "The password is swordfish.", keys: filepath.Join(t.TempDir(), "keys")}
		require.NoError(t, mail(secret))
		m = heard.Next(t, nil)
		assert.Equal(t, secret.text, m.Text)
		require.NotNil(t, m.Seal)
		sender := m.Seal.Sender
		require.NoError(t, mail(secret), "the device is known by its file")
		assert.Equal(t, sender, heard.Next(t, nil).Seal.Sender)

		_, err = rooms.Join(ctx, room, "admin")
		require.NoError(t, err)
		require.NoError(t, mail(letter{to: room, room: true, nick: "bot", text: "news"}))
		n := said.Next(t, nil)
		assert.Equal(t, "bot: news", n.Nick+": "+n.Text)

		// What cannot be done is said.
		require.Error(t, mail(letter{to: to}))
		require.ErrorIs(t, mail(letter{to: jid.MustParse("none-" + room.String()), room: true, nick: "bot", text: "x"}), muc.ErrNoRoom)
		wrong := testclient.Config(s, from, "wrong")
		require.Error(t, send(ctx, wrong, letter{to: to, text: "x"}))
		gone, cancel := context.WithCancel(ctx)
		cancel()
		require.Error(t, send(gone, testclient.Config(s, from, pw), letter{to: to, text: "x"}))
	})
}
