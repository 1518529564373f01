package muc

import (
	"strings"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// lists is who has which affiliation, as a room keeps the user informed of it (XEP-0463):
// all of it, or nothing. Nothing has no version.
type lists struct {
	version string
	by      map[string]Affiliated // by bare address
	bytes   int
}

// maxLists bounds the addresses of a room's lists in bytes. What is longer is not kept.
const maxLists = 8 << 20

// listsWanted is what is put into the presence that enters, if the room keeps the user
// informed: only where it matters who reads what is said.
func (r *Room) listsWanted() *confab.Element {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.keepsLists() {
		r.lists = lists{}
		return nil
	}
	return confab.El(nsVersions, "mav").Set("since", r.lists.version)
}

// keepsLists reports whether the room was asked to keep the user informed. The lock is held.
func (r *Room) keepsLists() bool { return r.info.Has(nsVersions) && r.info.Has("muc_membersonly") }

// apply takes what the room says of its lists: all, or a change that follows on what is
// known. Anything else means that something was missed. Self is who an item without an
// address is about.
func (l *lists) apply(x, mav *confab.Element, self jid.JID) {
	since, until := mav.Get("since"), mav.Get("until")
	switch {
	case until == "" || len(until) > maxID:
		*l = lists{}
		return
	case since == "":
		*l = lists{by: map[string]Affiliated{}}
	case l.version == "" || since != l.version && until != l.version: // a change may be told twice
		*l = lists{}
		return
	}
	for it := range x.All(nsUser, "item") {
		j := self
		if s := it.Get("jid"); s != "" {
			j, _ = jid.Parse(s)
		}
		if j.String() == "" || !l.set(Affiliated{JID: j.Bare(), Affiliation: affiliationOf(it.Get("affiliation"))}) {
			*l = lists{}
			return
		}
	}
	l.version = strings.Clone(until)
}

// set notes one affiliation, and reports whether there is a place for it.
func (l *lists) set(a Affiliated) bool {
	key := a.JID.String()
	if _, known := l.by[key]; known {
		l.bytes -= len(key)
		delete(l.by, key)
	}
	if a.Affiliation == NoAffiliation {
		return true
	}
	if l.bytes += len(key); l.bytes > maxLists || len(l.by) >= maxListed {
		return false
	}
	if l.by == nil {
		l.by = map[string]Affiliated{}
	}
	l.by[strings.Clone(key)] = a
	return true
}

// follow keeps the lists in step with what the room says in one presence. Entering says
// that it is the presence that lets the user in: it has to state the version. The lock
// is held.
func (r *Room) follow(u *userX, own, entering bool) {
	l := &r.lists
	if l.version == "" {
		return
	}
	var self jid.JID
	if own {
		self = r.c.s.LocalAddr().Bare()
	}
	mav := u.el.Child(nsVersions, "mav")
	switch {
	case u.twice: // one of them is the occupant's
		*l = lists{}
	case mav == nil && entering:
		*l = lists{}
	case mav == nil:
		// A change has a version. One without means that the room does not keep its word.
		if j := u.jid.Bare(); u.item != nil && u.item.Get("jid") != "" && l.of(j) != u.aff {
			*l = lists{}
		}
	case mav.Get("since") == "":
		if mav.Get("until") != l.version {
			*l = lists{}
		}
	default:
		l.apply(u.el, mav, self)
	}
}

func (l *lists) of(j jid.JID) Affiliation {
	if a, ok := l.by[j.String()]; ok {
		return a.Affiliation
	}
	return NoAffiliation
}

// listed takes what the room says of its lists in a message of its own: before the user
// is in, what has changed since; later, what somebody has become who is not there. The
// lock is held.
func (r *Room) listed(m *confab.Message, u *userX) {
	if m.Source != confab.Live || u.el == nil {
		return
	}
	if u.twice {
		r.lists = lists{}
		return
	}
	if mav := u.el.Child(nsVersions, "mav"); mav != nil && r.keepsLists() {
		r.lists.apply(u.el, mav, jid.JID{})
	}
	if r.att != nil || r.status != Joined && r.status != Suspect || u.item == nil || u.jid.String() == "" || u.item.Get("affiliation") == "" {
		return
	}
	r.c.s.Emit(Listed{
		Room: r, By: u.by,
		Affiliated: Affiliated{JID: u.jid.Bare(), Affiliation: u.aff, Nick: clip(u.nick, maxID), Reason: u.reason},
	})
}

// members returns who may read what is said, and whether the lists are in step.
func (l *lists) members() (all []jid.JID, ok bool) {
	if l.version == "" {
		return nil, false
	}
	for _, a := range l.by {
		if a.Affiliation != Outcast {
			all = append(all, a.JID)
		}
	}
	return all, true
}
