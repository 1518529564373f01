// Package caps computes the verification string of XEP-0115: the hash over what
// an entity says of itself, by which others remember it.
package caps

import (
	"crypto/sha1" // what XEP-0115 is made of
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
// they hold the same identity, feature or form twice (XEP-0115 §5.4).
var ErrMalformed = errors.New("caps: the same identity, feature or form stands there twice")

// Ver returns the verification string for the payload of a disco#info answer
// (XEP-0115 §5.1).
func Ver(query *confab.Element) (string, error) {
	var ids, features, forms []string
	for c := range query.All(NSInfo, "identity") {
		lang, _ := c.Lookup("http://www.w3.org/XML/1998/namespace", "lang")
		ids = append(ids, c.Get("category")+"/"+c.Get("type")+"/"+lang+"/"+c.Get("name")+"<")
	}
	for c := range query.All(NSInfo, "feature") {
		features = append(features, c.Get("var")+"<")
	}
	for c := range query.All(nsForm, "x") {
		if f, ok := form(c); ok {
			forms = append(forms, f)
		}
	}
	var b strings.Builder
	for _, list := range [][]string{ids, features, forms} {
		slices.Sort(list)
		if len(slices.Compact(slices.Clone(list))) != len(list) {
			return "", ErrMalformed
		}
		for _, s := range list {
			b.WriteString(s)
		}
	}
	sum := sha1.Sum([]byte(b.String()))
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// form returns the part of a form; one without a hidden FORM_TYPE does not
// count.
func form(x *confab.Element) (string, bool) {
	typ := ""
	var fields []string
	for f := range x.All(nsForm, "field") {
		var values []string
		for v := range f.All(nsForm, "value") {
			values = append(values, v.Text)
		}
		if f.Get("var") == "FORM_TYPE" {
			if f.Get("type") != "hidden" || len(values) != 1 {
				return "", false
			}
			typ = values[0]
			continue
		}
		slices.Sort(values)
		s := f.Get("var") + "<"
		for _, v := range values {
			s += v + "<"
		}
		fields = append(fields, s)
	}
	slices.Sort(fields)
	return typ + "<" + strings.Join(fields, ""), typ != ""
}

// Element makes the <c/> that a presence carries.
func Element(node, ver string) *confab.Element {
	return &confab.Element{Name: xml.Name{Space: NS, Local: "c"}, Attr: []xml.Attr{
		{Name: xml.Name{Local: "hash"}, Value: "sha-1"},
		{Name: xml.Name{Local: "node"}, Value: node},
		{Name: xml.Name{Local: "ver"}, Value: ver},
	}}
}
