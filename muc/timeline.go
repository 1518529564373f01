package muc

import "github.com/confab-im/confab/chat"

// The events of a room that are a part of its conversation come to those of chat, so that
// a [chat.Timeline] and a store show rooms as they show chats.

// ChatEvent returns the event of package chat that this one comes to.
func (m *Message) ChatEvent() any { return &m.Message }

// ChatEvent returns the event of package chat that this one comes to.
func (e OwnMessage) ChatEvent() any { return chat.OwnMessage{Message: &e.Message.Message} }

// ChatEvent returns nil: what is said to one is no part of what is said to all.
func (e PrivateMessage) ChatEvent() any { return nil }

// ChatEvent returns the event of package chat that this one comes to.
func (e Edited) ChatEvent() any { return chat.Edited{Message: &e.Message.Message} }

// ChatEvent returns the event of package chat that this one comes to.
func (e Retracted) ChatEvent() any {
	return chat.Retracted{Message: &e.Message.Message, ID: e.ID, By: e.By}
}

// ChatEvent returns the event of package chat that this one comes to.
func (e Reacted) ChatEvent() any { return chat.Reacted{Message: &e.Message.Message} }
