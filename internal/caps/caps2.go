package caps

import (
	"cmp"
	"crypto/sha1" // for XEP-0115
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"slices"
	"strings"

	"github.com/confab-im/confab"
)

// Namespaces of XEP-0390.
const (
	NS2      = "urn:xmpp:caps"
	NSHashes = "urn:xmpp:hashes:2"
	nsXML    = "http://www.w3.org/XML/1998/namespace"
)

// Default is the hash function that every entity has to know (XEP-0300 §4).
const Default = "sha-256"

// ErrNoHash is returned for answers that have no hash by XEP-0390, because they
// hold what does not go into it.
var ErrNoHash = errors.New("caps: the answer holds what cannot be hashed (XEP-0390 §4.1)")

// ErrAlgorithm is returned for hash functions that are not known.
var ErrAlgorithm = errors.New("caps: unknown hash function")

// sum returns the hash of b by an algorithm named as XEP-0300 and XEP-0115 do.
func sum(algo string, b []byte) ([]byte, error) {
	switch algo {
	case "sha-1":
		h := sha1.Sum(b)
		return h[:], nil
	case "sha-256":
		h := sha256.Sum256(b)
		return h[:], nil
	case "sha-512":
		h := sha512.Sum512(b)
		return h[:], nil
	case "sha3-256":
		h := sha3.Sum256(b)
		return h[:], nil
	case "sha3-512":
		h := sha3.Sum512(b)
		return h[:], nil
	}
	return nil, ErrAlgorithm
}

// Size returns the length in bytes of an algorithm's hashes, or 0 if it is not
// known.
func Size(algo string) int {
	switch algo {
	case "sha-1":
		return sha1.Size
	case "sha-256", "sha3-256":
		return 32
	case "sha-512", "sha3-512":
		return 64
	}
	return 0
}

// Hash returns the capability hash for the payload of a disco#info answer, in
// base64 (XEP-0390 §4.1). Lang is the xml:lang that the payload inherits; it
// counts where an identity has none.
func Hash(query *confab.Element, algo, lang string) (string, error) {
	if Size(algo) == 0 || algo == "sha-1" { // which XEP-0300 forbids
		return "", ErrAlgorithm
	}
	in, err := input(query, lang)
	if err != nil {
		return "", err
	}
	h, err := sum(algo, in)
	return base64.StdEncoding.EncodeToString(h), err
}

// Node returns the node under which the answer with a hash can be asked for
// (XEP-0390 §4.3).
func Node(algo, hash string) string { return NS2 + "#" + algo + "." + hash }

// Element2 makes the <c/> of XEP-0390 that a presence carries.
func Element2(algo, hash string) *confab.Element {
	return confab.El(NS2, "c", confab.El(NSHashes, "hash").Set("algo", algo).SetText(hash))
}

// input is what is hashed.
func input(query *confab.Element, lang string) ([]byte, error) {
	if query == nil {
		return nil, ErrNoHash
	}
	if l, ok := query.Lookup(nsXML, "lang"); ok {
		lang = l
	}
	var features, ids, forms []string
	for _, c := range query.Children {
		switch c.Name {
		case xml.Name{Space: NSInfo, Local: "feature"}:
			features = append(features, c.Get("var")+"\x1f")
		case xml.Name{Space: NSInfo, Local: "identity"}:
			l, ok := c.Lookup(nsXML, "lang")
			if !ok {
				l = lang
			}
			ids = append(ids, strings.Join([]string{c.Get("category"), c.Get("type"), l, c.Get("name"), "\x1e"}, "\x1f"))
		case xml.Name{Space: nsForm, Local: "x"}:
			f, err := form2(c)
			if err != nil {
				return nil, err
			}
			forms = append(forms, f)
		default:
			return nil, ErrNoHash
		}
	}
	var b []byte
	for _, list := range [][]string{features, ids, forms} {
		slices.Sort(list)
		for _, s := range list {
			b = append(b, s...)
		}
		b = append(b, 0x1c)
	}
	return b, nil
}

// form2 returns the part of a form, which has to have a FORM_TYPE and to be no
// table.
func form2(x *confab.Element) (string, error) {
	var fields []string
	typed := false
	for _, f := range x.Children {
		if f.Name.Space != nsForm {
			continue
		}
		switch f.Name.Local {
		case "reported", "item":
			return "", ErrNoHash
		case "field":
		default:
			continue
		}
		var values []string
		for v := range f.All(nsForm, "value") {
			values = append(values, v.Text+"\x1f")
		}
		if f.Get("var") == "FORM_TYPE" {
			if typed || len(values) != 1 || cmp.Or(f.Get("type"), "hidden") != "hidden" {
				return "", ErrNoHash
			}
			typed = true
		}
		slices.Sort(values)
		fields = append(fields, f.Get("var")+"\x1f"+strings.Join(values, "")+"\x1e")
	}
	if !typed {
		return "", ErrNoHash
	}
	slices.Sort(fields)
	return strings.Join(fields, "") + "\x1d", nil
}
