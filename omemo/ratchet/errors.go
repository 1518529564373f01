package ratchet

import "errors"

// Reasons why something cannot be decrypted, or a session not be begun. None of them has
// anything secret in it.
var (
	// ErrMalformed says that a message, a key or a bundle is not in the form that it
	// has to have.
	ErrMalformed = errors.New("ratchet: malformed")
	// ErrMAC says that a message is not what a session's other side has made: it was
	// changed, or is of another session.
	ErrMAC = errors.New("ratchet: the message does not belong to a session, or was changed")
	// ErrDuplicate says that a message was decrypted before. It is the only failure
	// that means nothing bad.
	ErrDuplicate = errors.New("ratchet: the message was decrypted before")
	// ErrSkipLimit says that a message claims that more messages before it are missing
	// than anybody believes (1000).
	ErrSkipLimit = errors.New("ratchet: too many messages are missing before this one")
	// ErrNoSession says that there is no session yet, and that the message begins none.
	ErrNoSession = errors.New("ratchet: there is no session with this device")
	// ErrUnknownPreKey says that a session was begun with a prekey that was used before
	// or never was.
	ErrUnknownPreKey = errors.New("ratchet: the prekey is not known (any more)")
	// ErrUnknownSignedPreKey says the same of a signed prekey.
	ErrUnknownSignedPreKey = errors.New("ratchet: the signed prekey is not known (any more)")
	// ErrSignature says that a signed prekey is not signed by the identity key of its
	// bundle.
	ErrSignature = errors.New("ratchet: the signature of the signed prekey is wrong")
	// ErrPayload says that what a message says was changed, though its key was not.
	ErrPayload = errors.New("ratchet: the payload was changed")
)
