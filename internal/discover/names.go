package discover

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// profile turns Unicode names into A-labels. It leaves the judgement of ASCII
// characters to validName: underscores and the like do occur in private names.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false),
	idna.StrictDomainName(false), idna.CheckHyphens(false), idna.BidiRule())

// maxDomain is the longest domain part of an address (RFC 7622). The work for
// A-labels grows with the square of the length, so that a hostile name of some
// kilobytes would cost seconds.
const maxDomain = 1023

// ASCII returns the form of a domain that DNS and TLS certificates know: lower
// case, A-labels for non-ASCII names, no final dot, and no brackets around an
// IPv6 address. It is the name to verify TLS against. The error matches
// [ErrDomain].
func ASCII(domain string) (string, error) {
	if len(domain) > maxDomain {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrDomain, maxDomain)
	}
	host := domain
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok && strings.Contains(inner, ":") {
			host = inner
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String(), nil
	}
	for i := 0; i < len(host); i++ {
		if host[i] >= 0x80 {
			var err error
			if host, err = profile.ToASCII(host); err != nil {
				return "", fmt.Errorf("%w: %q: %w", ErrDomain, domain, err)
			}
			break
		}
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !validName(host) {
		return "", fmt.Errorf("%w: %q", ErrDomain, domain)
	}
	return host, nil
}

// validName reports whether s can be a host name in DNS. It is generous, but
// lets nothing through that has a meaning in a URL or an address.
func validName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// isOnion reports whether host is a Tor name (RFC 7686).
func isOnion(host string) bool { return underTLD(host, "onion") }

// isLocalhost reports whether host is a name that RFC 6761 keeps out of DNS.
func isLocalhost(host string) bool { return underTLD(host, "localhost") }

func underTLD(host, tld string) bool {
	host = strings.TrimSuffix(host, ".")
	if i := strings.LastIndexByte(host, '.'); i >= 0 {
		host = host[i+1:]
	}
	return strings.EqualFold(host, tld)
}

// parseOverride reads the forms that Config.Override describes.
func parseOverride(s string) ([]Target, error) {
	const source = "override"
	scheme, rest, explicit := strings.Cut(s, "://")
	if explicit {
		direct := false
		switch strings.ToLower(scheme) {
		case "wss":
			t, err := webSocketTarget(s, source)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrOverride, err)
			}
			return []Target{t}, nil
		case "xmpps":
			direct = true
		case "xmpp":
		default:
			return nil, fmt.Errorf("%w: unknown scheme %q", ErrOverride, scheme)
		}
		host, port, err := splitOverride(strings.TrimSuffix(rest, "/"))
		if err != nil {
			return nil, err
		}
		if port == 0 {
			port = portStartTLS
			if direct {
				port = portDirectTLS
			}
		}
		return []Target{{Host: host, Port: port, Direct: direct, Source: source}}, nil
	}

	host, port, err := splitOverride(s)
	if err != nil {
		return nil, err
	}
	switch port {
	case 0:
		return fallback(host, source, nil), nil
	case portDirectTLS, portHTTPS:
		return []Target{
			{Host: host, Port: port, Direct: true, Source: source},
			{Host: host, Port: port, Source: source, Priority: 1},
		}, nil
	default:
		return []Target{{Host: host, Port: port, Source: source}}, nil
	}
}

// splitOverride splits "host", "host:port" and their IPv6 spellings. The port is
// 0 if there is none.
func splitOverride(s string) (host string, port uint16, err error) {
	host = s
	// More than one colon and no brackets is a bare IPv6 address.
	if strings.HasPrefix(s, "[") && !strings.HasSuffix(s, "]") || strings.Count(s, ":") == 1 {
		var text string
		if host, text, err = net.SplitHostPort(s); err != nil {
			return "", 0, fmt.Errorf("%w: %w", ErrOverride, err)
		}
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("%w: %q: bad port", ErrOverride, s)
		}
		port = uint16(n)
	}
	if host, err = ASCII(host); err != nil {
		return "", 0, fmt.Errorf("%w: %q: bad host", ErrOverride, s)
	}
	return host, port, nil
}

// webSocketTarget checks the address of a WebSocket endpoint. Only wss is
// accepted: XEP-0156 forbids anything that is not protected by TLS.
func webSocketTarget(href, source string) (Target, error) {
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil {
		return Target{}, err
	}
	switch {
	case !strings.EqualFold(u.Scheme, "wss"):
		return Target{}, fmt.Errorf("WebSocket address %q is not wss", u.Redacted())
	case u.User != nil, u.Opaque != "":
		return Target{}, fmt.Errorf("bad WebSocket address %q", u.Redacted())
	}
	host, err := ASCII(u.Hostname())
	if err != nil {
		return Target{}, fmt.Errorf("bad WebSocket address %q", u.Redacted())
	}
	port := uint64(portHTTPS)
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return Target{}, fmt.Errorf("bad port in WebSocket address %q", u.Redacted())
		}
	}
	// Rebuilt from what was checked, so that the library that dials it cannot
	// read it in another way.
	u.Scheme, u.Host, u.Fragment, u.RawFragment = "wss", host, "", ""
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if port != portHTTPS {
		u.Host = net.JoinHostPort(host, strconv.FormatUint(port, 10))
	}
	return Target{Host: host, Port: uint16(port), URL: u.String(), Source: source}, nil
}
