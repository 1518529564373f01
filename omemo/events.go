package omemo

import (
	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

type (
	// Undecryptable is the event for an encrypted message that cannot be read. It is
	// not seen as a message. If Waiting is set, it is tried again when the sender's
	// device has begun a session, and comes as a message then.
	Undecryptable struct {
		// Message is the message as it came.
		Message *confab.Message
		// From is the bare address of who has sent it, zero if a room does not tell,
		// and Device the sender's device.
		From   jid.JID
		Device uint32
		Err    error
		// Waiting says that it will be tried again.
		Waiting bool
	}
	// Rejected is the event for a message that came in clear in a conversation whose
	// [Mode] is Required. It is not seen as a message.
	Rejected struct{ Message *confab.Message }
	// NewKey is the event for a key that was not known before: somebody has another
	// device, or an old one has another key. Device.Trust tells whether it is used.
	NewKey struct{ Device Device }
	// TrustChanged is the event for another trust in a key, by the user, or by a
	// message from another device of the user (XEP-0450).
	TrustChanged struct{ Device Device }
	// DevicesChanged is the event for another list of somebody's devices, the user's
	// own included.
	DevicesChanged struct{ Addr jid.JID }
	// Skipped is the event for devices that a message was not encrypted for, while it
	// went to others.
	Skipped struct {
		// To is the conversation.
		To       jid.JID
		Failures []Failure
	}
	// OptedOut is the event for somebody who asks to be written to in clear
	// (XEP-0384 §5.9). Nothing is sent to them until the user has decided: see
	// Manager.SetMode.
	OptedOut struct {
		Addr   jid.JID
		Reason string
	}
	// Failed is the event for something that goes on in the background and did not
	// succeed, such as publishing the keys. It is tried again at the next sign-in.
	Failed struct{ Err error }
)
