package pubsub_test

import (
	"bytes"
	"encoding/xml"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func FuzzEvent(f *testing.F) {
	for _, s := range []string{
		"<items node='n'><item id='x'><a xmlns='b'/></item><retract id='y'/></items>",
		"<items node='n'><item/></items>", "<purge node='n'/>", "<delete node='n'><redirect uri='u'/></delete>",
		"<configuration node='n'><x xmlns='jabber:x:data' type='result'><field var='a'><value/></field></x></configuration>",
		"<subscription node='n' jid='a@b/c' subscription='pending' expiry='x'/>", "<collection/>",
	} {
		f.Add("<event xmlns='http://jabber.org/protocol/pubsub#event'>" + s + "</event><delay xmlns='urn:xmpp:delay' stamp='2003-12-13T23:58:37Z'/>")
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := confab.ReadElement(xml.NewDecoder(bytes.NewReader([]byte("<message xmlns='jabber:client'>" + s + "</message>"))))
		if err != nil {
			return
		}
		m := &confab.Message{From: jid.MustParse("a@b"), Type: stanza.HeadlineMessage, Stanza: el}
		e := pubsub.ParseEvent(m)
		if e == nil {
			return
		}
		if e.Node == "" || e.Kind > pubsub.SubscriptionChanged || e.Kind == pubsub.Published && len(e.Items) == 0 ||
			e.Kind == pubsub.SubscriptionChanged && e.Subscription == nil {
			t.Fatalf("%+v of %s", e, s)
		}
		_ = e.Complete()
	})
}

func BenchmarkParseEvent(b *testing.B) {
	el := confab.El(confab.NSClient, "message", confab.El(pubsub.NSEvent, "event",
		confab.El(pubsub.NSEvent, "items", confab.El(pubsub.NSEvent, "item", mood("happy")).Set("id", "x")).Set("node", nsMood)))
	m := &confab.Message{From: jid.MustParse("romeo@montague.lit"), Type: stanza.HeadlineMessage, Stanza: el}
	b.ReportAllocs()
	for b.Loop() {
		if pubsub.ParseEvent(m) == nil {
			b.Fatal("no event")
		}
	}
}
