package confabtest

import (
	"slices"
	"strconv"

	"github.com/confab-im/confab"
)

// versions is what a room knows of the changes of its affiliations (XEP-0463).
type versions struct {
	id      string // of the room: another of the same name starts anew
	changes []addr // whose affiliation was changed, oldest first
	forgot  int    // changes before those
	// telling goes out with the presence that tells of a change.
	telling *confab.Element
}

// maxVersions is how many changes are remembered.
const maxVersions = 256

func (v *versions) at(n int) string { return v.id + "-" + strconv.Itoa(n) }
func (v *versions) count() int      { return v.forgot + len(v.changes) }
func (v *versions) now() string     { return v.at(v.count()) }

func (v *versions) add(a addr) {
	if len(v.changes) >= maxVersions {
		v.changes, v.forgot = slices.Delete(v.changes, 0, 1), v.forgot+1
	}
	v.changes = append(v.changes, a)
}

// last is the step to the present version.
func (v *versions) last() *confab.Element {
	return confab.El(nsVersions, "mav").Set("since", v.at(v.count()-1)).Set("until", v.now())
}

func (r *room) setAff(a addr, aff affiliation) {
	r.affs[a] = aff
	r.versions.add(a)
}

// mayList reports whether somebody may see the lists of members, admins and owners.
func (r *room) mayList(a addr) bool {
	rank := affRank[r.affiliation(a)]
	return rank >= affRank["admin"] || r.get("whois") == "anyone" && rank >= affRank["member"]
}

// tellLists tells who enters the affiliations, or their changes, if they ask for them.
func (r *room) tellLists(to addr, mav *confab.Element) {
	if mav == nil {
		return
	}
	if !r.mayList(to) {
		r.send(to, r.addr, confab.El(nsClient, "message", confab.El(nsClient, "error",
			confab.El(nsStanzas, "forbidden")).Set("type", "auth").Set("by", r.addr.String())).Set("type", "error"))
		return
	}
	since := mav.Get("since")
	if since == r.versions.now() {
		return
	}
	var whose []addr
	said := confab.El(nsVersions, "mav").Set("until", r.versions.now())
	known := -1
	for i := range r.versions.changes {
		if r.versions.at(r.versions.forgot+i) == since {
			known = i
		}
	}
	if known >= 0 {
		said.Set("since", since)
		whose = r.versions.changes[known:]
	} else {
		for a := range r.affs {
			whose = append(whose, a)
		}
	}
	whose = slices.Clone(whose)
	slices.SortFunc(whose, r.compareAddrs)
	x := confab.El(nsMUCUser, "x", said)
	for _, a := range slices.Compact(whose) {
		x.Add(confab.El(nsMUCUser, "item").Set("jid", a.String()).Set("affiliation", r.affiliation(a)))
	}
	r.send(to, r.addr, confab.El(nsClient, "message", x))
}
