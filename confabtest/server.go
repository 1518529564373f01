package confabtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/confab-im/confab"
)

// A Server is an XMPP server. Its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	seed     [32]byte // of what is made up but has to stay the same
	started  time.Time
	certOnce sync.Once
	cert     *certs
	wg       sync.WaitGroup // every goroutine

	// One lock for all that follows and for the sessions. It is never held while
	// bytes are read or written, nor while a user's function runs, but for those
	// that say so. The locks of queues are taken after it.
	mu       sync.Mutex
	closed   bool
	halted   bool
	hosts    map[string]bool // domains with accounts
	accounts map[addr]*account
	streams  map[string]*session // by the id of stream management
	expired  map[string]oldStream
	conns    map[*Conn]struct{}
	writers  map[*Conn]struct{} // like conns, but until all is written
	lastConn int
	onConn   []func(*Conn)
	iqs      map[xml.Name]iqEntry
	domains  map[string]domain
	hooks    hooks
	watchers watchers   // of publish-subscribe
	dirty    []*session // have got stanzas since the lock was taken
	waiters  []chan struct{}
	stats    Stats

	uploads   *uploads // or nil
	proxy     *proxy   // or nil
	listeners []net.Listener
	web       *http.Server
	addrs     [4]string // TCP, direct TLS, HTTPS, proxy
}

// hooks are what features can add to the way of stanzas. They are called with
// the lock held.
type hooks struct {
	// features add to the stream features of a session that is bound or about to
	// be.
	features []func(c *Conn, f *confab.Element)
	// message sees, and may replace, what is about to be delivered to an account
	// or was sent by it. Nil ends it.
	message []func(a *account, e *confab.Element, sent bool) *confab.Element
	// allow reports whether an account takes, or sends, a stanza.
	allow []func(a *account, other addr, e *confab.Element, out bool) bool
	// outgoing sees, and may replace, every presence that a client sends.
	outgoing []func(ss *session, e *confab.Element) *confab.Element
	// presence sees every broadcast of presence of an account's client.
	presence []func(ss *session, e *confab.Element)
	// gone is called when a session has ended.
	gone []func(ss *session)
	// stopping is called when the server is about to stop in good order.
	stopping []func()
	// serverInfo and accountInfo add features to service discovery.
	serverInfo, accountInfo []string
	// discover adds to what an account answers to service discovery, and reports
	// whether it knows the node that is asked for.
	discover []func(r *request, q *confab.Element) bool
	// answer sees the answers (IQs of type result and error) that clients send to
	// an account.
	answer []func(ss *session, acc *account, e *confab.Element)
}

// features are the parts of the server beyond the stream, each in a file of its
// own.
var features = []func(*Server){
	rosterFeature, discoFeature, miscFeature, registerFeature, carbonsFeature, stanzaIDFeature,
	archiveFeature, pubsubFeature, vcardFeature, blockingFeature, roomsFeature,
	uploadFeature, proxyFeature,
}

// NewServer makes a server. It takes connections from [Server.Dial] and
// [Server.Serve] at once, and from the network after [Server.Start].
func NewServer(cfg Config) *Server {
	cfg.Mechanisms = slices.Clone(cfg.Mechanisms)
	cfg.defaults()
	s := &Server{
		cfg: cfg, started: time.Now(),
		hosts:    map[string]bool{cfg.Domain: true},
		accounts: map[addr]*account{}, streams: map[string]*session{}, expired: map[string]oldStream{},
		conns: map[*Conn]struct{}{}, writers: map[*Conn]struct{}{}, iqs: map[xml.Name]iqEntry{}, domains: map[string]domain{},
	}
	for _, d := range [...]string{cfg.AnonymousDomain, cfg.CaptchaDomain} {
		if d != "" {
			s.hosts[d] = true
		}
	}
	_, _ = rand.Read(s.seed[:]) // never fails
	s.stats.Logins = map[string]int{}
	for _, f := range features {
		f(s)
	}
	return s
}

// Domain returns the domain of the accounts.
func (s *Server) Domain() string { return s.cfg.Domain }

// lock takes the lock.
func (s *Server) lock() { s.mu.Lock() }

// unlock asks those who got stanzas to acknowledge them, wakes those who wait for
// something to change, and gives the lock back.
func (s *Server) unlock() {
	for _, ss := range s.dirty {
		ss.dirty = false
		if ss.sm.on && ss.conn != nil {
			ss.conn.q.add(item{data: ackRequest, what: kindElement})
		}
	}
	s.dirty = s.dirty[:0]
	for _, w := range s.waiters {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
}

// AddAccount makes an account at [Server.Domain], or gives it another password,
// which ends its tokens (FAST), and returns its address. It panics if user cannot be a user's name.
func (s *Server) AddAccount(user, password string) string {
	a, err := parseAddr(user + "@" + s.cfg.Domain)
	if err != nil || a.local == "" || a.resource != "" {
		panic(fmt.Sprintf("confabtest: AddAccount: %q cannot be a user's name: %v", user, err))
	}
	s.lock()
	defer s.unlock()
	if acc := s.accounts[a]; acc != nil {
		if acc.password != password {
			acc.password = password
			clear(acc.tokens)
		}
	} else {
		s.newAccount(a, password)
	}
	return a.String()
}

// RemoveAccount removes an account at [Server.Domain], ends its sessions and
// reports whether there was one.
func (s *Server) RemoveAccount(user string) bool {
	a, err := parseAddr(user + "@" + s.cfg.Domain)
	s.lock()
	defer s.unlock()
	acc := s.accounts[a]
	if err != nil || acc == nil {
		return false
	}
	s.removeAccount(acc)
	return true
}

// Accounts returns the addresses of all accounts, sorted.
func (s *Server) Accounts() []string {
	s.lock()
	defer s.unlock()
	var all []string
	for a := range s.accounts {
		all = append(all, a.String())
	}
	slices.Sort(all)
	return all
}

// OnConn has f called with each new connection before anything is read from it or
// written to it. It is the place for faults.
func (s *Server) OnConn(f func(*Conn)) {
	s.lock()
	defer s.unlock()
	s.onConn = append(s.onConn, f)
}

// Serve takes over a connection, which may be a [net.Pipe], and returns at once.
// Secure says to treat it as if it was encrypted; otherwise STARTTLS is
// demanded.
func (s *Server) Serve(nc net.Conn, secure bool) *Conn {
	return s.serve(newConn(s, nc, secure))
}

func (s *Server) serve(c *Conn) *Conn {
	s.lock()
	if s.closed || s.halted {
		s.unlock()
		c.q.kill(nil)
		close(c.q.done)
		close(c.done)
		return c
	}
	s.lastConn++
	c.id = s.lastConn
	s.conns[c], s.writers[c] = struct{}{}, struct{}{}
	s.stats.Connections++
	hooks := slices.Clone(s.onConn)
	s.wg.Add(2)
	s.unlock()
	for _, f := range hooks {
		f(c)
	}
	go c.q.run()
	go c.run()
	return c
}

// Dial connects to the server in memory; network and address do not matter. It is
// made for client.Config.Dial: the connection it returns counts as encrypted and
// authenticated, and it works under testing/synctest. With the address of the web server
// to which files are uploaded, it connects to that.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.lock()
	closed := s.closed || s.halted
	s.unlock()
	if closed {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	if web, ok := s.dialWeb(address); ok {
		return web, nil
	}
	if conn, ok := s.dialProxy(address); ok {
		return conn, nil
	}
	cl, sv := newPipe()
	s.Serve(sv, true)
	leaf := s.certs().server.Leaf
	return &secureConn{cl, tls.ConnectionState{
		Version: tls.VersionTLS12, HandshakeComplete: true, NegotiatedProtocol: "xmpp-client",
		ServerName: s.cfg.Domain, PeerCertificates: []*x509.Certificate{leaf},
		VerifiedChains: [][]*x509.Certificate{{leaf, s.certs().ca}},
	}}, nil
}

// CutAll cuts all connections as if the network was gone, and returns how many
// there were.
func (s *Server) CutAll() int {
	s.lock()
	defer s.unlock()
	for c := range s.conns {
		c.q.cutNow()
	}
	return len(s.conns)
}

// Disconnect ends all streams with a stream error such as "system-shutdown". What
// was waiting for their sessions is handled as if they had signed off.
func (s *Server) Disconnect(condition, text string) {
	s.lock()
	defer s.unlock()
	for c := range s.conns {
		c.endWith(condition, text)
	}
}

// Close ends the server and everything it has started, abruptly. Connections can
// no longer be made.
func (s *Server) Close() {
	s.lock()
	s.closed = true
	for _, a := range s.accounts {
		for _, ss := range a.sessions {
			ss.stopTimer()
		}
	}
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.listeners = nil
	conns := slices.Collect(maps.Keys(s.writers))
	domains := s.domains
	s.domains = map[string]domain{}
	web := s.web
	s.unlock()
	if web != nil {
		_ = web.Close()
	}
	for _, c := range conns {
		c.q.cutNow()
	}
	for _, d := range domains {
		if q, ok := d.(*component); ok {
			q.close()
		}
	}
	if s.uploads != nil {
		s.uploads.stopWeb()
	}
	if s.proxy != nil {
		s.proxy.stop(false)
	}
	s.wg.Wait()
	if s.uploads != nil {
		s.uploads.forget()
	}
}
