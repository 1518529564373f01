// Package muc is for rooms (XEP-0045): to enter them and to stay there, whatever
// happens to the link and to the room's server.
//
//	rooms := muc.New(session, muc.Config{})
//	room, err := rooms.Join(ctx, jid.MustParse("coven@chat.example"), "witch", muc.NickFallback())
//	if errors.Is(err, muc.ErrMembersOnly) { ... }
//	confab.On(session, func(ctx context.Context, m *muc.Message) {
//		if m.Source == confab.Live && m.Text == "!ping" {
//			m.Room.Send(ctx, "pong")
//		}
//	})
//
// # Being there
//
// [Client.Join] returns when the user is in the room, with everybody else known and
// what the room is about. From then on a [Room] is kept: it is asked now and then
// whether the user is still there (XEP-0410), and entered again when it has lost them,
// asking for what was said meanwhile. [State] tells of it; a room that the user was
// thrown out of is Out, and stays so. Occupants are those of [Room.Occupants]; a
// [Change] tells who comes, goes or changes, but nothing of those who were there
// before.
//
// Servers decide what a nickname may be. Prosody and ejabberd make "fish" of "ﬁsh":
// [Room.Nick] is what has become of it. Others may be called what Join would refuse.
//
// # What is said
//
// A [Message] is one of the chat package with what a room adds. What others say comes
// as *Message, what the user says as [OwnMessage] once the room has sent it to
// everybody, edits, retractions and reactions as events of their own. What was said
// before the user came has the source RoomHistory: bots should answer only what is
// Live. Messages that come twice, as after entering again, are told once.
//
// What was said while the user was not there is asked of the room, which tells the last
// few; or, with Config.Archives, is read from its archive, whole. Such messages have the
// source Archive, and come beside what is said now: their When tells the order.
//
// # Whom to believe
//
// Presence and messages from a room's address can only come from its server; what an
// occupant puts into them may come along. So ids of occupants and messages count only
// if the room announces them, what moderators do only from the room itself, and what
// was said before only until the room has told its subject, or anybody says something.
// Presence of rooms that were not entered is not looked at.
//
// XEPs: 0045, 0153 (reads hashes), 0249, 0317, 0359, 0410, 0421, 0425, 0433, 0452,
// 0463, 0486, 0500 (reads).
package muc
