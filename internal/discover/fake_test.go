package discover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeDNS answers from tables. A name that is in none of them does not exist.
type fakeDNS struct {
	srv   map[string][]*net.SRV    // by service name
	addrs map[string]string        // by host: addresses, space-separated
	errs  map[string]error         // by "service" or "ip4 host"
	delay map[string]time.Duration // by the same keys

	mu    sync.Mutex
	asked []string
}

func (f *fakeDNS) answer(ctx context.Context, key, name string) error {
	f.mu.Lock()
	f.asked = append(f.asked, key+" "+name)
	f.mu.Unlock()
	select {
	case <-time.After(f.delay[key]):
		return f.errs[key]
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeDNS) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if err := f.answer(ctx, service, name); err != nil {
		return "", f.srv[service], err
	}
	records, ok := f.srv[service]
	if !ok {
		return "", nil, notFound(name)
	}
	return name, records, nil
}

func (f *fakeDNS) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := f.answer(ctx, network+" "+host, ""); err != nil {
		return nil, err
	}
	var ips []netip.Addr
	for _, s := range strings.Fields(f.addrs[host]) {
		ip := netip.MustParseAddr(s)
		if ip.Is4() == (network == "ip4") {
			if ip.Is4() { // as net.Resolver does at times
				ip = netip.AddrFrom16(ip.As16())
			}
			ips = append(ips, ip)
		}
	}
	if len(ips) == 0 {
		return nil, notFound(host)
	}
	return ips, nil
}

func notFound(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// tripwire is a resolver that nobody may ask.
type tripwire struct{ t *testing.T }

func (w tripwire) LookupSRV(_ context.Context, service, _, name string) (string, []*net.SRV, error) {
	w.t.Errorf("DNS leak: SRV %s %s", service, name)
	return "", nil, notFound(name)
}

func (w tripwire) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	w.t.Errorf("DNS leak: %s %s", network, host)
	return nil, notFound(host)
}

// guardDefaultResolver makes the test fail if the system's DNS is used.
func guardDefaultResolver(t *testing.T) {
	old := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("DNS leak: the default resolver was asked")
		return nil, syscall.ECONNREFUSED
	}}
	t.Cleanup(func() { net.DefaultResolver = old })
}

// fakeNet has a server at each address in up, which is reached after that time;
// those in refuse refuse; all others swallow every packet.
type fakeNet struct {
	up     map[string]time.Duration
	refuse map[string]time.Duration

	mu      sync.Mutex
	began   time.Time
	dialed  []string // "address@time"
	dialing int
	open    int
}

func (n *fakeNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	if n.began.IsZero() {
		n.began = time.Now()
	}
	n.dialed = append(n.dialed, fmt.Sprintf("%s@%v", address, time.Since(n.began)))
	n.dialing++
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.dialing--
		n.mu.Unlock()
	}()

	var answer <-chan time.Time
	delay, up := n.up[address]
	after, refuses := n.refuse[address]
	switch {
	case up:
		answer = time.After(delay)
	case refuses:
		answer = time.After(after)
	}
	select {
	case <-answer:
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
	}
	if refuses {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	return &fakeConn{Conn: client, server: server, net: n, address: address}, nil
}

// check fails the test unless nothing is left but the given open connections.
func (n *fakeNet) check(t *testing.T, open int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dialing != 0 {
		t.Errorf("%d dials are still under way", n.dialing)
	}
	if n.open != open {
		t.Errorf("%d connections are open, want %d", n.open, open)
	}
}

type fakeConn struct {
	net.Conn
	server  net.Conn
	net     *fakeNet
	address string
	once    sync.Once
}

func (c *fakeConn) Close() error {
	c.once.Do(func() {
		c.net.mu.Lock()
		c.net.open--
		c.net.mu.Unlock()
	})
	c.server.Close()
	return c.Conn.Close()
}

// keep is a prepare function that is always satisfied.
func keep(_ context.Context, conn net.Conn, _ Target) (*fakeConn, error) {
	return conn.(*fakeConn), nil
}
