package chat

import (
	"strings"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/styling"
)

// Style says how a part of a text looks. Values are combined.
type Style uint8

// The styles.
const (
	Emphasis  Style = 1 << iota // _so_, usually in italics
	Strong                      // *so*, usually bold
	Deleted                     // ~so~, struck through
	Code                        // `so`, monospaced
	CodeBlock                   // lines of code between ```
	Quotation                   // lines that begin with >
	// Mark is on the signs themselves that make the style, such as the * of *so*.
	Mark
)

// A Span is a part of a text, counted in runes, with its style.
type Span struct {
	Begin, End int
	Style      Style
	// Depth is how deep a quotation is nested.
	Depth int
}

// maxStyled bounds the texts that are looked at for styling, in bytes.
const maxStyled = 1 << 16

// Spans reads the styling of a text (XEP-0393). The spans follow each other and
// together are the whole text. A message that is Unstyled should not be given to
// it. Texts above 64 KiB, or with
// quotations nested more than 100 deep, are returned as one plain span.
func Spans(text string) []Span {
	if text == "" {
		return nil
	}
	if len(text) > maxStyled || tooDeep(text) {
		return []Span{{End: utf8.RuneCountInString(text)}}
	}
	var spans []Span
	at := 0
	d := styling.NewDecoder(strings.NewReader(text))
	for d.Next() {
		t := d.Token()
		n := utf8.RuneCount(t.Data)
		if n == 0 {
			continue
		}
		s := Span{Begin: at, End: at + n, Style: styleOf(d.Style()), Depth: int(d.Quote())}
		at += n
		if k := len(spans) - 1; k >= 0 && spans[k].Style == s.Style && spans[k].Depth == s.Depth && s.Style&Mark == 0 {
			spans[k].End = s.End
			continue
		}
		spans = append(spans, s)
	}
	if n := utf8.RuneCountInString(text); at < n { // never leave a part of it out
		spans = append(spans, Span{Begin: at, End: n})
	}
	return spans
}

// tooDeep reports whether a line is quoted so often that reading it would take long.
func tooDeep(text string) bool {
	depth := 0
	for _, r := range text {
		switch r {
		case '>':
			if depth++; depth > 100 {
				return true
			}
		case ' ', '\t':
		default:
			depth = 0
		}
	}
	return false
}

func styleOf(m styling.Style) Style {
	var s Style
	for _, p := range [...]struct {
		in  styling.Style
		out Style
	}{
		{styling.SpanEmph, Emphasis}, {styling.SpanStrong, Strong}, {styling.SpanStrike, Deleted}, {styling.SpanPre, Code},
		{styling.BlockPre, CodeBlock}, {styling.BlockQuote, Quotation}, {styling.Directive, Mark},
	} {
		if m&p.in != 0 {
			s |= p.out
		}
	}
	return s
}

// maxMarkup bounds how many spans one message may have.
const maxMarkup = 1024

// markup reads what the author has marked (XEP-0394).
func markup(el *confab.Element) []Span {
	var spans []Span
	for _, c := range el.Children {
		b, ok := position(c.Get("start"))
		e, ok2 := position(c.Get("end"))
		if c.Name.Space != nsMarkup || !ok || !ok2 || b >= e || len(spans) == maxMarkup {
			continue
		}
		s := Span{Begin: b, End: e}
		switch c.Name.Local {
		case "span":
			for _, k := range c.Children {
				switch k.Name.Local {
				case "emphasis":
					s.Style |= Emphasis
				case "strong":
					s.Style |= Strong
				case "deleted":
					s.Style |= Deleted
				case "code":
					s.Style |= Code
				}
			}
		case "bcode":
			s.Style = CodeBlock
		case "bquote":
			s.Style, s.Depth = Quotation, 1
		}
		if s.Style != 0 {
			spans = append(spans, s)
		}
	}
	return spans
}

func markupElement(spans []Span) *confab.Element {
	el := confab.El(nsMarkup, "markup")
	for _, s := range spans {
		name := "span"
		var kids []*confab.Element
		switch {
		case s.Style&CodeBlock != 0:
			name = "bcode"
		case s.Style&Quotation != 0:
			name = "bquote"
		default:
			for _, p := range [...]struct {
				style Style
				name  string
			}{{Emphasis, "emphasis"}, {Strong, "strong"}, {Deleted, "deleted"}, {Code, "code"}} {
				if s.Style&p.style != 0 {
					kids = append(kids, confab.El(nsMarkup, p.name))
				}
			}
		}
		el.Add(confab.El(nsMarkup, name, kids...).Set("start", itoa(s.Begin)).Set("end", itoa(s.End)))
	}
	return el
}
