package confabtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
)

// bodies reads messages until one has the last body, answering nothing, and
// returns all bodies.
func (c *raw) bodies(last string) []string {
	c.t.Helper()
	var list []string
	for {
		e := c.Next()
		if e.Is(nsClient, "message") {
			b := e.ChildText(nsClient, "body")
			if list = append(list, b); b == last {
				return list
			}
		}
	}
}

func (c *raw) message(to, body string) {
	c.t.Helper()
	c.Send("<message to='" + to + "' type='chat'><body>" + body + "</body></message>")
}

// resume signs in anew and resumes a stream.
func (c *raw) resume(user, id string, h int) *confab.Element {
	c.t.Helper()
	c.auth(user)
	c.Send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", id, h))
	return c.Next()
}

func TestAcks(t *testing.T) {
	srv := newServer(t, Config{})
	c := dial(t, srv)
	c.auth("romeo")
	c.Send("<enable xmlns='urn:xmpp:sm:3'/><r xmlns='urn:xmpp:sm:3'/>")
	c.Expect("<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='" + nsStanzas + "'/></failed>")
	c.Expect("<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='" + nsStanzas + "'/></failed>")
	c = signIn(t, srv, "romeo", "orchard")
	c.manage()
	c.Send("<r xmlns='urn:xmpp:sm:3'/><presence/><r xmlns='urn:xmpp:sm:3'/>")
	c.Expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
	c.Expect("<presence from='${me}' to='${me}'/>")
	c.Expect("<r xmlns='urn:xmpp:sm:3'/>")
	c.Expect("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	if i, _ := srv.Session(c.addr); i.In != 1 || i.Out != 1 || i.Unacked != 1 || !i.Resumable {
		t.Errorf("%+v", i)
	}
	c.Send("<a xmlns='urn:xmpp:sm:3' h='1'/><r xmlns='urn:xmpp:sm:3'/>")
	c.Expect("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	if i, _ := srv.Session(c.addr); i.Unacked != 0 {
		t.Errorf("%+v", i)
	}
	c.Send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
	c.Expect("<error xmlns='" + nsStream + "'><undefined-condition xmlns='" + nsStreams + "'/><text xmlns='" + nsStreams +
		"'>you acknowledged 2 stanzas, but I only sent you 1 so far</text><handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/></error>")
	c.ExpectEnd()
}

func TestCountsWrapAround(t *testing.T) {
	srv := newServer(t, Config{})
	c := signIn(t, srv, "romeo", "orchard")
	c.manage()
	srv.lock()
	ss := srv.find(c.addr)[0]
	ss.sm.in, ss.sm.out = 1<<32-2, 1<<32-2
	srv.unlock()
	for range 3 {
		c.Send("<iq type='get' id='1' to='confab.test'><ping xmlns='urn:xmpp:ping'/></iq>")
		c.Expect("<iq type='result' id='1' from='confab.test' to='*'/>")
		c.Expect("<r xmlns='urn:xmpp:sm:3'/>")
	}
	c.Send("<a xmlns='urn:xmpp:sm:3' h='0'/><r xmlns='urn:xmpp:sm:3'/>")
	c.Expect("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	if i, _ := srv.Session(c.addr); i.Unacked != 1 || i.Out != 1 {
		t.Errorf("%+v", i)
	}
}

func TestResume(t *testing.T) {
	srv := newServer(t, Config{})
	j := online(t, srv, "juliet", "balcony")
	c := signIn(t, srv, "romeo", "orchard")
	c.manage()
	c.Send("<presence/>")
	c.Next()
	c.Next()
	for i := range 4 {
		j.message("romeo@confab.test", fmt.Sprint(i))
	}
	j.sync()
	c.gone()
	j.message(c.addr, "4") // while it is away
	j.sync()
	d := dial(t, srv)
	e := d.resume("romeo", c.Get("id"), 3) // the presence and two messages
	if !e.Is(nsSM, "resumed") || e.Get("h") != "1" || e.Get("previd") != c.Get("id") {
		t.Fatalf("%s", e)
	}
	if got := strings.Join(d.bodies("4"), " "); got != "2 3 4" {
		t.Error(got)
	}
	d.Expect("<r xmlns='urn:xmpp:sm:3'/>")
	if st := srv.Stats(); st.Resumptions != 1 || st.Resent != 3 {
		t.Errorf("%+v", st)
	}
	// Taken over while the old connection looks alive.
	f := dial(t, srv)
	if e := f.resume("romeo", c.Get("id"), 6); !e.Is(nsSM, "resumed") {
		t.Fatalf("%s", e)
	}
	if e := d.Next(); !has(e, nsStreams, "conflict") {
		t.Errorf("%s", e)
	}
	d.ExpectEnd()
	j.message("romeo@confab.test", "5")
	f.bodies("5")
	// Not by others, and not what there is none of.
	g := dial(t, srv)
	if e := g.resume("juliet", c.Get("id"), 0); !e.Is(nsSM, "failed") || !has(e, nsStanzas, "item-not-found") {
		t.Errorf("%s", e)
	}
	g.Send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>")
	g.Expect("<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='" + nsStanzas + "'/></failed>")
	g.Send("<iq type='set' id='b'><bind xmlns='" + nsBind + "'/></iq>")
	if e := g.Next(); e.Get("type") != "result" {
		t.Errorf("binding after a failed resumption: %s", e)
	}
}

func TestResumeTooHigh(t *testing.T) {
	srv := newServer(t, Config{})
	c := signIn(t, srv, "romeo", "orchard")
	c.manage()
	c.gone()
	d := dial(t, srv)
	e := d.resume("romeo", c.Get("id"), 7)
	if x := e.Child(nsSM, "handled-count-too-high"); x.Get("h") != "7" || x.Get("send-count") != "0" {
		t.Errorf("%s", e)
	}
}

func TestResumeInline(t *testing.T) {
	srv := newServer(t, Config{})
	j := online(t, srv, "juliet", "balcony")
	c := online(t, srv, "romeo", "orchard")
	c.manage()
	c.gone()
	j.message(c.addr, "1")
	j.sync()
	d := dial(t, srv)
	d.open("")
	resume := func(id string) string {
		return "<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/><bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='1'/></bind>"
	}
	e := d.authenticate("PLAIN", "\x00romeo\x00romeo-pw", resume(c.Get("id")))
	if diff := d.compare(mustParse(t, "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>"+c.addr+
		"</authorization-identifier><resumed xmlns='urn:xmpp:sm:3' previd='"+c.Get("id")+"' h='0'/></success>"), e); diff != "" {
		t.Fatal(diff, e)
	}
	if e := d.Next(); e.ChildText(nsClient, "body") != "1" { // no stream features
		t.Errorf("%s", e)
	}
	// What is known to have expired is told apart, with h.
	d.addr = c.addr
	d.gone()
	if n := srv.ForgetStreams(); n != 1 {
		t.Errorf("%d streams", n)
	}
	f := dial(t, srv)
	f.open("")
	e = f.authenticate("PLAIN", "\x00romeo\x00romeo-pw", resume(c.Get("id")))
	if diff := f.compare(mustParse(t, "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>*</authorization-identifier>"+
		"<failed xmlns='urn:xmpp:sm:3' h='0'><item-not-found xmlns='"+nsStanzas+"'/></failed>"+
		"<bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' id='*' resume='true' max='300'/></bound></success>"), e); diff != "" {
		t.Error(diff, e)
	}
	f.Next()
	f.Send("<presence/>")
	f.Next()
	if e := f.Next(); e.ChildText(nsClient, "body") != "1" || !has(e, nsDelay, "delay") {
		t.Errorf("%s", e)
	}
}

// TestUnackedGoesElsewhere: what a lost client has not acknowledged reaches
// another client or is kept, unless somebody has it.
func TestUnackedGoesElsewhere(t *testing.T) {
	srv := newServer(t, Config{ResumeTimeout: 50 * time.Millisecond})
	j := online(t, srv, "juliet", "balcony")
	c := online(t, srv, "romeo", "orchard")
	c.Send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	c.Next()
	j.message("romeo@confab.test", "kept")
	j.Send("<message to='romeo@confab.test' type='headline'><body>no</body></message>")
	j.Send("<iq type='get' id='q' to='" + c.addr + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	j.sync()
	c.gone()
	c.wait(func() bool { return len(srv.Offline("romeo")) > 0 })
	if l := srv.Offline("romeo"); len(l) != 1 || l[0].ChildText(nsClient, "body") != "kept" || !has(l[0], nsDelay, "delay") {
		t.Errorf("%v", l)
	}
	if e := j.Next(); e.Get("id") != "q" || !has(e.Child(nsClient, "error"), nsStanzas, "recipient-unavailable") {
		t.Errorf("%s", e)
	}
	if st := srv.Stats(); st.Timeouts != 1 || st.Returned != 1 {
		t.Errorf("%+v", st)
	}
	d := online(t, srv, "romeo", "garden")
	d.bodies("kept")
	// Two clients: the message is not doubled for the one that has it.
	e := online(t, srv, "romeo", "orchard")
	d.Next() // its presence
	e.Next()
	e.Send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	e.Next()
	j.message("romeo@confab.test", "both")
	d.bodies("both")
	j.message("romeo@confab.test/orchard", "one")
	j.sync()
	e.gone()
	if got := strings.Join(d.bodies("one"), " "); got != "one" {
		t.Error(got)
	}
}

func TestOrderlyEnd(t *testing.T) {
	srv := newServer(t, Config{})
	c := online(t, srv, "romeo", "orchard")
	c.manage()
	c.Send("</stream:stream>")
	c.ExpectEnd()
	c.wait(func() bool { return len(srv.Sessions()) == 0 })
	d := dial(t, srv)
	if e := d.resume("romeo", c.Get("id"), 0); !e.Is(nsSM, "failed") || e.Get("h") != "0" {
		t.Errorf("%s", e)
	}
}
