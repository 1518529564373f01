package upload

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

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
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
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

// slotHost reports whether the service may send files to this host: one of its own
// domain or the account's, or one of the configuration.
func (c *Client) slotHost(service jid.JID, host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if private(host) == loopback {
		return c.cfg.AllowLoopback
	}
	return related(host, service.Domainpart()) || related(host, c.s.LocalAddr().Domainpart()) || c.named(host)
}

// named reports whether the configuration names a host.
func (c *Client) named(host string) bool {
	return slices.ContainsFunc(c.cfg.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// related reports whether two hosts are of one domain that somebody has registered.
func related(a, b string) bool {
	a, b = strings.TrimSuffix(strings.ToLower(a), "."), strings.TrimSuffix(strings.ToLower(b), ".")
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
	case !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLinkLocalUnicast():
		return inside
	}
	return public
}
