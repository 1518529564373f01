package confab

import (
	"encoding/xml"
	"iter"
	"strings"
)

// An Element is one XML element, decoded once and whole: every child that came
// over the wire is there, known to confab or not. Names carry the namespace
// itself, never a prefix, and namespace declarations (xmlns, xmlns:x) are not
// among the attributes: they are made anew when an Element is written.
//
// Elements that a Session hands out are shared by everyone who sees the
// stanza: treat them as read-only and use [Element.Clone] before changing one.
// Elements of your own can be written as literals or with [El].
type Element struct {
	// Name is the namespace and the local name. An Element for sending whose
	// Space is empty takes the namespace of its parent.
	Name xml.Name
	// Attr are the attributes, those without a namespace with an empty Space.
	Attr []xml.Attr
	// Text is the character data before the first child. Tail is the character
	// data that follows this element in its parent. Together they keep mixed
	// content such as XHTML in order.
	Text, Tail string
	// Children are the child elements, in order.
	Children []*Element
}

// El makes an Element for sending: El("urn:xmpp:receipts", "request"). Children
// and attributes are added to the returned value.
func El(space, local string, children ...*Element) *Element {
	return &Element{Name: xml.Name{Space: space, Local: local}, Children: children}
}

// Set sets the attribute that has no namespace and this name, and returns e. An
// empty value removes it.
func (e *Element) Set(name, value string) *Element {
	for i := range e.Attr {
		if e.Attr[i].Name.Local == name && e.Attr[i].Name.Space == "" {
			if value == "" {
				e.Attr = append(e.Attr[:i:i], e.Attr[i+1:]...)
			} else {
				e.Attr[i].Value = value
			}
			return e
		}
	}
	if value != "" {
		e.Attr = append(e.Attr, xml.Attr{Name: xml.Name{Local: name}, Value: value})
	}
	return e
}

// SetText sets the text and returns e.
func (e *Element) SetText(text string) *Element {
	e.Text = text
	return e
}

// Add appends children and returns e.
func (e *Element) Add(children ...*Element) *Element {
	e.Children = append(e.Children, children...)
	return e
}

// Is reports whether e has this namespace and local name. It is false for a nil
// Element.
func (e *Element) Is(space, local string) bool {
	return e != nil && e.Name.Local == local && e.Name.Space == space
}

// Get returns the value of the attribute that has no namespace and this name,
// or "". It works on a nil Element, so that lookups can be chained.
func (e *Element) Get(name string) string {
	v, _ := e.Lookup("", name)
	return v
}

// Lookup returns the value of the attribute with this namespace and name, and
// whether it is there.
func (e *Element) Lookup(space, name string) (string, bool) {
	if e == nil {
		return "", false
	}
	for i := range e.Attr {
		if e.Attr[i].Name.Local == name && e.Attr[i].Name.Space == space {
			return e.Attr[i].Value, true
		}
	}
	return "", false
}

// Child returns the first child with this namespace and local name, or nil. An
// empty local name matches any in the namespace. It works on a nil Element.
func (e *Element) Child(space, local string) *Element {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.Name.Space == space && (local == "" || c.Name.Local == local) {
			return c
		}
	}
	return nil
}

// ChildText returns the text of the first child with this name, or "".
func (e *Element) ChildText(space, local string) string {
	if c := e.Child(space, local); c != nil {
		return c.Text
	}
	return ""
}

// All iterates over the children with this namespace and local name; an empty
// local name matches any in the namespace.
func (e *Element) All(space, local string) iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		if e == nil {
			return
		}
		for _, c := range e.Children {
			if c.Name.Space == space && (local == "" || c.Name.Local == local) && !yield(c) {
				return
			}
		}
	}
}

// FullText returns all character data below e, in document order.
func (e *Element) FullText() string {
	if e == nil {
		return ""
	}
	if len(e.Children) == 0 {
		return e.Text
	}
	var b strings.Builder
	e.appendText(&b)
	return b.String()
}

func (e *Element) appendText(b *strings.Builder) {
	b.WriteString(e.Text)
	for _, c := range e.Children {
		c.appendText(b)
		b.WriteString(c.Tail)
	}
}

// Clone returns a deep copy that shares nothing mutable with e. The copy of a
// nil Element is nil.
func (e *Element) Clone() *Element {
	if e == nil {
		return nil
	}
	c := *e
	if len(e.Attr) > 0 {
		c.Attr = append([]xml.Attr(nil), e.Attr...)
	}
	if len(e.Children) > 0 {
		c.Children = make([]*Element, len(e.Children))
		for i := range e.Children {
			c.Children[i] = e.Children[i].Clone()
		}
	}
	return &c
}
