package confabtest

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/confab-im/confab"
)

const (
	nsMUC         = "http://jabber.org/protocol/muc"
	nsMUCAdmin    = nsMUC + "#admin"
	nsMUCOwner    = nsMUC + "#owner"
	nsMUCSelfPing = nsMUC + "#self-ping-optimization"
	nsOccupant    = "urn:xmpp:occupant-id:0"
	nsHats        = "urn:xmpp:hats:0"
	nsModerate    = "urn:xmpp:message-moderate:1"
	nsRetract     = "urn:xmpp:message-retract:1"
	nsConference  = "jabber:x:conference"
	nsVersions    = "urn:xmpp:muc:affiliations:1"
)

// rooms is a service of rooms (XEP-0045).
type rooms struct {
	srv   *Server
	name  string
	rooms map[string]*room // by the part of their address before the @
}

// roomsFeature is the component rooms.<Domain>.
func roomsFeature(s *Server) {
	if !s.cfg.has(Rooms) {
		return
	}
	rs := &rooms{srv: s, name: "rooms." + s.cfg.Domain, rooms: map[string]*room{}}
	s.domains[rs.name] = rs
	s.hooks.stopping = append(s.hooks.stopping, func() {
		for _, r := range rs.sorted() {
			r.empty(nil, "332")
		}
	})
}

func (rs *rooms) sorted() []*room {
	return slices.SortedFunc(maps.Values(rs.rooms), func(a, b *room) int { return cmp.Compare(a.addr.local, b.addr.local) })
}

// stanza implements domain.
func (rs *rooms) stanza(s *Server, ss *session, from, to addr, e *confab.Element) {
	r := rs.rooms[to.local]
	if r != nil {
		r.sweep(from)
		r = rs.rooms[to.local]
	}
	switch e.Name.Local {
	case "presence":
		rs.presence(r, ss, from, to, e)
	case "message":
		switch {
		case r == nil && e.Get("type") != "error":
			s.bounce(e, "cancel", "item-not-found", "")
		case r != nil:
			r.message(from, to, e)
		}
	case "iq":
		q := &request{s: s, ss: ss, from: from, typ: e.Get("type"), e: e}
		if q.typ == "result" || q.typ == "error" {
			if r != nil {
				r.answered(from, to, e)
			}
			return
		}
		if len(e.Children) != 1 || e.Get("id") == "" || q.typ != "get" && q.typ != "set" {
			q.fail("modify", "bad-request", "")
			return
		}
		q.payload = e.Children[0]
		switch {
		case to.local == "":
			rs.serviceIQ(q)
		case r == nil:
			q.fail("cancel", "item-not-found", "")
		case to.resource != "":
			r.occupantIQ(q, to)
		default:
			r.iq(q)
		}
	}
}

func (rs *rooms) serviceIQ(q *request) {
	switch {
	case q.typ == "get" && q.payload.Is(nsPing, "ping"):
		q.result(nil)
	case q.typ == "get" && q.payload.Is(nsInfo, "query"):
		q.result(info("conference", "text", "Rooms", []string{nsInfo, nsItems, nsMUC, nsPing, nsOccupant, nsRSM}))
	case q.typ == "get" && q.payload.Is(nsItems, "query"):
		var items []*confab.Element
		for _, r := range rs.sorted() {
			if r.is("publicroom") && !r.locked || r.affs[q.from.bare()].aff != "" {
				items = append(items, confab.El(nsItems, "item").Set("jid", r.addr.String()).Set("name", r.get("roomname")))
			}
		}
		paged(q, confab.El(nsItems, "query"), items, "jid")
	default:
		q.fail("cancel", "service-unavailable", "")
	}
}

// paged answers with items, in pages if that was asked for (XEP-0059).
func paged(q *request, answer *confab.Element, items []*confab.Element, key string) {
	set := q.payload.Child(nsRSM, "set")
	if set == nil {
		q.result(answer.Add(items...))
		return
	}
	first := 0
	if after := set.ChildText(nsRSM, "after"); after != "" {
		i := slices.IndexFunc(items, func(it *confab.Element) bool { return it.Get(key) == after })
		if i < 0 {
			q.fail("cancel", "item-not-found", "")
			return
		}
		first = i + 1
	}
	n := len(items) - first
	if most, err := strconv.Atoi(set.ChildText(nsRSM, "max")); err == nil {
		n = max(0, min(n, most))
	}
	page := confab.El(nsRSM, "set")
	if n > 0 {
		page.Add(confab.El(nsRSM, "first").SetText(items[first].Get(key)).Set("index", strconv.Itoa(first)),
			confab.El(nsRSM, "last").SetText(items[first+n-1].Get(key)))
	}
	page.Add(confab.El(nsRSM, "count").SetText(strconv.Itoa(len(items))))
	q.result(answer.Add(items[first : first+n]...).Add(page))
}

// Room is a room of the server, as tests see it.
type Room struct {
	s    *Server
	addr addr
}

// Room returns the room with an address such as coven@rooms.confab.test, which need
// not exist yet. It panics if that cannot be one.
func (s *Server) Room(address string) Room {
	a, err := parseAddr(address)
	if err != nil || a.local == "" || a.resource != "" {
		panic("confabtest: Room: " + address + " cannot be a room")
	}
	return Room{s, a}
}

// with calls f with the room, holding the lock, and reports whether there is one.
func (r Room) with(f func(*room)) bool {
	r.s.lock()
	defer r.s.unlock()
	rs, _ := r.s.domains[r.addr.domain].(*rooms)
	if rs == nil || rs.rooms[r.addr.local] == nil {
		return false
	}
	f(rs.rooms[r.addr.local])
	return true
}

// Exists reports whether the room is there.
func (r Room) Exists() bool { return r.with(func(*room) {}) }

// Occupants returns the nicknames of the occupants, sorted.
func (r Room) Occupants() []string {
	var nicks []string
	r.with(func(m *room) { nicks = slices.Sorted(maps.Keys(m.occupants)) })
	return nicks
}

// Forget has the room forget an occupant without telling anybody, as rooms do when
// their server was restarted. It reports whether there was one.
func (r Room) Forget(nick string) (found bool) {
	r.with(func(m *room) {
		if o := m.occupants[nick]; o != nil {
			found = true
			m.remove(o)
		}
	})
	return found
}

// Eject removes an occupant with these status codes, such as 333.
func (r Room) Eject(nick string, codes ...string) (found bool) {
	r.with(func(m *room) {
		if o := m.occupants[nick]; o != nil {
			found = true
			m.leave(o, nil, codes...)
		}
	})
	return found
}

// SetHats gives an account hats (XEP-0317): addresses with their titles.
func (r Room) SetHats(address string, hats map[string]string) {
	a, err := parseAddr(address)
	if err != nil {
		panic("confabtest: SetHats: " + err.Error())
	}
	r.with(func(m *room) {
		el := confab.El(nsHats, "hats")
		for _, uri := range slices.Sorted(maps.Keys(hats)) {
			el.Add(confab.El(nsHats, "hat").Set("uri", uri).Set("title", hats[uri]))
		}
		m.hats[a.bare()] = el
		for _, o := range m.all() {
			if o.bare == a.bare() {
				m.announce(o, nil)
			}
		}
	})
}
