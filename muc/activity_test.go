package muc_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestActivity: a service that is asked tells of rooms with activity (XEP-0437), with the
// XEP's own examples; others do not.
func TestActivity(t *testing.T) {
	ask := vectors.Elements(t, "0437", 1)[0]
	notice := vectors.Elements(t, "0437", 2)[0]
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		var mu sync.Mutex
		var got []*confab.Element
		srv.Component("conference.example.com", func(e *confab.Element) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, e)
		})
		srv.Component("evil.example.com", func(*confab.Element) {})
		ctx := context.Background()
		var seen *testclient.Seen[muc.Activity]
		var rooms *muc.Client
		c := testclient.Up(t, testclient.Embedded(srv, "user"), func(c *client.Client) {
			rooms, seen = muc.New(c, muc.Config{}), testclient.Watch[muc.Activity](c)
		})
		service := jid.MustParse("conference.example.com")
		require.Error(t, rooms.WatchActivity(ctx, jid.MustParse("room@conference.example.com")))
		require.NoError(t, rooms.WatchActivity(ctx, service))
		time.Sleep(time.Second)
		mu.Lock()
		require.Len(t, got, 1)
		require.Equal(t, "presence", got[0].Name.Local)
		require.Equal(t, ask.Child("urn:xmpp:rai:0", "rai").String(), got[0].Child("urn:xmpp:rai:0", "rai").String())
		mu.Unlock()

		tell := func(from string, rooms ...string) {
			m := notice.Clone()
			if rooms != nil {
				m.Child("urn:xmpp:rai:0", "rai").Children = nil
				for _, r := range rooms {
					m.Child("urn:xmpp:rai:0", "rai").Add(confab.El("urn:xmpp:rai:0", "activity").SetText(r))
				}
			}
			require.NoError(t, srv.Send(m.Set("from", from).Set("to", c.LocalAddr().String())))
			time.Sleep(time.Second)
		}
		tell("conference.example.com")
		require.Equal(t, []jid.JID{jid.MustParse("room1@conference.example.com"), jid.MustParse("room3@conference.example.com")}, seen.Next(t, nil).Rooms)
		// Nobody else, and nothing about others' rooms.
		tell("evil.example.com")
		tell("conference.example.com", "room@evil.example.com", "@", "conference.example.com", "x@conference.example.com/nick")
		require.Empty(t, seen.All())
		require.NoError(t, rooms.UnwatchActivity(ctx, service))
		tell("conference.example.com")
		require.Empty(t, seen.All())
	})
}

// TestPerHour reads how busy a room is (XEP-0502), from the XEP's own example.
func TestPerHour(t *testing.T) {
	answer := vectors.Elements(t, "0502", 2)[0]
	answer.Child("http://jabber.org/protocol/disco#info", "query").Add(
		confab.El("http://jabber.org/protocol/disco#info", "identity").Set("category", "conference").Set("type", "text"))
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	srv.Component("chat.shakespeare.lit", func(e *confab.Element) {
		_ = srv.Send(answer.Clone().Set("id", e.Get("id")).Set("to", e.Get("from")))
	})
	c := testclient.Up(t, testclient.Embedded(srv, "user"))
	d, err := muc.GetDetails(testclient.Context(t), c, jid.MustParse("coven@chat.shakespeare.lit"))
	require.NoError(t, err)
	require.Equal(t, 23.42, d.PerHour)
	require.Equal(t, -1, d.Occupants)
}
