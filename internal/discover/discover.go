package discover

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// ALPN is the application protocol to offer on direct TLS connections
// (XEP-0368).
const ALPN = "xmpp-client"

// The ports of RFC 6120 and of XEP-0368's custom, for when DNS names none.
const (
	portStartTLS  = 5222
	portDirectTLS = 5223
	portHTTPS     = 443
)

const (
	defaultStagger = 250 * time.Millisecond // RFC 8305's Connection Attempt Delay
	defaultTimeout = 15 * time.Second
)

// A Target is one place to try.
type Target struct {
	// Host and Port are where to connect: a host name in its ASCII form or an
	// IP address. They are set for WebSocket targets too, from the URL.
	Host string
	Port uint16
	// Direct means TLS from the first byte, with [ALPN]; otherwise STARTTLS.
	Direct bool
	// URL is the wss:// address of a WebSocket target, otherwise empty.
	URL string
	// Source says where the target comes from, for error texts and logs: "srv
	// _xmpps-client", "srv _xmpp-client", "fallback", "override", "host-meta".
	Source string
	// Priority and Weight are those of the SRV record. Targets that come from
	// elsewhere are numbered by priority.
	Priority, Weight uint16
	// LookupErr is what went wrong with the SRV lookups on the way to this
	// target. [Race] puts it into its error, because "connection refused" by the
	// fallback is not the news when DNS was down.
	LookupErr error
}

// Addr returns "host:port".
func (t Target) Addr() string {
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}

// String describes the target for logs and errors.
func (t Target) String() string {
	switch {
	case t.URL != "":
		return t.URL + " (" + t.Source + ")"
	case t.Direct:
		return t.Addr() + " direct TLS (" + t.Source + ")"
	default:
		return t.Addr() + " STARTTLS (" + t.Source + ")"
	}
}

// A Resolver answers DNS questions; *[net.Resolver] is one. SRV names are given
// with a final dot, so that no search domain is ever appended to them.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// A DialFunc opens a connection, as [net.Dialer.DialContext] does. It must give
// up when its context ends.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config says whose servers to find and by which means. Only Domain is needed.
// It is never changed by this package and may be copied.
type Config struct {
	// Domain is the domain part of the account's address, in Unicode or ASCII
	// form. It may be an IP address, IPv6 with or without brackets.
	Domain string

	// Override is the place to connect to instead of what DNS says. It is one of
	//
	//	host                 STARTTLS on 5222, then direct TLS on 5223
	//	host:port            STARTTLS, but direct TLS first on 5223 and 443
	//	xmpp://host[:port]   STARTTLS only
	//	xmpps://host[:port]  direct TLS only
	//	wss://host[:port]/…  WebSocket
	//
	// The account's domain is still the name that TLS has to verify.
	Override string

	// Resolver answers DNS questions, by default the system's. Giving one is
	// consent to use it: it is asked for SRV records even if Proxy or Dial is
	// set, and for addresses if Dial is set.
	Resolver Resolver

	// Dial opens connections instead of a [net.Dialer]. Without a Resolver it
	// gets host names and has to resolve them where it leads to.
	Dial DialFunc

	// Proxy is a SOCKS5 proxy, socks5://[user:password@]host[:port]. It gets host
	// names, never addresses that were looked up here. Tor keeps the circuits of
	// different user:password pairs apart. With Dial set too, Dial opens the
	// connection to the proxy.
	Proxy *url.URL

	// HTTP fetches host-meta. By default it is a [Config.Transport]. It is used
	// as it is: Proxy and Dial do not apply to it.
	HTTP http.RoundTripper

	// TLS has the settings for fetching host-meta, such as a private CA.
	TLS *tls.Config

	// Stagger is the head start an attempt has before the next one begins beside
	// it, by default 250 ms.
	Stagger time.Duration

	// Timeout bounds each attempt, connecting and preparing together, and the
	// fetching of host-meta; by default 15 s.
	Timeout time.Duration

	// intn replaces the randomness of the order of SRV targets in tests.
	intn func(n int) int
}

func (c Config) stagger() time.Duration {
	if c.Stagger > 0 {
		return c.Stagger
	}
	return defaultStagger
}

func (c Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return defaultTimeout
}

func (c Config) resolver() Resolver {
	if c.Resolver != nil {
		return c.Resolver
	}
	return net.DefaultResolver
}

func (c Config) random() func(int) int {
	if c.intn != nil {
		return c.intn
	}
	return rand.IntN
}

// hooked reports whether connections leave by a way of the caller's, of which
// the local DNS must learn nothing.
func (c Config) hooked() bool { return c.Proxy != nil || c.Dial != nil }

// remoteDNS reports whether host names are resolved at the far end.
func (c Config) remoteDNS() bool {
	return c.Proxy != nil || (c.Dial != nil && c.Resolver == nil)
}

// fail wraps the reason why there is nothing to try.
func (c Config) fail(reason error) error {
	return &Error{Domain: c.Domain, Err: reason}
}

// Targets returns the places to try, best first; it never returns an empty list
// without an error. WebSocket endpoints are not among them, unless Override is
// one: they cost an HTTPS request and are the last resort, see
// [Config.WebSockets].
//
// Failing DNS is not an error here. The domain's well-known ports are listed
// then, with the failure in LookupErr. The error is an *[Error] that matches
// [ErrRefused], [ErrOnion], [ErrDomain], [ErrOverride], [ErrLookup] or the
// context's error.
func (c Config) Targets(ctx context.Context) ([]Target, error) {
	if c.Override != "" {
		targets, err := parseOverride(c.Override)
		if err != nil {
			return nil, c.fail(err)
		}
		return targets, nil
	}
	domain, err := ASCII(c.Domain)
	if err != nil {
		return nil, c.fail(err)
	}
	switch {
	case isOnion(domain):
		if !c.hooked() {
			return nil, c.fail(ErrOnion)
		}
	case isIP(domain), isLocalhost(domain):
		// Nobody can publish SRV records for these.
	case c.hooked() && c.Resolver == nil:
		// Asking the local DNS would tell it what the proxy is there to hide.
	default:
		return c.lookupSRV(ctx, domain)
	}
	return fallback(domain, "fallback", nil), nil
}

// fallback lists the well-known ports of a host. STARTTLS comes first because
// it is what RFC 6120 promises to be there.
func fallback(host, source string, lookupErr error) []Target {
	return []Target{
		{Host: host, Port: portStartTLS, Source: source, LookupErr: lookupErr},
		{Host: host, Port: portDirectTLS, Direct: true, Source: source, Priority: 1, LookupErr: lookupErr},
	}
}
