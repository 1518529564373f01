package omemo_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// startPeer starts python-omemo, which others have written, under slixmpp.
func startPeer(t *testing.T, s *testbed.Server, address, password, speaks string) *testclient.Slixmpp {
	t.Helper()
	if exec.Command("/usr/bin/python3", "-c", "import omemo, oldmemo, twomemo, xmlschema").Run() != nil {
		s.Skip(t, "python-omemo to talk with (python3-omemo, python3-oldmemo, python3-twomemo)")
	}
	return testclient.StartSlixmpp(t, s, address, password, speaks, filepath.Join(t.TempDir(), "keys.json"))
}

// TestPython talks with python-omemo in both directions, in each version and in both.
func TestPython(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		for speaks, ns := range map[string]string{"old": omemo.NSv1, "new": omemo.NSv2, "both": omemo.NSv2} {
			t.Run(speaks, func(t *testing.T) {
				a, pw := s.Account(t)
				b, pw2 := s.Account(t)
				phone := signIn(t, testclient.Config(s, a, pw), omemo.Config{})
				desk := signIn(t, testclient.Config(s, a, pw), omemo.Config{})
				peer := startPeer(t, s, b, pw2, speaks)
				ctx, juliet := phone.ctx, jid.MustParse(b)
				require.NoError(t, phone.keys.SetMode(ctx, juliet, omemo.On))
				require.NoError(t, desk.keys.SetMode(ctx, juliet, omemo.On))

				sent, err := phone.chats.With(juliet).Send(ctx, "hello, python")
				require.NoError(t, err)
				got := peer.Expect("message")
				require.Equal(t, "hello, python", got["body"])
				require.Equal(t, ns, got["ns"])
				require.Equal(t, sent.ID, got["id"])
				sealed(t, desk.own.Next(t, ownSaying("hello, python")).Message.Message, omemo.NSv2)
				// The key is the one that people compare.
				ds, err := phone.keys.Devices(ctx, juliet)
				require.NoError(t, err)
				require.Len(t, ds, 1)
				require.Equal(t, peer.Ready["key"], ds[0].Key.Hex())
				require.Equal(t, omemo.Blind, ds[0].Trust)

				for i, text := range []string{"hello, confab", "and again", "and once more"} {
					peer.Do("send", phone.bare().String(), "py-"+text[:3]+string(rune('0'+i)), text)
					for _, p := range []*person{phone, desk} {
						m := p.heard.Next(t, saying(text))
						sealed(t, m.Message, ns)
						require.Equal(t, peer.Ready["key"], compact(m.Seal.Sender))
					}
				}
				for _, text := range []string{"one", "two", "three"} {
					for _, p := range []*person{phone, desk} {
						_, err := p.chats.With(juliet).Send(ctx, text)
						require.NoError(t, err)
						require.Equal(t, text, peer.Expect("message")["body"])
					}
				}
				for _, p := range []*person{phone, desk} {
					require.Empty(t, p.dark.All())
					require.Empty(t, p.failed.All())
				}
			})
		}
	})
}

func compact(fingerprint string) string {
	k, err := omemo.ParseFingerprint(fingerprint)
	if err != nil {
		return err.Error()
	}
	return k.Hex()
}
