// Package omemo encrypts messages from end to end (XEP-0384), in both versions of OMEMO
// that are deployed: one [Manager] speaks to Conversations, Dino and Gajim, which know the
// old one, and to those who know the new one, with one key and in one message. It is put
// on a session like any other feature; chats and rooms then send and read encrypted
// messages as they do others.
//
//	keys, err := omemo.New(session, omemo.Config{Store: store, Rooms: rooms})
//	err = keys.SetMode(ctx, juliet, omemo.On)
//	sent, err := chats.With(juliet).Send(ctx, "for your eyes only") // or an error, never clear text
//
// # What comes
//
// A message that came encrypted is like any other, but that its Seal is set: it has the
// fingerprint of the sender's device, and says whether that key is trusted. What cannot be
// read is an [Undecryptable] event. A copy of a message that was read already, by a carbon
// or out of an archive, is dropped without a word.
//
// # What goes
//
// [Manager.SetMode] says for each conversation whether it is encrypted. If it is, a message
// goes out encrypted for all devices of the other one, of all members of a room, and the
// user's own, or Send fails: with an [*UnreachableError] if nobody could be reached. A
// device that has no good keys, or none that is trusted, does not keep the message from
// the others: it is told by a [Skipped] event.
//
// Text, edits, replies, reactions, retractions and whatever else a message says are
// encrypted. Version 1 can encrypt nothing but text. For those who know only that, an edit,
// a reply or a retraction tells in clear which message it is about, and a reaction becomes
// an encrypted answer. In clear go receipts, markers and states of typing, the topic of a
// room, invitations, and what clients agree on before calls.
//
// # Whom to trust
//
// Trust belongs to the identity key of a device, which people compare as a fingerprint, or
// by a code: [Manager.URI] and [Manager.Verify]. By default all keys of somebody are used
// until the user has verified one; from then on new ones wait for a decision. See [Policy].
// A [NewKey] event tells of every key that was not known. What the user decides is told
// to the user's other devices, and the other way round, if they have verified each other
// (XEP-0450).
//
// # What is stored
//
// A [Store] keeps the keys. Its contract is in its comment: one transaction for each
// message, durable before the message leaves or is handed on. What was decrypted is in the
// same transaction, until the program has dealt with it, so that a crash in between loses
// nothing. [OpenFileStore] has a store in a file; [MemoryStore] is for tests. A copy of a
// store must never be used: [Export] is for moving a device.
//
// # Sessions that break
//
// A message of a session that is not known on this side makes a new session, at most one
// an hour for each device, so that the next messages can be read. A message that fails its
// check does not (XEP-0384 §5.8): [Manager.ReplaceSession] is for the user to call. Prekeys
// that were used last for another hour: several people may have taken the same one. What
// was encrypted with them first can be read by who steals the device in that hour.
//
// # Who can do what
//
// The server sees who writes to whom, when, about how much, and which devices there are.
// It can drop messages, and add a device to an account: that is what fingerprints are for.
// In a room it is the room that says who an occupant is. Accounts that begin sessions at a
// rate nobody needs are held back. Nothing is learned from a message that is not
// authentic.
//
// XEPs: 0334, 0380, 0384 (0.3.0 and 0.9.1), 0420, 0434, 0450.
package omemo
