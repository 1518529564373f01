package stream

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/confab-im/confab"
)

// strictness lists why this package refuses what encoding/xml accepts: the kind
// of error and, where the kind is not reason enough, the message.
var strictness = map[Kind][]string{
	// encoding/xml leaves these to its callers. The function reasons sees whether
	// they are there.
	Duplicate:    nil,
	Restricted:   nil,
	BadNamespace: nil,
	// It takes a name with nothing on one side of the colon as a local name, and
	// does not ask whether the part after the colon is a name of its own.
	BadName: {"bad name after ':'", "no name after ':'", "no name before ':'", "character that may not be in a name"},
	// It makes U+FFFD of references to surrogates.
	BadChar: {"reference to a character that is not allowed"},
	Malformed: {
		"no white space before an attribute",
		"text outside of elements",
		"character data outside of elements",
		// It looks for version= and encoding= anywhere in the declaration, also
		// where they are not, and not for the rest of it.
		"XML declaration that is not well formed",
		"XML declaration without end",
		"version of XML other than 1.0",
	},
	BadEncoding: {"encoding other than UTF-8"},
}

// mayRefuse reports whether this error is in the list.
func mayRefuse(err *SyntaxError) bool {
	msgs, ok := strictness[err.Kind]
	if !ok || msgs == nil {
		return ok
	}
	for _, m := range msgs {
		if err.Msg == m {
			return true
		}
	}
	return false
}

// reasons looks, by other means than the scanner, for what encoding/xml accepts
// and XML or XMPP do not: kinds of errors that there are in a stream.
func reasons(in []byte) map[Kind]bool {
	found := map[Kind]bool{}
	scopes := []map[string]string{{"": "", "xml": xmlSpace}}
	d := xml.NewDecoder(bytes.NewReader(in))
	for {
		t, err := d.RawToken()
		if err != nil {
			return found
		}
		switch t := t.(type) {
		case xml.Comment, xml.Directive, xml.ProcInst:
			found[Restricted] = true
		case xml.EndElement:
			if scopes = scopes[:len(scopes)-1]; len(scopes) == 0 {
				return found
			}
		case xml.StartElement:
			scope := maps.Clone(scopes[len(scopes)-1])
			raw, names := map[xml.Name]bool{}, map[xml.Name]bool{}
			for _, a := range t.Attr {
				found[Duplicate] = found[Duplicate] || raw[a.Name]
				raw[a.Name] = true
				prefix := a.Name.Local
				if a.Name.Space == "" && a.Name.Local == "xmlns" {
					prefix = ""
				} else if a.Name.Space != "xmlns" {
					continue
				}
				reserved := prefix == "xmlns" || a.Value == xmlnsSpace || (prefix == "xml") != (a.Value == xmlSpace)
				found[BadNamespace] = found[BadNamespace] || reserved || prefix != "" && a.Value == ""
				scope[prefix] = spaces.Replace(a.Value)
			}
			for _, a := range t.Attr {
				if a.Name.Space == "" || a.Name.Space == "xmlns" {
					continue
				}
				space, ok := scope[a.Name.Space]
				found[BadNamespace] = found[BadNamespace] || !ok
				name := xml.Name{Space: space, Local: a.Name.Local}
				found[Duplicate] = found[Duplicate] || names[name]
				names[name] = true
			}
			_, ok := scope[t.Name.Space]
			found[BadNamespace] = found[BadNamespace] || !ok
			scopes = append(scopes, scope)
		}
	}
}

// events are what both parsers are compared by, one string for each tag or run of
// text.
type events []string

// spaces does what encoding/xml does not: normalise white space in attributes.
var spaces = strings.NewReplacer("\n", " ", "\t", " ")

func (ev *events) text(s string) {
	if s != "" {
		*ev = append(*ev, "text "+s)
	}
}

func (ev *events) start(name xml.Name, attrs []xml.Attr) {
	var b strings.Builder
	if name.Local == "xmlns" {
		name.Space = "" // encoding/xml takes even an element of that name for a declaration
	}
	fmt.Fprintf(&b, "start {%s}%s", spaces.Replace(name.Space), name.Local)
	for _, a := range attrs {
		// xmlns: is also what encoding/xml makes of p:b if p is bound to "xmlns".
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		fmt.Fprintf(&b, " {%s}%s=%q", spaces.Replace(a.Name.Space), a.Name.Local, spaces.Replace(a.Value))
	}
	*ev = append(*ev, b.String())
}

func (ev *events) end() { *ev = append(*ev, "end") }

func (ev *events) element(e *confab.Element) {
	ev.start(e.Name, e.Attr)
	ev.text(e.Text)
	for _, c := range e.Children {
		ev.element(c)
		ev.text(c.Tail)
	}
	ev.end()
}

// standard returns the events of encoding/xml: those of the header, then those of
// the stanzas, until the end of the stream or an error.
func standard(in []byte) (events, error) {
	var (
		ev    events
		run   strings.Builder
		depth int
	)
	d := xml.NewDecoder(bytes.NewReader(in))
	for {
		t, err := d.Token()
		if err != nil {
			return ev, err
		}
		if c, ok := t.(xml.CharData); ok {
			run.Write(c)
			continue
		}
		if depth > 1 {
			ev.text(run.String())
		}
		run.Reset()
		switch t := t.(type) {
		case xml.StartElement:
			ev.start(t.Name, t.Attr)
			depth++
		case xml.EndElement:
			ev.end()
			if depth--; depth == 0 {
				return ev, nil
			}
		}
	}
}

// ours returns the same events by a Reader.
func ours(in []byte) (events, error) {
	var ev events
	r := NewReader(bytes.NewReader(in), Limits{})
	h, err := r.Open()
	if err != nil {
		return nil, err
	}
	ev.start(h.Name, h.Attr)
	for {
		e, err := r.Next()
		if err == ErrEnd {
			ev.end()
			return ev, nil
		}
		if err != nil {
			return ev, err
		}
		ev.element(e)
	}
}

// differ compares both parsers on a stream.
func differ(in []byte) error {
	got, err := ours(in)
	want, stdErr := standard(in)
	// All that was returned must be the same, errors or not.
	if n := len(got); n > len(want) || !reflect.DeepEqual(got, want[:n]) {
		if laterEdition(in, stdErr) {
			return nil
		}
		for i := range got {
			if i == len(want) || got[i] != want[i] {
				return fmt.Errorf("event %d is %q, encoding/xml has %q (%v)", i, got[i], want[min(i, len(want)):], stdErr)
			}
		}
	}
	var syntax *SyntaxError
	switch {
	case err == nil, err == io.EOF, err == io.ErrUnexpectedEOF, errors.As(err, new(*LimitError)):
		// encoding/xml finds some errors before a stanza is whole.
		if err == nil && stdErr != nil && !laterEdition(in, stdErr) {
			return fmt.Errorf("accepted; encoding/xml: %v", stdErr)
		}
		return nil
	case !errors.As(err, &syntax):
		return fmt.Errorf("unexpected error %v", err)
	}
	if stdErr == nil && !(mayRefuse(syntax) && (strictness[syntax.Kind] != nil || reasons(in)[syntax.Kind])) {
		return fmt.Errorf("%s: %v; encoding/xml accepts it", kinds[syntax.Kind], syntax)
	}
	return nil
}

// laterEdition reports an error of encoding/xml where it knows fewer names than
// XML 1.0 has had since its fifth edition.
func laterEdition(in []byte, err error) bool {
	wide := bytes.ContainsFunc(in, func(r rune) bool { return r >= 0x80 })
	return wide && err != nil && strings.Contains(err.Error(), "invalid XML name")
}

func seeds() []string {
	s := []string{header + chat + "</stream:stream>"}
	for _, test := range legal {
		s = append(s, header+test.in+"</stream:stream>", "<s>"+test.in+"</s>")
	}
	for _, test := range illegal {
		s = append(s, header+test.in+"</stream:stream>", "<s>"+test.in+"</s>")
	}
	return append(s, xeps...)
}

// xeps are streams in the styles of markup that specifications use.
var xeps = []string{
	`<?xml version='1.0'?>
<stream:stream
    from='juliet@im.example.com'
    to='im.example.com'
    version='1.0'
    xml:lang='en'
    xmlns='jabber:client'
    xmlns:stream='http://etherx.jabber.org/streams'>
  <stream:features>
    <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>
      <required/>
    </starttls>
  </stream:features>
  <message type='headline'
      to='francisco@denmark.lit'>
    <event xmlns='http://jabber.org/protocol/pubsub#event'>
      <items node='princely_musings'>
        <item id='ae890ac52d0df67ed7cfdf51b644e901'>
          <entry xmlns='http://www.w3.org/2005/Atom'>
            <title>Soliloquy</title>
            <summary>
To be, or not to be: that is the question:
Whether &quot;tis nobler in the mind to suffer
            </summary>
          </entry>
        </item>
      </items>
    </event>
  </message>
  <stream:error>
    <host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>
  </stream:error>
</stream:stream>`,
	`<stream xmlns="http://etherx.jabber.org/streams" xmlns:c="jabber:client"><c:iq type="result" id="x">
<query xmlns="jabber:iq:roster" ver='ver11'><item jid='nurse@example.com' name="Nurse &lt;3"><group>Servants</group></item></query>
</c:iq><c:message><c:body><![CDATA[a < b && c]]></c:body><html xmlns='http://jabber.org/protocol/xhtml-im'>
<body xmlns='http://www.w3.org/1999/xhtml'><p style='font-weight:bold'>hi <em>there</em>, <br/>you</p></body></html></c:message></stream>`,
	`<db:s xmlns:db='jabber:server' xmlns:db2='jabber:server:dialback'><db2:result to='a' from="b">9AF=</db2:result></db:s>`,
}

// FuzzReader compares with encoding/xml, and a stream read at once with the same
// one read in pieces and under tight limits.
func FuzzReader(f *testing.F) {
	for i, s := range seeds() {
		f.Add([]byte(s), int64(i))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed int64) {
		if err := differ(in); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewSource(seed))
		for _, l := range []Limits{{}, {MaxBytes: 1 + r.Intn(200), MaxDepth: 1 + r.Intn(5), MaxElements: 1 + r.Intn(6), MaxAttrs: 1 + r.Intn(6)}} {
			want := transcript(bytes.NewReader(in), l)
			for name, src := range map[string]io.Reader{
				"one byte": iotest.OneByteReader(bytes.NewReader(in)),
				"chunks":   iotest.DataErrReader(&chunks{s: string(in), r: r}),
			} {
				if got := transcript(src, l); !reflect.DeepEqual(got, want) {
					t.Fatalf("%s, %+v:\n got %q\nwant %q", name, l, got, want)
				}
			}
		}
	})
}

// FuzzParse compares Parse with a Reader.
func FuzzParse(f *testing.F) {
	for _, test := range legal {
		f.Add([]byte(test.in))
	}
	for _, test := range illegal {
		f.Add([]byte(test.in))
	}
	for _, s := range xeps {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		was := string(in)
		e, err := Parse(in, Limits{})
		if string(in) != was {
			t.Fatal("the input was changed")
		}
		if bytes.HasPrefix(in, []byte("<?")) {
			return
		}
		r := NewReader(io.MultiReader(strings.NewReader("<s:s xmlns:s='s'>"), bytes.NewReader(in)), Limits{})
		if _, err := r.Open(); err != nil {
			t.Fatal(err)
		}
		same, err2 := r.Next()
		if err != nil {
			// In a stream, the bytes may be more than one stanza, or no end.
			return
		}
		if err2 != nil {
			t.Fatalf("Parse accepts what Next does not: %v", err2)
		}
		if dump(e) != dump(same) {
			t.Fatalf("Parse: %s\nNext: %s", dump(e), dump(same))
		}
	})
}

// TestFuzzComparison makes sure that the comparison can fail at all.
func TestFuzzComparison(t *testing.T) {
	for _, s := range seeds() {
		if err := differ([]byte(s)); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	if mayRefuse(&SyntaxError{Kind: Malformed, Msg: "attribute without quotes"}) {
		t.Error("the list of reasons is no list")
	}
}

// pieces are what TestRandomMarkup puts together, in all the wrong ways and some
// right ones.
var pieces = strings.Split("<a|<p:a|<b:c|<é|</a|</p:a|</b:c|</é|>|>|>|/>|/>| | |\n|\r|\r\n|\t|=|'|'|\"|\"|x|:|xmlns|xml|"+
	" b='1'| b='1'| c=\"2\"| p:b='3'| xmlns='u'| xmlns=''| xmlns:p='u'| xmlns:p='v'| xmlns:b='u'| xmlns:p=''| d='>'| xml:lang='en'|"+
	"<a>|<a>|<a/>|</a>|</a>|<p:a>|</p:a>|<a xmlns='u' xmlns:p='v'>|<b xmlns:p='u' p:c='' d=''/>|text|é|😀|&amp;|&lt;|&gt;|&#65;|&#x41;|&#xD800;|&#0;|&nbsp;|&|;|"+
	"<![CDATA[|]]>|<![CDATA[x]]>|]|]]|<!--|-->|<!DOCTYPE a>|<?x ?>|<|-|1|·|\x00|\xff|\ufffe|\u2028", "|")

// TestRandomMarkup compares with encoding/xml on random markup, which is nearer to
// what is legal than what a fuzzer finds in the same time.
func TestRandomMarkup(t *testing.T) {
	n := 30_000
	if testing.Short() {
		n = 5_000
	}
	seed := rand.Int63()
	r := rand.New(rand.NewSource(seed))
	accepted := 0
	for range n {
		in := []byte([]string{"<a>", "<p:a xmlns:p='u'>", "<a xmlns='u' xmlns:p='v' xmlns:b='w'>"}[r.Intn(3)])
		var names []string
		for range r.Intn(20) {
			switch k := r.Intn(8); {
			case k == 0: // anything at all
				in = append(in, pieces[r.Intn(len(pieces))]...)
			case k < 4: // a start tag with some attributes
				name := []string{"a", "p:a", "b:c", "é"}[r.Intn(4)]
				in = append(in, "<"+name...)
				for range r.Intn(4) {
					if p := pieces[r.Intn(len(pieces))]; p[0] == ' ' || r.Intn(20) == 0 {
						in = append(in, p...)
					}
				}
				if r.Intn(3) == 0 {
					in = append(in, "/>"...)
					break
				}
				in = append(in, '>')
				names = append(names, name)
			case k < 6 && len(names) > 0: // its end tag
				in = append(in, "</"+names[len(names)-1]+">"...)
				names = names[:len(names)-1]
			case len(names) > 0:
				if p := pieces[r.Intn(len(pieces))]; p[0] != '<' {
					in = append(in, p...)
				}
			}
		}
		for i := range names {
			in = append(in, "</"+names[len(names)-1-i]+">"...)
		}
		if string(in[:3]) == "<p:" {
			in = append(in, "</p:a>"...)
		} else {
			in = append(in, "</a>"...)
		}
		if err := differ(in); err != nil {
			t.Fatalf("seed %d: %q: %v", seed, in, err)
		}
		if _, err := ours(in); err == nil {
			accepted++
		}
		l := Limits{}
		want := transcript(bytes.NewReader(in), l)
		if got := transcript(&chunks{s: string(in), r: r}, l); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %q in chunks:\n got %q\nwant %q", seed, in, got, want)
		}
	}
	t.Logf("%d of %d were legal", accepted, n)
	if accepted < n/20 || accepted > n*19/20 {
		t.Error("that is no good mixture")
	}
}

// FuzzSkip: a stanza that is over a limit is skipped to its end, wherever that is.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{"<a><b/><b/></a>", "<a b='>'><![CDATA[</a>]]]><c/></a>", "<a><b><c><d/></c></b>text</a >"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.TrimSpace(s)
		if !strings.HasPrefix(s, "<") || strings.HasPrefix(s, "<?") {
			return
		}
		if _, err := Parse([]byte(s), Limits{}); err != nil {
			return
		}
		for _, l := range []Limits{{MaxBytes: len(s)/2 + 1}, {MaxDepth: 1}, {MaxElements: 1}, {MaxAttrs: 1}} {
			l.Skip = true
			r := NewReader(strings.NewReader("<s xmlns:s='s'>"+s+"<z/>"), l)
			if _, err := r.Open(); err != nil {
				return // the header is over the limit
			}
			_, err := r.Next()
			var over *LimitError
			if err != nil && (!errors.As(err, &over) || over.Stanza == nil) {
				if over == nil {
					t.Fatalf("%q: %v", s, err)
				}
				continue // the start tag itself is over the limit
			}
			if e, err := r.Next(); err != nil || e.Name.Local != "z" {
				t.Errorf("%q, %+v: then %v, %v", s, l, e, err)
			}
		}
	})
}
