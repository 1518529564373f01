package muc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestRoom is a room's life: two people meet, talk, change and part.
func TestRoom(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room := newRoom(s)
		a, b := someone(t, s), someone(t, s)
		ra := a.join(t, room, "alice")
		assert.True(t, ra.Created())
		assert.Equal(t, muc.Owner, ra.Self().Affiliation)
		assert.Equal(t, muc.Moderator, ra.Self().Role)
		assert.Equal(t, "alice", ra.Nick())
		a.states.Next(t, status(muc.Joined))
		rb := b.join(t, room, "bob")
		assert.False(t, rb.Created())
		assert.Len(t, rb.Occupants(), 2)
		assert.Empty(t, b.changes.All(), "nothing is told of those who were there")
		o := a.changes.Next(t, change(muc.Entered, "bob")).Occupant
		assert.True(t, o.JID.Equal(b.LocalAddr()), "a moderator sees the address")
		al, _ := rb.Occupant("alice")
		assert.Equal(t, muc.Owner, al.Affiliation)

		// Text.
		sent, err := ra.Send(a.ctx, "hello")
		require.NoError(t, err)
		require.NoError(t, sent.Wait(a.ctx, confab.Reflected))
		m := b.heard.Next(t, saying("hello"))
		assert.Equal(t, "alice", m.Nick)
		assert.Equal(t, confab.Live, m.Source)
		assert.False(t, m.Self)
		assert.Same(t, rb, m.Room)
		own := a.own.Next(t, nil)
		assert.True(t, own.Self)
		assert.Same(t, sent, own.Sent)
		assert.Empty(t, a.heard.All())
		if d := rb.Info(); d.OccupantIDs {
			assert.NotEmpty(t, m.OccupantID)
			assert.Equal(t, al.OccupantID, m.OccupantID)
		}

		// Edits, typing; reactions, replies and retractions where the room gives ids.
		_, err = ra.Edit(a.ctx, sent.ID, "good evening")
		require.NoError(t, err)
		e := b.edits.Next(t, nil)
		assert.Equal(t, sent.ID, e.Replaces)
		assert.Equal(t, m.Author, e.Author)
		require.NoError(t, ra.State(a.ctx, chat.Composing))
		assert.Equal(t, chat.Composing, b.typing.Next(t, nil).State)
		if m.Ref() != "" {
			_, err = rb.React(b.ctx, m.Ref(), "🐢")
			require.NoError(t, err)
			re := a.reacts.Next(t, nil)
			assert.Equal(t, own.Ref(), re.ReactsTo)
			assert.Equal(t, "bob", re.Nick)
			_, err = rb.Reply(b.ctx, m, "to you, too")
			require.NoError(t, err)
			rep := a.heard.Next(t, saying("to you, too"))
			assert.Equal(t, own.Ref(), rep.ReplyTo.ID)
			assert.Equal(t, "hello", rep.Quote)
			_, err = ra.Retract(a.ctx, own.Ref(), "")
			require.NoError(t, err)
			rt := b.retracts.Next(t, nil)
			assert.Equal(t, m.Ref(), rt.ID)
			assert.Equal(t, m.Author, rt.Author)
			assert.Empty(t, rt.By)
		}

		// Private messages.
		_, err = ra.SendPrivate(a.ctx, "bob", "psst")
		require.NoError(t, err)
		pm := b.private.Next(t, nil)
		assert.Equal(t, "psst", pm.Text)
		assert.Equal(t, "alice", pm.Nick)

		// The subject.
		_, err = ra.SetSubject(a.ctx, "Turtles")
		require.NoError(t, err)
		assert.Equal(t, "Turtles", b.subjects.Next(t, nil).Text)
		assert.Equal(t, "Turtles", rb.Subject().Text)

		// Nicknames and presence.
		require.NoError(t, rb.SetNick(b.ctx, "robert"))
		assert.Equal(t, "robert", rb.Nick())
		c := a.changes.Next(t, change(muc.Renamed, "robert"))
		assert.Equal(t, "bob", c.Before.Nick)
		require.NoError(t, rb.SetPresence(b.ctx, "away", "gone fishing"))
		c = a.changes.Next(t, func(c muc.Change) bool { return c.Kind == muc.Changed && c.Occupant.Show == "away" })
		assert.Equal(t, "gone fishing", c.Occupant.Status)
		err = rb.SetNick(b.ctx, "alice")
		require.ErrorIs(t, err, muc.ErrNickTaken)
		assert.Equal(t, "robert", rb.Nick())

		// A third one comes late, reads what was said, and is not taken for somebody new.
		third := someone(t, s)
		_, err = third.rooms.Join(third.ctx, room, "alice")
		require.ErrorIs(t, err, muc.ErrNickTaken)
		rc := third.join(t, room, "alice", muc.NickFallback())
		assert.Equal(t, "alice_", rc.Nick())
		assert.Equal(t, "Turtles", rc.Subject().Text)
		assert.Equal(t, confab.RoomHistory, third.heard.Next(t, saying("hello")).Source)
		fourth := someone(t, s)
		fourth.join(t, room, "quiet", muc.NoHistory())
		_, err = ra.Send(a.ctx, "@robert: are you there?")
		require.NoError(t, err)
		m = fourth.heard.Next(t, nil)
		assert.Equal(t, "@robert: are you there?", m.Text, "no history was wanted")
		assert.True(t, rb.Mentioned(b.heard.Next(t, saying(m.Text))))
		assert.Equal(t, []string{"robert"}, m.Room.Named(m))
		assert.Equal(t, "alice", m.Room.Complete("a")[0], "who spoke last comes first")

		// Leaving.
		require.NoError(t, rb.Leave(b.ctx))
		require.ErrorIs(t, b.states.Next(t, status(muc.Out)).Err, muc.ErrLeft)
		assert.Nil(t, b.rooms.Room(room))
		a.changes.Next(t, change(muc.Gone, "robert"))
		_, err = rb.Send(b.ctx, "late")
		require.ErrorIs(t, err, muc.ErrLeft)
	})
}

// TestRefusals are the reasons for which a room cannot be entered.
func TestRefusals(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, b := someone(t, s), someone(t, s)
		try := func(room jid.JID, want error, opts ...muc.JoinOption) {
			t.Helper()
			_, err := b.rooms.Join(b.ctx, room, "bob", opts...)
			require.ErrorIs(t, err, want)
			var e *muc.Error
			require.ErrorAs(t, err, &e)
			assert.True(t, e.Room.Equal(room))
			assert.Nil(t, b.rooms.Room(room))
		}
		private := newRoom(s)
		ra := a.join(t, private, "alice", muc.Create(muc.PrivateGroup("Witches")))
		d, err := muc.GetDetails(a.ctx, a, private)
		require.NoError(t, err)
		assert.True(t, d.MembersOnly && d.NonAnonymous && d.Persistent && !d.Public)
		assert.Equal(t, "Witches", d.Name)
		try(private, muc.ErrMembersOnly)
		require.NoError(t, ra.SetAffiliation(a.ctx, b.bare(), muc.Member, "welcome"))
		rb := b.join(t, private, "bob")
		o, _ := rb.Occupant("alice")
		assert.True(t, o.JID.Equal(a.LocalAddr()), "not anonymous")
		require.NoError(t, ra.SetAffiliation(a.ctx, b.bare(), muc.NoAffiliation, "farewell"))
		require.ErrorIs(t, b.states.Next(t, status(muc.Out)).Err, muc.ErrMembersOnly)
		a.changes.Next(t, change(muc.Removed, "bob"))

		locked := newRoom(s)
		a.join(t, locked, "alice", muc.Create(func(st *muc.Settings) { st.Password = "sesame"; st.Persistent = true }))
		try(locked, muc.ErrPassword)
		try(locked, muc.ErrPassword, muc.Password("wrong"))
		b.join(t, locked, "bob", muc.Password("sesame"))

		banned := newRoom(s)
		ra = a.join(t, banned, "alice", muc.Create(muc.PublicChannel("Heath")))
		rb = b.join(t, banned, "bob")
		require.NoError(t, ra.Ban(a.ctx, b.bare(), "spam"))
		out := b.states.Next(t, status(muc.Out)).Err
		require.ErrorIs(t, out, muc.ErrBanned)
		var e *muc.Error
		require.ErrorAs(t, out, &e)
		assert.Equal(t, "spam", e.Reason)
		a.changes.Next(t, change(muc.Banned, "bob"))
		try(banned, muc.ErrBanned)
		st, _ := rb.Status()
		assert.Equal(t, muc.Out, st)
		var list []muc.Affiliated
		for x, err := range ra.Affiliations(a.ctx, muc.Outcast) {
			require.NoError(t, err)
			list = append(list, x)
		}
		require.Len(t, list, 1)
		assert.True(t, list[0].JID.Equal(b.bare()))
		require.NoError(t, ra.Unban(a.ctx, b.bare()))
		b.join(t, banned, "bob")

		_, err = b.rooms.Join(b.ctx, newRoom(s), "bob", muc.MustExist())
		require.ErrorIs(t, err, muc.ErrNoRoom)
		_, err = b.rooms.Join(b.ctx, jid.MustParse(s.Rooms), "bob")
		require.Error(t, err)
		_, err = b.rooms.Join(b.ctx, newRoom(s), "")
		require.Error(t, err)
	})
}

// TestModeration is what moderators and owners do.
func TestModeration(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room := newRoom(s)
		a, b := someone(t, s), someone(t, s)
		ra := a.join(t, room, "alice", muc.Create(func(st *muc.Settings) { st.Moderated = true; st.Persistent = true }))
		rb := b.join(t, room, "bob")
		if rb.Self().Role == muc.Visitor {
			sent, err := rb.Send(b.ctx, "may I?")
			require.NoError(t, err)
			require.Error(t, sent.Wait(b.ctx, confab.Reflected))
			require.NoError(t, rb.RequestVoice(b.ctx))
			v := a.voice.Next(t, nil)
			assert.Equal(t, "bob", v.Nick)
			require.NoError(t, ra.AnswerVoice(a.ctx, v, true))
		} else { // ejabberd makes participants of all, until told otherwise
			require.NoError(t, ra.SetRole(a.ctx, "bob", muc.Visitor, ""))
			b.changes.Next(t, func(c muc.Change) bool { return c.Self && c.Occupant.Role == muc.Visitor })
			require.NoError(t, ra.SetRole(a.ctx, "bob", muc.Participant, ""))
		}
		b.changes.Next(t, func(c muc.Change) bool { return c.Self && c.Occupant.Role == muc.Participant })
		_, err := rb.Send(b.ctx, "buy now")
		require.NoError(t, err)
		m := a.heard.Next(t, saying("buy now"))

		if ra.Info().Moderation && ra.Info().Info.Has("urn:xmpp:message-moderate:1") {
			require.Error(t, rb.Moderate(b.ctx, m.Ref(), "no"))
			require.NoError(t, ra.Moderate(a.ctx, m.Ref(), "spam"))
			rt := b.retracts.Next(t, nil)
			assert.Equal(t, m.Ref(), rt.ID)
			assert.Equal(t, "spam", rt.Reason)
			assert.NotEmpty(t, rt.By)
		}

		require.Error(t, rb.Kick(b.ctx, "alice", "mutiny"))
		require.NoError(t, ra.Kick(a.ctx, "bob", "enough"))
		var e *muc.Error
		require.ErrorAs(t, b.states.Next(t, status(muc.Out)).Err, &e)
		assert.ErrorIs(t, e, muc.ErrKicked)
		assert.Equal(t, "enough", e.Reason)
		a.changes.Next(t, change(muc.Kicked, "bob"))
		assert.True(t, b.changes.Next(t, change(muc.Kicked, "bob")).Self)

		// Settings are changed one by one; the others stay.
		before, err := ra.Settings(a.ctx)
		require.NoError(t, err)
		require.NoError(t, ra.Configure(a.ctx, func(st *muc.Settings) { st.Description = "Where witches meet"; st.AnyoneSetsSubject = true }))
		a.confs.Next(t, nil)
		after, err := ra.Settings(a.ctx)
		require.NoError(t, err)
		assert.Equal(t, "Where witches meet", after.Description)
		assert.True(t, after.AnyoneSetsSubject && after.Moderated && after.Persistent)
		assert.Len(t, after.Form().Fields, len(before.Form().Fields))
		_, err = rb.Settings(b.ctx)
		require.Error(t, err)
		require.ErrorContains(t, ra.Configure(a.ctx, func(st *muc.Settings) { st.SlowMode = 10 }), "slow_mode")

		rb = b.join(t, room, "bob")
		alt := newRoom(s)
		require.NoError(t, ra.Destroy(a.ctx, "over", alt))
		require.ErrorAs(t, b.states.Next(t, status(muc.Out)).Err, &e)
		assert.ErrorIs(t, e, muc.ErrDestroyed)
		assert.Equal(t, "over", e.Reason)
		assert.True(t, e.Alternate.Equal(alt))
		require.ErrorIs(t, a.states.Next(t, status(muc.Out)).Err, muc.ErrDestroyed)
		_ = rb
	})
}

// TestInvitations: the room invites, and people do.
func TestInvitations(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room := newRoom(s)
		a, b := someone(t, s), someone(t, s)
		ra := a.join(t, room, "alice", muc.Create(muc.PrivateGroup("Witches")))
		require.NoError(t, ra.Invite(a.ctx, b.bare(), "come"))
		inv := b.invites.Next(t, nil)
		assert.True(t, inv.Room.Equal(room) && !inv.Direct)
		assert.Equal(t, "come", inv.Reason)
		assert.True(t, inv.From.Bare().Equal(a.bare()) || inv.From.Bare().Equal(room))
		require.NoError(t, b.rooms.Decline(b.ctx, inv, "busy"))
		d := a.declined.Next(t, nil)
		assert.Equal(t, "busy", d.Reason)
		assert.True(t, d.From.Bare().Equal(b.bare()))
		b.join(t, inv.Room, "bob")
		c := someone(t, s)
		require.NoError(t, ra.InviteDirect(a.ctx, c.LocalAddr(), "you, too"))
		inv = c.invites.Next(t, nil)
		assert.True(t, inv.Direct && inv.Room.Equal(room) && inv.From.Equal(a.LocalAddr()))
		assert.Equal(t, "you, too", inv.Reason)
		assert.Empty(t, b.invites.All())
	})
}

// TestDetails: what can be known from outside.
func TestDetails(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room := newRoom(s)
		a, b := someone(t, s), someone(t, s)
		ra := a.join(t, room, "alice", muc.Create(muc.PublicChannel("The heath")))
		a.join(t, newRoom(s), "alice", muc.Create(muc.PrivateGroup("Hidden")))
		d, err := muc.GetDetails(b.ctx, b, room)
		require.NoError(t, err)
		assert.Equal(t, 1, d.Occupants)
		assert.Equal(t, "The heath", d.Name)
		assert.True(t, d.Public && !d.MembersOnly)
		_, err = muc.GetDetails(b.ctx, b, newRoom(s))
		if s.Name != testbed.Ejabberd { // which describes any room that could be
			require.ErrorIs(t, err, muc.ErrNoRoom)
		}
		_, err = muc.GetDetails(b.ctx, b, jid.MustParse(s.Domain))
		require.Error(t, err)
		var names []string
		for it, err := range muc.PublicRooms(b.ctx, b, jid.MustParse(s.Rooms)) {
			require.NoError(t, err)
			names = append(names, it.Name)
		}
		assert.NotContains(t, names, "Hidden")
		found := false
		for _, n := range names {
			found = found || len(n) >= 9 && n[:9] == "The heath" // ejabberd adds how many are there
		}
		assert.True(t, found, names)

		_, data, err := muc.Avatar(b.ctx, b, room)
		require.NoError(t, err)
		assert.Empty(t, data)
		require.NoError(t, ra.SetAvatar(a.ctx, "image/png", []byte("picture")))
		mt, data, err := muc.Avatar(b.ctx, b, room)
		require.NoError(t, err)
		assert.Equal(t, "image/png picture", mt+" "+string(data))

		if !ra.Info().Info.Has("jabber:iq:register") {
			s.Skip(t, "nickname registration")
		}
		n, err := ra.RegisteredNick(a.ctx)
		require.NoError(t, err)
		if n == "" {
			require.NoError(t, ra.RegisterNick(a.ctx, "alice", nil))
			n, err = ra.RegisteredNick(a.ctx)
			require.NoError(t, err)
		}
		assert.Equal(t, "alice", n)
	})
}

// TestTwoClients of one account in one room.
func TestTwoClients(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		if s.Name == testbed.Ejabberd {
			s.Skip(t, "one nickname for two clients")
		}
		room := newRoom(s)
		a := someone(t, s)
		a.join(t, room, "alice")
		addr, pw := s.Account(t)
		phone, desk := clientOf(t, s, addr, pw), clientOf(t, s, addr, pw)
		rp, rd := phone.join(t, room, "bob"), desk.join(t, room, "bob")
		_, err := rp.Send(phone.ctx, "from the phone")
		require.NoError(t, err)
		o := desk.own.Next(t, nil)
		assert.True(t, o.Self && o.Sent == nil)
		require.NoError(t, rp.Leave(phone.ctx))
		_, err = rd.Send(desk.ctx, "still here")
		require.NoError(t, err)
		a.heard.Next(t, saying("still here"))
		again, err := desk.rooms.Join(desk.ctx, room, "bob")
		require.NoError(t, err)
		assert.Same(t, rd, again)
	})
}

// TestTimeline: a chat.Timeline follows a room.
func TestTimeline(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room := newRoom(s)
		a, b := someone(t, s), someone(t, s)
		ra, rb := a.join(t, room, "alice"), b.join(t, room, "bob")
		tl := chat.NewTimeline(room, 0)
		defer rb.Follow(tl, nil)()
		sent, err := ra.Send(a.ctx, "one")
		require.NoError(t, err)
		_, err = ra.Edit(a.ctx, sent.ID, "two")
		require.NoError(t, err)
		b.edits.Next(t, nil)
		_, err = rb.Edit(b.ctx, sent.ID, "forged")
		require.NoError(t, err)
		_, err = rb.Send(b.ctx, "end")
		require.NoError(t, err)
		b.own.Next(t, func(o muc.OwnMessage) bool { return o.Text == "end" })
		require.Eventually(t, func() bool { return len(tl.Entries()) == 2 }, 10*time.Second, time.Millisecond)
		e, ok := tl.Entry(sent.ID)
		require.True(t, ok)
		assert.Equal(t, "two", e.Current.Text)
		assert.Equal(t, 1, e.Edits)
	})
}

func TestErrors(t *testing.T) {
	e := &muc.Error{Room: jid.MustParse("coven@chat.shakespeare.lit"), Kind: muc.ErrKicked, By: "witch", Reason: "spells", Cause: confab.ErrLost}
	assert.Equal(t, "muc: coven@chat.shakespeare.lit: thrown out by a moderator by witch (spells): "+confab.ErrLost.Error(), e.Error())
	assert.True(t, errors.Is(e, muc.ErrKicked) && errors.Is(e, confab.ErrLost) && !errors.Is(e, muc.ErrBanned))
}
