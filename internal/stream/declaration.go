package stream

import (
	"bytes"
	"strings"
)

// maxDeclaration is the length of an XML declaration, which the limits do not
// know of.
const maxDeclaration = 256

// declaration returns the length of the XML declaration at the beginning of b,
// or 0 if there is none, or if it is not whole yet.
func declaration(b []byte) (int, *fault) {
	const open = "<?xml"
	if k := min(len(b), 2); string(b[:k]) != open[:k] {
		return 0, nil
	}
	k := min(len(b), len(open))
	if string(b[:k]) != open[:k] || len(b) > k && !isSpace(b[k]) {
		return 0, bad(0, Restricted, "processing instruction")
	}
	n := bytes.Index(b[:min(len(b), maxDeclaration)], []byte("?>"))
	if n < 0 {
		if len(b) >= maxDeclaration {
			return 0, bad(0, Malformed, "XML declaration without end")
		}
		return 0, nil
	}
	return n + 2, declared10(string(b[k:n]))
}

// declared10 checks what is between "<?xml" and "?>".
func declared10(s string) *fault {
	malformed := bad(0, Malformed, "XML declaration that is not well formed")
	next := 0 // of the three, which come in this order
	for {
		t := strings.TrimLeft(s, " \t\r\n")
		if t == "" {
			if next == 0 {
				return malformed
			}
			return nil
		}
		if len(t) == len(s) {
			return malformed // no white space before it
		}
		name, rest, ok := strings.Cut(t, "=")
		if !ok {
			return malformed
		}
		name = strings.TrimRight(name, " \t\r\n")
		rest = strings.TrimLeft(rest, " \t\r\n")
		if rest == "" || rest[0] != '"' && rest[0] != '\'' {
			return malformed
		}
		value, rest, ok := strings.Cut(rest[1:], rest[:1])
		if !ok {
			return malformed
		}
		switch {
		case name == "version" && next == 0:
			if value != "1.0" {
				return bad(0, Malformed, "version of XML other than 1.0")
			}
			next = 1
		case name == "encoding" && next == 1:
			if !strings.EqualFold(value, "utf-8") {
				return bad(0, BadEncoding, "encoding other than UTF-8")
			}
			next = 2
		case name == "standalone" && (next == 1 || next == 2):
			if value != "yes" && value != "no" {
				return malformed
			}
			next = 3
		default:
			return malformed
		}
		s = rest
	}
}
