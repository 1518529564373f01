package muc_test

import (
	"testing"

	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSlixmpp shares a room with slixmpp: what each of the two does is seen by the other.
func TestSlixmpp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room := newRoom(s)
		addr, pw := s.Account(t)
		a := someone(t, s)
		ra := a.join(t, room, "alice")
		peer := testclient.StartSlixmpp(t, s, addr, pw)
		is := func(key string, want any) func(map[string]any) bool {
			return func(e map[string]any) bool { return e[key] == want }
		}
		next := func(what string, ok func(map[string]any) bool) map[string]any {
			for {
				if e := peer.Expect(what); ok(e) {
					return e
				}
			}
		}
		peer.Do("join", room.String(), "slix")
		assert.Equal(t, []any{"alice", "slix"}, peer.Expect("joined")["nicks"])
		a.changes.Next(t, change(muc.Entered, "slix"))

		// Text, in public and in private.
		_, err := ra.Send(a.ctx, "hello, slixmpp")
		require.NoError(t, err)
		assert.Equal(t, "alice", next("message", is("body", "hello, slixmpp"))["nick"])
		peer.Do("send", room.String(), "hello, confab")
		assert.Equal(t, "slix", a.heard.Next(t, saying("hello, confab")).Nick)
		_, err = ra.SendPrivate(a.ctx, "slix", "psst")
		require.NoError(t, err)
		assert.Equal(t, "alice", next("private", is("body", "psst"))["nick"])
		peer.Do("private", room.String(), "alice", "yes?")
		assert.Equal(t, "slix", a.private.Next(t, nil).Nick)

		// The subject.
		_, err = ra.SetSubject(a.ctx, "Turtles")
		require.NoError(t, err)
		next("subject", is("text", "Turtles"))
		require.NoError(t, ra.SetRole(a.ctx, "slix", muc.Moderator, ""))
		a.changes.Next(t, func(c muc.Change) bool { return c.Kind == muc.Changed && c.Occupant.Role == muc.Moderator })
		peer.Do("subject", room.String(), "Snails")
		e := a.subjects.Next(t, func(e muc.Subject) bool { return e.Text == "Snails" })
		assert.Equal(t, "slix", e.Nick)

		// Nicknames.
		require.NoError(t, ra.SetNick(a.ctx, "alicia"))
		assert.Equal(t, "alicia", next("left", is("nick", "alice"))["to"])
		next("there", is("nick", "alicia"))
		peer.Do("nick", room.String(), "slack")
		assert.Equal(t, "slix", a.changes.Next(t, change(muc.Renamed, "slack")).Before.Nick)

		// Each throws somebody out.
		bAddr, bPw := s.Account(t)
		b := clientOf(t, s, bAddr, bPw)
		b.join(t, room, "bob")
		peer.Do("kick", room.String(), "bob", "enough")
		var me *muc.Error
		require.ErrorAs(t, b.states.Next(t, status(muc.Out)).Err, &me)
		require.ErrorIs(t, me, muc.ErrKicked)
		assert.Equal(t, "enough", me.Reason)
		a.changes.Next(t, change(muc.Kicked, "bob"))
		require.NoError(t, ra.SetRole(a.ctx, "slack", muc.Participant, ""))
		require.NoError(t, ra.Kick(a.ctx, "slack", "you, too"))
		assert.Contains(t, next("left", is("nick", "slack"))["codes"], 307.0)
		a.changes.Next(t, change(muc.Kicked, "slack"))
	})
}
