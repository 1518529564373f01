package discover

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func targetsAt(hosts ...string) []Target {
	var targets []Target
	for i, h := range hosts {
		targets = append(targets, Target{Host: h, Port: 5222, Source: "test", Priority: uint16(i)})
	}
	return targets
}

// TestRace is the table of the ways in which the first address can be dead. All
// times are exact, for they are the bubble's.
func TestRace(t *testing.T) {
	const (
		ms     = time.Millisecond
		second = time.Second
	)
	type times = map[string]time.Duration
	for name, tt := range map[string]struct {
		targets []Target
		addrs   map[string]string
		delay   times // of DNS
		up      times
		refuse  times
		want    string // the address that wins
		took    time.Duration
		dialed  string
	}{
		"first works": {
			targets: targetsAt("a", "b"), addrs: map[string]string{"a": "::1 1.1.1.1", "b": "2.2.2.2"},
			up:   times{"[::1]:5222": 100 * ms, "2.2.2.2:5222": 0},
			want: "[::1]:5222", took: 100 * ms, dialed: "[::1]:5222@0s",
		},
		"dead IPv6 does not stall": {
			targets: targetsAt("a"), addrs: map[string]string{"a": "::1 ::2 1.1.1.1"},
			up:   times{"1.1.1.1:5222": 10 * ms},
			want: "1.1.1.1:5222", took: 260 * ms, dialed: "[::1]:5222@0s 1.1.1.1:5222@250ms",
		},
		"refusing IPv6 costs nothing": {
			targets: targetsAt("a"), addrs: map[string]string{"a": "::1 1.1.1.1"},
			up: times{"1.1.1.1:5222": 10 * ms}, refuse: times{"[::1]:5222": 0},
			want: "1.1.1.1:5222", took: 10 * ms, dialed: "[::1]:5222@0s 1.1.1.1:5222@0s",
		},
		"families alternate": {
			targets: targetsAt("a"), addrs: map[string]string{"a": "1.1.1.1 1.1.1.2 ::1 ::2 1.1.1.3"},
			up:   times{"1.1.1.3:5222": 0},
			want: "1.1.1.3:5222", took: second,
			dialed: "[::1]:5222@0s 1.1.1.1:5222@250ms [::2]:5222@500ms 1.1.1.2:5222@750ms 1.1.1.3:5222@1s",
		},
		"black hole first": {
			targets: targetsAt("a", "b"), addrs: map[string]string{"a": "1.1.1.1", "b": "2.2.2.2"},
			up:   times{"2.2.2.2:5222": 100 * ms},
			want: "2.2.2.2:5222", took: 350 * ms, dialed: "1.1.1.1:5222@0s 2.2.2.2:5222@250ms",
		},
		"refusals go on at once": {
			targets: targetsAt("a", "b", "c"), addrs: map[string]string{"a": "1.1.1.1", "b": "2.2.2.2", "c": "3.3.3.3"},
			up: times{"3.3.3.3:5222": 0}, refuse: times{"1.1.1.1:5222": 20 * ms, "2.2.2.2:5222": 30 * ms},
			want: "3.3.3.3:5222", took: 50 * ms, dialed: "1.1.1.1:5222@0s 2.2.2.2:5222@20ms 3.3.3.3:5222@50ms",
		},
		"slow first beats late second": {
			targets: targetsAt("a", "b"), addrs: map[string]string{"a": "1.1.1.1", "b": "2.2.2.2"},
			up:   times{"1.1.1.1:5222": 300 * ms, "2.2.2.2:5222": 100 * ms},
			want: "1.1.1.1:5222", took: 300 * ms, dialed: "1.1.1.1:5222@0s 2.2.2.2:5222@250ms",
		},
		"unknown name first": {
			targets: targetsAt("a", "b"), addrs: map[string]string{"b": "2.2.2.2"},
			up:   times{"2.2.2.2:5222": 0},
			want: "2.2.2.2:5222", dialed: "2.2.2.2:5222@0s",
		},
		"DNS that hangs for the first": {
			targets: targetsAt("a", "b"), addrs: map[string]string{"a": "1.1.1.1", "b": "2.2.2.2"},
			delay: times{"ip4 a": time.Hour, "ip6 a": time.Hour},
			up:    times{"2.2.2.2:5222": 0},
			want:  "2.2.2.2:5222", took: 250 * ms, dialed: "2.2.2.2:5222@0s",
		},
		"AAAA that hangs": {
			targets: targetsAt("a"), addrs: map[string]string{"a": "::1 1.1.1.1"},
			delay: times{"ip6 a": time.Hour},
			up:    times{"1.1.1.1:5222": 0},
			want:  "1.1.1.1:5222", took: resolutionDelay, dialed: "1.1.1.1:5222@0s",
		},
		"A that hangs": {
			targets: targetsAt("a"), addrs: map[string]string{"a": "::1 1.1.1.1"},
			delay: times{"ip4 a": time.Hour},
			up:    times{"[::1]:5222": 0},
			want:  "[::1]:5222", dialed: "[::1]:5222@0s",
		},
		"AAAA a little late still goes first": {
			targets: targetsAt("a"), addrs: map[string]string{"a": "::1 1.1.1.1"},
			delay: times{"ip6 a": 40 * ms},
			up:    times{"[::1]:5222": 0},
			want:  "[::1]:5222", took: 40 * ms, dialed: "[::1]:5222@0s",
		},
		"late address of the only target": {
			targets: targetsAt("a"), addrs: map[string]string{"a": "::1 1.1.1.1"},
			delay: times{"ip4 a": 400 * ms},
			up:    times{"1.1.1.1:5222": 0},
			want:  "1.1.1.1:5222", took: 400 * ms, dialed: "[::1]:5222@0s 1.1.1.1:5222@400ms",
		},
		"a better target's late address goes first": {
			targets: targetsAt("a", "b"), addrs: map[string]string{"a": "::1 1.1.1.1", "b": "2.2.2.2"},
			delay: times{"ip4 a": 60 * ms}, refuse: times{"[::1]:5222": 0},
			up:   times{"1.1.1.1:5222": 0, "2.2.2.2:5222": 0},
			want: "1.1.1.1:5222", took: 60 * ms, dialed: "[::1]:5222@0s 1.1.1.1:5222@60ms",
		},
		"literal addresses": {
			targets: targetsAt("::1", "1.1.1.1"), up: times{"1.1.1.1:5222": 0},
			want: "1.1.1.1:5222", took: 250 * ms, dialed: "[::1]:5222@0s 1.1.1.1:5222@250ms",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := &fakeNet{up: tt.up, refuse: tt.refuse}
				c := Config{Domain: "example.com", Resolver: &fakeDNS{addrs: tt.addrs, delay: tt.delay}, Dial: fake.dial}
				start := time.Now()
				conn, target, err := Race(t.Context(), c, tt.targets, keep)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if conn.address != tt.want {
					t.Errorf("%s won, want %s", conn.address, tt.want)
				}
				if conn.address != target.Addr() && !strings.Contains(tt.addrs[target.Host], strings.Trim(strings.TrimSuffix(conn.address, ":5222"), "[]")) {
					t.Errorf("%s is not of %v", conn.address, target)
				}
				if got := strings.Join(fake.dialed, " "); got != tt.dialed {
					t.Errorf("dialed %s\nwant %s", got, tt.dialed)
				}
				fake.check(t, 1)
				conn.Close()
			})
		})
	}
}

// TestRaceDefaultDialer checks the way without any hook, on the loopback.
func TestRaceDefaultDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr)
	dns := &fakeDNS{addrs: map[string]string{"a.example": "127.0.0.1"}}
	conn, err := Config{Resolver: dns}.DialContext(t.Context(), "tcp", fmt.Sprintf("a.example:%d", addr.Port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for _, bad := range [][2]string{{"udp", "a.example:1"}, {"tcp", "a.example"}, {"tcp", "a.example:x"}} {
		if _, err := (Config{Resolver: dns}).DialContext(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%s %s: no error", bad[0], bad[1])
		}
	}
}

// TestRaceError: the error tells of every attempt, and its causes are there for
// errors.Is and errors.As.
func TestRaceError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeNet{
			up:     map[string]time.Duration{"3.3.3.3:5222": 0, "4.4.4.4:5222": 0},
			refuse: map[string]time.Duration{"1.1.1.1:5222": time.Millisecond},
		}
		dns := &fakeDNS{
			addrs: map[string]string{"refuses.example": "1.1.1.1", "silent.example": "2.2.2.2", "badcert.example": "3.3.3.3", "mute.example": "4.4.4.4"},
			errs:  map[string]error{"ip4 broken.example": errServfail},
		}
		c := Config{Domain: "example.com", Resolver: dns, Dial: fake.dial, Timeout: 5 * time.Second}
		targets := targetsAt("unknown.example", "broken.example", "refuses.example", "silent.example", "badcert.example", "mute.example", "x.onion")
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.Contains(address, "onion") {
				return nil, nil // a hook that does not keep the contract
			}
			return fake.dial(ctx, network, address)
		}
		for i := range targets {
			targets[i].LookupErr = errUnusable
		}
		_, _, err := Race(t.Context(), c, targets, func(_ context.Context, conn net.Conn, target Target) (net.Conn, error) {
			if target.Host == "badcert.example" {
				return nil, &tls.CertificateVerificationError{Err: errors.New("wrong name")}
			}
			// A mute server, and a prepare that pays no heed to its context.
			_, err := conn.Read(make([]byte, 1))
			return conn, err
		})
		fake.check(t, 0)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("error is a %T: %v", err, err)
		}
		if e.Domain != "example.com" || e.Err != nil || len(e.Attempts) != len(targets) {
			t.Errorf("%+v", e)
		}
		text := err.Error()
		for _, want := range []string{
			"discover: cannot connect to example.com: ",
			"unknown.example:5222 STARTTLS (test) after 0s: lookup unknown.example: no such host; ",
			"broken.example:5222 STARTTLS (test) after 0s: lookup example.com: server misbehaving; ",
			"refuses.example:5222 STARTTLS (test) at 1.1.1.1:5222 after 1ms: dial tcp: connection refused; ",
			"silent.example:5222 STARTTLS (test) at 2.2.2.2:5222 after 5s: no success within 5s: context deadline exceeded",
			"badcert.example:5222 STARTTLS (test) at 3.3.3.3:5222 after 0s: tls: failed to verify certificate: wrong name; ",
			"mute.example:5222 STARTTLS (test) at 4.4.4.4:5222 after 5s: no success within 5s: context deadline exceeded",
			"x.onion:5222 STARTTLS (test) after 0s: the dial function returned no connection; ",
			"SRV lookup: no usable SRV record",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q\nis missing in\n%s", want, text)
			}
		}
		var verification *tls.CertificateVerificationError
		var dnsErr *net.DNSError
		if !errors.As(err, &verification) || !errors.As(err, &dnsErr) {
			t.Error("causes cannot be reached by errors.As")
		}
		for _, cause := range []error{syscall.ECONNREFUSED, context.DeadlineExceeded, errServfail, errUnusable} {
			if !errors.Is(err, cause) {
				t.Errorf("%v cannot be reached by errors.Is", cause)
			}
		}
	})
}

// TestRaceEmpty: a resolver without an answer or an error, no targets at all,
// and a bad proxy are errors, not crashes.
func TestRaceEmpty(t *testing.T) {
	if _, _, err := Race(t.Context(), Config{}, nil, keep); !errors.Is(err, errNoTargets) {
		t.Errorf("error %v", err)
	}
	if err := resolveError(nil); err != errNoAddresses {
		t.Errorf("error %v", err)
	}
}

func TestRaceCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeNet{up: map[string]time.Duration{"3.3.3.3:5222": 0}}
		dns := &fakeDNS{
			addrs: map[string]string{"a": "::1 1.1.1.1", "c": "3.3.3.3"},
			delay: map[string]time.Duration{"ip4 b": time.Hour, "ip6 b": time.Hour},
		}
		c := Config{Domain: "example.com", Resolver: dns, Dial: fake.dial}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		_, _, err := Race(ctx, c, targetsAt("a", "b", "c"), func(_ context.Context, conn net.Conn, _ Target) (net.Conn, error) {
			_, err := io.ReadFull(conn, make([]byte, 1))
			return conn, err
		})
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
		fake.check(t, 0)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(e.Err, context.DeadlineExceeded) || len(e.Attempts) != 4 {
			t.Errorf("error %v", err)
		}

		// Cancelled before it begins.
		cancel()
		fake.dialed = nil
		if _, _, err := Race(ctx, c, targetsAt("a"), keep); err == nil || len(fake.dialed) != 0 {
			t.Errorf("error %v, dialed %v", err, fake.dialed)
		}
	})
}

type permanent struct{ yes bool }

func (p permanent) Error() string   { return "account disabled" }
func (p permanent) Permanent() bool { return p.yes }

func TestRacePermanent(t *testing.T) {
	for _, yes := range []bool{true, false} {
		t.Run(fmt.Sprint(yes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := &fakeNet{up: map[string]time.Duration{"2.2.2.2:5222": 0, "3.3.3.3:5222": 0}}
				c := Config{Domain: "example.com", Dial: fake.dial}
				targets := targetsAt("1.1.1.1", "2.2.2.2", "3.3.3.3")
				_, target, err := Race(t.Context(), c, targets, func(_ context.Context, conn net.Conn, target Target) (net.Conn, error) {
					if target.Host == "2.2.2.2" {
						return nil, fmt.Errorf("login: %w", permanent{yes})
					}
					return conn, nil
				})
				if !yes {
					if err != nil || target.Host != "3.3.3.3" {
						t.Errorf("target %v, error %v", target, err)
					}
					fake.check(t, 1)
					return
				}
				fake.check(t, 0)
				var e *Error
				if !errors.Is(err, permanent{true}) || !errors.As(err, &e) || len(e.Attempts) != 2 || len(fake.dialed) != 2 {
					t.Errorf("error %v", err)
				}
				// The aborted one must not look as if the caller had cancelled.
				if errors.Is(err, context.Canceled) {
					t.Errorf("error %v claims to be a cancellation", err)
				}
			})
		})
	}
}

// TestRaceWebSocket: prepare dials by itself, beside TCP targets; a value that
// loses is closed.
func TestRaceWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := Target{Host: "w.example", Port: 443, URL: "wss://w.example/ws", Source: "host-meta"}
		fake := &fakeNet{up: map[string]time.Duration{"1.1.1.1:5222": 0}}
		c := Config{Domain: "example.com", Dial: fake.dial}
		var closed atomic.Int32
		got, target, err := Race(t.Context(), c, append([]Target{ws}, targetsAt("1.1.1.1")...),
			func(ctx context.Context, conn net.Conn, target Target) (io.Closer, error) {
				if (conn == nil) != (target.URL != "") {
					t.Errorf("connection %v for %v", conn, target)
				}
				if conn == nil {
					// Finishes just when it is told to stop, without noticing.
					<-ctx.Done()
					return closerFunc(func() error { closed.Add(1); return nil }), nil
				}
				return conn, nil
			})
		if err != nil || target.URL != "" || got == nil || closed.Load() != 1 {
			t.Errorf("target %v, error %v, %d closed", target, err, closed.Load())
		}
		fake.check(t, 1)

		text, target, err := Race(t.Context(), c, []Target{ws}, func(context.Context, net.Conn, Target) (string, error) { return "ok", nil })
		if err != nil || text != "ok" || target != ws {
			t.Errorf("%q, target %v, error %v", text, target, err)
		}
	})
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// TestRaceStubborn: a dial function that ignores its context delays the result
// by a bounded time, and its late connection is closed.
func TestRaceStubborn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeNet{up: map[string]time.Duration{"1.1.1.1:5222": time.Minute, "2.2.2.2:5222": 0}}
		c := Config{Domain: "example.com", Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			return fake.dial(context.Background(), network, address)
		}}
		start := time.Now()
		conn, _, err := Race(t.Context(), c, targetsAt("1.1.1.1", "2.2.2.2"), keep)
		if err != nil || conn.address != "2.2.2.2:5222" {
			t.Fatalf("error %v", err)
		}
		if took := time.Since(start); took != 250*time.Millisecond+drainTime {
			t.Errorf("took %v", took)
		}
		time.Sleep(2 * time.Minute)
		fake.check(t, 1)
	})
}

// TestRaceBounded: a domain cannot make its users knock at thousands of doors.
func TestRaceBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{addrs: map[string]string{}}
		var hosts []string
		for i := range maxTargets {
			host := fmt.Sprintf("h%d.example", i)
			hosts = append(hosts, host)
			for j := range 20 {
				dns.addrs[host] += fmt.Sprintf(" 10.0.%d.%d 2001:db8:%d::%d", i, j, i, j)
			}
		}
		fake := &fakeNet{}
		c := Config{Domain: "example.com", Resolver: dns, Dial: fake.dial, Timeout: time.Minute}
		_, _, err := Race(t.Context(), c, targetsAt(hosts...), keep)
		var e *Error
		if !errors.As(err, &e) || len(e.Attempts) != maxAttempts || len(fake.dialed) != maxAttempts {
			t.Errorf("%d dials, error %v", len(fake.dialed), err)
		}
		fake.check(t, 0)
	})
}

// TestRaceManyWinners: when several succeed in the same instant, one wins and
// the rest is closed.
func TestRaceManyWinners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeNet{up: map[string]time.Duration{}}
		var hosts []string
		for i := range 10 {
			host := fmt.Sprintf("10.0.0.%d", i)
			hosts = append(hosts, host)
			fake.up[host+":5222"] = 3*time.Second - time.Duration(i)*250*time.Millisecond
		}
		for range 20 {
			_, _, err := Race(t.Context(), Config{Dial: fake.dial}, targetsAt(hosts...), keep)
			if err != nil {
				t.Fatal(err)
			}
			fake.check(t, 1)
			fake.open = 0
		}
	})
}
