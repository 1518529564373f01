package chat

import (
	"cmp"
	"slices"
	"strings"

	"github.com/confab-im/confab"
)

// A span is a part of a text, in runes, the end not included. XEP-0428 counts
// code points, as XEP-0426 says.
type span struct{ begin, end int }

// fallbacks returns the parts of a body that stand only for those who do not
// understand something else in the message, in order and without overlaps.
func fallbacks(stanza *confab.Element, text string, understood func(ns string) bool) []span {
	var spans []span
	n := -1
	for f := range stanza.All(nsFallback, "fallback") {
		if !understood(f.Get("for")) {
			continue
		}
		if n < 0 {
			n = len([]rune(text))
		}
		bodies := 0
		for b := range f.All(nsFallback, "body") {
			if bodies++; bodies > 16 {
				break
			}
			begin, end := 0, n
			if s := b.Get("start"); s != "" {
				v, ok := position(s)
				if !ok {
					continue
				}
				begin = v
			}
			if s := b.Get("end"); s != "" {
				v, ok := position(s)
				if !ok {
					continue
				}
				end = v
			}
			if begin < end && end <= n {
				spans = append(spans, span{begin, end})
			}
		}
		// Without any part named the whole body is meant.
		if len(f.Children) == 0 && n > 0 {
			spans = append(spans, span{0, n})
		}
	}
	if len(spans) < 2 {
		return spans
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
	out := spans[:1]
	for _, s := range spans[1:] {
		last := &out[len(out)-1]
		if s.begin <= last.end {
			last.end = max(last.end, s.end)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// cutOut takes spans out of a text and returns the rest, and what was taken out
// without its marks of quotation.
func cutOut(text string, cut []span) (rest, quote string) {
	rs := []rune(text)
	var keep, drop strings.Builder
	at := 0
	for _, s := range cut {
		keep.WriteString(string(rs[at:s.begin]))
		drop.WriteString(string(rs[s.begin:s.end]))
		at = s.end
	}
	keep.WriteString(string(rs[at:]))
	return keep.String(), unquote(drop.String())
}

func unquote(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		if rest, ok := strings.CutPrefix(l, ">"); ok {
			lines[i] = strings.TrimPrefix(rest, " ")
		}
	}
	return strings.Join(lines, "\n")
}

// maxQuoted and maxQuotedLines are how much of a text is quoted.
const (
	maxQuoted      = 1000
	maxQuotedLines = 20
)

// quoted makes the quotation that older clients see of the text that is answered.
func quoted(text string) string {
	if text == "" {
		return ""
	}
	// An answer must not grow with what a stranger has sent.
	if lines := strings.SplitN(text, "\n", maxQuotedLines+1); len(lines) > maxQuotedLines {
		text = strings.Join(lines[:maxQuotedLines], "\n") + "…"
	}
	if rs := []rune(text); len(rs) > maxQuoted {
		text = string(rs[:maxQuoted]) + "…"
	}
	return "> " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n> ") + "\n"
}

// moved returns where a position is after cut was taken out.
func moved(at int, cut []span) int {
	to := at
	for _, s := range cut {
		if at > s.begin {
			to -= min(at, s.end) - s.begin
		}
	}
	return to
}
