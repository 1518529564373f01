package bookmarks_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// event is an event of a node.
func event(from, id, attr, payload string) string {
	return "<message from='" + from + "' to='juliet@capulet.lit/balcony' type='headline'" + attr + ">" +
		"<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:bookmarks:1'>" +
		"<item id='" + id + "'>" + payload + "</item></items></event></message>"
}

const joins = "<conference xmlns='urn:xmpp:bookmarks:1' autojoin='true'/>"

// Only the own account says what the bookmarks are, and what it says wrongly does no
// harm.
func TestForged(t *testing.T) {
	tr, d := script(t)
	for _, from := range []string{"romeo@montague.lit", "montague.lit", "capulet.lit", "juliet@capulet.lit/chamber", "juliet@capulet.lit.evil.lit"} {
		tr.Send(event(from, "evil@conference.montague.lit", "", joins))
	}
	own := "juliet@capulet.lit"
	for _, bad := range []string{
		event(own, "", "", joins), event(own, "@", "", joins), event(own, "current", "", "<storage xmlns='storage:bookmarks'/>"),
		event(own, "room@conference.capulet.lit/nick", "", joins),
		event(own, strings.Repeat("x", 20_000)+"@capulet.lit", "", joins),
		event(own, "long@capulet.lit", "", "<conference xmlns='urn:xmpp:bookmarks:1' name='"+strings.Repeat("x", 20_000)+"'/>"),
		event(own, "other@capulet.lit", "", "<conference xmlns='urn:xmpp:bookmarks:0' autojoin='true'/>"),
		strings.Replace(event(own, "forged@capulet.lit", "", joins), "headline", "groupchat", 1),
		"<message from='juliet@capulet.lit' type='headline'><event xmlns='http://jabber.org/protocol/pubsub#event'>" +
			"<items node='urn:xmpp:bookmarks:1'><retract/><retract id='@'/><retract id='nobody@capulet.lit'/></items></event></message>",
	} {
		tr.Send(bad)
	}
	big := "<extensions><huge xmlns='urn:example:huge'>" + strings.Repeat("<a/>", 2_000) + "</huge>" +
		"<pinned xmlns='urn:xmpp:bookmarks-pinning:0'/></extensions>"
	tr.Send(event(own, "real@conference.capulet.lit", "", "<conference xmlns='urn:xmpp:bookmarks:1' name='Real' autojoin='1'>"+big+"</conference>"))
	m := d.awaitAdded(t, jid.MustParse("real@conference.capulet.lit"))
	assert.True(t, m.Pinned)
	assert.Empty(t, m.Extensions, "what is unreasonably large is not kept in memory")
	d.awaitAct(t, "join", m.Room)
	// The same room in another spelling is not another one.
	tr.Send(event(own, "REAL@conference.capulet.lit", "", joins))
	tr.Send(event(own, "last@conference.capulet.lit", "", joins))
	d.awaitAdded(t, jid.MustParse("last@conference.capulet.lit"))
	assert.Equal(t, []string{"real@conference.capulet.lit", "last@conference.capulet.lit"}, d.rooms())
	assert.Empty(t, d.changed.All())
	assert.Empty(t, d.added.All())
	assert.Empty(t, d.removed.All())
	assert.Empty(t, d.errs.All())
}

// What the server has kept for a while may be older than what is known: it is asked.
func TestLateEvent(t *testing.T) {
	tr, d := script(t)
	own := "juliet@capulet.lit"
	item := "<item id='room@conference.capulet.lit'><conference xmlns='urn:xmpp:bookmarks:1' name='Now'/></item>"
	tr.Send(event(own, "room@conference.capulet.lit", "", "<conference xmlns='urn:xmpp:bookmarks:1' name='Now'/>"))
	d.awaitAdded(t, jid.MustParse("room@conference.capulet.lit"))
	late := func(name string) {
		tr.Send(strings.Replace(event(own, "room@conference.capulet.lit", "", "<conference xmlns='urn:xmpp:bookmarks:1' name='"+name+"'/>"),
			"</message>", "<delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z' from='juliet@capulet.lit'/></message>", 1))
	}
	late("Now")
	late("Before")
	tr.Expect(strings.Replace(list, "${list}", "${late}", 1))
	tr.Send("<iq type='result' id='${late}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'>" + item + "</items></pubsub></iq>")
	// A server may also leave the payload out.
	tr.Send(event(own, "second@conference.capulet.lit", "", ""))
	tr.Expect(strings.Replace(list, "${list}", "${again}", 1))
	tr.Send("<iq type='result' id='${again}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'>" + item +
		strings.Replace(item, "room@", "second@", 1) + "</items></pubsub></iq>")
	d.awaitAdded(t, jid.MustParse("second@conference.capulet.lit"))
	assert.Empty(t, d.changed.All())
}

// Answers overtake events, and servers tell of one's own changes before or after the
// answer, or not at all: the list is what the server did last.
func TestOrder(t *testing.T) {
	ctx := testclient.Context(t)
	tr, d := script(t)
	name := func(s string) string {
		return event("juliet@capulet.lit", play.String(), "", "<conference xmlns='urn:xmpp:bookmarks:1' name='"+s+"'/>")
	}
	gone := strings.Replace(strings.Replace(name("x"), "<item id", "<retract id", 1), "<conference xmlns='urn:xmpp:bookmarks:1' name='x'/></item>", "</retract>", 1)
	for _, c := range []struct{ before, after, want string }{
		{"", "", "mine"},
		{name("older"), "", "mine"},
		{name("older") + name("mine"), "", "mine"},
		{name("older") + name("mine") + name("newer"), "", "newer"},
		{name("mine") + gone, "", ""},
		{gone + name("mine"), "", "mine"},
		{"", name("mine"), "mine"},
		{name("older"), name("mine") + name("newer"), "newer"},
	} {
		done := background(func() error { return d.Set(ctx, bookmarks.Bookmark{Room: play, Name: "mine"}) })
		expectGet(tr, play.String(), "")
		got := tr.Next()
		tr.Send(c.before + "<iq type='result' id='" + got.Get("id") + "'/>" + c.after)
		require.NoError(t, <-done)
		require.Eventually(t, func() bool { m, _ := d.Get(play); return m.Name == c.want }, testclient.Patience, pause, "%+v", c)
	}
	// The same for what is removed.
	for _, c := range []struct{ before, want string }{{name("older"), ""}, {gone + name("newer"), "newer"}, {gone, ""}} {
		done := background(func() error { return d.Remove(ctx, play) })
		got := tr.Next()
		tr.Send(c.before + "<iq type='result' id='" + got.Get("id") + "'/>")
		require.NoError(t, <-done)
		m, ok := d.Get(play)
		assert.Equal(t, c.want, m.Name)
		assert.Equal(t, c.want != "", ok)
	}
}

// A server that has more than can be believed does no harm, and what was left out is
// not taken for removed.
func TestHugeNode(t *testing.T) {
	srv, cfg := embedded(t, confabtest.Config{})
	var pages atomic.Int64
	srv.HandleIQ("http://jabber.org/protocol/pubsub", "pubsub", func(iq *confab.Element) *confab.Element {
		page := pages.Add(1)
		items := confab.El("http://jabber.org/protocol/pubsub", "items").Set("node", bookmarks.NS)
		for i := range 1000 {
			items.Add(confab.El("http://jabber.org/protocol/pubsub", "item",
				confab.El(bookmarks.NS, "conference")).Set("id", fmt.Sprintf("r%d-%d@x.test", page, i)))
		}
		last := confab.El("http://jabber.org/protocol/rsm", "last").SetText(fmt.Sprint(page))
		first := confab.El("http://jabber.org/protocol/rsm", "first").SetText(fmt.Sprint(page))
		return confab.El("http://jabber.org/protocol/pubsub", "pubsub", items, confab.El("http://jabber.org/protocol/rsm", "set", first, last))
	})
	d := signIn(t, cfg)
	assert.LessOrEqual(t, len(d.List()), bookmarks.Max)
	assert.GreaterOrEqual(t, len(d.List()), bookmarks.Max/2)
	assert.LessOrEqual(t, pages.Load(), int64(30))
}

// A server that does not answer, or refuses, does not keep the session from being
// ready, and the list comes with what follows.
func TestRefused(t *testing.T) {
	ctx := testclient.Context(t)
	srv, cfg := embedded(t, confabtest.Config{})
	srv.HandleIQ("http://jabber.org/protocol/pubsub", "pubsub", func(*confab.Element) *confab.Element {
		return confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "internal-server-error")).Set("type", "cancel")
	})
	d := signIn(t, cfg)
	assert.ErrorContains(t, d.errs.Next(t, nil).Err, "internal-server-error")
	require.Error(t, d.Set(ctx, bookmarks.Bookmark{Room: play}))
	require.Error(t, d.Remove(ctx, play))
	assert.Empty(t, d.List())
	srv.HandleIQ("http://jabber.org/protocol/pubsub", "pubsub", nil)
	require.NoError(t, d.Refresh(ctx))
	require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: play}))
	assert.Equal(t, strs(play), d.rooms())
}

// A server without PEP has no bookmarks. Only who wants to keep one is told.
func TestNoPEP(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{Without: confabtest.PubSub})
	d := signIn(t, cfg)
	setOld(t, d.Client, oldEntry(play, "x"))
	require.NoError(t, d.Refresh(ctx))
	require.ErrorIs(t, d.Set(ctx, bookmarks.Bookmark{Room: orchard}), pubsub.ErrUnsupported)
	require.Error(t, d.Remove(ctx, play))
	assert.Equal(t, strs(play), oldRooms(old(t, d.Client)), "those of old clients are left alone")
	assert.Empty(t, d.List())
	assert.Empty(t, d.errs.All())
}

// Nothing is sent of what cannot be right.
func TestBadArguments(t *testing.T) {
	ctx := testclient.Context(t)
	srv, cfg := embedded(t, confabtest.Config{})
	d := signIn(t, cfg)
	srv.HandleIQ("http://jabber.org/protocol/pubsub", "pubsub", func(iq *confab.Element) *confab.Element {
		if p := iq.Children[0]; iq.Get("type") == "set" || len(p.Children[0].Children) > 0 {
			t.Errorf("sent: %s", iq)
		}
		return nil
	})
	room := play
	full, err := room.WithResource("nick")
	require.NoError(t, err)
	other := confab.El("urn:example:odd", "x")
	for name, m := range map[string]bookmarks.Bookmark{
		"no room":           {},
		"a resource":        {Room: full},
		"a nickname":        {Room: room, Nick: "\u0007"},
		"a long nickname":   {Room: room, Nick: strings.Repeat("n", 1100)},
		"a long name":       {Room: room, Name: strings.Repeat("n", 5000)},
		"a name":            {Room: room, Name: "\x00"},
		"a level":           {Room: room, Notify: chat.Notify{Level: "sometimes"}},
		"a category":        {Room: room, Notify: chat.Notify{For: []chat.NotifyFor{{Level: chat.NotifyAlways}}}},
		"a nil extension":   {Room: room, Extensions: []*confab.Element{other, nil}},
		"no namespace":      {Room: room, Extensions: []*confab.Element{confab.El("", "x")}},
		"a wrong namespace": {Room: room, Extensions: []*confab.Element{confab.El(bookmarks.NS, "x")}},
		"a field":           {Room: room, Extensions: []*confab.Element{confab.El("urn:xmpp:bookmarks-pinning:0", "pinned")}},
		"a broken name":     {Room: room, Extensions: []*confab.Element{confab.El("urn:example:odd", "a b")}},
	} {
		require.Error(t, d.Set(ctx, m), name)
	}
	require.Error(t, d.Remove(ctx, full))
	require.Error(t, d.Remove(ctx, jid.JID{}))
	_, err = bookmarks.New(d.Client, bookmarks.Config{Leave: func(context.Context, bookmarks.Bookmark) {}})
	require.Error(t, err)
}

// Bookmarks are not written to a node that cannot be made private.
func TestNeverOpen(t *testing.T) {
	ctx := testclient.Context(t)
	srv, cfg := embedded(t, confabtest.Config{})
	d := signIn(t, cfg)
	_, err := d.pep().Create(ctx, bookmarks.NS, pubsub.Config{Access: pubsub.AccessOpen})
	require.NoError(t, err)
	srv.HandleIQ("http://jabber.org/protocol/pubsub#owner", "pubsub", func(*confab.Element) *confab.Element {
		return confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "forbidden")).Set("type", "auth")
	})
	require.ErrorIs(t, d.Set(ctx, bookmarks.Bookmark{Room: play, Password: "secret"}), pubsub.ErrPrecondition)
	assert.Empty(t, d.List())
	_, err = d.pep().Item(ctx, bookmarks.NS, play.String())
	require.ErrorIs(t, err, pubsub.ErrNotFound)
}
