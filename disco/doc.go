// Package disco finds out what others can do: service discovery (XEP-0030,
// XEP-0128) and the hashes by which the answers are remembered, entity
// capabilities (XEP-0115, XEP-0390).
//
// # One question
//
// [GetInfo] asks an entity what it is and what it can do, [Items] what belongs to
// it, such as the rooms of a service. [Find] returns the services of the own server
// that can do something. They take any [confab.Requester].
//
//	info, err := disco.GetInfo(ctx, c, room, "")
//	if f := info.Form("http://jabber.org/protocol/muc#roominfo"); f != nil {
//		fmt.Println(f.Get("muc#roominfo_occupants"))
//	}
//
// # Questions that need not be asked
//
// A [Client] knows the hashes that come with presence. [Client.Info] asks each hash
// once, whoever has it and however many wait for it: to know what all five
// thousand occupants of a room can do takes as many requests as there are kinds of
// clients among them. Nothing is asked before somebody wants to know.
//
//	d := disco.New(c, disco.Config{})
//	info, err := d.Info(ctx, contact)
//	if info.Has("urn:xmpp:jingle:1") { ... }
//
// An answer is remembered under its hash only if the hash is right, so nobody can
// say what others can do. One whose hash is wrong counts for who gave it alone.
//
// What the client itself can do is told by the session: [confab.Session] has
// Advertise and HandleNode.
package disco
