// Package mam reads message archives: that of the account, and those of rooms
// (XEP-0313).
//
//	archives := mam.New(c, mam.Config{})
//	for r, err := range archives.Query(ctx, mam.Query{With: juliet, Start: yesterday}) {
//		...
//	}
//
// # What comes out
//
// [Archives.Query] reads page by page, as far as the loop goes. A message out of an
// archive passes the same stages as one that comes live: it is decrypted, and becomes
// the events of the packages that are in use, with [confab.Archive] as its Source.
// Results are believed only from the archive that was asked, and only for the query
// that asked.
//
// # Catching up
//
// An archive that is followed has no holes. On every fresh sign-in, before the user
// hears [confab.Ready] if it is quick and beside it if not, what was missed since the
// last message that is known for sure is read: see [Archives.CatchUp] and
// Config.NoFollow. That place, the cursor, is in the Config.Store; a live message moves
// it only when nothing is missing before. Where a limit cuts the catching up short, a
// [Gap] says what is missing, and [Archives.Fill] reads it, whenever the program
// likes. Progress is told as it goes.
//
// Rooms that are kept by the muc package are followed, too, if it is given the archives:
//
//	rooms := muc.New(c, muc.Config{Archives: archives})
//
// To keep, show and search what was read is for package store.
//
// XEPs: 0313, 0059, 0413, 0431, 0441.
package mam
