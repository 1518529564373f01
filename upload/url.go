package upload

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"mellium.im/xmpp/jid"
)

// maxURL bounds the addresses that are believed.
const maxURL = 8192

// address checks an address that somebody else has chosen, and returns it without its
// fragment, which may be a key. Errors do not repeat it.
func (c *Client) address(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > maxURL || strings.ContainsAny(raw, "\r\n\t\x00 ") {
		return nil, fmt.Errorf("%w: it is malformed", ErrURL)
	}
	u.Fragment, u.RawFragment = "", ""
	host := plain(u.Hostname())
	if !isASCII(u.Hostname()) {
		// What is looked at here has to be what is connected to.
		if port := u.Port(); host != "" && port != "" {
			u.Host = net.JoinHostPort(host, port)
		} else {
			u.Host = host
		}
	}
	local := private(host)
	if local == inside && c.named(host) {
		local = public
	}
	switch {
	case u.Opaque != "" || host == "":
		return nil, fmt.Errorf("%w: it has no host", ErrURL)
	case u.User != nil:
		return nil, fmt.Errorf("%w: it has a user", ErrURL)
	case u.Scheme != "https" && (u.Scheme != "http" || local != loopback || !c.cfg.AllowLoopback):
		return nil, fmt.Errorf("%w: it is not https", ErrURL)
	case local == loopback && !c.cfg.AllowLoopback:
		return nil, fmt.Errorf("%w: it is on this machine", ErrURL)
	case local == inside:
		return nil, fmt.Errorf("%w: %s is no public address", ErrURL, host)
	}
	return u, nil
}

// plain returns a host as it is asked for: transports write letters and digits of other
// alphabets in ASCII, some of which are others then, "１" is "1". It is "" if that is not
// possible.
func plain(host string) string {
	if !isASCII(host) {
		var err error
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return ""
		}
	}
	return strings.TrimRight(strings.ToLower(host), ".")
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f })
}

// slotHost reports whether the service may send files to this host: one of its own
// domain or the account's, or one of the configuration.
func (c *Client) slotHost(service jid.JID, host string) bool {
	host = plain(host)
	if private(host) == loopback {
		return c.cfg.AllowLoopback
	}
	return related(host, service.Domainpart()) || related(host, c.s.LocalAddr().Domainpart()) || c.named(host)
}

// named reports whether the configuration names a host.
func (c *Client) named(host string) bool {
	return slices.ContainsFunc(c.cfg.Hosts, func(h string) bool { return plain(h) == host && host != "" })
}

// related reports whether two hosts are of one domain that somebody has registered.
func related(a, b string) bool {
	a, b = plain(a), plain(b)
	if a == b {
		return a != ""
	}
	da, err := publicsuffix.EffectiveTLDPlusOne(a)
	if err != nil {
		return false
	}
	db, err := publicsuffix.EffectiveTLDPlusOne(b)
	return err == nil && da == db
}

type place uint8

const (
	public place = iota
	loopback
	inside // of some network that is not everybody's
)

// special are networks that netip takes for public ones and that are not, or that lead to
// addresses of IPv4 that are not looked at here (RFC 6890).
var special = func() (list []netip.Prefix) {
	for _, p := range [...]string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
		"::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

// private says where a host is, as far as its name tells.
func private(host string) place {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return loopback
	}
	bare, _, _ := strings.Cut(host, "%")
	ip, err := netip.ParseAddr(bare)
	if err != nil {
		if last := host[strings.LastIndexByte(host, '.')+1:]; last != "" && strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
			return inside // a number in some other spelling
		}
		return public
	}
	ip = ip.Unmap()
	switch {
	case ip.IsLoopback():
		return loopback
	case !ip.IsGlobalUnicast() || ip.IsPrivate(), slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip.WithZone("")) }):
		return inside
	}
	return public
}
