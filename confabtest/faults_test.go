package confabtest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
)

// readAll reads a connection to its end.
func readAll(t *testing.T, r io.Reader) (string, error) {
	t.Helper()
	var b strings.Builder
	_, err := io.Copy(&b, r)
	return b.String(), err
}

const script = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + nsStream + "' version='1.0' to='confab.test'>" +
	"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>AHJvbWVvAHJvbWVvLXB3</initial-response><user-agent id='x'/>" +
	"<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind></authenticate>"

// TestCutAnywhere cuts at each byte to the client and finds exactly those there.
func TestCutAnywhere(t *testing.T) {
	srv := newServer(t, Config{})
	var cut int64
	srv.OnConn(func(c *Conn) { c.CutAfterBytes(cut) })
	cut = 1 << 30
	c := dial(t, srv)
	c.Send(script + "<presence/></stream:stream>")
	all, err := readAll(t, c.conn)
	if err != nil || !strings.HasSuffix(all, "</stream:stream>") {
		t.Fatal(err, all)
	}
	for cut = range int64(len(all)) + 1 {
		c := dial(t, srv)
		_, _ = io.WriteString(c.conn, script+"<presence/></stream:stream>")
		got, err := readAll(t, c.conn)
		if int64(len(got)) != cut || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("cut after %d bytes: %d came, %v", cut, len(got), err)
		}
		_ = c.conn.Close()
	}
}

// TestCutStanzas cuts at each stanza, out and in.
func TestCutStanzas(t *testing.T) {
	for n := range 6 {
		for _, in := range []bool{false, true} {
			srv := newServer(t, Config{})
			var conn *Conn
			srv.OnConn(func(c *Conn) {
				if conn = c; in {
					c.CutAfterReadStanzas(n + 1)
				} else {
					c.CutAfterStanzas(n + 1)
				}
			})
			c := dial(t, srv)
			send := script
			for i := range 10 {
				send += fmt.Sprintf("<message to='romeo@confab.test' id='%d'><body>x</body></message>", i)
				if i == 0 {
					send += "<presence/>"
				}
			}
			_, _ = io.WriteString(c.conn, send)
			got, err := readAll(t, c.conn)
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			<-conn.Done() // the last stanza has been handled
			// The first message is kept, and comes with the presence.
			stanzas := strings.Count(got, "</message>") + strings.Count(got, "<presence ")
			want, handled := n+1, n+1
			if in { // the answers to all but the last one that was read
				if want = n; n < 2 {
					want = 0
				}
			}
			if stanzas != want {
				t.Errorf("in %v, cut after %d: %d stanzas came: %s", in, n+1, stanzas, got)
			}
			ss := srv.Sessions()
			if in && (len(ss) != 1 || ss[0].In != uint32(handled)) {
				t.Errorf("cut after %d: %+v", handled, ss)
			}
		}
	}
}

func TestCutReadBytes(t *testing.T) {
	const stanza = "<message to='juliet@confab.test'><body>x</body></message>"
	for _, extra := range []int{0, 1, len(stanza) - 1, len(stanza), len(stanza) + 1, 3 * len(stanza)} {
		srv := newServer(t, Config{})
		srv.OnConn(func(c *Conn) { c.CutAfterReadBytes(int64(len(script) + extra)) })
		c := dial(t, srv)
		_, _ = io.WriteString(c.conn, script+strings.Repeat(stanza, 5))
		if got, err := readAll(t, c.conn); !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(got, "<bound ") {
			t.Errorf("%v, %s", err, got)
		}
		if got := len(srv.Offline("juliet")); got != extra/len(stanza) {
			t.Errorf("%d bytes: %d messages", extra, got)
		}
	}
}

func TestTamper(t *testing.T) {
	srv := newServer(t, Config{})
	conns := make(chan *Conn, 2)
	srv.OnConn(func(c *Conn) { conns <- c })
	r := online(t, srv, "romeo", "r")
	rc := <-conns
	r.manage()
	j := online(t, srv, "juliet", "j")
	is := func(body string) func(*confab.Element) bool {
		return func(e *confab.Element) bool { return e.ChildText(nsClient, "body") == body }
	}
	rc.Drop(is("a"))
	j.message(r.addr, "a")
	j.message(r.addr, "b")
	r.body("b")
	r.Next()
	j.sync()
	rc.Duplicate(is("c"))
	j.message(r.addr, "c")
	r.body("c")
	r.body("c")
	r.Next()
	j.sync()
	rc.Forge(is("d"), "mallory@evil.test")
	j.message(r.addr, "d")
	if e := r.body("d"); e.Get("from") != "mallory@evil.test" {
		t.Errorf("%s", e)
	}
	r.Next()
	rc.Tamper(nil)
	j.message(r.addr, "a")
	r.body("a")
	r.Next()
	// The counts agree with what came.
	r.Send("<a xmlns='urn:xmpp:sm:3' h='5'/>")
	r.wait(func() bool { i, _ := srv.Session(r.addr); return i.Out == 5 && i.Unacked == 0 })
	rc.EndStream("reset", "try again")
	r.Expect("<error xmlns='" + nsStream + "'><reset xmlns='" + nsStreams + "'/><text xmlns='" + nsStreams + "'>try again</text></error>")
	r.ExpectEnd()
}

// TestSilence is under fake time, as tests of patience should be.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewServer(Config{})
		defer srv.Close()
		srv.AddAccount("romeo", "romeo-pw")
		var c *Conn
		srv.OnConn(func(k *Conn) {
			if c == nil {
				c = k
			}
		})
		r := online(t, srv, "romeo", "r")
		c.Mute(true)
		r.message(r.addr, "1")
		r.ExpectNothing(time.Hour)
		if i, _ := srv.Session(r.addr); i.In != 2 {
			t.Errorf("%+v", i)
		}
		c.Mute(false)
		r.body("1")
		// A connection that ends while it is mute leaves nothing behind.
		var mute *Conn
		srv.OnConn(func(k *Conn) { mute = k; k.Mute(true) })
		m := dial(t, srv)
		m.Send(script + "</stream:stream>")
		<-mute.Done()
		_ = m.conn.Close()
		c.Stall(true)
		r.message(r.addr, "2")
		r.ExpectNothing(time.Hour)
		if i, _ := srv.Session(r.addr); i.In != 2 {
			t.Errorf("%+v", i)
		}
		// Writing blocks when nobody reads.
		_ = r.conn.SetWriteDeadline(time.Now().Add(time.Minute))
		if n, err := r.conn.Write(make([]byte, 2*pipeSize)); n == 0 || n > pipeSize || err == nil {
			t.Errorf("%d %v", n, err)
		}
		c.Cut()
		<-c.Done()
		srv.OnConn(func(k *Conn) { c = k; k.Mute(false); k.Delay(time.Second) })
		begin := time.Now()
		r = online(t, srv, "romeo", "r")
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("%v for the sign-in", d)
		}
		for i := range 5 {
			r.message(r.addr, fmt.Sprint(i))
		}
		begin = time.Now()
		for i := range 5 {
			r.body(fmt.Sprint(i))
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("%v for five messages at once", d)
		}
	})
}

// TestResumeTimeout is with fake time: the stream can be resumed to the end.
func TestResumeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewServer(Config{})
		defer srv.Close()
		srv.AddAccount("romeo", "romeo-pw")
		r := signIn(t, srv, "romeo", "r")
		r.manage()
		r.gone()
		time.Sleep(5*time.Minute - time.Second)
		c := dial(t, srv)
		if e := c.resume("romeo", r.Get("id"), 0); !e.Is(nsSM, "resumed") {
			t.Fatalf("%s", e)
		}
		c.addr = r.addr
		c.gone()
		time.Sleep(5*time.Minute + time.Second)
		c = dial(t, srv)
		if e := c.resume("romeo", r.Get("id"), 0); !e.Is(nsSM, "failed") || e.Get("h") != "0" {
			t.Fatalf("%s", e)
		}
		if st := srv.Stats(); st.Timeouts != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestOverflow: a client that does not read is cut, and what it missed waits.
func TestOverflow(t *testing.T) {
	srv := newServer(t, Config{MaxQueue: 50_000})
	j := online(t, srv, "juliet", "j")
	r := online(t, srv, "romeo", "r")
	r.manage()
	big := strings.Repeat("x", 10_000)
	n := 0
	for ; n < 1000; n++ {
		j.message(r.addr, big)
		j.sync()
		if i, _ := srv.Session(r.addr); i.Conn == 0 {
			break
		}
	}
	if n < 4 || n == 1000 {
		t.Errorf("cut after %d messages", n)
	}
	if i, _ := srv.Session(r.addr); i.Unacked != n+1 {
		t.Errorf("%d messages, %+v", n+1, i)
	}
}
