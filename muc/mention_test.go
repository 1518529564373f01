package muc_test

import (
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMentions(t *testing.T) {
	for _, c := range []struct {
		text, nick string
		want       bool
	}{
		{"witch: hello", "witch", true}, {"hello Witch!", "witch", true}, {"@witch", "witch", true},
		{"witches", "witch", false}, {"bewitch me", "witch", false}, {"witches and witch", "witch", true},
		{"", "witch", false}, {"hello", "", false}, {"hé, Éva", "éva", true}, {"first witch, come", "first witch", true},
		{"wi-tch", "witch", false}, {"witch_1", "witch", false}, {"witch-1", "witch", true},
	} {
		m := &muc.Message{Message: chat.Message{Message: &confab.Message{}, Content: chat.Content{Text: c.text}}}
		assert.Equal(t, c.want, muc.Mentions(m, c.nick), c)
	}
	room := jid.MustParse(heath)
	m := &muc.Message{Message: chat.Message{Message: &confab.Message{}, Chat: room}}
	m.Content.Mentions = []chat.Mention{{Addr: jid.MustParse(heath + "/witch")}}
	assert.True(t, muc.Mentions(m, "witch"))
	assert.False(t, muc.Mentions(m, "macbeth"))
	m.Content.Mentions = []chat.Mention{{Addr: jid.MustParse("heath@elsewhere.test/witch")}}
	assert.False(t, muc.Mentions(m, "witch"))
	m.Content.Mentions = []chat.Mention{{Group: "channel"}}
	assert.True(t, muc.Mentions(m, "witch"))
	assert.False(t, muc.Mentions(nil, "witch"))
}

// TestSearch: rooms are found with a service that knows many (XEP-0433). What makes no
// sense in its answer is left out.
func TestSearch(t *testing.T) {
	for _, ns := range []string{"urn:xmpp:channel-search:0:search", "https://xmlns.zombofant.net/muclumbus/search/1.0"} {
		testSearch(t, ns)
	}
}

func testSearch(t *testing.T, ns string) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	item := func(address, name, users string) *confab.Element {
		return confab.El(ns, "item", confab.El(ns, "name").SetText(name), confab.El(ns, "nusers").SetText(users), confab.El(ns, "is-open")).Set("address", address)
	}
	srv.Component("search.test", func(e *confab.Element) {
		q := e.Children[0]
		if !q.Is(ns, "search") {
			_ = srv.Send(confab.El(confab.NSClient, "iq", confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "feature-not-implemented")).Set("type", "cancel")).
				Set("type", "error").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", e.Get("from")))
			return
		}
		assert.NotNil(t, q.Child("http://jabber.org/protocol/rsm", "set"))
		_ = srv.Send(confab.El(confab.NSClient, "iq", confab.El(ns, "result",
			item("commteam@muc.xmpp.org", "commteam", "10"), item("@", "nonsense", "1"), item("muc.xmpp.org", "a service", "1"),
			item("operators@muc.xmpp.org", "Operators", "-43"), item("third@muc.xmpp.org", "too many", "1"))).
			Set("type", "result").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", e.Get("from")))
	})
	p := signIn(t, testclient.Embedded(srv, "romeo"), muc.Config{})
	found, err := muc.Search(p.ctx, p, jid.MustParse("search.test"), "xmpp", 2)
	require.NoError(t, err)
	require.Len(t, found, 2)
	assert.Equal(t, muc.Found{JID: jid.MustParse("commteam@muc.xmpp.org"), Name: "commteam", Users: 10, Open: true}, found[0])
	assert.Zero(t, found[1].Users)
	_, err = muc.Search(p.ctx, p, jid.MustParse("nowhere.test"), "xmpp", 2)
	require.Error(t, err)
}
