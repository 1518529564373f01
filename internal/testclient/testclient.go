// Package testclient has clients for the tests of features: accounts of a server
// of the testbed, or of the embedded server, that are signed in.
package testclient

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
)

// Patience bounds what must happen in a test; slow machines need it.
const Patience = 60 * time.Second

// A Client is a client under Run.
type Client struct {
	*client.Client
	ready chan confab.Ready
	done  chan error
	stop  context.CancelFunc
}

// Config is the configuration for an account on a server of the testbed.
func Config(s *testbed.Server, address, password string) client.Config {
	return client.Config{
		Address: address, Password: password, Server: "xmpp://" + s.Addr,
		TLS:        &tls.Config{RootCAs: s.CA},
		BackoffMin: 10 * time.Millisecond, BackoffMax: time.Second,
	}
}

// Embedded is the configuration for an account on an embedded server, which is
// reached in memory, so it works under testing/synctest.
func Embedded(srv *confabtest.Server, user string) client.Config {
	return client.Config{
		Address: srv.AddAccount(user, "secret"), Password: "secret", Dial: srv.Dial,
		BackoffMin: 10 * time.Millisecond, BackoffMax: time.Second,
	}
}

// Up makes a client, lets setup put features on it, and waits until it is ready. It
// ends with the test. With CONFAB_WIRE set, the test logs what goes over the wire.
func Up(tb testing.TB, cfg client.Config, setup ...func(*client.Client)) *Client {
	tb.Helper()
	c := Start(tb, cfg, setup...)
	c.WaitReady(tb)
	return c
}

// Start is Up without the wait.
func Start(tb testing.TB, cfg client.Config, setup ...func(*client.Client)) *Client {
	tb.Helper()
	if os.Getenv("CONFAB_WIRE") != "" {
		cfg.Wire = func(e client.WireEvent) { tb.Log(cfg.Address, e.Out, e.XML) }
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	cl, err := client.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	c := &Client{Client: cl, ready: make(chan confab.Ready, 1000), done: make(chan error, 1)}
	confab.On(cl, func(_ context.Context, e confab.Ready) { c.ready <- e })
	for _, f := range setup {
		f(cl)
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	go func() { c.done <- cl.Run(ctx) }()
	tb.Cleanup(func() { c.Stop(tb) })
	return c
}

// WaitReady waits for the next time that the client is ready.
func (c *Client) WaitReady(tb testing.TB) confab.Ready {
	tb.Helper()
	select {
	case e := <-c.ready:
		return e
	case err := <-c.done:
		c.done <- err
		tb.Fatalf("Run ended: %v", err)
	case <-time.After(Patience):
		tb.Fatal("the client did not become ready")
	}
	return confab.Ready{}
}

// Stop signs off and waits for Run to return.
func (c *Client) Stop(tb testing.TB) {
	tb.Helper()
	c.stop()
	select {
	case err := <-c.done:
		c.done <- err
	case <-time.After(Patience):
		tb.Error("Run did not return after its context had ended")
	}
}

// Eventually reports whether something becomes so, and waits for it if it is not.
func Eventually(so func() bool) bool {
	for late := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		if so() {
			return true
		}
		if time.Now().After(late) {
			return false
		}
	}
}

// Context ends with the test, or when a test has lasted too long.
func Context(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	tb.Cleanup(cancel)
	return ctx
}

// Seen are the events of one type that a session has emitted. Make it before the
// session runs.
type Seen[T any] struct {
	mu     sync.Mutex
	events []T
	more   chan struct{}
}

// Watch keeps every event of type T.
func Watch[T any](s confab.Session) *Seen[T] {
	w := &Seen[T]{more: make(chan struct{})}
	confab.On(s, func(_ context.Context, e T) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
		close(w.more)
		w.more = make(chan struct{})
	})
	return w
}

// Next waits for the first event that ok accepts, takes it out and returns it. A nil
// ok accepts all.
func (w *Seen[T]) Next(tb testing.TB, ok func(T) bool) T {
	tb.Helper()
	late := time.After(Patience)
	for {
		w.mu.Lock()
		for i, e := range w.events {
			if ok == nil || ok(e) {
				w.events = append(w.events[:i:i], w.events[i+1:]...)
				w.mu.Unlock()
				return e
			}
		}
		more := w.more
		w.mu.Unlock()
		select {
		case <-more:
		case <-late:
			w.mu.Lock()
			defer w.mu.Unlock()
			tb.Fatalf("no such event came; what came: %+v", w.events)
		}
	}
}

// Take returns what came and takes it out.
func (w *Seen[T]) Take() []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.events
	w.events = nil
	return all
}

// All returns what came and was not taken out.
func (w *Seen[T]) All() []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]T(nil), w.events...)
}
