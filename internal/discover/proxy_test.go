package discover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// socksServer is a SOCKS5 proxy that says to whom it was asked to connect, and
// as which user, through the connection itself.
func socksServer(t *testing.T, auth bool) net.Addr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := serveSOCKS(conn, auth); err != nil {
					t.Errorf("proxy: %v", err)
				}
			}()
		}
	}()
	return l.Addr()
}

func serveSOCKS(conn net.Conn, auth bool) error {
	read := func(n int) []byte {
		b := make([]byte, n)
		io.ReadFull(conn, b)
		return b
	}
	methods := read(int(read(2)[1]))
	user := "nobody"
	if !auth {
		conn.Write([]byte{5, 0})
	} else {
		if !strings.Contains(string(methods), "\x02") {
			return errors.New("no password offered")
		}
		conn.Write([]byte{5, 2})
		user = string(read(int(read(2)[1])))
		user += ":" + string(read(int(read(1)[0])))
		conn.Write([]byte{1, 0})
	}
	request := read(4)
	if request[3] != 3 {
		return fmt.Errorf("address type %d is not a name", request[3])
	}
	host := string(read(int(read(1)[0])))
	port := read(2)
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	_, err := fmt.Fprintf(conn, "%s %s:%d", user, host, int(port[0])<<8|int(port[1]))
	return err
}

// TestProxy: the proxy gets the name, nobody else does.
func TestProxy(t *testing.T) {
	guardDefaultResolver(t)
	for name, tt := range map[string]struct {
		user     *url.Userinfo
		resolver Resolver
		want     string
	}{
		"plain":           {nil, nil, "nobody"},
		"isolated":        {url.UserPassword("stream", "1"), nil, "stream:1"},
		"with a resolver": {nil, &fakeDNS{addrs: map[string]string{"x.example.com": "192.0.2.1"}}, "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := socksServer(t, tt.user != nil)
			var hops []string
			c := Config{
				Domain: "example.com", Resolver: tt.resolver,
				Proxy: &url.URL{Scheme: "socks5", User: tt.user, Host: addr.String()},
				// The way to the proxy, and only that.
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					hops = append(hops, address)
					return new(net.Dialer).DialContext(ctx, network, address)
				},
			}
			for _, host := range []string{"x.example.com", "xyz.onion"} {
				got, _, err := Race(t.Context(), c, []Target{{Host: host, Port: 5222}}, func(_ context.Context, conn net.Conn, _ Target) (string, error) {
					b, err := io.ReadAll(conn)
					conn.Close()
					return string(b), err
				})
				if want := tt.want + " " + host + ":5222"; err != nil || got != want {
					t.Errorf("proxy says %q, want %q, error %v", got, want, err)
				}
			}
			if len(hops) != 2 || hops[0] != addr.String() {
				t.Errorf("connected to %q", hops)
			}
			if dns, ok := tt.resolver.(*fakeDNS); ok && len(dns.asked) != 0 {
				t.Errorf("asked %q", dns.asked)
			}

			// Without a hook, and for the account's HTTP clients.
			c.Dial = nil
			conn, err := c.DialContext(t.Context(), "tcp", "upload.example.com:443")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if b, _ := io.ReadAll(conn); string(b) != tt.want+" upload.example.com:443" {
				t.Errorf("proxy says %q", b)
			}
		})
	}
}

func TestProxyBad(t *testing.T) {
	for _, address := range []string{"http://127.0.0.1:1", "socks5://", "socks4://127.0.0.1:1", "127.0.0.1"} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("user", "secret")
		_, _, err = Race(t.Context(), Config{Domain: "example.com", Proxy: u}, targetsAt("a"), keep)
		if !errors.Is(err, ErrProxy) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", address, err)
		}
	}
	if address, err := proxyAddress(&url.URL{Scheme: "socks5h", Host: "[::1]"}); err != nil || address != "[::1]:1080" {
		t.Errorf("address %s, error %v", address, err)
	}
}

// TestProxySilent: a proxy that says nothing is given up in time, and on
// cancellation.
func TestProxySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeNet{up: map[string]time.Duration{"127.0.0.1:9050": 0}}
		c := Config{
			Domain: "example.com", Timeout: 3 * time.Second, Dial: fake.dial, Resolver: tripwire{t},
			Proxy: &url.URL{Scheme: "socks5", User: url.UserPassword("user", "secret"), Host: "127.0.0.1:9050"},
		}
		start := time.Now()
		_, _, err := Race(t.Context(), c, targetsAt("a.example"), keep)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("took %v, error %v", time.Since(start), err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("password in error %v", err)
		}
		fake.check(t, 0)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, _, err := Race(ctx, c, targetsAt("a.example", "b.example"), keep); err == nil || time.Since(start) != time.Second {
			t.Errorf("took %v, error %v", time.Since(start), err)
		}
		fake.check(t, 0)
	})
}

// TestOnionNeverLooked: whatever is configured, .onion names stay out of DNS.
func TestOnionNeverLooked(t *testing.T) {
	guardDefaultResolver(t)
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeNet{up: map[string]time.Duration{"xyz.onion:5222": 0}}
		for name, tt := range map[string]struct {
			config Config
			want   error
		}{
			"nothing":        {Config{}, ErrOnion},
			"resolver":       {Config{Resolver: tripwire{t}}, ErrOnion},
			"dial":           {Config{Dial: fake.dial}, nil},
			"dial, resolver": {Config{Dial: fake.dial, Resolver: tripwire{t}}, nil},
		} {
			conn, err := tt.config.DialContext(t.Context(), "tcp", "xyz.onion:5222")
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%s: error %v", name, err)
			}
			if conn != nil {
				conn.Close()
			}
		}
		// The host override of an ordinary account may be an onion.
		c := Config{Domain: "example.com", Override: "xyz.onion", Dial: fake.dial, Resolver: tripwire{t}}
		targets, err := c.Targets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn, _, err := Race(t.Context(), c, targets, keep)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		fake.check(t, 0)
	})
}
