package bookmarks_test

import (
	"context"
	"errors"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestStore: the list of the last run is there before the first sign-in, whole; what has
// changed meanwhile is told.
func TestStore(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	ctx := testclient.Context(t)
	store := &client.MemoryStore{}
	cfg := testclient.Embedded(srv, "alice")
	up := func(st bookmarks.Store) (c *testclient.Client, b *bookmarks.Bookmarks, added *testclient.Seen[bookmarks.Added], removed *testclient.Seen[bookmarks.Removed]) {
		c = testclient.Up(t, cfg, func(c *client.Client) {
			var err error
			b, err = bookmarks.New(c, bookmarks.Config{Store: st})
			require.NoError(t, err)
			added, removed = testclient.Watch[bookmarks.Added](c), testclient.Watch[bookmarks.Removed](c)
		})
		return c, b, added, removed
	}
	room := func(s string) jid.JID { return jid.MustParse(s + "@rooms.example.org") }
	first, b, _, _ := up(store)
	one := bookmarks.Bookmark{Room: room("one"), Name: "One & <two>", Nick: "a", Password: "p", Autojoin: true, Pinned: true,
		Extensions: []*confab.Element{confab.El("urn:example:x", "x").Set("a", "b")}}
	require.NoError(t, b.Set(ctx, one))
	require.NoError(t, b.Set(ctx, bookmarks.Bookmark{Room: room("gone")}))
	offline := func() []bookmarks.Bookmark {
		c, err := client.New(cfg)
		require.NoError(t, err)
		b, err := bookmarks.New(c, bookmarks.Config{Store: store})
		require.NoError(t, err)
		return b.List()
	}
	require.True(t, testclient.Eventually(func() bool { return len(offline()) == 2 }))
	first.Stop(t)

	other, b, _, _ := up(nil)
	require.NoError(t, b.Set(ctx, bookmarks.Bookmark{Room: room("new")}))
	require.NoError(t, b.Remove(ctx, room("gone")))
	other.Stop(t)

	list := offline()
	require.Len(t, list, 2)
	require.Equal(t, room("one"), list[0].Room)
	require.Equal(t, []any{one.Name, one.Nick, one.Password, true, true}, []any{list[0].Name, list[0].Nick, list[0].Password, list[0].Autojoin, list[0].Pinned})
	require.Equal(t, "b", list[0].Extension("urn:example:x", "x").Get("a"))
	_, b, added, removed := up(store)
	require.Equal(t, room("new"), added.Next(t, nil).Bookmark.Room)
	require.Equal(t, room("gone"), removed.Next(t, nil).Bookmark.Room)
	require.Len(t, b.List(), 2)
	require.True(t, testclient.Eventually(func() bool {
		list := offline()
		return len(list) == 2 && list[0].Room.Equal(room("one")) && list[1].Room.Equal(room("new"))
	}))
	require.Empty(t, added.All(), "what was known is not told again")

	require.NoError(t, store.Put(ctx, jid.MustParse(cfg.Address).Bare().String()+"/bookmarks", []byte("no JSON")))
	c, err := client.New(cfg)
	require.NoError(t, err)
	_, err = bookmarks.New(c, bookmarks.Config{Store: store})
	require.Error(t, err)
	_, err = bookmarks.New(c, bookmarks.Config{Store: broken{}})
	require.ErrorIs(t, err, errBroken)
}

var errBroken = errors.New("broken")

type broken struct{ client.Store }

func (broken) Get(context.Context, string) ([]byte, error) { return nil, errBroken }
