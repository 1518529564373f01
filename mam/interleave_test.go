package mam_test

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
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

// ledger is what a program has handled, over all its runs: it outlives them, as a
// database does.
type ledger struct {
	mu    sync.Mutex
	order []string
	seen  map[string]int
}

func (l *ledger) add(m *confab.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[string]int{}
	}
	if l.seen[m.Body]++; l.seen[m.Body] == 1 {
		l.order = append(l.order, m.Body)
	}
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.order)
}

// TestInterleaving: an archive is read while more is said, while the link is cut, and
// while the program is stopped at any moment and started again: all arrives, what is
// read twice was read by a program that did not live to note its place.
func TestInterleaving(t *testing.T) {
	const stored, live = 300, 100
	for seed := range int64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewSource(seed))
			srv := confabtest.NewServer(confabtest.Config{})
			t.Cleanup(srv.Close)
			bob := signIn(t, testclient.Embedded(srv, "bob"), mam.Config{NoFollow: true})
			alice := testclient.Embedded(srv, "alice")
			to := jid.MustParse(alice.Address)
			places := &client.MemoryStore{}
			var l ledger
			cfg := mam.Config{Store: places, First: 100_000, Wait: -1}
			if rnd.Intn(2) == 0 {
				cfg.Wait = time.Minute
			}
			say(t, bob, to, numbered(0, stored)...)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { // says more, and cuts
				for i := range live {
					say(t, bob, to, fmt.Sprint("number ", stored+i))
					if rnd.Intn(10) == 0 {
						for _, c := range srv.Conns() {
							c.Cut()
						}
					}
				}
				close(stop)
			})
			starts := 0
			for running := true; running; starts++ {
				c, err := client.New(alice)
				require.NoError(t, err)
				mam.New(c, cfg)
				confab.On(c, func(_ context.Context, m *confab.Message) { l.add(m) })
				ctx, kill := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- c.Run(ctx) }()
				select {
				case <-stop:
					require.Eventually(t, func() bool { return l.len() == stored+live }, testclient.Patience, time.Millisecond)
					running = false
				case <-time.After(time.Duration(5+seed) * time.Millisecond):
				}
				kill()
				<-done
			}
			wg.Wait()
			want := numbered(0, stored+live)
			got := slices.Clone(l.order)
			slices.Sort(want)
			slices.Sort(got)
			require.Equal(t, want, got)
			t.Logf("%d starts, %d connections", starts, srv.Stats().Connections)
		})
	}
}
