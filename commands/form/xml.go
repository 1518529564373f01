package form

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/confab-im/confab"
)

// most bounds what a form may hold, so that nobody can make others sort millions
// of fields.
const most = 4096

// Parse reads a form from its <x/>.
func Parse(el *confab.Element) (*Form, error) {
	if !el.Is(NS, "x") {
		return nil, errors.New("form: this is not a data form")
	}
	f := &Form{Type: Type(el.Get("type"))}
	switch f.Type {
	case Questions, Answers, Cancelled, Result:
	case "":
		f.Type = Questions // XEP-0004 demands it, some leave it out
	default:
		return nil, fmt.Errorf("form: there is no form of type %q", f.Type)
	}
	if len(el.Children) > most {
		return nil, fmt.Errorf("form: more than %d fields", most)
	}
	for _, c := range el.Children {
		if c.Name.Space != NS {
			continue
		}
		switch c.Name.Local {
		case "title":
			f.Title = c.Text
		case "instructions":
			f.Instructions = append(f.Instructions, c.Text)
		case "field":
			f.Fields = append(f.Fields, parseField(c, f.Type))
		case "reported":
			f.Reported = parseFields(c, f.Type)
		case "item":
			f.Items = append(f.Items, parseFields(c, f.Type))
		}
	}
	return f, nil
}

func parseFields(el *confab.Element, t Type) []Field {
	var fs []Field
	for c := range el.All(NS, "field") {
		fs = append(fs, parseField(c, t))
	}
	return fs
}

func parseField(el *confab.Element, t Type) Field {
	fd := Field{Var: el.Get("var"), Type: FieldType(el.Get("type")), Label: el.Get("label")}
	if fd.Type == "" && t == Questions {
		fd.Type = TextSingle
	}
	for _, c := range el.Children {
		switch {
		case c.Is(NS, "value"):
			fd.Values = append(fd.Values, c.Text)
		case c.Is(NS, "desc"):
			fd.Desc = c.Text
		case c.Is(NS, "required"):
			fd.Required = true
		case c.Is(NS, "option"):
			fd.Options = append(fd.Options, Option{Label: c.Get("label"), Value: c.ChildText(NS, "value")})
		case c.Is(nsMedia, "media"):
			fd.Media = append(fd.Media, parseMedia(c))
		case c.Is(nsValidate, "validate"):
			fd.Validate = parseValidation(c)
		}
	}
	return fd
}

func parseMedia(el *confab.Element) Media {
	m := Media{Width: count(el.Get("width")), Height: count(el.Get("height"))}
	for u := range el.All(nsMedia, "uri") {
		m.URIs = append(m.URIs, MediaURI{Type: u.Get("type"), URI: strings.TrimSpace(u.Text)})
	}
	return m
}

// count reads a number that cannot be negative; anything else is 0.
func count(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// Element returns the form as its <x/>.
func (f *Form) Element() *confab.Element {
	x := confab.El(NS, "x").Set("type", string(f.Type))
	if f.Title != "" {
		x.Add(confab.El(NS, "title").SetText(f.Title))
	}
	for _, i := range f.Instructions {
		x.Add(confab.El(NS, "instructions").SetText(i))
	}
	if len(f.Reported) > 0 {
		x.Add(fields("reported", f.Reported))
	}
	for i := range f.Fields {
		x.Add(f.Fields[i].element())
	}
	for _, it := range f.Items {
		x.Add(fields("item", it))
	}
	return x
}

func fields(name string, fs []Field) *confab.Element {
	el := confab.El(NS, name)
	for i := range fs {
		el.Add(fs[i].element())
	}
	return el
}

func (fd *Field) element() *confab.Element {
	el := confab.El(NS, "field").Set("var", fd.Var).Set("type", string(fd.Type)).Set("label", fd.Label)
	if fd.Desc != "" {
		el.Add(confab.El(NS, "desc").SetText(fd.Desc))
	}
	if fd.Required {
		el.Add(confab.El(NS, "required"))
	}
	for _, m := range fd.Media {
		el.Add(m.element())
	}
	if fd.Validate != nil {
		el.Add(fd.Validate.element())
	}
	for _, v := range fd.Values {
		el.Add(confab.El(NS, "value").SetText(v))
	}
	for _, o := range fd.Options {
		el.Add(confab.El(NS, "option", confab.El(NS, "value").SetText(o.Value)).Set("label", o.Label))
	}
	return el
}

func (m Media) element() *confab.Element {
	el := confab.El(nsMedia, "media")
	if m.Width > 0 && m.Height > 0 {
		el.Set("width", strconv.Itoa(m.Width)).Set("height", strconv.Itoa(m.Height))
	}
	for _, u := range m.URIs {
		el.Add(confab.El(nsMedia, "uri").Set("type", u.Type).SetText(u.URI))
	}
	return el
}
