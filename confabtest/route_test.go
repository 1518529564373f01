package confabtest

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
)

// errs checks that the next element is an error with this condition.
func (c *raw) errs(condition string) *confab.Element {
	c.t.Helper()
	e := c.Next()
	if e.Get("type") != "error" || !has(e.Child(nsClient, "error"), nsStanzas, condition) {
		c.t.Fatalf("want %s, got %s", condition, e)
	}
	return e
}

// body checks that the next element is a message with this body.
func (c *raw) body(b string) *confab.Element {
	c.t.Helper()
	e := c.Next()
	if !e.Is(nsClient, "message") || e.ChildText(nsClient, "body") != b {
		c.t.Fatalf("want %q, got %s", b, e)
	}
	return e
}

func TestMessages(t *testing.T) {
	srv := newServer(t, Config{})
	r := online(t, srv, "romeo", "orchard")
	low := signIn(t, srv, "juliet", "low")
	low.Send("<presence><priority>-1</priority></presence>")
	low.Next()
	bound := signIn(t, srv, "juliet", "bound")
	a := online(t, srv, "juliet", "a")
	a.Next() // low
	low.Next()
	b := online(t, srv, "juliet", "b")
	a.Next()
	b.Next()
	b.Next()
	low.Next()

	r.message("juliet@confab.test", "all")
	x := a.body("all")
	if x.Get("from") != r.addr || x.Get("to") != "juliet@confab.test" || x.Child(nsSID, "stanza-id").Get("by") != "juliet@confab.test" {
		t.Errorf("%s", x)
	}
	if y := b.body("all"); y.Child(nsSID, "stanza-id").Get("id") != x.Child(nsSID, "stanza-id").Get("id") {
		t.Errorf("%s, %s", x, y)
	}
	r.message("juliet@confab.test/low", "one")
	low.body("one")
	r.message("juliet@confab.test/bound", "bound")
	bound.body("bound")
	r.message("juliet@confab.test/gone", "gone")
	a.body("gone")
	b.body("gone")
	r.Send("<message to='juliet@confab.test' type='headline'><body>news</body></message>")
	a.body("news")
	b.body("news")
	for _, to := range []string{"juliet@confab.test", "juliet@confab.test/gone"} {
		r.Send("<message to='" + to + "' type='groupchat'><body>x</body></message>")
		r.errs("service-unavailable")
		r.Send("<message to='" + to + "' type='error'><body>x</body></message>")
	}
	r.Send("<message to='tybalt@confab.test' id='t'><body>x</body></message>")
	if e := r.errs("service-unavailable"); e.Get("from") != "tybalt@confab.test" || e.Get("id") != "t" || e.Get("to") != r.addr {
		t.Errorf("%s", e)
	}
	r.Send("<message to='x@elsewhere.test'><body>x</body></message>")
	r.errs("remote-server-not-found")
	r.Send("<message to='@'><body>x</body></message>")
	r.errs("jid-malformed")
	r.Send("<message><body>myself</body></message>")
	r.body("myself")
	// An id in our name is taken out.
	r.Send("<message to='" + a.addr + "' type='chat'><body>f</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@confab.test' id='forged'/></message>")
	if s := a.body("f").String(); strings.Contains(s, "forged") {
		t.Error(s)
	}
	for _, c := range []*raw{r, low, bound, a, b} {
		c.sync()
	}
	r.Send("<message from='juliet@confab.test' to='" + a.addr + "'><body>x</body></message>")
	if e := r.Next(); !has(e, nsStreams, "invalid-from") {
		t.Errorf("%s", e)
	}
}

func TestOffline(t *testing.T) {
	srv := newServer(t, Config{})
	r := online(t, srv, "romeo", "orchard")
	r.message("juliet@confab.test", "1")
	r.Send("<message to='juliet@confab.test' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
	r.Send("<message to='juliet@confab.test' type='chat'><body>hush</body><no-store xmlns='urn:xmpp:hints'/></message>")
	r.message("juliet@confab.test/gone", "2")
	r.sync()
	if l := srv.Offline("juliet"); len(l) != 2 {
		t.Fatalf("%v", l)
	}
	j := signIn(t, srv, "juliet", "x")
	j.Send("<presence><priority>-5</priority></presence>")
	j.Next()
	j.sync()
	j.Send("<presence/>")
	j.Next()
	if e := j.body("1"); e.Child(nsDelay, "delay").Get("from") != "confab.test" {
		t.Errorf("%s", e)
	}
	j.body("2")
	j.sync()
	srv2 := newServer(t, Config{Without: Offline})
	r = online(t, srv2, "romeo", "orchard")
	r.message("juliet@confab.test", "1")
	r.errs("service-unavailable")
}

func TestCarbons(t *testing.T) {
	srv := newServer(t, Config{})
	j := online(t, srv, "juliet", "balcony")
	a := signIn(t, srv, "romeo", "a")
	b := signIn(t, srv, "romeo", "b")
	for _, c := range []*raw{a, b} {
		c.Send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
		c.Expect("<iq type='result' id='c' from='romeo@confab.test' to='" + c.addr + "'/>")
	}
	a.Send("<message to='juliet@confab.test' type='chat' id='m'><body>out</body></message>")
	j.body("out")
	b.Expect("<message from='romeo@confab.test' to='" + b.addr + "' type='chat'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>" +
		"<message xmlns='jabber:client' from='" + a.addr + "' to='juliet@confab.test' type='chat' id='m'><body>out</body><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@confab.test' id='*'/></message></forwarded></sent></message>")
	j.message(a.addr, "in")
	a.body("in")
	b.Expect("<message from='romeo@confab.test' to='" + b.addr + "' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>" +
		"<message xmlns='jabber:client' from='" + j.addr + "' to='" + a.addr + "' type='chat'><body>in</body><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@confab.test' id='*'/></message></forwarded></received></message>")
	// Not: what is private, a headline, a message without a body.
	j.Send("<message to='" + a.addr + "' type='chat'><body>p</body><private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/></message>")
	if e := a.body("p"); has(e, nsCarbons, "private") {
		t.Errorf("%s", e)
	}
	j.Send("<message to='" + a.addr + "' type='headline'><body>h</body></message>")
	a.body("h")
	j.Send("<message to='" + a.addr + "'><x xmlns='urn:other'/></message>")
	a.body("")
	a.Send("<message to='romeo@confab.test/b' type='chat'><body>self</body></message>")
	b.body("self")
	if e := a.Next(); !has(e, nsCarbons, "received") {
		t.Errorf("%s", e)
	}
	b.Send("<iq type='set' id='d'><disable xmlns='urn:xmpp:carbons:2'/></iq>")
	b.Next()
	j.message(a.addr, "quiet")
	a.body("quiet")
	a.sync()
	b.sync()
}

func TestRequests(t *testing.T) {
	srv := newServer(t, Config{})
	r := online(t, srv, "romeo", "orchard")
	j := online(t, srv, "juliet", "balcony")
	r.Send("<iq type='get' id='1' to='" + j.addr + "'><q xmlns='urn:q'/></iq>")
	j.Expect("<iq type='get' id='1' from='" + r.addr + "' to='" + j.addr + "'><q xmlns='urn:q'/></iq>")
	j.Send("<iq type='result' id='1' to='" + r.addr + "'/>")
	r.Expect("<iq type='result' id='1' from='" + j.addr + "' to='" + r.addr + "'/>")
	for to, condition := range map[string]string{
		"juliet@confab.test/gone": "service-unavailable",
		"juliet@confab.test":      "service-unavailable",
		"tybalt@confab.test":      "service-unavailable",
		"confab.test":             "service-unavailable",
		"x.elsewhere.test":        "remote-server-not-found",
	} {
		r.Send("<iq type='get' id='2' to='" + to + "'><q xmlns='urn:q'/></iq>")
		if e := r.errs(condition); e.Get("from") != to || e.Get("id") != "2" {
			t.Errorf("%s", e)
		}
	}
	r.Send("<iq type='get' id='3'><a xmlns='urn:q'/><b xmlns='urn:q'/></iq><iq type='get'><a xmlns='urn:q'/></iq><iq type='x' id='4'/>")
	for range 3 {
		r.errs("bad-request")
	}
	for q, want := range map[string]string{
		"<query xmlns='http://jabber.org/protocol/disco#info'/>":                        "urn:xmpp:carbons:2",
		"<query xmlns='jabber:iq:version'/>":                                            "confabtest",
		"<time xmlns='urn:xmpp:time'/>":                                                 "Z</utc>",
		"<query xmlns='jabber:iq:last'/>":                                               "seconds=",
		"<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>":              "node=",
		"<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>":                        "result",
		"<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>":               "item-not-found",
		"<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>": "error",
	} {
		r.Send("<iq type='get' id='5' to='confab.test'>" + q + "</iq>")
		if s := r.Next().String(); !strings.Contains(s, want) {
			t.Errorf("%s: %s", q, s)
		}
	}
	r.Send("<iq type='set' id='6'><query xmlns='jabber:iq:private'><a xmlns='urn:a'>1</a></query></iq><iq type='get' id='7'><query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query></iq>")
	r.Next()
	if s := r.Next().String(); !strings.Contains(s, "<a xmlns='urn:a'>1</a>") {
		t.Error(s)
	}
	r.Send("<iq type='get' id='8'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
	if s := r.Next().String(); !strings.Contains(s, "urn:xmpp:sid:0") || !strings.Contains(s, "type='registered'") {
		t.Error(s)
	}
	// Only contacts see what an account can do.
	see := func() *confab.Element {
		r.Send("<iq type='get' id='9' to='juliet@confab.test'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
		for {
			if e := r.Next(); e.Name.Local == "iq" {
				return e
			}
		}
	}
	if e := see(); e.Get("type") != "error" {
		t.Errorf("%s", e)
	}
	srv.Subscribe("romeo", "juliet")
	if e := see(); e.Get("type") != "result" {
		t.Errorf("%s", e)
	}
}

func TestOwnHandlers(t *testing.T) {
	srv := newServer(t, Config{})
	r := online(t, srv, "romeo", "orchard")
	srv.HandleIQ("urn:q", "q", func(iq *confab.Element) *confab.Element {
		if len(srv.Sessions()) != 1 { // it may call the server
			t.Error("no session")
		}
		switch iq.Get("id") {
		case "none":
			return nil
		case "error":
			return confab.El(nsClient, "error", confab.El(nsStanzas, "forbidden")).Set("type", "auth")
		case "never":
			return NoAnswer
		}
		return confab.El("urn:q", "a").SetText(iq.Get("from"))
	})
	for _, id := range []string{"never", "1", "none", "error"} {
		r.Send("<iq type='get' id='" + id + "' to='confab.test'><q xmlns='urn:q'/></iq>")
	}
	r.Expect("<iq type='result' id='1' from='confab.test' to='${me}'><a xmlns='urn:q'>${me}</a></iq>")
	r.Expect("<iq type='result' id='none' from='confab.test' to='${me}'/>")
	r.errs("forbidden")
	r.sync()
	srv.HandleIQ("urn:q", "q", nil)
	r.Send("<iq type='get' id='1' to='confab.test'><q xmlns='urn:q'/></iq>")
	r.errs("service-unavailable")

	var got atomic.Int32
	srv.Component("echo.confab.test", func(e *confab.Element) {
		got.Add(1)
		if e.Name.Local != "message" {
			return
		}
		back := e.Clone().Set("from", e.Get("to")).Set("to", e.Get("from"))
		if err := srv.Send(back); err != nil {
			t.Error(err)
		}
	})
	r.message("x@echo.confab.test", "hello")
	if e := r.body("hello"); e.Get("from") != "x@echo.confab.test" {
		t.Errorf("%s", e)
	}
	r.Send("<iq type='get' id='i' to='confab.test'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>")
	if s := r.Next().String(); !strings.Contains(s, "jid='echo.confab.test'") {
		t.Error(s)
	}
	r.Send("<presence to='x@echo.confab.test/nick'/>")
	r.sync()
	r.Send("</stream:stream>")
	r.ExpectEnd()
	for got.Load() < 3 { // message, presence, unavailable presence
		time.Sleep(time.Millisecond)
	}
}

func TestInject(t *testing.T) {
	srv := newServer(t, Config{})
	r := online(t, srv, "romeo", "orchard")
	r.manage()
	if n := srv.Inject("romeo@confab.test", confab.El(nsClient, "message", confab.El(nsClient, "body").SetText("x")).Set("from", "mallory@evil.test")); n != 1 {
		t.Errorf("%d sessions", n)
	}
	if e := r.body("x"); e.Get("from") != "mallory@evil.test" {
		t.Errorf("%s", e)
	}
	r.Expect("<r xmlns='urn:xmpp:sm:3'/>")
	srv.InjectRaw(r.addr, "<message from='a@b'><body>raw</body></message> <x xmlns='urn:x'/><presence from='@@@'/>")
	r.body("raw")
	r.Expect("<x xmlns='urn:x'/>")
	r.Expect("<presence from='@@@'/>")
	r.Expect("<r xmlns='urn:xmpp:sm:3'/>")
	if i, _ := srv.Session(r.addr); i.Out != 3 || i.Unacked != 3 {
		t.Errorf("%+v", i)
	}
	r.Send("<a xmlns='urn:xmpp:sm:3' h='3'/>")
	srv.InjectRaw(r.addr, "<message><body>cut")
	r.ExpectNothing(20 * time.Millisecond)
}
