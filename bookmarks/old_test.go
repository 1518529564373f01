package bookmarks_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

const pause = 20 * time.Millisecond

// awaitOld waits until the old bookmarks are of these rooms, and returns them.
func awaitOld(t *testing.T, c confab.Requester, rooms ...jid.JID) *confab.Element {
	t.Helper()
	var st *confab.Element
	require.Eventually(t, func() bool {
		st = old(t, c)
		return fmt.Sprint(oldRooms(st)) == fmt.Sprint(strs(rooms...))
	}, testclient.Patience, pause, "%v", rooms)
	return st
}

func TestMerge(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	o := plain(t, cfg)
	nick := func() *confab.Element { return confab.El("storage:bookmarks", "nick").SetText("JC") }
	setOld(t, o,
		confab.El("storage:bookmarks", "url").Set("name", "Works").Set("url", "http://the-tech.mit.edu/Shakespeare/"),
		oldEntry(play, "Old name", nick(), confab.El("storage:bookmarks", "password").SetText("pw"),
			confab.El("urn:example:gajim", "minimize").SetText("1")).Set("autojoin", "1").Set("color", "red"),
		oldEntry(orchard, "Old orchard"),
		confab.El("storage:bookmarks", "conference").Set("jid", "@").Set("name", "broken"),
		confab.El("storage:bookmarks", "conference").Set("jid", coven.String()+"/Hag"),
	)
	_, err := pubsub.New(o, jid.JID{}).Publish(ctx, bookmarks.NS, pubsub.Item{ID: orchard.String(),
		Payload: confab.El(bookmarks.NS, "conference").Set("name", "New orchard")}, pubsub.Config{Access: pubsub.AccessWhitelist, MaxItems: pubsub.Max})
	require.NoError(t, err)

	d := signIn(t, cfg)
	m := d.awaitAdded(t, play)
	assert.Equal(t, "Old name JC pw", m.Name+" "+m.Nick+" "+m.Password)
	assert.True(t, m.Autojoin)
	assert.Equal(t, "1", m.Extension("urn:example:gajim", "minimize").Text)
	assert.Equal(t, "Hag", d.awaitAdded(t, coven).Nick)
	m, _ = d.Get(orchard)
	assert.Equal(t, "New orchard", m.Name, "the old name has won")
	d.awaitAct(t, "join", play)

	var st *confab.Element
	require.Eventually(t, func() bool {
		st = old(t, o)
		return strings.Contains(st.String(), "New orchard")
	}, testclient.Patience, pause)
	require.Len(t, st.Children, 5)
	assert.Equal(t, "http://the-tech.mit.edu/Shakespeare/", st.Children[0].Get("url"))
	assert.Equal(t, "red", st.Children[1].Get("color"))
	assert.Equal(t, "1", st.Children[1].Get("autojoin"))
	assert.Equal(t, "@", st.Children[3].Get("jid"))
	assert.Equal(t, coven.String()+"/Hag", st.Children[4].Get("jid"))

	// Another sign-in finds nothing to do.
	d.Stop(t)
	d = signIn(t, cfg)
	assert.Equal(t, strs(coven, orchard, play), sorted(d.rooms()))
	require.NoError(t, d.Remove(ctx, play))
	st = awaitOldXML(t, o, func(s string) bool { return !strings.Contains(s, play.String()) })
	assert.Len(t, st.Children, 4)
	assert.Empty(t, d.added.All())

	// What a client that knows only the new ones removes is not brought back.
	d.Stop(t)
	require.NoError(t, pubsub.New(o, jid.JID{}).Retract(ctx, bookmarks.NS, orchard.String()))
	d = signIn(t, cfg)
	awaitOldXML(t, o, func(s string) bool { return !strings.Contains(s, orchard.String()) })
	assert.Equal(t, strs(coven), d.rooms())

	// What an old client adds, having lost the marks, is taken over once.
	d.Stop(t)
	setOld(t, o, oldEntry(coven, "x"), oldEntry(orchard, "Orchard again"))
	d = signIn(t, cfg)
	assert.Equal(t, "Orchard again", d.awaitAdded(t, orchard).Name)
	// Removed at once, it does not come back, though nobody has marked it yet.
	setOld(t, o, oldEntry(coven, "x"), oldEntry(orchard, "Orchard again"))
	require.NoError(t, d.Remove(ctx, orchard))
	awaitOldXML(t, o, func(s string) bool { return !strings.Contains(s, orchard.String()) })
	assert.Equal(t, strs(coven), d.rooms())
	assert.Empty(t, d.errs.All())
}

func awaitOldXML(t *testing.T, c confab.Requester, ok func(string) bool) *confab.Element {
	t.Helper()
	var st *confab.Element
	require.Eventually(t, func() bool {
		st = old(t, c)
		return ok(st.String())
	}, testclient.Patience, pause)
	return st
}

// Two devices that merge at the same time come to the same.
func TestMergeTwice(t *testing.T) {
	_, cfg := embedded(t, confabtest.Config{})
	o := plain(t, cfg)
	var all []jid.JID
	var entries []*confab.Element
	for i := range 20 {
		room := jid.MustParse(fmt.Sprintf("room%d@conference.shakespeare.lit", i))
		all = append(all, room)
		entries = append(entries, oldEntry(room, fmt.Sprint("Room ", i)))
	}
	setOld(t, o, entries...)
	var devices []*device
	for range 2 {
		d, setup := prepare(t, nil)
		d.Client = testclient.Start(t, cfg, setup)
		devices = append(devices, d)
	}
	for _, d := range devices {
		d.WaitReady(t)
		require.Eventually(t, func() bool { return len(d.List()) == len(all) }, testclient.Patience, pause)
		assert.Equal(t, strs(all...), sorted(d.rooms()))
	}
	st := awaitOldXML(t, o, func(s string) bool { return strings.Count(s, "merged") >= 20 })
	assert.Len(t, st.Children, 20)
	for _, d := range devices {
		assert.Empty(t, d.changed.All(), "the second has overwritten the first")
		assert.Empty(t, d.removed.All())
		assert.Empty(t, d.errs.All())
	}
}

// The old node is kept in step if there is one.
func TestOldNode(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	o := plain(t, cfg)
	pep := pubsub.New(o, jid.JID{})
	_, err := pep.Publish(ctx, "storage:bookmarks", pubsub.Item{ID: "current",
		Payload: confab.El("storage:bookmarks", "storage", oldEntry(play, "Play"))}, pubsub.Private())
	require.NoError(t, err)
	d := signIn(t, cfg)
	assert.Equal(t, "Play", d.awaitAdded(t, play).Name)
	require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: orchard}))
	require.Eventually(t, func() bool {
		it, err := pep.Item(ctx, "storage:bookmarks", "current")
		return err == nil && len(oldRooms(it.Payload)) == 2
	}, testclient.Patience, pause)
	awaitOld(t, o, play, orchard) // the private storage, too
}

// announce has an embedded server claim to convert.
func announce(srv *confabtest.Server, features ...string) {
	srv.HandleIQ("http://jabber.org/protocol/disco#info", "query", func(iq *confab.Element) *confab.Element {
		q := confab.El("http://jabber.org/protocol/disco#info", "query",
			confab.El("http://jabber.org/protocol/disco#info", "identity").Set("category", "account").Set("type", "registered"))
		for _, f := range features {
			q.Add(confab.El("http://jabber.org/protocol/disco#info", "feature").Set("var", f))
		}
		return q
	})
}

// Where the server converts, the old bookmarks are not even looked at.
func TestConverted(t *testing.T) {
	for _, c := range []struct {
		features         string
		private, oldNode bool
	}{
		{"", true, true},
		{"#compat", false, true},
		{"#compat-pep", true, false},
		{"#compat #compat-pep", false, false},
		{"0411", true, false},
		{"0411 #compat", false, false},
		{"0411 #compat-pep", false, false},
	} {
		t.Run(c.features, func(t *testing.T) {
			ctx := testclient.Context(t)
			srv, cfg := embedded(t, confabtest.Config{})
			var features []string
			for _, f := range strings.Fields(c.features) {
				if f == "0411" {
					features = append(features, "urn:xmpp:bookmarks-conversion:0")
				} else {
					features = append(features, bookmarks.NS+f)
				}
			}
			announce(srv, features...)
			o := plain(t, cfg)
			setOld(t, o, oldEntry(play, "private"))
			_, err := pubsub.New(o, jid.JID{}).Publish(ctx, "storage:bookmarks", pubsub.Item{ID: "current",
				Payload: confab.El("storage:bookmarks", "storage", oldEntry(orchard, "node"))}, pubsub.Private())
			require.NoError(t, err)
			d := signIn(t, cfg)
			want := strs(coven)
			if c.private {
				d.awaitAdded(t, play)
				want = append(want, play.String())
			}
			if c.oldNode {
				d.awaitAdded(t, orchard)
				want = append(want, orchard.String())
			}
			require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: coven}))
			assert.ElementsMatch(t, want, d.rooms())
			if !c.private {
				assert.Equal(t, strs(play), oldRooms(old(t, o)))
			}
		})
	}
}

// What is too large for one stanza is not written: servers end the stream for that.
func TestOldTooLarge(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	d := signIn(t, cfg)
	for i := range 20 {
		require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: jid.MustParse(fmt.Sprintf("room%d@x.test", i)), Name: strings.Repeat("long ", 800)}))
	}
	e := d.errs.Next(t, nil)
	assert.ErrorContains(t, e.Err, "too many for the one piece")
	b, err := old(t, d.Client).AppendXML(nil, "")
	require.NoError(t, err)
	assert.Less(t, len(b), 64<<10)
	assert.Len(t, d.List(), 20)
	require.NoError(t, d.Refresh(context.Background()))
}
