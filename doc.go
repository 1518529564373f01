// Package confab is the contract on which confab's features stand: what a
// session is, what its stanzas look like, and how they reach those who want
// them.
//
// Most programs begin with a client and add features to it:
//
//	c, err := client.New(client.Config{Address: "bot@example.org", Password: pw})
//	confab.On(c, func(ctx context.Context, m *confab.Message) {
//		if m.Source == confab.Live && m.Body == "!ping" {
//			c.SendMessage(ctx, confab.Draft{To: m.From, Body: "pong"})
//		}
//	})
//	err = c.Run(ctx)
//
// # What comes in
//
// Every stanza is decoded once, into an [Element] that keeps all its children.
// Answers to requests go straight to who waits in [Do] or [Session.Ask]; they
// are believed only from the entity that was asked. Everything else is handled
// in the order in which it came, by one dispatcher per session: messages pass
// the stages ([StageUnwrap], [StageDecrypt], [StageInterpret], [StageDeliver]),
// in which features may change or consume them, and become events for the user,
// by push ([On]) or by pull ([Events]).
//
// No user code runs on the reader or the dispatcher. A function given to On may
// block, ask and send; it delays only the events after it. When it does so for
// long, reading pauses, and the sender is held back by TCP.
//
// Each [Message] says where it came from ([Source]): a bot that acts only on
// Live messages does not answer the past.
//
// # What goes out
//
// [Session.SendMessage] returns a [Sent], which follows the message: queued,
// written, acknowledged by the server, received, displayed, or failed. What is
// sent while there is no link waits for one, up to a bound; then senders wait.
//
// # Links come and go
//
// A session outlives its links. [Ready] says that it is up, [Suspended] that the
// link is gone but the stream may be resumed with nothing lost, [Lost] that it
// could not be. Features hook in with OnUp and OnDown; Ready waits for them.
//
// # Sessions
//
// Package client has the session for programs. [Attach] makes one of a plain
// mellium session, [Fallback] lets existing mellium handlers work on any
// session, and [NewHub] is the common half for those who write one of their
// own. Package confabtest has a server in the process, for tests.
package confab
