package roster_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/roster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// What was set last is what every later sign-in begins with.
func TestPresenceSurvives(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{Without: confabtest.Resumption})
	t.Cleanup(srv.Close)
	ctx := testclient.Context(t)
	romeo := signIn(t, testclient.Embedded(srv, "romeo"), roster.Config{})
	srv.AddAccount("juliet", "secret")
	srv.Subscribe("romeo", "juliet")
	var juliet *device
	d, setup := prepare(t, roster.Config{})
	juliet = d
	juliet.Client = testclient.Start(t, testclient.Embedded(srv, "juliet"), setup, func(*client.Client) {
		// Before the first sign-in.
		require.NoError(t, d.r.SetPresence(ctx, roster.Own{Show: "dnd", Status: "rehearsing"}))
	})
	juliet.WaitReady(t)
	e := romeo.presence.Next(t, from(juliet.addr(), ofPresence, there))
	assert.Equal(t, "dnd rehearsing", e.New.Show+" "+e.New.Status)
	require.NoError(t, juliet.r.SetPresence(ctx, roster.Own{Show: "away", Status: "gone for lunch", Priority: -1}))
	romeo.presence.Next(t, from(juliet.addr(), ofPresence, func(e roster.PresenceChanged) bool { return e.New.Show == "away" }))

	juliet.presence.Next(t, from(romeo.addr(), ofPresence, there))
	juliet.presence.Next(t, from(juliet.addr(), ofPresence, func(e roster.PresenceChanged) bool { return e.New.Show == "away" }))
	session, _ := srv.Session(juliet.addr().String())
	for _, c := range srv.Conns() {
		if c.ID() == session.Conn {
			c.Cut()
		}
	}
	romeo.presence.Next(t, from(juliet.addr(), ofPresence, gone))
	juliet.presence.Next(t, from(romeo.addr(), ofPresence, gone)) // the stream is lost
	assert.True(t, juliet.WaitReady(t).Fresh)
	e = romeo.presence.Next(t, from(juliet.addr(), ofPresence, there))
	assert.Equal(t, "away gone for lunch -1", fmt.Sprint(e.New.Show, " ", e.New.Status, " ", e.New.Priority))
	juliet.presence.Next(t, from(romeo.addr(), ofPresence, there))
	assert.Equal(t, 1, juliet.r.Len())
	assert.Empty(t, juliet.added.All(), "what was known was told again")

	// Hidden stays hidden.
	require.NoError(t, juliet.r.SetPresence(ctx, roster.Own{Unavailable: true}))
	romeo.presence.Next(t, from(juliet.addr(), ofPresence, gone))
	srv.CutAll()
	assert.True(t, juliet.WaitReady(t).Fresh)
	s, ok := srv.Session(juliet.LocalAddr().String())
	assert.True(t, ok && !s.Available)
}

// A resumption loses nothing, and nothing is asked for again.
func TestResumption(t *testing.T) {
	srv, romeo := embedded(t, roster.Config{})
	juliet := signIn(t, testclient.Embedded(srv, "romeo"), roster.Config{})
	srv.Subscribe("romeo", "juliet")
	romeo.presence.Next(t, from(juliet.addr(), ofPresence, there))
	romeo.added.Next(t, nil)
	asked := 0
	srv.HandleIQ(nsRoster, "query", func(*confab.Element) *confab.Element { asked++; return query() })
	srv.CutAll()
	assert.False(t, romeo.WaitReady(t).Fresh)
	settle(t, romeo)
	assert.Zero(t, asked)
	assert.Equal(t, 1, romeo.r.Len())
	assert.True(t, romeo.r.Best(juliet.addr()).Available)
	assert.Empty(t, romeo.removed.All())
	for _, e := range romeo.presence.All() {
		assert.True(t, e.New.Available, "%+v", e)
	}
}

// A push that comes before the roster it belongs to is applied after it.
func TestPushWhileLoading(t *testing.T) {
	tr := confabtest.NewTranscript(t)
	d, setup := prepare(t, roster.Config{})
	d.Client = testclient.Start(t, client.Config{Address: "juliet@x.test/y", Password: "x", Dial: tr.Dial, Server: "x.test:5222"}, setup)
	tr.SignIn("juliet@x.test/y")
	answers := ""
	for range 2 {
		q := tr.Next()
		kid := query(item("a@x.test").Set("name", "old"), item("b@x.test"))
		if q.Children[0].Is(nsBlocking, "blocklist") {
			kid = confab.El(nsBlocking, "blocklist", confab.El(nsBlocking, "item").Set("jid", "c@x.test"))
		}
		answers += confab.El(confab.NSClient, "iq", kid).Set("type", "result").Set("id", q.Get("id")).String()
	}
	for i, p := range []*confab.Element{
		query(item("a@x.test").Set("name", "new")), query(item("b@x.test").Set("subscription", "remove")),
		confab.El(nsBlocking, "unblock", confab.El(nsBlocking, "item").Set("jid", "c@x.test")),
	} {
		tr.Send(confab.El(confab.NSClient, "iq", p).Set("type", "set").Set("id", fmt.Sprint("p", i)).String())
	}
	for range 3 {
		assert.Equal(t, "result", tr.Next().Get("type"))
	}
	tr.Send(answers)
	d.WaitReady(t)
	c, ok := d.r.Contact(jid.MustParse("a@x.test"))
	assert.True(t, ok && c.Name == "new", "%+v", c)
	assert.Equal(t, 1, d.r.Len())
	assert.Empty(t, d.b.Blocked())
}

// A session drops pushes when too many come at once. The roster is right in the end.
func TestManyPushes(t *testing.T) {
	srv, d := embedded(t, roster.Config{})
	other := signIn(t, testclient.Embedded(srv, "juliet"), roster.Config{})
	to := d.LocalAddr().String()
	for i := range 2000 {
		it := item(fmt.Sprintf("ghost%d@x.test", i))
		srv.Inject(to, confab.El(confab.NSClient, "iq", query(it)).Set("type", "set").Set("id", fmt.Sprint("g", i)).Set("from", "mallory@evil.test"))
		if i%2 == 0 {
			srv.Inject(to, confab.El(confab.NSClient, "iq", confab.El(nsBlocking, "block", confab.El(nsBlocking, "item").Set("jid", fmt.Sprintf("b%d@x.test", i)))).
				Set("type", "set").Set("id", fmt.Sprint("b", i)))
		}
	}
	ctx := testclient.Context(t)
	for i := range 500 {
		srv.Subscribe("juliet", fmt.Sprint("friend", i)) // nobody yet
		srv.AddAccount(fmt.Sprint("friend", i), "secret")
		srv.Subscribe("juliet", fmt.Sprint("friend", i))
	}
	require.NoError(t, other.b.Block(ctx, jid.MustParse("paris@x.test")))
	require.Eventually(t, func() bool { return d.r.Len() == 500 && other.r.Len() == 500 }, testclient.Patience, time.Millisecond)
	require.Eventually(t, func() bool { return d.b.IsBlocked(jid.MustParse("paris@x.test")) }, testclient.Patience, time.Millisecond)
}

// brokenStore fails, or holds what is not a roster.
type brokenStore struct{ value string }

func (s brokenStore) Get(context.Context, string) ([]byte, error) {
	switch s.value {
	case "":
		return nil, errors.New("the disk is gone")
	case "none":
		return nil, fs.ErrNotExist
	}
	return []byte(s.value), nil
}
func (s brokenStore) Put(context.Context, string, []byte) error {
	return errors.New("the disk is full")
}
func (s brokenStore) Delete(context.Context, string) error { return nil }

func TestBrokenStore(t *testing.T) {
	for _, value := range []string{"", "none", "no JSON", `{"version":"1","items":[{"jid":"@@"}]}`, `{"issued":{"x":null}}`} {
		srv := confabtest.NewServer(confabtest.Config{})
		t.Cleanup(srv.Close)
		var failed *testclient.Seen[confab.HandlerError]
		d, setup := prepare(t, roster.Config{Store: brokenStore{value}})
		d.Client = testclient.Up(t, testclient.Embedded(srv, "juliet"), setup, func(c *client.Client) { failed = testclient.Watch[confab.HandlerError](c) })
		ctx := testclient.Context(t)
		require.NoError(t, d.r.Add(ctx, jid.MustParse("a@x.test"), "A"))
		assert.Equal(t, 1, d.r.Len())
		_, err := d.r.Invite(ctx, roster.InviteOptions{})
		require.ErrorContains(t, err, "the disk is full")
		e := failed.Next(t, nil)
		assert.ErrorContains(t, e.Err, "Store")
	}
}

func TestParseInvitation(t *testing.T) {
	for link, want := range map[string]string{
		"xmpp:romeo@montague.net?roster;preauth=1tMFqYDdKhfe2pwp;name=Romeo+Montague":                         "romeo@montague.net 1tMFqYDdKhfe2pwp \"Romeo Montague\" false false",
		"XMPP:romeo@montague.net?roster;preauth=a+b%2Bc":                                                      "romeo@montague.net a+b+c \"\" false false",
		"xmpp:romeo@montague.net?subscribe":                                                                   "romeo@montague.net  \"\" false false",
		"xmpp:inviter@example.com?roster;preauth=TOKEN;ibr=y":                                                 "inviter@example.com TOKEN \"\" false true",
		"xmpp:juliet@example.com?register;preauth=TOKEN":                                                      "juliet@example.com TOKEN \"\" true false",
		"xmpp:example.com?register;preauth=TOKEN":                                                             "example.com TOKEN \"\" true false",
		"xmpp://me@x.test/romeo@montague.net?roster;preauth=T":                                                "romeo@montague.net T \"\" false false",
		"xmpp:%22o%27hara%22@montague.net?roster":                                                             "",
		"xmpp:gr%C3%BC%C3%9Fe@montague.net/x?roster;name=Gr%C3%BC%C3%9Fe":                                     "grüße@montague.net  \"Grüße\" false false",
		"https://juicyxmpp.example/i/#romeo@montague.net?roster;preauth=1tMFqYDdKhfe2pwp;name=Romeo+Montague": "romeo@montague.net 1tMFqYDdKhfe2pwp \"Romeo Montague\" false false",
		"": "", "xmpp:": "", "xmpp:@?roster": "", "xmpp:a@b": "", "xmpp:a@b?join": "", "http://x/#a@b?roster": "", "https://x/a@b?roster": "",
		"xmpp:a@b?roster;name=%zz": "", "xmpp:%zz?roster": "", "xmpp://a@b?roster": "",
	} {
		i, err := roster.ParseInvitation(link)
		if want == "" {
			assert.Error(t, err, link)
			continue
		}
		if assert.NoError(t, err, link) {
			assert.Equal(t, want, fmt.Sprintf("%v %s %q %v %v", i.JID, i.Token, i.Name, i.Register, i.Account))
			again, err := roster.ParseInvitation(i.URI())
			i.LandingURL = ""
			assert.NoError(t, err)
			assert.Equal(t, i, again, i.URI())
		}
	}
	i := roster.Invitation{JID: jid.MustParse("wei;rd?#@x.test"), Name: "A+B; C=ä?#", Token: "t;=&#?/+"}
	again, err := roster.ParseInvitation(i.URI())
	require.NoError(t, err)
	i.JID = i.JID.Bare()
	assert.Equal(t, i, again, i.URI())
	assert.False(t, strings.ContainsAny(strings.TrimPrefix(i.URI(), "xmpp:"), " #"))
}

func TestStrings(t *testing.T) {
	assert.Equal(t, "none to from both Subscription(9)", fmt.Sprint(roster.None, " ", roster.To, " ", roster.From, " ", roster.Both, " ", roster.Subscription(9)))
	assert.False(t, roster.From.SeesThem() || roster.To.SeenByThem() || roster.None.SeesThem())
	assert.True(t, roster.Both.SeesThem() && roster.Both.SeenByThem())
}

// TestSubscribeFlood: everybody who asks is answered, however many ask at once.
func TestSubscribeFlood(t *testing.T) {
	const n = 3000
	srv, d := embedded(t, roster.Config{Policy: roster.AcceptAll})
	seen := testclient.Watch[roster.Request](d.Client)
	for i := range n {
		srv.Inject(d.LocalAddr().String(), confab.El(confab.NSClient, "presence").Set("type", "subscribe").Set("from", fmt.Sprintf("p%d@x.test", i)))
	}
	require.Eventually(t, func() bool { return len(seen.All()) == n }, testclient.Patience, 5*time.Millisecond)
	for _, q := range seen.All() {
		require.True(t, q.Accepted)
	}
}
