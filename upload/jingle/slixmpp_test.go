package jingle_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"

	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload/jingle"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestSlixmpp has bytestreams with slixmpp, of both kinds and in both directions. It knows
// no Jingle.
func TestSlixmpp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		p := signIn(t, testclient.Config(s, a, pw), jingle.Config{Bytestreams: true})
		peer := testclient.StartSlixmpp(t, s, b, pw2)
		full, _ := peer.Ready["jid"].(string)
		to := jid.MustParse(full)
		for _, what := range []string{"ibb", "ibb messages", "s5b"} {
			peer.Do(what, p.LocalAddr().String(), "50000")
			st := p.streams.Next(t, nil)
			require.True(t, st.From.Equal(to))
			require.Equal(t, what != "s5b", st.InBand)
			rw, err := st.Accept(p.ctx)
			require.NoError(t, err)
			got, err := io.ReadAll(rw)
			require.NoError(t, err)
			require.Len(t, got, 50000)
			require.NoError(t, rw.Close())
			require.Equal(t, peer.Expect("sent")["sha256"], hexSum(got))
			peer.Take()
		}
		for what, opts := range map[string][]jingle.Option{"ibb": {jingle.InBand()}, "s5b": nil} {
			rw, err := p.files.Open(p.ctx, to, opts...)
			require.NoError(t, err)
			data := random(50000)
			_, err = rw.Write(data)
			require.NoError(t, err)
			require.NoError(t, rw.Close())
			require.Equal(t, hexSum(data), peer.Expect(what)["sha256"])
		}
	})
}
