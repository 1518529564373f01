package muc

import (
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// presence takes presence that comes from the room or from an address in it. Only the
// room's own server can send it; but what an occupant has put into it may be there,
// too.
func (r *Room) presence(p *confab.Presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == Out {
		return
	}
	nick := p.From.Resourcepart()
	switch p.Type {
	case stanza.ErrorPresence:
		r.refused(p)
	case stanza.AvailablePresence:
		if nick == "" {
			return // of the room itself, such as with its picture
		}
		r.speaks()
		r.available(p, nick)
	case stanza.UnavailablePresence:
		u := readUserX(p.Stanza)
		r.heard()
		if nick != "" {
			r.follow(&u, r.isSelf(nick), false)
		}
		switch {
		case nick == "" && u.el.Child(nsUser, "destroy") == nil:
		case nick == "", r.isSelf(nick):
			r.dismissed(p, &u)
		default:
			r.departed(nick, &u)
		}
	}
}

// isSelf reports whether a nickname is the user's. The lock is held.
func (r *Room) isSelf(nick string) bool {
	if a := r.att; a != nil && a.self {
		return nick == a.nick || nick == a.renick
	}
	if a := r.att; a != nil && !sameNick(a.nick, r.nick) {
		return false // somebody else has it by now
	}
	return nick == r.nick && r.status != Joining
}

// available takes the presence of somebody who is there. The lock is held.
func (r *Room) available(p *confab.Presence, nick string) {
	u := readUserX(p.Stanza)
	o := readOccupant(p, &u, r.can)
	if a := r.att; a == nil || a.self {
		r.follow(&u, r.isSelf(nick), false)
	}
	if a := r.att; a != nil {
		r.stage(a, o, &u)
		return
	}
	if r.status != Joined && r.status != Suspect {
		return
	}
	if r.rename != nil && nick != r.nick && !u.twice && u.has(110) && u.has(210) {
		r.occupants.drop(r.nick) // the room has made another nickname of it, at once
		r.nick = o.Nick
	}
	was, own := r.occupants.by[nick], nick == r.nick
	if was == nil {
		r.tenures++
		if !r.occupants.put(o, r.tenures, own) {
			return
		}
		r.tell(Change{Kind: Entered, Occupant: o, By: u.by, Reason: u.reason})
	} else {
		before := was.Occupant
		o.Nick, o.Active = before.Nick, before.Active
		if before.JID.Equal(o.JID) {
			o.JID = before.JID
		}
		if !before.equal(&o) && r.occupants.put(o, 0, own) {
			r.tell(Change{Kind: Changed, Occupant: o, Before: before, By: u.by, Reason: u.reason})
		}
	}
	if n := r.rename; n != nil && own && (sameNick(nick, n.nick) || u.has(210)) {
		n.done <- nil
		r.rename = nil
		if len(r.occupants.by) == 1 {
			// Prosody 13 takes a room that is not persistent away when its only occupant
			// changes the nickname, and tells nobody.
			r.doubt = true
			r.poke()
		}
	}
}

// stage keeps who is there until the user is. The lock is held.
func (r *Room) stage(a *attempt, o Occupant, u *userX) {
	r.tenures++
	if !a.occupants.put(o, r.tenures, o.Nick == a.nick) {
		return
	}
	// The own presence has the nickname that was asked for, or the room says that it
	// has made another of it. Codes in a presence with two sets of them may be its
	// sender's.
	self := o.Nick == a.nick || !u.twice && u.has(110) && (u.has(210) || sameNick(o.Nick, a.nick))
	if a.self || !self {
		return
	}
	a.self = true
	r.follow(u, true, true)
	if o.Nick != a.nick {
		a.renick = o.Nick
	}
	a.created = u.has(201)
	close(a.entered)
}

// departed takes the end of somebody else's presence. The lock is held.
func (r *Room) departed(nick string, u *userX) {
	in := &r.occupants
	if r.att != nil {
		in = &r.att.occupants
	}
	o := in.by[nick]
	if o == nil {
		return
	}
	if u.has(303) {
		r.renamed(in, o, u)
		return
	}
	in.drop(nick)
	if r.att != nil {
		return
	}
	c := Change{Kind: Gone, Occupant: o.Occupant, By: u.by, Reason: u.reason}
	switch {
	case u.has(333), u.has(332):
	case u.has(301):
		c.Kind = Banned
	case u.has(307):
		c.Kind = Kicked
	case u.has(321), u.has(322):
		c.Kind = Removed
	}
	c.Occupant.Affiliation, c.Occupant.Role = u.aff, NoRole
	r.tell(c)
}

// renamed gives an occupant another nickname; the presence under it follows. The lock
// is held.
func (r *Room) renamed(in *crowd, o *occupant, u *userX) {
	a, err := r.of(u.nick)
	in.drop(o.Nick)
	if err != nil {
		return // the one with the new nickname comes by itself
	}
	before, now := o.Occupant, o.Occupant
	now.Nick = a.Resourcepart()
	if other := in.by[now.Nick]; other != nil {
		if r.att == nil && now.Nick == r.nick {
			return // nobody becomes the user
		}
		in.drop(now.Nick)
		if r.att == nil {
			r.tell(Change{Kind: Gone, Occupant: other.Occupant})
		}
	}
	in.put(now, o.tenure, true)
	if r.att == nil {
		r.tell(Change{Kind: Renamed, Occupant: now, Before: before})
	}
}

// tell emits a change. The lock is held.
func (r *Room) tell(c Change) {
	if r.status == Joined || r.status == Suspect {
		c.Room, c.Self = r, c.Occupant.Nick == r.nick
		r.c.s.Emit(c)
	}
}

// dismissed takes the end of the own presence, or of the room. The lock is held.
func (r *Room) dismissed(_ *confab.Presence, u *userX) {
	if u.has(303) {
		in, from := &r.occupants, r.nick
		if r.att != nil {
			in, from = &r.att.occupants, r.att.own()
		}
		a, err := r.of(u.nick)
		if err != nil {
			r.lost(&Error{Room: r.jid, Kind: ErrForgotten}, true)
			return
		}
		if r.att != nil {
			r.att.renick = a.Resourcepart()
		} else {
			r.nick = a.Resourcepart()
		}
		if o := in.by[from]; o != nil {
			in.drop(a.Resourcepart())
			r.renamed(in, o, u)
		}
		return
	}
	e := &Error{Room: r.jid, By: u.by, Reason: u.reason}
	d := u.el.Child(nsUser, "destroy")
	switch {
	case d != nil:
		e.Kind, e.Reason = ErrDestroyed, clip(d.ChildText(nsUser, "reason"), maxStatus)
		if s := d.Get("jid"); s != "" {
			if alt, err := jid.Parse(s); err == nil {
				e.Alternate = alt.Bare()
			}
		}
	case r.leaving:
		e.Kind = ErrLeft
	case u.has(301):
		e.Kind = ErrBanned
	case u.has(321), u.has(322):
		e.Kind = ErrMembersOnly
	case u.has(332), u.has(333), !u.has(307):
		e.Kind = ErrForgotten
		r.lost(e, !u.has(332))
		return
	default:
		e.Kind = ErrKicked
	}
	if r.att != nil {
		r.att.end(e)
	}
	if r.status == Joining {
		return // Join tells
	}
	if o := r.occupants.by[r.nick]; o != nil {
		k := map[error]ChangeKind{ErrKicked: Kicked, ErrBanned: Banned, ErrMembersOnly: Removed}[e.Kind]
		if k == Entered {
			k = Gone
		}
		r.tell(Change{Kind: k, Occupant: o.Occupant, By: u.by, Reason: u.reason})
	}
	r.set(Out, e)
}

// lost notes that the room has lost the user, who will enter again. The lock is held.
func (r *Room) lost(why error, now bool) {
	if r.att != nil {
		r.att.end(why)
	}
	if r.status == Joining || r.status == Out {
		return
	}
	if r.rename != nil {
		r.rename.done <- why
		r.rename = nil
	}
	if time.Since(r.since) >= time.Minute {
		r.fails = 0
	}
	r.gone, r.retryAt = true, time.Time{}
	if !now || r.fails > 0 {
		// The room is about to stop, or throws us out again and again.
		r.retryAt = time.Now().Add(backoff(r.fails))
	}
	r.fails++
	r.set(Suspect, why)
	r.poke()
}
