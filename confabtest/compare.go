package confabtest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
)

// parse reads an element that stands in a stream of jabber:client.
func parse(s string) (*confab.Element, error) {
	r := stream.NewReader(io.MultiReader(
		strings.NewReader("<stream:stream xmlns='jabber:client' xmlns:stream='"+nsStream+"'>"), strings.NewReader(s)), stream.Limits{})
	if _, err := r.Open(); err != nil {
		return nil, err
	}
	e, err := r.Next()
	if err != nil {
		return nil, err
	}
	if _, err := r.Next(); err != io.EOF {
		return nil, fmt.Errorf("something after the end of the first element")
	}
	return e, nil
}

// compare returns how got differs from what is wanted, or "".
func (tr *Transcript) compare(want, got *confab.Element) string {
	return tr.compareAt("", want, got)
}

func (tr *Transcript) compareAt(path string, want, got *confab.Element) string {
	if path += "/" + want.Name.Local; want.Name != got.Name {
		return fmt.Sprintf("at %s: expected <%s xmlns='%s'>, got <%s xmlns='%s'>",
			path, want.Name.Local, want.Name.Space, got.Name.Local, got.Name.Space)
	}
	seen := map[xml.Name]bool{}
	for _, a := range want.Attr {
		v, ok := got.Lookup(a.Name.Space, a.Name.Local)
		if !ok {
			return fmt.Sprintf("at %s: the attribute %s is missing", path, a.Name.Local)
		}
		if d := tr.value(a.Value, v); d != "" {
			return fmt.Sprintf("at %s: %s: %s", path, a.Name.Local, d)
		}
		seen[a.Name] = true
	}
	for _, a := range got.Attr {
		if !seen[a.Name] {
			return fmt.Sprintf("at %s: unexpected attribute %s='%s'", path, a.Name.Local, a.Value)
		}
	}
	if len(want.Children) == 0 && strings.TrimSpace(want.Text) == "..." {
		return ""
	}
	if d := tr.text(want.Text, got.Text, len(want.Children) > 0 || len(got.Children) > 0); d != "" {
		return fmt.Sprintf("at %s: text: %s", path, d)
	}
	for i, w := range want.Children {
		if i >= len(got.Children) {
			return fmt.Sprintf("at %s: <%s xmlns='%s'> is missing", path, w.Name.Local, w.Name.Space)
		}
		if d := tr.compareAt(path, w, got.Children[i]); d != "" {
			return d
		}
		if d := tr.text(w.Tail, got.Children[i].Tail, true); d != "" {
			return fmt.Sprintf("at %s: text after <%s>: %s", path, w.Name.Local, d)
		}
	}
	if n := len(want.Children); len(got.Children) > n {
		return fmt.Sprintf("at %s: unexpected <%s xmlns='%s'>", path, got.Children[n].Name.Local, got.Children[n].Name.Space)
	}
	return ""
}

func (tr *Transcript) text(want, got string, between bool) string {
	if between && strings.TrimSpace(want) == "" && strings.TrimSpace(got) == "" {
		return ""
	}
	return tr.value(want, got)
}

// value compares an attribute's value or a text.
func (tr *Transcript) value(want, got string) string {
	if want == "*" {
		return ""
	}
	if name, ok := strings.CutPrefix(want, "${"); ok && strings.HasSuffix(name, "}") {
		name = strings.TrimSuffix(name, "}")
		kept, ok := tr.vars[name]
		if !ok {
			tr.vars[name] = got
			return ""
		}
		want = kept
	}
	if want != got {
		return fmt.Sprintf("expected %q, got %q", want, got)
	}
	return ""
}

// pretty writes an element with a line for each that has children.
func pretty(e *confab.Element) string {
	var b strings.Builder
	prettyTo(&b, e, "", "  ")
	return strings.TrimSuffix(b.String(), "\n")
}

func prettyTo(b *strings.Builder, e *confab.Element, ns, indent string) {
	mixed := strings.TrimSpace(e.Text) != ""
	for _, k := range e.Children {
		mixed = mixed || strings.TrimSpace(k.Tail) != ""
	}
	if len(e.Children) == 0 || mixed {
		c := *e
		x, err := c.AppendXML(nil, ns)
		if err != nil {
			x = []byte(err.Error())
		}
		fmt.Fprintf(b, "%s%s\n", indent, x)
		return
	}
	c := confab.Element{Name: e.Name, Attr: e.Attr}
	x, _ := c.AppendXML(nil, ns)
	fmt.Fprintf(b, "%s%s>\n", indent, strings.TrimSuffix(string(x), "/>"))
	for _, k := range e.Children {
		prettyTo(b, k, e.Name.Space, indent+"  ")
	}
	fmt.Fprintf(b, "%s</%s>\n", indent, e.Name.Local)
}
