package ratchet

import "fmt"

// A Version of OMEMO.
type Version uint8

// The versions.
const (
	// V1 is eu.siacs.conversations.axolotl, XEP-0384 version 0.3.
	V1 Version = 1
	// V2 is urn:xmpp:omemo:2.
	V2 Version = 2
)

// Namespace returns the XML namespace of the version.
func (v Version) Namespace() string {
	switch v {
	case V1:
		return "eu.siacs.conversations.axolotl"
	case V2:
		return "urn:xmpp:omemo:2"
	}
	return ""
}

// String returns "1" or "2".
func (v Version) String() string { return fmt.Sprint(uint8(v)) }

// profile is what one version has different from the other.
type profile struct {
	infoX3DH, infoRoot, infoMessage string
	sharedSize                      int // bytes of HKDF output of X3DH, of which 32 are used
	macSize                         int
	// fixedAD says that the associated data are those of who began the session and of
	// the other, in all messages; else of sender and recipient.
	fixedAD bool
}

var profiles = [...]profile{
	V1: {"WhisperText", "WhisperRatchet", "WhisperMessageKeys", 64, 8, false},
	V2: {"OMEMO X3DH", "OMEMO Root Chain", "OMEMO Message Key Material", 32, 16, true},
}

func (v Version) valid() bool { return v == V1 || v == V2 }

// version1 is the first byte of messages of V1: message version 3, of at most 3.
const version1 = 0x33
