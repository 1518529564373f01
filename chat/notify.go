package chat

import (
	"github.com/confab-im/confab"
)

// NotifyLevel is how much of a chat or room the user wants to be told at once.
type NotifyLevel string

// The levels. The empty one leaves it to the client.
const (
	NotifyAlways    NotifyLevel = "always"
	NotifyOnMention NotifyLevel = "on-mention"
	NotifyNever     NotifyLevel = "never"
)

// Notify are the notification settings of a chat or room (XEP-0492). Clients keep
// them in the extensions of a bookmark, or of a contact.
type Notify struct {
	// Level is for all clients.
	Level NotifyLevel
	// For are exceptions for kinds of clients.
	For []NotifyFor
	// rest is what was read, so that nothing of it is lost when it is written.
	rest *confab.Element
}

// NotifyFor is the level for clients of one identity, such as category "client" and
// type "phone". An empty Type stands for all of the category.
type NotifyFor struct {
	Category, Type string
	Level          NotifyLevel
}

// ParseNotify reads the settings among the children of el, which may be nil. It
// reports whether there are any. Settings of the version before count if there are
// no newer ones.
func ParseNotify(el *confab.Element) (Notify, bool) {
	for _, ns := range [...]string{nsNotify, nsNotify0} {
		x := el.Child(ns, "notify")
		if x == nil {
			continue
		}
		n := Notify{rest: x}
		for c := range x.All(ns, "") {
			l := NotifyLevel(c.Name.Local)
			if l != NotifyAlways && l != NotifyOnMention && l != NotifyNever {
				continue
			}
			if cat := c.Get("identity-category"); cat != "" {
				if len(n.For) < 64 {
					n.For = append(n.For, NotifyFor{cat, c.Get("identity-type"), l})
				}
			} else if n.Level == "" {
				n.Level = l
			}
		}
		return n, true
	}
	return Notify{}, false
}

// Of returns the level for a client of this identity: that for its type, else that
// for its category, else the general one.
func (n Notify) Of(category, typ string) NotifyLevel {
	level := n.Level
	for _, f := range n.For {
		if f.Category != category {
			continue
		}
		if f.Type == typ {
			return f.Level
		}
		if f.Type == "" {
			level = f.Level
		}
	}
	return level
}

// Element returns the settings as an element. What other clients have added to the
// settings that this value was read from is kept.
func (n Notify) Element() *confab.Element {
	advanced := map[NotifyFor][]*confab.Element{}
	var others []*confab.Element
	if n.rest != nil {
		for _, c := range n.rest.Children {
			l := NotifyLevel(c.Name.Local)
			if c.Name.Space != n.rest.Name.Space || l != NotifyAlways && l != NotifyOnMention && l != NotifyNever {
				others = append(others, c)
				continue
			}
			advanced[NotifyFor{c.Get("identity-category"), c.Get("identity-type"), l}] = c.Children
		}
	}
	el := confab.El(nsNotify, "notify")
	add := func(f NotifyFor) {
		el.Add(confab.El(nsNotify, string(f.Level)).Set("identity-category", f.Category).Set("identity-type", f.Type))
		for _, a := range advanced[f] {
			k := el.Children[len(el.Children)-1]
			if a = a.Clone(); a.Name.Space == nsNotify0 {
				a.Name.Space = nsNotify
			}
			k.Add(a)
		}
	}
	for _, f := range n.For {
		add(f)
	}
	if n.Level != "" {
		add(NotifyFor{Level: n.Level})
	}
	return el.Add(others...)
}
