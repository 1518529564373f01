package confab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"mellium.im/xmlstream"
)

// Namespaces that the contract itself speaks.
const (
	NSClient  = "jabber:client"
	NSStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
	nsXML     = "http://www.w3.org/XML/1998/namespace"
	nsSID     = "urn:xmpp:sid:0"
	nsDelay   = "urn:xmpp:delay"
)

// An Appender writes itself as XML to the end of b. Namespace is the default
// namespace in scope there. It must not keep b. *[Element] and *[Draft] are
// Appenders.
type Appender interface {
	AppendXML(b []byte, namespace string) ([]byte, error)
}

// AppendXML appends e, and all below it, to b as XML and returns the extended
// slice. Namespace is the default namespace in scope, which e need not declare
// again. The error names what XML cannot carry: a bad name, a control
// character, bytes that are not UTF-8.
func (e *Element) AppendXML(b []byte, namespace string) ([]byte, error) {
	return e.appendXML(b, namespace, 0)
}

const maxWriteDepth = 1000

func (e *Element) appendXML(b []byte, ns string, depth int) ([]byte, error) {
	if e == nil {
		return b, errors.New("confab: a nil element cannot be written")
	}
	if depth > maxWriteDepth {
		return b, errors.New("confab: element nested too deep (or in itself)")
	}
	if !validName(e.Name.Local) {
		return b, fmt.Errorf("confab: %q cannot be the name of an element", e.Name.Local)
	}
	b = append(b, '<')
	b = append(b, e.Name.Local...)
	var err error
	if e.Name.Space != "" && e.Name.Space != ns {
		ns = e.Name.Space
		b = append(b, " xmlns='"...)
		if b, err = appendEscaped(b, ns); err != nil {
			return b, e.wrap(err)
		}
		b = append(b, '\'')
	}
	for i := range e.Attr {
		if b, err = e.appendAttr(b, i); err != nil {
			return b, e.wrap(err)
		}
	}
	if e.Text == "" && len(e.Children) == 0 {
		return append(b, "/>"...), nil
	}
	b = append(b, '>')
	if b, err = appendEscaped(b, e.Text); err != nil {
		return b, e.wrap(err)
	}
	for _, c := range e.Children {
		if b, err = c.appendXML(b, ns, depth+1); err != nil {
			return b, err
		}
		if c.Tail == "" {
			continue
		}
		if b, err = appendEscaped(b, c.Tail); err != nil {
			return b, e.wrap(err)
		}
	}
	b = append(b, "</"...)
	b = append(b, e.Name.Local...)
	return append(b, '>'), nil
}

func (e *Element) appendAttr(b []byte, i int) ([]byte, error) {
	a := &e.Attr[i]
	if !validName(a.Name.Local) || a.Name.Space == "" && a.Name.Local == "xmlns" {
		return b, fmt.Errorf("%q cannot be the name of an attribute", a.Name.Local)
	}
	for j := range i {
		if e.Attr[j].Name == a.Name {
			return b, fmt.Errorf("the attribute %q stands there twice", a.Name.Local)
		}
	}
	b = append(b, ' ')
	var err error
	switch a.Name.Space {
	case "":
	case nsXML:
		b = append(b, "xml:"...)
	default:
		prefix := fmt.Sprintf("a%d", i)
		b = append(append(append(b, "xmlns:"...), prefix...), "='"...)
		if b, err = appendEscaped(b, a.Name.Space); err != nil {
			return b, err
		}
		b = append(append(append(b, "' "...), prefix...), ':')
	}
	b = append(append(b, a.Name.Local...), "='"...)
	if b, err = appendEscaped(b, a.Value); err != nil {
		return b, err
	}
	return append(b, '\''), nil
}

func (e *Element) wrap(err error) error {
	return fmt.Errorf("confab: <%s>: %w", e.Name.Local, err)
}

// escapes has the replacement for each byte that cannot stand for itself.
var escapes = [256]string{
	'\t': "&#9;", '\n': "&#10;", '\r': "&#13;",
	'&': "&amp;", '<': "&lt;", '>': "&gt;", '\'': "&apos;", '"': "&quot;",
}

// odd tells the bytes apart that cannot be copied without a look.
var odd = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= utf8.RuneSelf:
			t[c] = wide
		case escapes[c] != "":
			t[c] = escaped
		case c < 0x20:
			t[c] = forbidden
		}
	}
	return t
}()

const (
	wide = 1 + iota
	escaped
	forbidden
)

// appendEscaped appends s so that a reader gets back exactly s, in an attribute
// or as text.
func appendEscaped(b []byte, s string) ([]byte, error) {
	last, ascii := 0, true
	for i := 0; i < len(s); i++ {
		switch odd[s[i]] {
		case 0:
		case wide:
			ascii = false
		case escaped:
			b = append(append(b, s[last:i]...), escapes[s[i]]...)
			last = i + 1
		default:
			return b, fmt.Errorf("U+%04X at byte %d cannot be sent as XML", s[i], i)
		}
	}
	if !ascii {
		if !utf8.ValidString(s) {
			return b, errors.New("text is not valid UTF-8")
		}
		if strings.Contains(s, "\uFFFE") || strings.Contains(s, "\uFFFF") {
			return b, errors.New("U+FFFE and U+FFFF cannot be sent as XML")
		}
	}
	return append(b, s[last:]...), nil
}

// validName is true for what XML calls an NCName, so that no name breaks out of
// its tag.
func validName(s string) bool {
	for i, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_':
		case i > 0 && (r >= '0' && r <= '9' || r == '-' || r == '.'):
		case r == utf8.RuneError || r < 0xC0 || !nameRune(r, i == 0):
			return false
		}
	}
	return s != ""
}

// nameRune is the part of the production NameStartChar, or NameChar, that is not
// ASCII (XML 1.0 §2.3).
func nameRune(r rune, first bool) bool {
	if r >= 0x300 && r <= 0x36F || r == 0x203F || r == 0x2040 {
		return !first
	}
	for _, x := range [...][2]rune{{0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x2FF}, {0x370, 0x37D}, {0x37F, 0x1FFF}, {0x200C, 0x200D},
		{0x2070, 0x218F}, {0x2C00, 0x2FEF}, {0x3001, 0xD7FF}, {0xF900, 0xFDCF}, {0xFDF0, 0xFFFD}, {0x10000, 0xEFFFF}} {
		if r >= x[0] && r <= x[1] {
			return true
		}
	}
	return false
}

// String returns e as XML, for logs and tests. What cannot be written is shown
// as the error.
func (e *Element) String() string {
	if e == nil {
		return ""
	}
	b, err := e.AppendXML(nil, "")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// MarshalXML implements [xml.Marshaler], so that an Element can stand in any
// struct that encoding/xml writes.
func (e *Element) MarshalXML(enc *xml.Encoder, _ xml.StartElement) error {
	_, err := xmlstream.Copy(enc, e.TokenReader())
	return err
}

// UnmarshalXML implements [xml.Unmarshaler].
func (e *Element) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	el, err := fromStart(d, start)
	if err == nil {
		*e = *el
	}
	return err
}

// Decode reads e into v as [xml.Unmarshal] does. An *Element is filled with e
// itself, sharing its children.
func (e *Element) Decode(v any) error {
	if e == nil {
		return io.ErrUnexpectedEOF
	}
	if t, ok := v.(*Element); ok {
		*t = *e
		return nil
	}
	return xml.NewTokenDecoder(e.TokenReader()).Decode(v)
}

// TokenReader returns e as a stream of XML tokens, the form that mellium's
// functions take. The tokens of namespaces are not repeated as attributes.
func (e *Element) TokenReader() xml.TokenReader {
	return &tokenReader{stack: []tokenFrame{{el: e}}}
}

// WriteXML implements mellium's xmlstream.WriterTo.
func (e *Element) WriteXML(w xmlstream.TokenWriter) (int, error) {
	return xmlstream.Copy(w, e.TokenReader())
}

type tokenFrame struct {
	el   *Element
	next int // 0: start; then twice the index of a child, plus one for its tail
}

type tokenReader struct{ stack []tokenFrame }

// Token returns the next token and, with the last one, io.EOF.
func (r *tokenReader) Token() (xml.Token, error) {
	for len(r.stack) > 0 {
		f := &r.stack[len(r.stack)-1]
		e := f.el
		n := f.next
		f.next++
		switch {
		case n == 0:
			return xml.StartElement{Name: e.Name, Attr: append([]xml.Attr(nil), e.Attr...)}, nil
		case n == 1:
			if e.Text != "" {
				return xml.CharData(e.Text), nil
			}
		case n-2 < 2*len(e.Children):
			c := e.Children[(n-2)/2]
			if n%2 == 0 {
				r.stack = append(r.stack, tokenFrame{el: c})
			} else if c.Tail != "" {
				return xml.CharData(c.Tail), nil
			}
		default:
			r.stack = r.stack[:len(r.stack)-1]
			var err error
			if len(r.stack) == 0 {
				err = io.EOF
			}
			return xml.EndElement{Name: e.Name}, err
		}
	}
	return nil, io.EOF
}

// ReadElement reads the next element from a stream of tokens, such as mellium's
// packages make. Text before it is skipped. It returns [io.EOF] if there is none.
func ReadElement(r xml.TokenReader) (*Element, error) {
	for {
		tok, err := r.Token()
		if start, ok := tok.(xml.StartElement); ok {
			return fromStart(r, start)
		}
		if err != nil {
			return nil, err
		}
	}
}

func fromStart(r xml.TokenReader, start xml.StartElement) (*Element, error) {
	root := fromTag(start)
	stack := []*Element{root}
	for {
		tok, err := r.Token()
		top := stack[len(stack)-1]
		switch t := tok.(type) {
		case xml.StartElement:
			if len(stack) >= maxWriteDepth {
				return nil, errors.New("confab: element nested too deep")
			}
			c := fromTag(t)
			top.Children = append(top.Children, c)
			stack = append(stack, c)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return root, nil
			}
		case xml.CharData:
			if n := len(top.Children); n > 0 {
				top.Children[n-1].Tail += string(t)
			} else {
				top.Text += string(t)
			}
		}
		if err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
}

func fromTag(t xml.StartElement) *Element {
	e := &Element{Name: t.Name}
	for _, a := range t.Attr {
		switch {
		case a.Name.Space == "xmlns":
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			// mellium writes some namespaces as attributes only.
			if e.Name.Space == "" {
				e.Name.Space = a.Value
			}
		case a.Name.Space == "xml":
			e.Attr = append(e.Attr, xml.Attr{Name: xml.Name{Space: nsXML, Local: a.Name.Local}, Value: a.Value})
		default:
			e.Attr = append(e.Attr, a)
		}
	}
	return e
}

// ToElement turns what may stand as a child of a stanza into an Element: an
// *Element, a mellium payload (anything with a TokenReader method), an
// [xml.TokenReader], an [xml.Marshaler] or a struct with xml tags.
func ToElement(v any) (*Element, error) {
	switch v := v.(type) {
	case nil:
		return nil, errors.New("confab: nil cannot be sent")
	case *Element:
		if v == nil {
			return nil, errors.New("confab: a nil element cannot be sent")
		}
		return v, nil
	case Element:
		return &v, nil
	case interface{ TokenReader() xml.TokenReader }:
		return ReadElement(v.TokenReader())
	case xml.TokenReader:
		return ReadElement(v)
	}
	var buf bytes.Buffer
	if err := xml.NewEncoder(&buf).Encode(v); err != nil {
		return nil, fmt.Errorf("confab: %T: %w", v, err)
	}
	e, err := ReadElement(xml.NewDecoder(&buf))
	if err == io.EOF {
		return nil, fmt.Errorf("confab: %T makes no XML element", v)
	}
	return e, err
}
