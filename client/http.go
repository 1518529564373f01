package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// HTTPTransport returns a new transport for HTTP requests that belong to the account,
// such as those of package upload. It goes the way that the account's own connections go:
// Config.Dial, Proxy, Resolver and TLS hold for it, but for Pins and Certificate, which
// are about the XMPP server. Who answers has to prove the name that is in the address.
func (c *Client) HTTPTransport() *http.Transport {
	cfg := c.cfg.discovery(c.account.Domainpart())
	t := cfg.Transport()
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.MinVersion = max(t.TLSClientConfig.MinVersion, tls.VersionTLS12)
		t.TLSClientConfig.NextProtos = nil
	}
	if c.cfg.Dial == nil {
		return t
	}
	// A connection of Config.Dial may be encrypted and authenticated already.
	dial, base := t.DialContext, t.TLSClientConfig
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if s, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok && s.ConnectionState().HandshakeComplete {
			return conn, nil
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		own := base.Clone()
		if own == nil {
			own = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		own.ServerName = host
		tc := tls.Client(conn, own)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return tc, nil
	}
	return t
}
