package jingle_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/confab-im/confab/upload/jingle"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

// person is a client that sends files, and what was offered to it.
type person struct {
	*testclient.Client
	files    *jingle.Client
	ctx      context.Context
	offers   *testclient.Seen[*jingle.Offer]
	requests *testclient.Seen[*jingle.Request]
	streams  *testclient.Seen[*jingle.Bytestream]
	fails    *testclient.Seen[confab.HandlerError]
}

func signIn(tb testing.TB, cfg client.Config, jcfg jingle.Config) *person {
	tb.Helper()
	p := &person{ctx: testclient.Context(tb)}
	p.Client = testclient.Up(tb, cfg, func(c *client.Client) {
		jcfg.AllowLoopback = true
		if jcfg.Dial == nil {
			jcfg.Dial = c.HTTPTransport().DialContext
		}
		var err error
		p.files, err = jingle.New(c, jcfg)
		require.NoError(tb, err)
		p.offers = testclient.Watch[*jingle.Offer](c)
		p.requests = testclient.Watch[*jingle.Request](c)
		p.streams = testclient.Watch[*jingle.Bytestream](c)
		p.fails = testclient.Watch[confab.HandlerError](c)
	})
	return p
}

// pair signs two in.
func pair(t *testing.T, s *testbed.Server, a, b jingle.Config) (romeo, juliet *person) {
	t.Helper()
	one, pw := s.Account(t)
	two, pw2 := s.Account(t)
	return signIn(t, testclient.Config(s, one, pw), a), signIn(t, testclient.Config(s, two, pw2), b)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// sending is Send on a goroutine of its own.
func sending(from, to *person, src upload.Source, opts ...jingle.Option) <-chan error {
	done := make(chan error, 1)
	go func() { done <- from.files.Send(from.ctx, to.LocalAddr(), src, opts...) }()
	return done
}

// empty checks that a failed call has left nothing.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestSend sends files of several sizes by every way.
func TestSend(t *testing.T) {
	ways := []struct {
		name string
		a, b jingle.Config
		opts []jingle.Option
	}{
		{"proxy", jingle.Config{}, jingle.Config{}, nil},
		{"direct", jingle.Config{Reach: jingle.Direct, Addresses: []string{"127.0.0.1"}, Listen: "127.0.0.1:0"}, jingle.Config{Reach: jingle.Direct, Addresses: []string{}, Listen: "127.0.0.1:0"}, nil},
		{"direct from the other", jingle.Config{Reach: jingle.Direct, Addresses: []string{}, Listen: "127.0.0.1:0"}, jingle.Config{Reach: jingle.Direct, Addresses: []string{"127.0.0.1"}, Listen: "127.0.0.1:0"}, nil},
		{"both direct", jingle.Config{Reach: jingle.Direct}, jingle.Config{Reach: jingle.Direct}, nil},
		{"in-band", jingle.Config{}, jingle.Config{BlockSize: 3000}, []jingle.Option{jingle.InBand()}},
	}
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		for _, w := range ways {
			t.Run(w.name, func(t *testing.T) {
				romeo, juliet := pair(t, s, w.a, w.b)
				dir := t.TempDir()
				for _, c := range []struct {
					name string
					data []byte
				}{{"empty.txt", nil}, {"a.txt", []byte("a")}, {"très cool.jpg", random(4096)}, {"large.bin", random(200_000)}} {
					last := int64(0)
					done := sending(romeo, juliet, upload.FromBytes(c.name, c.data), append(w.opts, jingle.Describe("look"), jingle.Progress(func(n, _ int64) { last = n }))...)
					o := juliet.offers.Next(t, nil)
					require.True(t, o.From.Equal(romeo.LocalAddr()))
					require.Equal(t, c.name, o.Name)
					require.Equal(t, "look", o.Desc)
					require.Equal(t, int64(len(c.data)), o.Size)
					require.Equal(t, sha(c.data), o.Hashes["sha-256"])
					require.True(t, o.Ranges)
					path := filepath.Join(dir, o.Name)
					require.NoError(t, o.Save(juliet.ctx, path))
					require.NoError(t, <-done)
					require.Equal(t, int64(len(c.data)), last)
					got, err := os.ReadFile(path)
					require.NoError(t, err)
					require.True(t, bytes.Equal(c.data, got))
					require.ErrorIs(t, o.Decline(juliet.ctx), jingle.ErrUsed)
				}
				require.Empty(t, romeo.fails.Take())
				require.Empty(t, juliet.fails.Take())
			})
		}
	})
}

func isSealed(jid.JID) bool { return true }
