package disco

import (
	"encoding/base64"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/internal/caps"
	"github.com/confab-im/confab/internal/stream"
)

// announced is what a presence says of an entity's abilities: the hash of the answer
// that it would give. It is a key: those with the same hash give the same answer.
type announced struct {
	v2          bool // XEP-0390; otherwise XEP-0115
	algo, value string
}

// notice is announced with where to ask.
type notice struct {
	announced
	node string
}

// Bounds of what is believed to be a hash or a node.
const (
	maxNode = 512
	maxHash = 128
	maxName = 32
)

// preferred are the hash functions of XEP-0390 that are used, the best first: what
// most entities send comes first, so that they share.
var preferred = [...]string{"sha-256", "sha3-256", "sha-512", "sha3-512"}

// noticed reads the <c/>s of a presence. An empty algo means that there is a
// hash that cannot be checked, so that its entity's answer counts for it alone.
func noticed(p *confab.Element) (n notice, ok bool) {
	if c := p.Child(caps.NS2, "c"); c != nil {
		for _, algo := range preferred {
			for i, h := range c.Children {
				if i < 16 && h.Is(caps.NSHashes, "hash") && h.Get("algo") == algo {
					if v := strings.TrimSpace(h.Text); isHash(algo, v) {
						return notice{announced: announced{true, algo, v}}, true
					}
				}
			}
		}
	}
	c := p.Child(caps.NS, "c")
	if c == nil {
		return n, false
	}
	node, algo, ver := c.Get("node"), c.Get("hash"), c.Get("ver")
	if node == "" || ver == "" || len(node) > maxNode || len(ver) > maxHash || len(algo) > maxName {
		return n, false
	}
	n = notice{announced{algo: algo, value: ver}, node}
	if !isHash(algo, ver) {
		n.algo = "" // the old format, or a function that is not known
	}
	return n, true
}

// isHash reports whether v can be a hash by algo, in base64.
func isHash(algo, v string) bool {
	if len(v) > maxHash {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(v)
	return err == nil && len(b) > 0 && len(b) == caps.Size(algo)
}

// clone lets go of the stanza that n was read from.
func (n notice) clone() notice {
	return notice{announced{n.v2, strings.Clone(n.algo), strings.Clone(n.value)}, strings.Clone(n.node)}
}

// query is where the answer is asked for.
func (n notice) query() string {
	if n.v2 {
		return caps.Node(n.algo, n.value)
	}
	return n.node + "#" + n.value
}

// verify reports whether an answer has the hash a, and returns it with the node and
// the languages that it should be kept with. Lang is the xml:lang that the answer
// inherits. Servers add one on the way, so it counts only where the hash is wrong
// without.
func (a announced) verify(q *confab.Element, lang string) (Info, bool) {
	info, err := ParseInfo(q)
	if err != nil || a.algo == "" {
		return info, false
	}
	info.Node, info.Forms = "", hashedForms(info.Forms)
	if !a.v2 {
		ver, err := caps.VerWith(q, a.algo)
		return info, err == nil && ver == a.value && !ambiguous(info)
	}
	own, has := q.Lookup(nsXML, "lang")
	if has {
		lang = own
	}
	for _, l := range []string{"", lang} {
		bare := *q
		bare.Attr = nil // an xml:lang of its own comes as l
		if h, err := caps.Hash(&bare, a.algo, l); err == nil && h == a.value {
			for i := range info.Identities {
				if id := &info.Identities[i]; id.Lang == "" {
					id.Lang = l
				}
			}
			return info, true
		}
	}
	return info, false
}

// hashedForms returns what the hash is made of, so that nothing else is remembered
// under it: names and values of the fields of forms that have a hidden FORM_TYPE.
func hashedForms(forms []*form.Form) []*form.Form {
	var out []*form.Form
	for _, f := range forms {
		about := f.Field(form.FormType)
		if about == nil || about.Type != form.Hidden {
			continue
		}
		g := &form.Form{Type: form.Result}
		for _, fd := range f.Fields {
			typ := fd.Type
			if fd.Var == form.FormType {
				typ = form.Hidden
			}
			g.Fields = append(g.Fields, form.Field{Var: fd.Var, Type: typ, Values: fd.Values})
		}
		out = append(out, g)
	}
	return out
}

// ambiguous reports whether a different answer may have the same hash by XEP-0115,
// which puts "<" between all parts (XEP-0390 §1). Such an answer counts only for who
// gave it.
func ambiguous(info Info) bool {
	bad := len(info.Identities) == 0
	look := func(parts ...string) {
		for _, s := range parts {
			bad = bad || strings.Contains(s, "<")
		}
	}
	for _, id := range info.Identities {
		look(id.Category, id.Type, id.Lang, id.Name)
		bad = bad || strings.Contains(id.Category+id.Type+id.Lang, "/")
	}
	look(info.Features...)
	for _, f := range info.Forms {
		for i := range f.Fields {
			look(f.Fields[i].Var)
			look(f.Fields[i].Values...)
		}
	}
	return bad
}

// limits are those of what is read from a store.
var limits = stream.Limits{MaxBytes: maxInfo + 1024, MaxDepth: 16}

// maxInfo bounds the answers that are kept, as XML.
const maxInfo = 256 << 10

// compact returns a copy of info that refers to nothing but itself, and its XML. It is
// false for what is too large to be kept.
func compact(info Info) (Info, []byte, bool) {
	b, err := info.Element().AppendXML(nil, "")
	if err != nil || len(b) > maxInfo {
		return info, nil, false
	}
	el, err := stream.Parse(b, limits)
	if err != nil {
		return info, nil, false
	}
	small, err := ParseInfo(el)
	return small, b, err == nil
}
