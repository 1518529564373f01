package muc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Send says something to everybody. While the room is being entered again, Send waits.
// The message is queued when it returns; the result rises to [confab.Reflected] when
// the room has sent it to everybody, and [OwnMessage] tells the rest of the program.
func (r *Room) Send(ctx context.Context, text string, opts ...chat.Option) (*confab.Sent, error) {
	d, err := chat.Compose(text, opts...)
	if err != nil {
		return nil, err
	}
	if text == "" && len(d.Extra) == 0 {
		return nil, errors.New("muc: there is nothing to send")
	}
	return r.send(ctx, d)
}

// Reply answers a message of the room. Those whose clients do not know replies see it
// quoted. A room that gives its messages no ids does not let them be answered.
func (r *Room) Reply(ctx context.Context, to *Message, text string, opts ...chat.Option) (*confab.Sent, error) {
	if to == nil || to.Ref() == "" {
		return nil, errors.New("muc: only a message that the room has given an id can be answered")
	}
	return r.Send(ctx, text, append([]chat.Option{chat.InReply(to.Ref(), to.From, to.Text)}, opts...)...)
}

// Edit puts a text in the place of that of an earlier message of the user, by the
// message's own id (XEP-0308), that of [confab.Sent] or of Message.ID.
func (r *Room) Edit(ctx context.Context, id, text string, opts ...chat.Option) (*confab.Sent, error) {
	d, err := chat.Correction(id, text, opts...)
	if err != nil {
		return nil, err
	}
	return r.send(ctx, d)
}

// Retract takes a message of the user back, by the id that the room gave it: see
// [Message.Ref] (XEP-0424).
func (r *Room) Retract(ctx context.Context, ref, reason string) (*confab.Sent, error) {
	d, err := chat.Retraction(ref, reason)
	if err != nil {
		return nil, err
	}
	return r.send(ctx, d)
}

// React sets the user's reactions to a message, by the id that the room gave it, in the
// place of all earlier ones (XEP-0444).
func (r *Room) React(ctx context.Context, ref string, emoji ...string) (*confab.Sent, error) {
	d, err := chat.Reaction(ref, emoji...)
	if err != nil {
		return nil, err
	}
	return r.send(ctx, d)
}

// State tells what the user is doing (XEP-0085), such as [chat.Composing].
func (r *Room) State(ctx context.Context, s chat.State) error {
	d, err := chat.StateDraft(s)
	if err != nil {
		return err
	}
	_, err = r.send(ctx, d)
	return err
}

// SendDraft says anything to everybody: To and Type of the draft are set.
func (r *Room) SendDraft(ctx context.Context, d confab.Draft) (*confab.Sent, error) {
	return r.send(ctx, d)
}

func (r *Room) send(ctx context.Context, d confab.Draft) (*confab.Sent, error) {
	if err := r.joined(ctx); err != nil {
		return nil, err
	}
	d.To, d.Type = r.jid, stanza.GroupChatMessage
	if d.ID == "" {
		d.ID = r.c.ids.Next()
	}
	d.Extra = append(d.Extra[:len(d.Extra):len(d.Extra)], confab.El(nsSID, "origin-id").Set("id", d.ID))
	return r.c.s.SendMessage(ctx, d)
}

// SendPrivate says something to one occupant alone (XEP-0045 §7.5).
func (r *Room) SendPrivate(ctx context.Context, nick, text string, opts ...chat.Option) (*confab.Sent, error) {
	d, err := chat.Compose(text, opts...)
	if err != nil {
		return nil, err
	}
	if d.To, err = r.of(nick); err != nil {
		return nil, err
	}
	if err := r.joined(ctx); err != nil {
		return nil, err
	}
	d.Type, d.ID = stanza.ChatMessage, r.c.ids.Next()
	d.Extra = append(d.Extra[:len(d.Extra):len(d.Extra)], confab.El(nsUser, "x"), confab.El(nsSID, "origin-id").Set("id", d.ID))
	return r.c.s.SendMessage(ctx, d)
}

// SetSubject says what the room is about; "" takes it back. The event [Subject] tells
// that it is so. Who may not do it hears of it by [confab.SendFailed], or the result.
func (r *Room) SetSubject(ctx context.Context, text string) (*confab.Sent, error) {
	if err := r.joined(ctx); err != nil {
		return nil, err
	}
	d := confab.Draft{ID: confab.NewID(), To: r.jid, Type: stanza.GroupChatMessage, Subject: text, SetSubject: true}
	r.mu.Lock()
	if r.topics = append(r.topics, topic{d.ID, text}); len(r.topics) > maxTopics {
		r.topics = r.topics[1:]
	}
	r.mu.Unlock()
	return r.c.s.SendMessage(ctx, d)
}

// topic is a subject that the user has set and that the room has not told yet.
type topic struct{ id, text string }

// maxTopics is how many of those are remembered.
const maxTopics = 8

// settled tells the tracker of a subject that the room has told everybody. Prosody makes
// a message of its own of it, without the id. The lock is held.
func (r *Room) settled(m *confab.Message) {
	for i, t := range r.topics {
		if t.id == m.ID || m.ID == "" && t.text == m.Subject {
			r.topics = append([]topic(nil), r.topics[i+1:]...)
			if s := r.c.s.Sent(t.id); s != nil && s.To.Equal(r.jid) {
				s.Advance(confab.Reflected)
			}
			return
		}
	}
}

// Moderate takes a message of anybody back for everybody, by the id that the room gave
// it (XEP-0425). It is for moderators. The event [Retracted], with By, tells all.
func (r *Room) Moderate(ctx context.Context, ref, reason string) error {
	if ref == "" {
		return errors.New("muc: a message without an id cannot be taken back")
	}
	el := confab.El(nsModerate, "moderate", confab.El(nsRetract, "retract")).Set("id", ref)
	if reason != "" {
		el.Add(confab.El(nsModerate, "reason").SetText(reason))
	}
	return r.do(ctx, stanza.SetIQ, el, nil)
}

// do asks the room.
func (r *Room) do(ctx context.Context, typ stanza.IQType, payload, answer *confab.Element) error {
	var v any
	if answer != nil {
		v = answer
	}
	if err := confab.Do(ctx, r.c.s, stanza.IQ{Type: typ, To: r.jid}, payload, v); err != nil {
		return fmt.Errorf("muc: %s: %w", r.key, err)
	}
	return nil
}

// Invite has the room invite somebody (XEP-0045 §7.8). In rooms for members only, most
// make them a member by it.
func (r *Room) Invite(ctx context.Context, to jid.JID, reason string) error {
	inv := confab.El(nsUser, "invite").Set("to", to.String())
	if reason != "" {
		inv.Add(confab.El(nsUser, "reason").SetText(reason))
	}
	if err := r.joined(ctx); err != nil {
		return err
	}
	if to.String() == "" {
		return errors.New("muc: an invitation is for somebody")
	}
	_, err := r.c.s.SendMessage(ctx, confab.Draft{To: r.jid, Type: stanza.NormalMessage, Extra: []any{confab.El(nsUser, "x", inv)}})
	return err
}

// InviteDirect invites somebody without the room's help, with the password that the
// user has entered with (XEP-0249). It does not make anybody a member.
func (r *Room) InviteDirect(ctx context.Context, to jid.JID, reason string) error {
	_, err := r.c.s.SendMessage(ctx, confab.Draft{To: to, Type: stanza.NormalMessage, Extra: []any{
		confab.El(nsConference, "x").Set("jid", r.key).Set("reason", reason).Set("password", r.opts.password),
	}})
	return err
}

// Decline turns an invitation down. Who has invited directly is not told.
func (c *Client) Decline(ctx context.Context, inv Invitation, reason string) error {
	if inv.Direct {
		return nil
	}
	d := confab.El(nsUser, "decline").Set("to", inv.From.String())
	if reason != "" {
		d.Add(confab.El(nsUser, "reason").SetText(reason))
	}
	_, err := c.s.SendMessage(ctx, confab.Draft{To: inv.Room, Type: stanza.NormalMessage, Extra: []any{confab.El(nsUser, "x", d)}})
	return err
}

// mediated reads what a room has to do with invitations, and reports whether that is
// what it was.
func (c *Client) mediated(m *confab.Message, x *confab.Element) bool {
	if m.From.Localpart() == "" || m.From.Resourcepart() != "" { // an account's client, say
		return false
	}
	parse := func(s string) jid.JID {
		j, err := jid.Parse(s)
		if err != nil {
			return jid.JID{}
		}
		return j
	}
	if d := x.Child(nsUser, "decline"); d != nil {
		c.s.Emit(Declined{Room: m.From.Bare(), From: parse(d.Get("from")), Reason: strings.TrimSpace(d.ChildText(nsUser, "reason"))})
		return true
	}
	inv := x.Child(nsUser, "invite")
	if inv == nil {
		return false
	}
	e := Invitation{
		Room: m.From.Bare(), At: m.When(), From: parse(inv.Get("from")), Reason: strings.TrimSpace(inv.ChildText(nsUser, "reason")),
		Password: x.ChildText(nsUser, "password"),
	}
	if cont := inv.Child(nsUser, "continue"); cont != nil {
		e.Continue, e.Thread = true, cont.Get("thread")
	}
	c.s.Emit(e)
	return true
}

// direct reads an invitation that somebody has sent by themselves (XEP-0249).
func (c *Client) direct(m *confab.Message, x *confab.Element) {
	room, err := jid.Parse(x.Get("jid"))
	if err != nil || room.Localpart() == "" {
		return
	}
	c.s.Emit(Invitation{
		Room: room.Bare(), From: m.From, At: m.When(), Direct: true, Reason: x.Get("reason"), Password: x.Get("password"),
		Continue: x.Get("continue") == "true" || x.Get("continue") == "1", Thread: x.Get("thread"),
	})
}
