// Package chat is what people say to each other: text, edits, reactions, replies,
// receipts, markers, typing, threads, mentions, and copies of what the user's other
// clients send and receive.
//
//	chats := chat.New(session, chat.Config{})
//	confab.On(session, func(ctx context.Context, m *chat.Message) {
//		if m.Source == confab.Live && m.Text == "ping" {
//			chats.With(m.Chat).Send(ctx, "pong")
//		}
//	})
//
// # What comes
//
// [*Message] is the event for what others say, [OwnMessage] for what the user says,
// on any device, [Edited], [Retracted] and [Reacted] for what changes it, [Receipt]
// and [Displayed] for the ticks, [Typing] for what the other one does. One message
// that comes live, as a carbon, out of an archive and once more after a resumption
// is one event. The same messages come as *confab.Message, too, for programs that
// want the stanza; but for copies, which nobody else sees.
//
// A program that shows a conversation feeds a [Timeline] with the events, which puts
// everything in its place, in whatever order it came.
//
// # What goes
//
// A [Conversation] sends. Options of Send add what a message can have: [InReply],
// [InThread], [Mentioning], [WithSpoiler] and others. Receipts are asked for and
// answered; markers are asked for, and sent when the program calls
// [Conversation.MarkDisplayed], which also tells the user's other devices.
//
// # Who may do what
//
// Carbons are believed from the own account only. A correction or a retraction is
// about a message of the same author: that is what a [Timeline] looks at. Receipts
// and markers go only to those who may know that the user is there: see
// Config.Reveal. Ids of an archive count only if the account's server says that it
// removes forged ones.
//
// Rooms are not this package's matter, but the muc package reads and writes messages
// with it: see [Parse] and [Compose].
//
// XEPs: 0066, 0085, 0184, 0201, 0224, 0245, 0280, 0308, 0333, 0334, 0359, 0372, 0382, 0393,
// 0394, 0424, 0428, 0444, 0446, 0447, 0448, 0449, 0454, 0461, 0490, 0492, 0513.
package chat
