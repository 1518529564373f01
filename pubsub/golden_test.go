package pubsub_test

import (
	"context"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// script signs a client in to a scripted server.
func script(t *testing.T, address string, setup ...func(*client.Client)) (*confabtest.Transcript, *testclient.Client) {
	t.Helper()
	tr := confabtest.NewTranscript(t)
	full := jid.MustParse(address)
	c := testclient.Start(t, client.Config{Address: full.Bare().String(), Password: "secret", Dial: tr.Dial}, setup...)
	tr.SignIn(address)
	require.Equal(t, "presence", tr.Next().Name.Local)
	c.WaitReady(t)
	return tr, c
}

// example returns a stanza of a XEP as it stands in a stream: without from, with an
// id that is the client's.
func example(t *testing.T, xep string, number int) string {
	t.Helper()
	el := vectors.Elements(t, xep, number)[0].Clone()
	if typ := el.Get("type"); el.Name.Local == "iq" {
		el.Set("id", "${id}")
		if typ == "get" || typ == "set" {
			el.Set("from", "").Set("id", "*")
		}
	}
	b, err := el.AppendXML(nil, "")
	require.NoError(t, err)
	return string(b)
}

// ask has a client ask while the script answers.
func ask[T any](t *testing.T, tr *confabtest.Transcript, want, answer string, f func() (T, error)) (T, error) {
	t.Helper()
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	tr.Set("id", tr.Expect(want).Get("id"))
	tr.Send(answer)
	r := <-done
	return r.v, r.err
}

const empty = "<iq type='result' from='pubsub.shakespeare.lit' id='${id}'/>"

func nothing(err error) (struct{}, error) { return struct{}{}, err }

func TestExamples(t *testing.T) {
	ctx := testclient.Context(t)
	tr, c := script(t, "francisco@denmark.lit/barracks")
	s := pubsub.New(c, jid.MustParse("pubsub.shakespeare.lit"))
	const node = "princely_musings"

	sub, err := ask(t, tr, example(t, "0060", 28), example(t, "0060", 29),
		func() (pubsub.Subscription, error) { return s.Subscribe(ctx, node) })
	require.NoError(t, err)
	assert.Equal(t, pubsub.Subscription{Node: node, JID: jid.MustParse("francisco@denmark.lit"),
		State: pubsub.Subscribed, ID: "ba49252aaa4f5d320c24d3766f0bdcade78c78d3"}, sub)

	_, err = ask(t, tr, example(t, "0060", 28), example(t, "0060", 33),
		func() (pubsub.Subscription, error) { return s.Subscribe(ctx, node) })
	var e *pubsub.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "closed-node", e.Condition)
	assert.Equal(t, stanza.NotAllowed, e.Stanza.Condition)
	require.NotErrorIs(t, err, pubsub.ErrNotFound)

	_, err = ask(t, tr, example(t, "0060", 28), example(t, "0060", 40),
		func() (pubsub.Subscription, error) { return s.Subscribe(ctx, node) })
	require.ErrorIs(t, err, pubsub.ErrNotFound)
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "xmpp:pubsub.shakespeare.lit?;node=some-other-node", e.Redirect)

	subs, err := ask(t, tr, example(t, "0060", 20), example(t, "0060", 21),
		func() ([]pubsub.Subscription, error) { return s.Subscriptions(ctx, node) })
	require.NoError(t, err)
	require.Len(t, subs, 2)
	assert.Equal(t, "004-yyy", subs[1].ID)

	_, err = ask(t, tr, example(t, "0060", 47), empty, func() (struct{}, error) { return nothing(s.Unsubscribe(ctx, node, "")) })
	require.NoError(t, err)
	_, err = ask(t, tr, example(t, "0060", 47), example(t, "0060", 50), func() (struct{}, error) { return nothing(s.Unsubscribe(ctx, node, "")) })
	require.NoError(t, err, "not subscribed anyhow")
	_, err = ask(t, tr, example(t, "0060", 125), empty, func() (string, error) { return s.Create(ctx, node, pubsub.Config{}) })
	require.NoError(t, err)
	_, err = ask(t, tr, example(t, "0060", 157), example(t, "0060", 41), func() (struct{}, error) { return nothing(s.Delete(ctx, node, "")) })
	require.ErrorIs(t, err, pubsub.ErrNotFound)

	items, err := ask(t, tr, example(t, "0060", 80), "<iq type='result' id='${id}' from='pubsub.shakespeare.lit'/>",
		func() ([]pubsub.Item, error) { return s.Latest(ctx, node, 2) })
	require.NoError(t, err)
	assert.Empty(t, items)

	// XEP-0060, example 114; the answer may leave the id out.
	pub := vectors.Elements(t, "0060", 114)[0].Child(pubsub.NS, "pubsub").Child(pubsub.NS, "publish").Child(pubsub.NS, "item")
	id, err := ask(t, tr, example(t, "0060", 114), empty, func() (string, error) {
		return s.Publish(ctx, node, pubsub.Item{ID: pub.Get("id"), Payload: pub.Children[0]}, pubsub.Config{Access: pubsub.AccessPresence})
	})
	require.NoError(t, err)
	assert.Equal(t, "ae890ac52d0df67ed7cfdf51b644e901", id)
}

func TestExamplesOfPrivateData(t *testing.T) {
	ctx := testclient.Context(t)
	tr, c := script(t, "juliet@capulet.lit/balcony")
	want := vectors.Elements(t, "0223", 4)[0].Clone()
	item := want.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "publish").Child(pubsub.NS, "item")
	// The XEP writes true where we write 1, which means the same.
	want.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "publish-options").Child("jabber:x:data", "x").Children[1].Children[0].SetText("1")
	b, err := want.Set("from", "").Set("id", "*").AppendXML(nil, "")
	require.NoError(t, err)
	_, err = ask(t, tr, string(b), "<iq type='result' id='${id}'/>", func() (string, error) {
		return pubsub.New(c, jid.JID{}).Publish(ctx, "storage:bookmarks", pubsub.Item{Payload: item.Children[0]}, pubsub.Private())
	})
	require.NoError(t, err)
}

func TestExampleEvents(t *testing.T) {
	for name, test := range map[string]struct {
		xep    string
		number int
		want   pubsub.Event
	}{
		"payload":       {"0060", 100, pubsub.Event{Kind: pubsub.Published}},
		"no payload":    {"0060", 101, pubsub.Event{Kind: pubsub.Published}},
		"retract":       {"0060", 117, pubsub.Event{Kind: pubsub.Retracted, Retracted: []string{"ae890ac52d0df67ed7cfdf51b644e901"}}},
		"configuration": {"0060", 150, pubsub.Event{Kind: pubsub.Configured}},
		"settings":      {"0060", 151, pubsub.Event{Kind: pubsub.Configured}},
		"delete":        {"0060", 160, pubsub.Event{Kind: pubsub.Deleted, Redirect: "xmpp:hamlet@denmark.lit?;node=blog"}},
		"purge":         {"0060", 165, pubsub.Event{Kind: pubsub.Purged}},
		"subscription":  {"0060", 224, pubsub.Event{Kind: pubsub.SubscriptionChanged}},
		"PEP":           {"0163", 2, pubsub.Event{Kind: pubsub.Published, Node: "http://jabber.org/protocol/tune"}},
		"PEP, old":      {"0163", 9, pubsub.Event{Kind: pubsub.Published, Node: "http://jabber.org/protocol/tune", Old: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var seen *testclient.Seen[*pubsub.Event]
			tr, _ := script(t, "romeo@montague.lit/orchard", func(c *client.Client) {
				pubsub.Events(c, nil)
				seen = testclient.Watch[*pubsub.Event](c)
			})
			el := vectors.Elements(t, test.xep, test.number)[0]
			b, err := el.AppendXML(nil, "")
			require.NoError(t, err)
			tr.Send(string(b))
			e := seen.Next(t, nil)
			if test.want.Node == "" {
				test.want.Node = "princely_musings"
			}
			assert.Equal(t, test.want.Node, e.Node)
			assert.Equal(t, test.want.Kind, e.Kind)
			assert.Equal(t, test.want.Retracted, e.Retracted)
			assert.Equal(t, test.want.Redirect, e.Redirect)
			assert.Equal(t, test.want.Old, e.Old)
			assert.Equal(t, test.want.Old, !e.Stamp.IsZero())
			assert.Equal(t, el.Get("from"), e.From.String())
			switch test.number {
			case 100:
				assert.Equal(t, "Soliloquy", e.Items[0].Payload.ChildText("http://www.w3.org/2005/Atom", "title"))
			case 101:
				assert.False(t, e.Complete())
			case 151:
				assert.Equal(t, "Princely Musings (Atom)", e.Form.Get("pubsub#title"))
			case 224:
				assert.Equal(t, pubsub.Subscribed, e.Subscription.State)
			}
		})
	}
}

// What others make up must not pass for an event.
func TestForgedEvents(t *testing.T) {
	var seen *testclient.Seen[*pubsub.Event]
	var messages *testclient.Seen[*confab.Message]
	tr, _ := script(t, "romeo@montague.lit/orchard", func(c *client.Client) {
		// Of two functions that look, the first takes what it sees.
		pubsub.OnEvent(c, "n", func(_ context.Context, e *pubsub.Event) bool { return e.From.String() == "pubsub.montague.lit" })
		pubsub.Events(c, func(e *pubsub.Event) bool { return e.Node != "not mine" })
		seen = testclient.Watch[*pubsub.Event](c)
		messages = testclient.Watch[*confab.Message](c)
	})
	event := func(attr, node string) string {
		return "<message " + attr + "><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='" + node +
			"'><item id='x'><mood xmlns='urn:example:mood'/></item></items></event></message>"
	}
	for _, forged := range []string{
		event("from='mallory@evil.lit/client' type='headline'", "n"),
		event("from='romeo@montague.lit/other' type='headline'", "n"),
		event("from='pubsub.montague.lit' type='chat'", "n"),
		event("from='pubsub.montague.lit' type='groupchat'", "n"),
		event("from='pubsub.montague.lit' type='headline'", ""),
		event("from='pubsub.montague.lit' type='headline'", "not mine"),
		"<message from='pubsub.montague.lit'><event xmlns='http://jabber.org/protocol/pubsub#event'/></message>",
		"<message from='pubsub.montague.lit'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'/></event></message>",
		"<message from='pubsub.montague.lit'><event xmlns='http://jabber.org/protocol/pubsub#event'><subscription node='n' jid='@@'/></event></message>",
	} {
		tr.Send(forged)
		assert.NotNil(t, messages.Next(t, nil), "whoever asked for no events gets a message: %s", forged)
	}
	tr.Send(event("from='pubsub.montague.lit' type='headline'", "n"))
	e := seen.Next(t, nil)
	assert.Equal(t, "pubsub.montague.lit", e.From.String())
	assert.False(t, e.Own())
	tr.Send(event("type='headline'", "n"))
	e = seen.Next(t, nil)
	assert.Equal(t, "romeo@montague.lit", e.From.String())
	assert.True(t, e.Own())
	tr.Send("<message from='a@montague.lit/b'><body>the end</body></message>")
	assert.Equal(t, "the end", messages.Next(t, nil).Body, "events that were taken are no messages")
	assert.Empty(t, seen.All())
}

// Answers that make no sense are errors, or empty.
func TestHostileAnswers(t *testing.T) {
	ctx := testclient.Context(t)
	tr, c := script(t, "romeo@montague.lit/orchard")
	s := pubsub.New(c, jid.MustParse("pubsub.montague.lit"))
	answer := func(payload string) string {
		return "<iq type='result' id='${id}' from='pubsub.montague.lit'>" + payload + "</iq>"
	}
	const in = "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
	next := func() { tr.Set("id", tr.Next().Get("id")) }
	run := func(f func() error, answers ...string) error {
		done := make(chan error, 1)
		go func() { done <- f() }()
		for _, a := range answers {
			next()
			tr.Send(answer(a))
		}
		return <-done
	}
	// A page that leads to itself for ever.
	loop := in + "<items node='n'><item id='a'/></items><set xmlns='http://jabber.org/protocol/rsm'><first>a</first><last>a</last></set></pubsub>"
	n := 0
	require.NoError(t, run(func() error {
		for _, err := range s.Items(ctx, "n") {
			if n++; err != nil {
				return err
			}
		}
		return nil
	}, loop, loop))
	assert.Equal(t, 2, n)
	// More than was asked for.
	require.NoError(t, run(func() error {
		items, err := s.Latest(ctx, "n", 1)
		assert.Equal(t, []pubsub.Item{{ID: "b"}}, items)
		return err
	}, in+"<items node='n'><item id='a'/><item id='b'/></items></pubsub>"))
	// Another item than was asked for.
	require.ErrorIs(t, run(func() error { _, err := s.Item(ctx, "n", "a"); return err },
		in+"<items node='n'><item id='b'/></items></pubsub>"), pubsub.ErrNotFound)
	require.Error(t, run(func() error { _, err := s.Config(ctx, "n"); return err }, ""))
	require.Error(t, run(func() error { _, err := s.Subscribe(ctx, "n"); return err }, ""))
	require.Error(t, run(func() error { _, err := s.Create(ctx, "", pubsub.Config{}); return err }, ""))
	require.NoError(t, run(func() error { _, err := s.Affiliations(ctx, ""); return err },
		in+"<affiliations><affiliation jid='@' affiliation='owner'/></affiliations></pubsub>"))
}

// Mistakes are told before a byte is sent.
func TestBadArguments(t *testing.T) {
	ctx := context.Background()
	s := pubsub.New(nil, jid.MustParse("pubsub.example.org"))
	for name, err := range map[string]error{
		"publish":   second(s.Publish(ctx, "", pubsub.Item{}, pubsub.Config{})),
		"namespace": second(s.Publish(ctx, "n", pubsub.Item{Payload: confab.El("", "x")}, pubsub.Config{})),
		"max":       second(s.Publish(ctx, "n", pubsub.Item{}, pubsub.Config{MaxItems: -2})),
		"retract":   s.Retract(ctx, "n", ""),
		"latest":    second(s.Latest(ctx, "n", 0)),
		"item":      second(s.Item(ctx, "n", "")),
		"items":     second(collect(ctx, s, "")),
		"subscribe": second(s.Subscribe(ctx, "")),
		"purge":     s.Purge(ctx, ""),
		"delete":    s.Delete(ctx, "", ""),
		"configure": s.Configure(ctx, "", pubsub.Config{}),
		"create":    second(s.Create(ctx, "n", pubsub.Config{MaxItems: -5})),
	} {
		assert.Error(t, err, name)
	}
}

func second[T any](_ T, err error) error { return err }

// What Publish does with services that refuse its demands.
func TestLadder(t *testing.T) {
	ctx := testclient.Context(t)
	tr, c := script(t, "romeo@montague.lit/orchard")
	s := pubsub.New(c, jid.MustParse("pubsub.montague.lit"))
	const from = " id='${id}' from='pubsub.montague.lit'>"
	refuse := func(typ, condition, more string) string {
		return "<iq type='error'" + from + "<error type='" + typ + "'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" + more + "</error></iq>"
	}
	met := refuse("cancel", "conflict", "<precondition-not-met xmlns='http://jabber.org/protocol/pubsub#errors'/>")
	settings := func(access, most string) string {
		return "<iq type='result'" + from + "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'><x xmlns='jabber:x:data' type='form'>" +
			"<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#node_config</value></field>" +
			"<field var='pubsub#access_model' type='list-single'><value>" + access + "</value></field><field var='pubsub#max_items'><value>" + most + "</value></field>" +
			"<field var='odd'><value>kept</value></field></x></configure></pubsub></iq>"
	}
	done := "<iq type='result'" + from + "</iq>"
	const (
		publish = "publish with options"
		bare    = "publish"
		get     = "get configure"
		set     = "set configure"
		create  = "set create"
	)
	var last *confab.Element
	next := func() string {
		last = tr.Next()
		tr.Set("id", last.Get("id"))
		p := last.Children[0]
		switch kind := p.Children[0].Name.Local; {
		case kind != "publish":
			return last.Get("type") + " " + kind
		case p.Child(pubsub.NS, "publish-options") != nil:
			return publish
		}
		return bare
	}
	type step struct{ want, answer string }
	cfg := pubsub.Private()
	cfg.MaxItems = pubsub.Max
	for name, test := range map[string]struct {
		steps []step
		err   error
	}{
		"as it should be":     {[]step{{publish, done}}, nil},
		"reconfigured":        {[]step{{publish, met}, {get, settings("open", "1")}, {set, done}, {publish, done}}, nil},
		"no max":              {[]step{{publish, met}, {get, settings("open", "1")}, {set, refuse("modify", "not-acceptable", "")}, {set, refuse("modify", "not-acceptable", "")}, {set, done}, {publish, done}}, nil},
		"compares badly":      {[]step{{publish, met}, {get, settings("whitelist", "max")}, {publish, met}, {get, settings("whitelist", "max")}, {publish, done}}, nil},
		"will not":            {[]step{{publish, met}, {get, settings("open", "1")}, {set, refuse("auth", "forbidden", "")}}, pubsub.ErrPrecondition},
		"changed meanwhile":   {[]step{{publish, met}, {get, settings("open", "1")}, {set, done}, {publish, met}, {get, settings("open", "max")}, {set, done}, {publish, met}}, pubsub.ErrPrecondition},
		"no options":          {[]step{{publish, refuse("cancel", "feature-not-implemented", "")}, {get, settings("whitelist", "max")}, {publish, refuse("cancel", "feature-not-implemented", "")}, {bare, done}}, nil},
		"no options, no node": {[]step{{publish, refuse("modify", "bad-request", "")}, {get, refuse("cancel", "item-not-found", "")}, {create, done}, {publish, done}}, nil},
		"no access model":     {[]step{{publish, refuse("modify", "bad-request", "")}, {get, strings.ReplaceAll(settings("", "1"), "access_model", "x")}}, pubsub.ErrUnsupported},
		"somebody was faster": {[]step{{publish, refuse("modify", "bad-request", "")}, {get, refuse("cancel", "item-not-found", "")}, {create, refuse("cancel", "conflict", "")}, {get, settings("whitelist", "max")}, {publish, done}}, nil},
		"not ours":            {[]step{{publish, refuse("auth", "forbidden", "")}}, stanza.Error{Condition: stanza.Forbidden}},
	} {
		result := make(chan error, 1)
		go func() {
			_, err := s.Publish(ctx, "n", pubsub.Item{ID: "x", Payload: mood("secret")}, cfg)
			result <- err
		}()
		for i, st := range test.steps {
			require.Equal(t, st.want, next(), "%s, step %d: %s", name, i, last)
			if st.want == set {
				require.Contains(t, last.String(), "kept", "unknown settings are sent back")
				require.Contains(t, last.String(), "whitelist")
			}
			tr.Send(st.answer)
		}
		require.ErrorIs(t, <-result, test.err, name)
	}
}

// XEP-0060, examples 170 and 171.
func TestExampleRequest(t *testing.T) {
	ctx := testclient.Context(t)
	var requests *testclient.Seen[*pubsub.SubscriptionRequest]
	var messages *testclient.Seen[*confab.Message]
	tr, c := script(t, "hamlet@denmark.lit/elsinore", func(c *client.Client) {
		pubsub.Requests(c)
		requests = testclient.Watch[*pubsub.SubscriptionRequest](c)
		messages = testclient.Watch[*confab.Message](c)
	})
	el := vectors.Elements(t, "0060", 170)[0]
	forged := el.Clone().Set("from", "mallory@evil.lit/client")
	for _, e := range []*confab.Element{forged, el} {
		b, err := e.AppendXML(nil, "")
		require.NoError(t, err)
		tr.Send(string(b))
	}
	assert.Equal(t, "mallory@evil.lit/client", messages.Next(t, nil).From.String(), "no service has a resource")
	r := requests.Next(t, nil)
	assert.Equal(t, "princely_musings", r.Node)
	assert.Equal(t, "horatio@denmark.lit", r.JID.String())
	require.NoError(t, r.Answer(ctx, c, true))
	want := vectors.Elements(t, "0060", 171)[0].Child("jabber:x:data", "x")
	got := tr.Next()
	assert.Equal(t, "pubsub.shakespeare.lit", got.Get("to"))
	f, err := form.Parse(want)
	require.NoError(t, err)
	a, err := form.Parse(got.Child("jabber:x:data", "x"))
	require.NoError(t, err)
	for _, fd := range f.Fields {
		if fd.Var == "pubsub#allow" {
			assert.Equal(t, "1", a.Get(fd.Var))
			continue
		}
		assert.Equal(t, fd.Values, a.Values(fd.Var), fd.Var)
	}
}
