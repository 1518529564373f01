package stream

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// chars checks that b is UTF-8 and has only characters that XML allows. It also
// tells whether there are tabs or line ends in it.
func chars(b []byte) (control bool, f *fault) {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	var high uint64
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		high |= x
		if (x-0x20*ones)&^x&highs != 0 { // a byte below 0x20
			control = true
			for j := i; j < i+8; j++ {
				if b[j] < 0x20 && !isSpace(b[j]) {
					return false, bad(j, BadChar, "control character")
				}
			}
		}
	}
	for ; i < len(b); i++ {
		high |= uint64(b[i])
		if b[i] < 0x20 {
			control = true
			if !isSpace(b[i]) {
				return false, bad(i, BadChar, "control character")
			}
		}
	}
	if high&highs == 0 {
		return control, nil
	}
	if !utf8.Valid(b) {
		i = 0
		for {
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n <= 1 {
				return false, bad(i, BadEncoding, "not UTF-8")
			}
			i += n
		}
	}
	// UTF-8 has no surrogates; what is left are U+FFFE and U+FFFF.
	for i = 0; ; i += 2 {
		j := bytes.Index(b[i:], []byte("\xef\xbf"))
		if j < 0 {
			return control, nil
		}
		if i += j; b[i+2] >= 0xbe {
			return false, bad(i, BadChar, "character U+FFFE or U+FFFF")
		}
	}
}

// isChar is the production Char of XML 1.0.
func isChar(r rune) bool {
	return r >= 0x20 && r <= 0xd7ff || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= 0x10ffff
}

// isName reports whether the non-ASCII characters of a name, or of a part of one
// beside the colon, may be there. The scanner has seen to the others.
func isName(b []byte) bool {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if !isNameStart(r) && (i == 0 || r != 0xb7 && (r < 0x300 || r > 0x36f) && r != 0x203f && r != 0x2040) {
			return false
		}
		i += n
	}
	return true
}

// isNameStart is the production NameStartChar, beyond ASCII.
func isNameStart(r rune) bool {
	return r >= 0xc0 && r <= 0x2ff && r != 0xd7 && r != 0xf7 ||
		r >= 0x370 && r <= 0x1fff && r != 0x37e ||
		r == 0x200c || r == 0x200d ||
		r >= 0x2070 && r <= 0x218f || r >= 0x2c00 && r <= 0x2fef || r >= 0x3001 && r <= 0xd7ff ||
		r >= 0xf900 && r <= 0xfdcf || r >= 0xfdf0 && r <= 0xfffd || r >= 0x10000 && r <= 0xeffff
}

// Bytes that need work in attributes and in texts.
const (
	inAttrs = 1 << iota
	inTexts
)

var special = [256]uint8{'&': inAttrs | inTexts, '\r': inAttrs | inTexts, '\n': inAttrs, '\t': inAttrs,
	']': inTexts, '<': inTexts}

// decode resolves references, line ends and CDATA sections of b[i:end], in place
// since none of them gets longer, and returns the new end. where is inAttrs or
// inTexts.
func decode(b []byte, i, end int, where uint8) (int, *fault) {
	w, start := i, i
	for {
		j := i
		for j < end && special[b[j]]&where == 0 {
			j++
		}
		w += move(b, w, i, j)
		if i = j; i == end {
			return w, nil
		}
		switch c := b[i]; c {
		case '&':
			r, n, f := reference(b[i:end])
			if f != nil {
				f.pos = start
				return 0, f
			}
			w += utf8.EncodeRune(b[w:], r)
			i += n
		case '<': // the scanner lets nothing else through
			i += len("<![CDATA[")
			n := bytes.Index(b[i:end], []byte("]]>"))
			w += lines(b, w, i, i+n)
			i += n + len("]]>")
		case ']':
			if bytes.HasPrefix(b[i:end], []byte("]]>")) {
				return 0, bad(start, Malformed, "']]>' in text")
			}
			b[w] = c
			w++
			i++
		default: // white space
			if c == '\r' && i+1 < end && b[i+1] == '\n' {
				i++
			}
			b[w] = '\n'
			if where == inAttrs {
				b[w] = ' '
			}
			w++
			i++
		}
	}
}

// move moves b[i:j] to w and returns its length.
func move(b []byte, w, i, j int) int {
	if w != i {
		copy(b[w:], b[i:j])
	}
	return j - i
}

// lines moves b[i:end] to w with its line ends made '\n', and returns how long
// that is.
func lines(b []byte, w, i, end int) int {
	w0 := w
	for {
		j := bytes.IndexByte(b[i:end], '\r')
		if j < 0 {
			return w - w0 + move(b, w, i, end)
		}
		w += move(b, w, i, i+j)
		b[w] = '\n'
		w++
		if i += j + 1; i < end && b[i] == '\n' {
			i++
		}
	}
}

// reference reads the reference at the beginning of b and returns the character
// and the length of the reference.
func reference(b []byte) (rune, int, *fault) {
	if len(b) > 2 && b[1] == '#' {
		return charReference(b)
	}
	// The longest of the five are &apos; and &quot;.
	switch n := bytes.IndexByte(b[:min(len(b), 6)], ';'); string(b[1:max(n, 1)]) {
	case "amp":
		return '&', 5, nil
	case "lt":
		return '<', 4, nil
	case "gt":
		return '>', 4, nil
	case "apos":
		return '\'', 6, nil
	case "quot":
		return '"', 6, nil
	}
	i := 1
	for i < len(b) && (class[b[i]] != 0 || b[i] == ':') {
		i++
	}
	if i == 1 || i == len(b) || b[i] != ';' || class[b[1]]&nameStart == 0 {
		return 0, 0, bad(0, BadReference, "'&' that begins no reference")
	}
	return 0, 0, bad(0, Restricted, "reference to an entity")
}

func charReference(b []byte) (rune, int, *fault) {
	i, base := 2, rune(10)
	if b[i] == 'x' {
		i, base = 3, 16
	}
	r, digits := rune(0), i
	for ; i < len(b); i++ {
		d := rune(16)
		switch c := b[i]; {
		case c >= '0' && c <= '9':
			d = rune(c - '0')
		case c >= 'a' && c <= 'f':
			d = rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			d = rune(c-'A') + 10
		}
		if d >= base {
			break
		}
		r = min(r*base+d, utf8.MaxRune+1) // no overflow, however many digits
	}
	if i == digits || i == len(b) || b[i] != ';' {
		return 0, 0, bad(0, BadReference, "not a character reference")
	}
	if !isChar(r) {
		return 0, 0, bad(0, BadChar, "reference to a character that is not allowed")
	}
	return r, i + 1, nil
}
