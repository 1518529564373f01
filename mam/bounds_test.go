package mam_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestBounds: what an archive sends beyond what was asked, and beyond measure, is left out.
func TestBounds(t *testing.T) {
	a := playArchive(t)
	at, err := time.Parse(time.RFC3339, a.stamp)
	require.NoError(t, err)
	for _, q := range []mam.Query{{Start: at.Add(time.Hour)}, {End: at.Add(-time.Hour)}} {
		out := a.query(q)
		a.page(" complete='true'>", "a")
		require.Empty(t, all(out))
	}
	require.Empty(t, a.bad.All())

	out := a.query(mam.Query{})
	a.page(" complete='true'>", strings.Repeat("i", 1025), "a")
	require.Equal(t, []any{"a"}, all(out))
	a.bad.Next(t, nil)

	a.stamp = "9999-12-31T23:59:59-14:00" // a year that nobody can write
	out = a.query(mam.Query{})
	a.page(" complete='true'>", "a")
	require.Empty(t, all(out))
	a.bad.Next(t, nil)

	a.stamp = "2010-07-10T23:08:25.5Z"
	ids := make([]string, 5010)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	out = a.query(mam.Query{Limit: 6000, Apart: true})
	got := 0
	done := make(chan struct{})
	go func() {
		for range out {
			got++
		}
		close(done)
	}()
	a.page(" complete='true'>", ids...)
	<-done
	for range 10 {
		a.bad.Next(t, nil)
	}
	require.Equal(t, 5000, got, "a page has an end")
}

// TestOverHole: a message that comes live while something is missing before it does not
// move the place in the archive; when nothing is missing any more it does.
func TestOverHole(t *testing.T) {
	self := jid.MustParse("juliet@capulet.lit")
	st := place(t, self, "old", time.Now().Add(-time.Hour))
	a := &archive{Transcript: confabtest.NewTranscript(t), reader: &reader{}, t: t, stamp: "2010-07-10T23:08:25.5Z"}
	type marker struct{}
	var behind *testclient.Seen[marker]
	a.Client = testclient.Start(t, client.Config{Address: "juliet@capulet.lit/chamber", Password: "x", Dial: a.Dial, NoPresence: true}, func(c *client.Client) {
		a.archives = mam.New(c, mam.Config{Store: st, Wait: time.Minute})
		a.msgs, behind = testclient.Watch[*confab.Message](c), testclient.Watch[marker](c)
	})
	at := func() string {
		b, err := st.Get(t.Context(), self.String()+"/mam")
		require.NoError(t, err)
		return string(b)
	}
	live := func(id string) {
		a.Send("<message from='romeo@montague.lit' type='chat'><body>" + id + "</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='" + id + "'/></message>")
		a.msgs.Next(t, func(m *confab.Message) bool { return m.Body == id })
		require.NoError(t, a.Fence(testclient.Context(t)))
		for range 2 { // and what was emitted behind it
			a.Emit(marker{})
			behind.Next(t, nil)
		}
	}
	a.SignIn("juliet@capulet.lit/chamber")
	live("L1")
	require.Contains(t, at(), `"old"`)
	a.page(" complete='true'>", "m1")
	a.WaitReady(t)
	live("L2")
	require.NotContains(t, at(), "L")
	q := a.page(" complete='true'>", "m2")
	require.Equal(t, "m1", q.Child("http://jabber.org/protocol/rsm", "set").ChildText("http://jabber.org/protocol/rsm", "after"))
	require.True(t, testclient.Eventually(func() bool { return strings.Contains(at(), `"L2"`) }), at())
	live("L3")
	require.Contains(t, at(), `"L3"`)
}

// TestLost: when the stream is lost what was missed is read again before Ready, also if
// nothing was missing before.
func TestLost(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{Without: confabtest.Resumption})
	t.Cleanup(srv.Close)
	bob := signIn(t, testclient.Embedded(srv, "bob"), mam.Config{NoFollow: true})
	cfg := testclient.Embedded(srv, "alice")
	cfg.NoPresence = true // nothing comes but out of the archive
	to := jid.MustParse(cfg.Address).Bare()
	var archives *mam.Archives
	heard := make(chan string, 100)
	c := testclient.Up(t, cfg, func(c *client.Client) {
		archives = mam.New(c, mam.Config{Wait: time.Minute})
		confab.On(c, func(_ context.Context, m *confab.Message) { heard <- m.Body })
		confab.On(c, func(context.Context, confab.Ready) { heard <- "ready" })
	})
	require.Equal(t, "ready", <-heard)
	require.NoError(t, archives.CatchUp(testclient.Context(t), jid.JID{}))
	say(t, bob, to, "missed")
	for _, conn := range srv.Conns() {
		conn.Cut()
	}
	require.Equal(t, "missed", <-heard)
	require.Equal(t, "ready", <-heard)
	c.Stop(t)
}
