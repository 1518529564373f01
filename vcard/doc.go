// Package vcard is what people tell of themselves: a profile, with a name and a
// birthday, and a picture.
//
//	cards := vcard.New(c, vcard.Config{})
//	p, err := cards.Profile(ctx, friend)
//	p, err = cards.Profile(ctx, jid.JID{}) // one's own
//	p.City = "Verona"
//	err = cards.SetProfile(ctx, p, pubsub.AccessOpen)
//
// # Profiles
//
// There are two kinds of profile on the network, vCard4 in a node of PEP (XEP-0292)
// and vcard-temp (XEP-0054). [Profile] stands for both: it is read from the first
// that is there, written to both, and fields that are unknown here are kept.
// Only vCard4 can be kept from strangers; a profile that is for contacts only is
// not written to vcard-temp.
//
// # Pictures
//
// [Profiles.SetAvatar] publishes a picture by PEP (XEP-0084), and as a part of the
// vcard-temp (XEP-0153) on servers that do not do so by themselves (XEP-0398). The
// event [AvatarChanged] tells that somebody has another one, learned from PEP or
// from presence. [Profiles.FetchAvatar] gets it: only PNG, JPEG, GIF and WebP of a
// reasonable size, whose hash is right, are given out.
//
// # Colours
//
// [Color] gives the colour in which all clients show a name (XEP-0392).
package vcard
