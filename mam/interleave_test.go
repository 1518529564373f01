package mam_test

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
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
	run   map[string]bool // handled by the run that goes on
	last  [2]int          // the last that came out of the archive, and live
	wrong []string
}

// begins says that the program was started again.
func (l *ledger) begins() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run, l.last = map[string]bool{}, [2]int{-1, -1}
}

func (l *ledger) add(m *confab.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[string]int{}
	}
	if l.run[m.Body] {
		l.wrong = append(l.wrong, m.Body+" came twice")
	}
	l.run[m.Body] = true
	n, way := 0, 0
	_, _ = fmt.Sscanf(m.Body, "number %d", &n)
	if m.Source != confab.Archive {
		way = 1
	}
	if n < l.last[way] {
		l.wrong = append(l.wrong, fmt.Sprintf("%s came after %d: %v", m.Body, l.last[way], m.Source))
	}
	l.last[way] = n
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
// while the program is stopped at any moment and started again. All arrives; no run of
// the program gets anything twice, and each gets in order what it reads and what comes
// live. CONFAB_SEEDS=200 makes 200 runs with an archive of 10,000.
func TestInterleaving(t *testing.T) {
	stored, live, seeds := 300, 100, int64(10)
	if n, err := strconv.ParseInt(os.Getenv("CONFAB_SEEDS"), 10, 64); err == nil {
		stored, live, seeds = 10_000, 300, n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd, rnd2 := rand.New(rand.NewSource(seed)), rand.New(rand.NewSource(-seed))
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
				l.begins()
				confab.On(c, func(_ context.Context, m *confab.Message) { l.add(m) })
				ctx, kill := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- c.Run(ctx) }()
				select {
				case <-stop:
					require.Eventually(t, func() bool { return l.len() == stored+live }, testclient.Patience, time.Millisecond)
					running = false
				case <-time.After(time.Duration(5+rnd2.Intn(10+stored/60)) * time.Millisecond):
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
			require.Empty(t, l.wrong)
			t.Logf("%d starts, %d connections", starts, srv.Stats().Connections)
		})
	}
}
