package bookmarks_test

import (
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestRooms: with Config.Rooms the bookmarked rooms are entered, on all devices, at each
// sign-in, and left.
func TestRooms(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		host, pw := s.Account(t)
		user, pw2 := s.Account(t)
		type device struct {
			*testclient.Client
			rooms  *muc.Client
			marks  *bookmarks.Bookmarks
			states *testclient.Seen[muc.State]
		}
		sign := func(address, password string) *device {
			d := &device{}
			d.Client = testclient.Up(t, testclient.Config(s, address, password), func(c *client.Client) {
				var err error
				d.rooms = muc.New(c, muc.Config{})
				d.states = testclient.Watch[muc.State](c)
				d.marks, err = bookmarks.New(c, bookmarks.Config{Rooms: d.rooms})
				require.NoError(t, err)
			})
			return d
		}
		owner := sign(host, pw)
		room := jid.MustParse("b" + confab.NewID()[:10] + "@" + s.Rooms)
		hall, err := owner.rooms.Join(ctx, room, "owner", muc.Create(muc.PublicChannel("hall")))
		require.NoError(t, err)
		desk, phone := sign(user, pw2), sign(user, pw2)
		in := func(d *device, status muc.Status) {
			t.Helper()
			d.states.Next(t, func(e muc.State) bool { return e.Room.JID().Equal(room) && e.Status == status })
		}
		require.NoError(t, desk.marks.Set(ctx, bookmarks.Bookmark{Room: room, Autojoin: true}))
		in(desk, muc.Joined)
		in(phone, muc.Joined)
		nick := jid.MustParse(user).Localpart() // there was none in the bookmark
		require.Eventually(t, func() bool {
			_, ok := hall.Occupant(nick)
			return ok
		}, testclient.Patience, time.Millisecond, "nobody is called %q", nick)
		phone.Stop(t)
		phone = sign(user, pw2)
		in(phone, muc.Joined)
		// Servers learn a while after a sign-in what a client wants to be told.
		require.Eventually(t, func() bool {
			m, ok := desk.marks.Get(room)
			m.Name = "hall " + confab.NewID()
			if !ok || desk.marks.Set(ctx, m) != nil {
				return false
			}
			time.Sleep(200 * time.Millisecond)
			got, _ := phone.marks.Get(room)
			return got.Name == m.Name
		}, testclient.Patience, time.Millisecond)
		require.NoError(t, desk.marks.Remove(ctx, room))
		in(desk, muc.Out)
		if s.Name == testbed.Ejabberd {
			require.NoError(t, phone.marks.Refresh(ctx)) // 23.01 tells nobody
		}
		in(phone, muc.Out)
	})
}
