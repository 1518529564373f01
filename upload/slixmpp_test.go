package upload_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestSlixmpp shares files with slixmpp in both directions.
func TestSlixmpp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		p := signIn(t, testclient.Config(s, a, pw), upload.Config{})
		peer := testclient.StartSlixmpp(t, s, b, pw2)
		v := p.chats.With(jid.MustParse(b))

		for _, name := range []string{"hello.bin", "très cool.jpg"} {
			data := random(300_000)
			_, f, err := p.files.Share(p.ctx, v, upload.FromBytes(name, data))
			require.NoError(t, err)
			got := peer.Expect("file")
			require.Equal(t, f.Sources[0].URL, got["url"])
			require.Equal(t, got["url"], got["body"])
			require.Equal(t, float64(200), got["status"])
			require.Equal(t, hexSum(data), got["sha256"])

			peer.Do("upload", p.bare().String(), s.Upload, name, "500000", "application/octet-stream")
			want := peer.Expect("sent")["sha256"]
			m := p.heard.Next(t, withFile)
			// The link has the name; ejabberd takes out what is not ASCII.
			require.Equal(t, filepath.Ext(name), filepath.Ext(m.Files[0].Name))
			path := filepath.Join(t.TempDir(), "x")
			require.NoError(t, p.files.Save(p.ctx, m.Files[0], path))
			saved, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, want, hexSum(saved))
		}

		data := random(5000)
		uri, err := p.files.Offer(upload.Bits{Type: "image/png", Data: data})
		require.NoError(t, err)
		peer.Do("bits", p.LocalAddr().String(), uri[len("cid:"):])
		got := peer.Expect("bits")
		require.Equal(t, "image/png", got["type"])
		require.Equal(t, hexSum(data), got["sha256"])
	})
}
