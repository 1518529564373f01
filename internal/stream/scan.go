package stream

import "bytes"

// The scanner notes positions, not strings: its tables hold no pointers, so they
// can be used again without clearing them, and a stanza is only copied when it
// is whole. Positions count from the '<' of the stanza.

// qname is the place of a name; colon is 0 without prefix.
type qname struct{ start, colon, end int32 }

// tag is a start tag.
type tag struct {
	name   qname
	parent int32 // in scanner.tags, or -1
	depth  int32
	attrs  int32 // end of its attributes in scanner.attrs
	kids   int32 // number of children
	last   int32 // last child so far
}

// attrib is an attribute or, with decl set, a namespace declaration.
type attrib struct {
	name       qname
	start, end int32 // the value, without quotes
	decl       bool
}

// text is character data: the text of an element or, with tail set, its tail.
type text struct {
	start, end int32
	owner      int32
	tail       bool
}

type state uint8

// Where the scanner is. The order is the order of the cases in scan, which run
// into each other.
const (
	inText state = iota
	afterLess
	inName
	inTag
	inAttr
	beforeEquals
	beforeQuote
	inValue
	afterSlash
	inEndName
	inEndTag
	afterBang
	inCData
)

type verdict uint8

const (
	more  verdict = iota // the stanza is not whole yet
	whole                // the stanza, or the header, ends at scanner.pos
	ended                // it was the end tag of the stream
)

// scanner finds the tags of one stanza.
type scanner struct {
	tags  []tag
	attrs []attrib
	texts []text
	decls int  // how many of attrs are namespace declarations
	cdata bool // there are CDATA sections in the texts

	// Set before the first call of scan:
	limits  Limits
	closing string // name in the end tag of the stream, "" if there is none
	header  bool   // only one start tag is wanted

	empty bool // the header was an empty-element tag

	state state
	quote byte
	seen  uint8 // classes of the bytes in names
	pos   int   // all before it is done
	less  int   // next '<', or how far was looked for it
	mark  int   // where the current name or gap began
	from  int   // where the current text began
	colon int   // in the current name
	attr0 int   // first attribute of the current tag
	cur   int32
}

func (s *scanner) reset(l Limits, closing string, header bool) {
	*s = scanner{tags: s.tags[:0], attrs: s.attrs[:0], texts: s.texts[:0],
		limits: l, closing: closing, header: header, cur: -1}
}

// A fault is an error without the offset in the stream.
type fault struct {
	pos   int
	kind  Kind
	msg   string
	what  string // for limits
	limit int
}

func bad(pos int, kind Kind, msg string) *fault { return &fault{pos: pos, kind: kind, msg: msg} }

// at makes the error for a stanza that begins at this offset.
func (f *fault) at(offset int64) error {
	if f.what != "" {
		return &LimitError{Offset: offset, What: f.what, Limit: f.limit}
	}
	return &SyntaxError{Offset: offset + int64(f.pos), Kind: f.kind, Msg: f.msg}
}

// Classes of bytes. Names may have any non-ASCII byte here; checkNames looks at
// those.
const (
	nameByte  = 1 << iota // may be in a name; not the colon
	nameStart             // may begin one
	wideByte              // not ASCII
)

var class = func() (c [256]uint8) {
	for i := range c {
		switch {
		case i >= 0x80:
			c[i] = nameByte | nameStart | wideByte
		case i >= 'a' && i <= 'z', i >= 'A' && i <= 'Z', i == '_':
			c[i] = nameByte | nameStart
		case i >= '0' && i <= '9', i == '-', i == '.':
			c[i] = nameByte
		}
	}
	return
}()

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// scan goes on with b, which is the stanza so far, from its first byte, '<'.
func (s *scanner) scan(b []byte) (verdict, *fault) {
	i, n := s.pos, len(b)
	if s.less < n && b[s.less] != '<' {
		s.findLess(b, s.less)
	}
	for {
		switch s.state {
		case inText:
			if i = s.less; i == n {
				return s.wait(i, inText)
			}
			i++
			fallthrough

		case afterLess:
			if i == n {
				return s.wait(i, afterLess)
			}
			c := b[i]
			if class[c]&nameStart == 0 {
				switch c {
				case '/':
					if s.cur < 0 && s.closing == "" {
						return more, bad(i-1, Malformed, "end tag without start tag")
					}
					s.addText(i - 1)
					i++
					s.mark, s.state = i, inEndName
				case '!':
					i++
					s.mark, s.state = i, afterBang
				case '?':
					return more, bad(i-1, Restricted, "processing instruction")
				case ':':
					return more, bad(i, BadName, "no name before ':'")
				default:
					return more, bad(i, BadName, "'<' without a name")
				}
				s.findLess(b, i)
				continue
			}
			s.addText(i - 1)
			if f := s.push(); f != nil {
				return more, f
			}
			s.mark, s.colon = i, 0
			s.findLess(b, i)
			fallthrough

		case inName:
			var f *fault
			if i, f = s.name(b, i); f != nil {
				return more, f
			}
			if i == n {
				return s.wait(i, inName)
			}
			s.tags[s.cur].name = qname{int32(s.mark), int32(s.colon), int32(i)}
			s.mark = i
			s.state = inTag
			fallthrough

		case inTag: // after the name or an attribute; mark is where that ended
			for i < n && isSpace(b[i]) {
				i++
			}
			if i == n {
				return s.wait(i, inTag)
			}
			c := b[i]
			if class[c]&nameStart == 0 {
				switch c {
				case '>':
					i++
					s.tags[s.cur].attrs = int32(len(s.attrs))
					s.from = i
					if s.header {
						s.pos = i
						return whole, nil
					}
					s.state = inText
				case '/':
					i++
					s.state = afterSlash
				case ':':
					return more, bad(i, BadName, "no name before ':'")
				default:
					return more, bad(i, BadName, "not an attribute")
				}
				continue
			}
			if i == s.mark {
				return more, bad(i, Malformed, "no white space before an attribute")
			}
			if len(s.attrs)-s.attr0 == s.limits.MaxAttrs {
				return more, &fault{what: "MaxAttrs", limit: s.limits.MaxAttrs}
			}
			s.mark, s.colon = i, 0
			fallthrough

		case inAttr:
			var f *fault
			if i, f = s.name(b, i); f != nil {
				return more, f
			}
			if i == n {
				return s.wait(i, inAttr)
			}
			a := attrib{name: qname{int32(s.mark), int32(s.colon), int32(i)}}
			if m := s.mark; i-m >= 5 && string(b[m:m+5]) == "xmlns" && (i-m == 5 || s.colon == m+5) {
				a.decl = true
				s.decls++
			}
			s.attrs = append(s.attrs, a)
			fallthrough

		case beforeEquals:
			for i < n && isSpace(b[i]) {
				i++
			}
			if i == n {
				return s.wait(i, beforeEquals)
			}
			if b[i] != '=' {
				return more, bad(i, Malformed, "attribute without '='")
			}
			i++
			fallthrough

		case beforeQuote:
			for i < n && isSpace(b[i]) {
				i++
			}
			if i == n {
				return s.wait(i, beforeQuote)
			}
			if s.quote = b[i]; s.quote != '"' && s.quote != '\'' {
				return more, bad(i, Malformed, "attribute without quotes")
			}
			i++
			s.attrs[len(s.attrs)-1].start = int32(i)
			fallthrough

		case inValue:
			j := bytes.IndexByte(b[i:], s.quote)
			if j < 0 {
				j = n - i
			}
			if i += j; s.less < i {
				return more, bad(s.less, Malformed, "'<' in an attribute")
			}
			if i == n {
				return s.wait(i, inValue)
			}
			s.attrs[len(s.attrs)-1].end = int32(i)
			i++
			s.mark = i
			s.state = inTag

		case afterSlash:
			if i == n {
				return s.wait(i, afterSlash)
			}
			if b[i] != '>' {
				return more, bad(i, Malformed, "'/' in a tag")
			}
			i++
			s.tags[s.cur].attrs = int32(len(s.attrs))
			if s.empty = true; s.pop(i) || s.header {
				s.pos = i
				return whole, nil
			}
			s.state = inText

		case inEndName:
			var ok bool
			if i, ok = s.endName(b, i); !ok {
				return more, bad(s.mark, Malformed, "end tag does not match the start tag")
			}
			if i == n {
				return s.wait(i, inEndName)
			}
			fallthrough

		case inEndTag:
			for i < n && isSpace(b[i]) {
				i++
			}
			if i == n {
				return s.wait(i, inEndTag)
			}
			if b[i] != '>' {
				return more, bad(s.mark, Malformed, "end tag does not match the start tag")
			}
			i++
			if s.cur < 0 {
				s.pos = i
				return ended, nil
			}
			if s.pop(i) {
				s.pos = i
				return whole, nil
			}
			s.state = inText

		case afterBang:
			const open = "[CDATA["
			m := min(n-s.mark, len(open))
			switch rest := b[s.mark : s.mark+m]; {
			case m > 0 && rest[0] == '-':
				return more, bad(s.mark-2, Restricted, "comment")
			case m > 0 && rest[0] == '[' && s.cur < 0:
				return more, bad(s.mark-2, Malformed, "character data outside of elements")
			case string(rest) != open[:m]:
				return more, bad(s.mark-2, Restricted, "document type or other declaration")
			}
			if m < len(open) {
				return s.wait(i, afterBang)
			}
			i = s.mark + m
			s.cdata = true
			s.mark = i
			s.state = inCData
			fallthrough

		case inCData:
			j := bytes.Index(b[i:], []byte("]]>"))
			if j < 0 {
				// The last two bytes may be the beginning of the end.
				return s.wait(max(s.mark, n-2), inCData)
			}
			i += j + 3
			s.findLess(b, i)
			s.state = inText
		}
	}
}

func (s *scanner) wait(i int, st state) (verdict, *fault) {
	s.pos, s.state = i, st
	return more, nil
}

func (s *scanner) findLess(b []byte, from int) {
	if j := bytes.IndexByte(b[from:], '<'); j >= 0 {
		s.less = from + j
	} else {
		s.less = len(b)
	}
}

// name goes on with the name that began at mark, to its end or that of b.
func (s *scanner) name(b []byte, i int) (int, *fault) {
	var all uint8
	for {
		for ; i < len(b); i++ {
			c := class[b[i]]
			if c&nameByte == 0 {
				break
			}
			all |= c
		}
		s.seen |= all
		if l := s.colon + 1; l > 1 && i > l && class[b[l]]&nameStart == 0 {
			return i, bad(s.mark, BadName, "bad name after ':'")
		}
		if i == len(b) {
			return i, nil
		}
		if b[i] != ':' {
			if i == s.colon+1 {
				return i, bad(s.mark, BadName, "no name after ':'")
			}
			return i, nil
		}
		if s.colon > 0 {
			return i, bad(s.mark, BadName, "name with two ':'")
		}
		s.colon = i
		i++
	}
}

// endName compares the name in an end tag, as far as it is there, and returns
// where it ends or b does.
func (s *scanner) endName(b []byte, i int) (int, bool) {
	done := i - s.mark
	if s.cur < 0 {
		k := min(len(b)-i, len(s.closing)-done)
		return i + k, string(b[i:i+k]) == s.closing[done:done+k]
	}
	nm := s.tags[s.cur].name
	want := b[nm.start:nm.end]
	k := min(len(b)-i, len(want)-done)
	return i + k, string(b[i:i+k]) == string(want[done:done+k])
}

// push begins an element.
func (s *scanner) push() *fault {
	depth := int32(1)
	if s.cur >= 0 {
		depth = s.tags[s.cur].depth + 1
	}
	if int(depth) > s.limits.MaxDepth {
		return &fault{what: "MaxDepth", limit: s.limits.MaxDepth}
	}
	if len(s.tags) == s.limits.MaxElements {
		return &fault{what: "MaxElements", limit: s.limits.MaxElements}
	}
	i := int32(len(s.tags))
	s.tags = append(s.tags, tag{parent: s.cur, depth: depth})
	if s.cur >= 0 {
		s.tags[s.cur].kids++
		s.tags[s.cur].last = i
	}
	s.cur, s.attr0 = i, len(s.attrs)
	return nil
}

// pop ends an element and reports whether it was the outermost one.
func (s *scanner) pop(i int) bool {
	s.from = i
	s.cur = s.tags[s.cur].parent
	return s.cur < 0
}

// addText notes the character data that ends here, if there is any.
func (s *scanner) addText(end int) {
	if s.cur < 0 || end == s.from {
		return
	}
	t := text{start: int32(s.from), end: int32(end), owner: s.cur}
	if p := &s.tags[s.cur]; p.kids > 0 {
		t.owner, t.tail = p.last, true
	}
	s.texts = append(s.texts, t)
}
