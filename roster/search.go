package roster

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Search is what a directory of people asks for before it is searched
// (XEP-0055).
type Search struct {
	// Service is the directory.
	Service      jid.JID
	Instructions string
	// Fields are the names of what can be searched for. The old ones are "first",
	// "last", "nick" and "email".
	Fields []string
	// Form has the same with labels, if the service uses data forms, or is nil.
	Form *form.Form
}

// A Person is somebody who was found. Fields are what is told of it, by the names
// that [Search.Columns] explains.
type Person struct {
	JID    jid.JID
	Fields map[string]string
}

// Found is the result of a search.
type Found struct {
	People []Person
	// Columns are the names and labels of the fields, in the order to show them; nil
	// if the service does not tell.
	Columns []form.Field
}

// maxFound bounds the people of one result: what is beyond is left out.
const maxFound = 10_000

// NewSearch asks a directory, which is found by service discovery (category
// directory, type user), what it can be searched for.
func NewSearch(ctx context.Context, s confab.Requester, service jid.JID) (*Search, error) {
	if service.Equal(jid.JID{}) {
		return nil, errors.New("roster: the directory's address is needed")
	}
	var q confab.Element
	if err := confab.Do(ctx, s, stanza.IQ{Type: stanza.GetIQ, To: service}, confab.El(nsSearch, "query"), &q); err != nil {
		return nil, err
	}
	sr := &Search{Service: service, Instructions: q.ChildText(nsSearch, "instructions"), Form: form.Find(&q, "")}
	if sr.Form != nil && sr.Form.Type != form.Questions {
		sr.Form = nil
	}
	if sr.Form != nil {
		for _, f := range sr.Form.Fields {
			if f.Var != "" && f.Type != form.Hidden && f.Type != form.Fixed {
				sr.Fields = append(sr.Fields, f.Var)
			}
		}
		return sr, nil
	}
	for f := range q.All(nsSearch, "") {
		if f.Name.Local != "instructions" {
			sr.Fields = append(sr.Fields, f.Name.Local)
		}
	}
	return sr, nil
}

// Find searches for people whose fields have these values. What a value matches,
// such as beginnings of names or names with a *, is up to the directory. For what
// is more than names and values, fill in Form instead and give no values.
func (sr *Search) Find(ctx context.Context, s confab.Requester, values map[string]string) (*Found, error) {
	known := map[string]bool{}
	for _, f := range sr.Fields {
		known[f] = true
	}
	q := confab.El(nsSearch, "query")
	for name := range values {
		if !known[name] {
			return nil, fmt.Errorf("roster: %s cannot be searched for %q", sr.Service, name)
		}
	}
	if sr.Form != nil {
		f := *sr.Form
		f.Fields = append([]form.Field(nil), sr.Form.Fields...)
		for name, v := range values {
			f.Set(name, v)
		}
		a, err := f.Submit()
		if err != nil {
			return nil, err
		}
		// What was not asked for is left out; some directories match it as it is.
		keep := a.Fields[:0]
		for _, fd := range a.Fields {
			if len(fd.Values) > 0 && (len(fd.Values) > 1 || fd.Values[0] != "") {
				keep = append(keep, fd)
			}
		}
		a.Fields = keep
		q.Add(a.Element())
	} else {
		for _, name := range sr.Fields {
			if v := values[name]; v != "" {
				q.Add(confab.El(nsSearch, name).SetText(v))
			}
		}
	}
	var res confab.Element
	if err := confab.Do(ctx, s, stanza.IQ{Type: stanza.SetIQ, To: sr.Service}, q, &res); err != nil {
		return nil, err
	}
	return found(&res), nil
}

// found reads a result, passing over people without an address.
func found(q *confab.Element) *Found {
	r := &Found{}
	add := func(address string, fields map[string]string) {
		if j, err := jid.Parse(address); err == nil && len(r.People) < maxFound {
			r.People = append(r.People, Person{JID: j, Fields: fields})
		}
	}
	if f := form.Find(q, ""); f != nil {
		r.Columns = f.Reported
		for _, row := range f.Items {
			p := map[string]string{}
			for i := range row {
				if len(row[i].Values) > 0 {
					p[row[i].Var] = row[i].Values[0]
				}
			}
			add(p["jid"], p)
		}
		return r
	}
	for it := range q.All(nsSearch, "item") {
		p := map[string]string{}
		for c := range it.All(nsSearch, "") {
			p[c.Name.Local] = c.Text
		}
		add(it.Get("jid"), p)
	}
	return r
}
