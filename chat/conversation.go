package chat

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Conversation is the chat with one other. It is a small value: make one with
// [Client.With] whenever it is needed.
type Conversation struct {
	c    *Client
	peer jid.JID
}

// With returns the chat with somebody, usually by the bare address: the message then
// goes to all of their clients. The own bare address is for notes to oneself.
func (c *Client) With(peer jid.JID) Conversation { return Conversation{c, peer} }

// Peer returns whom the chat is with.
func (v Conversation) Peer() jid.JID { return v.peer }

// Send says something. Unless Config says not to, it asks for a receipt and for a
// marker when it is displayed. The message is queued when Send returns, and goes out
// again after a lost link; follow it with the result. The event [OwnMessage] tells
// the rest of the program.
func (v Conversation) Send(ctx context.Context, text string, opts ...Option) (*confab.Sent, error) {
	return v.say(ctx, text, opts)
}

// Reply answers a message. Clients that do not know replies see it quoted.
func (v Conversation) Reply(ctx context.Context, to *Message, text string, opts ...Option) (*confab.Sent, error) {
	if to == nil {
		return nil, errors.New("chat: Reply needs a message")
	}
	return v.say(ctx, text, append([]Option{InReply(to.Ref(), to.From, to.Text)}, opts...))
}

// Edit puts a text in the place of that of an earlier message of the user, with this
// client or another (XEP-0308). It takes the id of the message, not of an earlier
// edit. Options are those of the new text, which inherits none. An edit has an id and
// receipts of its own.
func (v Conversation) Edit(ctx context.Context, id, text string, opts ...Option) (*confab.Sent, error) {
	return v.say(ctx, text, append([]Option{correcting(id)}, opts...))
}

func (v Conversation) say(ctx context.Context, text string, opts []Option) (*confab.Sent, error) {
	var quiet bool
	peek := func(c *composed) error { quiet = c.quiet; return nil }
	d, err := Compose(text, append(opts[:len(opts):len(opts)], peek)...)
	if err != nil {
		return nil, err
	}
	if text == "" && len(d.Extra) == 0 && d.Subject == "" {
		return nil, errors.New("chat: there is nothing to send")
	}
	if !quiet && !v.c.cfg.NoRequests {
		d.Extra = append(d.Extra, confab.El(nsReceipts, "request"), confab.El(nsMarkers, "markable"))
	}
	d.Extra = append(d.Extra, confab.El(nsStates, string(Active)))
	sent, err := v.send(ctx, d)
	if err == nil {
		v.c.setState(v.peer, Active)
	}
	return sent, err
}

// Retract takes a message of the user back (XEP-0424), by its id. Who has seen it has
// seen it; the reason, which may be "", is shown instead.
func (v Conversation) Retract(ctx context.Context, id, reason string) (*confab.Sent, error) {
	d, err := Retraction(id, reason)
	if err != nil {
		return nil, err
	}
	return v.send(ctx, d)
}

// React sets the user's reactions to a message, in the place of all earlier ones
// (XEP-0444); none takes them back. Ref is that of [Message.Ref].
func (v Conversation) React(ctx context.Context, ref string, emoji ...string) (*confab.Sent, error) {
	d, err := Reaction(ref, emoji...)
	if err != nil {
		return nil, err
	}
	return v.send(ctx, d)
}

// send sends a draft to the peer and tells the user.
func (v Conversation) send(ctx context.Context, d confab.Draft) (*confab.Sent, error) {
	c := v.c
	d.To, d.Type = v.peer, stanza.ChatMessage
	if d.ID == "" {
		d.ID = c.ids.Next()
	}
	d.Extra = append(d.Extra, confab.El(nsSID, "origin-id").Set("id", d.ID))
	el, err := d.Element()
	if err != nil {
		return nil, err
	}
	own := c.s.LocalAddr()
	el.Set("from", own.String())
	m, err := c.s.DecodeMessage(el)
	if err != nil {
		return nil, err
	}
	cm := &Message{Message: m, Content: Parse(m), Chat: v.peer.Bare(), Author: own.Bare().String(), Self: true}
	cm.WantsReceipt = false
	c.isCopy(cm) // its carbons and archived copies are
	if cm.Sent, err = c.s.SendMessage(ctx, d); err != nil {
		return nil, err
	}
	m.Seal = cm.Sent.Seal
	c.signal(cm)
	return cm.Sent, nil
}

// State tells what the user is doing (XEP-0085): [Composing] at the first key,
// [Paused] when nothing was typed for a while. Sending a message sets it to [Active].
// Saying the same again costs nothing.
func (v Conversation) State(ctx context.Context, s State) error {
	d, err := StateDraft(s)
	if err != nil {
		return err
	}
	if v.c.saysAlready(v.peer, s) {
		return nil
	}
	d.To, d.ID = v.peer, v.c.ids.Next()
	if _, err = v.c.s.SendMessage(ctx, d); err == nil {
		v.c.setState(v.peer, s)
	}
	return err
}

func (c *Client) saysAlready(peer jid.JID, s State) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states.has(peer.String() + "\x00" + string(s))
}

// setState remembers what the peer was told.
func (c *Client) setState(peer jid.JID, s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range []State{Active, Composing, Paused, Inactive, Gone} {
		c.states.drop(peer.String() + "\x00" + string(st))
	}
	c.states.add(peer.String() + "\x00" + string(s))
}

// MarkDisplayed says that the user has seen a message, and all before it: to the
// author, if they asked for it and may know (XEP-0333), and to the user's other
// devices (XEP-0490). The latter needs an archive, without which messages have no
// ServerID.
func (v Conversation) MarkDisplayed(ctx context.Context, m *Message) error {
	if m == nil || m.Self {
		return errors.New("chat: MarkDisplayed needs a message of somebody else")
	}
	if !m.Chat.Equal(v.peer.Bare()) {
		return fmt.Errorf("chat: the message is of the chat with %s, not with %s", m.Chat, v.peer.Bare())
	}
	if m.Markable && m.ID != "" && v.c.mayKnow(m.Chat) {
		_, err := v.c.s.SendMessage(ctx, confab.Draft{To: v.peer, ID: v.c.ids.Next(), Extra: []any{
			confab.El(nsMarkers, "displayed").Set("id", m.ID), confab.El(nsHints, string(Store)),
		}})
		if err != nil {
			return err
		}
	}
	v.c.s.Emit(Displayed{Chat: v.peer.Bare(), From: v.c.s.LocalAddr(), Self: true, ID: m.Ref()})
	if m.ServerID == "" {
		return nil
	}
	return v.c.SetPosition(ctx, Position{Chat: v.peer.Bare(), By: v.c.s.LocalAddr().Bare(), ID: m.ServerID})
}
