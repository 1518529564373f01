package testbed

import (
	"crypto/x509"
	"fmt"
	"strings"
	"sync"

	"github.com/confab-im/confab/confabtest"
)

// startEmbedded starts the server of package confabtest.
var startEmbedded = openEmbedded

// openEmbedded starts a server in this process.
func openEmbedded() (*Server, error) {
	const domain = "embedded.test"
	e := &embedded{}
	e.srv = confabtest.NewServer(confabtest.Config{
		Domain: domain, AnonymousDomain: "anon." + domain, CaptchaDomain: "captcha." + domain, Wire: e.record, MaxFile: 2 << 30,
	})
	if err := e.srv.Start(); err != nil {
		e.srv.Close()
		return nil, fmt.Errorf("testbed: embedded: %w", err)
	}
	s := &Server{
		Name: Embedded, Version: "1", Domain: domain, AnonDomain: "anon." + domain, CaptchaDomain: "captcha." + domain,
		Addr: e.srv.Addr(), DirectAddr: e.srv.DirectAddr(),
		WebSocketURL: e.srv.WebSocketURL(), HTTPSBase: e.srv.HTTPSURL(),
		PubSub: "pubsub." + domain, Rooms: "rooms." + domain, Upload: "upload." + domain, Proxy: "proxy." + domain,
		CA: x509.NewCertPool(), CAPEM: e.srv.CAPEM(),
		backend: e,
	}
	s.CA.AppendCertsFromPEM(s.CAPEM)
	return s, nil
}

// embedded is the backend that is no child process.
type embedded struct {
	srv *confabtest.Server

	mu   sync.Mutex
	wire [200]string // the last elements
	n    int
}

func (e *embedded) record(conn int, out bool, xml []byte) {
	dir := "<-"
	if out {
		dir = "->"
	}
	line := fmt.Sprintf("%d %s %.500s", conn, dir, xml)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wire[e.n%len(e.wire)] = line
	e.n++
}

func (e *embedded) addAccount(domain, user, password string) error {
	if domain != e.srv.Domain() {
		return fmt.Errorf("there are no accounts at %s", domain)
	}
	e.srv.AddAccount(user, password)
	return nil
}

func (e *embedded) start() error { return e.srv.Start() }

func (e *embedded) stop(kill bool) error {
	if kill {
		e.srv.Crash()
	} else {
		e.srv.Stop()
	}
	return nil
}

func (e *embedded) close()   { e.srv.Close() }
func (e *embedded) pid() int { return 0 }

func (e *embedded) logs() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for i := max(0, e.n-len(e.wire)); i < e.n; i++ {
		b.WriteString(e.wire[i%len(e.wire)] + "\n")
	}
	return b.String()
}
