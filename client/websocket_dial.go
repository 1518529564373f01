//go:build !js

package client

import (
	"context"
	"net/http"

	"github.com/coder/websocket"
)

// dialWebSocket connects through the configured dialer and proxy.
func (c *Client) dialWebSocket(ctx context.Context, url string) (*websocket.Conn, error) {
	d := c.cfg.discovery(c.account.Domainpart())
	tr := d.Transport()
	// The WebSocket server may be another host than the domain: whoever answers
	// has to prove the name in the address, which came from the domain's own
	// host-meta file or from the user.
	tr.TLSClientConfig = c.cfg.tlsConfig("", false)
	tr.ForceAttemptHTTP2 = false
	tr.DisableKeepAlives = true
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: tr},
		Subprotocols: []string{"xmpp"},
	})
	return conn, err
}
