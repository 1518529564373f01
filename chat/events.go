package chat

import (
	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// A Message is something that was said. As an event, *Message is what somebody else
// has said; what the user has said, here or on another device, is an [OwnMessage],
// so that a program which answers every Message does not answer itself.
type Message struct {
	*confab.Message
	Content
	// Chat is the conversation: the bare address of the other one, or of the room.
	Chat jid.JID
	// Author is who said it: the bare address in a chat, in a room what the room
	// knows the occupant by. Two messages of one conversation whose Author is
	// equal are from the same person; edits and retractions count only then.
	Author string
	// Self says that the user has said it.
	Self bool
	// ServerID is the id under which the archive of the account, or of the room,
	// keeps it; "" if not known (XEP-0359).
	ServerID string
	// Sent follows a message that this client has sent; nil for others.
	Sent *confab.Sent
}

// Ref returns the id by which replies, reactions and markers refer to the message,
// "" if there is none.
func (m *Message) Ref() string {
	if o := id(m.OriginID()); o != "" {
		return o
	}
	return id(m.ID)
}

type (
	// OwnMessage is the event for what the user has said: with this client, which
	// then has Sent set, or with another one (XEP-0280).
	OwnMessage struct{ *Message }
	// Edited is the event for a correction: the text of the message Replaces is now
	// that of this one (XEP-0308). Whether that is a message of the same Author, and
	// whether this correction is the last, is for who keeps the messages to see,
	// such as a [Timeline].
	Edited struct{ *Message }
	// Retracted is the event for a message that was taken back (XEP-0424), or for
	// the tombstone that an archive kept of one.
	Retracted struct {
		*Message
		// ID is that of the message that was taken back.
		ID string
		// By is who did it, if it was not the author but a moderator (XEP-0425).
		By string
	}
	// Reacted is the event for somebody's reactions to a message, which replace the
	// earlier ones of the same Author (XEP-0444).
	Reacted struct{ *Message }
	// Receipt is the event for a message that has arrived at a client of its
	// recipient (XEP-0184).
	Receipt struct {
		Chat, From jid.JID
		ID         string
		Sent       *confab.Sent // nil if this client has not sent it, or not lately
	}
	// Displayed is the event for a message, and all before it, that was displayed
	// (XEP-0333): by the other one, or by the user on another device if Self is set.
	Displayed struct {
		Chat, From jid.JID
		Self       bool
		ID         string
		Sent       *confab.Sent
	}
	// Typing is the event for a change of what somebody is doing in a chat
	// (XEP-0085).
	Typing struct {
		Chat, From jid.JID
		State      State
	}
)
