package pubsub

import (
	"context"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmlstream"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func FuzzParsers(f *testing.F) {
	for _, s := range []string{
		"<items xmlns='" + NS + "' node='n'><item id='a' publisher='x@y'><p xmlns='q'/></item><item/></items>",
		"<subscriptions xmlns='" + NS + "'><subscription jid='a@b' node='n' subscription='subscribed' expiry='2000-01-01T00:00:00Z'/></subscriptions>",
		"<affiliations xmlns='" + NSOwner + "' node='n'><affiliation jid='a@b' affiliation='owner'/><affiliation jid='@'/></affiliations>",
		"<x xmlns='jabber:x:data' type='form'><field var='pubsub#max_items'><value>max</value></field><field var='pubsub#access_model'/></x>",
		"<m><x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE'><value>" + formAuthorize + "</value></field>" +
			"<field var='pubsub#node'><value>n</value></field><field var='pubsub#subscriber_jid'><value>a@b</value></field></x></m>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
		if err != nil {
			return
		}
		for _, sub := range parseSubscriptions(el, "n") {
			if sub.Node == "" || sub.JID.Equal(jid.JID{}) {
				t.Fatalf("%+v", sub)
			}
		}
		parseAffiliations(el, "n", jid.JID{})
		if n := len(parseItems(el)); n > len(el.Children) {
			t.Fatal(n)
		}
		if fm, err := form.Parse(el); err == nil {
			c := parseConfig(fm)
			if c.check() != nil {
				t.Fatalf("%+v", c)
			}
			_ = c.submission("#node_config")
		}
		if r := parseRequest(&confab.Message{Type: stanza.NormalMessage, Stanza: el}); r != nil && r.Node == "" {
			t.Fatalf("%+v", r)
		}
	})
}

// plain is a session that looks at nothing, as mellium's.
type plain struct{ answer string }

func (plain) LocalAddr() jid.JID                          { return jid.MustParse("romeo@montague.lit/orchard") }
func (plain) Send(context.Context, xml.TokenReader) error { return nil }
func (p plain) SendIQ(context.Context, xml.TokenReader) (xmlstream.TokenReadCloser, error) {
	return closer{xml.NewDecoder(strings.NewReader(p.answer))}, nil
}

type closer struct{ *xml.Decoder }

func (closer) Close() error { return nil }

func TestWhoAnswers(t *testing.T) {
	const body = "<pubsub xmlns='" + NS + "'><items node='n'><item id='a'/></items></pubsub>"
	service, own := jid.MustParse("pubsub.montague.lit"), jid.JID{}
	for _, test := range []struct {
		to   jid.JID
		from string
		ok   bool
	}{
		{service, "pubsub.montague.lit", true},
		{service, "PubSub.Montague.lit", true},
		{service, "evil.lit", false},
		{service, "", false},
		{service, "@@", false},
		{jid.MustParse("montague.lit"), "", true},
		{own, "", true},
		{own, "romeo@montague.lit", true},
		{own, "romeo@montague.lit/orchard", true},
		{own, "montague.lit", true},
		{own, "romeo@montague.lit/other", false},
		{own, "evil.lit", false},
	} {
		from := ""
		if test.from != "" {
			from = " from='" + test.from + "'"
		}
		s := New(plain{"<iq xmlns='jabber:client' type='result' id='x'" + from + ">" + body + "</iq>"}, test.to)
		items, err := s.Latest(t.Context(), "n", 1)
		if !test.ok {
			require.Error(t, err, "%v", test)
			continue
		}
		require.NoError(t, err, "%v", test)
		assert.Len(t, items, 1)
	}
	_, err := New(plain{"<iq xmlns='jabber:client' type='result'>"}, own).Latest(t.Context(), "n", 1)
	require.Error(t, err)
	_, err = New(plain{"<iq xmlns='jabber:client' type='error'/>"}, own).Latest(t.Context(), "n", 1)
	require.ErrorIs(t, err, stanza.Error{Condition: stanza.UndefinedCondition})
}
