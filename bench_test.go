package confab

import (
	"encoding/xml"
	"testing"

	"mellium.im/xmpp/jid"
)

// benchElement is a presence as rooms send it.
func benchElement() *Element {
	return El(NSClient, "presence",
		El("http://jabber.org/protocol/caps", "c").Set("hash", "sha-1").Set("node", "https://example.org").Set("ver", "q07IKJEyjvHSyhy//CH0CxmKi8w="),
		El("http://jabber.org/protocol/muc#user", "x",
			El("http://jabber.org/protocol/muc#user", "item").Set("affiliation", "member").Set("role", "participant").Set("jid", "a@example.org/b"),
			El("http://jabber.org/protocol/muc#user", "status").Set("code", "110"),
		),
	).Set("from", "room@conference.example.org/nick").Set("to", "a@example.org/b")
}

func BenchmarkElementAppendXML(b *testing.B) {
	el := benchElement()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = el.AppendXML(buf[:0], NSClient); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

// BenchmarkElementDecode is what a feature pays that reads a payload into a
// struct instead of looking at the element.
func BenchmarkElementDecode(b *testing.B) {
	x := benchElement().Child("http://jabber.org/protocol/muc#user", "x")
	b.ReportAllocs()
	for b.Loop() {
		var v struct {
			XMLName xml.Name `xml:"http://jabber.org/protocol/muc#user x"`
			Item    struct {
				Affiliation string `xml:"affiliation,attr"`
				Role        string `xml:"role,attr"`
			} `xml:"item"`
		}
		if err := x.Decode(&v); err != nil || v.Item.Role != "participant" {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkToElement(b *testing.B) {
	v := struct {
		XMLName xml.Name `xml:"urn:xmpp:sid:0 origin-id"`
		ID      string   `xml:"id,attr"`
	}{ID: "1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ToElement(v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDraftAppendXML(b *testing.B) {
	d := &Draft{To: jid.MustParse("user1@localhost/Conversations.k3Xy"), ID: "1", Type: "chat",
		Body: "her come and will this use go other hot of day he had people he who & more than"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = d.AppendXML(buf[:0], NSClient); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeMessage(b *testing.B) {
	var cache jidCache
	self := jid.MustParse("a@example.org/b")
	el := El(NSClient, "message", El(NSClient, "body").SetText("hello"), El("urn:xmpp:receipts", "request")).
		Set("from", "c@example.org/d").Set("to", "a@example.org/b").Set("id", "1").Set("type", "chat")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cache.decodeMessage(el, self); err != nil {
			b.Fatal(err)
		}
	}
}
