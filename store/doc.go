// Package store keeps what the features of confab want to find again after a restart in
// one SQLite file: tokens of the client, the roster, bookmarks, what others' clients can do, places
// in archives, the keys of encryption, and what was said. It is written in Go alone, with no C compiler.
//
//	db, err := store.Open("bot.db")
//	c, err := client.New(client.Config{Address: address, Password: password, Store: db})
//	archives := mam.New(c, mam.Config{Store: db})
//	keys, err := omemo.New(c, omemo.Config{Store: db.Keys()})
//	kept := db.History(c.LocalAddr())
//	kept.Follow(c)
//
// A [DB] is a client.Store, and so one of all features that keep small values;
// [DB.Keys] is an omemo.Store. Several accounts may share a file: their keys begin with
// the address.
//
// A [History] has the conversations of an account, chats and rooms alike: a list with
// unread counts, pages with edits, reactions and retractions applied, search, export. It
// follows the events of packages chat and muc; with a mam.Archives on the same DB it has
// no holes, whatever the program has missed and whenever it was killed. Private messages
// of rooms are not kept. An [Outbox] keeps what is sent until the server has it, also when
// the program ends before. [DB.Update] is one transaction over all of it.
//
// What Put or a transaction has returned for survives a crash of the program and of the
// machine: the file is in WAL mode, and flushed at each commit. A program that is killed
// leaves a file that the next one opens as it was after the last commit. One program at a
// time writes; another that tries to open the file gets an error that says so. A file that
// a newer version of this package has made is refused.
package store
