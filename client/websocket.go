package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
)

// ws is a transport over WebSocket (RFC 7395): each element is a message.
type ws struct {
	conn   *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	limits stream.Limits
	wire   *wireLog
	read   atomic.Int64
}

func newWS(conn *websocket.Conn, limits stream.Limits, wire *wireLog) *ws {
	conn.SetReadLimit(int64(limits.MaxBytes))
	w := &ws{conn: conn, limits: limits, wire: wire}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.read.Store(time.Now().UnixNano())
	return w
}

// prepareWS dials a wss:// address.
func (c *Client) prepareWS(ctx context.Context, url string) (transport, error) {
	if !strings.HasPrefix(url, "wss://") {
		return nil, c.encryptionError(fmt.Errorf("%s is not encrypted", url))
	}
	conn, err := c.dialWebSocket(ctx, url)
	if err != nil {
		if isVerification(err) {
			return nil, c.encryptionError(err)
		}
		return nil, err
	}
	if conn.Subprotocol() != "xmpp" {
		_ = conn.CloseNow()
		return nil, fmt.Errorf("client: %s does not speak XMPP (RFC 7395)", url)
	}
	return newWS(conn, c.limits(), c.wire), nil
}

func (w *ws) lastRead() time.Time            { return time.Unix(0, w.read.Load()) }
func (w *ws) tlsState() *tls.ConnectionState { return nil }

func (w *ws) Close() error {
	w.cancel()
	return w.conn.CloseNow()
}

func (w *ws) open(from, to jid.JID) (*confab.Element, error) {
	el := confab.El(nsFraming, "open").Set("to", to.String()).Set("version", "1.0")
	if from.Localpart() != "" {
		el.Set("from", from.String())
	}
	if err := w.send(el); err != nil {
		return nil, err
	}
	h, _, err := w.next()
	if err != nil {
		return nil, err
	}
	if h.Is(nsFraming, "close") {
		// RFC 7395 §3.6.1: a redirect.
		return nil, &StreamError{Condition: "see-other-host", Host: h.Get("see-other-uri")}
	}
	if !h.Is(nsFraming, "open") {
		return nil, fmt.Errorf("client: this is no XMPP server: it began with <%s xmlns=%q>", h.Name.Local, h.Name.Space)
	}
	return h, nil
}

func (w *ws) next() (*confab.Element, int, error) {
	for {
		typ, b, err := w.conn.Read(w.ctx)
		if err != nil {
			return nil, 0, err
		}
		w.read.Store(time.Now().UnixNano())
		if typ != websocket.MessageText {
			return nil, 0, errors.New("client: a binary WebSocket message came")
		}
		if strings.TrimSpace(string(b)) == "" {
			continue // keepalive, from servers that know it from TCP
		}
		el, err := stream.Parse(b, w.limits)
		if err != nil {
			return nil, len(b), err
		}
		w.wire.element(false, el)
		if el.Is(nsFraming, "close") && el.Get("see-other-uri") == "" {
			return nil, 0, stream.ErrEnd
		}
		return el, len(b), nil
	}
}

func (w *ws) send(el *confab.Element) error {
	b, err := el.AppendXML(nil, "")
	if err != nil {
		return err
	}
	w.wire.element(true, el)
	return w.conn.Write(w.ctx, websocket.MessageText, b)
}

func (w *ws) end() error { return w.send(confab.El(nsFraming, "close")) }

// writeStanzas writes each stanza as a message. What is in the outbox is made
// for a stream whose header has declared jabber:client; here each says it.
func (w *ws) writeStanzas(control, buf []byte, from int32, ends []entry, tail []byte) error {
	if err := w.writeControl(control); err != nil {
		return err
	}
	var start int32
	for _, e := range ends {
		end := e.end - from
		st := buf[start:end]
		start = end
		i := 1
		for i < len(st) && st[i] != ' ' && st[i] != '>' && st[i] != '/' {
			i++
		}
		b := make([]byte, 0, len(st)+24)
		b = append(append(append(b, st[:i]...), " xmlns='jabber:client'"...), st[i:]...)
		if err := w.conn.Write(w.ctx, websocket.MessageText, b); err != nil {
			return err
		}
	}
	return w.writeControl(tail)
}

// writeControl writes what is no stanza, each element as a message.
func (w *ws) writeControl(b []byte) error {
	for len(b) > 0 {
		i := strings.Index(string(b), "/>") + 2
		if i < 2 {
			i = len(b)
		}
		if err := w.conn.Write(w.ctx, websocket.MessageText, b[:i]); err != nil {
			return err
		}
		b = b[i:]
	}
	return nil
}
