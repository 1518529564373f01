package confabtest

import (
	"slices"
	"strconv"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
)

// past is a message that the room has sent to everybody, as it was sent.
type past struct {
	e  *confab.Element
	id string // the room's
	at time.Time
}

// mostPast is how many messages a room keeps.
const mostPast = 1000

// message takes a message for the room or for an occupant of it.
func (r *room) message(from, to addr, e *confab.Element) {
	s, o := r.rs.srv, r.of(from)
	x := e.Child(nsMUCUser, "x")
	switch typ := e.Get("type"); {
	case typ == "error":
		if o != nil {
			r.leave(o, nil, "307", "333")
		}
	case to.resource == "" && typ != "groupchat" && x.Child(nsMUCUser, "decline") != nil:
		d := x.Child(nsMUCUser, "decline")
		if who, err := parseAddr(d.Get("to")); err == nil {
			n := with(d).Set("to", "").Set("from", from.bare().String())
			r.send(who, r.addr, confab.El(nsClient, "message", confab.El(nsMUCUser, "x", n)))
		}
	case o == nil:
		s.bounce(e, "modify", "not-acceptable", "only occupants are heard")
	case typ == "groupchat" && to.resource != "":
		s.bounce(e, "modify", "bad-request", "")
	case typ == "groupchat":
		r.groupchat(o, from, e)
	case to.resource != "":
		r.private(o, to.resource, e)
	case x.Child(nsMUCUser, "invite") != nil:
		r.invite(o, e, x)
	case form.Find(e, nsMUC+"#request") != nil:
		r.voice(o, e)
	default:
		s.bounce(e, "modify", "bad-request", "")
	}
}

// stamped returns a message without what its sender cannot say, and with what the
// room says of it.
func (r *room) stamped(o *occupant, e *confab.Element) *confab.Element {
	e = with(e)
	e.Children = drop(e, func(k *confab.Element) bool {
		return k.Name.Space == nsOccupant || k.Is(nsSID, "stanza-id") && k.Get("by") == r.addr.String() || k.Is(nsDelay, "delay")
	})
	return e.Add(r.occupantID(o.bare))
}

func (r *room) groupchat(o *occupant, from addr, e *confab.Element) {
	s := r.rs.srv
	subject, body := e.Child(nsClient, "subject"), e.Child(nsClient, "body")
	switch {
	case subject != nil && body == nil:
		if o.role != "moderator" && (!r.is("changesubject") || o.role == "visitor") {
			s.bounce(e, "auth", "forbidden", "")
			return
		}
	case o.role == "visitor":
		s.bounce(e, "auth", "forbidden", "")
		return
	}
	worth := worthKeeping(e)
	e = r.stamped(o, e).Set("from", r.at(o.nick).String())
	id := newID()
	e.Add(confab.El(nsSID, "stanza-id").Set("by", r.addr.String()).Set("id", id))
	if subject != nil && body == nil {
		r.subject = delayed(e, r.addr, now())
		r.record(e, id)
	} else if worth {
		r.keep(past{e, id, now()})
	}
	r.everybody(e)
}

func (r *room) keep(p past) {
	if r.history = append(r.history, p); len(r.history) > mostPast {
		r.history = slices.Delete(r.history, 0, 1)
	}
	r.record(p.e, p.id)
}

// record puts a message into the room's archive (XEP-0313 §5).
func (r *room) record(e *confab.Element, id string) {
	if from, err := parseAddr(e.Get("from")); err == nil && r.rs.srv.cfg.has(Archives) {
		r.archive.add(id, from, e)
	}
}

// archiveIQ answers queries of the room's archive, of those who could enter.
func (r *room) archiveIQ(q *request) {
	aff := r.affiliation(q.from)
	switch {
	case aff == "outcast", r.is("membersonly") && aff == "none",
		r.get("roomsecret") != "" && aff == "none" && r.of(q.from) == nil:
		q.fail("auth", "forbidden", "")
	case q.payload.Name.Local == "query":
		r.archive.answer(q)
	case q.payload.Name.Local == "metadata" && q.typ == "get":
		q.result(r.archive.metadata())
	default:
		q.fail("cancel", "feature-not-implemented", "")
	}
}

// everybody sends a message, which has its from, to all.
func (r *room) everybody(e *confab.Element) {
	from, _ := parseAddr(e.Get("from"))
	for _, o := range r.all() {
		for _, c := range slices.Clone(o.clients) {
			r.send(c.addr, from, e)
		}
	}
}

// replay sends the history that a new occupant wants (XEP-0045 §7.2.14).
func (r *room) replay(to addr, want *confab.Element) {
	most, err := strconv.Atoi(r.get("historylength"))
	if err != nil {
		most = 20
	}
	if n, err := strconv.Atoi(want.Get("maxstanzas")); err == nil {
		most = min(most, max(n, 0))
	}
	if want.Get("maxchars") == "0" {
		most = 0
	}
	var since time.Time
	if t, err := time.Parse(time.RFC3339Nano, want.Get("since")); err == nil {
		since = t
	}
	if n, err := strconv.Atoi(want.Get("seconds")); err == nil {
		since = now().Add(-time.Duration(n) * time.Second)
	}
	for i, p := range r.history {
		if len(r.history)-i > most || p.at.Before(since) {
			continue
		}
		from, _ := parseAddr(p.e.Get("from"))
		r.send(to, from, delayed(p.e, r.addr, p.at))
	}
}

// private passes a message on to one occupant (XEP-0045 §7.5).
func (r *room) private(o *occupant, nick string, e *confab.Element) {
	to := r.occupants[nick]
	if to == nil {
		r.rs.srv.bounce(e, "cancel", "item-not-found", "")
		return
	}
	e = r.stamped(o, e)
	if e.Child(nsMUCUser, "x") == nil {
		e.Add(confab.El(nsMUCUser, "x"))
	}
	for _, c := range slices.Clone(to.clients) {
		r.send(c.addr, r.at(o.nick), e)
	}
}

// invite sends invitations on behalf of an occupant (XEP-0045 §7.8.2).
func (r *room) invite(o *occupant, e, x *confab.Element) {
	if r.is("membersonly") && o.role != "moderator" && !r.is("allowinvites") {
		r.rs.srv.bounce(e, "auth", "forbidden", "")
		return
	}
	for inv := range x.All(nsMUCUser, "invite") {
		who, err := parseAddr(inv.Get("to"))
		if err != nil || who.domain == "" {
			r.rs.srv.bounce(e, "modify", "jid-malformed", "")
			return
		}
		if r.is("membersonly") && r.affiliation(who) == "none" {
			r.setAffiliation(who.bare(), "member", "", confab.El(nsMUCUser, "item"))
		}
		out := confab.El(nsMUCUser, "x", with(inv).Set("to", "").Set("from", o.bare.String()))
		direct := confab.El(nsConference, "x").Set("jid", r.addr.String()).Set("reason", inv.ChildText(nsMUCUser, "reason"))
		if pw := r.get("roomsecret"); pw != "" {
			out.Add(confab.El(nsMUCUser, "password").SetText(pw))
			direct.Set("password", pw)
		}
		r.send(who, r.addr, confab.El(nsClient, "message", out, direct))
	}
}

// voice takes a visitor's request for voice, or a moderator's answer (XEP-0045
// §7.13 and §8.6).
func (r *room) voice(o *occupant, e *confab.Element) {
	f := form.Find(e, nsMUC+"#request")
	if f.Get("muc#roomnick") != "" {
		target := r.occupants[f.Get("muc#roomnick")]
		allow, _ := f.Bool("muc#request_allow")
		switch {
		case o.role != "moderator":
			r.rs.srv.bounce(e, "auth", "forbidden", "")
		case target != nil && allow && target.role == "visitor":
			target.role = "participant"
			r.announce(target, nil)
		}
		return
	}
	ask := form.New(form.Questions, nsMUC+"#request")
	ask.Fields = append(ask.Fields,
		form.Field{Var: "muc#role", Type: form.TextSingle, Values: []string{"participant"}},
		form.Field{Var: "muc#jid", Type: form.JIDSingle, Values: []string{o.clients[0].addr.String()}},
		form.Field{Var: "muc#roomnick", Type: form.TextSingle, Values: []string{o.nick}},
		form.Field{Var: "muc#request_allow", Type: form.Boolean, Values: []string{"0"}})
	for _, m := range r.all() {
		for _, c := range slices.Clone(m.clients) {
			if m.role == "moderator" {
				r.send(c.addr, r.addr, confab.El(nsClient, "message", ask.Element()).Set("id", newID()))
			}
		}
	}
}

// moderate takes a message out of the history and tells everybody (XEP-0425).
func (r *room) moderate(q *request) {
	o := r.of(q.from)
	if o == nil || o.role != "moderator" {
		q.fail("auth", "forbidden", "")
		return
	}
	id := q.payload.Get("id")
	i := slices.IndexFunc(r.history, func(p past) bool { return p.id == id })
	if i < 0 || q.payload.Child(nsRetract, "retract") == nil {
		q.fail("cancel", "item-not-found", "")
		return
	}
	said := func(name string) *confab.Element {
		m := confab.El(nsModerate, "moderated", r.occupantID(o.bare)).Set("by", r.at(o.nick).String())
		el := confab.El(nsRetract, name, m)
		if reason := q.payload.ChildText(nsModerate, "reason"); reason != "" {
			el.Add(confab.El(nsRetract, "reason").SetText(reason))
		}
		return el
	}
	p := &r.history[i]
	was := p.e
	p.e = with(was)
	p.e.Children = drop(was, func(k *confab.Element) bool { return k.Name.Space != nsOccupant && !k.Is(nsSID, "stanza-id") })
	p.e.Add(said("retracted").Set("stamp", now().UTC().Format(time.RFC3339)))
	r.archive.replace(id, p.e)
	fresh := newID()
	e := el("message", "groupchat", fresh, r.addr, addr{}, said("retract").Set("id", id),
		confab.El(nsSID, "stanza-id").Set("by", r.addr.String()).Set("id", fresh))
	r.keep(past{e, fresh, now()})
	r.everybody(e)
	q.result(nil)
}
