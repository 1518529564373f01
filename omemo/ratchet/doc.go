// Package ratchet is the cryptography of OMEMO, without any input and output: X3DH,
// which begins a session with a device that need not be there, and the Double Ratchet,
// which gives every message a key of its own.
//
// Two versions of OMEMO are deployed, and one engine speaks both: [V1] is version 0.3 of
// XEP-0384, with the namespace eu.siacs.conversations.axolotl, [V2] today's. They differ
// in constants, the form of keys and the frame of messages; see profile.go.
//
//	rec := ratchet.NewRecord(ratchet.V2)
//	err := rec.Start(rand.Reader, identity, deviceID, bundle, bundle.PreKeys[0].ID)
//	sealed, err := rec.Encrypt(rand.Reader, key)       // for the device of the bundle
//	opened, err := rec.Decrypt(rand.Reader, identity, keys, data, true)
//
// # Records
//
// A [Record] has all sessions with one device: the one that is written with, and older
// ones that late messages are read with. When both sides begin a session at once, each
// keeps both, and they agree after the first message that is answered. A record changes
// only when what came was authentic: after an error it is what it was before, byte for
// byte. Nobody but its owner knows when to keep it: store it, with AppendBinary, before
// what Encrypt returned is sent, and in one transaction with what Decrypt returned.
//
// # Differences from the letter of the specification
//
// Identity keys are drawn until the sign of the Ed25519 form is 0: there are clients that
// refuse the others. The receiver of a message that begins a new chain keeps one key more
// of the old chain than it should need, as there are clients that count one too few.
// A session is not replaced by a new one but kept beside it.
//
// It is made from the specifications (X3DH, Double Ratchet, XEP-0384 in versions 0.3.0
// and 0.9.1) and with test vectors, without code of other implementations.
package ratchet
