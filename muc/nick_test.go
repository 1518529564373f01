package muc_test

import (
	"context"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestPreparedNick: Prosody and ejabberd make other nicknames of some, and do not say so.
func TestPreparedNick(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, b := someone(t, s), someone(t, s)
		room := newRoom(s)
		theirs := b.join(t, room, "b", muc.Create()) // Prosody's room would go when its only occupant changes the nickname
		r := a.join(t, room, "ﬁsh")
		assert.Contains(t, []string{"ﬁsh", "fish"}, r.Nick())
		require.NoError(t, r.SetNick(a.ctx, "Ⅳ"))
		assert.Contains(t, []string{"Ⅳ", "IV"}, r.Nick())
		require.ErrorIs(t, theirs.SetNick(b.ctx, "Ⅳ"), muc.ErrNickTaken)
		_, err := someone(t, s).rooms.Join(b.ctx, room, "Ⅳ")
		require.ErrorIs(t, err, muc.ErrNickTaken)
	})
}

// TestRenamedAlone: a room that goes when its only occupant changes the nickname, as
// Prosody's does, is entered again at once.
func TestRenamedAlone(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, b := someone(t, s), someone(t, s)
		room := newRoom(s)
		r := a.join(t, room, "a", muc.Create())
		require.NoError(t, r.SetNick(a.ctx, "aa"))
		theirs := b.join(t, room, "b")
		require.Eventually(t, func() bool {
			_, sees := theirs.Occupant("aa")
			_, seen := r.Occupant("b")
			return sees && seen
		}, testclient.Patience, time.Millisecond)
	})
}

// TestYoungNick: who has a nickname that we do not know the characters of is seen and
// heard, and can be thrown out.
func TestYoungNick(t *testing.T) {
	s := play(t, hag, coven)
	r := s.enter("thirdwitch")
	const nick = "\U0001FAE9" // of Unicode 16
	s.send(presence(coven+"/"+nick, "", x(item("participant", "none"))), groupchat("", "buy brooms").Set("from", coven+"/"+nick))
	assert.Equal(t, nick, s.changes.Next(t, nil).Occupant.Nick)
	m := s.heard.Next(t, nil)
	assert.Equal(t, nick, m.Nick)
	done := make(chan error, 1)
	go func() { done <- r.Kick(s.ctx, nick, "") }()
	assert.Equal(t, nick, s.answer().Children[0].Children[0].Get("nick"))
	require.NoError(t, <-done)
	_, err := r.SendPrivate(s.ctx, nick, "Why?")
	require.NoError(t, err)
	assert.Equal(t, coven+"/"+nick, s.tr.Next().Get("to"))
	// The room may give such a nickname to us.
	s.send(presence(coven+"/thirdwitch", "unavailable", x(item("participant", "none").Set("nick", nick+nick), "303", "110")),
		presence(coven+"/"+nick+nick, "", x(item("participant", "none"), "110")))
	assert.True(t, s.changes.Next(t, change(muc.Renamed, nick+nick)).Self)
	assert.Equal(t, nick+nick, r.Nick())
	require.NoError(t, r.SetPresence(s.ctx, "away", ""))
	assert.Equal(t, coven+"/"+nick+nick, s.tr.Next().Get("to"))
	require.Error(t, r.SetNick(s.ctx, nick), "what we know to be wrong is not sent")
}

// TestNickOfAnother: while the user enters under another nickname, what becomes of who has
// the former one is not the user's.
func TestNickOfAnother(t *testing.T) {
	s := play(t, hag, coven)
	done := s.begin("thirdwitch", muc.NickFallback())
	s.tr.Next()
	s.send(s.example(24)...)
	subject := groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", coven)
	s.send(subject)
	r := (<-done).room
	s.states.Next(t, status(muc.Joined))
	s.send(presence(coven+"/thirdwitch", "unavailable", x(item("none", "none"), "333", "110")))
	s.answer() // what can the room do?
	s.tr.Next()
	s.send(s.example(29)...)
	assert.Equal(t, coven+"/thirdwitch_", s.tr.Next().Get("to"))
	s.send(presence(coven+"/thirdwitch", "", x(item("participant", "none"))),
		presence(coven+"/thirdwitch", "unavailable", x(item("none", "none"), "307")),
		presence(coven+"/thirdwitch_", "", x(item("participant", "none"), "110")), subject)
	s.states.Next(t, status(muc.Suspect))
	s.states.Next(t, status(muc.Rejoining))
	require.Equal(t, muc.Joined, s.states.Next(t, nil).Status)
	assert.Equal(t, "thirdwitch_", r.Nick())
	assert.Len(t, r.Occupants(), 1)
}

// TestMadeAndGivenUp: who gives up while a new room is being configured is not left in it.
func TestMadeAndGivenUp(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	const room = "tea@rooms.slow.test"
	asked, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	srv.Component("rooms.slow.test", func(e *confab.Element) {
		switch {
		case e.Name.Local == "iq" && e.Get("type") == "get":
			_ = srv.Send(confab.El(confab.NSClient, "iq").Set("type", "error").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", e.Get("from")))
		case e.Name.Local == "iq":
			asked <- struct{}{} // and never answered
		case e.Get("type") == "unavailable":
			gone <- struct{}{}
		default:
			_ = srv.Send(presence(room+"/bob", "", x(item("moderator", "owner"), "110", "201")).Set("to", e.Get("from")))
			_ = srv.Send(groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", room).Set("to", e.Get("from")))
		}
	})
	p := signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	ctx, cancel := context.WithCancel(p.ctx)
	go func() {
		<-asked
		cancel()
	}()
	_, err := p.rooms.Join(ctx, jid.MustParse(room), "bob")
	require.ErrorIs(t, err, context.Canceled)
	select {
	case <-gone:
	case <-p.ctx.Done():
		t.Fatal("the user is still in the room")
	}
	assert.Empty(t, p.rooms.Rooms())
}

// TestInvitationOfAClient: rooms invite, and say who declines, by themselves; what an
// account's client plays is not believed.
func TestInvitationOfAClient(t *testing.T) {
	p, _, srv := victim(t)
	for _, what := range []string{"invite", "decline"} {
		p.inject(t, srv, confab.El(confab.NSClient, "message", confab.El(nsUser, "x",
			confab.El(nsUser, what).Set("from", "alice@confab.test"))).Set("from", "mallory@evil.test/res"))
	}
	assert.Empty(t, p.invites.All())
	assert.Empty(t, p.declined.All())
}
