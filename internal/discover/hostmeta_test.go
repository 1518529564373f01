package discover

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func jrd(hrefs ...string) string {
	var links []string
	for _, h := range hrefs {
		links = append(links, fmt.Sprintf(`{"rel":"urn:xmpp:alt-connections:websocket","href":%q}`, h))
	}
	return `{"links":[{"rel":"urn:xmpp:alt-connections:xbosh","href":"https://b.example/"},{"rel":7},` + strings.Join(links, ",") + `]}`
}

func xrd(hrefs ...string) string {
	s := `<?xml version='1.0' encoding='utf-8'?><XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>` +
		`<Link rel="urn:xmpp:alt-connections:xbosh" href="https://b.example/"/>`
	for _, h := range hrefs {
		s += `<Link rel="urn:xmpp:alt-connections:websocket" href="` + h + `"/>`
	}
	return s + `</XRD>`
}

// webServer serves example.com: every connection, to whatever name, leads to it.
func webServer(t *testing.T, routes map[string]http.HandlerFunc) (c Config, dialed func() []string) {
	mux := http.NewServeMux()
	for path, h := range routes {
		mux.HandleFunc(path, h)
	}
	server := httptest.NewUnstartedServer(mux)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	var (
		mu        sync.Mutex // HTTP transports may dial on after their request
		addresses []string
	)
	c = Config{Domain: "Example.com", Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		addresses = append(addresses, address)
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := c.Transport()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	t.Cleanup(transport.CloseIdleConnections)
	c.HTTP = transport
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(addresses)
	}
}

func serve(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

func TestWebSockets(t *testing.T) {
	guardDefaultResolver(t)
	const (
		jsonPath = "/.well-known/host-meta.json"
		xmlPath  = "/.well-known/host-meta"
	)
	type routes = map[string]http.HandlerFunc
	for name, tt := range map[string]struct {
		routes  routes
		want    string
		wantErr string
	}{
		"json":          {routes: routes{jsonPath: serve(jrd("wss://example.com:5281/ws"))}, want: "wss://example.com:5281/ws"},
		"xml":           {routes: routes{xmlPath: serve(xrd("wss://example.com:5281/ws"))}, want: "wss://example.com:5281/ws"},
		"json is empty": {routes: routes{jsonPath: serve(`{}`), xmlPath: serve(xrd("wss://a.example/"))}, want: "wss://a.example/"},
		"only secure ones": {
			routes: routes{jsonPath: serve(jrd("ws://a.example/", "https://b.example/", "wss://c.example/", "//d.example/", "wss://c.example/", ""))},
			want:   "wss://c.example/",
		},
		"only plain ones":     {routes: routes{jsonPath: serve(jrd("ws://a.example/")), xmlPath: serve(xrd("ws://a.example/"))}, wantErr: "no WebSocket endpoint"},
		"nothing":             {wantErr: "HTTP status 404"},
		"bad json":            {routes: routes{jsonPath: serve("<html>")}, wantErr: "invalid character"},
		"bad xml":             {routes: routes{xmlPath: serve("<html/>")}, wantErr: "expected element type <XRD>"},
		"redirect":            {routes: routes{jsonPath: redirect("https://www.example.com/x"), "/x": serve(jrd("wss://a.example/"))}, want: "wss://a.example/"},
		"redirect to http":    {routes: routes{jsonPath: redirect("http://example.com/x"), "/x": serve(jrd("wss://a.example/"))}, wantErr: "refused a redirect"},
		"redirects for ever":  {routes: routes{jsonPath: redirect(jsonPath)}, wantErr: "too many redirects"},
		"oversize":            {routes: routes{jsonPath: serve(jrd("wss://a.example/") + strings.Repeat(" ", maxHostMeta))}, wantErr: "larger than 65536"},
		"as large as allowed": {routes: routes{jsonPath: serve(fmt.Sprintf("%*s", maxHostMeta, jrd("wss://a.example/")))}, want: "wss://a.example/"},
		"very many": {
			routes: routes{jsonPath: serve(jrd(strings.Fields(strings.Repeat("wss://a.example/ wss://b.example/ wss://c.example/ ", 100))...))},
			want:   "wss://a.example/ wss://b.example/ wss://c.example/",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, dialed := webServer(t, tt.routes)
			targets, err := c.WebSockets(t.Context())
			if got := brief(targets); got != tt.want {
				t.Errorf("got %s, want %s (error %v)", got, tt.want, err)
			}
			if tt.wantErr != "" && (!errors.Is(err, ErrNoWebSocket) || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error %v, want %s", err, tt.wantErr)
			}
			for _, address := range dialed() {
				if !strings.HasSuffix(address, "example.com:443") {
					t.Errorf("connected to %s", address)
				}
			}
		})
	}
}

// TestWebSocketsVerified: without a transport of the caller's, the certificate
// is checked all the same, and the reason can be had from the error.
func TestWebSocketsVerified(t *testing.T) {
	c, _ := webServer(t, map[string]http.HandlerFunc{"/.well-known/host-meta.json": serve(jrd("wss://a.example/"))})
	c.HTTP = nil
	_, err := c.WebSockets(t.Context())
	var verification *tls.CertificateVerificationError
	if !errors.Is(err, ErrNoWebSocket) || !errors.As(err, &verification) {
		t.Errorf("error %v", err)
	}
}

func TestWebSocketsTimeout(t *testing.T) {
	stuck := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	c, _ := webServer(t, map[string]http.HandlerFunc{"/": stuck})
	c.Timeout = 50 * time.Millisecond
	if _, err := c.WebSockets(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	c.Timeout = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.WebSockets(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestWebSocketsNoRequest(t *testing.T) {
	guardDefaultResolver(t)
	for name, tt := range map[string]struct {
		config  Config
		want    string
		wantErr error
	}{
		"override":           {Config{Domain: "example.com", Override: "wss://h.example/ws"}, "wss://h.example/ws", nil},
		"override for TCP":   {Config{Domain: "example.com", Override: "h.example"}, "", ErrNoWebSocket},
		"bad override":       {Config{Domain: "example.com", Override: "ws://h.example"}, "", ErrOverride},
		"bad domain":         {Config{Domain: "example.com/evil"}, "", ErrDomain},
		"onion, no way":      {Config{Domain: "x.onion", Resolver: tripwire{t}}, "", ErrOnion},
		"user in the domain": {Config{Domain: "evil@example.com"}, "", ErrDomain},
	} {
		t.Run(name, func(t *testing.T) {
			targets, err := tt.config.WebSockets(t.Context())
			if brief(targets) != tt.want || !errors.Is(err, tt.wantErr) {
				t.Errorf("got %s, error %v", brief(targets), err)
			}
		})
	}
}
