// Package caps computes the hashes over what an entity says of itself, by which
// others remember it: the verification string of XEP-0115 and the capability
// hashes of XEP-0390.
package caps

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"slices"
	"strings"

	"github.com/confab-im/confab"
)

// Namespaces.
const (
	NS     = "http://jabber.org/protocol/caps"
	NSInfo = "http://jabber.org/protocol/disco#info"
	nsForm = "jabber:x:data"
)

// ErrMalformed is returned for answers that have no verification string because
// they hold the same identity, feature or form twice, or a form of two types
// (XEP-0115 §5.4).
var ErrMalformed = errors.New("caps: the same identity, feature or form stands there twice")

// Ver returns the verification string for the payload of a disco#info answer, with
// the hash function that everybody knows, SHA-1 (XEP-0115 §5.1).
func Ver(query *confab.Element) (string, error) { return VerWith(query, "sha-1") }

// VerWith is Ver with another hash function.
func VerWith(query *confab.Element, algo string) (string, error) {
	var ids, features, forms []entry
	for c := range query.All(NSInfo, "identity") {
		lang, _ := c.Lookup("http://www.w3.org/XML/1998/namespace", "lang")
		key := []string{c.Get("category"), c.Get("type"), lang, c.Get("name")}
		ids = append(ids, entry{key, strings.Join(key, "/") + "<"})
	}
	for c := range query.All(NSInfo, "feature") {
		features = append(features, entry{[]string{c.Get("var")}, c.Get("var") + "<"})
	}
	for c := range query.All(nsForm, "x") {
		f, ok, err := form(c)
		if err != nil {
			return "", err
		}
		if ok {
			forms = append(forms, f)
		}
	}
	var b strings.Builder
	for _, list := range [][]entry{ids, features, forms} {
		slices.SortFunc(list, compare)
		for i, e := range list {
			if i > 0 && compare(list[i-1], e) == 0 {
				return "", ErrMalformed
			}
			b.WriteString(e.text)
		}
	}
	h, err := sum(algo, []byte(b.String()))
	return base64.StdEncoding.EncodeToString(h), err
}

// An entry is a part of the string that is hashed. It is sorted by its key and
// not by its text: with the "<" behind it, muc would come after muc#user.
type entry struct {
	key  []string
	text string
}

func compare(a, b entry) int { return slices.Compare(a.key, b.key) }

// form returns the part of a form; one without a hidden FORM_TYPE does not
// count.
func form(x *confab.Element) (e entry, ok bool, err error) {
	typ, hidden := "", true
	var fields []entry
	for f := range x.All(nsForm, "field") {
		var values []string
		for v := range f.All(nsForm, "value") {
			values = append(values, v.Text)
		}
		if f.Get("var") == "FORM_TYPE" {
			hidden = hidden && f.Get("type") == "hidden"
			for _, v := range values {
				if typ != "" && v != typ {
					return e, false, ErrMalformed
				}
				typ = v
			}
			continue
		}
		slices.Sort(values)
		s := f.Get("var") + "<"
		for _, v := range values {
			s += v + "<"
		}
		fields = append(fields, entry{[]string{f.Get("var")}, s})
	}
	slices.SortStableFunc(fields, compare)
	text := typ + "<"
	for _, f := range fields {
		text += f.text
	}
	return entry{[]string{typ}, text}, typ != "" && hidden, nil
}

// Element makes the <c/> that a presence carries.
func Element(node, ver string) *confab.Element {
	return &confab.Element{Name: xml.Name{Space: NS, Local: "c"}, Attr: []xml.Attr{
		{Name: xml.Name{Local: "hash"}, Value: "sha-1"},
		{Name: xml.Name{Local: "node"}, Value: node},
		{Name: xml.Name{Local: "ver"}, Value: ver},
	}}
}
