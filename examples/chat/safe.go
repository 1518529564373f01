package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// What others say reaches the screen only through this file. A terminal obeys what it is
// told by control characters; readers are misled by signs that turn the order of a line
// round or that nobody sees.

const (
	maxText  = 4000 // runes of a message that are shown
	maxLines = 40   // lines of it
	maxName  = 60   // runes of a name
	maxMarks = 4    // signs that may stand on top of one letter
)

// safeText makes a text of others harmless. It keeps its lines, and is cut if it is huge.
func safeText(s string) string {
	s, cut := clip(s, maxText)
	s = clean(s, true)
	if lines := strings.Split(s, "\n"); len(lines) > maxLines {
		s, cut = strings.Join(lines[:maxLines], "\n"), true
	}
	if cut {
		s += " … (there is more: /show)"
	}
	return s
}

// safeLine makes a name or a short text harmless: one line of at most so many runes.
func safeLine(s string, most int) string {
	s, cut := clip(s, most)
	s = strings.TrimSpace(clean(s, false))
	if cut {
		s += "…"
	}
	return s
}

func safeName(s string) string { return safeLine(s, maxName) }

// clip keeps at most so many runes, without looking at the rest.
func clip(s string, most int) (string, bool) {
	n := 0
	for i := range s {
		if n == most {
			return s[:i], true
		}
		n++
	}
	return s, false
}

func clean(s string, lines bool) string {
	var b strings.Builder
	marks := 0
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks <= maxMarks {
				b.WriteRune(r)
			}
			continue
		}
		marks = 0
		switch {
		case r == '\n' && lines:
			b.WriteByte('\n')
		case r == '\n', r == '\u2028', r == '\u2029':
			b.WriteByte(' ')
		case r == '\t':
			b.WriteString("    ")
		case r < ' ':
			b.WriteRune('\u2400' + r) // a picture of it
		case r == 0x7f:
			b.WriteRune('\u2421')
		case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069': // turn the order round
			b.WriteRune(utf8.RuneError)
		case r == '\u200d': // joins emoji
			b.WriteRune(r)
		case unicode.Is(unicode.Cf, r): // nobody sees it
		case unicode.In(r, unicode.Cc, unicode.Co, unicode.Cs), r == utf8.RuneError:
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// wrap breaks a text, which is safe already, into lines of a width, between words where
// it can.
func wrap(text string, width int) []string {
	if width < 1 {
		return nil
	}
	var lines []string
	for _, para := range strings.Split(text, "\n") {
		var line strings.Builder
		used, state := 0, -1
		end := func() {
			lines = append(lines, line.String())
			line.Reset()
			used = 0
		}
		for rest := para; rest != ""; {
			var word string
			word, rest, _, state = uniseg.FirstLineSegmentInString(rest, state)
			if w := uniseg.StringWidth(strings.TrimRight(word, " ")); used > 0 && used+w > width {
				end()
			}
			for g := uniseg.NewGraphemes(word); g.Next(); {
				w := g.Width()
				if used+w > width {
					if g.Str() == " " {
						continue
					}
					end()
				}
				line.WriteString(g.Str())
				used += w
			}
		}
		end()
	}
	return lines
}
