package chat

import (
	"context"
	"errors"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// A Position is how far the user has read a chat or a room, on whichever device
// (XEP-0490). As an event it tells that another device has moved it.
type Position struct {
	// Chat is the bare address of the other one, or of the room.
	Chat jid.JID
	// By is the archive whose id it is: the own account's, or the room's.
	By jid.JID
	// ID is that of the last message that was read.
	ID string
}

// ChatEvent returns what a Position comes to in a conversation: that the user has read up
// to there. It is for [Event], and so for a [Timeline].
func (p Position) ChatEvent() any {
	return Displayed{Chat: p.Chat, From: p.By, Self: true, ID: p.ID}
}

// maxPositions bounds what Positions takes from the server.
const maxPositions = 10_000

// followPositions has the user hear of positions that other devices set.
func (c *Client) followPositions() {
	pubsub.Notify(c.s, nsDisplayed)
	pubsub.OnEvent(c.s, nsDisplayed, func(_ context.Context, e *pubsub.Event) bool {
		if !e.From.Equal(c.s.LocalAddr().Bare()) {
			return false
		}
		for _, it := range e.Items {
			if p, ok := c.position(it); ok {
				c.s.Emit(p)
			}
		}
		return true
	})
}

// position reads an item. Its ids are worth something only if they are of the own
// archive or of the room itself.
func (c *Client) position(it pubsub.Item) (Position, bool) {
	chat, err := jid.Parse(it.ID)
	if err != nil || !it.Payload.Is(nsDisplayed, "displayed") {
		return Position{}, false
	}
	sid := it.Payload.Child(nsSID, "stanza-id")
	by, err := jid.Parse(sid.Get("by"))
	if err != nil || id(sid.Get("id")) == "" {
		return Position{}, false
	}
	if own := c.s.LocalAddr().Bare(); !by.Equal(own) && !by.Equal(chat.Bare()) {
		return Position{}, false
	}
	return Position{Chat: chat.Bare(), By: by, ID: sid.Get("id")}, true
}

// Positions asks how far the user has read each chat. It is for the start: later
// changes come as events.
func (c *Client) Positions(ctx context.Context) ([]Position, error) {
	var all []Position
	for it, err := range pubsub.New(c.s, jid.JID{}).Items(ctx, nsDisplayed) {
		if errors.Is(err, pubsub.ErrNotFound) {
			return nil, nil // nothing was ever published
		}
		if err != nil {
			return all, err
		}
		if p, ok := c.position(it); ok {
			all = append(all, p)
		}
		if len(all) == maxPositions {
			break
		}
	}
	return all, nil
}

// SetPosition tells the user's other devices how far a chat or room was read.
// [Conversation.MarkDisplayed] does it for chats.
func (c *Client) SetPosition(ctx context.Context, p Position) error {
	if p.Chat.String() == "" || p.By.String() == "" || p.ID == "" {
		return errors.New("chat: a position needs a chat and an id of its archive")
	}
	cfg := pubsub.Private()
	cfg.MaxItems, cfg.SendLast = pubsub.Max, pubsub.Never
	_, err := pubsub.New(c.s, jid.JID{}).Publish(ctx, nsDisplayed, pubsub.Item{
		ID: p.Chat.Bare().String(),
		Payload: confab.El(nsDisplayed, "displayed",
			confab.El(nsSID, "stanza-id").Set("by", p.By.String()).Set("id", p.ID)),
	}, cfg)
	return err
}
