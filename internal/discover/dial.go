package discover

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/net/proxy"
)

// dialer returns what opens a connection to an address, or to a host name if
// remoteDNS says so.
func (c Config) dialer() (DialFunc, error) {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	if c.Proxy == nil {
		return dial, nil
	}
	address, err := proxyAddress(c.Proxy)
	if err != nil {
		return nil, err
	}
	var auth *proxy.Auth
	if c.Proxy.User != nil {
		password, _ := c.Proxy.User.Password()
		auth = &proxy.Auth{User: c.Proxy.User.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", address, auth, forward(dial))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	return d.(proxy.ContextDialer).DialContext, nil
}

// proxyAddress returns the host:port of a proxy. Its texts keep the password to
// themselves.
func proxyAddress(u *url.URL) (string, error) {
	// Both schemes are the same here: names are always resolved by the proxy.
	if u.Scheme != "socks5" && u.Scheme != "socks5h" {
		return "", fmt.Errorf("%w: unknown scheme %q", ErrProxy, u.Scheme)
	}
	if u.Hostname() == "" {
		return "", fmt.Errorf("%w: no host", ErrProxy)
	}
	port := u.Port()
	if port == "" {
		port = "1080"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// forward lets a DialFunc be the way to the proxy.
type forward DialFunc

func (f forward) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

func (f forward) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// DialContext connects to a host:port of the caller's under the rules that hold
// for targets: the same proxy or dial function, the same resolver, names left
// to the far end, IPv4 and IPv6 raced, each attempt bounded. It is for HTTP
// clients that belong to the account, such as file upload and WebSocket.
// The network must be "tcp". The error is an *[Error].
func (c Config) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, net.UnknownNetworkError(network)
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, &net.AddrError{Err: "bad port", Addr: address}
	}
	c.Domain = host
	conn, _, err := Race(ctx, c, []Target{{Host: host, Port: uint16(port), Source: "address"}},
		func(_ context.Context, conn net.Conn, _ Target) (net.Conn, error) { return conn, nil })
	return conn, err
}

// Transport returns a new HTTP transport that connects by [Config.DialContext].
// If the caller has set no way of its own, the proxy of the environment
// (HTTPS_PROXY) is honoured. Under js/wasm, the browser connects.
func (c Config) Transport() *http.Transport {
	t := &http.Transport{
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        8,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: c.timeout(),
	}
	if c.TLS != nil {
		t.TLSClientConfig = c.TLS.Clone()
		t.TLSClientConfig.ServerName = "" // that of the address
	}
	if !c.hooked() && c.Resolver == nil {
		t.Proxy = http.ProxyFromEnvironment
		if runtime.GOOS == "js" {
			return t // a dial function would keep it from using fetch
		}
	}
	t.DialContext = c.DialContext
	return t
}
