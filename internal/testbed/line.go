package testbed

import (
	"net"
	"sync"
	"testing"
)

// Line is a network between a test's clients and a server that can fail while
// the server runs on: clients connect to its addresses in place of the server's.
type Line struct {
	Addr       string // in place of Server.Addr
	DirectAddr string // in place of Server.DirectAddr

	mu     sync.Mutex
	pairs  map[*pair]bool
	open   chan struct{} // closed while the line carries data
	refuse bool
	closed bool
	wg     sync.WaitGroup
}

// pair is one client's connection and its continuation to the server.
type pair struct {
	client, server net.Conn
	once           sync.Once
	done           chan struct{} // closed when both are
}

func (p *pair) close() {
	p.once.Do(func() {
		close(p.done)
		for _, c := range []net.Conn{p.client, p.server} {
			if tcp, ok := c.(*net.TCPConn); ok {
				tcp.SetLinger(0) // a reset, not an end in good order
			}
			c.Close()
		}
	})
}

// Line lays a line to the server, which lasts as long as the test.
func (s *Server) Line(tb testing.TB) *Line {
	tb.Helper()
	l := &Line{pairs: map[*pair]bool{}, open: make(chan struct{})}
	close(l.open)
	var listeners []net.Listener
	listen := func(target string) string {
		if target == "" {
			return ""
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		listeners = append(listeners, listener)
		l.wg.Go(func() { l.serve(listener, target) })
		return listener.Addr().String()
	}
	tb.Cleanup(func() {
		for _, listener := range listeners {
			listener.Close()
		}
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.Cut()
		l.wg.Wait()
	})
	l.Addr = listen(s.Addr)
	l.DirectAddr = listen(s.DirectAddr)
	return l
}

// Cut breaks every connection at once: both sides see a reset.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pairs {
		p.close()
	}
}

// Refuse makes the line break new connections as they come, or stops that.
func (l *Line) Refuse(refuse bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = refuse
}

// Hold makes the line carry nothing, as a network does that has silently gone:
// connections stay open and what is written to them waits.
func (l *Line) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

// Release ends Hold. What waited arrives.
func (l *Line) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

func (l *Line) serve(listener net.Listener, target string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.connect(client, target) })
	}
}

func (l *Line) connect(client net.Conn, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		client.Close()
		return
	}
	p := &pair{client: client, server: server, done: make(chan struct{})}
	defer p.close()
	l.mu.Lock()
	if l.refuse || l.closed {
		l.mu.Unlock()
		return
	}
	l.pairs[p] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.pairs, p)
		l.mu.Unlock()
	}()
	var wg sync.WaitGroup
	wg.Go(func() { l.copy(p, server, client) })
	wg.Go(func() { l.copy(p, client, server) })
	wg.Wait()
}

// copy carries data one way. An end in good order is passed on as one, so that
// the other way can still finish.
func (l *Line) copy(p *pair, to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		l.mu.Lock()
		open := l.open
		l.mu.Unlock()
		select {
		case <-open:
		case <-p.done:
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				p.close()
				return
			}
		}
		if err != nil {
			if tcp, ok := to.(*net.TCPConn); ok {
				tcp.CloseWrite()
			}
			return
		}
	}
}
