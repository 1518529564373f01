package stream

import (
	"bytes"

	"github.com/confab-im/confab"
)

// skipLimit is how many times MaxBytes a stanza may have to be skipped. One that is
// longer ends the stream.
const skipLimit = 16

// skip passes over the rest of a stanza that is over a limit, so that it costs
// nothing but its time: whoever can send us a stanza could end the stream
// otherwise, and again when the server sends it once more on resumption. It returns
// f as an error that has the stanza's start tag, after which the Reader goes on.
func (r *Reader) skip(f *fault) error {
	root, n := rootOf(r.pending()[:min(len(r.pending()), r.limits.MaxBytes)], r.limits, r.name, r.header)
	if root == nil {
		return r.fail(f)
	}
	err := &LimitError{Offset: r.offset, What: f.what, Limit: f.limit, Stanza: root}
	r.idle()
	r.size = 0
	s := skipper{depth: 1}
	drop := func(n int) {
		r.start += n
		r.offset += int64(n)
		r.size += n
	}
	drop(n)
	for {
		n, done, ok := s.skip(r.pending())
		drop(n)
		switch {
		case !ok:
			return r.fail(bad(0, Restricted, "what is forbidden in a stanza that is over "+f.what))
		case done:
			r.phase = open
			return err
		case r.size > skipLimit*r.limits.MaxBytes:
			return r.fail(f)
		}
		if ferr := r.fill(); ferr != nil {
			r.err = cut(ferr)
			return r.err
		}
	}
}

// rootOf reads the start tag at the beginning of b, and returns the element, without
// children, and how long the tag is; nil if it is over a limit itself.
func rootOf(b []byte, l Limits, closing string, header []binding) (*confab.Element, int) {
	t := tablesPool.Get().(*tables)
	defer t.release()
	t.scope.reset(header)
	t.scanner.reset(l, closing, true)
	if v, f := t.scanner.scan(b); f != nil || v != whole || t.scanner.empty {
		return nil, 0
	}
	n := t.scanner.pos
	e, f := t.scanner.finish(bytes.Clone(b[:n]), true, &t.scope)
	if f != nil {
		return nil, 0
	}
	return e, n
}

// A skipper finds the end of an element without looking at what is in it.
type skipper struct {
	depth int
	state skipState
	quote byte
	last  byte // the byte before, in tags; or how much of "[CDATA[" or "]]>" was seen
}

type skipState uint8

const (
	skipText skipState = iota
	skipLess
	skipStart
	skipQuoted
	skipEnd
	skipBang
	skipCDATA
)

const cdataOpen = "[CDATA["

// skip goes on with b and returns how much of it belongs to the element.
func (s *skipper) skip(b []byte) (n int, done, ok bool) {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch s.state {
		case skipText:
			j := bytes.IndexByte(b[i:], '<')
			if j < 0 {
				return len(b), false, true
			}
			i += j
			s.state = skipLess
		case skipLess:
			switch c {
			case '/':
				s.state = skipEnd
			case '!':
				s.state, s.last = skipBang, 0
			case '?':
				return i, false, false
			default:
				s.state, s.last = skipStart, c
			}
		case skipStart:
			switch c {
			case '\'', '"':
				s.state, s.quote = skipQuoted, c
			case '<':
				return i, false, false
			case '>':
				s.state = skipText
				if s.last != '/' {
					s.depth++
				}
			}
			s.last = c
		case skipQuoted:
			if c == s.quote {
				s.state = skipStart
			}
		case skipEnd:
			if c != '>' {
				continue
			}
			s.state = skipText
			if s.depth--; s.depth == 0 {
				return i + 1, true, true
			}
		case skipBang:
			if c != cdataOpen[s.last] {
				return i, false, false
			}
			if s.last++; int(s.last) == len(cdataOpen) {
				s.state, s.last = skipCDATA, 0
			}
		case skipCDATA:
			switch {
			case c == ']':
				s.last = min(s.last+1, 2)
			case c == '>' && s.last == 2:
				s.state = skipText
			default:
				s.last = 0
			}
		}
	}
	return len(b), false, true
}
