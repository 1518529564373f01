// Package bookmarks is the list of rooms that a user keeps on the server, the same
// for all clients of the account (XEP-0402).
//
//	b, err := bookmarks.New(c, bookmarks.Config{Rooms: muc.New(c, muc.Config{}), Nick: "Alice"})
//	confab.On(c, func(ctx context.Context, e bookmarks.Added) { ... })
//	...
//	m, _ := b.Get(room)
//	m.Autojoin = true
//	err = b.Set(ctx, m)
//
// The list is there when the user hears [confab.Ready], unless the server is very slow:
// then it follows as if all of it was new. From then on [Added],
// [Changed] and [Removed] tell what any client of the account does to it, this one
// included, and what had changed since when the client signs in anew.
//
// # Nothing of others is lost
//
// Other clients add things of their own to bookmarks. [Bookmarks.Set] reads the
// bookmark once more and changes in it what the caller has changed: what is unknown
// here stays, and so does what another device has written a moment ago. The protocol
// has no condition for "only if it is still the same", so two devices that write the
// same bookmark within one round trip can still lose a change.
//
// # Rooms
//
// Config.Rooms joins and leaves rooms, or the functions Join and Leave of a program that
// does it in another way: all that have Autojoin are joined
// after each new sign-in, eight at a time. When Autojoin is set the room is joined,
// when it is cleared, or the bookmark removed, the room is left, on whatever device
// that was. After a resumption nothing is done: nothing was lost.
//
// # Old clients
//
// Old clients keep all bookmarks in one piece (XEP-0048), in private storage
// (XEP-0049) or in a node of their own. Most servers convert between all kinds
// (XEP-0402 §5.3) and nothing is done here then. On other servers, after each new
// sign-in, what old clients have added is merged into the new bookmarks: an entry is
// taken over once, and never overwrites one that is there. Bookmarks are written to the
// old place, too, whenever they change. Entries there that are no rooms are left alone.
//
// XEP-0411 is about the two old places only: where a server announces nothing but
// that, one of them is kept in step, and the server does the other.
package bookmarks
