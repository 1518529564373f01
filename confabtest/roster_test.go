package confabtest

import (
	"testing"
)

// interested fetches the roster, so that pushes come.
func (c *raw) interested(want string) {
	c.t.Helper()
	c.Send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
	c.Expect("<iq type='result' id='roster' from='*' to='" + c.addr + "'><query xmlns='jabber:iq:roster'>" + want + "</query></iq>")
}

func (c *raw) pushed(item string) {
	c.t.Helper()
	c.Expect("<iq type='set' id='*' to='" + c.addr + "'><query xmlns='jabber:iq:roster' ver='*'>" + item + "</query></iq>")
}

func TestRoster(t *testing.T) {
	srv := newServer(t, Config{})
	a := signIn(t, srv, "romeo", "a")
	b := signIn(t, srv, "romeo", "b")
	a.interested("")
	b.interested("")
	a.Send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='juliet@confab.test' name='J'><group>x</group></item></query></iq>")
	a.Expect("<iq type='result' id='1' from='romeo@confab.test' to='" + a.addr + "'/>")
	item := "<item jid='juliet@confab.test' name='J' subscription='none'><group>x</group></item>"
	a.pushed(item)
	b.pushed(item)
	for _, bad := range []string{
		"<query xmlns='jabber:iq:roster'/>",
		"<query xmlns='jabber:iq:roster'><item jid='@'/></query>",
		"<query xmlns='jabber:iq:roster'><item jid='x@y'><group>a</group><group>a</group></item></query>",
	} {
		a.Send("<iq type='set' id='2'>" + bad + "</iq>")
		a.errs("bad-request")
	}
	a.Send("<iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='x@y' subscription='remove'/></query></iq>")
	a.errs("item-not-found")
	a.Send("<iq type='get' id='3' to='juliet@confab.test'><query xmlns='jabber:iq:roster'/></iq>")
	a.errs("forbidden")
	a.Send("<iq type='get' id='4'><query xmlns='jabber:iq:roster' ver=''/></iq>")
	a.Expect("<iq type='result' id='4' from='*' to='*'><query xmlns='jabber:iq:roster' ver='${ver}'>" + item + "</query></iq>")
	a.Send("<iq type='get' id='5'><query xmlns='jabber:iq:roster' ver='${ver}'/></iq>")
	a.Expect("<iq type='result' id='5' from='*' to='*'/>")
	a.Send("<iq type='set' id='6'><query xmlns='jabber:iq:roster'><item jid='juliet@confab.test' subscription='remove'/></query></iq>")
	a.Next()
	a.pushed("<item jid='juliet@confab.test' subscription='remove'/>")
	b.pushed("<item jid='juliet@confab.test' subscription='remove'/>")
	a.interested("")
}

// TestSubscription is RFC 6121 §3, both ways and back.
func TestSubscription(t *testing.T) {
	srv := newServer(t, Config{})
	const romeo, juliet = "romeo@confab.test", "juliet@confab.test"
	r := signIn(t, srv, "romeo", "r")
	r.interested("")
	r.Send("<presence/>")
	r.Next()
	// She is not there: the request waits, and comes at each sign-in.
	r.Send("<presence to='" + juliet + "/x' type='subscribe'><status>hi</status></presence>")
	r.pushed("<item jid='" + juliet + "' subscription='none' ask='subscribe'/>")
	request := "<presence from='" + romeo + "' to='" + juliet + "' type='subscribe'><status>hi</status></presence>"
	for _, res := range []string{"a", "b"} {
		j := signIn(t, srv, "juliet", res)
		j.interested("")
		j.Send("<presence/>")
		j.Next()
		j.Expect(request)
		if res == "a" {
			j.Send("</stream:stream>")
			j.ExpectEnd()
			continue
		}
		j.Send("<presence to='" + romeo + "' type='subscribed'/>")
		j.pushed("<item jid='" + romeo + "' subscription='from'/>")
		r.Expect("<presence from='" + juliet + "' to='" + romeo + "' type='subscribed'/>")
		r.pushed("<item jid='" + juliet + "' subscription='to'/>")
		r.Expect("<presence from='" + j.addr + "' to='" + romeo + "'/>")
		// The other way.
		j.Send("<presence to='" + romeo + "' type='subscribe'/>")
		j.pushed("<item jid='" + romeo + "' subscription='from' ask='subscribe'/>")
		r.Expect("<presence from='" + juliet + "' to='" + romeo + "' type='subscribe'/>")
		r.Send("<presence to='" + juliet + "' type='subscribed'/>")
		r.pushed("<item jid='" + juliet + "' subscription='both'/>")
		j.Expect("<presence from='" + romeo + "' to='" + juliet + "' type='subscribed'/>")
		j.pushed("<item jid='" + romeo + "' subscription='both'/>")
		j.Expect("<presence from='" + r.addr + "' to='" + juliet + "'/>")
		// Asking again is answered by the server.
		srv.lock()
		srv.accounts[addr{"romeo", "confab.test", ""}].roster.items[addr{"juliet", "confab.test", ""}].to = false
		srv.unlock()
		r.Send("<presence to='" + juliet + "' type='subscribe'/>")
		r.pushed("<item jid='" + juliet + "' subscription='from' ask='subscribe'/>")
		r.Expect("<presence from='" + juliet + "' to='" + romeo + "' type='subscribed'/>")
		r.pushed("<item jid='" + juliet + "' subscription='both'/>")
		// And back.
		r.Send("<presence to='" + juliet + "' type='unsubscribe'/>")
		r.pushed("<item jid='" + juliet + "' subscription='from'/>")
		j.Expect("<presence from='" + romeo + "' to='" + juliet + "' type='unsubscribe'/>")
		j.pushed("<item jid='" + romeo + "' subscription='to'/>")
		r.Expect("<presence from='" + j.addr + "' to='" + romeo + "' type='unavailable'/>")
		r.Send("<presence to='" + juliet + "' type='unsubscribed'/>")
		r.pushed("<item jid='" + juliet + "' subscription='none'/>")
		j.Expect("<presence from='" + r.addr + "' to='" + juliet + "' type='unavailable'/>")
		j.Expect("<presence from='" + romeo + "' to='" + juliet + "' type='unsubscribed'/>")
		j.pushed("<item jid='" + romeo + "' subscription='none'/>")
		j.sync()
	}
	r.Send("<presence to='x@elsewhere.test' type='subscribe'/>")
	r.errs("remote-server-not-found")
	r.sync()
}

func TestPresence(t *testing.T) {
	srv := newServer(t, Config{})
	srv.Subscribe("romeo", "juliet")
	r := online(t, srv, "romeo", "r")
	j := online(t, srv, "juliet", "j")
	j.Expect("<presence from='" + r.addr + "' to='" + j.addr + "'/>") // probed
	r.Expect("<presence from='" + j.addr + "' to='romeo@confab.test'/>")
	r.Send("<presence><show>away</show></presence>")
	r.Expect("<presence from='" + r.addr + "' to='" + r.addr + "'><show>away</show></presence>")
	j.Expect("<presence from='" + r.addr + "' to='juliet@confab.test'><show>away</show></presence>")
	// Directed presence ends with the session, whoever it went to.
	n := online(t, srv, "nurse", "n")
	r.Send("<presence to='" + n.addr + "'/>")
	n.Expect("<presence from='" + r.addr + "' to='" + n.addr + "'/>")
	r.Send("<presence type='unavailable'><status>bye</status></presence>")
	j.Expect("<presence from='" + r.addr + "' to='juliet@confab.test' type='unavailable'><status>bye</status></presence>")
	n.Expect("<presence from='" + r.addr + "' to='" + n.addr + "' type='unavailable'><status>bye</status></presence>")
	r.sync()
	// A client that vanishes is gone for its contacts; the removed contact too.
	j.gone()
	r.Send("<presence/>")
	r.Next()
	r.sync()
	j = online(t, srv, "juliet", "j")
	j.Next()
	r.Next()
	r.Send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='juliet@confab.test' subscription='remove'/></query></iq>")
	r.Expect("<iq type='result' id='1' from='*' to='*'/>")
	j.Expect("<presence from='romeo@confab.test' to='juliet@confab.test' type='unsubscribe'/>")
	j.Expect("<presence from='romeo@confab.test' to='juliet@confab.test' type='unsubscribed'/>")
	r.Expect("<presence from='" + j.addr + "' to='romeo@confab.test' type='unavailable'/>")
}

func TestClientState(t *testing.T) {
	srv := newServer(t, Config{})
	srv.Subscribe("romeo", "juliet")
	r := online(t, srv, "romeo", "r")
	j := online(t, srv, "juliet", "j")
	j.Next()
	r.Next()
	r.Send("<inactive xmlns='urn:xmpp:csi:0'/>")
	r.sync()
	for _, show := range []string{"away", "dnd", "xa"} {
		j.Send("<presence><show>" + show + "</show></presence>")
		j.Next()
	}
	if i, _ := srv.Session(r.addr); !i.Inactive {
		t.Errorf("%+v", i)
	}
	r.ExpectNothing(10e6)
	r.Send("<active xmlns='urn:xmpp:csi:0'/>")
	r.Expect("<presence from='" + j.addr + "' to='romeo@confab.test'><show>xa</show></presence>")
	r.sync()
}
