package muc_test

import (
	"context"
	"errors"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInHandlers: all that can be done with a room can be done where events are handled,
// also what waits for the room's answer.
func TestInHandlers(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, b := someone(t, s), someone(t, s)
		room, second := newRoom(s), newRoom(s)
		step, done := "", make(chan error, 1)
		confab.On(a.Client, func(ctx context.Context, m *muc.Message) {
			if m.Source != confab.Live || m.Text != "!all" {
				return
			}
			r := m.Room
			do := func(name string, f func() error) bool {
				step = name
				err := f()
				if err != nil {
					done <- err
				}
				return err == nil
			}
			sent := func(s *confab.Sent, err error) error {
				if err != nil {
					return err
				}
				return s.Wait(ctx, confab.Reflected)
			}
			_ = do("send", func() error { return sent(r.Send(ctx, "in a handler")) }) &&
				do("nick", func() error { return r.SetNick(ctx, "queen") }) &&
				do("presence", func() error { return r.SetPresence(ctx, "away", "busy") }) &&
				do("subject", func() error { return sent(r.SetSubject(ctx, "Handlers")) }) &&
				do("lists", func() error {
					for _, err := range r.Affiliations(ctx, muc.Owner) {
						if err != nil {
							return err
						}
					}
					return nil
				}) &&
				do("configure", func() error { return r.Configure(ctx, func(s *muc.Settings) { s.Name = "Handlers" }) }) &&
				do("another", func() error {
					other, err := a.rooms.Join(ctx, second, "alice")
					if err != nil {
						return err
					}
					return other.Leave(ctx)
				}) &&
				do("kick", func() error { return r.Kick(ctx, m.Nick, "enough") }) &&
				do("leave", func() error { return r.Leave(ctx) }) &&
				do("again", func() error { _, err := a.rooms.Join(ctx, room, "alice"); return err }) &&
				do("", func() error { done <- nil; return nil })
		})
		a.join(t, room, "alice", muc.Create(func(s *muc.Settings) { s.Persistent = true }))
		rb := b.join(t, room, "bob")
		b.states.Next(t, status(muc.Joined))
		_, err := rb.Send(b.ctx, "!all")
		require.NoError(t, err)
		select {
		case err := <-done:
			require.NoError(t, err, step)
		case <-a.ctx.Done():
			t.Fatal("stuck: ", step)
		}
		assert.Equal(t, muc.ErrKicked, kindOf(b.states.Next(t, status(muc.Out)).Err))
		assert.Equal(t, "Handlers", a.rooms.Room(room).Subject().Text)
		assert.Equal(t, "alice", a.rooms.Room(room).Nick())
	})
}

func kindOf(err error) error {
	var e *muc.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return err
}
