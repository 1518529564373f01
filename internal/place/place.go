// Package place says whose network addresses are, for all that connects to places which
// others have named.
package place

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// Place is where an address is.
type Place uint8

// The places.
const (
	Public   Place = iota // everybody's
	Loopback              // on this machine
	Inside                // of some network that is not everybody's, or nobody's
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

// Of returns where an address is.
func Of(ip netip.Addr) Place {
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return Loopback
	case !ip.IsGlobalUnicast() || ip.IsPrivate(), slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return Inside
	}
	return Public
}

// OfHost returns where a host is, as far as its name tells. It is as ASCII gives it.
func OfHost(host string) Place {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return Loopback
	}
	bare, _, _ := strings.Cut(host, "%")
	ip, err := netip.ParseAddr(bare)
	if err == nil {
		return Of(ip)
	}
	if last := host[strings.LastIndexByte(host, '.')+1:]; last != "" && strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return Inside // a number in some other spelling
	}
	return Public
}

// ASCII returns a host as it is asked for: transports write letters and digits of other
// alphabets in ASCII, some of which are others then, "１" is "1". It is "" if that is not
// possible.
func ASCII(host string) string {
	if strings.ContainsFunc(host, func(r rune) bool { return r > 0x7f }) {
		var err error
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return ""
		}
	}
	return strings.TrimRight(strings.ToLower(host), ".")
}
