package client

import (
	"context"

	"github.com/coder/websocket"
)

// dialWebSocket lets the browser connect; it checks certificates its own way.
func (c *Client) dialWebSocket(ctx context.Context, url string) (*websocket.Conn, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
	return conn, err
}
