package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestLimits(t *testing.T) {
	l := Limits{MaxBytes: 100, MaxDepth: 3, MaxElements: 5, MaxAttrs: 2}
	for in, want := range map[string]string{
		"<a>" + strings.Repeat("x", 93) + "</a>":         "ok",
		"<a>" + strings.Repeat("x", 94) + "</a>":         "limit MaxBytes",
		"<a>" + strings.Repeat("x", 1<<20):               "limit MaxBytes",
		"<a b='" + strings.Repeat("x", 100):              "limit MaxBytes",
		"<" + strings.Repeat("x", 100):                   "limit MaxBytes",
		"<a" + strings.Repeat(" ", 100):                  "limit MaxBytes",
		"<a><![CDATA[" + strings.Repeat("]", 100):        "limit MaxBytes",
		"<a></a" + strings.Repeat(" ", 100):              "limit MaxBytes",
		strings.Repeat(" ", 1000) + "<a/>":               "ok",
		"<a><b><c/></b></a>":                             "ok",
		"<a><b><c><d/></c></b></a>":                      "limit MaxDepth",
		"<a><b><c><d":                                    "limit MaxDepth",
		"<a><b/><b/><b/><b/></a>":                        "ok",
		"<a><b/><b/><b/><b/><b/></a>":                    "limit MaxElements",
		"<a b='' c=''><d b='' c=''/></a>":                "ok",
		"<a b='' c='' d=''/>":                            "limit MaxAttrs",
		"<a xmlns='' xmlns:b='u' c":                      "limit MaxAttrs",
		"<a>" + strings.Repeat("x", 50) + "<!--":         "syntax Restricted",
		"<a>" + strings.Repeat("x", 150) + "<!--":        "limit MaxBytes",
		"<a>\x00" + strings.Repeat("x", 150) + "</a>":    "limit MaxBytes",
		"<a>" + strings.Repeat("x", 92) + "&</a>":        "syntax BadReference",
		"<a/>" + strings.Repeat(" ", 200):                "ok",
		"<a>" + strings.Repeat("x", 92) + "</a" + " \t>": "limit MaxBytes",
	} {
		if _, err := Parse([]byte(in), l); describe(err) != want {
			t.Errorf("%.50q: %v, want %s", in, err, want)
		}
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			r := NewReader(wrap(strings.NewReader("<a>"+in)), l)
			if _, err := r.Open(); err != nil {
				t.Fatal(err)
			}
			_, err := r.Next()
			if describe(err) != want {
				t.Errorf("%.50q in a stream: %v, want %s", in, err, want)
			}
			if _, again := r.Next(); err != nil && again != err {
				t.Errorf("%.50q in a stream: %v, then %v", in, err, again)
			}
		}
	}
	if _, err := NewReader(strings.NewReader("<a b='"+strings.Repeat("x", 100)), l).Open(); describe(err) != "limit MaxBytes" {
		t.Error("header:", err)
	}
	for what, err := range map[string]interface {
		error
		Condition() string
	}{"policy-violation": &LimitError{}, "restricted-xml": &SyntaxError{Kind: Restricted}, "not-well-formed": &SyntaxError{}, "unsupported-encoding": &SyntaxError{Kind: BadEncoding}} {
		if err.Condition() != what || err.Error() == "" {
			t.Error(what)
		}
	}
}

// TestSkip: what is over a limit costs itself and nothing else.
func TestSkip(t *testing.T) {
	l := Limits{MaxBytes: 100, MaxDepth: 3, MaxElements: 5, MaxAttrs: 2, Skip: true}
	for _, in := range []string{
		"<a b='&apos;c'>" + strings.Repeat("x", 1000) + "</a>",
		"<a><b><c><d><e/></d></c></b></a>",
		"<a><b/><b/><b/><b/><b/><b/></a>",
		"<a><d b='' c='' e='>'/></a>",
		"<a>" + strings.Repeat("<![CDATA[</a>]]>", 20) + "</a>",
		"<a>" + strings.Repeat("<![CDATA[]]]]]>", 20) + "</a>",
		"<a>" + strings.Repeat("<b c='/' d=\"'>\" />", 20) + "</a \n>",
		"<a>" + strings.Repeat("<b c='/a>'>", 20) + strings.Repeat("</b>", 20) + "</a>",
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader} {
			r := NewReader(wrap(strings.NewReader("<s xmlns='u'>"+in+"<z/>"+in+"</s>")), l)
			if _, err := r.Open(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err := r.Next()
				var over *LimitError
				if !errors.As(err, &over) || over.Stanza == nil || !over.Stanza.Is("u", "a") || over.Stanza.Children != nil {
					t.Errorf("%.50q: %v", in, err)
				}
				if r.Size() != len(in) {
					t.Errorf("%.50q: %d bytes, not %d", in, r.Size(), len(in))
				}
				if e, err := r.Next(); err == ErrEnd {
					break
				} else if err != nil || !e.Is("u", "z") {
					t.Errorf("%.50q: then %v, %v", in, e, err)
				}
			}
		}
	}
	// Nobody has to be listened to for ever.
	r := NewReader(io.MultiReader(strings.NewReader("<s><a>"), forever{}), l)
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	_, err := r.Next()
	var over *LimitError
	if !errors.As(err, &over) || over.Stanza != nil {
		t.Error(err)
	}
	if _, again := r.Next(); again != err {
		t.Error(again)
	}
}

type forever struct{}

func (forever) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestErrorOffset(t *testing.T) {
	in := "<a>\n<b/><c>\x01"
	r := NewReader(strings.NewReader(in+"</c>"), Limits{})
	_, err := r.Open()
	for err == nil {
		_, err = r.Next()
	}
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset != int64(len(in)-1) {
		t.Error(err)
	}
}

// Errors of the connection are passed on and do no harm.
func TestConnectionErrors(t *testing.T) {
	r := NewReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("<a><b c='d'/>"))), Limits{})
	if _, err := r.Open(); err != iotest.ErrTimeout {
		t.Fatal(err)
	}
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	src := &script{steps: []step{{"<a", nil}, {"><b c='", os.ErrDeadlineExceeded}, {"", os.ErrDeadlineExceeded}, {"d'/>", nil}, {"  ", os.ErrDeadlineExceeded}, {"<e/>", io.EOF}}}
	r = NewReader(src, Limits{})
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 6 {
		e, err := r.Next()
		if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, dump(e))
		}
	}
	timeout := os.ErrDeadlineExceeded.Error()
	want := []string{timeout, timeout, `({}b {}c="d")`, timeout, `({}e)`, "EOF"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
	if _, err := NewReader(&script{}, Limits{}).Open(); err != io.ErrNoProgress {
		t.Error(err)
	}
	if _, err := NewReader(liar{}, Limits{}).Open(); err == nil {
		t.Error("accepted a count that cannot be")
	}
}

type step struct {
	s   string
	err error
}

// script is a source that returns what it is told, then nothing.
type script struct{ steps []step }

func (s *script) Read(b []byte) (int, error) {
	if len(s.steps) == 0 {
		return 0, nil
	}
	st := s.steps[0]
	s.steps = s.steps[1:]
	return copy(b, st.s), st.err
}

type liar struct{}

func (liar) Read(b []byte) (int, error) { return len(b) + 1, nil }

// Restart keeps the bytes, Reset does not.
func TestRestart(t *testing.T) {
	r := NewReader(strings.NewReader("<a xmlns:p='u'><p:b/>\n<?xml version='1.0'?><c xmlns='v'><d/><p:e/>"), Limits{})
	r.Open()
	if e, err := r.Next(); err != nil || dump(e) != "({u}b)" {
		t.Fatal(err)
	}
	r.Restart()
	if e, err := r.Open(); err != nil || dump(e) != "({v}c)" {
		t.Fatal(err)
	}
	if e, err := r.Next(); err != nil || dump(e) != "({v}d)" {
		t.Fatal(err)
	}
	if _, err := r.Next(); describe(err) != "syntax BadNamespace" {
		t.Error("a prefix of the stream before:", err)
	}
	off := r.Offset()
	r.Reset(strings.NewReader("<a><b/>"))
	if r.Buffered() != 0 {
		t.Error("buffered:", r.Buffered())
	}
	if e, err := r.Open(); err != nil || dump(e) != "({}a)" {
		t.Fatal(err)
	}
	if e, err := r.Next(); err != nil || dump(e) != "({}b)" {
		t.Fatal(err)
	}
	if r.Offset() != off+7 {
		t.Error("offset:", r.Offset())
	}
}

// A Reader that waits between stanzas holds the small buffer and nothing else,
// whatever came before.
func TestIdleMemory(t *testing.T) {
	var r *Reader
	reads, largest := 0, 0
	src := &watch{r: strings.NewReader(session() + strings.Repeat(" ", 10)), f: func() {
		reads++
		largest = max(largest, len(r.bytes))
		if r.Buffered() == 0 && (len(r.bytes) != smallSize || r.tables != nil || r.big != nil) {
			t.Errorf("read %d: idle with a buffer of %d bytes, tables %v", reads, len(r.bytes), r.tables != nil)
		}
	}}
	r = NewReader(src, Limits{})
	_, err := r.Open()
	for err == nil {
		_, err = r.Next()
	}
	if largest != bigSize {
		t.Error("under load the buffer had", largest, "bytes")
	}
	// One large stanza grows the buffer, to a bound, and then it is gone.
	l := Limits{MaxBytes: 1 << 20}
	large := "<a>" + strings.Repeat("x", 1<<20-7) + "</a>"
	for _, end := range []string{"", "<b/>", "<a>"} {
		largest, reads = 0, 0
		src = &watch{r: strings.NewReader("<s>" + large + large + end), f: src.f}
		r = NewReader(src, l)
		_, err = r.Open()
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
		if largest > 1<<20+bigSize {
			t.Error("the buffer grew to", largest)
		}
		if len(r.bytes) > bigSize {
			t.Error("at the end the buffer has", len(r.bytes))
		}
	}
}

type watch struct {
	r io.Reader
	f func()
}

func (w *watch) Read(b []byte) (int, error) {
	w.f()
	return w.r.Read(b)
}

// What could be quadratic must not be: each of these took minutes or more if it
// were, and takes well below a second.
func TestLinear(t *testing.T) {
	const mb = 1 << 19 // half a megabyte is plenty, under the race detector
	var wide, many, decls, nested strings.Builder
	wide.WriteString("<a")
	for i := range 50_000 {
		fmt.Fprintf(&wide, " a%d='%d'", i, i)
	}
	wide.WriteString("/>")
	many.WriteString("<a")
	for i := range 200 {
		fmt.Fprintf(&many, " xmlns:p%d='u%d'", i, i)
	}
	many.WriteString(">" + strings.Repeat("<p0:b p1:c='' p2:c='' p3:c=''/>", 50_000) + "</a>")
	decls.WriteString("<a>")
	for i := range 50_000 {
		fmt.Fprintf(&decls, "<b xmlns:p='u%d'/>", i)
	}
	decls.WriteString("</a>")
	for i := range 200 {
		fmt.Fprintf(&nested, "<a xmlns='u%d' xmlns:p='u%d' xmlns:p%d='x'>", i, i, i)
	}
	nested.WriteString(strings.Repeat("<p:b><p0:c/></p:b>", 30_000) + strings.Repeat("</a>", 200))
	for name, in := range map[string]string{
		"text":        "<a>" + strings.Repeat("x", 4*mb-8) + "</a>",
		"value":       "<a b='" + strings.Repeat(">", 3*mb) + "'/>",
		"name":        "<" + strings.Repeat("a", mb) + "></" + strings.Repeat("a", mb) + ">",
		"attribute":   "<a " + strings.Repeat("a", 3*mb) + "=''/>",
		"space":       "<a" + strings.Repeat(" ", mb) + "></a" + strings.Repeat(" ", mb) + ">",
		"cdata":       "<a><![CDATA[" + strings.Repeat("]]", mb) + "]]></a>",
		"cdatas":      "<a>" + strings.Repeat("<![CDATA[x]]>", mb/4) + "</a>",
		"entities":    "<a>" + strings.Repeat("&lt;", mb-2) + "</a>",
		"digits":      "<a>&#" + strings.Repeat("0", 3*mb) + "65;</a>",
		"ampersands":  "<a b='" + strings.Repeat("&amp;&#xFFFD;", mb/4) + "'/>",
		"brackets":    "<a>" + strings.Repeat("]", 3*mb) + "</a>",
		"returns":     "<a b='" + strings.Repeat("\r", mb) + "'>" + strings.Repeat("\r\n", mb) + "</a>",
		"attributes":  wide.String(),
		"siblings":    "<a>" + strings.Repeat("<b/>", 60_000) + "</a>",
		"mixed":       "<a>" + strings.Repeat("x<b>y</b>", 60_000) + "</a>",
		"prefixes":    many.String(),
		"redeclared":  decls.String(),
		"nested":      nested.String(),
		"no nonchars": "<a>" + strings.Repeat("\uffef\ufffd", mb/2) + "</a>",
	} {
		start := time.Now()
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			r := NewReader(wrap(strings.NewReader("<s>"+in)), Limits{MaxAttrs: 200_000, MaxDepth: 202})
			if _, err := r.Open(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Next(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		took := time.Since(start)
		t.Logf("%-12s %5.1f MB %v", name, float64(len(in))/1e6, took.Round(time.Millisecond))
		if took > 30*time.Second { // for slow and busy machines
			t.Errorf("%s took %v", name, took)
		}
	}
}

// Stanzas share no memory, so that one that is kept does not keep others.
func TestDetached(t *testing.T) {
	src := []byte("<s xmlns='u'><a b='1'>x</a><a b='2'>y</a>")
	r := NewReader(bytes.NewReader(src), Limits{})
	r.Open()
	a, _ := r.Next()
	b, _ := r.Next()
	a.Attr = append(a.Attr, b.Attr...)
	a.Children = append(a.Children, b)
	clear(r.bytes)
	if dump(b) != `({u}a {}b="2" "y")` {
		t.Error(dump(b))
	}
	// Nor do elements of one stanza run into each other when one is appended to.
	e, err := Parse([]byte("<a b=''><c d=''><e/></c><f g=''><h/></f></a>"), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	e.Attr = append(e.Attr, b.Attr...)
	e.Children[0].Attr = append(e.Children[0].Attr, b.Attr...)
	e.Children[0].Children = append(e.Children[0].Children, b)
	if got := dump(e.Children[1]); got != `({}f {}g="" ({}h))` {
		t.Error(got)
	}
}
