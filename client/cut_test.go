package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"mellium.im/xmpp/jid"
)

// cutter makes connections that break after a number of bytes in either
// direction, wherever that is: in the middle of a stanza, of a TLS record, of a
// sign-in.
type cutter struct {
	mu   sync.Mutex
	next func(n int) int // bytes that connection n may carry; 0 for all
	// reads counts only what is read. A write that is cut in the middle of a
	// burst is thrown away by real servers as a whole, so that with short links
	// nothing would ever get across.
	reads bool
	n     int
	cuts  atomic.Int64
}

func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	limit := c.next(c.n)
	c.n++
	c.mu.Unlock()
	if limit == 0 {
		return conn, nil
	}
	cc := &cutConn{Conn: conn, c: c}
	cc.left.Store(int64(limit))
	return cc, nil
}

type cutConn struct {
	net.Conn
	c    *cutter
	left atomic.Int64
	once sync.Once
}

var errCut = errors.New("cut by the test")

func (c *cutConn) cut() {
	c.once.Do(func() {
		c.c.cuts.Add(1)
		// Every other time as a reset, which also throws away what the server
		// has not yet read.
		if t, ok := c.Conn.(*net.TCPConn); ok && c.c.cuts.Load()%2 == 0 {
			_ = t.SetLinger(0)
		}
		_ = c.Conn.Close()
	})
}

func (c *cutConn) Read(b []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		c.cut()
		return 0, errCut
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), left)])
	c.left.Add(-int64(n))
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.c.reads {
		return c.Conn.Write(b)
	}
	left := c.left.Load()
	if int64(len(b)) <= left {
		n, err := c.Conn.Write(b)
		c.left.Add(-int64(n))
		return n, err
	}
	n := 0
	if left > 0 {
		n, _ = c.Conn.Write(b[:left])
	}
	c.left.Store(0)
	c.cut()
	return n, errCut
}

// transcript is what one side received of the other's numbered messages.
type transcript struct {
	mu   sync.Mutex
	got  []string
	want int
	more chan struct{} // closed when one more came
}

func newTranscript(want int) *transcript {
	return &transcript{want: want, more: make(chan struct{})}
}

// await returns when n messages came, or false when ctx has ended.
func (tr *transcript) await(ctx context.Context, n int) bool {
	for {
		tr.mu.Lock()
		got, more := len(tr.got), tr.more
		tr.mu.Unlock()
		if got >= n {
			return true
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false
		}
	}
}

func (tr *transcript) listen(from jid.JID) func(*client.Client) {
	return func(c *client.Client) {
		confab.On(c, func(_ context.Context, m *confab.Message) {
			if !m.From.Bare().Equal(from) || !m.HasBody {
				return
			}
			tr.mu.Lock()
			defer tr.mu.Unlock()
			tr.got = append(tr.got, m.Body)
			close(tr.more)
			tr.more = make(chan struct{})
		})
	}
}

// check says whether every message came exactly once and in order.
func (tr *transcript) check(t *testing.T, who string) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i := range max(tr.want, len(tr.got)) {
		want, got := fmt.Sprint("m", i), "nothing"
		if i >= tr.want {
			want = "nothing"
		}
		if i < len(tr.got) {
			got = tr.got[i]
		}
		if got != want {
			t.Fatalf("%s: message %d of %d (%d came): got %s, want %s", who, i, tr.want, len(tr.got), got, want)
		}
	}
}

// TestCut has two accounts talk while their links are cut at random bytes: every
// message arrives exactly once, in order.
func TestCut(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		const minCuts = 100
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		cut := &cutter{reads: s.Name != testbed.Embedded, next: func(int) int {
			mu.Lock()
			defer mu.Unlock()
			return 4000 + rnd.IntN(16000)
		}}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		aliceAddr, alicePass := s.Account(t)
		bobAddr, bobPass := s.Account(t)
		alice, bob := jid.MustParse(aliceAddr), jid.MustParse(bobAddr)
		const each = 1500
		toAlice, toBob := newTranscript(each), newTranscript(each)
		ca, cb := config(s, aliceAddr, alicePass), config(s, bobAddr, bobPass)
		for _, c := range []*client.Config{&ca, &cb} {
			c.Dial, c.BackoffMin, c.BackoffMax = cut.dial, time.Millisecond, 20*time.Millisecond
			c.Patience = 10 * time.Second
		}
		noLoss := func(c *client.Client) {
			confab.On(c, func(_ context.Context, e confab.Lost) { t.Errorf("a stream was not resumed: %v", e.Err) })
		}
		a := up(t, ca, toAlice.listen(bob), noLoss)
		b := up(t, cb, toBob.listen(alice), noLoss)
		// At most a window of messages is under way, counted from end to end.
		// Prosody 13.0 goes on parsing in the middle of a stanza that was cut when
		// a stream is resumed, and then ends it for good; what it reads in one
		// piece stays whole. And it gives up a stream when 500 stanzas wait.
		// ejabberd 23.01 changes the order of what arrives while a stream is
		// being resumed, so there only one may be under way.
		window := 10
		if s.Name == testbed.Ejabberd {
			window = 1
		}
		send := func(c *running, to jid.JID, tr *transcript) {
			for i := range each {
				if !tr.await(ctx, i-window) {
					return
				}
				if _, err := c.SendMessage(ctx, confab.Draft{To: to, Body: fmt.Sprint("m", i)}); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		}
		toA, toB := a.LocalAddr(), b.LocalAddr()
		var wg sync.WaitGroup
		wg.Go(func() { send(a, toB, toBob) })
		wg.Go(func() { send(b, toA, toAlice) })
		wg.Wait()
		for _, tr := range []*transcript{toAlice, toBob} {
			tr.await(ctx, each)
		}
		// What came twice would come now.
		for _, c := range []*running{a, b} {
			if err := c.Close(ctx); err != nil {
				t.Error("close:", err)
			}
		}
		toAlice.check(t, "alice")
		toBob.check(t, "bob")
		if n := cut.cuts.Load(); n < minCuts {
			t.Errorf("only %d cuts", n)
		}
		t.Logf("%d cuts, alice %+v", cut.cuts.Load(), a.Stats())
	})
}
