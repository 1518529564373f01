package confabtest

import (
	"crypto/sha1"
	"encoding/hex"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
)

const nsBytestreams = "http://jabber.org/protocol/bytestreams"

// proxy joins two clients (XEP-0065). It listens beside the server or, for those who come
// by [Server.Dial], in memory.
type proxy struct {
	srv  *Server
	name string

	mu    sync.Mutex
	wait  map[string][]net.Conn // by what they ask for; two are joined when that is asked
	conns map[net.Conn]struct{}
	ended bool
}

// proxyFeature is the component proxy.<Domain>.
func proxyFeature(s *Server) {
	if !s.cfg.has(Bytestreams) {
		return
	}
	p := &proxy{srv: s, name: "proxy." + s.cfg.Domain, wait: map[string][]net.Conn{}, conns: map[net.Conn]struct{}{}}
	s.domains[p.name] = p
	s.proxy = p
}

// stanza implements domain.
func (p *proxy) stanza(s *Server, ss *session, from, to addr, e *confab.Element) {
	q := s.componentRequest(ss, from, e)
	if q == nil {
		return
	}
	switch {
	case q.typ == "get" && q.payload.Is(nsPing, "ping"):
		q.result(nil)
	case q.typ == "get" && q.payload.Is(nsInfo, "query"):
		q.result(info("proxy", "bytestreams", "SOCKS5 Bytestreams", []string{nsInfo, nsPing, nsBytestreams}))
	case q.typ == "get" && q.payload.Is(nsItems, "query"):
		q.result(confab.El(nsItems, "query"))
	case q.typ == "get" && q.payload.Is(nsBytestreams, "query"):
		host, port := p.name, "1080"
		if a := s.addrs[3]; a != "" { // the lock is held
			host, port, _ = net.SplitHostPort(a)
		}
		q.result(confab.El(nsBytestreams, "query", confab.El(nsBytestreams, "streamhost").Set("jid", p.name).Set("host", host).Set("port", port)))
	case q.payload.Is(nsBytestreams, "query") && q.payload.Child(nsBytestreams, "activate") != nil:
		sum := sha1.Sum([]byte(q.payload.Get("sid") + from.String() + q.payload.ChildText(nsBytestreams, "activate")))
		if !p.join(hex.EncodeToString(sum[:])) {
			q.fail("cancel", "not-allowed", "")
			return
		}
		q.result(nil)
	default:
		q.fail("cancel", "service-unavailable", "")
	}
}

// join begins to copy between the two who have asked for the same.
func (p *proxy) join(dst string) bool {
	p.mu.Lock()
	two := p.wait[dst]
	if len(two) != 2 {
		p.mu.Unlock()
		return false
	}
	delete(p.wait, dst)
	p.mu.Unlock()
	for i := range two {
		p.srv.wg.Go(func() {
			_, _ = io.Copy(two[i], two[1-i])
			for _, c := range two {
				_ = c.Close()
				p.mu.Lock()
				delete(p.conns, c)
				p.mu.Unlock()
			}
		})
	}
	return true
}

func (p *proxy) acceptFrom(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.serve(c)
	}
}

// serve takes a connection. The server's lock is not held.
func (p *proxy) serve(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = c.Close()
		return
	}
	p.conns[c] = struct{}{}
	p.srv.wg.Go(func() {
		if p.greet(c) != nil {
			_ = c.Close()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		}
	})
}

// greet finds out what a client asks for (RFC 1928).
func (p *proxy) greet(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var b [262]byte
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:b[1]]); err != nil {
		return err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:5]); err != nil {
		return err
	}
	dst := b[5 : 7+int(b[4])]
	if _, err := io.ReadFull(c, dst); err != nil {
		return err
	}
	if b[1] != 1 || b[3] != 3 {
		_, _ = c.Write([]byte{5, 7, 0, 1, 0, 0, 0, 0, 0, 0})
		return net.ErrClosed
	}
	p.mu.Lock()
	name := strings.ToLower(string(dst[:len(dst)-2]))
	ok := !p.ended && len(p.wait[name]) < 2
	if ok {
		p.wait[name] = append(p.wait[name], c)
	}
	p.mu.Unlock()
	if !ok {
		_, _ = c.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0})
		return net.ErrClosed
	}
	_ = c.SetDeadline(time.Time{})
	_, err := c.Write(append([]byte{5, 0, 0, 3, b[4]}, dst...))
	return err
}

// stop cuts all that is under way; again is whether it goes on after that.
func (p *proxy) stop(again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = !again
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.wait)
}

// dialProxy connects in memory if this is the proxy's address.
func (s *Server) dialProxy(address string) (net.Conn, bool) {
	s.lock()
	p := s.proxy
	mine := p != nil && !s.closed && !s.halted && (address == net.JoinHostPort(p.name, strconv.Itoa(1080)) || address != "" && address == s.addrs[3])
	s.unlock()
	if !mine {
		return nil, false
	}
	cl, sv := newPipe()
	p.serve(sv)
	return cl, true
}
