package muc

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// A Role is what an occupant may do as long as they are there (XEP-0045 §5.1).
type Role string

// The roles.
const (
	NoRole      Role = "none" // to set it is to kick
	Visitor     Role = "visitor"
	Participant Role = "participant"
	Moderator   Role = "moderator"
)

// An Affiliation is what somebody is in a room, whether there or not (XEP-0045 §5.2).
type Affiliation string

// The affiliations.
const (
	Outcast       Affiliation = "outcast" // banned
	NoAffiliation Affiliation = "none"
	Member        Affiliation = "member"
	Admin         Affiliation = "admin"
	Owner         Affiliation = "owner"
)

// A Hat is a function that somebody has in a room (XEP-0317).
type Hat struct{ URI, Title string }

// An Occupant is somebody in a room.
type Occupant struct {
	Nick        string
	Role        Role
	Affiliation Affiliation
	// JID is the address, where the room shows it; otherwise zero.
	JID jid.JID
	// OccupantID stays the same whatever the nickname (XEP-0421); "" if the room has
	// no such ids.
	OccupantID string
	Hats       []Hat
	// Avatar is the SHA-1 of the picture in the vCard, "" if there is none
	// (XEP-0153).
	Avatar string
	// Show is "" (available), "away", "chat", "dnd" or "xa".
	Show, Status string
	// Active is when they last said something while the user was there.
	Active time.Time
}

// Bounds of what a room may have us keep. What is beyond is left out.
const (
	maxOccupants = 50_000
	maxCrowd     = 32 << 20 // bytes of all occupants of a room
	maxStatus    = 1024
	maxHats      = 16
	maxHat       = 256
	maxID        = 1024
)

type occupant struct {
	Occupant
	// tenure tells who had the nickname before from who has it now.
	tenure uint32
}

func (o *Occupant) equal(p *Occupant) bool {
	if o.Nick != p.Nick || o.Role != p.Role || o.Affiliation != p.Affiliation || !o.JID.Equal(p.JID) || o.OccupantID != p.OccupantID ||
		o.Avatar != p.Avatar || o.Show != p.Show || o.Status != p.Status || len(o.Hats) != len(p.Hats) {
		return false
	}
	for i, h := range o.Hats {
		if p.Hats[i] != h {
			return false
		}
	}
	return true
}

// size is about what an occupant takes in memory.
func (o *Occupant) size() int {
	n := 400 + len(o.Nick) + len(o.OccupantID) + len(o.Avatar) + len(o.Status) +
		len(o.JID.Localpart()) + len(o.JID.Domainpart()) + len(o.JID.Resourcepart())
	for _, h := range o.Hats {
		n += 32 + len(h.URI) + len(h.Title)
	}
	return n
}

// crowd are the occupants of a room by their nicknames.
type crowd struct {
	by    map[string]*occupant
	bytes int
}

// put adds an occupant, or changes one. A room that has too many is not believed the
// rest, but the user always has a place.
func (c *crowd) put(o Occupant, tenure uint32, own bool) bool {
	was, n := c.by[o.Nick], o.size()
	if was != nil {
		n -= was.size()
	}
	if !own && (was == nil && len(c.by) >= maxOccupants || c.bytes+n > maxCrowd) {
		return false
	}
	if c.bytes += n; was != nil {
		was.Occupant = o
		return true
	}
	if c.by == nil {
		c.by = map[string]*occupant{}
	}
	c.by[o.Nick] = &occupant{o, tenure}
	return true
}

func (c *crowd) drop(nick string) {
	if o := c.by[nick]; o != nil {
		c.bytes -= o.size()
		delete(c.by, nick)
	}
}

// userX is what a room says with a presence or a message (XEP-0045, muc#user).
type userX struct {
	found bool
	// twice says that there is more than one: one is the room's, the others may be
	// the occupant's.
	twice  bool
	codes  []int
	item   *confab.Element
	el     *confab.Element
	role   Role
	aff    Affiliation
	jid    jid.JID
	nick   string // the new one
	by     string
	reason string
}

const maxCodes = 32

func readUserX(st *confab.Element) userX {
	var u userX
	for x := range st.All(nsUser, "x") {
		u.twice = u.found
		u.found, u.el = true, x // the room adds its own last
	}
	if !u.found {
		return u
	}
	for c := range u.el.All(nsUser, "status") {
		if n, err := strconv.Atoi(c.Get("code")); err == nil && n > 0 && n < 1000 && len(u.codes) < maxCodes {
			u.codes = append(u.codes, n)
		}
	}
	if u.item = u.el.Child(nsUser, "item"); u.item == nil {
		return u
	}
	u.role, u.aff = roleOf(u.item.Get("role")), affiliationOf(u.item.Get("affiliation"))
	u.nick = u.item.Get("nick")
	if s := u.item.Get("jid"); s != "" {
		if j, err := jid.Parse(s); err == nil { // else the field is left out
			u.jid = j
		}
	}
	u.reason = clip(strings.TrimSpace(u.item.ChildText(nsUser, "reason")), maxStatus)
	if a := u.item.Child(nsUser, "actor"); a != nil {
		if u.by = a.Get("nick"); u.by == "" {
			u.by = a.Get("jid")
		}
		u.by = clip(u.by, maxID)
	}
	return u
}

func (u *userX) has(code int) bool {
	for _, c := range u.codes {
		if c == code {
			return true
		}
	}
	return false
}

func roleOf(s string) Role {
	switch r := Role(s); r {
	case Visitor:
		return Visitor
	case Participant:
		return Participant
	case Moderator:
		return Moderator
	}
	return NoRole
}

func affiliationOf(s string) Affiliation {
	switch a := Affiliation(s); a {
	case Outcast:
		return Outcast
	case Member:
		return Member
	case Admin:
		return Admin
	case Owner:
		return Owner
	}
	return NoAffiliation
}

// clip returns at most n bytes of a string, without what it was part of.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.Clone(s)
}

// readOccupant makes an occupant of a presence. Its strings are copies: the stanza is
// not kept.
func readOccupant(p *confab.Presence, u *userX, can abilities) Occupant {
	o := Occupant{
		Nick: strings.Clone(p.From.Resourcepart()), Role: u.role, Affiliation: u.aff, JID: u.jid,
		Status: clip(p.Status, maxStatus),
	}
	if !u.found || u.item == nil {
		o.Role, o.Affiliation = Participant, NoAffiliation
	}
	switch p.Show {
	case "away":
		o.Show = "away"
	case "chat":
		o.Show = "chat"
	case "dnd":
		o.Show = "dnd"
	case "xa":
		o.Show = "xa"
	}
	for _, c := range p.Stanza.Children {
		switch c.Name.Space {
		case nsOccupant:
			if id := c.Get("id"); can.ids && c.Name.Local == "occupant-id" && len(id) <= maxID {
				o.OccupantID = strings.Clone(id)
			}
		case nsHats:
			for h := range c.All(nsHats, "hat") {
				if !can.hats || len(o.Hats) == maxHats {
					break
				}
				o.Hats = append(o.Hats, Hat{clip(h.Get("uri"), maxHat), clip(h.Get("title"), maxHat)})
			}
		case nsVCardHash:
			if h := c.ChildText(nsVCardHash, "photo"); len(h) == 40 {
				o.Avatar = strings.Clone(h)
			}
		}
	}
	return o
}
