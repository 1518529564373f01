package jingle

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"mellium.im/xmpp/jid"
)

// handshakeTime bounds how long a handshake may take.
const handshakeTime = 10 * time.Second

// digest is what a bytestream is called among those of a proxy (XEP-0065 §5.3.2).
func digest(sid string, requester, target jid.JID) string {
	sum := sha1.Sum([]byte(sid + requester.String() + target.String()))
	return hex.EncodeToString(sum[:])
}

var errHandshake = errors.New("jingle: this is no SOCKS5 bytestream")

// socksConnect asks who listens for a bytestream.
func socksConnect(conn net.Conn, dst string) error {
	_ = conn.SetDeadline(time.Now().Add(handshakeTime))
	if _, err := conn.Write([]byte{5, 1, 0}); err != nil {
		return err
	}
	var b [262]byte
	if _, err := io.ReadFull(conn, b[:2]); err != nil {
		return err
	}
	if b[0] != 5 || b[1] != 0 {
		return errHandshake
	}
	req := append([]byte{5, 1, 0, 3, byte(len(dst))}, dst...)
	if _, err := conn.Write(append(req, 0, 0)); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, b[:4]); err != nil {
		return err
	}
	if b[0] != 5 || b[1] != 0 {
		return errHandshake
	}
	rest := 0
	switch b[3] {
	case 1:
		rest = 4
	case 4:
		rest = 16
	case 3:
		if _, err := io.ReadFull(conn, b[:1]); err != nil {
			return err
		}
		rest = int(b[0])
	default:
		return errHandshake
	}
	if _, err := io.ReadFull(conn, b[:rest+2]); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// socksServe answers somebody who asks for a bytestream, which must be one of those that
// ok knows.
func socksServe(conn net.Conn, ok func(dst string) bool) error {
	_ = conn.SetDeadline(time.Now().Add(handshakeTime))
	var b [262]byte
	if _, err := io.ReadFull(conn, b[:2]); err != nil {
		return err
	}
	if b[0] != 5 || b[1] == 0 {
		return errHandshake
	}
	n := int(b[1])
	if _, err := io.ReadFull(conn, b[:n]); err != nil {
		return err
	}
	if !strings.Contains(string(b[:n]), "\x00") {
		_, _ = conn.Write([]byte{5, 0xff})
		return errHandshake
	}
	if _, err := conn.Write([]byte{5, 0}); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, b[:5]); err != nil {
		return err
	}
	if b[0] != 5 || b[1] != 1 || b[3] != 3 || b[4] != 40 {
		_, _ = conn.Write([]byte{5, 7, 0, 1, 0, 0, 0, 0, 0, 0})
		return errHandshake
	}
	if _, err := io.ReadFull(conn, b[:42]); err != nil {
		return err
	}
	dst := string(b[:40])
	if !ok(strings.ToLower(dst)) {
		_, _ = conn.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0})
		return errHandshake
	}
	if _, err := conn.Write(append(append([]byte{5, 0, 0, 3, 40}, dst...), b[40], b[41])); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// listener takes connections for one bytestream.
type listener struct {
	ln   net.Listener
	dst  []string // what it may be asked for
	came chan net.Conn

	mu    sync.Mutex
	conns map[net.Conn]struct{} // that are greeting
	done  bool
}

const maxGreeting = 16

// listen takes connections that ask for one of dst.
func listen(address string, dst ...string) (*listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	l := &listener{ln: ln, dst: dst, came: make(chan net.Conn, 4), conns: map[net.Conn]struct{}{}}
	go l.run()
	return l, nil
}

func (l *listener) run() {
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		if l.done || len(l.conns) >= maxGreeting {
			l.mu.Unlock()
			_ = conn.Close()
			continue
		}
		l.conns[conn] = struct{}{}
		l.mu.Unlock()
		go l.greet(conn)
	}
}

func (l *listener) greet(conn net.Conn) {
	err := socksServe(conn, func(dst string) bool {
		for _, d := range l.dst {
			if d == dst {
				return true
			}
		}
		return false
	})
	l.mu.Lock()
	delete(l.conns, conn)
	done := l.done
	if err == nil && !done {
		select {
		case l.came <- conn:
			conn = nil
		default:
		}
	}
	l.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// close ends it, but for a connection that was taken out of it.
func (l *listener) close() {
	if l == nil {
		return
	}
	_ = l.ln.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = true
	for conn := range l.conns {
		_ = conn.Close()
	}
	for {
		select {
		case conn := <-l.came:
			_ = conn.Close()
		default:
			return
		}
	}
}

// take waits for a connection, the latest if there are several.
func (l *listener) take(ctx context.Context, wait time.Duration) (net.Conn, error) {
	if l == nil {
		return nil, errNoWay
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	var conn net.Conn
	select {
	case conn = <-l.came:
	case <-t.C:
		return nil, fmt.Errorf("%w: nobody has connected", errNoWay)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		select {
		case next := <-l.came:
			_ = conn.Close()
			conn = next
		default:
			return conn, nil
		}
	}
}
