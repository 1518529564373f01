// Package store keeps what the features of confab want to find again after a restart in
// one SQLite file: tokens of the client, the roster, what others' clients can do, places
// in archives, and the keys of encryption. It is written in Go alone, with no C compiler.
//
//	db, err := store.Open("bot.db")
//	c, err := client.New(client.Config{Address: address, Password: password, Store: db})
//	archives := mam.New(c, mam.Config{Store: db})
//	keys, err := omemo.New(c, omemo.Config{Store: db.Keys()})
//
// A [DB] is a client.Store, and so one of all features that keep small values;
// [DB.Keys] is an omemo.Store. Several accounts may share a file: their keys begin with
// the address.
//
// What Put or a transaction has returned for survives a crash of the program and of the
// machine: the file is in WAL mode, and flushed at each commit. A program that is killed
// leaves a file that the next one opens as it was after the last commit. One program at a
// time writes; another that tries to open the file gets an error that says so. A file that
// a newer version of this package has made is refused.
package store
