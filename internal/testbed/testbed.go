// Package testbed starts XMPP servers for tests: the embedded one in the
// process, and real ones, Prosody and ejabberd, as child processes on loopback
// ports with a private data folder and certificates made on the spot.
//
// The environment variable CONFAB_SERVERS selects them, a comma-separated list
// of "embedded", "prosody" and "ejabberd"; without it only the embedded server
// runs, so that go test is green on a machine with nothing installed. A server
// that is asked for and cannot be started fails the test.
//
// A test binary starts each server once, when a test first needs it, and shares
// it between its tests, which keep apart by using accounts of their own:
//
//	func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }
//
//	func TestJoin(t *testing.T) {
//		testbed.Each(t, func(t *testing.T, s *testbed.Server) {
//			address, password := s.Account(t)
//			...
//		})
//	}
//
// Further variables: CONFAB_PROSODY is the path of the prosody script to use,
// CONFAB_SERVER_LOG the log level (debug, info), and CONFAB_KEEP=1 leaves the
// servers' folders in place for a look at their logs.
package testbed

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Names of the servers, as CONFAB_SERVERS has them.
const (
	Embedded = "embedded"
	Prosody  = "prosody"
	Ejabberd = "ejabberd"
)

// Server is a running server. Its domains resolve nowhere: clients are given
// the addresses below instead. A field is empty if the server has no such part.
type Server struct {
	Name    string // Embedded, Prosody or Ejabberd
	Version string
	Domain  string // the domain of the accounts

	Addr         string // host:port for clients, STARTTLS required
	DirectAddr   string // host:port for clients, direct TLS
	WebSocketURL string // wss://localhost:port/...
	BOSHURL      string // https://localhost:port/...
	HTTPSBase    string // https://localhost:port, where host-meta is

	CA    *x509.CertPool // who vouches for the server's certificates
	CAPEM []byte         // the same as PEM

	PlainDomain string // accounts here have every kind of SCRAM the server knows
	AnonDomain  string // SASL ANONYMOUS signs in here
	// CaptchaDomain gives accounts to those who answer a CAPTCHA (XEP-0158). Its pictures
	// have the answer in them, as answer=...
	CaptchaDomain string

	Rooms  string // component addresses
	Upload string
	Proxy  string
	PubSub string
	Search string
	Absent string // a component that is configured but never connected

	backend backend
	users   atomic.Int64
}

// backend is what differs between the kinds of server.
type backend interface {
	addAccount(domain, user, password string) error // makes or overwrites
	start() error                                   // on the same ports, with the same data
	stop(kill bool) error
	close()       // for good, with its data
	logs() string // the last lines
	pid() int     // 0 if it is no child process
}

// Selected returns the names of the servers that tests run against.
func Selected() []string {
	var names []string
	for name := range strings.SplitSeq(os.Getenv("CONFAB_SERVERS"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	if names == nil {
		return []string{Embedded}
	}
	return names
}

// Open starts a server of the given kind. Most tests want Each or EachPrivate.
func Open(name string) (*Server, error) {
	switch name {
	case Embedded:
		if startEmbedded == nil {
			return nil, fmt.Errorf("testbed: no embedded server is built in")
		}
		return startEmbedded()
	case Prosody:
		return openProsody()
	case Ejabberd:
		return openEjabberd()
	}
	return nil, fmt.Errorf("testbed: CONFAB_SERVERS: there is no server %q", name)
}

var (
	sharedMu sync.Mutex
	shared   = map[string]*sharedServer{}
)

type sharedServer struct {
	once sync.Once
	s    *Server
	err  error
}

// Shared returns this test binary's server of the given kind.
func Shared(tb testing.TB, name string) *Server {
	tb.Helper()
	sharedMu.Lock()
	e := shared[name]
	if e == nil {
		e = new(sharedServer)
		shared[name] = e
	}
	sharedMu.Unlock()
	e.once.Do(func() { e.s, e.err = Open(name) })
	if e.err != nil {
		tb.Fatal(e.err)
	}
	e.s.showLogs(tb)
	return e.s
}

// Private starts a server of the given kind for this test alone, which may then
// restart or kill it.
func Private(tb testing.TB, name string) *Server {
	tb.Helper()
	s, err := Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	s.showLogs(tb)
	return s
}

// Each runs f as a subtest for every selected server.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	for _, name := range Selected() {
		t.Run(name, func(t *testing.T) { f(t, Shared(t, name)) })
	}
}

// EachPrivate is like Each, with servers that nothing else uses.
func EachPrivate(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	for _, name := range Selected() {
		t.Run(name, func(t *testing.T) { f(t, Private(t, name)) })
	}
}

// Run is m.Run; afterwards it ends the servers. It is for TestMain. A test
// binary that has no TestMain, or is killed, leaves no server behind either.
func Run(m *testing.M) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		closeShared()
		os.Exit(1)
	}()
	defer closeShared()
	return m.Run()
}

func closeShared() {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	for name, e := range shared {
		delete(shared, name)
		e.once.Do(func() {}) // waits for a start under way
		if e.s != nil {
			e.s.Close()
		}
	}
}

// Account makes a new account and returns its address and password.
func (s *Server) Account(tb testing.TB) (address, password string) {
	tb.Helper()
	return s.AccountAt(tb, s.Domain)
}

// AccountAt is Account at another of the server's domains.
func (s *Server) AccountAt(tb testing.TB, domain string) (address, password string) {
	tb.Helper()
	user := fmt.Sprintf("user%d", s.users.Add(1))
	password = rand.Text()[:12]
	if err := s.AddAccount(domain, user, password); err != nil {
		tb.Fatal(err)
	}
	return user + "@" + domain, password
}

// NamedAccount makes the account user with this password at the server's
// domain, or sets its password, and returns its address.
func (s *Server) NamedAccount(tb testing.TB, user, password string) (address string) {
	tb.Helper()
	if err := s.AddAccount(s.Domain, user, password); err != nil {
		tb.Fatal(err)
	}
	return user + "@" + s.Domain
}

// AddAccount makes an account or sets its password.
func (s *Server) AddAccount(domain, user, password string) error {
	if err := s.backend.addAccount(domain, user, password); err != nil {
		return fmt.Errorf("testbed: %s: account %s@%s: %w", s.Name, user, domain, err)
	}
	return nil
}

// Skip skips a test that needs what the server was found not to have. The
// wording is what CI looks for: a skip for any other reason fails it.
func (s *Server) Skip(tb testing.TB, feature string) {
	tb.Helper()
	tb.Skipf("lacks: %s (%s %s)", feature, s.Name, s.Version)
}

// Restart stops the server in good order and starts it again on the same ports
// with the same data. It is for private servers.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	if err := s.backend.stop(false); err != nil {
		tb.Fatal(err)
	}
	s.Start(tb)
}

// Kill ends the server at once, as a power cut would. It is for private servers.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	if err := s.backend.stop(true); err != nil {
		tb.Fatal(err)
	}
}

// Start starts a killed server again.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if err := s.backend.start(); err != nil {
		tb.Fatal(err)
	}
}

// Close ends the server and removes its data.
func (s *Server) Close() { s.backend.close() }

// Logs returns the last lines of the server's log.
func (s *Server) Logs() string { return s.backend.logs() }

// showLogs adds the server's log to the output of a test that fails.
func (s *Server) showLogs(tb testing.TB) {
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of %s's log:\n%s", s.Name, s.Logs())
		}
	})
}
