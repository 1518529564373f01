package bookmarks_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// state is what another client keeps in bookmarks, in more places than it should.
func state() *confab.Element {
	return confab.El("http://myclient.example/bookmark/state", "state",
		confab.El("http://myclient.example/bookmark/state", "window").Set("x", "1").SetText("a & b")).Set("minimized", "true")
}

func TestTwoDevices(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		cfg := config(t, s)
		a, b := signIn(t, cfg), signIn(t, cfg)
		assert.Empty(t, a.List())

		require.NoError(t, a.Set(ctx, bookmarks.Bookmark{Room: play, Name: "The Play's the Thing", Nick: "JC", Password: "<&>",
			Pinned: true, Notify: chat.Notify{Level: chat.NotifyOnMention}, Extensions: []*confab.Element{state()}}))
		here, ok := a.Get(play)
		require.True(t, ok)
		there := b.awaitAdded(t, play)
		for _, m := range []bookmarks.Bookmark{here, there} {
			assert.Equal(t, "The Play's the Thing JC <&>", m.Name+" "+m.Nick+" "+m.Password)
			assert.True(t, m.Pinned && !m.Autojoin)
			assert.Equal(t, chat.NotifyOnMention, m.Notify.Level)
			require.Len(t, m.Extensions, 1)
			assert.Equal(t, "a & b", m.Extension("http://myclient.example/bookmark/state", "state").Children[0].Text)
		}
		a.awaitAdded(t, play)

		// Both change a bookmark that they have had for a while.
		there.Nick, there.Pinned = "Julia", false
		require.NoError(t, b.Set(ctx, there))
		here.Name, here.Autojoin = "", true
		require.NoError(t, a.Set(ctx, here))
		for _, d := range []*device{a, b} {
			e := d.changed.Next(t, func(e bookmarks.Changed) bool { return e.New.Autojoin })
			assert.False(t, e.Old.Autojoin)
			assert.Equal(t, "", e.New.Name)
			assert.Equal(t, "Julia", e.New.Nick, "what another device has written is undone")
			assert.False(t, e.New.Pinned)
			assert.Len(t, e.New.Extensions, 1)
			d.awaitAct(t, "join", play)
		}

		require.NoError(t, b.Remove(ctx, play))
		assert.Empty(t, b.List())
		b.awaitAct(t, "leave", play)
		if s.Name == testbed.Ejabberd {
			// 23.01 tells nobody; by the next sign-in, or this, it is known.
			require.NoError(t, a.Refresh(ctx))
		}
		assert.Equal(t, "Julia", a.removed.Next(t, nil).Bookmark.Nick)
		a.awaitAct(t, "leave", play)
		assert.Empty(t, a.List())
		require.NoError(t, b.Remove(ctx, play), "it is gone already")
		assert.Empty(t, a.errs.All())
		assert.Empty(t, b.errs.All())
	})
}

// A node that was made with other settings is made private before anything is written.
func TestNodeIsPrivate(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		d := signIn(t, config(t, s))
		_, err := d.pep().Create(ctx, bookmarks.NS, pubsub.Config{Access: pubsub.AccessOpen, MaxItems: 1, SendLast: pubsub.OnPresence})
		require.NoError(t, err)
		require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: play}))
		require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: orchard}))
		cfg, err := d.pep().Config(ctx, bookmarks.NS)
		require.NoError(t, err)
		assert.Equal(t, pubsub.AccessWhitelist, cfg.Access)
		assert.Equal(t, pubsub.Never, cfg.SendLast)
		assert.Equal(t, pubsub.Yes, cfg.Persist)
		assert.True(t, cfg.MaxItems == pubsub.Max || cfg.MaxItems > 10, cfg.MaxItems)
		require.NoError(t, d.Refresh(ctx))
		assert.Equal(t, strs(orchard, play), d.rooms())
	})
}

// A list of several pages comes whole, on a node that nobody has configured before.
func TestMany(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		cfg := config(t, s)
		a := signIn(t, cfg)
		var all []jid.JID
		for i := range 60 {
			all = append(all, jid.MustParse(fmt.Sprintf("room%d@conference.shakespeare.lit", i)))
			require.NoError(t, a.Set(ctx, bookmarks.Bookmark{Room: all[i], Name: fmt.Sprint("Room ", i)}))
		}
		b := signIn(t, cfg)
		assert.Equal(t, strs(all...), sorted(b.rooms()))
		require.NoError(t, b.Remove(ctx, all[0]))
		require.NoError(t, a.Refresh(ctx))
		assert.Equal(t, strs(all[1:]...), sorted(a.rooms()))
		assert.Empty(t, a.errs.All())
		assert.Empty(t, b.errs.All())
	})
}

// What is there at sign-in is in the list when the session is ready, and is joined.
func TestSignIn(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		cfg := config(t, s)
		a := signIn(t, cfg)
		require.NoError(t, a.Set(ctx, bookmarks.Bookmark{Room: play, Autojoin: true}))
		require.NoError(t, a.Set(ctx, bookmarks.Bookmark{Room: orchard}))
		require.NoError(t, a.Set(ctx, bookmarks.Bookmark{Room: coven, Autojoin: true, Pinned: true}))

		oops := errors.New("members only")
		b, setup := prepare(t, func(_ context.Context, m bookmarks.Bookmark) error {
			if m.Room.Equal(coven) {
				return oops
			}
			return nil
		})
		b.Client = testclient.Up(t, cfg, setup)
		assert.Equal(t, []string{coven.String(), orchard.String(), play.String()}, b.rooms(), "what is pinned comes first")
		b.awaitAct(t, "join", play)
		b.awaitAct(t, "join", coven)
		f := b.failed.Next(t, nil)
		assert.True(t, f.Bookmark.Room.Equal(coven))
		require.ErrorIs(t, f.Err, oops)
		assert.Empty(t, b.added.All(), "what was there at first is no news")
		assert.Empty(t, b.acts.All())
	})
}

// Unknown things of other clients survive an edit, wherever they have put them.
func TestForeign(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		d := signIn(t, config(t, s))
		el := confab.El(bookmarks.NS, "conference",
			confab.El(bookmarks.NS, "nick").SetText("JC"),
			confab.El("urn:example:odd", "beside").SetText("b"),
			confab.El(bookmarks.NS, "extensions", state(), confab.El("urn:xmpp:notification-settings:1", "notify",
				confab.El("urn:xmpp:notification-settings:1", "never"),
				confab.El("urn:example:odd", "sound").Set("file", "s")))).Set("autojoin", "1").Set("color", "red")
		_, err := d.pep().Publish(ctx, bookmarks.NS, pubsub.Item{ID: play.String(), Payload: el}, pubsub.Private())
		require.NoError(t, err)
		m := d.awaitAdded(t, play)
		assert.True(t, m.Autojoin)
		m.Name = "Play"
		m.Notify.Level = chat.NotifyAlways
		require.NoError(t, d.Set(ctx, m))
		it, err := d.pep().Item(ctx, bookmarks.NS, play.String())
		require.NoError(t, err)
		got := it.Payload
		assert.Equal(t, "Play 1 red", got.Get("name")+" "+got.Get("autojoin")+" "+got.Get("color"))
		assert.Equal(t, "b", got.ChildText("urn:example:odd", "beside"))
		ext := got.Child(bookmarks.NS, "extensions")
		assert.Equal(t, "a & b", ext.Child("http://myclient.example/bookmark/state", "state").Children[0].Text)
		n := ext.Child("urn:xmpp:notification-settings:1", "notify")
		assert.NotNil(t, n.Child("urn:xmpp:notification-settings:1", "always"))
		assert.Nil(t, n.Child("urn:xmpp:notification-settings:1", "never"))
		assert.Equal(t, "s", n.Child("urn:example:odd", "sound").Get("file"))

		// One that was made by hand replaces the fields, and nothing else.
		require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: play}))
		m, _ = d.Get(play)
		assert.Empty(t, m.Name+m.Nick+string(m.Notify.Level))
		assert.False(t, m.Autojoin)
		require.Len(t, m.Extensions, 1)
		m.Extensions = nil // who has seen it may remove it
		require.NoError(t, d.Set(ctx, m))
		m, _ = d.Get(play)
		assert.Empty(t, m.Extensions)
	})
}

// converts reports whether the server does the old bookmarks itself.
func converts(t *testing.T, d *device) bool {
	t.Helper()
	info, err := disco.GetInfo(testclient.Context(t), d.Client, d.LocalAddr().Bare(), "")
	require.NoError(t, err)
	return info.Has(bookmarks.NS + "#compat")
}

// An old client and a new one see the same rooms, whether by the server's doing or by
// ours.
func TestOldClient(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		cfg := config(t, s)
		o := plain(t, cfg)
		setOld(t, o, oldEntry(play, "The Play", confab.El("storage:bookmarks", "nick").SetText("JC")).Set("autojoin", "1"))
		d := signIn(t, cfg)
		if !converts(t, d) {
			d.awaitAdded(t, play)
		}
		m, ok := d.Get(play)
		require.True(t, ok)
		assert.Equal(t, "The Play JC", m.Name+" "+m.Nick)
		assert.True(t, m.Autojoin)
		d.awaitAct(t, "join", play)

		require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: orchard, Name: "The Orchard"}))
		require.Eventually(t, func() bool { return len(oldRooms(old(t, o))) == 2 }, testclient.Patience, pause)
		assert.Equal(t, strs(orchard, play), oldRooms(old(t, o)))
		require.NoError(t, d.Remove(ctx, play))
		require.Eventually(t, func() bool { return len(oldRooms(old(t, o))) == 1 }, testclient.Patience, pause)
		assert.Equal(t, strs(orchard), oldRooms(old(t, o)))
		assert.Equal(t, strs(orchard), d.rooms())
		assert.Empty(t, d.errs.All())
	})
}
