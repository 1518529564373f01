package disco_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/rsm"
	"github.com/confab-im/confab/internal/stream"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func parse(tb testing.TB, s string) *confab.Element {
	tb.Helper()
	el, err := stream.Parse([]byte(s), stream.Limits{})
	require.NoError(tb, err)
	return el
}

func TestParseInfo(t *testing.T) {
	info, err := disco.ParseInfo(vectors.Elements(t, "0030", 2)[0].Child(disco.NSInfo, "query"))
	require.NoError(t, err)
	id, ok := info.Identity("conference", "text")
	require.True(t, ok)
	assert.Equal(t, "Play-Specific Chatrooms", id.Name)
	_, ok = info.Identity("directory", "")
	assert.True(t, ok)
	_, ok = info.Identity("directory", "user")
	assert.False(t, ok)
	assert.True(t, info.Has("jabber:iq:register"))
	assert.False(t, info.Has("jabber:iq"))

	for _, el := range vectors.Elements(t, "0128", 1) {
		q := el.Child(disco.NSInfo, "query")
		if el.Get("type") != "result" || q == nil {
			continue
		}
		info, err := disco.ParseInfo(q)
		require.NoError(t, err)
		f := info.Form("http://jabber.org/network/serverinfo")
		require.NotNil(t, f)
		assert.NotEmpty(t, f.Fields)
		assert.Nil(t, info.Form("other"))
		// It survives being written.
		again, err := disco.ParseInfo(info.Element())
		require.NoError(t, err)
		assert.Equal(t, info, again)
	}

	for _, bad := range []string{`<query xmlns='urn:x'/>`, `<other xmlns='` + disco.NSInfo + `'/>`} {
		_, err := disco.ParseInfo(parse(t, bad))
		require.Error(t, err)
	}
	_, err = disco.ParseInfo(nil)
	require.Error(t, err)
	_, err = disco.ParseInfo(parse(t, "<query xmlns='"+disco.NSInfo+"'>"+strings.Repeat("<feature var='a'/>", 5000)+"</query>"))
	require.ErrorIs(t, err, disco.ErrTooMuch)
	// What makes no sense is left out.
	info, err = disco.ParseInfo(parse(t, "<query xmlns='"+disco.NSInfo+"'><feature/><x xmlns='jabber:x:data' type='odd'/><other/></query>"))
	require.NoError(t, err)
	assert.Equal(t, disco.Info{}, info)
}

func TestGetInfo(t *testing.T) {
	w := newWorld(t, func(to, node string) *confab.Element {
		if to == "nobody.lit" {
			return refusal("item-not-found")
		}
		return software("X", "a").Set("node", node)
	})
	info, err := disco.GetInfo(ctx, w, jid.MustParse("somebody.lit"), "n")
	require.NoError(t, err)
	assert.Equal(t, "n", info.Node)
	_, err = disco.GetInfo(ctx, w, jid.MustParse("nobody.lit"), "")
	var se stanza.Error
	require.ErrorAs(t, err, &se)
	assert.Equal(t, stanza.ItemNotFound, se.Condition)
}

// paged is a service with n rooms that come in pages of at most most.
func paged(t testing.TB, n, most int) *scripted {
	return &scripted{t: t, answer: func(q *confab.Element) *confab.Element {
		set := q.Child(rsm.NS, "set")
		size, from := most, 0
		if m, err := strconv.Atoi(set.ChildText(rsm.NS, "max")); err == nil {
			size = min(size, m)
		}
		if after := set.ChildText(rsm.NS, "after"); after != "" {
			from, _ = strconv.Atoi(after)
			from++
		}
		res := confab.El(disco.NSItems, "query")
		to := min(n, from+size)
		for i := from; i < to; i++ {
			res.Add(confab.El(disco.NSItems, "item").Set("jid", fmt.Sprintf("room%d@rooms.lit", i)).Set("name", fmt.Sprint(i)))
		}
		if set != nil {
			s := confab.El(rsm.NS, "set", confab.El(rsm.NS, "count").SetText(fmt.Sprint(n)))
			if to > from {
				s.Add(confab.El(rsm.NS, "first").Set("index", fmt.Sprint(from)).SetText(fmt.Sprint(from)), confab.El(rsm.NS, "last").SetText(fmt.Sprint(to-1)))
			}
			res.Add(s)
		}
		return res
	}}
}

// scripted is a session whose questions about items a function answers.
type scripted struct {
	confab.Session
	t      testing.TB
	n      int
	answer func(q *confab.Element) *confab.Element
}

func (s *scripted) LocalAddr() jid.JID { return self }

func (s *scripted) Ask(_ context.Context, iq *confab.Element) (*confab.Element, error) {
	s.n++
	p := s.answer(iq.Children[0])
	if p.Name.Local == "error" {
		return nil, *confab.StanzaError(confab.El(confab.NSClient, "iq", p))
	}
	return confab.El(confab.NSClient, "iq", p), nil
}

func collect(s confab.Requester, opts ...disco.ItemsOption) (items []disco.Item, err error) {
	for it, err := range disco.Items(ctx, s, jid.MustParse("rooms.lit"), "", opts...) {
		if err != nil {
			return items, err
		}
		items = append(items, it)
	}
	return items, nil
}

func TestItems(t *testing.T) {
	s := paged(t, 612, 1000)
	items, err := collect(s)
	require.NoError(t, err)
	require.Len(t, items, 612)
	assert.Equal(t, disco.Item{JID: jid.MustParse("room611@rooms.lit"), Name: "611"}, items[611])
	assert.Equal(t, 3, s.n)

	s = paged(t, 612, 1000)
	items, err = collect(s, disco.Limit(10))
	require.NoError(t, err)
	assert.Len(t, items, 10)
	assert.Equal(t, 1, s.n)

	s = paged(t, 100, 1000)
	items, err = collect(s, disco.PageSize(30), disco.Limit(100))
	require.NoError(t, err)
	assert.Len(t, items, 100)
	assert.Equal(t, 4, s.n)

	_, err = collect(paged(t, 1_000_000, 1000))
	require.ErrorIs(t, err, disco.ErrTooMuch)

	// Leaving the loop asks nothing more.
	s = paged(t, 612, 1000)
	for range disco.Items(ctx, s, jid.MustParse("rooms.lit"), "") {
		break
	}
	assert.Equal(t, 1, s.n)
}

func TestItemsOdd(t *testing.T) {
	answer := func(xml string) *scripted {
		return &scripted{t: t, answer: func(*confab.Element) *confab.Element { return parse(t, xml) }}
	}
	const ns = "<query xmlns='" + disco.NSItems + "'>"
	items, err := collect(answer(ns + "<item/><item jid='@'/><item jid='a@b/'/><other/><item xmlns='urn:x' jid='c'/><item jid='good'/></query>"))
	require.NoError(t, err)
	assert.Equal(t, []disco.Item{{JID: jid.MustParse("good")}}, items)
	_, err = collect(answer("<other xmlns='urn:x'/>"))
	require.Error(t, err)
	_, err = collect(answer("<error xmlns='jabber:client' type='cancel'><forbidden xmlns='" + confab.NSStanzas + "'/></error>"))
	var se stanza.Error
	require.ErrorAs(t, err, &se)

	// Pages that lead in a circle, or on and on without an item.
	for _, item := range []string{"<item jid='a'/>", "<item jid='@'/>"} {
		n := 0
		s := &scripted{t: t, answer: func(*confab.Element) *confab.Element {
			n++
			return parse(t, fmt.Sprintf(ns+"%s<set xmlns='%s'><last>%d</last></set></query>", item, rsm.NS, n%2))
		}}
		_, err := collect(s)
		require.ErrorIs(t, err, disco.ErrTooMuch)
	}

	// Who minds pages is asked without.
	s := &scripted{t: t, answer: func(q *confab.Element) *confab.Element {
		if len(q.Children) > 0 {
			return refusal("bad-request")
		}
		return parse(t, ns+"<item jid='a'/></query>")
	}}
	items, err = collect(s)
	require.NoError(t, err)
	assert.Len(t, items, 1)
}

// A service that does not answer does not hold up those that do.
func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		items := parse(t, "<query xmlns='"+disco.NSItems+"'><item jid='silent.lit'/><item jid='rooms.lit' name='Rooms'/><item jid='gone.lit'/>"+
			"<item jid='admin@montague.lit'/><item jid='montague.lit'/><item jid='pubsub.lit' node='news'/></query>")
		first := true
		w.answer = func(to, _ string) *confab.Element {
			switch to {
			case "montague.lit":
				if first {
					first = false
					return items
				}
				return software("server", "s")
			case "rooms.lit":
				return confab.El(disco.NSInfo, "query", confab.El(disco.NSInfo, "identity").Set("category", "conference").Set("type", "text"),
					confab.El(disco.NSInfo, "feature").Set("var", "http://jabber.org/protocol/muc"))
			case "gone.lit":
				return refusal("remote-server-timeout")
			}
			return nil
		}
		found, err := disco.Services(ctx, w)
		require.NoError(t, err)
		require.Len(t, found, 2)
		assert.Equal(t, "montague.lit", found[0].JID.String())
		assert.Equal(t, "Rooms", found[1].Name)
		assert.Len(t, w.requests(), 5)

		// A Client remembers.
		d := disco.New(w, disco.Config{})
		for range 3 {
			first = len(w.requests()) == 5
			found, err = d.Find(ctx, "http://jabber.org/protocol/muc")
			require.NoError(t, err)
			require.Len(t, found, 1)
			found, err = d.FindIdentity(ctx, "conference", "")
			require.NoError(t, err)
			require.Len(t, found, 1)
		}
		assert.Len(t, w.requests(), 10)
		w.drv.Down(nil, true)
		first = true
		found, err = disco.Find(ctx, w, "nothing")
		require.NoError(t, err)
		assert.Empty(t, found)
	})
}
