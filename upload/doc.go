// Package upload sends and fetches files: pictures, voice messages and anything else. It
// puts them on the upload service of the user's server (XEP-0363), encrypted if that is
// wanted, and shares them by a message; what others have shared it fetches and checks.
//
//	files := upload.New(c, upload.Config{Transport: c.HTTPTransport()})
//	src, err := upload.FromFile("holiday.jpg")
//	sent, _, err := files.Share(ctx, chats.With(juliet), src, upload.WithThumbnail())
//
//	confab.On(c, func(ctx context.Context, m *chat.Message) {
//		for _, f := range m.Files {
//			err := files.Save(ctx, f, filepath.Join(folder, f.Name))
//		}
//	})
//
// # What goes
//
// [Client.Share] works with a chat.Conversation and with a *muc.Room. It finds the service
// and its limit, asks for a slot, and sends the file with the headers that the service
// wants; if that fails, once more with a new slot. The message has the link that all
// clients know (XEP-0066) and, for newer ones, what the file is: name, type, size, hash,
// the size of a picture, the length of a sound (XEP-0447, XEP-0446). A sound whose length
// is known is shown as a voice message. [Client.Upload] does the first half alone.
//
// # Encryption
//
// A file that is uploaded with [Encrypted], or shared in a conversation of which
// Config.Sealed says that it is encrypted, is encrypted with AES-256-GCM on its way, and
// so is its name. The key is in the message, which OMEMO encrypts: in version 2 as part of
// what is shared (XEP-0448), in the old version as an aesgcm: link (XEP-0454). A message
// with a key that would go out in clear is stopped, with [ErrClear]. Keys are in no log
// and no error: they do not print.
//
// # What comes
//
// [Client.Save] and [Client.Fetch] take a [chat.File], from whatever kind of message. What
// comes is decrypted on the way, in constant memory, and is handed over when all of it was
// found to be right; otherwise no file is left. Transfers that break off are resumed, in
// one call, and with [Resumable] from one call to the next. Limits are on: see [Limit]
// and [Types]. A name that others have chosen is safe to use in any folder: [chat.File]
// has it cleaned. It may still be that of a file that is there.
//
// # Who can do what
//
// Files go to hosts of the service's or the account's own domain only, others have to be
// named in Config.Hosts, and headers from the service are let through only as far as the
// XEP goes. Addresses are https, never on this machine or in a private network, as far as
// an address by numbers tells; redirects are held to the same. A name that leads into a
// private network is not noticed: a program whose network has services to protect needs
// a Transport that looks at the address it connects to. Who has shared a file learns the
// network address of who fetches it: fetch from strangers only when the user wants it.
//
// # Small data
//
// [Client.Offer] and [Client.Bits] exchange bits of binary in stanzas (XEP-0231), such as
// thumbnails, checked by the hash they are named by.
//
// XEPs: 0066, 0231, 0264, 0300, 0363, 0446, 0447, 0448, 0454.
package upload
