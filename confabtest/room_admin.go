package confabtest

import (
	"maps"
	"slices"
	"strings"

	"github.com/confab-im/confab"
)

// ranks of affiliations and roles: who has a lower one cannot act on a higher one.
var (
	affRank  = map[string]int{"outcast": 0, "none": 1, "member": 2, "admin": 3, "owner": 4}
	roleRank = map[string]int{"none": 0, "visitor": 1, "participant": 2, "moderator": 3}
)

func (r *room) compareAddrs(a, b addr) int {
	return strings.Compare(a.String(), b.String())
}

// adminIQ reads and changes the lists of a room (XEP-0045 §§8 to 10).
func (r *room) adminIQ(q *request) {
	items := slices.Collect(q.payload.All(nsMUCAdmin, "item"))
	if len(items) == 0 {
		q.fail("modify", "bad-request", "")
		return
	}
	if q.typ == "get" {
		r.list(q, items[0])
		return
	}
	var todo []func()
	for _, it := range items {
		f, typ, cond := r.change(q.from, it)
		if cond != "" {
			q.fail(typ, cond, "")
			return
		}
		todo = append(todo, f)
	}
	q.result(nil)
	for _, f := range todo {
		f()
	}
}

func (r *room) list(q *request, want *confab.Element) {
	o, rank := r.of(q.from), affRank[r.affiliation(q.from)]
	moderates := o != nil && o.role == "moderator" || rank >= affRank["admin"]
	answer := confab.El(nsMUCAdmin, "query")
	if aff := want.Get("affiliation"); aff != "" {
		if !r.mayList(q.from) || rank < affRank["admin"] && aff == "outcast" {
			q.fail("auth", "forbidden", "")
			return
		}
		for _, a := range slices.SortedFunc(maps.Keys(r.affs), r.compareAddrs) {
			if r.affs[a].aff != aff {
				continue
			}
			it := confab.El(nsMUCAdmin, "item").Set("affiliation", aff).Set("jid", a.String()).Set("nick", r.nicks[a])
			if reason := r.affs[a].reason; reason != "" {
				it.Add(confab.El(nsMUCAdmin, "reason").SetText(reason))
			}
			answer.Add(it)
		}
		q.result(answer)
		return
	}
	if !moderates {
		q.fail("auth", "forbidden", "")
		return
	}
	for _, o := range r.all() {
		if o.role == want.Get("role") && len(o.clients) > 0 {
			answer.Add(confab.El(nsMUCAdmin, "item").Set("role", o.role).Set("affiliation", r.affiliation(o.bare)).
				Set("nick", o.nick).Set("jid", o.clients[0].addr.String()))
		}
	}
	q.result(answer)
}

// change looks whether somebody may make a change, and returns what makes it.
func (r *room) change(from addr, it *confab.Element) (f func(), typ, condition string) {
	actor := r.of(from)
	said := confab.El(nsMUCUser, "item")
	if actor != nil {
		said.Add(confab.El(nsMUCUser, "actor").Set("nick", actor.nick))
	}
	reason := it.ChildText(nsMUCAdmin, "reason")
	if reason != "" {
		said.Add(confab.El(nsMUCUser, "reason").SetText(reason))
	}
	if role := it.Get("role"); role != "" {
		return r.changeRole(from, actor, it.Get("nick"), role, said)
	}
	aff := it.Get("affiliation")
	if _, ok := affRank[aff]; !ok {
		return nil, "modify", "bad-request"
	}
	whom, err := parseAddr(it.Get("jid"))
	if it.Get("jid") == "" {
		o := r.occupants[it.Get("nick")]
		if o == nil {
			return nil, "modify", "bad-request"
		}
		whom, err = o.bare, nil
	}
	if err != nil {
		return nil, "modify", "jid-malformed"
	}
	whom = whom.bare()
	mine, was := r.affiliation(from), r.affiliation(whom)
	switch {
	case affRank[mine] < affRank["admin"]:
		return nil, "auth", "forbidden"
	case mine != "owner" && (affRank[aff] >= affRank["admin"] || affRank[was] >= affRank["admin"]):
		return nil, "cancel", "not-allowed"
	case was == "owner" && aff != "owner" && r.owners() == 1, aff == "outcast" && whom == from.bare():
		return nil, "cancel", "conflict"
	}
	return func() { r.setAffiliation(whom, aff, reason, said) }, "", ""
}

func (r *room) owners() (n int) {
	for _, a := range r.affs {
		if a.aff == "owner" {
			n++
		}
	}
	return n
}

func (r *room) changeRole(from addr, actor *occupant, nick, role string, said *confab.Element) (f func(), typ, condition string) {
	o := r.occupants[nick]
	if _, ok := roleRank[role]; !ok {
		return nil, "modify", "bad-request"
	}
	mine := affRank[r.affiliation(from)]
	switch {
	case o == nil:
		return nil, "cancel", "item-not-found"
	case actor == nil || actor.role != "moderator":
		return nil, "auth", "forbidden"
	case (role == "moderator" || o.role == "moderator") && mine < affRank["admin"]:
		return nil, "cancel", "not-allowed"
	case o != actor && affRank[r.affiliation(o.bare)] > mine, role != "none" && roleRank[role] < roleRank["moderator"] && o != actor && affRank[r.affiliation(o.bare)] >= affRank["admin"]:
		return nil, "cancel", "not-allowed"
	}
	return func() {
		if role == "none" {
			r.leave(o, said, "307")
			return
		}
		o.role = role
		r.announce(o, said)
	}, "", ""
}

// setAffiliation changes what an account is, and tells everybody.
func (r *room) setAffiliation(whom addr, aff, reason string, said *confab.Element) {
	if aff == "none" {
		delete(r.affs, whom)
		r.versions.add(whom)
	} else {
		r.setAff(whom, affiliation{aff, reason})
	}
	r.versions.telling = r.versions.last()
	defer func() { r.versions.telling = nil }()
	there := false
	for _, o := range r.all() {
		if o.bare != whom {
			continue
		}
		there = true
		switch {
		case aff == "outcast":
			r.leave(o, with(said), "301")
		case aff == "none" && r.is("membersonly"):
			r.leave(o, with(said), "321")
		default:
			o.role = r.roleFor(whom)
			r.announce(o, with(said))
		}
	}
	if there {
		return
	}
	// Who is not there: everybody is told with a message (XEP-0045 §9.3).
	it := with(said).Set("affiliation", aff).Set("role", "none").Set("jid", whom.String())
	for _, o := range r.all() {
		for _, c := range slices.Clone(o.clients) {
			if o.role == "moderator" || r.get("whois") == "anyone" {
				r.send(c.addr, r.addr, confab.El(nsClient, "message", confab.El(nsMUCUser, "x", r.versions.telling, it)))
			}
		}
	}
}

// pendingIQ is a request of one occupant that was passed on to another.
type pendingIQ struct {
	id, nick string
	from     addr
}

// occupantIQ passes a request on to an occupant. One to oneself is answered by the
// room (XEP-0410).
func (r *room) occupantIQ(q *request, to addr) {
	me, o := r.of(q.from), r.occupants[to.resource]
	switch {
	case me == nil:
		q.fail("cancel", "not-acceptable", "you are not in the room")
	case o == nil:
		q.fail("cancel", "item-not-found", "")
	case o == me && q.typ == "get" && q.payload.Is(nsPing, "ping"):
		q.result(nil)
	case len(o.clients) == 0:
		q.fail("cancel", "recipient-unavailable", "")
	default:
		who := o.clients[0].addr
		if q.payload.Is(nsVCard, "vCard") {
			who = o.bare
		}
		id := newID()
		if len(r.asked) > 10_000 {
			clear(r.asked)
		}
		r.asked[id] = pendingIQ{q.e.Get("id"), to.resource, q.from}
		r.send(who, r.at(me.nick), with(q.e).Set("id", id))
	}
}

// answered passes on the answer to a request.
func (r *room) answered(_, _ addr, e *confab.Element) {
	p, ok := r.asked[e.Get("id")]
	if !ok {
		return
	}
	delete(r.asked, e.Get("id"))
	r.send(p.from, r.at(p.nick), with(e).Set("id", p.id))
}
