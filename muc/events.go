package muc

import (
	"fmt"
	"time"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
)

// Status says whether the user is in a room.
type Status uint8

// The statuses.
const (
	// Joining: the first attempt is under way.
	Joining Status = iota
	// Joined: the user is there.
	Joined
	// Suspect: the user may be there or not; it is being found out.
	Suspect
	// Rejoining: the room has lost the user, who is about to enter again. It is told
	// once more if the room goes on refusing that, with the reason, such as
	// [ErrNickTaken].
	Rejoining
	// Out: the user is not there and will not enter again by itself.
	Out
)

// String returns the name of the constant.
func (s Status) String() string {
	names := [...]string{"Joining", "Joined", "Suspect", "Rejoining", "Out"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("Status(%d)", s)
}

// State is the event for a room whose [Status] has changed. After Joined, the
// occupants are those of Room.Occupants: nothing is told of what each of them did
// before.
type State struct {
	Room   *Room
	Status Status
	// Err says why, for all but Joined: an [*Error] or an error of the link.
	Err error
}

// A ChangeKind says what has become of an occupant.
type ChangeKind uint8

// The kinds of changes.
const (
	// Entered the room.
	Entered ChangeKind = iota
	// Changed role, affiliation, presence, hats or picture.
	Changed
	// Renamed: has another nickname.
	Renamed
	// Gone: left the room, or was lost.
	Gone
	// Kicked was thrown out.
	Kicked
	// Banned may not come back.
	Banned
	// Removed because only members may be there.
	Removed
)

// String returns the name of the constant.
func (k ChangeKind) String() string {
	names := [...]string{"Entered", "Changed", "Renamed", "Gone", "Kicked", "Banned", "Removed"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("ChangeKind(%d)", k)
}

// Change is the event for an occupant who comes, goes or changes while the user is in
// the room.
type Change struct {
	Room *Room
	Kind ChangeKind
	// Occupant is as it is now, or was last. Before is what it was, for Changed and
	// Renamed.
	Occupant, Before Occupant
	// Self says that it is the user.
	Self bool
	// By is the nickname of who did it, Reason why, if that was told.
	By, Reason string
}

// A Message is something that was said in a room. As an event, *Message is what
// others have said; what the user has said is an [OwnMessage], and what one occupant
// says to the user alone a [PrivateMessage].
//
// Author is the OccupantID, where the room has such, or else the address of the
// occupant with a mark that changes when somebody else takes the nickname. ServerID
// is the room's id of the message.
type Message struct {
	chat.Message
	Room *Room
	// Nick is the nickname of who said it; "" for the room itself.
	Nick string
	// OccupantID is what the room knows the author by, whatever the nickname
	// (XEP-0421); "" if it has no such ids.
	OccupantID string
}

// Ref returns the id by which replies, reactions and retractions refer to the message:
// the one that the room gave it, or "" if it gives none.
func (m *Message) Ref() string { return m.ServerID }

type (
	// OwnMessage is the event for what the user has said, when the room has sent it
	// to everybody. Sent is set if this client has sent it.
	OwnMessage struct{ *Message }
	// PrivateMessage is the event for what an occupant says to the user alone, or,
	// with Self, what the user has said to one with another client.
	PrivateMessage struct{ *Message }
	// Edited is the event for a correction; see [chat.Edited].
	Edited struct{ *Message }
	// Retracted is the event for a message that was taken back: ID is that which the
	// room gave it, or its own.
	Retracted struct {
		*Message
		ID string
		// By is the moderator, if it was not the author (XEP-0425): the address in
		// the room.
		By string
	}
	// Reacted is the event for reactions to a message, which replace the earlier ones
	// of the same Author.
	Reacted struct{ *Message }
	// Displayed is the event for an occupant who has seen a message and all before it
	// (XEP-0333).
	Displayed struct {
		Room             *Room
		Nick, OccupantID string
		ID               string
	}
	// Typing is the event for a change of what an occupant is doing (XEP-0085).
	Typing struct {
		Room  *Room
		Nick  string
		State chat.State
	}
	// Subject is what a room is about, and the event for its change.
	Subject struct {
		Room *Room
		Text string
		// Nick is who has set it, "" if not told, and At when, if it was before the
		// user entered.
		Nick string
		At   time.Time
	}
	// Reconfigured is the event for a room whose settings, or picture, have changed.
	// Codes are the room's (XEP-0045 §10.2.1): 170 and 171 for the log, 172 and 173
	// for who sees addresses, 104 for anything else.
	Reconfigured struct {
		Room  *Room
		Codes []int
	}
	// Listed is the event for somebody who is not there and has become a member, an
	// admin and so on (XEP-0045 §9.3); of those who are there a [Change] tells. Rooms
	// need not tell everybody. By is the nickname of who did it, if that was told.
	Listed struct {
		Room *Room
		Affiliated
		By string
	}
	// Mentioned is the event for a message that names the user in a room where they
	// are not (XEP-0452).
	Mentioned struct {
		Room jid.JID
		// Message is what was said. Its Room is nil.
		Message *Message
	}
	// Declined is the event for an invitation that was turned down.
	Declined struct {
		Room, From jid.JID
		Reason     string
	}
	// VoiceRequest is the event for a visitor who wants to speak; moderators get it.
	// Answer it with [Room.AnswerVoice].
	VoiceRequest struct {
		Room *Room
		Nick string
		JID  jid.JID
		form *form.Form
	}
)

// Invitation is the event for an invitation into a room.
type Invitation struct {
	Room jid.JID
	// From is who invites. If the invitation is not Direct, that is what the room
	// says, and the room may be anybody's.
	From     jid.JID
	Reason   string
	Password string
	// Direct says that it came from the other one, not from the room (XEP-0249).
	Direct bool
	// At is when it was sent.
	At time.Time
	// Continue says that the room goes on with a chat, in Thread if not "".
	Continue bool
	Thread   string
}
