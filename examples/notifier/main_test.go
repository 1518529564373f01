package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

func TestNotifier(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		juliet, pw := s.Account(t)
		a, pw2 := s.Account(t)
		room := jid.MustParse("notifier-" + jid.MustParse(a).Localpart() + "@" + s.Rooms)
		var rooms *muc.Client
		testclient.Up(t, testclient.Config(s, a, pw2), func(c *client.Client) { rooms = muc.New(c, muc.Config{}) })
		r, err := rooms.Join(ctx, room, "nurse", muc.Create(muc.PublicChannel("Verona")))
		require.NoError(t, err)
		if !r.Info().Info.Has(mam.NS) {
			s.Skip(t, "archives of rooms")
		}
		var marks *bookmarks.Bookmarks
		testclient.Up(t, testclient.Config(s, juliet, pw), func(c *client.Client) {
			marks, err = bookmarks.New(c, bookmarks.Config{})
			require.NoError(t, err)
		})
		require.NoError(t, marks.Set(ctx, bookmarks.Bookmark{Room: room, Nick: "Juliet"}))
		say := func(text string) {
			sent, err := r.Send(ctx, text)
			require.NoError(t, err)
			require.NoError(t, sent.Wait(ctx, confab.Reflected))
		}
		state := filepath.Join(t.TempDir(), "state")
		var mails []string
		look := func() error {
			return run(ctx, testclient.Config(s, juliet, pw), state, func(text string) error {
				mails = append(mails, text)
				return nil
			})
		}
		say("Juliet, this was before")
		require.NoError(t, look())
		assert.Empty(t, mails, "it begins with now")
		say("where is she?")
		say("Juliet: your mother calls\nat once ✉")
		require.Error(t, run(ctx, testclient.Config(s, juliet, pw), state, func(string) error { return errors.New("no mail today") }))
		require.NoError(t, look(), "what was not mailed is mailed the next time")
		require.Len(t, mails, 1)
		assert.Contains(t, mails[0], "your mother calls")
		assert.Contains(t, mails[0], "nurse in "+room.String())
		assert.NotContains(t, mails[0], "where is she")
		assert.NotContains(t, mails[0], "before")
		require.NoError(t, look())
		assert.Len(t, mails, 1, "nothing twice")
		require.Error(t, run(ctx, testclient.Config(s, juliet, "wrong"), state, nil))
	})
}

// TestMail has a mail server of a few lines take what is mailed.
func TestMail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		fmt.Fprint(c, "220 hello\r\n")
		var data strings.Builder
		for in := false; ; {
			line, err := r.ReadString('\n')
			switch {
			case err != nil:
				return
			case in && line == ".\r\n":
				in = false
				got <- data.String()
				fmt.Fprint(c, "250 ok\r\n")
			case in:
				data.WriteString(strings.TrimPrefix(line, ".")) // RFC 5321 §4.5.2
			case line == "DATA\r\n":
				in = true
				fmt.Fprint(c, "354 go on\r\n")
			case line == "QUIT\r\n":
				fmt.Fprint(c, "221 bye\r\n")
				return
			default:
				fmt.Fprint(c, "250 ok\r\n")
			}
		}
	}()
	text := "nurse: Juliet ✉\n.\nSubject: forged\n"
	require.NoError(t, mailer{server: l.Addr().String(), from: "bot@example.org", to: "juliet@example.org"}.send(text))
	m, err := mail.ReadMessage(strings.NewReader(<-got))
	require.NoError(t, err)
	assert.Equal(t, "You were mentioned", m.Header.Get("Subject"))
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	require.NoError(t, err)
	assert.Equal(t, strings.ReplaceAll(text, "\n", "\r\n"), string(body))
	require.Error(t, mailer{server: l.Addr().String(), from: "bot@example.org\r\nBcc: all", to: "juliet@example.org"}.send(text))
}
