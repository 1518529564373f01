package upload_test

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestRoom shares a file in a room.
func TestRoom(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		var rooms *muc.Client
		var heard *testclient.Seen[muc.OwnMessage]
		p := signIn(t, testclient.Config(s, a, pw), upload.Config{}, func(c *client.Client) {
			rooms = muc.New(c, muc.Config{})
			heard = testclient.Watch[muc.OwnMessage](c)
		})
		room, err := rooms.Join(p.ctx, jid.MustParse("files-"+confab.NewID()+"@"+s.Rooms), "romeo")
		require.NoError(t, err)
		data := random(10_000)
		_, _, err = p.files.Share(p.ctx, room, upload.FromBytes("x.png", data))
		require.NoError(t, err)
		m := heard.Next(t, func(m muc.OwnMessage) bool { return len(m.Files) > 0 })
		got, err := p.files.Fetch(p.ctx, m.Files[0])
		require.NoError(t, err)
		require.Equal(t, data, got)
	})
}

// TestNothingIsLeft gives up in the middle, both ways, and looks for what goes on.
func TestNothingIsLeft(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		var tr *http.Transport
		p := signIn(t, testclient.Config(s, a, pw), upload.Config{Transport: web(func(r *http.Request) (*http.Response, error) { return tr.RoundTrip(r) })}, func(c *client.Client) {
			tr = c.HTTPTransport()
		})
		src := upload.FromBytes("x.bin", random(2<<20))
		f, err := p.files.Upload(p.ctx, src)
		require.NoError(t, err)
		tr.CloseIdleConnections()
		before := runtime.NumGoroutine()
		for range 5 {
			ctx, stop := context.WithCancel(p.ctx)
			half := upload.Progress(func(done, _ int64) {
				if done > 1<<20 {
					stop()
				}
			})
			_, err := p.files.Upload(ctx, src, half)
			require.ErrorIs(t, err, context.Canceled)
			ctx, stop = context.WithCancel(p.ctx)
			_, err = p.files.Fetch(ctx, f, upload.Progress(func(done, _ int64) { stop() }))
			require.ErrorIs(t, err, context.Canceled)
			_, err = p.files.Fetch(ctx, chat.File{Sources: f.Sources})
			require.ErrorIs(t, err, context.Canceled)
			stop()
		}
		require.Eventually(t, func() bool {
			tr.CloseIdleConnections()
			return runtime.NumGoroutine() <= before
		}, testclient.Patience, 20*time.Millisecond)
	})
}
