// Package register makes accounts, changes their passwords and deletes them (XEP-0077).
//
//	g, err := client.OpenGuest(ctx, client.Config{Address: "example.org"})
//	defer g.Close()
//	f, err := register.Fetch(ctx, g)
//	f.Set("username", "romeo").Set("password", secret)
//	romeo, err := register.Submit(ctx, g, f)
//
// Before anybody has signed in there is no session, but an encrypted stream on which
// nobody is signed in: a client.Guest. What the server wants to know is a [Form], whether
// it asks for a handful of fields or with a data form; pictures and questions that keep
// machines out are among its Captchas; [Form.Work] does what only takes the processor some time. What is missing is told by name, before anything is
// sent. A server that makes no accounts on the stream says where it does: [Form].Redirect.
//
// Who was invited has a link, which roster.ParseInvitation reads: [Present] shows its token
// to the server before the form is fetched. roster.RequestInvitation makes such links.
//
// [ReadProviders] reads a list of public servers, such as that of providers.xmpp.net.
// [About] tells whom to write to about a server, and what it does with data.
//
// XEPs: 0077, 0157, 0158, 0221, 0231, 0445, 0504.
package register
