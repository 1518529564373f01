package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
)

// TestCutEverywhere has two accounts talk and cuts a link at every boundary
// between stanzas and at random bytes, in both directions: every message arrives
// exactly once, in order.
func TestCutEverywhere(t *testing.T) {
	const each = 40
	kinds := []struct {
		name string
		runs int
		cut  func(c *confabtest.Conn, run int, rnd *rand.Rand)
	}{
		{"after stanzas out", 60, func(c *confabtest.Conn, run int, _ *rand.Rand) { c.CutAfterStanzas(run % 60) }},
		{"after elements out", 80, func(c *confabtest.Conn, run int, _ *rand.Rand) { c.CutAfterElements(run) }},
		{"after stanzas in", 60, func(c *confabtest.Conn, run int, _ *rand.Rand) { c.CutAfterReadStanzas(run % 60) }},
		{"bytes out", 60, func(c *confabtest.Conn, _ int, r *rand.Rand) { c.CutAfterBytes(r.Int64N(16000)) }},
		{"bytes in", 60, func(c *confabtest.Conn, _ int, r *rand.Rand) { c.CutAfterReadBytes(r.Int64N(9000)) }},
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var cuts, resumed, total int64
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			runs := k.runs
			if testing.Short() {
				runs /= 10
			}
			for run := range runs {
				n, r := cutOnce(t, each, func(c *confabtest.Conn) {
					k.cut(c, run, rand.New(rand.NewPCG(seed, uint64(run))))
				})
				cuts, resumed, total = cuts+n, resumed+r, total+1
				if t.Failed() {
					t.Fatalf("run %d", run)
				}
			}
		})
	}
	t.Logf("%d conversations, %d cuts, %d resumptions", total, cuts, resumed)
	if !testing.Short() && cuts < 1000 {
		t.Errorf("only %d cuts", cuts)
	}
}

// cutOnce runs one conversation. The first connection of each side after the
// sign-in is cut as cut says, and so are the next two.
func cutOnce(t *testing.T, each int, cut func(*confabtest.Conn)) (cuts, resumptions int64) {
	t.Helper()
	srv := confabtest.NewServer(confabtest.Config{Iterations: 4096, Without: confabtest.StartTLS})
	defer srv.Close()
	srv.AddAccount("alice", "a")
	srv.AddAccount("bob", "b")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var armed, n atomic.Int64
	srv.OnConn(func(c *confabtest.Conn) {
		// Beyond six, links last, so that it ends.
		if armed.Load() == 1 && n.Add(1) <= 6 {
			cut(c)
		}
	})
	toAlice, toBob := newTranscript(each), newTranscript(each)
	conf := func(user, pw string) client.Config {
		return client.Config{Address: user + "@" + srv.Domain(), Password: pw, Server: "xmpp://x:1", Dial: srv.Dial,
			BackoffMin: time.Millisecond, BackoffMax: 4 * time.Millisecond}
	}
	noLoss := func(c *client.Client) {
		confab.On(c, func(_ context.Context, e confab.Lost) { t.Errorf("a stream was not resumed: %v", e.Err) })
	}
	alice, bob := jid.MustParse("alice@"+srv.Domain()), jid.MustParse("bob@"+srv.Domain())
	a, endA := live(t, conf("alice", "a"), toAlice.listen(bob), noLoss)
	defer endA()
	b, endB := live(t, conf("bob", "b"), toBob.listen(alice), noLoss)
	defer endB()
	armed.Store(1)
	srv.CutAll()
	toA, toB := a.LocalAddr(), b.LocalAddr()
	for i := range each {
		for _, x := range []struct {
			c  *client.Client
			to jid.JID
		}{{a, toB}, {b, toA}} {
			if _, err := x.c.SendMessage(ctx, confab.Draft{To: x.to, Body: fmt.Sprint("m", i)}); err != nil {
				t.Errorf("send: %v", err)
			}
		}
	}
	if !toAlice.await(ctx, each) || !toBob.await(ctx, each) {
		t.Error("messages are missing")
	}
	for _, c := range []*client.Client{a, b} {
		if err := c.Close(ctx); err != nil {
			t.Error("close:", err)
		}
	}
	toAlice.check(t, "alice")
	toBob.check(t, "bob")
	// Every connection but the first two was made because another was cut.
	return int64(srv.Stats().Connections - 2), int64(srv.Stats().Resumptions)
}

// live runs a client until end is called.
func live(t *testing.T, cfg client.Config, setup ...func(*client.Client)) (c *client.Client, end func()) {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{}, 100)
	confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
	for _, f := range setup {
		f(c)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("Run ended: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready in time")
	}
	return c, func() {
		stop()
		<-done
	}
}
