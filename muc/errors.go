package muc

import (
	"errors"
	"fmt"
	"strings"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Why a room cannot be entered, or was left. They come inside an [*Error].
var (
	// ErrNickTaken says that somebody else has the nickname.
	ErrNickTaken = errors.New("the nickname is taken")
	// ErrNickLocked says that the room lets its users have only nicknames that they
	// have registered.
	ErrNickLocked = errors.New("the room does not let this nickname be used")
	// ErrMembersOnly says that only members may enter.
	ErrMembersOnly = errors.New("only members may enter")
	// ErrPassword says that the password is missing or wrong.
	ErrPassword = errors.New("the password is missing or wrong")
	// ErrBanned says that the account may not enter.
	ErrBanned = errors.New("the account is banned")
	// ErrRoomLocked says that the room does not exist yet: who makes it has not
	// finished, or nobody may make it.
	ErrRoomLocked = errors.New("the room does not exist yet, or is locked")
	// ErrMaxUsers says that the room is full.
	ErrMaxUsers = errors.New("the room is full")
	// ErrNotAllowed says that the account may not make rooms there.
	ErrNotAllowed = errors.New("the service does not let this account make the room")
	// ErrNoRoom says that there is no such room, or no more.
	ErrNoRoom = errors.New("there is no such room")
	// ErrUnreachable says that the room's server cannot be reached.
	ErrUnreachable = errors.New("the room's server cannot be reached")

	// ErrKicked says that a moderator has thrown the user out.
	ErrKicked = errors.New("thrown out by a moderator")
	// ErrDestroyed says that the room was destroyed.
	ErrDestroyed = errors.New("the room was destroyed")
	// ErrLeft says that the program has left the room.
	ErrLeft = errors.New("left")
	// ErrForgotten says that the room does not know the user any more, though
	// nobody has thrown them out: its server was restarted or could not be reached.
	ErrForgotten = errors.New("the room has lost the user")
)

// An Error says what went wrong with a room. It wraps one of the errors of this
// package, and the [stanza.Error] if the room sent one.
type Error struct {
	Room jid.JID
	// Kind is one of the errors of this package, or nil if none fits.
	Kind error
	// Cause is the answer of the room, or another error, if there is one.
	Cause error
	// Reason is what was said in words, By the nickname of who did it.
	Reason, By string
	// Alternate is the room to go to instead of one that was destroyed, if not zero.
	Alternate jid.JID
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "muc: %s", e.Room)
	if e.Kind != nil {
		fmt.Fprintf(&b, ": %v", e.Kind)
	}
	if e.By != "" {
		fmt.Fprintf(&b, " by %s", e.By)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	return b.String()
}

// Unwrap returns Kind and Cause.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

// refusal is what an error presence says of an attempt to enter (XEP-0045 §7.2).
func refusal(room jid.JID, se *stanza.Error) *Error {
	e := &Error{Room: room, Cause: *se}
	switch se.Condition {
	case stanza.Conflict:
		e.Kind = ErrNickTaken
	case stanza.NotAcceptable:
		e.Kind = ErrNickLocked
	case stanza.RegistrationRequired:
		e.Kind = ErrMembersOnly
	case stanza.NotAuthorized:
		e.Kind = ErrPassword
	case stanza.Forbidden:
		e.Kind = ErrBanned
	case stanza.ItemNotFound:
		e.Kind = ErrRoomLocked
	case stanza.ServiceUnavailable:
		// A room that is full says that it is a matter of time (XEP-0045 §7.2.9). So
		// does a server whose rooms are down: it says so in words.
		e.Kind = ErrMaxUsers
		if se.Type == stanza.Cancel || saysDown(se) {
			e.Kind = ErrUnreachable
		}
	case stanza.ResourceConstraint:
		e.Kind = ErrMaxUsers
	case stanza.NotAllowed:
		e.Kind = ErrNotAllowed
	case stanza.Gone:
		e.Kind = ErrNoRoom
	case stanza.RemoteServerNotFound, stanza.RemoteServerTimeout:
		e.Kind = ErrUnreachable
	}
	return e
}

// saysDown reports whether an error's text is that of Prosody for a component that is
// not connected.
func saysDown(se *stanza.Error) bool {
	for _, text := range se.Text {
		if strings.Contains(strings.ToLower(text), "component unavailable") {
			return true
		}
	}
	return false
}

// final reports whether there is no use in trying again.
func final(err error) bool {
	for _, kind := range []error{ErrBanned, ErrMembersOnly, ErrPassword, ErrNoRoom, ErrNotAllowed, ErrNickLocked} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
