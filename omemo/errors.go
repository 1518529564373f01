package omemo

import (
	"errors"
	"fmt"
	"strings"

	"mellium.im/xmpp/jid"
)

// Reasons why something cannot be encrypted or read, beside those of package ratchet,
// which are about one session: ratchet.ErrDuplicate, ratchet.ErrMAC and others.
var (
	// ErrNoDevices says that somebody has no device that a message can be encrypted
	// for: they have published none, or none that is trusted and whole. The message
	// was not sent. An [*UnreachableError] tells more.
	ErrNoDevices = errors.New("omemo: there is no device to encrypt for")
	// ErrUntrusted says that a device has a key that the user has not decided to
	// trust, or has decided not to. Compare fingerprints and call SetTrust.
	ErrUntrusted = errors.New("omemo: the key of the device is not trusted")
	// ErrBundle says that what a device has published of its keys is missing or bad.
	ErrBundle = errors.New("omemo: the device has published no good keys")
	// ErrOptedOut says that somebody has asked not to be written to with encryption
	// any more (XEP-0384 §5.9). Nothing is sent until the user decides: SetMode.
	ErrOptedOut = errors.New("omemo: the other side has opted out of encryption")
	// ErrOnlyText says that a message has content that version 1 of OMEMO cannot
	// encrypt, which is all but text, and that all recipients know only that.
	ErrOnlyText = errors.New("omemo: the recipients' clients can only read encrypted text, and this is none")
	// ErrOnlyV1 says that a device is in the list of version 1 alone, and Config.OnlyV2 set.
	ErrOnlyV1 = errors.New("omemo: the device knows only version 1, or the server hides that it knows more")
	// ErrNoRooms says that Config.Rooms is missing, without which nobody knows whom
	// to encrypt for in a room.
	ErrNoRooms = errors.New("omemo: to encrypt in rooms, set Config.Rooms")
	// ErrAnonymous says that a room hides the addresses of its occupants, so that
	// nobody can encrypt for them.
	ErrAnonymous = errors.New("omemo: the room does not tell who its occupants are")

	// ErrMalformed says that an encrypted message makes no sense.
	ErrMalformed = errors.New("omemo: malformed")
	// ErrNotForThisDevice says that a message was encrypted for other devices only:
	// its sender does not know this one yet, or does not trust it.
	ErrNotForThisDevice = errors.New("omemo: the message was not encrypted for this device")
	// ErrUnknownSender says that nobody knows which account a message of a room is
	// from.
	ErrUnknownSender = errors.New("omemo: the room does not tell who has sent this")
	// ErrContent says that a message was authentic, but what was in it is not in
	// order: an envelope for somebody else, or no XML.
	ErrContent = errors.New("omemo: the content is not in order")
	// ErrTooMany says that an account begins sessions faster than anybody should. The
	// message may be read when it comes again, out of the archive for instance.
	ErrTooMany = errors.New("omemo: too many new sessions from this account")
	// ErrClear is the reason of [Rejected].
	ErrClear = errors.New("omemo: a message in clear where only encrypted ones are accepted")
	// ErrRemoved says that another client of the account keeps removing this device
	// from the list; it is not put there any more until the next sign-in.
	ErrRemoved = errors.New("omemo: another client of the account keeps removing this device from the list")
	// ErrTaken says that another client of the account has this device's id.
	ErrTaken = errors.New("omemo: another device of the account has this device's id")
)

// A Failure is a device that a message was not encrypted for, and why.
type Failure struct {
	Addr   jid.JID // bare
	Device uint32  // 0 if the account has no device at all
	Err    error
}

// An UnreachableError is why a message was not sent. It matches [ErrNoDevices] and the
// errors of its Failures.
type UnreachableError struct {
	To       jid.JID
	Failures []Failure
}

// Error implements error.
func (e *UnreachableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "omemo: nothing was sent to %s: there is no device to encrypt for", e.To)
	for i, f := range e.Failures {
		if i == 5 {
			fmt.Fprintf(&b, "; and %d more", len(e.Failures)-i)
			break
		}
		fmt.Fprintf(&b, "; %s", f.Addr)
		if f.Device != 0 {
			fmt.Fprintf(&b, " device %d", f.Device)
		}
		fmt.Fprintf(&b, ": %s", strings.TrimPrefix(f.Err.Error(), "omemo: "))
	}
	return b.String()
}

// Unwrap has ErrNoDevices and the reasons.
func (e *UnreachableError) Unwrap() []error {
	errs := []error{ErrNoDevices}
	for _, f := range e.Failures {
		errs = append(errs, f.Err)
	}
	return errs
}
