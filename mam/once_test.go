package mam_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestOnce: after a long absence the server sends what it has kept, and the archive has
// the same: each message is handed on once.
func TestOnce(t *testing.T) {
	const n = 6000
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	bob := signIn(t, testclient.Embedded(srv, "bob"), mam.Config{NoFollow: true})
	alice := testclient.Embedded(srv, "alice")
	to := jid.MustParse(alice.Address)
	say(t, bob, to, numbered(0, n)...)
	store := &client.MemoryStore{}
	require.NoError(t, store.Put(t.Context(), to.Bare().String()+"/mam", []byte(`{"Cursor":{"ID":"","Stamp":"2020-01-01T00:00:00Z"}}`)))
	var mu sync.Mutex
	seen := map[string]int{}
	done := make(chan struct{}, 100)
	var archives *mam.Archives
	c := testclient.Up(t, alice, func(c *client.Client) {
		archives = mam.New(c, mam.Config{Store: store, Wait: -1})
		confab.On(c, func(_ context.Context, m *confab.Message) {
			mu.Lock()
			defer mu.Unlock()
			seen[m.Body]++
		})
		confab.On(c, func(_ context.Context, p mam.Progress) {
			if p.Done {
				done <- struct{}{}
			}
		})
	})
	select {
	case <-done:
	case <-time.After(2 * testclient.Patience):
		t.Fatal("the archive was not read")
	}
	// Behind the first presence it is read again, unless that look came first.
	require.NoError(t, archives.CatchUp(testclient.Context(t), jid.JID{}))
	say(t, bob, to, "the last")
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen["the last"] > 0 && len(seen) >= n+1
	}, testclient.Patience, 10*time.Millisecond)
	c.Stop(t)
	mu.Lock()
	defer mu.Unlock()
	for text, times := range seen {
		require.Equal(t, 1, times, text)
	}
	require.Len(t, seen, n+1)
}
