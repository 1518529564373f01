package confabtest

import (
	"strings"
	"testing"

	"github.com/confab-im/confab"
)

const testRoom = "heath@rooms.confab.test"

// enter has a client enter the room, and returns what came up to the subject.
func (c *raw) enter(nick, x string) (all []*confab.Element) {
	c.t.Helper()
	c.Send("<presence to='" + testRoom + "/" + nick + "'><x xmlns='http://jabber.org/protocol/muc'>" + x + "</x></presence>")
	for {
		e := c.Next()
		all = append(all, e)
		if e.Get("type") == "error" || e.Child(nsClient, "subject") != nil {
			return all
		}
	}
}

func codes(e *confab.Element) (s string) {
	for st := range e.Child(nsMUCUser, "x").All(nsMUCUser, "status") {
		s += st.Get("code") + " "
	}
	return s
}

// TestRooms is what the client's tests of the muc package cannot see: the order of
// what comes, and what the room does with what it is not to believe.
func TestRooms(t *testing.T) {
	srv := newServer(t, Config{})
	r, j, n := signIn(t, srv, "romeo", "r"), signIn(t, srv, "juliet", "j"), signIn(t, srv, "nurse", "n")
	all := r.enter("romeo", "")
	if len(all) != 2 || codes(all[0]) != "201 110 " {
		t.Fatalf("made: %v", all)
	}
	// It is locked until it is configured.
	if e := j.enter("juliet", "")[0]; e.Child(nsClient, "error").Child(nsStanzas, "item-not-found") == nil {
		t.Errorf("locked: %s", e)
	}
	r.Send("<iq type='set' id='1' to='" + testRoom + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
	r.Expect("<iq type='result' id='1' from='" + testRoom + "' to='*'/>")
	all = j.enter("juliet", "")
	if len(all) != 3 || all[0].Get("from") != testRoom+"/romeo" || codes(all[0]) != "" || codes(all[1]) != "110 " {
		t.Fatalf("entered: %v", all)
	}
	item := "<item affiliation='none' role='participant' jid='" + j.addr + "'/>"
	r.Expect("<presence from='" + testRoom + "/juliet' to='*'><occupant-id xmlns='urn:xmpp:occupant-id:0' id='${juliet}'/>" +
		"<x xmlns='http://jabber.org/protocol/muc#user'>" + item + "</x></presence>")

	// Forged ids do not pass.
	j.Send("<message type='groupchat' id='m1' to='" + testRoom + "'><body>one</body><stanza-id xmlns='urn:xmpp:sid:0' by='" + testRoom + "' id='forged'/>" +
		"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/><delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/></message>")
	const one = "<message type='groupchat' id='m1' from='" + testRoom + "/juliet' to='*'><body>one</body>" +
		"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='${juliet}'/><stanza-id xmlns='urn:xmpp:sid:0' by='" + testRoom + "' id='${sid}'/></message>"
	r.Expect(one)
	j.Next()

	// Who is not there is not heard, and cannot ask.
	n.Send("<message type='groupchat' id='2' to='" + testRoom + "'><body>hi</body></message>")
	n.errs("not-acceptable")
	n.Send("<iq type='get' id='3' to='" + testRoom + "/nurse'><ping xmlns='urn:xmpp:ping'/></iq>")
	n.errs("not-acceptable")
	n.Send("<presence to='" + testRoom + "'/>")
	n.errs("jid-malformed")
	n.Send("<message type='groupchat' id='2' to='nowhere@rooms.confab.test'><body>hi</body></message>")
	n.errs("item-not-found")

	// Occupants can: the room for itself, others for themselves.
	j.Send("<iq type='get' id='4' to='" + testRoom + "/juliet'><ping xmlns='urn:xmpp:ping'/></iq>")
	j.Expect("<iq type='result' id='4' from='" + testRoom + "/juliet' to='*'/>")
	j.Send("<iq type='get' id='5' to='" + testRoom + "/romeo'><q xmlns='x'/></iq>")
	r.Expect("<iq type='get' id='${asked}' from='" + testRoom + "/juliet' to='" + r.addr + "'><q xmlns='x'/></iq>")
	r.Send("<iq type='result' id='${asked}' to='" + testRoom + "/juliet'><a xmlns='x'/></iq>")
	j.Expect("<iq type='result' id='5' from='" + testRoom + "/romeo' to='" + j.addr + "'><a xmlns='x'/></iq>")

	// History, as it is wanted.
	for want, count := range map[string]int{"": 1, "<history maxstanzas='0'/>": 0, "<history maxchars='0'/>": 0,
		"<history seconds='600'/>": 1, "<history since='2999-01-01T00:00:00Z'/>": 0, "<history since='2001-01-01T00:00:00Z'/>": 1} {
		got := 0
		for _, e := range n.enter("nurse", want) {
			if e.Child(nsDelay, "delay").Get("from") == testRoom {
				got++
			}
		}
		if got != count {
			t.Errorf("%s: %d messages", want, got)
		}
		n.Send("<presence type='unavailable' to='" + testRoom + "/nurse'/>")
		n.Next()
		r.Next() // came
		r.Next() // went
	}

	// Who signs off is seen to go.
	x := signIn(t, srv, "nurse", "x")
	x.enter("angelica", "<history maxstanzas='0'/>")
	r.Next()
	x.Send("</stream:stream>")
	if e := r.Next(); e.Get("type") != "unavailable" || e.Get("from") != testRoom+"/angelica" {
		t.Errorf("signed off: %s", e)
	}

	// Forgetting tells nobody; ejecting everybody.
	room := srv.Room(testRoom)
	if !room.Exists() || !room.Forget("juliet") || room.Forget("juliet") {
		t.Error("juliet was not forgotten")
	}
	all = j.enter("juliet", "<history maxstanzas='0'/>")
	if len(all) < 3 || codes(all[len(all)-2]) != "110 " {
		t.Errorf("juliet is not back: %v", all)
	}
	r.Next()
	room.SetHats("juliet@confab.test", map[string]string{"urn:x:hat": "Capulet"})
	for e := r.Next(); e.Child(nsHats, "hats").Child(nsHats, "hat").Get("title") != "Capulet"; e = r.Next() {
	}
	room.Eject("juliet", "307", "333")
	if e := r.Next(); e.Get("type") != "unavailable" || codes(e) != "307 333 " {
		t.Errorf("ejected: %s", e)
	}
	// The last one takes a room that is not persistent away.
	r.Send("<presence type='unavailable' to='" + testRoom + "/romeo'/>")
	if e := r.Next(); codes(e) != "110 " {
		t.Errorf("left: %s", e)
	}
	if room.Exists() || room.Occupants() != nil {
		t.Error("the room is still there")
	}
}

// TestRoomPages: rooms come in pages.
func TestRoomPages(t *testing.T) {
	srv := newServer(t, Config{})
	r := signIn(t, srv, "romeo", "r")
	for _, name := range []string{"a", "b", "c"} {
		r.Send("<presence to='" + name + "@rooms.confab.test/romeo'/>") // without an <x/> the room is open at once
		for r.Next().Child(nsClient, "subject") == nil {
		}
	}
	ask := func(set string) *confab.Element {
		r.Send("<iq type='get' id='1' to='rooms.confab.test'><query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>" + set + "</set></query></iq>")
		return r.Next().Child(nsItems, "query")
	}
	q := ask("<max>2</max>")
	set := q.Child(nsRSM, "set")
	if len(q.Children) != 3 || set.ChildText(nsRSM, "last") != "b@rooms.confab.test" || set.ChildText(nsRSM, "count") != "3" {
		t.Errorf("first page: %s", q)
	}
	if q = ask("<max>2</max><after>b@rooms.confab.test</after>"); len(q.Children) != 2 || q.Children[0].Get("jid") != "c@rooms.confab.test" {
		t.Errorf("second page: %s", q)
	}
	if q = ask("<max>0</max>"); len(q.Children) != 1 {
		t.Errorf("count: %s", q)
	}
}

// TestRoomArchive: a room keeps what was said, under the ids that messages carry, for
// those who may enter.
func TestRoomArchive(t *testing.T) {
	srv := newServer(t, Config{})
	r, j, n := signIn(t, srv, "romeo", "r"), signIn(t, srv, "juliet", "j"), signIn(t, srv, "nurse", "n")
	r.enter("romeo", "")
	r.Send("<iq type='set' id='1' to='" + testRoom + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
	r.Next()
	var ids []string
	for _, text := range []string{"one", "two", "three"} {
		r.Send("<message type='groupchat' to='" + testRoom + "'><body>" + text + "</body></message>")
		ids = append(ids, r.Next().Child(nsSID, "stanza-id").Get("id"))
	}
	r.Send("<message type='groupchat' to='" + testRoom + "'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
	r.Next()
	r.Send("<iq type='set' id='2' to='" + testRoom + "'><moderate xmlns='urn:xmpp:message-moderate:1' id='" + ids[1] + "'><retract xmlns='urn:xmpp:message-retract:1'/></moderate></iq>")
	ids = append(ids, r.Next().Child(nsSID, "stanza-id").Get("id"))
	r.Next()
	const query = "<query xmlns='urn:xmpp:mam:2' queryid='q'><set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set></query>"
	j.Send("<iq type='set' id='3' to='" + testRoom + "'>" + query + "</iq>")
	for i, want := range ids {
		e := j.Next()
		res := e.Child(nsMAM, "result")
		m := res.Child(nsForward0, "forwarded").Child(nsClient, "message")
		if e.Get("from") != testRoom || res.Get("id") != want || (m.ChildText(nsClient, "body") == "two") || (m.Child(nsRetract, "retracted") != nil) != (i == 1) {
			t.Errorf("result %d: %s", i, e)
		}
	}
	if fin := j.Next().Child(nsMAM, "fin"); fin.Get("complete") != "true" {
		t.Errorf("fin: %s", fin)
	}
	j.Send("<iq type='get' id='4' to='" + testRoom + "'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
	if info := j.Next().String(); !strings.Contains(info, nsMAM) {
		t.Errorf("info: %s", info)
	}
	j.Send("<iq type='get' id='5' to='" + testRoom + "'><metadata xmlns='urn:xmpp:mam:2'/></iq>")
	if m := j.Next().Child(nsMAM, "metadata"); m.Child(nsMAM, "start").Get("id") != ids[0] || m.Child(nsMAM, "end").Get("id") != ids[3] {
		t.Errorf("metadata: %s", m)
	}
	r.Send("<iq type='set' id='6' to='" + testRoom + "'><query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='outcast' jid='nurse@confab.test'/></query></iq>")
	r.Next()
	n.Send("<iq type='set' id='7' to='" + testRoom + "'>" + query + "</iq>")
	n.errs("forbidden")
}
