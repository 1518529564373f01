package muc

import (
	"context"
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// message understands one message, if it is of a room or about one.
func (c *Client) message(_ context.Context, m *confab.Message) error {
	switch m.Type {
	case stanza.GroupChatMessage:
		r := c.room(m.From)
		if r == nil || m.Source == confab.CarbonIn || m.Source == confab.CarbonOut {
			return nil
		}
		return r.groupchat(m)
	case stanza.NormalMessage, stanza.ChatMessage:
	default:
		return nil
	}
	x := m.Stanza.Child(nsUser, "x")
	if m.Source == confab.CarbonOut {
		if r := c.room(m.To); r != nil && x != nil {
			r.private(m, true)
		}
		return nil
	}
	if m.From.Resourcepart() != "" {
		if r := c.room(m.From); r != nil {
			r.private(m, false)
			return nil
		}
	}
	if x != nil && c.mediated(m, x) {
		return nil
	}
	if d := m.Stanza.Child(nsConference, "x"); d != nil {
		c.direct(m, d)
		return nil
	}
	if m.From.Resourcepart() == "" {
		c.ofRoom(m)
	}
	return nil
}

// ofRoom understands what a room itself says to the user. Who sends from an address
// without a resource is a room, or can speak for an account.
func (c *Client) ofRoom(m *confab.Message) {
	if mm := m.Stanza.Child(nsMentioned, "mentions"); mm != nil {
		c.mentioned(m, mm)
		return
	}
	r := c.room(m.From)
	if r == nil {
		return
	}
	if f := form.Find(m.Stanza, nsRequest); f != nil && f.Type != form.Answers && f.Get("muc#roomnick") != "" {
		v := VoiceRequest{Room: r, Nick: clip(f.Get("muc#roomnick"), maxID), form: f}
		if j, err := jid.Parse(f.Get("muc#jid")); err == nil {
			v.JID = j
		}
		c.s.Emit(v)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notice(m)
}

// notice takes the codes of a message of the room itself. The lock is held.
func (r *Room) notice(m *confab.Message) {
	u := readUserX(m.Stanza)
	r.listed(m, &u)
	r.membersAt = time.Time{} // perhaps somebody became a member
	var codes []int
	for _, c := range u.codes {
		switch c {
		case 104, 170, 171, 172, 173:
			codes = append(codes, c)
		}
	}
	if codes == nil || r.att != nil {
		return
	}
	if !r.asking && r.status == Joined {
		r.asking = true
		r.c.s.Go(r.refresh)
	}
	r.c.s.Emit(Reconfigured{Room: r, Codes: codes})
}

// stanzaID returns the id that the room gave a message. The room adds its own behind all
// else; one before it is what an occupant has made up.
func (r *Room) stanzaID(m *confab.Message) (id string) {
	for c := range m.Stanza.All("urn:xmpp:sid:0", "stanza-id") {
		if by, err := jid.Parse(c.Get("by")); err == nil && by.Equal(r.jid) {
			id = c.Get("id")
		}
	}
	return id
}

// groupchat takes a message that the room has sent to everybody.
func (r *Room) groupchat(m *confab.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == Out || r.status == Joining && (r.att == nil || !r.att.self) {
		return nil
	}
	if m.Source == confab.Archive {
		if !m.By.Equal(r.jid) {
			return nil
		}
	} else {
		if r.origin(m); m.Source == confab.Live {
			r.speaks()
		} else {
			r.heard()
		}
	}
	nick := m.From.Resourcepart()
	if nick == "" {
		r.notice(m)
	}
	// With a thread it is no change of the subject (XEP-0045 §8.1), and servers let
	// everybody send it.
	if m.HasSubject && !m.HasBody && m.Stanza.Child(confab.NSClient, "thread") == nil {
		if m.Source != confab.Archive {
			r.setSubject(m, nick)
			if nick != "" && nick == r.nick {
				r.settled(m)
			}
		}
		return nil
	}
	r.c.ids.Seen(m.ID)
	cm := r.understand(m, nick)
	if cm.Self && cm.Source != confab.Archive {
		cm.Sent = r.reflected(m)
	}
	if m.Source == confab.Live && cm.State != "" && !cm.Self && nick != "" {
		r.c.s.Emit(Typing{Room: r, Nick: nick, State: cm.State})
	}
	moderated, by := r.moderated(m, cm)
	if !moderated && !said(cm) && cm.Retracts == "" && cm.ReactsTo == "" && !cm.Retracted && cm.MarkerFor == "" {
		return nil
	}
	if r.isCopy(cm) {
		return confab.ErrConsumed
	}
	r.signal(cm, by)
	return nil
}

// origin tells what was said before the user came from what is said now. Only while
// the user enters, before the subject, is there anything from before: later, the mark
// of the room on it is an occupant's.
func (r *Room) origin(m *confab.Message) {
	if m.Source != confab.Offline || !m.By.Equal(r.jid) && !m.By.Equal(jid.JID{}) {
		if m.Source == confab.Live && r.att == nil {
			r.early = false // what is said now comes after all history
		}
		return
	}
	if r.early && time.Since(r.since) > maxEarly {
		r.early = false
	}
	if r.att != nil && r.att.self || r.early {
		m.Source, m.By = confab.RoomHistory, r.jid
		if r.att != nil {
			select {
			case r.att.heard <- struct{}{}:
			default:
			}
		}
		return
	}
	m.Source, m.By, m.Stamp = confab.Live, jid.JID{}, time.Time{}
}

func (r *Room) setSubject(m *confab.Message, nick string) {
	s := Subject{Room: r, Text: clip(m.Subject, 1<<16), Nick: nick, At: m.Stamp}
	if s.At.IsZero() && r.att == nil {
		s.At = m.Received
	}
	before := r.subject
	r.subject, r.early = s, false
	a := r.att
	if a == nil {
		r.c.s.Emit(s)
		return
	}
	if a.self {
		again := r.status != Joining
		r.admit(a)
		if again && before.Text != s.Text {
			r.c.s.Emit(s)
		}
	}
}

// understand makes a Message of a stanza.
func (r *Room) understand(m *confab.Message, nick string) *Message {
	cm := &Message{Room: r, Nick: nick}
	cm.Message = chat.Message{Message: m, Content: chat.Parse(m), Chat: r.jid}
	if r.can.ids {
		if id := m.Stanza.Child(nsOccupant, "occupant-id").Get("id"); len(id) <= maxID {
			cm.OccupantID = id
		}
	}
	switch {
	case m.Source == confab.Archive:
		cm.ServerID = m.ArchiveID
	case r.can.sids:
		cm.ServerID = r.stanzaID(m)
	}
	if len(cm.ServerID) > maxID {
		cm.ServerID = ""
	}
	in, own := r.occupants, r.nick
	if a := r.att; a != nil && a.self {
		in, own = a.occupants, a.own()
	}
	o, me := in.by[nick], in.by[own]
	live := m.Source == confab.Live || m.Source == confab.Offline
	switch {
	case cm.OccupantID != "":
		cm.Author = cm.OccupantID
	case live && o != nil:
		cm.Author = m.From.String() + "\n" + strconv.Itoa(int(o.tenure))
	default: // nobody knows who had the nickname then
		cm.Author = m.From.String() + "\n"
	}
	if cm.Self = nick != "" && nick == own; me != nil && me.OccupantID != "" && cm.OccupantID != "" {
		cm.Self = me.OccupantID == cm.OccupantID
	}
	if m.Source == confab.Live && o != nil && cm.HasBody {
		o.Active = m.Received
	}
	return cm
}

// reflected returns the tracker of a message of ours that the room has sent to
// everybody.
func (r *Room) reflected(m *confab.Message) *confab.Sent {
	for _, id := range [...]string{m.OriginID(), m.ID} {
		if s := r.c.s.Sent(id); id != "" && s != nil && s.To.Equal(r.jid) {
			s.Advance(confab.Reflected)
			return s
		}
	}
	return nil
}

// said reports whether the message has something to show.
func said(m *Message) bool {
	return m.HasBody && m.Body != "" || m.Attention || m.Sticker != nil || len(m.Files) > 0 || m.HasSubject && m.Subject != ""
}

// moderated reads what a moderator has done (XEP-0425, also its version 0). It is
// believed from the room itself, not from an address in it; but for what is left of a
// message, which has the room's word in history and archives only.
func (r *Room) moderated(m *confab.Message, cm *Message) (ok bool, by string) {
	var who, what *confab.Element
	ns := nsModerate
	if e := m.Stanza.Child(nsRetract, "retract"); e.Child(nsModerate, "moderated") != nil {
		what, who = e, e.Child(nsModerate, "moderated")
	} else if e := m.Stanza.Child(nsFasten, "apply-to"); e.Child(nsModerate0, "moderated").Child(nsRetract0, "retract") != nil {
		what, who, ns = e, e.Child(nsModerate0, "moderated"), nsModerate0
	}
	past := m.Source == confab.RoomHistory || m.Source == confab.Archive
	switch {
	case who == nil && past && cm.Retracted:
		for _, n := range [...]string{nsRetract, nsRetract0} {
			if e := m.Stanza.Child(n, "retracted"); e != nil {
				if w := e.Child(nsModerate, "moderated"); w != nil {
					return true, clip(w.Get("by"), 4*maxID)
				}
			}
		}
		if w := m.Stanza.Child(nsModerate0, "moderated"); w != nil {
			return true, clip(w.Get("by"), 4*maxID)
		}
		return false, ""
	case cm.Retracted && !past:
		cm.Retracted = false // an occupant plays the archive
		return false, ""
	case who == nil:
		return false, ""
	case cm.Nick != "" || len(what.Get("id")) > maxID:
		if ns == nsModerate0 {
			cm.Retracts = ""
		}
		return false, ""
	}
	cm.Retracts = what.Get("id")
	if cm.Reason = what.ChildText(nsRetract, "reason"); ns == nsModerate0 {
		cm.Reason = who.ChildText(nsModerate0, "reason")
	}
	if by = clip(who.Get("by"), 4*maxID); by == "" {
		by = r.key
	}
	return true, by
}

// signal emits what a message means.
func (r *Room) signal(m *Message, by string) {
	s := r.c.s
	if m.MarkerFor != "" {
		s.Emit(Displayed{Room: r, Nick: m.Nick, OccupantID: m.OccupantID, ID: m.MarkerFor})
	}
	switch {
	case m.Retracts != "":
		s.Emit(Retracted{Message: m, ID: m.Retracts, By: by})
	case m.Retracted:
		s.Emit(Retracted{Message: m, ID: m.Ref(), By: by})
	case m.ReactsTo != "":
		s.Emit(Reacted{m})
	case said(m) && m.Replaces != "":
		s.Emit(Edited{m})
	case said(m) && m.Self:
		s.Emit(OwnMessage{m})
	case said(m):
		s.Emit(m)
	}
}

// private takes a message to the user alone (XEP-0045 §7.5).
func (r *Room) private(m *confab.Message, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == Out {
		return
	}
	nick := m.From.Resourcepart()
	if own {
		nick = m.To.Resourcepart()
	}
	if m.Source == confab.CarbonIn || m.Source == confab.CarbonOut || m.Source == confab.Archive {
		m.Stanza = m.Stanza.Clone()
	}
	cm := r.understand(m, nick)
	cm.Self = own
	cm.ServerID = "" // the room's ids are those of what everybody hears
	if m.Source == confab.Live && cm.State != "" && !own && cm.Body == "" {
		return
	}
	if said(cm) || cm.ReactsTo != "" || cm.Retracts != "" {
		r.c.s.Emit(PrivateMessage{cm})
	}
}

// mentioned takes what a room passes on to somebody who is not there (XEP-0452). Only
// the room itself can say what was said in it.
func (c *Client) mentioned(m *confab.Message, mm *confab.Element) {
	f := mm.Child(nsForward, "forwarded")
	inner, err := c.s.DecodeMessage(f.Child(confab.NSClient, "message"))
	if err != nil || inner.Type != stanza.GroupChatMessage || !inner.From.Bare().Equal(m.From) || m.From.Localpart() == "" {
		return
	}
	inner.Source, inner.By = confab.RoomHistory, m.From
	if t, err := time.Parse(time.RFC3339Nano, f.Child(nsDelay, "delay").Get("stamp")); err == nil {
		inner.Stamp = t.UTC()
	}
	cm := &Message{Nick: inner.From.Resourcepart()}
	cm.Message = chat.Message{Message: inner, Content: chat.Parse(inner), Chat: m.From, Author: inner.From.String() + "\n"}
	if id := inner.StanzaID(m.From); len(id) <= maxID {
		cm.ServerID = id
	}
	c.s.Emit(Mentioned{Room: m.From, Message: cm})
}

// seen knows the messages of a room that came already: after entering again, the room
// tells some once more. It forgets the oldest.
type seen struct {
	seed     maphash.Seed
	cur, old map[uint64]struct{}
}

const maxSeen = 2048

func (s *seen) has(key uint64) bool {
	if _, ok := s.cur[key]; ok {
		return true
	}
	_, ok := s.old[key]
	return ok
}

func (s *seen) add(key uint64) {
	if s.cur == nil || len(s.cur) >= maxSeen {
		s.cur, s.old = map[uint64]struct{}{}, s.cur
	}
	s.cur[key] = struct{}{}
}

// isCopy reports whether a message was seen before. The room's id settles it. Where
// there is none, history that has the nickname, id and text of a message is a copy of
// it; what is said now never is.
func (r *Room) isCopy(m *Message) bool {
	if r.seen.cur == nil {
		r.seen.seed = maphash.MakeSeed()
	}
	if m.ServerID != "" {
		kind := "s\x00"
		if m.Retracted { // what is left of a message that may have been seen whole
			kind = "t\x00"
		}
		k := maphash.String(r.seen.seed, kind+m.ServerID)
		if r.seen.has(k) {
			return true
		}
		r.seen.add(k)
		return false
	}
	if m.ID == "" || len(m.ID) > maxID {
		return false
	}
	k := maphash.String(r.seen.seed, strings.Join([]string{"i", m.Nick, m.ID, m.Body, m.Replaces, m.Retracts, m.ReactsTo}, "\x00"))
	copied := r.seen.has(k)
	r.seen.add(k)
	return copied && (m.Source == confab.RoomHistory || m.Source == confab.Archive)
}
