package place

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOf(t *testing.T) {
	for where, list := range map[Place][]string{
		Public:   {"8.8.8.8", "198.51.100.7", "2600::1", "::ffff:8.8.8.8", "100.128.0.1"},
		Loopback: {"127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"},
		Inside: {"10.0.0.1", "172.16.1.1", "192.168.1.1", "169.254.1.1", "0.0.0.0", "0.1.2.3", "100.64.0.1", "192.0.0.8", "198.18.0.1",
			"224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "fe80::1%eth0", "fec0::1", "fd00::1", "ff02::1"},
	} {
		for _, s := range list {
			assert.Equal(t, where, Of(netip.MustParseAddr(s)), s)
		}
	}
	assert.Equal(t, Inside, Of(netip.Addr{}))
}

func TestOfHost(t *testing.T) {
	for host, where := range map[string]Place{
		"example.org": Public, "xn--bcher-kva.example": Public, "localhost": Loopback, "LocalHost.": Loopback, "a.localhost": Loopback,
		"１２７.0.0.１": Loopback, "ｌocalhost": Loopback, "127。0。0。1": Loopback, "127.1": Inside, "2130706433": Inside, "0x7f000001": Inside,
		"0177.0.0.1": Inside, "fe80::1%eth0": Inside, "8.8.8.8": Public, "10.1": Inside,
	} {
		assert.Equal(t, where, OfHost(ASCII(host)), host)
	}
	assert.Empty(t, ASCII("\u2260.example"))
}
