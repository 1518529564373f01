package testbed

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo is a server of one line that sends back what it gets.
func echo(t *testing.T) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return &Server{Name: "echo", Addr: l.Addr().String()}
}

func TestLine(t *testing.T) {
	line := echo(t).Line(t)
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", line.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	write := func(c net.Conn) {
		t.Helper()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	read := func(c net.Conn, patience time.Duration) error {
		c.SetReadDeadline(time.Now().Add(patience))
		_, err := io.ReadFull(c, make([]byte, 5))
		return err
	}

	c := dial()
	write(c)
	if err := read(c, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	line.Hold()
	write(c)
	if err := read(c, 50*time.Millisecond); err == nil {
		t.Fatal("a held line carries data")
	}
	line.Release()
	if err := read(c, 10*time.Second); err != nil {
		t.Fatalf("what was held did not arrive: %v", err)
	}

	line.Hold()
	write(c)
	line.Cut()
	if err := read(c, 10*time.Second); err == nil {
		t.Fatal("a cut line carries data")
	}
	line.Release()
	line.Refuse(true)
	// The reset may come as early as in Dial.
	if c, err := net.Dial("tcp", line.Addr); err == nil {
		defer c.Close()
		if err := read(c, 10*time.Second); err == nil {
			t.Fatal("a line that refuses carries data")
		}
	}
	line.Refuse(false)
	c = dial()
	write(c)
	c.(*net.TCPConn).CloseWrite()
	if err := read(c, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}
