package confabtest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
)

// inbox collects the bodies of what came.
type inbox struct {
	mu   sync.Mutex
	got  []string
	more chan struct{}
}

func newInbox(c *client.Client) *inbox {
	b := &inbox{more: make(chan struct{}, 1)}
	confab.On(c, func(_ context.Context, m *confab.Message) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.got = append(b.got, m.Body)
		select {
		case b.more <- struct{}{}:
		default:
		}
	})
	return b
}

func (b *inbox) wait(ctx context.Context, n int) []string {
	for {
		b.mu.Lock()
		got := slices.Clone(b.got)
		b.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-b.more:
		case <-ctx.Done():
			return got
		}
	}
}

// conversation has two clients exchange messages over connections that faults
// says how to break, and checks that each arrives once and in order. It returns
// how many connections there were.
func conversation(t *testing.T, n int, faults func(i int, c *confabtest.Conn)) int {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	var conns atomic.Int32
	srv.OnConn(func(c *confabtest.Conn) { faults(int(conns.Add(1)), c) })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var (
		clients [2]*client.Client
		boxes   [2]*inbox
		addrs   [2]jid.JID
		done    sync.WaitGroup
	)
	for i, user := range []string{"romeo", "juliet"} {
		address := srv.AddAccount(user, "pw")
		addrs[i] = jid.MustParse(address)
		c, err := client.New(client.Config{Address: address, Password: "pw", Dial: srv.Dial, Server: "x:1"})
		if err != nil {
			t.Fatal(err)
		}
		clients[i], boxes[i] = c, newInbox(c)
		done.Go(func() { _ = c.Run(ctx) })
	}
	defer done.Wait()
	defer cancel()
	// Nobody sends before both are there: nothing is to be kept offline.
	if err := srv.Wait(ctx, func() bool {
		up := 0
		for _, s := range srv.Sessions() {
			if s.Available {
				up++
			}
		}
		return up == 2
	}); err != nil {
		t.Error(err)
		return 0
	}
	for k := range n {
		for i, c := range clients {
			if _, err := c.SendMessage(ctx, confab.Draft{To: addrs[1-i], Body: fmt.Sprint(k)}); err != nil {
				t.Error(err)
			}
		}
	}
	for i, b := range boxes {
		got := b.wait(ctx, n)
		for k := range max(n, len(got)) {
			if k >= len(got) || got[k] != fmt.Sprint(k) {
				t.Errorf("client %d: %d of %d messages, at %d: %v", i, len(got), n, k, got)
				break
			}
		}
	}
	return int(conns.Load())
}

// TestCutEverywhere breaks connections after each number of stanzas, in both
// directions.
func TestCutEverywhere(t *testing.T) {
	const messages = 10
	for cut := 1; cut <= 2*messages; cut++ {
		for _, in := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				conns := conversation(t, messages, func(i int, c *confabtest.Conn) {
					// The first connections bring everybody up; the others are cut
					// later and later, so that there is progress.
					switch {
					case i > 2+messages:
					case in:
						c.CutAfterReadStanzas(cut)
					default:
						c.CutAfterStanzas(cut)
					}
				})
				if t.Failed() {
					t.Fatalf("cut after %d stanzas, in %v, %d connections", cut, in, conns)
				}
			})
		}
	}
}

// TestCutBytes breaks connections after numbers of bytes that are spread over the
// sign-in and what follows.
func TestCutBytes(t *testing.T) {
	for cut := int64(0); cut < 6000; cut += 151 {
		for _, in := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				conns := conversation(t, 10, func(i int, c *confabtest.Conn) {
					switch {
					case i > 8:
					case in:
						c.CutAfterReadBytes(cut)
					default:
						c.CutAfterBytes(cut)
					}
				})
				if t.Failed() {
					t.Fatalf("cut after %d bytes, in %v, %d connections", cut, in, conns)
				}
			})
		}
	}
}

// TestStorm cuts, resumes and steals streams from many goroutines.
func TestStorm(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{ResumeTimeout: 100 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	const clients = 6
	var wg sync.WaitGroup
	var received atomic.Int64
	for i := range clients {
		address := srv.AddAccount(fmt.Sprint("user", i), "pw")
		c, err := client.New(client.Config{Address: address, Password: "pw", Dial: srv.Dial, Server: "x:1", BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		confab.On(c, func(context.Context, *confab.Message) { received.Add(1) })
		wg.Go(func() { _ = c.Run(ctx) })
		wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				to := jid.MustParse(fmt.Sprintf("user%d@confab.test", (i+k)%clients))
				_, _ = c.SendMessage(ctx, confab.Draft{To: to, Body: fmt.Sprint(k)})
				if k%20 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for i := range clients {
		for j := range i {
			srv.Subscribe(fmt.Sprint("user", i), fmt.Sprint("user", j))
		}
	}
	// The storm abates, so that a slow machine gets somewhere, too.
	enough := func() bool { return srv.Stats().Resumptions >= 5 && received.Load() >= 20 }
	for i := 0; i < 300 || !enough() && ctx.Err() == nil; i++ {
		switch conns := srv.Conns(); {
		case i%50 == 49:
			srv.CutAll()
		case i%70 == 69:
			srv.ForgetStreams()
		case len(conns) > 0:
			conns[i%len(conns)].Cut()
		}
		_ = srv.Sessions()
		time.Sleep(time.Duration(1+i/200) * time.Millisecond)
	}
	st := srv.Stats()
	cancel()
	wg.Wait()
	srv.Close()
	if st.Resumptions == 0 || received.Load() == 0 {
		t.Errorf("%+v, %d messages", st, received.Load())
	}
	t.Logf("%+v, %d messages", st, received.Load())
}
