package confabtest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"

	"github.com/confab-im/confab"
)

// room is one room. The server's lock guards it.
type room struct {
	rs        *rooms
	addr      addr
	locked    bool // until its owner has configured it
	cfg       map[string][]string
	affs      map[addr]affiliation
	versions  versions
	nicks     map[addr]string // that are registered
	hats      map[addr]*confab.Element
	occupants map[string]*occupant
	entered   int // how many ever did
	subject   *confab.Element
	history   []past
	archive   archive
	card      *confab.Element
	asked     map[string]pendingIQ
}

// affiliation is what an account is in a room: owner, admin, member or outcast.
type affiliation struct{ aff, reason string }

// occupant is somebody in a room, with one client or several.
type occupant struct {
	nick, role string
	bare       addr
	number     int // in order of entering
	clients    []*roomClient
}

type roomClient struct {
	addr     addr
	ss       *session // nil if it is of another server
	presence *confab.Element
}

func (rs *rooms) create(a addr, owner addr) *room {
	r := &room{
		rs: rs, addr: a, cfg: roomDefaults(), affs: map[addr]affiliation{}, nicks: map[addr]string{},
		hats: map[addr]*confab.Element{}, occupants: map[string]*occupant{}, asked: map[string]pendingIQ{},
	}
	r.versions.id = newID()
	r.setAff(owner, affiliation{aff: "owner"})
	rs.rooms[a.local] = r
	return r
}

func (r *room) all() []*occupant {
	return slices.SortedFunc(maps.Values(r.occupants), func(a, b *occupant) int { return cmp.Compare(a.number, b.number) })
}

// of returns the occupant that a client is, or nil.
func (r *room) of(a addr) *occupant {
	for _, o := range r.occupants {
		if o.client(a) != nil {
			return o
		}
	}
	return nil
}

func (o *occupant) client(a addr) *roomClient {
	for _, c := range o.clients {
		if c.addr == a {
			return c
		}
	}
	return nil
}

// send sends a stanza to a client. The lock is held, as in all that follows.
func (r *room) send(to addr, from addr, e *confab.Element) {
	r.rs.srv.route(nil, from, to, with(e).Set("from", from.String()).Set("to", to.String()))
}

func (r *room) at(nick string) addr { a := r.addr; a.resource = nick; return a }

// sweep removes clients whose session has ended without a word; from is who has one to
// say now, such as that it goes because its session has ended.
func (r *room) sweep(from addr) {
	for _, o := range r.all() {
		o.clients = slices.DeleteFunc(o.clients, func(c *roomClient) bool { return c.ss != nil && c.ss.ended && c.addr != from })
		if len(o.clients) == 0 {
			r.remove(o)
		}
	}
}

// remove takes an occupant out of the list; a room that is not persistent goes with
// the last.
func (r *room) remove(o *occupant) {
	if r.occupants[o.nick] == o {
		delete(r.occupants, o.nick)
	}
	if len(r.occupants) == 0 && !r.is("persistentroom") && r.rs.rooms[r.addr.local] == r {
		delete(r.rs.rooms, r.addr.local)
	}
}

func (r *room) affiliation(a addr) string { return cmp.Or(r.affs[a.bare()].aff, "none") }

// roleFor is the role with which an account enters.
func (r *room) roleFor(a addr) string {
	switch r.affiliation(a) {
	case "owner", "admin":
		return "moderator"
	case "member":
		return "participant"
	}
	if r.is("moderatedroom") {
		return "visitor"
	}
	return "participant"
}

// occupantID is the same for an account whatever its nickname (XEP-0421).
func (r *room) occupantID(a addr) *confab.Element {
	h := hmac.New(sha256.New, r.rs.srv.seed[:])
	h.Write([]byte(r.addr.String() + "\x00" + a.bare().String()))
	return confab.El(nsOccupant, "occupant-id").Set("id", hex.EncodeToString(h.Sum(nil)[:16]))
}

func status(x *confab.Element, codes ...string) *confab.Element {
	for _, c := range codes {
		x.Add(confab.El(nsMUCUser, "status").Set("code", c))
	}
	return x
}

// presenceFor makes an occupant's presence as one client of another, or of itself,
// sees it.
func (r *room) presenceFor(o *occupant, from *confab.Element, to *occupant, item *confab.Element, codes []string) *confab.Element {
	e := with(from)
	e.Children = drop(e, func(k *confab.Element) bool {
		return k.Name.Space == nsMUC || k.Name.Space == nsMUCUser || k.Name.Space == nsOccupant || k.Name.Space == nsHats
	})
	it := confab.El(nsMUCUser, "item")
	if item != nil {
		it = with(item)
	}
	it.Set("affiliation", r.affiliation(o.bare))
	if it.Get("role") == "" {
		it.Set("role", o.role)
	}
	if (to.role == "moderator" || to == o || r.get("whois") == "anyone") && len(o.clients) > 0 {
		it.Set("jid", o.clients[0].addr.String())
	}
	x := status(confab.El(nsMUCUser, "x", it), codes...)
	if r.versions.telling != nil {
		x.Add(r.versions.telling)
	}
	if to == o {
		status(x, "110")
	}
	if h := r.hats[o.bare]; h != nil && len(h.Children) > 0 {
		e.Add(h)
	}
	return e.Add(r.occupantID(o.bare), x)
}

// tell sends an occupant's presence, or the end of it, to everybody, itself last.
func (r *room) tell(o *occupant, p, item *confab.Element, codes ...string) {
	for _, to := range r.all() {
		if to != o {
			for _, c := range slices.Clone(to.clients) {
				r.send(c.addr, r.at(o.nick), r.presenceFor(o, p, to, item, codes))
			}
		}
	}
	for _, c := range slices.Clone(o.clients) {
		r.send(c.addr, r.at(o.nick), r.presenceFor(o, p, o, item, codes))
	}
}

// announce tells everybody an occupant's presence again.
func (r *room) announce(o *occupant, item *confab.Element) {
	if len(o.clients) > 0 {
		r.tell(o, o.clients[0].presence, item)
	}
}

// leave removes an occupant and tells everybody, itself included.
func (r *room) leave(o *occupant, item *confab.Element, codes ...string) {
	if r.occupants[o.nick] != o {
		return
	}
	if item == nil {
		item = confab.El(nsMUCUser, "item")
	}
	item.Set("role", "none")
	delete(r.occupants, o.nick)
	r.tell(o, confab.El(nsClient, "presence").Set("type", "unavailable"), item, codes...)
	r.remove(o)
}

// empty removes all, each hearing it of itself only.
func (r *room) empty(extra *confab.Element, codes ...string) {
	for _, o := range r.all() {
		delete(r.occupants, o.nick)
		for _, c := range o.clients {
			x := confab.El(nsMUCUser, "x", confab.El(nsMUCUser, "item").Set("affiliation", "none").Set("role", "none"))
			if extra != nil {
				x.Add(extra)
			}
			r.send(c.addr, r.at(o.nick), confab.El(nsClient, "presence", status(x, append([]string{"110"}, codes...)...)).Set("type", "unavailable"))
		}
	}
	if !r.is("persistentroom") && r.rs.rooms[r.addr.local] == r {
		delete(r.rs.rooms, r.addr.local)
	}
}

// presence takes presence for a room, r, which is nil if there is none.
func (rs *rooms) presence(r *room, ss *session, from, to addr, e *confab.Element) {
	s := rs.srv
	var o *occupant
	if r != nil {
		o = r.of(from)
	}
	switch e.Get("type") {
	case "":
		switch {
		case to.local == "":
			s.bounce(e, "cancel", "service-unavailable", "")
		case to.resource == "":
			s.bounce(e, "modify", "jid-malformed", "a nickname is needed")
		case o == nil || e.Child(nsMUC, "x") != nil:
			rs.join(r, o, ss, from, to, e)
		case o.nick != to.resource:
			r.rename(o, to.resource, e)
		default:
			o.client(from).presence = e
			r.tell(o, e, nil)
		}
	case "unavailable":
		if o == nil {
			return
		}
		if len(o.clients) > 1 {
			c := o.client(from)
			o.clients = slices.DeleteFunc(o.clients, func(x *roomClient) bool { return x == c })
			r.send(from, r.at(o.nick), r.presenceFor(o, confab.El(nsClient, "presence").Set("type", "unavailable"), o,
				confab.El(nsMUCUser, "item").Set("role", "none"), nil))
			return
		}
		delete(r.occupants, o.nick)
		r.tell(o, e, confab.El(nsMUCUser, "item").Set("role", "none"))
		r.remove(o)
	case "error":
		if o != nil {
			r.leave(o, nil, "307", "333")
		}
	}
}

// join lets somebody in, or says why not.
func (rs *rooms) join(r *room, o *occupant, ss *session, from, to addr, e *confab.Element) {
	s, x, created := rs.srv, e.Child(nsMUC, "x"), false
	refuse := func(typ, condition string) { s.bounce(e, typ, condition, "") }
	if r == nil {
		r, created = rs.create(to.bare(), from.bare()), true
		r.locked = x != nil
	}
	aff := r.affiliation(from)
	named, full := r.occupants[to.resource], 0
	if n, err := strconv.Atoi(r.get("maxusers")); err == nil {
		full = n
	}
	switch {
	case o != nil: // again: it has lost sight of the room
	case aff == "outcast":
		refuse("auth", "forbidden")
		return
	case r.locked && aff != "owner":
		refuse("cancel", "item-not-found")
		return
	case r.is("membersonly") && aff == "none":
		refuse("auth", "registration-required")
		return
	case r.get("roomsecret") != "" && x.ChildText(nsMUC, "password") != r.get("roomsecret"):
		refuse("auth", "not-authorized")
		return
	case named != nil && named.bare != from.bare() || r.reserved(to.resource, from):
		refuse("cancel", "conflict")
		return
	case full > 0 && len(r.occupants) >= full && aff != "owner" && aff != "admin":
		refuse("wait", "service-unavailable")
		return
	}
	r.tellLists(from, x.Child(nsVersions, "mav"))
	fresh := false
	switch {
	case o != nil:
		o.client(from).presence, o.client(from).ss = e, ss
	case named != nil:
		o = named
		o.clients = append(o.clients, &roomClient{from, ss, e})
	default:
		r.entered++
		o = &occupant{nick: to.resource, role: r.roleFor(from), bare: from.bare(), number: r.entered, clients: []*roomClient{{from, ss, e}}}
		fresh = true
	}
	for _, other := range r.all() {
		if other != o && len(other.clients) > 0 {
			r.send(from, r.at(other.nick), r.presenceFor(other, other.clients[0].presence, o, nil, nil))
		}
	}
	if fresh {
		r.occupants[o.nick] = o
		for _, other := range r.all() {
			if other != o {
				for _, c := range slices.Clone(other.clients) {
					r.send(c.addr, r.at(o.nick), r.presenceFor(o, e, other, nil, nil))
				}
			}
		}
	}
	var codes []string
	if r.get("whois") == "anyone" {
		codes = append(codes, "100")
	}
	if r.is("enablelogging") {
		codes = append(codes, "170")
	}
	if created {
		codes = append(codes, "201")
	}
	r.versions.telling = confab.El(nsVersions, "mav").Set("until", r.versions.now())
	r.send(from, r.at(o.nick), r.presenceFor(o, o.client(from).presence, o, nil, codes))
	r.versions.telling = nil
	r.replay(from, x.Child(nsMUC, "history"))
	subject := r.subject
	if subject == nil {
		subject = confab.El(nsClient, "message", confab.El(nsClient, "subject")).Set("from", r.addr.String()).Set("type", "groupchat")
	}
	by, _ := parseAddr(subject.Get("from"))
	r.send(from, by, subject)
}

// reserved reports whether a nickname is somebody else's.
func (r *room) reserved(nick string, a addr) bool {
	for owner, n := range r.nicks {
		if n == nick && owner != a.bare() {
			return true
		}
	}
	return false
}

func (r *room) rename(o *occupant, nick string, e *confab.Element) {
	if r.occupants[nick] != nil || r.reserved(nick, o.bare) {
		r.rs.srv.bounce(e, "cancel", "conflict", "")
		return
	}
	r.tell(o, confab.El(nsClient, "presence").Set("type", "unavailable"), confab.El(nsMUCUser, "item").Set("nick", nick), "303")
	delete(r.occupants, o.nick)
	o.nick = nick
	r.occupants[nick] = o
	for _, c := range o.clients {
		c.presence = e
	}
	r.tell(o, e, nil)
}
