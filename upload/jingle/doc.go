// Package jingle sends files from one client straight to another, without a place on a
// server: Jingle file transfer (XEP-0234). Both have to be there at once; for all else
// there is package upload.
//
//	files, err := jingle.New(c, jingle.Config{Dial: c.HTTPTransport().DialContext})
//	src, err := upload.FromFile("holiday.jpg")
//	err = files.Send(ctx, julietsPhone, src) // a full address; returns when she has it
//
//	confab.On(c, func(ctx context.Context, o *jingle.Offer) {
//		go func() {
//			if userWants(o.From, o.File) {
//				err = o.Save(ctx, filepath.Join(folder, o.Name))
//			} else {
//				err = o.Decline(ctx)
//			}
//		}()
//	})
//
// # What goes
//
// A client's full address is in its presence. [Client.Send] offers a file and returns when the other side has all of it, or has
// refused it; an [Offer] is what comes, and nothing of it is taken before the user says
// so, with [Offer.Save] or [Offer.Accept]. [Client.Request] asks for a file that the other
// side has, by its hash or name, as a [Request]. Size and hash are told beforehand and
// checked; a transfer that was broken off goes on where it was, with [Resumable] or [From].
// All of them end with their context, which tells the other side.
//
// # Ways
//
// The bytes go over a connection of TCP (SOCKS5 bytestreams, XEP-0260) and, where there is
// none, in stanzas (in-band bytestreams, XEP-0261). The second works everywhere and is
// slow. A connection tells the address of who makes it, so [Reach] has the say: by default
// none is made but to the proxies (XEP-0065) of the own server, which tells nothing to
// anybody who did not know it; what others offer is not connected to.
//
// # What others see
//
// There is no encryption from end to end in XEP-0234. In stanzas the bytes are as safe as
// messages are; over a proxy or a direct connection they are in clear, where the hash,
// which went by XMPP, tells if they were changed. A conversation of which Config.Sealed
// says that it is encrypted gets no file this way, unless it is sent with [InClear].
//
// Strangers can offer files. How many wait is bounded, for one of them and for all, and
// they are told as events only. Other sessions, files and bytestreams than those that were
// agreed on, and with whom, are refused.
//
// # Bytestreams
//
// [Client.Open] makes a bytestream for any purpose, without Jingle (XEP-0047, XEP-0065);
// with Config.Bytestreams set those of others come as a [Bytestream].
//
// XEPs: 0047, 0065, 0166, 0234, 0260, 0261, 0300.
package jingle
