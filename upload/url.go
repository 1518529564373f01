package upload

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/confab-im/confab/internal/place"
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
	host := place.ASCII(u.Hostname())
	if strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > 0x7f }) {
		// What is looked at here has to be what is connected to.
		if port := u.Port(); host != "" && port != "" {
			u.Host = net.JoinHostPort(host, port)
		} else {
			u.Host = host
		}
	}
	local := place.OfHost(host)
	if local == place.Inside && c.named(host) {
		local = place.Public
	}
	switch {
	case u.Opaque != "" || host == "":
		return nil, fmt.Errorf("%w: it has no host", ErrURL)
	case u.User != nil:
		return nil, fmt.Errorf("%w: it has a user", ErrURL)
	case u.Scheme != "https" && (u.Scheme != "http" || local != place.Loopback || !c.cfg.AllowLoopback):
		return nil, fmt.Errorf("%w: it is not https", ErrURL)
	case local == place.Loopback && !c.cfg.AllowLoopback:
		return nil, fmt.Errorf("%w: it is on this machine", ErrURL)
	case local == place.Inside:
		return nil, fmt.Errorf("%w: %s is no public address", ErrURL, host)
	}
	return u, nil
}

// slotHost reports whether the service may send files to this host: one of its own
// domain or the account's, or one of the configuration.
func (c *Client) slotHost(service jid.JID, host string) bool {
	host = place.ASCII(host)
	if place.OfHost(host) == place.Loopback {
		return c.cfg.AllowLoopback
	}
	return related(host, service.Domainpart()) || related(host, c.s.LocalAddr().Domainpart()) || c.named(host)
}

// named reports whether the configuration names a host.
func (c *Client) named(host string) bool {
	return slices.ContainsFunc(c.cfg.Hosts, func(h string) bool { return place.ASCII(h) == host && host != "" })
}

// related reports whether two hosts are of one domain that somebody has registered.
func related(a, b string) bool {
	a, b = place.ASCII(a), place.ASCII(b)
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
