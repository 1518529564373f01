package confabtest

import (
	"cmp"
	"encoding/xml"
	"slices"
	"strconv"
	"strings"

	"github.com/confab-im/confab"
)

// roster is an account's list of contacts (RFC 6121 §2).
type roster struct {
	items   map[addr]*rosterItem
	version int
}

// rosterItem is a contact, or somebody who asks to become one.
type rosterItem struct {
	jid      addr
	name     string
	groups   []string
	listed   bool // the client sees it
	to, from bool // subscriptions
	ask      bool
	approved bool            // in advance
	pending  *confab.Element // the request that waits for an answer
}

func newRoster() roster { return roster{items: map[addr]*rosterItem{}, version: 1} }

func (r *roster) sorted() []*rosterItem {
	var list []*rosterItem
	for _, it := range r.items {
		list = append(list, it)
	}
	slices.SortFunc(list, func(a, b *rosterItem) int { return cmp.Compare(a.jid.String(), b.jid.String()) })
	return list
}

func (r *roster) need(a addr) *rosterItem {
	it := r.items[a]
	if it == nil {
		it = &rosterItem{jid: a}
		r.items[a] = it
	}
	return it
}

// tidy removes an item that says nothing.
func (r *roster) tidy(it *rosterItem) {
	if !it.listed && it.pending == nil {
		delete(r.items, it.jid)
	}
}

func (it *rosterItem) subscription() string {
	switch {
	case it.to && it.from:
		return "both"
	case it.to:
		return "to"
	case it.from:
		return "from"
	}
	return "none"
}

func (it *rosterItem) element() *confab.Element {
	e := confab.El(nsRoster, "item").Set("jid", it.jid.String()).Set("name", it.name).Set("subscription", it.subscription())
	if it.ask {
		e.Set("ask", "subscribe")
	}
	if it.approved {
		e.Set("approved", "true")
	}
	for _, g := range it.groups {
		e.Add(confab.El(nsRoster, "group").SetText(g))
	}
	return e
}

// push tells the account's clients that an item has changed. The lock is held.
func (a *account) push(it *rosterItem) { a.pushElement(it.element()) }

func (a *account) pushElement(item *confab.Element) {
	a.roster.version++
	for _, ss := range a.all() {
		if ss.interested {
			q := confab.El(nsRoster, "query", item)
			if a.srv.cfg.has(RosterVersions) {
				q.Set("ver", strconv.Itoa(a.roster.version))
			}
			ss.deliver(el("iq", "set", newID(), addr{}, ss.addr, q), false)
		}
	}
}

// cancelAll ends all subscriptions, for an account that is removed.
func (r *roster) cancelAll(acc *account) {
	for _, it := range r.sorted() {
		r.remove(acc, it, false)
	}
}

// remove removes an item and cancels its subscriptions. The lock is held.
func (r *roster) remove(acc *account, it *rosterItem, tell bool) {
	s := acc.srv
	if it.to || it.ask {
		s.route(nil, acc.addr, it.jid, el("presence", "unsubscribe", "", acc.addr, it.jid))
	}
	if it.from || it.pending != nil {
		s.route(nil, acc.addr, it.jid, el("presence", "unsubscribed", "", acc.addr, it.jid))
	}
	if it.from {
		acc.hide(it.jid)
	}
	delete(r.items, it.jid)
	if tell {
		acc.pushElement(confab.El(nsRoster, "item").Set("jid", it.jid.String()).Set("subscription", "remove"))
	}
}

func rosterFeature(s *Server) {
	s.handleIQ(nsRoster, "query", nil, rosterIQ)
	s.hooks.features = append(s.hooks.features, func(c *Conn, f *confab.Element) {
		if c.srv.cfg.has(RosterVersions) {
			f.Add(confab.El("urn:xmpp:features:rosterver", "ver"))
		}
		f.Add(confab.El("urn:xmpp:features:pre-approval", "sub"))
	})
}

func rosterIQ(r *request) {
	if r.ss == nil || r.acc != r.ss.acc {
		r.fail("auth", "forbidden", "")
		return
	}
	list := &r.acc.roster
	if r.typ == "get" {
		r.ss.interested = true
		v, asked := r.payload.Lookup("", "ver")
		versions := asked && r.s.cfg.has(RosterVersions)
		if versions && v == strconv.Itoa(list.version) {
			r.result(nil)
			return
		}
		q := confab.El(nsRoster, "query")
		if versions {
			q.Set("ver", strconv.Itoa(list.version))
		}
		for _, it := range list.sorted() {
			if it.listed {
				q.Add(it.element())
			}
		}
		r.result(q)
		return
	}
	items := slices.Collect(r.payload.All(nsRoster, "item"))
	if len(items) != 1 {
		r.fail("modify", "bad-request", "one item at a time")
		return
	}
	a, err := parseAddr(items[0].Get("jid"))
	switch {
	case err != nil:
		r.fail("modify", "bad-request", "")
		return
	case a.resource != "":
		a = a.bare()
	}
	it := list.items[a]
	if items[0].Get("subscription") == "remove" {
		if it == nil || !it.listed {
			r.fail("cancel", "item-not-found", "")
			return
		}
		r.result(nil)
		list.remove(r.acc, it, true)
		return
	}
	if a == r.acc.addr {
		r.fail("cancel", "not-allowed", "")
		return
	}
	var groups []string
	for g := range items[0].All(nsRoster, "group") {
		if g.Text == "" {
			r.fail("modify", "not-acceptable", "a group without a name")
			return
		}
		if slices.Contains(groups, g.Text) {
			r.fail("modify", "bad-request", "a group twice")
			return
		}
		groups = append(groups, g.Text)
	}
	it = list.need(a)
	it.listed, it.name, it.groups = true, items[0].Get("name"), groups
	r.result(nil)
	r.acc.push(it)
}

// Subscribe makes a and b, users of [Server.Domain], contacts of each other who
// see each other's presence, as if they had asked and allowed it.
func (s *Server) Subscribe(a, b string) {
	s.lock()
	defer s.unlock()
	x, y := s.accounts[addr{strings.ToLower(a), s.cfg.Domain, ""}], s.accounts[addr{strings.ToLower(b), s.cfg.Domain, ""}]
	if x == nil || y == nil || x == y {
		return
	}
	for _, p := range [][2]*account{{x, y}, {y, x}} {
		it := p[0].roster.need(p[1].addr)
		it.listed, it.to, it.from, it.ask, it.pending = true, true, true, false, nil
		p[0].push(it)
	}
	for _, p := range [][2]*account{{x, y}, {y, x}} {
		for _, ss := range p[0].available(anyPriority) {
			s.probe(ss, p[1].addr)
		}
	}
}

// iqKey is what handlers of requests are found by.
func iqKey(space, local string) xml.Name { return xml.Name{Space: space, Local: local} }
