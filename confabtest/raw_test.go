package confabtest

import (
	"context"
	"encoding/base64"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
)

// raw is a client of which a test says every byte. It is a Transcript turned
// around.
type raw struct {
	*Transcript
	srv  *Server
	addr string
}

func newServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	before := runtime.NumGoroutine()
	srv := NewServer(cfg)
	for _, u := range []string{"romeo", "juliet", "nurse"} {
		srv.AddAccount(u, u+"-pw")
	}
	t.Cleanup(func() {
		srv.Close()
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i == 100 {
				b := make([]byte, 1<<20)
				t.Fatalf("goroutines left:\n%s", b[:runtime.Stack(b, true)])
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	return srv
}

// over makes a raw client of a connection.
func over(t testing.TB, srv *Server, nc net.Conn) *raw {
	tr := NewTranscript(t)
	tr.conn, tr.r = nc, stream.NewReader(nc, stream.Limits{})
	tr.all = append(tr.all, nc)
	return &raw{Transcript: tr, srv: srv}
}

func dial(t testing.TB, srv *Server) *raw {
	t.Helper()
	nc, err := srv.Dial(context.Background(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	return over(t, srv, nc)
}

// open sends a stream header and returns the features that come back.
func (c *raw) open(from string) *confab.Element {
	c.t.Helper()
	if from != "" {
		from = " from='" + from + "'"
	}
	c.Send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + nsStream + "' version='1.0' to='" + c.srv.Domain() + "'" + from + ">")
	h := c.ExpectHeader("")
	if h.Get("from") != c.srv.Domain() || h.Get("id") == "" || h.Get("version") != "1.0" {
		c.t.Fatalf("header %s", h)
	}
	f := c.Next()
	if !f.Is(nsStream, "features") {
		c.t.Fatalf("features: %s", f)
	}
	return f
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// signIn signs in the old way and binds a resource.
func signIn(t testing.TB, srv *Server, user, resource string) *raw {
	t.Helper()
	c := dial(t, srv)
	c.auth(user)
	c.Send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	c.addr = user + "@" + srv.Domain() + "/" + resource
	c.Expect("<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>" + c.addr + "</jid></bind></iq>")
	return c
}

func (c *raw) auth(user string) *confab.Element {
	c.t.Helper()
	c.open("")
	c.Send("<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + b64("\x00"+user+"\x00"+user+"-pw") + "</auth>")
	c.Expect("<success xmlns='" + nsSASL + "'/>")
	return c.open("")
}

// online is signIn and initial presence.
func online(t testing.TB, srv *Server, user, resource string) *raw {
	t.Helper()
	c := signIn(t, srv, user, resource)
	c.Send("<presence/>")
	c.Expect("<presence from='" + c.addr + "' to='" + c.addr + "'/>")
	return c
}

// manage enables stream management.
func (c *raw) manage() {
	c.t.Helper()
	c.Send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	c.Set("id", c.Expect("<enabled xmlns='urn:xmpp:sm:3' id='*' resume='true' max='300'/>").Get("id"))
}

// sync makes sure that everything before has been handled, and nothing came.
func (c *raw) sync() {
	c.t.Helper()
	c.Send("<iq type='get' id='sync' to='" + c.srv.Domain() + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	c.Expect("<iq type='result' id='sync' from='" + c.srv.Domain() + "' to='" + c.addr + "'/>")
}

// gone waits until the server has noticed that the connection has ended.
func (c *raw) gone() {
	c.t.Helper()
	n := c.connID()
	_ = c.conn.Close()
	c.wait(func() bool {
		for _, k := range c.srv.Conns() {
			if k.ID() == n {
				return false
			}
		}
		return true
	})
}

func (c *raw) connID() int {
	i, ok := c.srv.Session(c.addr)
	if !ok {
		c.t.Fatalf("no session %s", c.addr)
	}
	return i.Conn
}

func (c *raw) wait(cond func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.srv.Wait(ctx, cond); err != nil {
		c.t.Fatal(err)
	}
}

func has(e *confab.Element, space, local string) bool { return e.Child(space, local) != nil }

func texts(e *confab.Element) string {
	var l []string
	for _, k := range e.Children {
		if k.Name.Local == "mechanism" {
			l = append(l, k.Text)
		}
	}
	return strings.Join(l, " ")
}
