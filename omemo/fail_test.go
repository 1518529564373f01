package omemo_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/stretchr/testify/require"
)

// failingStore fails to commit while it is told to.
type failingStore struct {
	omemo.MemoryStore
	broken atomic.Bool
}

var errDisk = errors.New("the disk is full")

func (s *failingStore) Update(ctx context.Context, f func(omemo.Tx) error) error {
	if s.broken.Load() {
		return s.MemoryStore.Update(ctx, func(tx omemo.Tx) error {
			if err := f(tx); err != nil {
				return err
			}
			return errDisk
		})
	}
	return s.MemoryStore.Update(ctx, f)
}

// TestStoreFails: while the store fails nothing is sent, and nothing that comes is lost.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &failingStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On, Store: store})
		ctx := a.ctx
		talk := func(from, to *person, text string) {
			t.Helper()
			_, err := from.chats.With(to.bare()).Send(ctx, text)
			require.NoError(t, err)
			require.NotNil(t, to.heard.Next(t, saying(text)).Seal)
		}
		talk(a, b, "one")
		talk(b, a, "two")
		time.Sleep(time.Minute)

		store.broken.Store(true)
		for _, text := range []string{"three", "four"} {
			_, err := a.chats.With(b.bare()).Send(ctx, text)
			require.NoError(t, err)
			u := b.dark.Next(t, nil)
			require.ErrorIs(t, u.Err, errDisk)
			require.True(t, u.Waiting)
		}
		_, err := b.chats.With(a.bare()).Send(ctx, "not sent")
		require.ErrorIs(t, err, errDisk)
		time.Sleep(10 * time.Minute) // it is tried again and again, and told once
		require.Empty(t, b.dark.All())
		require.Empty(t, b.heard.All())
		require.Empty(t, a.heard.All())

		store.broken.Store(false)
		require.Equal(t, "three", b.heard.Next(t, nil).Text)
		require.Equal(t, "four", b.heard.Next(t, nil).Text)
		talk(b, a, "five")
		talk(a, b, "six")
		require.Empty(t, b.dark.All())
		require.Empty(t, a.dark.All())
		// A new session while the store fails: the keys in memory are those of the store.
		c := alive(t, testclient.Embedded(srv, "c"), omemo.Config{Mode: omemo.On})
		store.broken.Store(true)
		_, err = c.chats.With(b.bare()).Send(ctx, "seven")
		require.NoError(t, err)
		require.ErrorIs(t, b.dark.Next(t, nil).Err, errDisk)
		time.Sleep(time.Minute)
		store.broken.Store(false)
		require.Equal(t, "seven", b.heard.Next(t, nil).Text)
		talk(b, c, "eight")
	})
}
