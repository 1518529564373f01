package stream

import (
	"bytes"
	"encoding/xml"

	"github.com/confab-im/confab"
)

// finish makes the element of a whole stanza, b, which it may change if it owns
// it. The scope has the bindings of the header, and only them again afterwards;
// for the header itself, it keeps what is declared there.
func (s *scanner) finish(b []byte, owned bool, sc *scope) (*confab.Element, *fault) {
	control, f := chars(b)
	if f != nil {
		return nil, f
	}
	if s.seen&wideByte != 0 {
		if f := s.checkNames(b); f != nil {
			return nil, f
		}
	}
	odd := control || s.cdata || bytes.Contains(b, []byte("]]>"))
	if odd || bytes.IndexByte(b, '&') >= 0 {
		if !owned {
			b = bytes.Clone(b)
		}
		if f := s.decode(b, odd); f != nil {
			return nil, f
		}
	}
	base := len(sc.bindings)
	e, f := s.build(string(b), sc)
	if !s.header {
		sc.leave(base)
		if base <= fewBindings {
			sc.index = nil
		}
	}
	return e, f
}

func (s *scanner) checkNames(b []byte) *fault {
	check := func(n qname) *fault {
		local := n.start
		if n.colon > 0 {
			if !isName(b[n.start:n.colon]) {
				return bad(int(n.start), BadName, "character that may not be in a name")
			}
			local = n.colon + 1
		}
		if !isName(b[local:n.end]) {
			return bad(int(n.start), BadName, "character that may not be in a name")
		}
		return nil
	}
	for i := range s.tags {
		if f := check(s.tags[i].name); f != nil {
			return f
		}
	}
	for i := range s.attrs {
		if f := check(s.attrs[i].name); f != nil {
			return f
		}
	}
	return nil
}

// decode decodes all values. Without odd, only those with a '&' need it.
func (s *scanner) decode(b []byte, odd bool) *fault {
	for i := range s.attrs {
		a := &s.attrs[i]
		if !odd && bytes.IndexByte(b[a.start:a.end], '&') < 0 {
			continue
		}
		end, f := decode(b, int(a.start), int(a.end), inAttrs)
		if f != nil {
			return f
		}
		a.end = int32(end)
	}
	for i := range s.texts {
		t := &s.texts[i]
		if !odd && bytes.IndexByte(b[t.start:t.end], '&') < 0 {
			continue
		}
		end, f := decode(b, int(t.start), int(t.end), inTexts)
		if f != nil {
			return f
		}
		t.end = int32(end)
	}
	return nil
}

// build makes the elements. str is the stanza; all names and values are parts of
// it or, for namespaces, of the header. So a stanza is four allocations: str,
// the elements, the attributes, and the pointers to children.
func (s *scanner) build(str string, sc *scope) (*confab.Element, *fault) {
	els := make([]confab.Element, len(s.tags))
	var (
		attrs []xml.Attr
		kids  []*confab.Element
	)
	if n := len(s.attrs) - s.decls; n > 0 {
		attrs = make([]xml.Attr, n)
	}
	if len(els) > 1 {
		kids = make([]*confab.Element, len(els)-1)
	}
	first := int32(0)
	for i := range els {
		t, e := &s.tags[i], &els[i]
		sc.close(t.depth)
		own := s.attrs[first:t.attrs]
		first = t.attrs
		plain := len(own)
		if s.decls > 0 {
			for j := range own {
				if own[j].decl {
					plain--
					if f := sc.declare(str, &own[j], t.depth); f != nil {
						return nil, f
					}
				}
			}
		}
		if f := sc.resolve(str, t.name, true, &e.Name); f != nil {
			return nil, f
		}
		if plain > 0 {
			e.Attr, attrs = attrs[:plain:plain], attrs[plain:]
			k := 0
			for j := range own {
				a := &own[j]
				if a.decl {
					continue
				}
				if f := sc.resolve(str, a.name, false, &e.Attr[k].Name); f != nil {
					return nil, f
				}
				e.Attr[k].Value = str[a.start:a.end]
				k++
			}
			if plain > 1 && duplicates(e.Attr) {
				return nil, bad(int(t.name.start), Duplicate, "two attributes of one name")
			}
		}
		if k := t.kids; k > 0 {
			e.Children, kids = kids[:0:k], kids[k:]
		}
		if t.parent >= 0 {
			p := &els[t.parent]
			p.Children = append(p.Children, e)
		}
	}
	for i := range s.texts {
		t := &s.texts[i]
		if e := &els[t.owner]; t.tail {
			e.Tail = str[t.start:t.end]
		} else {
			e.Text = str[t.start:t.end]
		}
	}
	return &els[0], nil
}

// fewAttrs is how many attributes are compared each with each; more go through
// a map.
const fewAttrs = 12

func duplicates(a []xml.Attr) bool {
	if len(a) > fewAttrs {
		seen := make(map[xml.Name]struct{}, len(a))
		for i := range a {
			seen[a[i].Name] = struct{}{}
		}
		return len(seen) < len(a)
	}
	for i := 1; i < len(a); i++ {
		for j := range i {
			if a[i].Name == a[j].Name {
				return true
			}
		}
	}
	return false
}
