package confabtest

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeSize is how many bytes fit into one direction of a pipe; then writing
// waits, as with TCP.
const pipeSize = 256 << 10

// memConn is one end of a connection in memory. Its reads and writes block on
// nothing but sync.Cond, so that it can be used under testing/synctest.
type memConn struct {
	in, out *half
	name    memAddr
}

type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }

// newPipe returns the two ends of a connection.
func newPipe() (client, server *memConn) {
	a, b := newHalf(), newHalf()
	return &memConn{in: a, out: b, name: "client"}, &memConn{in: b, out: a, name: "server"}
}

// half is one direction.
type half struct {
	mu      sync.Mutex
	cond    sync.Cond
	buf     []byte
	start   int
	ended   error // no more will be written; reads return it after the rest
	refused bool  // nobody will read any more
	left    bool  // the reading end is closed
	done    bool  // the writing end is closed
	rd, wd  deadline
}

func newHalf() *half {
	h := &half{}
	h.cond.L = &h.mu
	return h
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(h *half, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.cond.Broadcast()
		})
	}
	h.cond.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (c *memConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Source: c.name, Err: err}
}

func (c *memConn) Read(p []byte) (int, error) {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.left:
			return 0, c.fail("read", net.ErrClosed)
		case h.rd.passed():
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case h.start < len(h.buf):
			n := copy(p, h.buf[h.start:])
			h.start += n
			if h.start == len(h.buf) {
				h.buf, h.start = h.buf[:0], 0
			}
			h.cond.Broadcast()
			return n, nil
		case h.ended == io.EOF:
			return 0, io.EOF
		case h.ended != nil:
			return 0, c.fail("read", h.ended)
		case len(p) == 0:
			return 0, nil
		}
		h.cond.Wait()
	}
}

func (c *memConn) Write(p []byte) (int, error) {
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for {
		switch {
		case h.done:
			return n, c.fail("write", net.ErrClosed)
		case h.refused:
			return n, c.fail("write", syscall.EPIPE)
		case h.wd.passed():
			return n, c.fail("write", os.ErrDeadlineExceeded)
		}
		if room := pipeSize - (len(h.buf) - h.start); room > 0 && n < len(p) {
			if h.start > 0 && len(h.buf)+len(p) > cap(h.buf) {
				h.buf = h.buf[:copy(h.buf, h.buf[h.start:])]
				h.start = 0
			}
			k := min(room, len(p)-n)
			h.buf = append(h.buf, p[n:n+k]...)
			n += k
			h.cond.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		h.cond.Wait()
	}
}

// Close ends the connection; the other end reads what was written and then EOF.
func (c *memConn) Close() error { return c.end(io.EOF) }

// reset ends the connection as if the network had: the other end reads what was
// written and then an error.
func (c *memConn) reset() { _ = c.end(syscall.ECONNRESET) }

func (c *memConn) end(err error) error {
	for _, h := range []*half{c.in, c.out} {
		h.mu.Lock()
		if h == c.in {
			h.left, h.refused = true, true
			h.buf, h.start = nil, 0
		} else {
			h.done = true
			if h.ended == nil {
				h.ended = err
			}
		}
		t := h.rd.timer
		if h == c.out {
			t = h.wd.timer
		}
		if t != nil {
			t.Stop()
		}
		h.cond.Broadcast()
		h.mu.Unlock()
	}
	return nil
}

func (c *memConn) LocalAddr() net.Addr { return c.name }
func (c *memConn) RemoteAddr() net.Addr {
	if c.name == "client" {
		return memAddr("server")
	}
	return memAddr("client")
}

func (c *memConn) SetDeadline(t time.Time) error {
	c.in.rd.set(c.in, t)
	c.out.wd.set(c.out, t)
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.rd.set(c.in, t)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.wd.set(c.out, t)
	return nil
}

// secureConn is the client's end of a connection in memory that is taken to be
// encrypted.
type secureConn struct {
	*memConn
	state tls.ConnectionState
}

// ConnectionState says that the handshake is done. There are no keys to export:
// channels are bound by tls-server-end-point only.
func (c *secureConn) ConnectionState() tls.ConnectionState { return c.state }
