package client_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

// patience bounds what must happen in a test; slow machines need it.
const patience = 60 * time.Second

// running is a client under Run.
type running struct {
	*client.Client
	ready chan confab.Ready
	done  chan error
	stop  context.CancelFunc
}

// config is the configuration for an account on a server of the testbed.
func config(s *testbed.Server, address, password string) client.Config {
	return client.Config{
		Address: address, Password: password, Server: "xmpp://" + s.Addr,
		TLS:        &tls.Config{RootCAs: s.CA},
		BackoffMin: 10 * time.Millisecond, BackoffMax: time.Second,
	}
}

// start runs a client and ends it with the test.
func start(t *testing.T, cfg client.Config, setup ...func(*client.Client)) *running {
	t.Helper()
	if os.Getenv("CONFAB_WIRE") != "" {
		cfg.Wire = func(e client.WireEvent) { t.Log(cfg.Address, e.Out, e.XML) }
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Client: c, ready: make(chan confab.Ready, 100), done: make(chan error, 1)}
	confab.On(c, func(_ context.Context, e confab.Ready) { r.ready <- e })
	for _, f := range setup {
		f(c)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(func() {
		r.stop()
		select {
		case <-r.done:
		case <-time.After(patience):
			t.Error("Run did not return after its context had ended")
		}
	})
	return r
}

// up starts a client and waits until it is ready.
func up(t *testing.T, cfg client.Config, setup ...func(*client.Client)) *running {
	t.Helper()
	r := start(t, cfg, setup...)
	r.wait(t)
	return r
}

func (r *running) wait(t *testing.T) confab.Ready {
	t.Helper()
	select {
	case e := <-r.ready:
		return e
	case err := <-r.done:
		r.done <- err
		t.Fatalf("Run ended: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready in time")
	}
	return confab.Ready{}
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
