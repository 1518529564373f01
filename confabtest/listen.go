package confabtest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
)

// webSocketPath is where the web server speaks XMPP.
const webSocketPath = "/ws"

// Start has the server take connections from the network, on ports of 127.0.0.1
// that the system chooses, or after [Server.Stop] on those that it had.
func (s *Server) Start() error {
	a := [...]string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}
	s.lock()
	if old := [3]string(s.addrs[:3]); old != [3]string{} {
		a = old
	}
	s.unlock()
	return s.StartOn(a[0], a[1], a[2])
}

// StartOn is Start with given addresses: for STARTTLS, for direct TLS and for
// HTTPS. An empty one is not listened on.
func (s *Server) StartOn(addr, direct, https string) error {
	var ls [4]net.Listener
	proxy := ""
	if s.proxy != nil {
		if proxy = s.listenAddr(3); proxy == "" {
			proxy = "127.0.0.1:0"
		}
	}
	for i, a := range []string{addr, direct, https, proxy} {
		if a == "" {
			continue
		}
		var err error
		if ls[i], err = net.Listen("tcp", a); err != nil {
			for _, l := range ls[:i] {
				if l != nil {
					_ = l.Close()
				}
			}
			return fmt.Errorf("confabtest: %w", err)
		}
	}
	s.certs() // not with the lock held
	s.lock()
	defer s.unlock()
	if s.closed {
		for _, l := range ls {
			if l != nil {
				_ = l.Close()
			}
		}
		return net.ErrClosed
	}
	s.halted = false
	for i, l := range ls {
		if l == nil {
			continue
		}
		s.listeners = append(s.listeners, l)
		s.addrs[i] = l.Addr().String()
		if i < 2 {
			s.wg.Go(func() { s.acceptFrom(l, i == 1) })
		}
	}
	if ls[2] != nil {
		s.startWeb(ls[2])
	}
	if ls[3] != nil {
		s.wg.Go(func() { s.proxy.acceptFrom(ls[3]) })
	}
	return nil
}

func (s *Server) acceptFrom(l net.Listener, direct bool) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		c := newConn(s, nc, false)
		c.direct = direct
		s.serve(c)
	}
}

// Addr returns the host:port for clients that use STARTTLS, once started.
func (s *Server) Addr() string { return s.listenAddr(0) }

// DirectAddr returns the host:port for direct TLS, once started.
func (s *Server) DirectAddr() string { return s.listenAddr(1) }

// HTTPSURL returns the base URL of the web server, which serves host-meta files
// (XEP-0156), once started.
func (s *Server) HTTPSURL() string { return "https://" + s.listenAddr(2) }

// WebSocketURL returns the address for XMPP over WebSocket (RFC 7395), once
// started.
func (s *Server) WebSocketURL() string { return "wss://" + s.listenAddr(2) + webSocketPath }

func (s *Server) listenAddr(i int) string {
	s.lock()
	defer s.unlock()
	return s.addrs[i]
}

type rawConnKey struct{}

func (s *Server) startWeb(l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc(webSocketPath, s.webSocket)
	mux.HandleFunc("/.well-known/host-meta", s.hostMeta)
	mux.HandleFunc("/.well-known/host-meta.json", s.hostMeta)
	if s.uploads != nil {
		mux.Handle(uploadPath, s.uploads)
	}
	web := &http.Server{
		Handler: mux, TLSConfig: s.serverTLS("http/1.1"), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0), // tests make handshakes fail
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			if t, ok := nc.(*tls.Conn); ok {
				nc = t.NetConn()
			}
			return context.WithValue(ctx, rawConnKey{}, nc)
		},
	}
	s.web = web
	// The goroutine has its own variable: Stop forgets the server.
	s.wg.Go(func() { _ = web.Serve(tls.NewListener(l, web.TLSConfig)) })
}

func (s *Server) hostMeta(w http.ResponseWriter, r *http.Request) {
	const rel = "urn:xmpp:alt-connections:websocket"
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if strings.HasSuffix(r.URL.Path, ".json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"links": []map[string]string{{"rel": rel, "href": s.WebSocketURL()}}})
		return
	}
	w.Header().Set("Content-Type", "application/xrd+xml")
	fmt.Fprintf(w, "<?xml version='1.0' encoding='utf-8'?><XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'><Link rel='%s' href='%s'/></XRD>", rel, escape(s.WebSocketURL()))
}

// webSocket speaks RFC 7395.
func (s *Server) webSocket(w http.ResponseWriter, r *http.Request) {
	raw, ok := r.Context().Value(rawConnKey{}).(net.Conn)
	if !ok {
		http.Error(w, "no connection", http.StatusInternalServerError)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	if conn.Subprotocol() != "xmpp" {
		_ = conn.Close(websocket.StatusProtocolError, "the subprotocol is xmpp")
		return
	}
	conn.SetReadLimit(int64(s.cfg.MaxStanza))
	c := newConn(s, raw, true)
	ctx, cancel := context.WithCancel(context.Background())
	c.ws = &wsConn{c: c, conn: conn, ctx: ctx, cancel: cancel, limits: stream.Limits{MaxBytes: s.cfg.MaxStanza}}
	s.serve(c)
	<-c.done
	<-c.q.done
	cancel()
	_ = conn.CloseNow()
}

// wsConn carries elements as messages of a WebSocket.
type wsConn struct {
	c      *Conn
	conn   *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	limits stream.Limits
}

func (w *wsConn) read() (*confab.Element, error) {
	for {
		g := &w.c.gate
		if g.pass(1) == 0 {
			w.c.q.seal()
			return nil, errCut
		}
		_, b, err := w.conn.Read(w.ctx)
		if err != nil {
			return nil, err
		}
		if n := g.pass(len(b)); n < len(b) {
			g.read(n)
			w.c.q.seal()
			return nil, errCut
		}
		g.read(len(b))
		if strings.TrimSpace(string(b)) == "" {
			continue
		}
		e, err := stream.Parse(b, w.limits)
		if err == nil && e.Is(nsFraming, "close") {
			return nil, stream.ErrEnd
		}
		return e, err
	}
}

func (w *wsConn) write(b []byte) error { return w.conn.Write(w.ctx, websocket.MessageText, b) }

// hangUp closes the WebSocket in order, as far as the client plays along.
func (w *wsConn) hangUp() {
	t := time.AfterFunc(time.Second, w.cancel)
	defer t.Stop()
	_ = w.conn.Close(websocket.StatusNormalClosure, "")
}
