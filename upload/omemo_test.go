package upload_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestOMEMO shares a file in an encrypted chat: it is encrypted on the server, its key is
// in the encrypted message only, and it arrives.
func TestOMEMO(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		var mu sync.Mutex
		var wire strings.Builder
		first := true
		sign := func(ucfg upload.Config) (*person, *omemo.Manager) {
			a, pw := s.Account(t)
			cfg := testclient.Config(s, a, pw)
			var keys *omemo.Manager
			ucfg.Sealed = func(j jid.JID) bool { return keys.Mode(j) != omemo.Off }
			if first {
				first = false
				cfg.Wire = func(e client.WireEvent) {
					mu.Lock()
					defer mu.Unlock()
					wire.WriteString(e.XML)
				}
			}
			p := signIn(t, cfg, ucfg, func(c *client.Client) {
				var err error
				keys, err = omemo.New(c, omemo.Config{Store: &omemo.MemoryStore{}})
				require.NoError(t, err)
			})
			return p, keys
		}
		romeo, keys := sign(upload.Config{})
		juliet, _ := sign(upload.Config{})
		require.NoError(t, keys.SetMode(romeo.ctx, juliet.bare(), omemo.On))
		data := random(100_000)
		sent, f, err := romeo.files.Share(romeo.ctx, romeo.chats.With(juliet.bare()), upload.FromBytes("secret.jpg", data))
		require.NoError(t, err)
		require.NotNil(t, sent.Seal)
		require.Equal(t, chat.AES256GCM, f.Sources[0].Cipher)
		m := juliet.heard.Next(t, withFile)
		require.NotNil(t, m.Seal)
		require.Equal(t, "secret.jpg", m.Files[0].Name)
		require.Equal(t, "", m.Text)
		got, err := juliet.files.Fetch(juliet.ctx, m.Files[0])
		require.NoError(t, err)
		require.Equal(t, data, got)
		require.Len(t, romeo.own.Next(t, func(o chat.OwnMessage) bool { return len(o.Files) > 0 }).Files, 1)

		// A client of the old version has a link only.
		link, err := f.Sources[0].Link()
		require.NoError(t, err)
		_, err = romeo.chats.With(juliet.bare()).Send(romeo.ctx, link)
		require.NoError(t, err)
		m = juliet.heard.Next(t, withFile)
		got, err = juliet.files.Fetch(juliet.ctx, m.Files[0])
		require.NoError(t, err)
		require.Equal(t, data, got)

		// It is in clear nowhere, and not without encryption.
		romeo.Stop(t)
		require.Contains(t, wire.String(), "urn:xmpp:http:upload:0")
		for _, clear := range []string{"aesgcm:", "<encrypted xmlns='urn:xmpp:esfs:0'", "secret.jpg", "<key>"} {
			require.False(t, strings.Contains(wire.String(), clear), clear)
		}
	})
}
