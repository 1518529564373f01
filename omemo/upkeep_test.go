package omemo_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"context"
	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
)

// bundleOf returns the id of the signed prekey and those of the prekeys that are published.
func bundleOf(t *testing.T, by, of *person) (signed string, keys map[string]bool) {
	t.Helper()
	items, err := pubsub.New(by, of.bare()).ItemsByID(by.ctx, omemo.NSv2+":bundles", fmt.Sprint(of.keys.Own().ID))
	require.NoError(t, err)
	require.Len(t, items, 1)
	keys = map[string]bool{}
	for _, k := range items[0].Payload.Child(omemo.NSv2, "prekeys").Children {
		keys[k.Get("id")] = true
	}
	return items[0].Payload.Child(omemo.NSv2, "spk").Get("id"), keys
}

// TestUpkeep: prekeys are used once and replaced, the signed one is replaced after a
// while, and who writes without an answer gets one that says nothing.
func TestUpkeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		var mu sync.Mutex
		empties := 0
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On}, func(c *client.Client) {
			c.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
				if e := m.Stanza.Child(omemo.NSv2, "encrypted"); e != nil && e.Child(omemo.NSv2, "payload") == nil {
					mu.Lock()
					defer mu.Unlock()
					empties++
				}
				return nil
			})
		})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return empties
		}
		signed, before := bundleOf(t, a, b)
		require.Len(t, before, 100)

		_, err := a.chats.With(b.bare()).Send(a.ctx, "first")
		require.NoError(t, err)
		b.heard.Next(t, saying("first"))
		time.Sleep(time.Minute)
		_, after := bundleOf(t, a, b)
		gone := 0
		for id := range before {
			if !after[id] {
				gone++
			}
		}
		require.Equal(t, 1, gone, "the prekey that was used is published no more")
		require.Equal(t, 1, count(), "the session was answered")

		// Heartbeat: one for a ratchet key, however much comes.
		for i := range 120 {
			_, err := a.chats.With(b.bare()).Send(a.ctx, fmt.Sprint("talk ", i))
			require.NoError(t, err)
		}
		b.heard.Next(t, saying("talk 119"))
		time.Sleep(time.Minute)
		require.Equal(t, 2, count(), "a heartbeat at the counter of 53")

		// New prekeys before there are none.
		for i := range 30 {
			p := alive(t, testclient.Embedded(srv, fmt.Sprintf("friend%d", i)), omemo.Config{Mode: omemo.On})
			_, err := p.chats.With(b.bare()).Send(p.ctx, fmt.Sprint("hello ", i))
			require.NoError(t, err)
			b.heard.Next(t, saying(fmt.Sprint("hello ", i)))
			time.Sleep(10 * time.Second)
			p.Stop(t)
		}
		_, after = bundleOf(t, a, b)
		require.GreaterOrEqual(t, len(after), 80)
		for id := range after {
			if !before[id] {
				gone = -1
			}
		}
		require.Equal(t, -1, gone, "there are new ones")

		// The signed prekey changes within three weeks, when something comes.
		time.Sleep(20 * 24 * time.Hour)
		_, err = a.chats.With(b.bare()).Send(a.ctx, "later")
		require.NoError(t, err)
		b.heard.Next(t, saying("later"))
		time.Sleep(time.Minute)
		now, _ := bundleOf(t, a, b)
		require.NotEqual(t, signed, now)
		require.Empty(t, b.dark.All())
		require.Empty(t, b.failed.All())
	})
}

// TestHealsSeldom: a device whose messages cannot be read gets one new session an hour,
// not one for each message.
func TestHealsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		var mu sync.Mutex
		exchanges := 0
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On}, func(c *client.Client) {
			c.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
				if e := m.Stanza.Child(omemo.NSv2, "encrypted"); e != nil {
					mu.Lock()
					defer mu.Unlock()
					exchanges++
					return confab.ErrConsumed // and never learns of it
				}
				return nil
			})
		})
		store := &omemo.MemoryStore{}
		cfg := testclient.Embedded(srv, "b")
		b := alive(t, cfg, omemo.Config{Mode: omemo.On, Store: store})
		_, err := a.chats.With(b.bare()).Send(a.ctx, "first")
		require.NoError(t, err)
		b.heard.Next(t, saying("first"))
		time.Sleep(time.Minute)
		b.Stop(t)
		data, err := omemo.Export(b.ctx, store, b.bare())
		require.NoError(t, err)
		restored := &omemo.MemoryStore{}
		require.NoError(t, omemo.Import(b.ctx, restored, b.bare(), data))
		require.Error(t, omemo.Import(b.ctx, restored, b.bare(), data), "there is a device already")
		require.Error(t, omemo.Import(b.ctx, &omemo.MemoryStore{}, a.bare(), data), "of another account")
		b = alive(t, cfg, omemo.Config{Mode: omemo.On, Store: restored})
		mu.Lock()
		exchanges = 0
		mu.Unlock()
		for i := range 50 {
			_, err := a.chats.With(b.bare()).Send(a.ctx, fmt.Sprint("unreadable ", i))
			require.NoError(t, err)
			time.Sleep(10 * time.Second)
		}
		mu.Lock()
		require.Equal(t, 1, exchanges)
		mu.Unlock()
		dark := b.dark.Take()
		require.Len(t, dark, 50)
		for _, e := range dark {
			require.ErrorIs(t, e.Err, ratchet.ErrUnknownSignedPreKey)
		}
	})
}
