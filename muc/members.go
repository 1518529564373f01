package muc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// ErrAnonymous says that a room does not tell who its occupants are.
var ErrAnonymous = errors.New("muc: the room does not tell the addresses of its occupants")

// membersFor is how long the lists of a room are believed. Changes of those who are
// there are seen at once.
const membersFor = time.Minute

// Members returns the bare addresses of all who may read what is said in a room that the
// user is in: owners, admins and members, whether they are there or not, and who is
// there besides, the user included (XEP-0045 §9). A members-only room that keeps the user
// informed of its lists is not asked for them (XEP-0463). A list that the room keeps to
// itself is left out. The error is [ErrAnonymous] if the room hides addresses. It is what
// encryption needs to know: see omemo.Config.Rooms.
func (c *Client) Members(ctx context.Context, room jid.JID) ([]jid.JID, error) {
	r := c.room(room)
	if r == nil {
		return nil, fmt.Errorf("muc: the user is not in %s", room)
	}
	if err := r.joined(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	all, fresh := r.lists.members()
	if !fresh {
		all, fresh = r.members, time.Since(r.membersAt) < membersFor
	}
	r.mu.Unlock()
	if !fresh {
		all = nil
		for _, a := range [...]Affiliation{Owner, Admin, Member} {
			for v, err := range r.Affiliations(ctx, a) {
				var se stanza.Error
				if errors.As(err, &se) && (se.Condition == stanza.Forbidden || se.Condition == stanza.NotAllowed) {
					break
				}
				if err != nil {
					return nil, err
				}
				all = append(all, v.JID.Bare())
			}
		}
		r.mu.Lock()
		r.members, r.membersAt = all, time.Now()
		r.mu.Unlock()
	}
	all = slices.Clip(all)
	known := make(map[string]bool, len(all))
	for _, a := range all {
		known[a.String()] = true
	}
	nick := r.Nick()
	for _, o := range r.Occupants() {
		if o.Nick == nick {
			o.JID = c.s.LocalAddr()
		}
		if o.JID.String() == "" {
			return nil, fmt.Errorf("%w: %s", ErrAnonymous, r.key)
		}
		if a := o.JID.Bare(); !known[a.String()] {
			known[a.String()] = true
			all = append(all, a)
		}
	}
	return all, nil
}

// RealJID returns the bare address of an occupant, by the address in the room and the
// occupant id, which may be ""; zero if the room does not tell, or if nobody like that is
// there.
func (c *Client) RealJID(occupant jid.JID, occupantID string) jid.JID {
	r := c.room(occupant)
	if r == nil || occupant.Resourcepart() == "" {
		return jid.JID{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	in, own := &r.occupants, r.nick
	if r.att != nil && r.att.self {
		in, own = &r.att.occupants, r.att.own()
	}
	if !r.can.ids {
		occupantID = ""
	}
	o := in.by[occupant.Resourcepart()]
	if occupantID == "" || o != nil && (o.OccupantID == occupantID || o.OccupantID == "") {
		switch {
		case o == nil:
			return jid.JID{}
		case o.Nick == own: // a room that was anonymous before has not told
			return c.s.LocalAddr().Bare()
		}
		return o.JID.Bare()
	}
	for _, o := range in.by { // under another nickname by now
		if o.OccupantID == occupantID {
			return o.JID.Bare()
		}
	}
	return jid.JID{}
}
