package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

func TestBadge(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		room := jid.MustParse("badge-" + jid.MustParse(a).Localpart() + "@" + s.Rooms)
		var rooms *muc.Client
		testclient.Up(t, testclient.Config(s, a, pw), func(c *client.Client) { rooms = muc.New(c, muc.Config{}) })
		_, err := rooms.Join(testclient.Context(t), room, "one", muc.Create(muc.PublicChannel("Tea & <cake>")))
		require.NoError(t, err)

		cfg := testclient.Config(s, b, pw2)
		cfg.NoPresence = true
		asker := testclient.Up(t, cfg)
		h, err := newBadges(asker, time.Minute, room.String())
		require.NoError(t, err)
		web := httptest.NewServer(h)
		t.Cleanup(web.Close)
		get := func(path string) (int, string) {
			res, err := http.Get(web.URL + path)
			require.NoError(t, err)
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			return res.StatusCode, string(body)
		}
		code, svg := get("/" + room.String() + ".svg")
		require.Equal(t, http.StatusOK, code)
		require.Contains(t, svg, "Tea &amp; &lt;cake&gt;")
		require.Contains(t, svg, "1 online")
		code, _ = get("/another@" + s.Rooms + ".svg")
		require.Equal(t, http.StatusNotFound, code)
	})
}

func TestNoRooms(t *testing.T) {
	_, err := newBadges(nil, 0)
	require.Error(t, err)
	_, err = newBadges(nil, 0, "chat.example")
	require.Error(t, err)
}
