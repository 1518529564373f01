// Package omemo encrypts messages from end to end (XEP-0384), in both versions of OMEMO
// that are deployed: one [Manager] speaks to Conversations, Dino and Gajim, which know the
// old one, and to those who know the new one, with one key and in one message. It is put
// on a session like any other feature; chats and rooms then send and read encrypted
// messages as they do others.
//
//	keys, err := omemo.New(session, omemo.Config{Store: store, Rooms: rooms, Reveal: contacts.Sees})
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
// (XEP-0450). The later decision counts, by the time when it was told. A device that is
// verified newly is told of all keys that are verified, under the time of that: if another
// device has distrusted one of them meanwhile, and this one has not heard of it, the new
// device may trust it again.
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
// In a room it is the room that says who an occupant is, and so who gets what is said
// there: a room can name others, or have a device of somebody seem to have another key, so
// that its key becomes Undecided and waits for the user; it cannot have one trusted that
// was not. Nothing is learned from a message that is not authentic.
//
// A server that hides the list of version 2 of somebody, or all of their devices but some,
// has messages encrypted in version 1, or for those only: who is in which list is what the
// server says. Version 1 protects the text as well, but what a message refers to stays in
// clear, and it says neither when nor for whom it was encrypted. [Device] has V1 and V2, and
// the Scheme of the Seal of what was sent says which one it was; [Config].OnlyV2 sends
// nothing in version 1.
//
// Strangers, whom the user has never written to and [Config].Reveal does not know, see
// nothing of the user until they get an answer: what comes from them is read, but not
// answered by itself, and their servers are not asked for anything. They may begin 30
// sessions at once in a domain and 60 in all, fewer than there are prekeys, and those of the
// 1000 who did so last are kept. What is over that is [ErrTooMany]. Accounts that are known
// have a bound of their own.
//
// Version 2 says when a message was encrypted (XEP-0420): Stamp of the Seal. If that is not
// near the time that servers tell, Displaced is set; the message is not lost for it, as a
// client without a connection encrypts, too. Of two decisions about a key that other
// devices tell, the later one counts, in whatever order they come.
//
// XEPs: 0334, 0380, 0384 (0.3.0 and 0.9.1), 0420, 0434, 0450.
package omemo
