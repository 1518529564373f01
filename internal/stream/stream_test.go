package stream

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/confab-im/confab"
)

const streamSpace = "http://etherx.jabber.org/streams"

// dump writes an element in a way that shows all that it holds.
func dump(e *confab.Element) string {
	var b strings.Builder
	var walk func(e *confab.Element)
	walk = func(e *confab.Element) {
		fmt.Fprintf(&b, "({%s}%s", e.Name.Space, e.Name.Local)
		for _, a := range e.Attr {
			fmt.Fprintf(&b, " {%s}%s=%q", a.Name.Space, a.Name.Local, a.Value)
		}
		if e.Text != "" {
			fmt.Fprintf(&b, " %q", e.Text)
		}
		for _, c := range e.Children {
			b.WriteByte(' ')
			walk(c)
			if c.Tail != "" {
				fmt.Fprintf(&b, " %q", c.Tail)
			}
		}
		b.WriteByte(')')
	}
	walk(e)
	return b.String()
}

// describe names an error by its kind, for tables and comparisons.
func describe(err error) string {
	var (
		syntax *SyntaxError
		limit  *LimitError
	)
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &syntax):
		return fmt.Sprint("syntax ", kinds[syntax.Kind])
	case errors.As(err, &limit):
		return "limit " + limit.What
	}
	return err.Error()
}

var kinds = [...]string{"Malformed", "BadName", "BadChar", "BadReference", "BadNamespace", "Duplicate", "Restricted", "BadEncoding"}

// transcript is everything that a Reader makes of a source, with the offsets.
func transcript(src io.Reader, l Limits) []string {
	var out []string
	r := NewReader(src, l)
	e, err := r.Open()
	for err == nil {
		out = append(out, fmt.Sprintf("%s size=%d offset=%d", dump(e), r.Size(), r.Offset()))
		e, err = r.Next()
	}
	return append(out, fmt.Sprintf("%v offset=%d keepalives=%d", err, r.Offset(), r.Keepalives()))
}

var legal = []struct{ in, want string }{
	{`<a/>`, `({}a)`},
	{`<a />`, `({}a)`},
	{"<a\t\r\n/>", `({}a)`},
	{`<a></a>`, `({}a)`},
	{"<a ></a \t\r\n>", `({}a)`},
	{`<a b="1" c='2'/>`, `({}a {}b="1" {}c="2")`},
	{"<a b\n=\t'1' c = \"2\" />", `({}a {}b="1" {}c="2")`},
	{`<a b='"' c="'" d='' e="x='y'"/>`, `({}a {}b="\"" {}c="'" {}d="" {}e="x='y'")`},
	{`<a b='>' c=">/>"/>`, `({}a {}b=">" {}c=">/>")`},
	{`<a b='"' c='>'/>`, `({}a {}b="\"" {}c=">")`},
	{`<a b="'" c='>'><d/></a>`, `({}a {}b="'" {}c=">" ({}d))`},
	{`<a b='/'>/></a>`, `({}a {}b="/" "/>")`},
	{`<a>]]</a>`, `({}a "]]")`},
	{`<a b=']]>'>] ]]] ]]&gt; ></a>`, `({}a {}b="]]>" "] ]]] ]]> >")`},
	{`<a>1<b>2</b>3<c/>4</a>`, `({}a "1" ({}b "2") "3" ({}c) "4")`},
	{`<a><b><c/>x</b>y<b/></a>`, `({}a ({}b ({}c) "x") "y" ({}b))`},
	{"<a> <b/>\n</a>", `({}a " " ({}b) "\n")`},
	// References.
	{`<a b='&amp;&lt;&gt;&apos;&quot;'>&amp;&lt;&gt;&apos;&quot;</a>`, `({}a {}b="&<>'\"" "&<>'\"")`},
	{`<a>&#65;&#x41;&#x00000000000000000041;&#0065;</a>`, `({}a "AAAA")`},
	{`<a>&#xe4;&#xE4;&#228;&#8364;&#x1F600;&#x10FFFF;&#xFFFD;&#xE000;&#xD7FF;</a>`, `({}a "äää€😀\U0010ffff�\ue000\ud7ff")`},
	{`<a>&amp;lt;&#38;lt;</a>`, `({}a "&lt;&lt;")`},
	{`<a b='&#60;'>&#60;b/></a>`, `({}a {}b="<" "<b/>")`},
	{`<a b="&#34;&#39;">&#93;]></a>`, `({}a {}b="\"'" "]]>")`},
	// Line ends, and white space in attributes.
	{"<a>1\r\n2\r3\n4\r\r\n5\t6</a>", `({}a "1\n2\n3\n4\n\n5\t6")`},
	{"<a>&#13;\n&#xD;&#xA;</a>", `({}a "\r\n\r\n")`},
	{"<a>\r<b/>\n</a>", `({}a "\n" ({}b) "\n")`},
	{"<a b='1\r\n2\r3\n4\t5 6\r'/>", `({}a {}b="1 2 3 4 5 6 ")`},
	{"<a b='&#13;&#10;&#9; &#xd;\r\n'/>", `({}a {}b="\r\n\t \r ")`},
	// CDATA.
	{`<a><![CDATA[<b>&amp;]] >]]]]></a>`, `({}a "<b>&amp;]] >]]")`},
	{`<a><![CDATA[]]></a>`, `({}a)`},
	{`<a>1<![CDATA[2]]>3<![CDATA[4]]><![CDATA[5]]>&lt;<b/>6<![CDATA[<]]></a>`, `({}a "12345<" ({}b) "6<")`},
	{"<a><![CDATA[1\r\n2\r]]>\n]]<![CDATA[>]]></a>", `({}a "1\n2\n\n]]>")`},
	{`<a><![CDATA[<![CDATA[]]></a>`, `({}a "<![CDATA[")`},
	{`<a><![CDATA[</a>]]></a>`, `({}a "</a>")`},
	// Namespaces.
	{`<a xmlns='u'><b/></a>`, `({u}a ({u}b))`},
	{`<a xmlns='u'><b xmlns=''><c/></b><d/></a>`, `({u}a ({}b ({}c)) ({u}d))`},
	{`<a xmlns='u' b='1'/>`, `({u}a {}b="1")`},
	{`<p:a xmlns:p='u' p:b='1' b='2'><b p:c='3'/></p:a>`, `({u}a {u}b="1" {}b="2" ({}b {u}c="3"))`},
	{`<p:a p:b='1' xmlns:p='u'/>`, `({u}a {u}b="1")`},
	{`<p:a xmlns:p='u'><p:a xmlns:p='v'/><p:b/></p:a>`, `({u}a ({v}a) ({u}b))`},
	{`<a xmlns='u' xmlns:p='v'><p:b xmlns='w'><c/></p:b><c/></a>`, `({u}a ({v}b ({w}c)) ({u}c))`},
	{`<a><b xmlns:p='u'/><b xmlns:p='v'><p:c/></b></a>`, `({}a ({}b) ({}b ({v}c)))`},
	{`<a xml:lang='de' xml:b=''/>`, `({}a {http://www.w3.org/XML/1998/namespace}lang="de" {http://www.w3.org/XML/1998/namespace}b="")`},
	{`<xml:a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>`, `({http://www.w3.org/XML/1998/namespace}a)`},
	{`<a xmlns='a&amp;b'/>`, `({a&b}a)`},
	{`<a xmlns:p="u" xmlns:q='v' p:b='1' q:b='2'/>`, `({}a {u}b="1" {v}b="2")`},
	{`<a xmlnsb='1' xmln='2'/>`, `({}a {}xmlnsb="1" {}xmln="2")`},
	{`<xmlns/>`, `({}xmlns)`},
	{`<a xmlns:Xml='u' xmlns:xmlx='v'><Xml:b/><xmlx:b/></a>`, `({}a ({u}b) ({v}b))`},
	// Names and characters.
	{`<größe ключ='東京' a·='1'>😀</größe>`, `({}größe {}ключ="東京" {}a·="1" "😀")`},
	{`<𠀀/>`, `({}𠀀)`},
	{`<a.-9 _b='1' C:d='2' xmlns:C='u'/>`, `({}a.-9 {}_b="1" {u}d="2")`},
	{"<a>\u007f\u0085\u2028\ufffd\ufeff</a>", "({}a " + `"\x7f\u0085\u2028�\ufeff")`},
}

var illegal = []struct{ in, want string }{
	// Restricted.
	{`<a><!-- --></a>`, "syntax Restricted"},
	{`<!-- --><a/>`, "syntax Restricted"},
	{`<!DOCTYPE a><a/>`, "syntax Restricted"},
	{`<a><?b c?></a>`, "syntax Restricted"},
	{`<?b c?><a/>`, "syntax Restricted"},
	{`<?xml-stylesheet?><a/>`, "syntax Restricted"},
	{` <?xml version='1.0'?><a/>`, "syntax Restricted"},
	{`<a><?xml version='1.0'?></a>`, "syntax Restricted"},
	{`<a><!ELEMENT b></a>`, "syntax Restricted"},
	{`<a>&nbsp;</a>`, "syntax Restricted"},
	{`<a>&AMP;</a>`, "syntax Restricted"},
	{`<a>&p:amp;</a>`, "syntax Restricted"},
	{`<a b='&lol9;'/>`, "syntax Restricted"},
	// References.
	{`<a>&</a>`, "syntax BadReference"},
	{`<a>&amp</a>`, "syntax BadReference"},
	{`<a>& amp;</a>`, "syntax BadReference"},
	{`<a>&;</a>`, "syntax BadReference"},
	{`<a>&9;</a>`, "syntax BadReference"},
	{`<a>&#;</a>`, "syntax BadReference"},
	{`<a>&#x;</a>`, "syntax BadReference"},
	{`<a>&#X41;</a>`, "syntax BadReference"},
	{`<a>&#4a;</a>`, "syntax BadReference"},
	{`<a>&#xg;</a>`, "syntax BadReference"},
	{`<a>&#65</a>`, "syntax BadReference"},
	{`<a>&#-65;</a>`, "syntax BadReference"},
	{`<a b='&'/>`, "syntax BadReference"},
	{`<a>&am<b/>p;</a>`, "syntax BadReference"},
	{`<a b='&#6' c='5;'/>`, "syntax BadReference"},
	{`<a>&#6<![CDATA[5;]]></a>`, "syntax BadReference"},
	// Characters.
	{`<a>&#0;</a>`, "syntax BadChar"},
	{`<a>&#x8;</a>`, "syntax BadChar"},
	{`<a b='&#31;'/>`, "syntax BadChar"},
	{`<a>&#xD800;</a>`, "syntax BadChar"},
	{`<a>&#xDFFF;</a>`, "syntax BadChar"},
	{`<a>&#xFFFE;</a>`, "syntax BadChar"},
	{`<a>&#xFFFF;</a>`, "syntax BadChar"},
	{`<a>&#x110000;</a>`, "syntax BadChar"},
	{`<a>&#99999999999999999999999999;</a>`, "syntax BadChar"},
	{"<a>\x00</a>", "syntax BadChar"},
	{"<a b='\x1f'/>", "syntax BadChar"},
	{"<a><![CDATA[\x0b]]></a>", "syntax BadChar"},
	{"<a>12345678\x0112345678</a>", "syntax BadChar"},
	{"<a>\ufffe</a>", "syntax BadChar"},
	{"<a>ä\uffff</a>", "syntax BadChar"},
	{"<a>\xff</a>", "syntax BadEncoding"},
	{"<a b='\xc3'/>", "syntax BadEncoding"},
	{"<a>\xc0\x80</a>", "syntax BadEncoding"},
	{"<a>\xed\xa0\x80</a>", "syntax BadEncoding"},
	{"<a>\xf4\x90\x80\x80</a>", "syntax BadEncoding"},
	{"<a>\xef\xbf</a>", "syntax BadEncoding"},
	{"<a\xff/>", "syntax BadEncoding"},
	// Attributes.
	{`<a b='1' b='2'/>`, "syntax Duplicate"},
	{`<a b='1' c='2' d='3' e='4' b='2'/>`, "syntax Duplicate"},
	{`<a xmlns='u' xmlns='u'/>`, "syntax Duplicate"},
	{`<a xmlns:p='u' xmlns:p='v'/>`, "syntax Duplicate"},
	{`<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>`, "syntax Duplicate"},
	{`<a b='1'c='2'/>`, "syntax Malformed"},
	{`<a b='1'/ >`, "syntax Malformed"},
	{`<a/ b='1'>`, "syntax Malformed"},
	{`<a b/>`, "syntax Malformed"},
	{`<a b c='1'/>`, "syntax Malformed"},
	{`<a b=1/>`, "syntax Malformed"},
	{`<a b='<'/>`, "syntax Malformed"},
	{`<a b="x<y"/>`, "syntax Malformed"},
	{`<a ='1'/>`, "syntax BadName"},
	{`<a 1='1'/>`, "syntax BadName"},
	{`<a 'b'/>`, "syntax BadName"},
	{`<a <b/>`, "syntax BadName"},
	// Names.
	{`<1/>`, "syntax BadName"},
	{`< a/>`, "syntax BadName"},
	{`<>`, "syntax BadName"},
	{`<-a/>`, "syntax BadName"},
	{`<a,b/>`, "syntax BadName"},
	{`<:a/>`, "syntax BadName"},
	{`<a:/>`, "syntax BadName"},
	{`<a: />`, "syntax BadName"},
	{`<a:b:c xmlns:a='u'/>`, "syntax BadName"},
	{`<a::b xmlns:a='u'/>`, "syntax BadName"},
	{`<a:1 xmlns:a='u'/>`, "syntax BadName"},
	{`<a :b='1'/>`, "syntax BadName"},
	{`<a xmlns:='1'/>`, "syntax BadName"},
	{`<a×/>`, "syntax BadName"},
	{`<·a/>`, "syntax BadName"},
	{`<a p:·='1' xmlns:p='u'/>`, "syntax BadName"},
	{"<a\u2028b/>", "syntax BadName"},
	// Tags.
	{`<a></b>`, "syntax Malformed"},
	{`<a></A>`, "syntax Malformed"},
	{`<a></ab>`, "syntax Malformed"},
	{`<ab></a>`, "syntax Malformed"},
	{`<a></ a>`, "syntax Malformed"},
	{`<a></a b='1'>`, "syntax Malformed"},
	{`<a></a/>`, "syntax Malformed"},
	{`<a><b></a></b>`, "syntax Malformed"},
	{`<a xmlns:p='u' xmlns:q='u'><p:b></q:b></a>`, "syntax Malformed"},
	{`<a>]]></a>`, "syntax Malformed"},
	{`<a>]]]]]></a>`, "syntax Malformed"},
	{`<a><![CDATA[]]]]>]]></a>`, "syntax Malformed"},
	{`<a><![cdata[]]></a>`, "syntax Restricted"},
	{`<![CDATA[]]>`, "syntax Malformed"},
	// Namespaces.
	{`<p:a/>`, "syntax BadNamespace"},
	{`<a p:b='1'/>`, "syntax BadNamespace"},
	{`<a><b xmlns:p='u'/><p:c/></a>`, "syntax BadNamespace"},
	{`<a xmlns:p=''/>`, "syntax BadNamespace"},
	{`<xmlns:a/>`, "syntax BadNamespace"},
	{`<a xmlns:xmlns='u'/>`, "syntax BadNamespace"},
	{`<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>`, "syntax BadNamespace"},
	{`<a xmlns:p='http://www.w3.org/2000/xmlns/'/>`, "syntax BadNamespace"},
	{`<a xmlns='http://www.w3.org/2000/xmlns/'/>`, "syntax BadNamespace"},
	{`<a xmlns:xml='u'/>`, "syntax BadNamespace"},
	{`<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>`, "syntax BadNamespace"},
	{`<a xmlns='http://www.w3.org/XML/1998/namespace'/>`, "syntax BadNamespace"},
}

func TestLegal(t *testing.T) {
	for _, test := range legal {
		e, err := Parse([]byte(test.in), Limits{})
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
		} else if got := dump(e); got != test.want {
			t.Errorf("%q\n got %s\nwant %s", test.in, got, test.want)
		}
		// The same inside of a stream that has no default namespace.
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			r := NewReader(wrap(strings.NewReader("<s:s xmlns:s='s'>"+test.in+"</s:s>")), Limits{})
			if _, err := r.Open(); err != nil {
				t.Fatal(err)
			}
			if e, err := r.Next(); err != nil {
				t.Errorf("%q in a stream: %v", test.in, err)
			} else if got := dump(e); got != test.want {
				t.Errorf("%q in a stream\n got %s\nwant %s", test.in, got, test.want)
			} else if r.Size() != len(test.in) {
				t.Errorf("%q in a stream: size %d", test.in, r.Size())
			}
			if _, err := r.Next(); err != ErrEnd {
				t.Errorf("%q in a stream: %v after it", test.in, err)
			}
		}
	}
}

func TestIllegal(t *testing.T) {
	for _, test := range illegal {
		if _, err := Parse([]byte(test.in), Limits{}); describe(err) != test.want {
			t.Errorf("%q: %s (%v), want %s", test.in, describe(err), err, test.want)
		}
		in := "<s:s xmlns:s='s'>" + test.in
		r := NewReader(iotest.OneByteReader(strings.NewReader(in)), Limits{})
		if _, err := r.Open(); err != nil {
			t.Fatal(err)
		}
		_, err := r.Next()
		if describe(err) != test.want {
			t.Errorf("%q in a stream: %s (%v), want %s", test.in, describe(err), err, test.want)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("%q in a stream: %v, then %v", test.in, err, again)
		}
	}
}

// A document that is cut anywhere is cut, and never waits for more than it
// needs.
func TestCutDocument(t *testing.T) {
	for _, test := range append(legal, struct{ in, want string }{in: chat}) {
		for i := range test.in {
			if _, err := Parse([]byte(test.in[:i]), Limits{}); err != io.ErrUnexpectedEOF {
				t.Errorf("%q: %v", test.in[:i], err)
			}
		}
	}
}

func TestParseAround(t *testing.T) {
	for in, want := range map[string]string{
		"":              io.ErrUnexpectedEOF.Error(),
		" \n":           io.ErrUnexpectedEOF.Error(),
		"<?xml":         io.ErrUnexpectedEOF.Error(),
		" \r\n<a/>\t ":  "ok",
		"<a/><b/>":      "syntax Malformed",
		"<a/>b":         "syntax Malformed",
		"<a/></a>":      "syntax Malformed",
		"</a>":          "syntax Malformed",
		"b<a/>":         "syntax Malformed",
		"\ufeff<a/>":    "syntax Malformed",
		"<a/>\x00":      "syntax Malformed",
		"<a/>&#32;":     "syntax Malformed",
		"<?xml?><a/>":   "syntax Restricted",
		"<?XML ?><a/>":  "syntax Restricted",
		"<a/><?xml ?>":  "syntax Malformed",
		"<?xmlx y?><a>": "syntax Restricted",
	} {
		if _, err := Parse([]byte(in), Limits{}); describe(err) != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	in := []byte("<?xml version='1.0'?>\n<a b='&lt;\n'>&amp;</a>\n")
	was := string(in)
	e, err := Parse(in, Limits{})
	if err != nil || dump(e) != `({}a {}b="< " "&")` {
		t.Error(e, err)
	}
	if string(in) != was {
		t.Errorf("the input was changed: %q", in)
	}
	clear(in)
	if dump(e) != `({}a {}b="< " "&")` {
		t.Error("the element shares memory with the input")
	}
}

func TestDeclaration(t *testing.T) {
	for in, want := range map[string]string{
		`version='1.0'`: "ok",
		` version = "1.0" encoding = 'UTF-8' standalone='yes' `: "ok",
		"version='1.0'\n\tencoding='utf-8'":                     "ok",
		`version='1.0' standalone='no'`:                         "ok",
		``:                                                      "syntax Malformed",
		`encoding='UTF-8'`:                                      "syntax Malformed",
		`encoding='UTF-8' version='1.0'`:                        "syntax Malformed",
		`version='1.0'encoding='UTF-8'`:                         "syntax Malformed",
		`version='1.0' version='1.0'`:                           "syntax Malformed",
		`version='1.0' a='b'`:                                   "syntax Malformed",
		`version='1.1'`:                                         "syntax Malformed",
		`version='1.0"`:                                         "syntax Malformed",
		`version=1.0`:                                           "syntax Malformed",
		`version`:                                               "syntax Malformed",
		`version='1.0' standalone='maybe'`:                      "syntax Malformed",
		`version='1.0' encoding='ISO-8859-1'`:                   "syntax BadEncoding",
		`version='1.0' encoding='UTF-16'`:                       "syntax BadEncoding",
		`version='1.0'` + strings.Repeat(" ", 300):              "syntax Malformed",
	} {
		in = "<?xml " + in + "?><a/>"
		if _, err := Parse([]byte(in), Limits{}); describe(err) != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
		for _, wrap := range []func(io.Reader) io.Reader{iotest.HalfReader, iotest.OneByteReader} {
			if _, err := NewReader(wrap(strings.NewReader(in)), Limits{}).Open(); describe(err) != want {
				t.Errorf("%s by Open: %v, want %s", in, err, want)
			}
		}
	}
}

// session is a whole stream with a bit of everything.
func session() string {
	var b strings.Builder
	b.WriteString("<?xml version='1.0' encoding='UTF-8'?>\n" + header[len("<?xml version='1.0'?>"):])
	b.WriteString("<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>\n\n")
	b.WriteString(chat)
	for _, test := range legal {
		b.WriteString(" " + test.in)
	}
	b.WriteString(chat)
	b.WriteString("<iq id='" + strings.Repeat("x", 5000) + "'><q>" + strings.Repeat("&lt;<a b='&#x1F600;>'/>😀", 1000) + "</q></iq>\r\n")
	b.WriteString(strings.Repeat(chat, 150))
	b.WriteString("</stream:stream\n>")
	return b.String()
}

func TestCuts(t *testing.T) {
	in := session()
	want := transcript(strings.NewReader(in), Limits{})
	if last := want[len(want)-1]; !strings.HasPrefix(last, ErrEnd.Error()) {
		t.Fatal(last)
	}
	check := func(name string, src io.Reader) {
		t.Helper()
		if got := transcript(src, Limits{}); !reflect.DeepEqual(got, want) {
			for i := range got {
				if i >= len(want) || got[i] != want[i] {
					t.Fatalf("%s: %d is\n%.300s", name, i, got[i])
				}
			}
			t.Fatalf("%s: %d results, want %d", name, len(got), len(want))
		}
	}
	check("one byte", iotest.OneByteReader(strings.NewReader(in)))
	check("half", iotest.HalfReader(strings.NewReader(in)))
	check("error with data", iotest.DataErrReader(strings.NewReader(in)))
	for seed := range 20 {
		check(fmt.Sprint("seed ", seed), &chunks{s: in, r: rand.New(rand.NewSource(int64(seed)))})
	}
	// Each single cut in the interesting part.
	short := in[:strings.Index(in, "<iq id")]
	want = transcript(strings.NewReader(short), Limits{})
	for i := 1; i < len(short); i++ {
		check(fmt.Sprint("cut at ", i), io.MultiReader(strings.NewReader(short[:i]), strings.NewReader(short[i:])))
	}
}

// chunks reads in pieces of random sizes, mostly small ones.
type chunks struct {
	s string
	r *rand.Rand
}

func (c *chunks) Read(b []byte) (int, error) {
	if c.s == "" {
		return 0, io.EOF
	}
	n := 1 + c.r.Intn(1<<c.r.Intn(18))
	n = copy(b[:min(n, len(b))], c.s)
	c.s = c.s[n:]
	return n, nil
}

func TestStream(t *testing.T) {
	r := NewReader(strings.NewReader(" \n"+header+" \n<message/><presence xmlns='a'/><stream:error><b xmlns=''/></stream:error></stream:stream>\n"), Limits{})
	if _, err := r.Next(); err == nil {
		t.Error("Next before Open")
	}
	h, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	if !h.Is(streamSpace, "stream") || h.Get("id") != "abc" || len(h.Attr) != 4 || h.Attr[3] != (xml.Attr{Name: xml.Name{Space: xmlSpace, Local: "lang"}, Value: "en"}) {
		t.Error(dump(h))
	}
	if _, err := r.Open(); err == nil {
		t.Error("Open twice")
	}
	for _, want := range []string{"({jabber:client}message)", "({a}presence)", "({" + streamSpace + "}error ({}b))"} {
		if e, err := r.Next(); err != nil || dump(e) != want {
			t.Error(err, want)
		}
	}
	if r.Keepalives() != 2 {
		t.Error("keepalives:", r.Keepalives())
	}
	for range 2 {
		if _, err := r.Next(); err != ErrEnd {
			t.Error(err)
		}
	}
	if r.Buffered() != 1 {
		t.Error("buffered:", r.Buffered())
	}
}

func TestEnds(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "EOF",
		" ":                                 "EOF",
		"<":                                 "unexpected EOF",
		"<?xml version='1.0'":               "unexpected EOF",
		"<?xml version='1.0'?>":             "unexpected EOF",
		"<?xml version='1.0'?>\n<a":         "unexpected EOF",
		"x":                                 "syntax Malformed",
		"\ufeff<a>":                         "syntax Malformed",
		"</a>":                              "syntax Malformed",
		"<![CDATA[ ]]><a>":                  "syntax Malformed",
		"<a/>":                              ErrEnd.Error(),
		"<a>":                               "EOF",
		"<a> \n":                            "EOF",
		"<a> \n<":                           "unexpected EOF",
		"<a><b":                             "unexpected EOF",
		"<a><b>":                            "unexpected EOF",
		"<a></":                             "unexpected EOF",
		"<a></a":                            "unexpected EOF",
		"<a></a \n":                         "unexpected EOF",
		"<a></b":                            "syntax Malformed",
		"<a></ab>":                          "syntax Malformed",
		"<a></a>x":                          ErrEnd.Error(),
		"<a>x":                              "syntax Malformed",
		"<a>\x00":                           "syntax Malformed",
		"<a>&#32;":                          "syntax Malformed",
		"<a><![CDATA[]]>":                   "syntax Malformed",
		"<a><b/>x":                          "syntax Malformed",
		"<a><?xml version='1.0'?><a>":       "syntax Restricted",
		"<a><!--":                           "syntax Restricted",
		"<p:a>":                             "syntax BadNamespace",
		"<a xmlns:p='u'><b p:c=''/><q:b/>":  "syntax BadNamespace",
		"<a xmlns:p='u'><b xmlns:q=''/>":    "syntax BadNamespace",
		"<a xmlns:p='u'><b xmlns:p='v'/>  ": "EOF",
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			r := NewReader(wrap(strings.NewReader(in)), Limits{})
			_, err := r.Open()
			for err == nil {
				_, err = r.Next()
			}
			if describe(err) != want {
				t.Errorf("%q: %v, want %s", in, err, want)
			}
		}
	}
}

// What is wrong is refused at once, not when more bytes come.
func TestPrompt(t *testing.T) {
	for _, in := range []string{"x", "<a></b", "<a></ab", "<a><!-", "<!D", "<?x", "<a b=c", "<a b='<", "<a b='1'c", "<a 1", "<a:1", "<a:b:", "<a/b", "<a></a x", "<3", "<a b c"} {
		src, w := io.Pipe()
		go func() { w.Write([]byte("<s>" + in)) }()
		r := NewReader(src, Limits{})
		if _, err := r.Open(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); !strings.HasPrefix(describe(err), "syntax") {
			t.Errorf("%q: %v", in, err)
		}
	}
}
