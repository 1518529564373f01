package discover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errServfail = &net.DNSError{Err: "server misbehaving", Name: "example.com", IsTemporary: true}

// brief writes targets as "host:port" with a "+" for direct TLS.
func brief(targets []Target) string {
	var parts []string
	for _, t := range targets {
		s := t.Addr()
		if t.Direct {
			s += "+"
		}
		if t.URL != "" {
			s = t.URL
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func TestTargets(t *testing.T) {
	const fallback = "example.com:5222 example.com:5223+"
	srv := func(target string, port, priority uint16) *net.SRV {
		return &net.SRV{Target: target, Port: port, Priority: priority}
	}
	dot := []*net.SRV{srv(".", 0, 0)}
	one := []*net.SRV{srv("x.example.com.", 5222, 0)}
	oneTLS := []*net.SRV{srv("x.example.com.", 443, 0)}
	for name, tt := range map[string]struct {
		xmpps, xmpp       []*net.SRV
		errXMPPS, errXMPP error
		want              string
		wantErr           error
		wantLookupErr     error
	}{
		"none": {want: fallback},
		"mixed by priority": {
			xmpps: []*net.SRV{srv("a.example.com.", 443, 20), srv("b.example.com.", 5223, 5)},
			xmpp:  []*net.SRV{srv("c.example.com.", 5222, 10), srv("d.example.com.", 5222, 30)},
			want:  "b.example.com:5223+ c.example.com:5222 a.example.com:443+ d.example.com:5222",
		},
		"only xmpps":                {xmpps: oneTLS, want: "x.example.com:443+"},
		"only xmpp":                 {xmpp: one, want: "x.example.com:5222"},
		"xmpps refused":             {xmpps: dot, xmpp: one, want: "x.example.com:5222"},
		"xmpp refused":              {xmpps: oneTLS, xmpp: dot, want: "x.example.com:443+"},
		"both refused":              {xmpps: dot, xmpp: dot, wantErr: ErrRefused},
		"xmpp refused, nothing":     {xmpp: dot, wantErr: ErrRefused},
		"xmpps refused, nothing":    {xmpps: dot, wantErr: ErrRefused},
		"xmpp refused, failure":     {xmpp: dot, errXMPPS: errServfail, wantErr: ErrLookup, wantLookupErr: errServfail},
		"xmpps fails":               {errXMPPS: errServfail, xmpp: one, want: "x.example.com:5222", wantLookupErr: errServfail},
		"xmpp fails":                {xmpps: oneTLS, errXMPP: errServfail, want: "x.example.com:443+", wantLookupErr: errServfail},
		"both fail":                 {errXMPPS: errServfail, errXMPP: errServfail, want: fallback, wantLookupErr: errServfail},
		"good records with error":   {xmpp: one, errXMPP: errServfail, want: "x.example.com:5222"},
		"a dot among good ones":     {xmpp: append(slices.Clone(dot), one...), want: "x.example.com:5222"},
		"twice the same":            {xmpp: append(slices.Clone(one), one...), want: "x.example.com:5222"},
		"empty answer is no answer": {xmpp: []*net.SRV{}, xmpps: []*net.SRV{}, want: fallback},
		"nonsense is left out": {
			xmpp: []*net.SRV{
				nil, srv("", 5222, 0), srv("a..b.", 5222, 0), srv("x.example.com.", 0, 0), srv("a/b@c:1.", 5222, 0),
				srv(strings.Repeat("a", 64)+".example.", 5222, 0), srv(strings.Repeat("a.", 200), 5222, 0),
				srv("bücher.example.", 5222, 0), srv("\x00.", 5222, 0), srv("OK.Example.com.", 1, 9),
			},
			want: "ok.example.com:1",
		},
		"only nonsense": {xmpp: []*net.SRV{srv("x.example.com.", 0, 0)}, want: fallback, wantLookupErr: errUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			dns := &fakeDNS{srv: map[string][]*net.SRV{}, errs: map[string]error{}}
			if tt.xmpps != nil {
				dns.srv["xmpps-client"] = tt.xmpps
			}
			if tt.xmpp != nil {
				dns.srv["xmpp-client"] = tt.xmpp
			}
			if tt.errXMPPS != nil {
				dns.errs["xmpps-client"] = tt.errXMPPS
			}
			if tt.errXMPP != nil {
				dns.errs["xmpp-client"] = tt.errXMPP
			}
			targets, err := Config{Domain: "Example.com.", Resolver: dns}.Targets(t.Context())
			if got := brief(targets); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
			if !errors.Is(err, tt.wantErr) || (err == nil) != (tt.wantErr == nil) {
				t.Errorf("error %v, want %v", err, tt.wantErr)
			}
			lookupErr := err
			for _, target := range targets {
				lookupErr = target.LookupErr
			}
			if tt.wantLookupErr == nil && tt.wantErr == nil && lookupErr != nil || !errors.Is(lookupErr, tt.wantLookupErr) && tt.wantLookupErr != nil {
				t.Errorf("lookup error %v, want %v", lookupErr, tt.wantLookupErr)
			}
			if !slices.Contains(dns.asked, "xmpps-client example.com.") || !slices.Contains(dns.asked, "xmpp-client example.com.") {
				t.Errorf("asked %q", dns.asked)
			}
		})
	}
}

func TestTargetsBounded(t *testing.T) {
	dns := &fakeDNS{srv: map[string][]*net.SRV{}}
	for i := range 3000 {
		dns.srv["xmpp-client"] = append(dns.srv["xmpp-client"], &net.SRV{Target: fmt.Sprintf("h%d.example.", i), Port: 5222})
	}
	targets, err := Config{Domain: "example.com", Resolver: dns}.Targets(t.Context())
	if err != nil || len(targets) != maxTargets {
		t.Errorf("%d targets, error %v", len(targets), err)
	}
}

// TestTargetsSlowDNS: one question that nobody answers costs a bounded time.
func TestTargetsSlowDNS(t *testing.T) {
	one := []*net.SRV{{Target: "x.example.com.", Port: 1}}
	for name, tt := range map[string]struct {
		dns  *fakeDNS
		want string
		took time.Duration
	}{
		"one has records": {
			&fakeDNS{srv: map[string][]*net.SRV{"xmpp-client": one}, delay: map[string]time.Duration{"xmpps-client": time.Hour}},
			"x.example.com:1", lookupGrace,
		},
		"one has none": {
			&fakeDNS{delay: map[string]time.Duration{"xmpps-client": time.Hour}},
			"example.com:5222 example.com:5223+", lookupTimeout,
		},
		"late but in time": {
			&fakeDNS{
				srv:   map[string][]*net.SRV{"xmpp-client": {{Target: "y.example.com.", Port: 2, Priority: 1}}, "xmpps-client": one},
				delay: map[string]time.Duration{"xmpps-client": time.Second},
			},
			"x.example.com:1+ y.example.com:2", time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				targets, err := Config{Domain: "example.com", Resolver: tt.dns}.Targets(t.Context())
				if err != nil || brief(targets) != tt.want {
					t.Errorf("got %s, error %v; want %s", brief(targets), err, tt.want)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if late := tt.took != time.Second; late != errors.Is(targets[0].LookupErr, context.DeadlineExceeded) {
					t.Errorf("lookup error %v", targets[0].LookupErr)
				}
			})
		})
	}
}

func TestTargetsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{delay: map[string]time.Duration{"xmpps-client": time.Hour, "xmpp-client": time.Hour}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Config{Domain: "example.com", Resolver: dns}.Targets(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestOrderWeights(t *testing.T) {
	const rounds = 20000
	intn := rand.New(rand.NewPCG(1, 2)).IntN
	first := func(targets ...Target) map[string]float64 {
		count := map[string]float64{}
		for range rounds {
			got := order(slices.Clone(targets), intn)
			if len(got) != len(targets) {
				t.Fatalf("%d targets became %d", len(targets), len(got))
			}
			count[got[0].Host] += 1.0 / rounds
		}
		return count
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if got < want-0.02 || got > want+0.02 {
			t.Errorf("%s came first in %.3f of the cases, want %.3f", what, got, want)
		}
	}
	// Both kinds share the weights: 60 of 100 is for direct TLS.
	got := first(Target{Host: "a", Weight: 60, Direct: true}, Target{Host: "b", Weight: 30}, Target{Host: "c", Weight: 10})
	near("60", got["a"], 0.6)
	near("30", got["b"], 0.3)
	near("10", got["c"], 0.1)
	// Weight 0 has a very small chance, but beside its like an equal one.
	got = first(Target{Host: "a", Weight: 99}, Target{Host: "b"})
	near("0 beside 99", got["b"], 0.01)
	got = first(Target{Host: "a"}, Target{Host: "b", Direct: true})
	near("0 beside 0", got["b"], 0.5)
	// Weight never beats priority.
	got = first(Target{Host: "a", Priority: 2, Weight: 65535}, Target{Host: "b", Priority: 1})
	near("priority 1", got["b"], 1)

	// What is left after the first is drawn by weight again.
	second := 0.0
	for range rounds {
		got := order([]Target{{Host: "a", Priority: 0}, {Host: "b", Priority: 1, Weight: 75}, {Host: "c", Priority: 1, Weight: 25}}, intn)
		if got[1].Host == "b" {
			second += 1.0 / rounds
		}
	}
	near("75 of priority 1", second, 0.75)
}

func TestTargetsWithoutDNS(t *testing.T) {
	guardDefaultResolver(t)
	proxy := &url.URL{Scheme: "socks5", Host: "127.0.0.1:9050"}
	dial := new(fakeNet).dial
	const onion = "xyz.onion"
	for name, tt := range map[string]struct {
		config  Config
		want    string
		wantErr error
	}{
		"onion, proxy":          {Config{Domain: onion, Proxy: proxy}, "xyz.onion:5222 xyz.onion:5223+", nil},
		"onion, dial":           {Config{Domain: onion, Dial: dial}, "xyz.onion:5222 xyz.onion:5223+", nil},
		"onion, proxy and DNS":  {Config{Domain: "XYZ.Onion.", Proxy: proxy, Resolver: tripwire{t}}, "xyz.onion:5222 xyz.onion:5223+", nil},
		"onion, nothing":        {Config{Domain: onion}, "", ErrOnion},
		"onion, only DNS":       {Config{Domain: onion, Resolver: tripwire{t}}, "", ErrOnion},
		"proxy":                 {Config{Domain: "example.com", Proxy: proxy}, "example.com:5222 example.com:5223+", nil},
		"dial":                  {Config{Domain: "example.com", Dial: dial}, "example.com:5222 example.com:5223+", nil},
		"IPv4":                  {Config{Domain: "192.0.2.1", Resolver: tripwire{t}}, "192.0.2.1:5222 192.0.2.1:5223+", nil},
		"IPv6":                  {Config{Domain: "[2001:DB8::1]", Resolver: tripwire{t}}, "[2001:db8::1]:5222 [2001:db8::1]:5223+", nil},
		"localhost":             {Config{Domain: "localhost", Resolver: tripwire{t}}, "localhost:5222 localhost:5223+", nil},
		"IDN":                   {Config{Domain: "Bücher.example", Proxy: proxy}, "xn--bcher-kva.example:5222 xn--bcher-kva.example:5223+", nil},
		"empty":                 {Config{Resolver: tripwire{t}}, "", ErrDomain},
		"dot":                   {Config{Domain: ".", Resolver: tripwire{t}}, "", ErrDomain},
		"not a domain":          {Config{Domain: "a b", Resolver: tripwire{t}}, "", ErrDomain},
		"with a path":           {Config{Domain: "example.com/x", Resolver: tripwire{t}}, "", ErrDomain},
		"with a port":           {Config{Domain: "example.com:1", Resolver: tripwire{t}}, "", ErrDomain},
		"bad IDN":               {Config{Domain: "bü\u200dcher.example", Resolver: tripwire{t}}, "", ErrDomain},
		"very long IDN":         {Config{Domain: strings.Repeat("中文", 1<<20), Resolver: tripwire{t}}, "", ErrDomain},
		"override":              {Config{Domain: "example.com", Override: "h.example:1", Resolver: tripwire{t}}, "h.example:1", nil},
		"override with nothing": {Config{Override: "nonsense://", Resolver: tripwire{t}}, "", ErrOverride},
	} {
		t.Run(name, func(t *testing.T) {
			targets, err := tt.config.Targets(t.Context())
			if got := brief(targets); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
			if !errors.Is(err, tt.wantErr) || (err == nil) != (tt.wantErr == nil) {
				t.Errorf("error %v, want %v", err, tt.wantErr)
			}
			var typed *Error
			if err != nil && !errors.As(err, &typed) {
				t.Errorf("error is a %T", err)
			}
		})
	}
}

// TestTargetsProxyWithResolver: a resolver that the caller gave is asked for SRV
// records even with a proxy.
func TestTargetsProxyWithResolver(t *testing.T) {
	guardDefaultResolver(t)
	dns := &fakeDNS{srv: map[string][]*net.SRV{"xmpp-client": {{Target: "x.example.com.", Port: 1}}}}
	c := Config{Domain: "example.com", Proxy: &url.URL{Scheme: "socks5", Host: "127.0.0.1:9050"}, Resolver: dns}
	targets, err := c.Targets(t.Context())
	if err != nil || brief(targets) != "x.example.com:1" {
		t.Errorf("got %s, error %v", brief(targets), err)
	}
}

func TestOverride(t *testing.T) {
	for in, want := range map[string]string{
		"h.example":                    "h.example:5222 h.example:5223+",
		"H.Example.":                   "h.example:5222 h.example:5223+",
		"h.example:80":                 "h.example:80",
		"h.example:443":                "h.example:443+ h.example:443",
		"h.example:5223":               "h.example:5223+ h.example:5223",
		"192.0.2.1":                    "192.0.2.1:5222 192.0.2.1:5223+",
		"192.0.2.1:1":                  "192.0.2.1:1",
		"2001:db8::1":                  "[2001:db8::1]:5222 [2001:db8::1]:5223+",
		"[2001:db8::1]":                "[2001:db8::1]:5222 [2001:db8::1]:5223+",
		"[2001:db8::1]:1":              "[2001:db8::1]:1",
		"xmpp://h.example":             "h.example:5222",
		"xmpp://h.example:443":         "h.example:443",
		"xmpps://h.example":            "h.example:5223+",
		"XMPPS://h.example:443/":       "h.example:443+",
		"xmpps://[2001:db8::1]":        "[2001:db8::1]:5223+",
		"xmpp://bücher.example:1":      "xn--bcher-kva.example:1",
		"wss://h.example/ws":           "wss://h.example/ws",
		"wss://h.example:443/ws?a=b#c": "wss://h.example/ws?a=b",
		"WSS://BÜCHER.example:5281/ws": "wss://xn--bcher-kva.example:5281/ws",
		"wss://[2001:db8::1]:5281/x":   "wss://[2001:db8::1]:5281/x",
		"wss://[2001:db8::1]/x":        "wss://[2001:db8::1]/x",
		"ws://h.example/ws":            "",
		"https://h.example/ws":         "",
		"wss://":                       "",
		"wss:h.example":                "",
		"wss://user:secret@h.example/": "",
		"wss://h.example:0/":           "",
		"wss://h.example:99999/":       "",
		"xmpp://":                      "",
		"xmpp://h.example/path":        "",
		"xmpp://user@h.example":        "",
		"xmpps://h.example:https":      "",
		"h.example:":                   "",
		"h.example:0":                  "",
		"h.example:65536":              "",
		":5222":                        "",
		"[::1":                         "",
		"[h.example]":                  "",
		"h.example:1:2":                "",
		" ":                            "",
		"tcp://h.example":              "",
	} {
		targets, err := Config{Domain: "example.com", Override: in}.Targets(t.Context())
		if got := brief(targets); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
		if (want == "") != errors.Is(err, ErrOverride) {
			t.Errorf("%s: error %v", in, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: password in error %v", in, err)
		}
	}
}

func TestTargetString(t *testing.T) {
	for want, target := range map[string]Target{
		"h:5222 STARTTLS (fallback)":    {Host: "h", Port: 5222, Source: "fallback"},
		"[::1]:5223 direct TLS (x)":     {Host: "::1", Port: 5223, Direct: true, Source: "x"},
		"wss://h.example/ws (override)": {Host: "h.example", Port: 443, URL: "wss://h.example/ws", Source: "override"},
	} {
		if got := target.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestTransport: the environment's proxy is for those without a way of their
// own.
func TestTransport(t *testing.T) {
	if tr := (Config{}).Transport(); tr.Proxy == nil || tr.DialContext == nil {
		t.Error("the plain transport ignores the environment or dials by itself")
	}
	for _, c := range []Config{{Dial: new(fakeNet).dial}, {Proxy: &url.URL{Scheme: "socks5"}}, {Resolver: tripwire{t}}} {
		if tr := c.Transport(); tr.Proxy != nil || tr.DialContext == nil {
			t.Error("the environment's proxy comes before the caller's way")
		}
	}
}
