package roster_test

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
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/roster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// golden is a device that talks to a script.
type golden struct {
	*device
	t   *testing.T
	tr  *confabtest.Transcript
	ids int
}

// script signs in. List and blocked are the answers to what a sign-in asks.
func script(t *testing.T, address string, list, blocked *confab.Element, cfg roster.Config) *golden {
	t.Helper()
	g := &golden{t: t, tr: confabtest.NewTranscript(t)}
	var setup func(*client.Client)
	g.device, setup = prepare(t, cfg)
	j := jid.MustParse(address)
	g.Client = testclient.Start(t, client.Config{Address: address, Password: "x", Dial: g.tr.Dial, Server: j.Domainpart() + ":5222"}, setup)
	g.tr.SignIn(address)
	for range 2 { // side by side
		q := g.tr.Next()
		kid := list
		if q.Children[0].Is(nsBlocking, "blocklist") {
			kid = blocked
		} else if v, ok := q.Children[0].Lookup("", "ver"); !ok || v != "" {
			t.Fatalf("the first roster is to be asked for with an empty version: %s", q)
		}
		g.tr.Send(confab.El(confab.NSClient, "iq", kid).Set("type", "result").Set("id", q.Get("id")).String())
	}
	g.tr.Expect(`<presence>...</presence>`)
	g.WaitReady(t)
	return g
}

// asks has f send a request with this payload, which is answered with the children
// of the answer.
func (g *golden) asks(typ, to string, payload, answer *confab.Element, f func(context.Context) error) {
	g.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f(testclient.Context(g.t)) }()
	g.asked(typ, to, payload, answer)
	require.NoError(g.t, <-done)
}

func (g *golden) asked(typ, to string, payload, answer *confab.Element) {
	g.t.Helper()
	g.ids++
	id := fmt.Sprintf("${id%d}", g.ids)
	e := g.tr.Expect(confab.El(confab.NSClient, "iq", payload).Set("type", typ).Set("to", to).Set("id", id).String())
	res := confab.El(confab.NSClient, "iq").Set("type", "result").Set("from", to).Set("id", e.Get("id"))
	if answer != nil {
		res.Children = answer.Children
	}
	g.tr.Send(res.String())
}

// pushed sends a request of the server's and takes the answer.
func (g *golden) pushed(payload *confab.Element) {
	g.t.Helper()
	g.ids++
	id := fmt.Sprintf("push%d", g.ids)
	g.tr.Send(confab.El(confab.NSClient, "iq", payload).Set("type", "set").Set("id", id).String())
	g.tr.Expect(fmt.Sprintf(`<iq type='result' id='%s'/>`, id))
}

func example(t *testing.T, xep string, n int) *confab.Element {
	t.Helper()
	return vectors.Elements(t, xep, n)[0]
}

func TestGoldenBlocking(t *testing.T) {
	g := script(t, "juliet@capulet.com/chamber", query(), example(t, "0191", 4).Children[0], roster.Config{})
	assert.Equal(t, "[iago@shakespeare.lit romeo@montague.net]", fmt.Sprint(g.b.Blocked()))
	romeo := jid.MustParse("romeo@montague.net")
	g.asks("set", "", example(t, "0191", 10).Children[0], nil, func(ctx context.Context) error { return g.b.Unblock(ctx, romeo) })
	g.pushed(example(t, "0191", 12).Children[0])
	assert.Len(t, g.blocks.Next(t, nil).Unblocked, 1)
	g.asks("set", "", example(t, "0191", 6).Children[0], nil, func(ctx context.Context) error { return g.b.Block(ctx, romeo) })
	g.pushed(example(t, "0191", 8).Children[0])
	assert.Len(t, g.blocks.Next(t, nil).Blocked, 1)
	g.pushed(example(t, "0191", 15).Children[0])
	assert.Len(t, g.blocks.Next(t, nil).Unblocked, 2)
	assert.Empty(t, g.b.Blocked())
	assert.Empty(t, g.blocks.All(), "a change was told twice")
}

func TestGoldenReport(t *testing.T) {
	g := script(t, "juliet@example.com/chamber", query(), confab.El(nsBlocking, "blocklist"), roster.Config{})
	block := example(t, "0377", 6).Children[0]
	text := block.Children[0].Children[0].Child("urn:xmpp:reporting:1", "text").Text
	info := example(t, "0377", 1).Clone()
	romeo := jid.MustParse("romeo@example.net")
	r := roster.Report{JID: romeo, Reason: roster.Spam, Text: text, Lang: "en",
		Messages: []roster.StanzaID{{By: romeo, ID: "28482-98726-73623"}, {By: romeo, ID: "38383-38018-18385"}}}
	done := make(chan error, 1)
	go func() { done <- g.b.Report(testclient.Context(t), r) }()
	g.asked("get", "example.com", confab.El("http://jabber.org/protocol/disco#info", "query"), info)
	g.asked("set", "", block, nil)
	require.NoError(t, <-done)
	assert.True(t, g.b.IsBlocked(romeo))

	// The opt-ins of example 4, which the server is not asked about again.
	r.ToOrigin, r.ToThirdParties, r.Messages = true, true, nil
	r.Text = example(t, "0377", 4).Child("urn:xmpp:reporting:1", "text").Text
	want := confab.El(nsBlocking, "block", confab.El(nsBlocking, "item", example(t, "0377", 4)).Set("jid", romeo.String()))
	g.asks("set", "", want, nil, func(ctx context.Context) error { return g.b.Report(ctx, r) })
}

func TestGoldenInvitation(t *testing.T) {
	g := script(t, "juliet@capulet.net/balcony", query(), confab.El(nsBlocking, "blocklist"), roster.Config{})
	i, err := roster.ParseInvitation("xmpp:romeo@montague.net?roster;preauth=1tMFqYDdKhfe2pwp;name=Romeo+Montague")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- g.r.AcceptInvitation(testclient.Context(t), i) }()
	it := item("romeo@montague.net").Set("name", "Romeo Montague")
	g.asked("set", "", query(it), nil)
	g.pushed(query(it.Set("subscription", "none")))
	out := g.tr.Expect(example(t, "0379", 3).Set("id", "*").String())
	assert.Equal(t, "subscribe", out.Get("type"))
	require.NoError(t, <-done)
	// Romeo asks back and is expected, as the server announced no approval in advance.
	g.tr.Send(`<presence from='romeo@montague.net' to='juliet@capulet.net' type='subscribe' />`)
	g.tr.Expect(`<presence to='romeo@montague.net' type='subscribed' id='*'/>`)
	assert.True(t, g.requests.Next(t, nil).Accepted)

	// The other side, whose token is another one.
	own, err := g.r.Invite(testclient.Context(t), roster.InviteOptions{})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(own.URI(), "xmpp:juliet@capulet.net?roster;preauth="))
	in := example(t, "0379", 5).Clone()
	in.Child("urn:xmpp:pars:0", "preauth").Set("token", own.Token)
	g.tr.Send(in.Set("from", "nurse@capulet.net").Set("to", "juliet@capulet.net").String())
	g.tr.Expect(`<presence to='nurse@capulet.net' type='subscribed' id='*'/>`)
	g.tr.Expect(`<presence to='nurse@capulet.net' type='subscribe' id='*'/>`)
	assert.True(t, g.requests.Next(t, nil).Invited)
}

func TestGoldenInviteCommands(t *testing.T) {
	g := script(t, "romeo@example.com/x", query(), confab.El(nsBlocking, "blocklist"), roster.Config{})
	var i roster.Invitation
	g.asks("set", "example.com", example(t, "0401", 3).Children[0], example(t, "0401", 4), func(ctx context.Context) (err error) {
		i, err = roster.RequestInvitation(ctx, g)
		return err
	})
	assert.Equal(t, roster.Invitation{JID: jid.MustParse("inviter@example.com"), Token: "TOKEN", Account: true,
		Expires: time.Date(2017, 11, 6, 2, 56, 15, 0, time.UTC), LandingURL: "https://example.com/invite/#TOKEN"}, i)
	assert.Equal(t, "xmpp:inviter@example.com?roster;preauth=TOKEN;ibr=y", i.URI())

	done := make(chan error, 1)
	go func() {
		var err error
		i, err = roster.RequestAccountInvitation(testclient.Context(t), g, roster.AccountOptions{User: "juliet", Subscribe: true})
		done <- err
	}()
	g.asked("set", "example.com", example(t, "0401", 5).Children[0], example(t, "0401", 6))
	submit := example(t, "0401", 7).Children[0].Clone()
	submit.Children[0].Children[0].Set("type", "text-single")
	submit.Children[0].Add(confab.El("jabber:x:data", "field", confab.El("jabber:x:data", "value").SetText("1")).
		Set("var", "roster-subscription").Set("type", "boolean"))
	g.asked("set", "example.com", submit, example(t, "0401", 8))
	require.NoError(t, <-done)
	assert.True(t, i.Register)
	assert.Equal(t, "xmpp:juliet@example.com?register;preauth=TOKEN", i.URI())
}

func TestGoldenMoved(t *testing.T) {
	list := query(item("juliet@im.example.net").Set("subscription", "both"))
	g := script(t, "romeo@montague.example/laptop", list, confab.El(nsBlocking, "blocklist"), roster.Config{})
	g.tr.Send(example(t, "0283", 2).Clone().Set("from", "juliet@capulet.example").String())
	g.asked("get", "juliet@im.example.net", example(t, "0283", 3).Children[0], example(t, "0283", 4))
	m := g.moved.Next(t, nil)
	assert.Equal(t, "juliet@im.example.net juliet@capulet.example", m.Old.String()+" "+m.New.String())
	g.requests.Next(t, nil)

	// The other side.
	require.NoError(t, g.r.Subscribe(testclient.Context(t), jid.MustParse("romeo@montague.example.com"), roster.WithMoved(jid.MustParse("juliet@im.example.net"))))
	g.tr.Expect(example(t, "0283", 2).Clone().Set("to", "romeo@montague.example.com").Set("id", "*").String())
	done := make(chan error, 1)
	go func() {
		done <- roster.PublishMove(testclient.Context(t), g, jid.MustParse("juliet@capulet.example/x"))
	}()
	q := g.tr.Next()
	want := example(t, "0283", 1).Children[0]
	assert.Equal(t, strings.TrimSpace(want.Children[0].Children[0].Children[0].FullText()), q.Children[0].Children[0].FullText())
	assert.Equal(t, "urn:xmpp:moved:1", q.Children[0].Children[0].Get("node"))
	assert.Equal(t, "current", q.Children[0].Children[0].Children[0].Get("id"))
	g.tr.Send(fmt.Sprintf(`<iq type='result' id='%s'/>`, q.Get("id")))
	require.NoError(t, <-done)
}

func TestGoldenSearch(t *testing.T) {
	g := script(t, "romeo@montague.net/home", query(), confab.El(nsBlocking, "blocklist"), roster.Config{})
	service := jid.MustParse("characters.shakespeare.lit")
	search := func(answer *confab.Element) (s *roster.Search) {
		g.asks("get", service.String(), example(t, "0055", 1).Children[0], answer, func(ctx context.Context) (err error) {
			s, err = roster.NewSearch(ctx, g, service)
			return err
		})
		return s
	}
	const ns = "jabber:iq:search"
	s := search(confab.El("", "iq", confab.El(ns, "query", confab.El(ns, "instructions").SetText("Fill in one or more fields"),
		confab.El(ns, "first"), confab.El(ns, "last"), confab.El(ns, "nick"), confab.El(ns, "email")))) // example 2
	assert.Equal(t, []string{"first", "last", "nick", "email"}, s.Fields)
	var f *roster.Found
	find := func(payload, answer *confab.Element, values map[string]string) {
		g.asks("set", service.String(), payload, answer, func(ctx context.Context) (err error) {
			f, err = s.Find(ctx, g, values)
			return err
		})
	}
	find(example(t, "0055", 3).Children[0], example(t, "0055", 4), map[string]string{"last": "Capulet"})
	require.Len(t, f.People, 2)
	assert.Equal(t, "juliet@capulet.com JuliC", f.People[0].JID.String()+" "+f.People[0].Fields["nick"])
	find(example(t, "0055", 3).Children[0], example(t, "0055", 5), map[string]string{"last": "Capulet"})
	assert.Empty(t, f.People)

	s = search(example(t, "0055", 7))
	assert.Equal(t, []string{"first", "last", "x-gender"}, s.Fields)
	submit := example(t, "0055", 8).Children[0].Clone()
	submit.Children[0].Children[0].Set("type", "hidden")
	submit.Children[0].Children[1].Set("type", "list-single")
	find(submit, example(t, "0055", 9), map[string]string{"x-gender": "male"})
	require.Len(t, f.People, 2)
	assert.Equal(t, "benvolio@montague.net", f.People[0].JID.String())
	assert.Len(t, f.Columns, 4)
}

func TestGoldenPresence(t *testing.T) {
	list := query(item("juliet@capulet.com").Set("subscription", "both"), item("narrator@moby-dick.lit").Set("subscription", "both"))
	g := script(t, "starbuck@moby-dick.lit/x", list, confab.El(nsBlocking, "blocklist"), roster.Config{})
	assert.Empty(t, g.added.All(), "the first roster comes without events")
	away := example(t, "0319", 1)
	g.tr.Send(away.String())
	e := g.presence.Next(t, nil)
	since := time.Date(1969, 7, 21, 2, 56, 15, 0, time.UTC)
	assert.True(t, e.New.Show == "away" && e.New.Idle.Equal(since))
	g.tr.Send(example(t, "0319", 2).String())
	e = g.presence.Next(t, nil)
	assert.True(t, e.New.Available && e.New.Idle.IsZero() && e.Old.Idle.Equal(since))
	require.NoError(t, g.r.SendPresence(testclient.Context(t), jid.MustParse("x@y.test"), roster.Own{Show: "away", Idle: since}))
	out := g.tr.Next() // with the client's capabilities behind
	assert.Equal(t, "x@y.test", out.Get("to"))
	require.GreaterOrEqual(t, len(out.Children), 2)
	for i, c := range away.Children {
		assert.Equal(t, c.Name, out.Children[i].Name)
		assert.Equal(t, c.Text+c.Get("since"), out.Children[i].Text+out.Children[i].Get("since"))
	}

	// Nicknames.
	subscribe := example(t, "0172", 3)
	g.tr.Send(subscribe.Clone().Set("from", "ishmael@pequod.test").String())
	assert.Equal(t, "Ishmael", g.requests.Next(t, nil).Nick)
	require.NoError(t, g.r.Subscribe(testclient.Context(t), jid.MustParse("ahab@pequod.test"), roster.WithNick("Ishmael")))
	g.tr.Expect(confab.El(confab.NSClient, "presence", subscribe.Children...).Set("to", "ahab@pequod.test").Set("type", "subscribe").Set("id", "*").String())
	const nsEvent, nsNick = "http://jabber.org/protocol/pubsub#event", "http://jabber.org/protocol/nick"
	g.tr.Send(confab.El(confab.NSClient, "message", confab.El(nsEvent, "event", confab.El(nsEvent, "items", confab.El(nsEvent, "item",
		confab.El(nsNick, "nick").SetText("CallMeIshmael"))).Set("node", nsNick))).Set("from", "narrator@moby-dick.lit").Set("type", "headline").String()) // example 6
	n := g.nicks.Next(t, nil)
	assert.Equal(t, "narrator@moby-dick.lit CallMeIshmael", n.JID.String()+" "+n.Nick)
}
