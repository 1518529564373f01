package stream

import (
	"encoding/xml"
	"strings"
)

const (
	xmlSpace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsSpace = "http://www.w3.org/2000/xmlns/"
)

// binding is a namespace declaration in scope.
type binding struct {
	prefix, space string
	depth         int32 // of the element that has it; 0 for the header
	hidden        int32 // the binding of the same prefix before it, or -1
}

// fewBindings is how many bindings are searched one by one; with more of them
// there is an index, since thousands of elements may each look for thousands.
const fewBindings = 16

// scope is the namespace declarations in scope, innermost last.
type scope struct {
	bindings []binding
	std      int32            // binding of the default namespace, or -1
	index    map[string]int32 // by prefix, nil while there are few
}

func (sc *scope) reset(header []binding) {
	clear(sc.bindings[:cap(sc.bindings)])
	sc.bindings, sc.index, sc.std = sc.bindings[:0], nil, -1
	for _, b := range header {
		sc.add(b)
	}
}

func (sc *scope) find(prefix string) int32 {
	if prefix == "" {
		return sc.std
	}
	if sc.index != nil {
		if i, ok := sc.index[prefix]; ok {
			return i
		}
		return -1
	}
	for i := len(sc.bindings) - 1; i >= 0; i-- {
		if sc.bindings[i].prefix == prefix {
			return int32(i)
		}
	}
	return -1
}

func (sc *scope) add(b binding) {
	i := int32(len(sc.bindings))
	sc.bindings = append(sc.bindings, b)
	switch {
	case b.prefix == "":
		sc.std = i
	case sc.index != nil:
		sc.index[b.prefix] = i
	case len(sc.bindings) > fewBindings:
		sc.index = make(map[string]int32)
		for j, b := range sc.bindings {
			if b.prefix != "" {
				sc.index[b.prefix] = int32(j)
			}
		}
	}
}

// close takes out the bindings of elements this deep or deeper.
func (sc *scope) close(depth int32) {
	n := len(sc.bindings)
	for n > 0 && sc.bindings[n-1].depth >= depth {
		n--
	}
	sc.leave(n)
}

// leave takes out all bindings but the first n.
func (sc *scope) leave(n int) {
	for i := len(sc.bindings) - 1; i >= n; i-- {
		b := &sc.bindings[i]
		switch {
		case b.prefix == "":
			sc.std = b.hidden
		case sc.index == nil:
		case b.hidden >= 0:
			sc.index[b.prefix] = b.hidden
		default:
			delete(sc.index, b.prefix)
		}
		*b = binding{}
		sc.bindings = sc.bindings[:i]
	}
}

// declare adds the declaration in an attribute.
func (sc *scope) declare(str string, a *attrib, depth int32) *fault {
	prefix, space := "", str[a.start:a.end]
	if a.name.colon > 0 {
		prefix = str[a.name.colon+1 : a.name.end]
	}
	refuse := func(msg string) *fault { return bad(int(a.name.start), BadNamespace, msg) }
	switch {
	case prefix == "xmlns":
		return refuse("declaration of the prefix xmlns")
	case (prefix == "xml") != (space == xmlSpace):
		return refuse("the prefix xml or its namespace bound otherwise")
	case space == xmlnsSpace:
		return refuse("declaration of the namespace of xmlns")
	case prefix != "" && space == "":
		return refuse("prefix declared as no namespace")
	}
	hidden := sc.find(prefix)
	if hidden >= 0 && sc.bindings[hidden].depth == depth {
		return bad(int(a.name.start), Duplicate, "two attributes of one name")
	}
	sc.add(binding{prefix, space, depth, hidden})
	return nil
}

// resolve sets name to what n stands for in the scope.
func (sc *scope) resolve(str string, n qname, element bool, name *xml.Name) *fault {
	if n.colon == 0 {
		name.Local = str[n.start:n.end]
		if element && sc.std >= 0 {
			name.Space = sc.bindings[sc.std].space
		}
		return nil
	}
	name.Local = str[n.colon+1 : n.end]
	prefix := str[n.start:n.colon]
	if prefix == "xml" {
		name.Space = xmlSpace
		return nil
	}
	i := sc.find(prefix)
	if i < 0 {
		return bad(int(n.start), BadNamespace, "prefix that was not declared")
	}
	name.Space = sc.bindings[i].space
	return nil
}

// base returns a copy of the bindings, as those of the header.
func (sc *scope) base() []binding {
	if len(sc.bindings) == 0 {
		return nil
	}
	b := make([]binding, len(sc.bindings))
	for i := range b {
		b[i] = binding{strings.Clone(sc.bindings[i].prefix), strings.Clone(sc.bindings[i].space), 0, -1}
	}
	return b
}
