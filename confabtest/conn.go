package confabtest

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
)

// A Conn is one connection of a client, and the place to make faults. Its methods
// may be called from any goroutine.
type Conn struct {
	srv  *Server
	id   int
	raw  net.Conn
	q    *queue
	gate gate
	ws   *wsConn // nil if bytes are carried
	done chan struct{}

	tamper func(*confab.Element) []*confab.Element // guarded by q.mu

	nc atomic.Pointer[net.Conn] // raw, or TLS on top of it

	// Only the reading goroutine uses these.
	direct    bool // TLS begins at once
	secure    bool
	tlsState  *tls.ConnectionState
	reader    *stream.Reader
	header    *confab.Element // the client's
	host      string          // the domain it wants
	user      *account        // after the sign-in
	mechanism string
	sasl2     bool
	agent     string // id of the user agent
	failures  int
	sasl      *exchange
	fresh     bool // a new stream header is due

	begun atomic.Bool // our first header is out

	sess    *session // guarded by srv.mu
	captcha captcha  // that was shown last
}

func newConn(s *Server, nc net.Conn, secure bool) *Conn {
	c := &Conn{srv: s, raw: nc, secure: secure, done: make(chan struct{})}
	if t, ok := nc.(*tls.Conn); ok {
		c.raw = t.NetConn() // to be closed without ceremony
	}
	c.q = newQueue(c, s.cfg.MaxQueue)
	c.gate.init()
	c.nc.Store(&nc)
	return c
}

func (c *Conn) netConn() net.Conn { return *c.nc.Load() }

// ID returns the number of the connection, counting from 1.
func (c *Conn) ID() int { return c.id }

// Done is closed when the connection has ended and its session, if it had one,
// is gone or waits for being resumed.
func (c *Conn) Done() <-chan struct{} { return c.done }

// gate holds back what is read.
type gate struct {
	mu         sync.Mutex
	cond       sync.Cond
	stalled    bool
	shut       bool
	cutBytes   int64 // or -1
	cutStanzas int   // or 0
	bytes      int64
	stanzas    int
}

func (g *gate) init() {
	g.cutBytes = -1
	g.cond.L = &g.mu
}

// pass waits while the gate is closed and returns how many bytes may be read, at
// most n; 0 if the connection is to be cut.
func (g *gate) pass(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.stalled && !g.shut {
		g.cond.Wait()
	}
	if g.cutBytes >= 0 {
		return int(min(int64(n), max(g.cutBytes-g.bytes, 0)))
	}
	return n
}

func (g *gate) read(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes += int64(n)
}

// last counts a stanza and reports whether it is the last before the cut.
func (g *gate) last() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stanzas++
	return g.cutStanzas > 0 && g.stanzas >= g.cutStanzas
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.cond.Broadcast()
}

// Read reads from the client, as far as the faults let it.
func (c *connReader) Read(p []byte) (int, error) {
	n := c.gate.pass(len(p))
	if n == 0 && len(p) > 0 {
		c.q.seal()
		return 0, errCut
	}
	n, err := (*Conn)(c).netConn().Read(p[:n])
	c.gate.read(n)
	c.gate.pass(0)
	return n, err
}

// connReader is the reading side of a Conn.
type connReader Conn

// run reads until the connection has ended.
func (c *Conn) run() {
	defer c.srv.wg.Done()
	defer close(c.done)
	err := c.serve()
	c.leave(errors.Is(err, stream.ErrEnd))
	c.drain(err)
}

// drain lets the last words be written and ends the connection.
func (c *Conn) drain(err error) {
	c.q.mu.Lock()
	// The writer will see to it: it closes the connection, or gets to the cut.
	orderly := c.q.closing || c.q.cutAt >= 0 && c.q.cutAt <= c.q.total
	c.q.mu.Unlock()
	if !orderly {
		c.q.cutNow()
		return
	}
	if !errors.Is(err, errCut) && c.ws == nil && isSocket(c.raw) {
		// Closing a socket with unread bytes would have the last words lost.
		_ = c.raw.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, c.raw)
	}
}

func isSocket(nc net.Conn) bool {
	_, ok := nc.(*net.TCPConn)
	return ok
}

// hangUp closes the connection in order.
func (c *Conn) hangUp() {
	if c.ws != nil {
		c.ws.hangUp()
		return
	}
	switch nc := c.netConn().(type) {
	case *tls.Conn:
		_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		_ = nc.CloseWrite()
	case *net.TCPConn:
		_ = nc.CloseWrite()
	}
	if isSocket(c.raw) {
		<-c.done // the client closes too, or has a second
	}
}

// leave ends what the connection was for: the session ends, or waits to be
// resumed.
func (c *Conn) leave(orderly bool) {
	s := c.srv
	s.lock()
	defer s.unlock()
	delete(s.conns, c)
	if ss := c.sess; ss != nil && ss.conn == c {
		ss.conn = nil
		if !orderly && ss.sm.resumable && !s.closed {
			ss.hibernate()
		} else if !s.closed {
			ss.end()
		}
	}
	if u := c.user; u != nil && u.temporary && len(u.sessions) == 0 && s.accounts[u.addr] == u {
		delete(s.accounts, u.addr)
	}
	if orderly {
		c.sendEnd()
		c.q.finish()
	}
}

// serve reads the stream to its end.
func (c *Conn) serve() error {
	if c.direct {
		if err := c.handshake("xmpp-client"); err != nil {
			return err
		}
	} else if t, ok := c.netConn().(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			return err
		}
		state := t.ConnectionState()
		c.secure, c.tlsState = true, &state
	}
	// As real servers do, it lets through what is deep; clients have to live with it.
	limits := stream.Limits{MaxBytes: c.srv.cfg.MaxStanza, MaxDepth: 1 << 16}
	if c.ws == nil {
		c.reader = stream.NewReader((*connReader)(c), limits)
	}
	for {
		h, err := c.readOpen()
		if err != nil {
			return c.refuse(err)
		}
		c.log(false, h)
		if err := c.accept(h); err != nil {
			return err
		}
		for c.fresh = false; !c.fresh; {
			e, err := c.readNext()
			if err != nil {
				return c.refuse(err)
			}
			c.log(false, e)
			if err := c.handle(e); err != nil {
				return err
			}
		}
		if c.reader != nil {
			c.reader.Restart()
		}
	}
}

func (c *Conn) readOpen() (*confab.Element, error) {
	if c.ws != nil {
		return c.ws.read()
	}
	return c.reader.Open()
}

func (c *Conn) readNext() (*confab.Element, error) {
	if c.ws != nil {
		return c.ws.read()
	}
	return c.reader.Next()
}

// refuse tells the client what is wrong with its XML, if that is the problem.
func (c *Conn) refuse(err error) error {
	var ce interface{ Condition() string }
	if errors.As(err, &ce) {
		return c.streamError(ce.Condition(), err.Error())
	}
	return err
}

// handshake wraps the connection in TLS.
func (c *Conn) handshake(alpn ...string) error {
	t := tls.Server(&rawReader{Conn: c.raw, c: c}, c.srv.serverTLS(alpn...))
	if err := t.Handshake(); err != nil {
		return err
	}
	state := t.ConnectionState()
	c.secure, c.tlsState = true, &state
	var nc net.Conn = t
	c.nc.Store(&nc)
	if c.reader != nil {
		c.reader.Reset((*connReader)(c))
	}
	return nil
}

// rawReader holds back the bytes of TLS while the connection is stalled.
type rawReader struct {
	net.Conn
	c *Conn
}

func (r *rawReader) Read(p []byte) (int, error) {
	r.c.gate.pass(0)
	return r.Conn.Read(p)
}

// write queues an element that is no stanza.
func (c *Conn) write(e *confab.Element) { c.enqueue(e, kindElement) }

func (c *Conn) enqueue(e *confab.Element, what int) {
	ns := nsClient
	if c.ws != nil {
		ns = ""
	}
	b, err := appendElement(nil, e, ns)
	if err != nil {
		return // what clients sent was legal, so this is not met
	}
	if c.srv.cfg.Wire != nil {
		c.srv.cfg.Wire(c.id, true, b)
	}
	c.q.add(item{data: b, what: what})
}

// appendElement writes an element with the prefix "stream" where old clients want
// it.
func appendElement(b []byte, e *confab.Element, ns string) ([]byte, error) {
	if e.Name.Space != nsStream {
		return e.AppendXML(b, ns)
	}
	name := "stream:" + e.Name.Local
	b = append(b, "<"+name...)
	if ns == "" {
		b = append(b, " xmlns:stream='"+nsStream+"'"...)
	}
	b = append(b, '>')
	var err error
	for _, k := range e.Children {
		if b, err = k.AppendXML(b, ns); err != nil {
			return b, err
		}
	}
	return append(b, "</"+name+">"...), nil
}

func (c *Conn) log(out bool, e *confab.Element) {
	if c.srv.cfg.Wire != nil {
		if b, err := e.AppendXML(nil, nsClient); err == nil {
			c.srv.cfg.Wire(c.id, out, b)
		}
	}
}

var ackRequest = []byte("<r xmlns='" + nsSM + "'/>")

// sendHeader answers the client's stream header.
func (c *Conn) sendHeader() {
	c.begun.Store(true)
	if c.ws != nil {
		c.write(confab.El(nsFraming, "open").Set("from", c.host).Set("id", newID()).
			Set("version", "1.0").Set("to", c.header.Get("from")))
		return
	}
	var b strings.Builder
	b.WriteString("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + nsStream +
		"' version='1.0' xml:lang='en' id='" + newID() + "'")
	if c.host != "" {
		b.WriteString(" from='" + escape(c.host) + "'")
	}
	if from := c.header.Get("from"); from != "" {
		b.WriteString(" to='" + escape(from) + "'")
	}
	b.WriteString(">")
	c.q.add(item{data: []byte(b.String())})
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;").Replace

// sendEnd queues the end of our stream.
func (c *Conn) sendEnd() {
	if c.ws != nil {
		c.write(confab.El(nsFraming, "close"))
		return
	}
	c.q.add(item{data: []byte("</stream:stream>")})
}

// errStream says that a stream error was sent.
var errStream = errors.New("confabtest: stream error")

// streamError ends the stream with an error, and returns one for the reader.
func (c *Conn) streamError(condition, text string, more ...*confab.Element) error {
	if !c.begun.Load() {
		if c.header == nil {
			c.header, c.host = &confab.Element{}, c.srv.cfg.Domain
		}
		c.sendHeader()
	}
	c.srv.lock()
	defer c.srv.unlock()
	c.endWith(condition, text, more...)
	return errStream
}

// endWith ends the stream with an error and the session with it. The lock is
// held.
func (c *Conn) endWith(condition, text string, more ...*confab.Element) {
	if !c.begun.Load() {
		c.q.cutNow()
		return
	}
	e := confab.El(nsStream, "error", confab.El(nsStreams, condition))
	if text != "" {
		e.Add(confab.El(nsStreams, "text").SetText(text))
	}
	c.write(e.Add(more...))
	c.sendEnd()
	c.q.finish()
	if ss := c.sess; ss != nil && ss.conn == c {
		ss.conn = nil
		ss.end()
	}
}
