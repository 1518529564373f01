package roster_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/roster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const (
	nsRoster   = "jabber:iq:roster"
	nsBlocking = "urn:xmpp:blocking"
)

// embedded is a device on a server in the process.
func embedded(t testing.TB, cfg roster.Config) (*confabtest.Server, *device) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	return srv, signIn(t, testclient.Embedded(srv, "juliet"), cfg)
}

// embeddedWire is embedded, with a server that watches for the answers to push.
func embeddedWire(t testing.TB, cfg roster.Config) (*confabtest.Server, *device) {
	srv := confabtest.NewServer(confabtest.Config{Wire: func(_ int, out bool, xml []byte) {
		if out || !strings.HasPrefix(string(xml), "<iq") {
			return
		}
		m := answered.FindStringSubmatch(string(xml))
		if m == nil {
			return
		}
		if ch, ok := wire.Load(m[1]); ok {
			a := "result"
			for _, c := range []string{"service-unavailable", "bad-request"} {
				if strings.Contains(string(xml), c) {
					a = c
				}
			}
			ch.(chan string) <- a
		}
	}})
	t.Cleanup(srv.Close)
	return srv, signIn(t, testclient.Embedded(srv, "juliet"), cfg)
}

var (
	answered = regexp.MustCompile(`id='(attack[0-9]+)'`)
	wire     sync.Map // from the id of a request to the channel that gets its answer
	pushes   atomic.Int64
)

// push injects a request and returns how it was answered: "result", or the
// condition of an error.
func push(t testing.TB, srv *confabtest.Server, d *device, from string, payload *confab.Element) string {
	t.Helper()
	id := fmt.Sprintf("attack%d", pushes.Add(1))
	answer := make(chan string, 1)
	iq := confab.El(confab.NSClient, "iq", payload).Set("type", "set").Set("id", id).Set("from", from).Set("to", d.LocalAddr().String())
	wire.Store(id, answer)
	defer wire.Delete(id)
	require.Equal(t, 1, srv.Inject(d.LocalAddr().String(), iq))
	ctx := testclient.Context(t)
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
		t.Fatal("no answer to", payload)
		return ""
	}
}

func item(j string) *confab.Element { return confab.El(nsRoster, "item").Set("jid", j) }

func query(items ...*confab.Element) *confab.Element { return confab.El(nsRoster, "query", items...) }

// settle returns when what was injected has been handled.
func settle(t testing.TB, d *device) {
	t.Helper()
	ctx := testclient.Context(t)
	require.NoError(t, confab.Do(ctx, d, stanza.IQ{Type: stanza.GetIQ, To: d.LocalAddr().Domain()}, confab.El("urn:xmpp:ping", "ping"), nil))
	require.NoError(t, d.Fence(ctx))
}

func TestForgedPushes(t *testing.T) {
	srv, d := embeddedWire(t, roster.Config{})
	ctx := testclient.Context(t)
	require.NoError(t, d.r.Add(ctx, jid.MustParse("nurse@confab.test"), "Nurse"))
	require.NoError(t, d.b.Block(ctx, jid.MustParse("paris@confab.test")))
	own := d.addr().String()
	evil := item("mallory@evil.test").Set("subscription", "both")
	for _, from := range []string{"mallory@evil.test", "mallory@evil.test/x", "confab.test", own + "/other", "nurse@confab.test", "juliet@confab.test.evil"} {
		assert.Equal(t, "service-unavailable", push(t, srv, d, from, query(evil)), from)
		assert.Equal(t, "service-unavailable", push(t, srv, d, from, query(item("nurse@confab.test").Set("subscription", "remove"))), from)
		assert.Equal(t, "service-unavailable", push(t, srv, d, from, confab.El(nsBlocking, "unblock")), from)
		assert.Equal(t, "service-unavailable", push(t, srv, d, from, confab.El(nsBlocking, "block", confab.El(nsBlocking, "item").Set("jid", "nurse@confab.test"))), from)
	}
	// What makes no sense, from the right one.
	for _, q := range []*confab.Element{
		query(), query(evil, item("b@evil.test")), query(item("")), query(item("@@")), query(item("a b@x y")), query(item("x@" + strings.Repeat("a", 2000))),
		query(confab.El(nsRoster, "other")), query(confab.El("urn:other", "item").Set("jid", "mallory@evil.test")),
		confab.El(nsBlocking, "block"), confab.El(nsBlocking, "block", confab.El(nsBlocking, "item").Set("jid", "@@")),
		confab.El(nsBlocking, "unblock", confab.El(nsBlocking, "item").Set("jid", "@@")), confab.El(nsBlocking, "unblock", confab.El("urn:other", "item")),
	} {
		assert.Equal(t, "bad-request", push(t, srv, d, own, q), q.String())
	}
	c, ok := d.r.Contact(jid.MustParse("nurse@confab.test"))
	assert.True(t, ok && c.Name == "Nurse")
	assert.Equal(t, 1, d.r.Len())
	assert.True(t, d.b.IsBlocked(jid.MustParse("paris@confab.test/x")))
	assert.Len(t, d.b.Blocked(), 1)

	// The right ones still count: without from, and from the own bare address.
	assert.Equal(t, "result", push(t, srv, d, "", query(item("a@confab.test"))))
	assert.Equal(t, "result", push(t, srv, d, strings.ToUpper(own), query(item("b@confab.test").Set("subscription", "nonsense").Set("ask", "nonsense"))))
	assert.Equal(t, 3, d.r.Len())
	many := item("a@confab.test")
	for i := range 10_000 {
		many.Add(confab.El(nsRoster, "group").SetText(fmt.Sprint(i)))
	}
	assert.Equal(t, "result", push(t, srv, d, "", query(many)))
	c, _ = d.r.Contact(jid.MustParse("a@confab.test"))
	assert.LessOrEqual(t, len(c.Groups), 256)
	assert.Equal(t, "result", push(t, srv, d, "", confab.El(nsBlocking, "unblock")))
	assert.Empty(t, d.b.Blocked())
}

func TestBadRoster(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	srv.HandleIQ(nsRoster, "query", func(iq *confab.Element) *confab.Element {
		if iq.Get("type") == "set" {
			return nil
		}
		return query(item("@@"), item(""), item("gone@x.test").Set("subscription", "remove"), confab.El("urn:other", "item"), item("good@x.test"), item("GOOD@x.test"))
	})
	srv.HandleIQ(nsBlocking, "blocklist", func(*confab.Element) *confab.Element {
		return confab.El(nsBlocking, "blocklist", confab.El(nsBlocking, "item").Set("jid", "@@"), confab.El(nsBlocking, "item").Set("jid", "x.test"))
	})
	d := signIn(t, testclient.Embedded(srv, "juliet"), roster.Config{})
	assert.Equal(t, 1, d.r.Len())
	assert.Len(t, d.b.Blocked(), 1)
	assert.Len(t, d.bad.All(), 3)

	// A server that knows neither.
	refuse := func(*confab.Element) *confab.Element {
		return confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "service-unavailable")).Set("type", "cancel")
	}
	srv.HandleIQ(nsRoster, "query", refuse)
	srv.HandleIQ(nsBlocking, "blocklist", refuse)
	failed := &testclient.Seen[confab.HandlerError]{}
	p, setup := prepare(t, roster.Config{})
	p.Client = testclient.Up(t, testclient.Embedded(srv, "romeo"), setup)
	require.ErrorIs(t, p.b.Block(testclient.Context(t), jid.MustParse("x.test")), roster.ErrNoBlocking)
	assert.Zero(t, p.r.Len())
	assert.Empty(t, failed.All())
}

func presence(from, typ string, kids ...*confab.Element) *confab.Element {
	return confab.El(confab.NSClient, "presence", kids...).Set("from", from).Set("type", typ)
}

func TestPresenceFloods(t *testing.T) {
	srv, d := embedded(t, roster.Config{})
	ctx := testclient.Context(t)
	require.NoError(t, d.r.Add(ctx, jid.MustParse("nurse@confab.test"), "Nurse"))
	to := d.LocalAddr().String()
	for i := range 300 {
		srv.Inject(to, presence(fmt.Sprintf("nurse@confab.test/%d", i), ""))
		srv.Inject(to, presence(fmt.Sprintf("mallory@evil.test/%d", i), ""))
		srv.Inject(to, presence(fmt.Sprintf("mallory%d@evil.test/x", i), "", confab.El(confab.NSClient, "status").SetText(strings.Repeat("ö", 10_000))))
	}
	settle(t, d)
	assert.Len(t, d.r.Presences(jid.MustParse("nurse@confab.test")), 64)
	assert.LessOrEqual(t, len(d.r.Presences(jid.MustParse("mallory@evil.test"))), 4)
	known, status := 0, ""
	for i := range 300 {
		for _, p := range d.r.Presences(jid.MustParse(fmt.Sprintf("mallory%d@evil.test", i))) {
			known++
			status = p.Status
		}
	}
	assert.LessOrEqual(t, known, 256)
	assert.Len(t, status, 4096)
	assert.Len(t, d.r.Presences(d.addr()), 1, "the own account was pushed out")

	// People in rooms are not for here; neither is nonsense.
	for _, p := range []*confab.Element{
		presence("room@rooms.test/thirdwitch", "", confab.El("http://jabber.org/protocol/muc#user", "x")),
		presence("gone@evil.test/x", "unavailable"), presence("error@evil.test/x", "error"), presence("probe@evil.test/x", "probe"),
		presence("odd@evil.test/x", "nonsense"), presence("subscribed@evil.test", "subscribed"), presence("@@", ""),
	} {
		srv.Inject(to, p)
		settle(t, d)
		if j, err := jid.Parse(p.Get("from")); err == nil {
			assert.Empty(t, d.r.Presences(j), p.String())
		}
	}
	assert.Empty(t, d.answers.All(), "an answer of somebody who was not asked")

	// An idle time that is none, a show that is none.
	srv.Inject(to, presence("nurse@confab.test/0", "", confab.El("urn:xmpp:idle:1", "idle").Set("since", "yesterday"), confab.El(confab.NSClient, "show").SetText("busy")))
	settle(t, d)
	p := d.r.Presences(jid.MustParse("nurse@confab.test/0"))
	require.Len(t, p, 1)
	assert.True(t, p[0].Idle.IsZero() && p[0].Show == "")

	// The contact's server says that it cannot be reached.
	srv.Inject(to, presence("nurse@confab.test", "error"))
	settle(t, d)
	assert.Empty(t, d.r.Presences(jid.MustParse("nurse@confab.test")))
	_, seen := d.r.LastSeen(jid.MustParse("nurse@confab.test"))
	assert.True(t, seen)
}

func TestRequestFloods(t *testing.T) {
	srv, d := embedded(t, roster.Config{})
	to := d.LocalAddr().String()
	for i := range 1500 {
		srv.Inject(to, presence(fmt.Sprintf("mallory%d@evil.test", i), "subscribe", confab.El("urn:xmpp:pars:0", "preauth").Set("token", strings.Repeat("x", 5000))))
		srv.Inject(to, presence("mallory@evil.test", "subscribe"))
	}
	srv.Inject(to, presence(d.addr().String(), "subscribe"))
	settle(t, d)
	assert.Len(t, d.r.Requests(), 1024)
	one := 0
	for _, q := range d.requests.All() {
		assert.False(t, q.Accepted || q.Invited)
		if q.From.Localpart() == "mallory" {
			one++
		}
	}
	assert.Equal(t, 1, one, "the same request was told again and again")
	srv.Inject(to, presence("mallory@evil.test", "unsubscribe"))
	settle(t, d)
	assert.Len(t, d.r.Requests(), 1023)
}

func TestInvitationRules(t *testing.T) {
	srv, d := embedded(t, roster.Config{})
	ctx := testclient.Context(t)
	to := d.LocalAddr().String()
	come := func(who, token string) roster.Request {
		srv.Inject(to, presence(who, "subscribe", confab.El("urn:xmpp:pars:0", "preauth").Set("token", token)))
		return d.requests.Next(t, func(q roster.Request) bool { return q.From.String() == who })
	}
	two, err := d.r.Invite(ctx, roster.InviteOptions{Uses: 2})
	require.NoError(t, err)
	assert.True(t, come("a@x.test", two.Token).Invited)
	assert.True(t, come("b@x.test", two.Token).Invited)
	assert.False(t, come("c@x.test", two.Token).Invited)
	assert.True(t, come("a@x.test", two.Token).Invited, "the same person may come again")
	bob, err := d.r.Invite(ctx, roster.InviteOptions{For: jid.MustParse("bob@x.test")})
	require.NoError(t, err)
	assert.False(t, come("eve@x.test", bob.Token).Invited)
	assert.True(t, come("bob@x.test", bob.Token).Invited)
	void, err := d.r.Invite(ctx, roster.InviteOptions{})
	require.NoError(t, err)
	require.NoError(t, d.r.RevokeInvitation(ctx, void.Token))
	assert.False(t, come("d@x.test", void.Token).Invited)
	short, err := d.r.Invite(ctx, roster.InviteOptions{Lifetime: 1})
	require.NoError(t, err)
	assert.False(t, come("e@x.test", short.Token).Invited)
	for _, o := range []roster.InviteOptions{{Uses: -1}, {Uses: 1 << 20}, {Lifetime: -1}} {
		_, err := d.r.Invite(ctx, o)
		require.Error(t, err)
	}
	require.Error(t, d.r.AcceptInvitation(ctx, roster.Invitation{JID: jid.MustParse("x.test"), Register: true}))
	require.Error(t, d.r.AcceptInvitation(ctx, roster.Invitation{JID: d.addr()}))
}

func TestMoveClaims(t *testing.T) {
	srv, d := embedded(t, roster.Config{})
	moved := func(old string) *confab.Element {
		return confab.El("urn:xmpp:moved:1", "moved", confab.El("urn:xmpp:moved:1", "old-jid").SetText(old))
	}
	asked := make(chan *confab.Element, 100)
	answers := make(chan *confab.Element, 1)
	srv.AddAccount("old", "secret")
	srv.Subscribe("juliet", "old")
	srv.HandleIQ("http://jabber.org/protocol/pubsub", "pubsub", func(iq *confab.Element) *confab.Element {
		asked <- iq
		return <-answers
	})
	d.added.Next(t, nil)
	to := d.LocalAddr().String()
	come := func(who, old string) {
		srv.Inject(to, presence(who, "subscribe", moved(old)))
		d.requests.Next(t, func(q roster.Request) bool { return q.From.String() == who })
	}
	// Claims that are not even looked into.
	for i, old := range []string{"", "@@", "stranger@x.test", "old@confab.test/x", "juliet@confab.test"} {
		come(fmt.Sprintf("eve%d@x.test", i), old)
	}
	settle(t, d)
	assert.Empty(t, asked)
	statement := func(node, to string) *confab.Element {
		const ns = "http://jabber.org/protocol/pubsub"
		return confab.El(ns, "pubsub", confab.El(ns, "items", confab.El(ns, "item",
			confab.El("urn:xmpp:moved:1", "moved", confab.El("urn:xmpp:moved:1", "new-jid").SetText(to))).Set("id", "current")).Set("node", node))
	}
	gone := func(text string) *confab.Element {
		return confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "gone").SetText(text)).Set("type", "cancel")
	}
	for i, c := range []struct {
		answer *confab.Element
		ok     bool
	}{
		{statement("urn:xmpp:moved:1", "other@x.test"), false},
		{statement("urn:xmpp:moved:1", "@@"), false},
		{statement("urn:xmpp:moved:1", ""), false},
		{statement("urn:other", "new@x.test"), false},
		{nil, false},
		{gone("xmpp:other@x.test"), false},
		{gone("https://x.test"), false},
		{gone("xmpp:NEW%d@x.test?message"), true},
		{statement("urn:xmpp:moved:1", " new%d@x.test\n"), true},
	} {
		who := fmt.Sprintf("new%d@x.test", i)
		fill(c.answer, i)
		answers <- c.answer
		come(who, "old@confab.test")
		<-asked
		if c.ok {
			m := d.moved.Next(t, nil)
			assert.Equal(t, who, m.New.String())
			assert.Equal(t, "old@confab.test", m.Old.String())
		}
	}
	settle(t, d)
	assert.Empty(t, d.moved.All())
}

// fill puts a number into texts with a %d.
func fill(e *confab.Element, n int) {
	if e == nil {
		return
	}
	e.Text = strings.ReplaceAll(e.Text, "%d", fmt.Sprint(n))
	for _, c := range e.Children {
		fill(c, n)
	}
}

func TestSuggestions(t *testing.T) {
	srv, d := embedded(t, roster.Config{})
	seen := testclient.Watch[roster.Suggested](d)
	heard := testclient.Watch[*confab.Message](d)
	const ns = "http://jabber.org/protocol/rosterx"
	it := func(action, j string) *confab.Element {
		return confab.El(ns, "item", confab.El(ns, "group").SetText("Visitors")).Set("action", action).Set("jid", j).Set("name", "X")
	}
	srv.Inject(d.LocalAddr().String(), confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText("Some visitors."),
		confab.El(ns, "x", it("", "a@x.test"), it("delete", "b@x.test"), it("explode", "c@x.test"), it("add", "@@"))).Set("from", "gateway.x.test"))
	e := seen.Next(t, nil)
	require.Len(t, e.Items, 2)
	assert.Equal(t, "add", e.Items[0].Action)
	assert.Equal(t, []string{"Visitors"}, e.Items[0].Contact.Groups)
	heard.Next(t, func(m *confab.Message) bool { return m.Body == "Some visitors." })
	assert.Zero(t, d.r.Len(), "a suggestion was followed")
}

func TestTwice(t *testing.T) {
	_, d := embedded(t, roster.Config{})
	_, err := roster.New(d, roster.Config{})
	require.ErrorIs(t, err, confab.ErrTaken)
	_, err = roster.NewBlocklist(d)
	require.ErrorIs(t, err, confab.ErrTaken)
	_, err = roster.New(d, roster.Config{Policy: 9})
	require.Error(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range []func() error{
		func() error { return d.r.Add(ctx, jid.MustParse("x@y.test"), "x") },
		func() error { return d.r.Remove(ctx, jid.MustParse("x@y.test")) },
		func() error { return d.b.Block(ctx, jid.MustParse("x@y.test")) },
		func() error {
			return d.b.Report(ctx, roster.Report{JID: jid.MustParse("x@y.test"), Reason: roster.Abuse})
		},
		func() error { _, err := roster.RequestInvitation(ctx, d); return err },
		func() error { _, err := roster.NewSearch(ctx, d, jid.MustParse("y.test")); return err },
	} {
		require.ErrorIs(t, f(), context.Canceled)
	}
}
