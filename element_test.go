package confab_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmlstream"
	"mellium.im/xmpp/disco"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/roster"
	"mellium.im/xmpp/stanza"
)

// samples are elements that must survive every way of being written.
var samples = []string{
	`<a xmlns='urn:a'/>`,
	`<a xmlns='urn:a' b='c'>text</a>`,
	`<a xmlns='urn:a'>1<b>2</b>3<c xmlns='urn:c'>4<d>5</d></c>6</a>`,
	`<message xmlns='jabber:client' to='a@b' xml:lang='de'><body>&lt;&amp;&gt;&apos;&quot; ä € 😀</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>a <em>b</em> c<br/> d</p></body></html></message>`,
	`<a xmlns='urn:a' xmlns:x='urn:x' xmlns:y='urn:y' x:b='1' y:b='2' b='3'><c x:d='&lt;'/></a>`,
	`<a xmlns='urn:a' b='&#9;&#10;&#13; '>&#9;&#10;&#13; ]]&gt;</a>`,
	`<a xmlns='urn:a'> <b/> <c/> </a>`,
	`<ä xmlns='urn:ä' ö='ü'/>`,
}

func TestElementRoundTrips(t *testing.T) {
	for _, s := range samples {
		el := parse(t, s)
		check := func(how string, got *confab.Element, err error) {
			t.Helper()
			if err != nil || !reflect.DeepEqual(got, el) {
				t.Errorf("%s, by %s: %v, %v", s, how, got, err)
			}
		}
		b, err := el.AppendXML([]byte("x"), "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := stream.Parse(b[1:], stream.Limits{})
		check("AppendXML", got, err)
		got, err = confab.ReadElement(el.TokenReader())
		check("TokenReader", got, err)
		got, err = confab.ReadElement(xml.NewDecoder(bytes.NewReader(b[1:])))
		check("encoding/xml", got, err)
		m, err := xml.Marshal(el)
		if err != nil {
			t.Errorf("%s: Marshal: %v", s, err)
			continue
		}
		got, err = confab.ReadElement(xml.NewDecoder(bytes.NewReader(m)))
		check("Marshal", got, err)
		got = new(confab.Element)
		check("Unmarshal", got, xml.Unmarshal([]byte(s), got))
		got = new(confab.Element)
		check("Decode", got, el.Decode(got))
		var buf bytes.Buffer
		enc := xml.NewEncoder(&buf)
		if _, err := el.WriteXML(enc); err != nil {
			t.Error(err)
		}
		_ = enc.Flush()
		got, err = confab.ReadElement(xml.NewDecoder(&buf))
		check("WriteXML", got, err)
		clone := el.Clone()
		check("Clone", clone, nil)
		if len(clone.Attr) > 0 && &clone.Attr[0] == &el.Attr[0] || len(clone.Children) > 0 && clone.Children[0] == el.Children[0] {
			t.Errorf("%s: the clone shares", s)
		}
		var any struct {
			XMLName xml.Name
			Inner   []*confab.Element `xml:",any"`
		}
		if err := el.Decode(&any); err != nil || any.XMLName != el.Name || len(any.Inner) != len(el.Children) {
			t.Errorf("%s: Decode: %+v, %v", s, any, err)
		}
		for i, c := range any.Inner {
			want := *el.Children[i]
			want.Tail = ""
			if !reflect.DeepEqual(*c, want) {
				t.Errorf("%s: child %d: %v", s, i, c)
			}
		}
	}
}

func TestElementAccess(t *testing.T) {
	el := confab.El("urn:a", "a").Set("b", "1").Set("c", "2").Set("b", "").Set("c", "3").
		Add(confab.El("urn:a", "x").SetText("one"), confab.El("urn:b", "x"), confab.El("urn:a", "y"))
	if el.Get("b") != "" || el.Get("c") != "3" || el.ChildText("urn:a", "x") != "one" || el.Child("urn:b", "").Name.Local != "x" {
		t.Error(el)
	}
	n := 0
	for range el.All("urn:a", "") {
		n++
	}
	for range el.All("urn:a", "") {
		n++
		break
	}
	if n != 3 {
		t.Error(n)
	}
	if got := parse(t, samples[2]).FullText(); got != "123456" {
		t.Error(got)
	}
	var none *confab.Element
	if none.Get("a") != "" || none.Child("", "") != nil || none.ChildText("", "") != "" || none.FullText() != "" || none.Clone() != nil || none.Is("", "") || none.String() != "" {
		t.Error("a nil Element is not empty")
	}
	for range none.All("", "") {
		t.Error("a child of nil")
	}
	if _, err := none.AppendXML(nil, ""); err == nil {
		t.Error("nil was written")
	}
	if err := none.Decode(nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestElementRefuses(t *testing.T) {
	loop := confab.El("urn:a", "a")
	loop.Add(loop)
	with := func(a ...xml.Attr) *confab.Element {
		el := confab.El("urn:a", "a")
		el.Attr = a
		return el
	}
	for what, el := range map[string]*confab.Element{
		"NUL":              confab.El("", "a").SetText("x\x00"),
		"control":          confab.El("", "a").SetText("\x1f"),
		"UTF-8":            confab.El("", "a").SetText("\xff"),
		"surrogate":        confab.El("", "a").SetText("\xed\xa0\x80"),
		"U+FFFE":           confab.El("", "a").SetText("\uFFFE"),
		"U+FFFF in a tail": confab.El("", "a", &confab.Element{Name: xml.Name{Local: "b"}, Tail: "\uFFFF"}),
		"attribute":        confab.El("", "a").Set("b", "\x01"),
		"namespace":        confab.El("urn:\x01", "a"),
		"attr namespace":   with(xml.Attr{Name: xml.Name{Space: "\x02", Local: "b"}, Value: "c"}),
		"empty name":       confab.El("urn:a", ""),
		"name":             confab.El("urn:a", "a b"),
		"name with prefix": confab.El("urn:a", "a:b"),
		"name that ends":   confab.El("urn:a", "a/><b"),
		"digit":            confab.El("urn:a", "1"),
		"name in UTF-8":    confab.El("urn:a", "a\xff"),
		"attr name":        with(xml.Attr{Name: xml.Name{Local: "b='' c"}, Value: "d"}),
		"xmlns":            with(xml.Attr{Name: xml.Name{Local: "xmlns"}, Value: "urn:evil"}),
		"xmlns:x":          with(xml.Attr{Name: xml.Name{Local: "xmlns:x"}, Value: "urn:evil"}),
		"twice":            with(xml.Attr{Name: xml.Name{Local: "b"}, Value: "1"}, xml.Attr{Name: xml.Name{Local: "b"}, Value: "2"}),
		"twice, foreign":   with(xml.Attr{Name: xml.Name{Space: "urn:x", Local: "b"}}, xml.Attr{Name: xml.Name{Local: "b"}}, xml.Attr{Name: xml.Name{Space: "urn:x", Local: "b"}}),
		"nil child":        confab.El("urn:a", "a", nil),
		"in itself":        loop,
	} {
		if b, err := el.AppendXML(nil, ""); err == nil {
			t.Errorf("%s: written as %s", what, b)
		} else if !strings.HasPrefix(err.Error(), "confab: ") || len(err.Error()) < 20 {
			t.Errorf("%s: the error is %q", what, err)
		}
		if what != "in itself" && el.String() == "" {
			t.Errorf("%s: no String", what)
		}
	}
}

// Whatever stands in names, attributes and text, what is read back is what was
// written, or it was refused.
func FuzzElement(f *testing.F) {
	for _, s := range []string{"", "x", "</a><evil/>", "'/><evil a='", "]]>", "<!--", "<![CDATA[", "&lt;", "&#0;", "\x00", "a' b='c", "xmlns", "xmlns:x", "urn:x' evil='", "ä", "\uFFFE", "\r\n", "a\tb"} {
		f.Add(s, s, s, s, s)
		f.Add("a", "urn:a", "b", s, s)
		f.Add("a", s, "b", "c", "d")
	}
	f.Fuzz(func(t *testing.T, name, space, attr, value, text string) {
		el := &confab.Element{
			Name: xml.Name{Space: space, Local: name}, Text: text,
			Attr: []xml.Attr{{Name: xml.Name{Local: attr}, Value: value}, {Name: xml.Name{Space: "urn:foreign", Local: attr}, Value: text}},
			Children: []*confab.Element{
				{Name: xml.Name{Space: space, Local: "child"}, Text: value, Tail: text},
				{Name: xml.Name{Space: "urn:other", Local: "child"}, Tail: value},
			},
		}
		if value == "" && text == "" {
			el.Attr = nil
		}
		b, err := el.AppendXML(nil, "")
		if err != nil {
			return
		}
		want := el.Clone()
		if space == "" {
			want.Children[1].Name.Space = "urn:other"
		}
		got, err := stream.Parse(b, stream.Limits{})
		if err != nil {
			// Some names and namespaces are not checked by the writer to the
			// last letter; but they cannot break out.
			var syntax *stream.SyntaxError
			var limit *stream.LimitError
			if errors.As(err, &limit) || errors.As(err, &syntax) && (syntax.Kind == stream.BadName || syntax.Kind == stream.BadNamespace) {
				return
			}
			t.Fatalf("%q: %v", b, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q was read as %v", b, got)
		}
		got, err = confab.ReadElement(xml.NewDecoder(bytes.NewReader(b)))
		if err != nil {
			return // encoding/xml has bounds of its own, such as for names
		}
		if !reflect.DeepEqual(got, want) && !strings.Contains(string(b), "xmlns='xml") {
			t.Errorf("encoding/xml: %q was read as %v", b, got)
		}
	})
}

type tagged struct {
	XMLName xml.Name `xml:"urn:t tagged"`
	A       string   `xml:"a,attr"`
	B       []string `xml:"b"`
}

type marshaler struct{ s string }

func (m marshaler) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	return e.EncodeElement(m.s, xml.StartElement{Name: xml.Name{Space: "urn:m", Local: "m"}})
}

func TestToElement(t *testing.T) {
	j := jid.MustParse("bob@example.net")
	for _, tt := range []struct {
		v    any
		want string
	}{
		{confab.El("urn:a", "a"), "<a xmlns='urn:a'/>"},
		{*confab.El("urn:a", "a"), "<a xmlns='urn:a'/>"},
		{tagged{A: "<", B: []string{"1", "2"}}, "<tagged xmlns='urn:t' a='&lt;'><b>1</b><b>2</b></tagged>"},
		{&tagged{}, "<tagged xmlns='urn:t' a=''/>"},
		{marshaler{"x&y"}, "<m xmlns='urn:m'>x&amp;y</m>"},
		{xmlstream.Wrap(xmlstream.Token(xml.CharData("t")), xml.StartElement{Name: xml.Name{Space: "urn:w", Local: "w"}}), "<w xmlns='urn:w'>t</w>"},
		{stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}, "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"},
		{disco.InfoQuery{Node: "n"}, "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>"},
		{roster.Item{JID: j, Name: "Bob", Group: []string{"g"}}, "<item jid='bob@example.net' name='Bob'><group>g</group></item>"},
	} {
		el, err := confab.ToElement(tt.v)
		if err != nil || el.String() != tt.want {
			t.Errorf("%T: %v, %v; want %s", tt.v, el, err, tt.want)
		}
	}
	var none *confab.Element
	for _, v := range []any{nil, none, 5, "text", make(chan int), func() {}, struct{}{}, xmlstream.Token(xml.CharData("x"))} {
		if el, err := confab.ToElement(v); err == nil && !strings.HasPrefix(el.String(), "<") {
			t.Errorf("%T became %v", v, el)
		}
	}
	// mellium's whole stanzas can be read as they are.
	el, err := confab.ReadElement(ping.IQ{IQ: stanza.IQ{Type: stanza.GetIQ, ID: "1", To: j}}.TokenReader())
	if err != nil || el.Child("urn:xmpp:ping", "ping") == nil || el.Get("to") != j.String() {
		t.Errorf("%v, %v", el, err)
	}
}

func TestReadElement(t *testing.T) {
	r := xml.NewDecoder(strings.NewReader(" x <a/> <b>1</b>"))
	for _, want := range []string{"<a/>", "<b>1</b>"} {
		if el, err := confab.ReadElement(r); err != nil || el.String() != want {
			t.Errorf("%v, %v", el, err)
		}
	}
	if _, err := confab.ReadElement(r); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	for _, s := range []string{"<a>", "<a><b></a>", "<a", strings.Repeat("<a>", 2000)} {
		if el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%.20s: %v, %v", s, el, err)
		}
	}
	cut := parse(t, samples[2]).TokenReader()
	i := 0
	if _, err := confab.ReadElement(xmlstream.ReaderFunc(func() (xml.Token, error) {
		if i++; i > 3 {
			return nil, io.EOF
		}
		return cut.Token()
	})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestDraftElement(t *testing.T) {
	for _, d := range []confab.Draft{
		{To: jid.MustParse("ab@example.org/<&'>"), Body: "x"},
		{To: jid.MustParse("example.org"), Type: stanza.GroupChatMessage, ID: "i'd", Lang: "de", Subject: "s", Body: "b\r\n<", Thread: "t", Extra: []any{confab.El("urn:a", "a"), tagged{A: "1"}}},
		{To: jid.MustParse("example.org"), ID: "1", SetSubject: true},
	} {
		if d.ID == "" {
			d.ID = confab.NewID()
		}
		want, err := d.Element()
		if err != nil {
			t.Error(err)
			continue
		}
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			if _, err := s.SendMessage(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if got := s.link.sent()[0]; got.String() != want.String() {
				t.Errorf("written as %s, but Element gives %s", got, want)
			}
		})
	}
	ids := map[string]bool{}
	for range 1000 {
		id := confab.NewID()
		if len(id) != 26 || ids[id] {
			t.Fatal(id)
		}
		ids[id] = true
	}
	if confab.Text("x").Body != "x" {
		t.Error("Text")
	}
}

func TestDecodeStanzas(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		decode := func(in string) *confab.Message {
			t.Helper()
			m, err := s.DecodeMessage(parse(t, in))
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		m := decode(`<message xmlns='jabber:client' from='a@b/c' id='1' type='chat' xml:lang='de'><subject/><body>1</body><body>2</body><x xmlns='urn:x'><body>3</body></x><body xmlns='urn:y'>4</body>
			<stanza-id xmlns='urn:xmpp:sid:0' by='eve@x' id='e'/><stanza-id xmlns='urn:xmpp:sid:0' by='ME@example.org' id='s'/><origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>`)
		if m.Body != "1" || !m.HasBody || m.Subject != "" || !m.HasSubject || m.Lang != "de" || m.Source != confab.Live ||
			m.StanzaID(self.Bare()) != "s" || m.OriginID() != "o" || !m.To.Equal(self) || m.When() != m.Received {
			t.Errorf("%+v", m)
		}
		if m := decode(`<message xmlns='jabber:client' type='foo'/>`); m.Type != stanza.NormalMessage || !m.From.Equal(self.Bare()) || m.HasBody {
			t.Errorf("%+v", m)
		}
		// A stamp counts only from those who may say so.
		for by, want := range map[string]confab.Source{
			"example.org": confab.Offline, "me@example.org": confab.Offline, "b": confab.Offline, "": confab.Offline,
			"a@b": confab.Offline, "evil.example": confab.Live, "eve@b": confab.Live, "@": confab.Live,
		} {
			m := decode(fmt.Sprintf(`<message xmlns='jabber:client' from='a@b/c'><delay xmlns='urn:xmpp:delay' from='%s' stamp='2020-01-02T03:04:05Z'/></message>`, by))
			if m.Source != want || (want == confab.Offline) != (m.When().Year() == 2020) {
				t.Errorf("delay by %q: %v, %v", by, m.Source, m.When())
			}
		}
		if m := decode(`<message xmlns='jabber:client' from='a@b/c'><delay xmlns='urn:xmpp:delay' stamp='yesterday'/></message>`); m.Source != confab.Live {
			t.Error(m.Source)
		}
		ps := collect[*confab.Presence](s)
		for in, want := range map[string]int8{"5": 5, "+5": 5, "-128": -128, "127": 127, "128": 0, "-129": 0, "x": 0, "": 0, "1e1": 0, "99999999999999999999": 0} {
			s.deliver(parse(t, `<presence xmlns='jabber:client' from='a@b/c'><show>bogus</show><priority>`+in+`</priority></presence>`))
			_ = s.drv.Drain(t.Context())
			if got := ps()[len(ps())-1]; got.Priority != want || got.Show != "" {
				t.Errorf("priority %q: %+v", in, got)
			}
		}
	})
}
