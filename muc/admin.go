package muc

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// An Affiliated is somebody on a list of a room.
type Affiliated struct {
	JID         jid.JID
	Affiliation Affiliation
	// Nick is the nickname that they have registered, if told, and Reason why they
	// are on the list.
	Nick, Reason string
}

// maxListed bounds the lists that are read.
const maxListed = 100_000

// Affiliations reads a list of the room (XEP-0045 §9.2 and others). Addresses that
// cannot be are left out. An error is the last that is yielded.
func (r *Room) Affiliations(ctx context.Context, a Affiliation) iter.Seq2[Affiliated, error] {
	return func(yield func(Affiliated, error) bool) {
		var q confab.Element
		err := r.do(ctx, stanza.GetIQ, confab.El(nsAdmin, "query", confab.El(nsAdmin, "item").Set("affiliation", string(a))), &q)
		if err != nil {
			yield(Affiliated{}, err)
			return
		}
		n := 0
		for it := range q.All(nsAdmin, "item") {
			j, err := jid.Parse(it.Get("jid"))
			if err != nil || j.String() == "" {
				continue
			}
			if n++; n > maxListed {
				yield(Affiliated{}, fmt.Errorf("muc: %s: the list is unreasonably long", r.key))
				return
			}
			v := Affiliated{JID: j, Affiliation: affiliationOf(it.Get("affiliation")), Nick: it.Get("nick"), Reason: it.ChildText(nsAdmin, "reason")}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// SetAffiliation makes somebody, by their bare address, a member, an admin and so on
// (XEP-0045 §§9 and 10).
func (r *Room) SetAffiliation(ctx context.Context, who jid.JID, a Affiliation, reason string) error {
	switch a {
	case Outcast, NoAffiliation, Member, Admin, Owner:
	default:
		return fmt.Errorf("muc: there is no affiliation %q", a)
	}
	if who.String() == "" {
		return errors.New("muc: an affiliation is somebody's")
	}
	err := r.admin(ctx, confab.El(nsAdmin, "item").Set("jid", who.Bare().String()).Set("affiliation", string(a)), reason)
	r.mu.Lock()
	if err == nil && r.lists.version != "" && !r.lists.set(Affiliated{JID: who.Bare(), Affiliation: a}) {
		r.lists = lists{}
	}
	r.membersAt = time.Time{} // who is asked for the members next hears of it
	r.mu.Unlock()
	return err
}

// SetRole gives an occupant another role until they leave (XEP-0045 §§8 and 9.6):
// Participant grants voice, Visitor takes it away, Moderator makes a moderator.
func (r *Room) SetRole(ctx context.Context, nick string, role Role, reason string) error {
	switch role {
	case NoRole, Visitor, Participant, Moderator:
	default:
		return fmt.Errorf("muc: there is no role %q", role)
	}
	if _, err := r.of(nick); err != nil {
		return err
	}
	return r.admin(ctx, confab.El(nsAdmin, "item").Set("nick", nick).Set("role", string(role)), reason)
}

func (r *Room) admin(ctx context.Context, item *confab.Element, reason string) error {
	if reason != "" {
		item.Add(confab.El(nsAdmin, "reason").SetText(reason))
	}
	return r.do(ctx, stanza.SetIQ, confab.El(nsAdmin, "query", item), nil)
}

// Kick throws an occupant out. They may come back.
func (r *Room) Kick(ctx context.Context, nick, reason string) error {
	return r.SetRole(ctx, nick, NoRole, reason)
}

// Ban throws an account out for good.
func (r *Room) Ban(ctx context.Context, who jid.JID, reason string) error {
	return r.SetAffiliation(ctx, who, Outcast, reason)
}

// Unban lets an account come back.
func (r *Room) Unban(ctx context.Context, who jid.JID) error {
	return r.SetAffiliation(ctx, who, NoAffiliation, "")
}

// Destroy destroys the room. Its occupants are told the reason, which may be "", and
// where to go instead, if alternate is not zero (XEP-0045 §10.9).
func (r *Room) Destroy(ctx context.Context, reason string, alternate jid.JID) error {
	d := confab.El(nsOwner, "destroy").Set("jid", alternate.String())
	if reason != "" {
		d.Add(confab.El(nsOwner, "reason").SetText(reason))
	}
	return r.do(ctx, stanza.SetIQ, confab.El(nsOwner, "query", d), nil)
}

// RequestVoice asks the moderators to let the user speak (XEP-0045 §7.13). What comes
// of it is a [Change] of the user's role.
func (r *Room) RequestVoice(ctx context.Context) error {
	if err := r.joined(ctx); err != nil {
		return err
	}
	f := form.New(form.Answers, nsRequest)
	f.Fields = append(f.Fields, form.Field{Var: "muc#role", Type: form.ListSingle, Values: []string{string(Participant)}})
	_, err := r.c.s.SendMessage(ctx, confab.Draft{To: r.jid, Type: stanza.NormalMessage, Extra: []any{f.Element()}})
	return err
}

// AnswerVoice answers a visitor who wants to speak (XEP-0045 §8.6).
func (r *Room) AnswerVoice(ctx context.Context, v VoiceRequest, allow bool) error {
	if v.form == nil || v.Room != r {
		return errors.New("muc: this is no request of the room")
	}
	f := answersTo(v.form)
	f.SetBool("muc#request_allow", allow)
	_, err := r.c.s.SendMessage(ctx, confab.Draft{To: r.jid, Type: stanza.NormalMessage, Extra: []any{f.Element()}})
	return err
}

// RegisteredNick returns the nickname that the user has registered in the room, or ""
// (XEP-0045 §7.10).
func (r *Room) RegisteredNick(ctx context.Context) (string, error) {
	var q confab.Element
	if err := r.do(ctx, stanza.GetIQ, confab.El(nsRegister, "query"), &q); err != nil {
		return "", err
	}
	if q.Child(nsRegister, "registered") == nil {
		return "", nil
	}
	if n := q.ChildText(nsRegister, "username"); n != "" {
		return n, nil
	}
	return form.Find(&q, nsRegisterMU).Get("muc#register_roomnick"), nil
}

// RegisterNick registers a nickname, which nobody else may use then. More sets further
// fields of the room's form, if it wants more; it may be nil.
func (r *Room) RegisterNick(ctx context.Context, nick string, more func(*form.Form)) error {
	if _, err := r.at(nick); err != nil {
		return err
	}
	var q confab.Element
	if err := r.do(ctx, stanza.GetIQ, confab.El(nsRegister, "query"), &q); err != nil {
		return err
	}
	f := form.New(form.Answers, nsRegisterMU)
	if got := form.Find(&q, ""); got != nil {
		f = answersTo(got)
	}
	f.Set("muc#register_roomnick", nick)
	if more != nil {
		more(f)
	}
	return r.do(ctx, stanza.SetIQ, confab.El(nsRegister, "query", f.Element()), nil)
}

// UnregisterNick gives the registered nickname back, and with it the membership.
func (r *Room) UnregisterNick(ctx context.Context) error {
	return r.do(ctx, stanza.SetIQ, confab.El(nsRegister, "query", confab.El(nsRegister, "remove")), nil)
}

// answersTo makes the answer to a form with the values that it has: also those of
// fields that are not known here.
func answersTo(f *form.Form) *form.Form {
	a := &form.Form{Type: form.Answers}
	for _, fd := range f.Fields {
		if fd.Type != form.Fixed && fd.Var != "" {
			a.Fields = append(a.Fields, form.Field{Var: fd.Var, Type: fd.Type, Values: append([]string(nil), fd.Values...)})
		}
	}
	return a
}
