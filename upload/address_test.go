package upload

import (
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestPlaces names this machine and private networks in the spellings that transports and
// systems know: none is taken, nor is one taken for a host of the service.
func TestPlaces(t *testing.T) {
	c := bare(Config{})
	for _, host := range []string{
		// Transports write these in ASCII, and then ask 127.0.0.1, localhost and 10.0.0.1.
		"127.0.0.１", "１２７.0.0.1", "127。0。0。1", "127.0.0.①", "ｌocalhost", "local\u00adhost", "x.ｌocalhost", "10.0.0.⑴", "10.0.0.１", "%EF%BC%91%EF%BC%90.0.0.１", "\u00ad",
		"localhost.", "localhost..", "127.0.0.1..", "LOCALHOST", "0", "0x7f.1", "127.1", "2130706433",
		"0.1.2.3", "100.64.1.1", "192.0.0.8", "198.19.0.1", "240.0.0.1", "255.255.255.255", "169.254.169.254",
		"[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001:0:1::]", "[fec0::1]", "[fe80::1%25e]", "[fec0::1%25e]",
	} {
		_, err := c.address("https://" + host + ":8443/x")
		require.ErrorIs(t, err, ErrURL, host)
		_, err = c.address("https://" + host + "/x")
		require.ErrorIs(t, err, ErrURL, host)
	}
	for in, want := range map[string]string{
		"https://ｆiles。Bücher.example:8443/x": "https://files.xn--bcher-kva.example:8443/x", "https://bücher.example/x": "https://xn--bcher-kva.example/x",
		"https://203.0.113.7/x": "https://203.0.113.7/x", "https://[2001:db8::1]/x": "https://[2001:db8::1]/x", "https://100.63.0.1/": "https://100.63.0.1/",
	} {
		u, err := c.address(in)
		require.NoError(t, err, in)
		require.Equal(t, want, u.String())
	}
	service := jid.MustParse("upload.bücher.example")
	for _, host := range []string{"files.bücher.example", "files.xn--bcher-kva.example", "FILES.Bücher.example.", "example.org"} {
		require.True(t, c.slotHost(service, host), host)
	}
	for _, host := range []string{"bucher.example", "bücher.example.net", "evil.example", "", "\u00ad", "ｌocalhost"} {
		require.False(t, c.slotHost(service, host), host)
	}
	c = bare(Config{Hosts: []string{"Bücher.example", "10.1.1.1", "bad\u0000host", "\u00ad"}})
	require.True(t, c.slotHost(jid.MustParse("x.org"), "xn--bcher-kva.example"))
	require.False(t, c.slotHost(jid.MustParse("x.org"), "\u00ad"))
	_, err := c.address("https://10.1.1.１/")
	require.NoError(t, err, "named")
}

// bare is a client without a session that runs.
func bare(cfg Config) *Client { return &Client{s: session{}, cfg: cfg} }
