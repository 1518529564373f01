package bookmarks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// list is how all bookmarks are asked for: XEP-0402, example 4, and a page (XEP-0059).
const list = "<iq type='get' id='${list}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>" +
	"<items node='urn:xmpp:bookmarks:1'/><set xmlns='http://jabber.org/protocol/rsm'><max>50</max></set></pubsub></iq>"

const nothing = "<iq type='result' id='${list}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub></iq>"

const converts2 = "<iq type='result' from='juliet@capulet.lit' id='${disco}'><query xmlns='http://jabber.org/protocol/disco#info'>" +
	"<identity category='account' type='registered'/><feature var='urn:xmpp:bookmarks:1#compat'/><feature var='urn:xmpp:bookmarks:1#compat-pep'/></query></iq>"

const askDisco = "<iq type='get' id='${disco}' to='juliet@capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"

// script signs a device in to a scripted server that has no bookmarks, and converts.
func script(t *testing.T) (*confabtest.Transcript, *device) {
	t.Helper()
	return scriptWith(t, nothing, converts2)
}

func scriptWith(t *testing.T, has, disco string) (*confabtest.Transcript, *device) {
	t.Helper()
	tr := confabtest.NewTranscript(t)
	d, setup := prepare(t, nil)
	d.Client = testclient.Start(t, client.Config{Address: "juliet@capulet.lit", Password: "secret", Dial: tr.Dial}, setup)
	tr.SignIn("juliet@capulet.lit/balcony")
	tr.Expect(list)
	tr.Send(has)
	require.Equal(t, "presence", tr.Next().Name.Local)
	d.WaitReady(t)
	tr.Expect(askDisco)
	tr.Send(disco)
	// What has changed before the server knew that events are wanted.
	tr.Expect(strings.ReplaceAll(list, "${list}", "${second}"))
	tr.Send(strings.NewReplacer("${list}", "${second}").Replace(has))
	return tr, d
}

// example returns the elements of an example, whose XML has lost its namespace.
func example(t *testing.T, xep string, number int, space string) []*confab.Element {
	t.Helper()
	for _, e := range vectors.Examples(t, xep) {
		if e.Number == number {
			e.XML = strings.NewReplacer("xmlns=''", "xmlns='"+space+"'", "node=''", "node='"+space+"'", "    ...", "").Replace(e.XML)
			els, err := e.Elements()
			require.NoError(t, err)
			return els
		}
	}
	t.Fatalf("XEP-%s has no example %d", xep, number)
	return nil
}

// inner is what a request publishes.
func inner(iq *confab.Element) *confab.Element {
	return iq.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "publish").Child(pubsub.NS, "item").Child(bookmarks.NS, "conference")
}

// options are the publish-options of a request, which may come in any order.
func options(iq *confab.Element) map[string]string {
	all := map[string]string{}
	f := form.Find(iq.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "publish-options"), "")
	for _, fd := range f.Fields {
		v := f.Get(fd.Var)
		if b, ok := f.Bool(fd.Var); ok {
			v = fmt.Sprint(b)
		}
		all[fd.Var] = v
	}
	return all
}

// sent is a request of an example as it stands in a stream, under this name for its id.
func sent(t *testing.T, el *confab.Element, id string) string {
	t.Helper()
	b, err := el.Clone().Set("from", "").Set("id", "${"+id+"}").AppendXML(nil, "")
	require.NoError(t, err)
	return string(b)
}

// expectGet waits for the request that goes before each change, and answers it.
func expectGet(tr *confabtest.Transcript, room, item string) {
	got := tr.Expect("<iq type='get' id='*'><pubsub xmlns='http://jabber.org/protocol/pubsub'>" +
		"<items node='urn:xmpp:bookmarks:1'><item id='" + room + "'/></items></pubsub></iq>")
	tr.Send("<iq type='result' id='" + got.Get("id") + "'><pubsub xmlns='http://jabber.org/protocol/pubsub'>" +
		"<items node='urn:xmpp:bookmarks:1'>" + item + "</items></pubsub></iq>")
}

func background(f func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// The examples of XEP-0402.
func TestExamples(t *testing.T) {
	ctx := testclient.Context(t)
	has := example(t, "0402", 5, bookmarks.NS)[0].Set("id", "${list}")
	b, err := has.AppendXML(nil, "")
	require.NoError(t, err)
	tr, d := scriptWith(t, string(b), converts2)
	assert.Equal(t, strs(orchard, play), d.rooms())
	m, _ := d.Get(orchard)
	assert.Equal(t, "The Orcard JC", m.Name+" "+m.Nick, "example 5 has a typo, for example 8")
	require.Len(t, m.Extensions, 1)
	d.awaitAct(t, "join", play)
	d.awaitAct(t, "join", orchard)

	// Example 14: retracted elsewhere. Example 12: added elsewhere.
	tr.Send(vectorXML(t, 14))
	d.removed.Next(t, nil)
	d.awaitAct(t, "leave", play)
	tr.Send(vectorXML(t, 12))
	assert.Equal(t, "The Play's the Thing", d.awaitAdded(t, play).Name)
	d.awaitAct(t, "join", play)

	// Example 10: removed here.
	done := background(func() error { return d.Remove(ctx, play) })
	tr.Expect(sent(t, example(t, "0402", 10, bookmarks.NS)[0], "remove"))
	tr.Send("<iq type='result' id='${remove}'/>")
	require.NoError(t, <-done)
	d.awaitAct(t, "leave", play)

	// Example 6: added here.
	done = background(func() error {
		return d.Set(ctx, bookmarks.Bookmark{Room: play, Name: "The Play's the Thing", Nick: "JC", Autojoin: true})
	})
	expectGet(tr, play.String(), "")
	want := example(t, "0402", 6, bookmarks.NS)[0]
	got := tr.Next()
	assert.Equal(t, stripped(inner(want)), stripped(inner(got)))
	assert.Equal(t, options(want), options(got))
	tr.Set("add", got.Get("id"))
	tr.Send("<iq type='result' id='${add}'/>")
	require.NoError(t, <-done)
	d.awaitAct(t, "join", play)

	// Example 8 is not numbered among the vectors: the typo is corrected, and what
	// another client has put there stays.
	m.Name = "The Orchard"
	done = background(func() error { return d.Set(ctx, m) })
	item := has.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "items").Children[1]
	require.Equal(t, orchard.String(), item.Get("id"))
	x, err := item.AppendXML(nil, "http://jabber.org/protocol/pubsub")
	require.NoError(t, err)
	expectGet(tr, orchard.String(), string(x))
	got = tr.Next()
	assert.Equal(t, strings.Replace(stripped(item.Children[0]), "The Orcard", "The Orchard", 1), stripped(inner(got)))
	tr.Set("edit", got.Get("id"))
	tr.Send("<iq type='result' id='${edit}'/>")
	require.NoError(t, <-done)
	m, _ = d.Get(orchard)
	assert.Equal(t, "The Orchard", m.Name)
}

func vectorXML(t *testing.T, number int) string {
	t.Helper()
	b, err := example(t, "0402", number, bookmarks.NS)[0].AppendXML(nil, "")
	require.NoError(t, err)
	return string(b)
}

// stripped is an element without the white space between its children.
func stripped(el *confab.Element) string {
	el = el.Clone()
	var strip func(*confab.Element)
	strip = func(e *confab.Element) {
		if len(e.Children) > 0 {
			e.Text = ""
		}
		for _, c := range e.Children {
			c.Tail = ""
			strip(c)
		}
	}
	strip(el)
	el.Tail = ""
	return el.String()
}

// XEP-0469, example 1, whose publish-options are left out there.
func TestPinnedExample(t *testing.T) {
	ctx := testclient.Context(t)
	want := inner(example(t, "0469", 1, "urn:xmpp:bookmarks-pinning:0")[0])
	tr, d := script(t)
	done := background(func() error {
		return d.Set(ctx, bookmarks.Bookmark{Room: play, Name: "The Play's the Thing", Nick: "JC", Autojoin: true, Pinned: true})
	})
	expectGet(tr, play.String(), "")
	got := tr.Next()
	assert.Equal(t, stripped(want), stripped(inner(got)))
	tr.Set("id", got.Get("id"))
	tr.Send("<iq type='result' id='${id}'/>")
	require.NoError(t, <-done)
	m, _ := d.Get(play)
	assert.True(t, m.Pinned)
}

// XEP-0492, examples 1 and 2; the third is not well-formed.
func TestNotifyExamples(t *testing.T) {
	tr, d := script(t)
	for n, want := range map[int]chat.Notify{
		1: {Level: chat.NotifyNever},
		2: {Level: chat.NotifyAlways, For: []chat.NotifyFor{{Category: "client", Type: "pc", Level: chat.NotifyNever},
			{Category: "client", Type: "phone", Level: chat.NotifyOnMention}, {Category: "gateway", Level: chat.NotifyOnMention}}},
	} {
		n492 := example(t, "0492", n, "urn:xmpp:notification-settings:1")[0]
		conf := confab.El(bookmarks.NS, "conference", confab.El(bookmarks.NS, "extensions", n492))
		b, err := conf.AppendXML(nil, "")
		require.NoError(t, err)
		room := jid.MustParse(fmt.Sprintf("room%d@x.test", n))
		tr.Send(event("juliet@capulet.lit", room.String(), "", string(b)))
		m := d.awaitAdded(t, room)
		assert.Equal(t, want.Level, m.Notify.Level)
		assert.Equal(t, want.For, m.Notify.For)

		// Written, it is the same.
		ctx := testclient.Context(t)
		done := background(func() error { return d.Set(ctx, bookmarks.Bookmark{Room: coven, Notify: want}) })
		expectGet(tr, coven.String(), "")
		got := tr.Next()
		assert.Equal(t, stripped(conf), stripped(inner(got)))
		tr.Set("id", got.Get("id"))
		tr.Send("<iq type='result' id='${id}'/>")
		require.NoError(t, <-done)
	}
}

// XEP-0049, examples 1 and 2, with the bookmarks of XEP-0048, example 1: they are read,
// taken over, and written.
func TestOldExamples(t *testing.T) {
	st := vectors.Elements(t, "0048", 1)[0]
	x, err := st.AppendXML(nil, "")
	require.NoError(t, err)
	tr, d := scriptWith(t, nothing, strings.ReplaceAll(converts2, "#compat'", "#else'"))
	// As example 2 of XEP-0049, with another payload.
	tr.Expect("<iq type='get' id='${old}'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query></iq>")
	tr.Send("<iq type='result' id='${old}'><query xmlns='jabber:iq:private'>" + string(x) + "</query></iq>")
	const council = "council@conference.underhill.org"
	expectGet(tr, council, "")
	got := tr.Expect("<iq type='set' id='${new}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:bookmarks:1'>" +
		"<item id='" + council + "'><conference xmlns='urn:xmpp:bookmarks:1' name='Council of Oberon' autojoin='true'><nick>Puck</nick></conference></item></publish>" +
		"<publish-options>...</publish-options></pubsub></iq>")
	require.NotNil(t, got)
	tr.Send("<iq type='result' id='${new}'/>")
	assert.Equal(t, "Puck", d.awaitAdded(t, jid.MustParse(council)).Nick)
	// As example 1 of XEP-0049.
	tr.Expect("<iq type='set' id='${write}'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>" +
		"<conference name='Council of Oberon' autojoin='true' jid='" + council + "'><nick>Puck</nick>" +
		"<merged xmlns='https://github.com/confab-im/confab/bookmarks'/></conference></storage></query></iq>")
	tr.Send("<iq type='result' id='${write}'/>")
	// The change has woken the whole once more; there is nothing to do then.
	tr.Expect("<iq type='get' id='${more}'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query></iq>")
	tr.Send("<iq type='result' id='${more}'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>" +
		"<conference name='Council of Oberon' autojoin='true' jid='" + council + "'><nick>Puck</nick>" +
		"<merged xmlns='https://github.com/confab-im/confab/bookmarks'/></conference></storage></query></iq>")
	d.awaitAct(t, "join", jid.MustParse(council))
}
