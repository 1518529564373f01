package roster_test

import (
	"context"
	"encoding/xml"
	"strings"
	"sync"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/roster"
	"mellium.im/xmpp/jid"
)

// benchSession is a session whose server is a function.
type benchSession struct {
	*confab.Hub
	drv *confab.Driver

	mu    sync.Mutex
	reply func(*confab.Element) *confab.Element
	sent  int
	more  chan struct{}
}

func newSession(tb testing.TB, reply func(*confab.Element) *confab.Element) *benchSession {
	s := &benchSession{reply: reply, more: make(chan struct{}, 1)}
	s.Hub, s.drv = confab.NewHub(benchLink{s}, confab.HubConfig{QueueBytes: 1 << 30})
	tb.Cleanup(func() { _ = s.drv.Close(context.Background()) })
	return s
}

type benchLink struct{ s *benchSession }

var benchAddr = jid.MustParse("juliet@x.test/y")

func (l benchLink) LocalAddr() jid.JID { return benchAddr }

func (l benchLink) Write(_ context.Context, st confab.Appender, _ *confab.Sent) error {
	el, ok := st.(*confab.Element)
	if !ok {
		return nil
	}
	if el.Name.Local == "iq" && (el.Get("type") == "get" || el.Get("type") == "set") {
		res := l.s.reply(el)
		go func() { _ = l.s.drv.Deliver(context.Background(), res, 100) }()
		return nil
	}
	l.s.mu.Lock()
	l.s.sent++
	l.s.mu.Unlock()
	select {
	case l.s.more <- struct{}{}:
	default:
	}
	return nil
}

// answers waits until so many stanzas were sent that are no requests.
func (s *benchSession) answers(n int) {
	for {
		s.mu.Lock()
		done := s.sent >= n
		s.mu.Unlock()
		if done {
			return
		}
		<-s.more
	}
}

func result(q *confab.Element, kids ...*confab.Element) *confab.Element {
	return confab.El(confab.NSClient, "iq", kids...).Set("type", "result").Set("id", q.Get("id"))
}

// FuzzStanzas reads whatever a server may send.
func FuzzStanzas(f *testing.F) {
	for _, s := range []string{
		`<iq type='set' id='1'><query xmlns='jabber:iq:roster' ver='1'><item jid='a@x.test' name='A' subscription='both' ask='subscribe' approved='true'><group>G</group></item></query></iq>`,
		`<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@x.test' subscription='remove'/></query></iq>`,
		`<iq type='set' id='1'><block xmlns='urn:xmpp:blocking'><item jid='a@x.test'/></block></iq>`,
		`<iq type='set' id='1' from='juliet@x.test'><unblock xmlns='urn:xmpp:blocking'/></iq>`,
		`<presence from='a@x.test/r'><show>away</show><status>x</status><priority>3</priority><idle xmlns='urn:xmpp:idle:1' since='1969-07-21T02:56:15Z'/></presence>`,
		`<presence from='a@x.test/r' type='unavailable'><delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/></presence>`,
		`<presence from='a@x.test' type='subscribe'><nick xmlns='http://jabber.org/protocol/nick'>A</nick><preauth xmlns='urn:xmpp:pars:0' token='t'/><moved xmlns='urn:xmpp:moved:1'><old-jid>b@x.test</old-jid></moved></presence>`,
		`<presence from='b@x.test' type='subscribed'/>`, `<presence from='b@x.test' type='unsubscribe'/>`, `<presence from='b@x.test' type='error'/>`, `<presence/>`,
		`<message from='a@x.test'><x xmlns='http://jabber.org/protocol/rosterx'><item action='add' jid='c@x.test' name='C'><group>G</group></item></x></message>`,
		`<iq type='result' id='r'><query xmlns='jabber:iq:roster'><item jid='z@x.test'/></query></iq>`,
		`<iq type='result' id='r'><blocklist xmlns='urn:xmpp:blocking'><item jid='z@x.test'/></blocklist></iq>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := xml.NewDecoder(strings.NewReader("<stream xmlns='jabber:client'>" + text + "</stream>"))
		root, err := confab.ReadElement(d)
		if err != nil {
			return
		}
		for _, policy := range []roster.Policy{roster.AskUser, roster.Mutual} {
			s := newSession(t, func(q *confab.Element) *confab.Element {
				res := result(q)
				for _, c := range root.Children { // an answer made of the same
					res.Children = append(res.Children, c.Children...)
				}
				return res
			})
			r, err := roster.New(s, roster.Config{Policy: policy})
			if err != nil {
				t.Fatal(err)
			}
			b, err := roster.NewBlocklist(s)
			if err != nil {
				t.Fatal(err)
			}
			s.drv.Up(context.Background(), true)
			for _, c := range root.Children {
				if c.Name.Space == confab.NSClient {
					_ = s.drv.Deliver(context.Background(), c, 100)
				}
			}
			_ = s.Fence(context.Background())
			for _, c := range r.Contacts() {
				if c.JID.Equal(jid.JID{}) || c.JID.Resourcepart() != "" {
					t.Fatalf("a contact with the address %q", c.JID)
				}
				if len(r.Presences(c.JID)) > 64 {
					t.Fatal("too many clients")
				}
				_, _ = r.LastSeen(c.JID)
			}
			for _, j := range b.Blocked() {
				if !b.IsBlocked(j) {
					t.Fatalf("%s is blocked and is not", j)
				}
			}
			_ = r.Requests()
			_ = s.drv.Close(context.Background())
		}
	})
}

// FuzzParseInvitation reads links.
func FuzzParseInvitation(f *testing.F) {
	f.Add("xmpp:romeo@montague.net?roster;preauth=1tMFqYDdKhfe2pwp;name=Romeo+Montague")
	f.Add("xmpp:example.com?register;preauth=TOKEN")
	f.Add("https://x/#a@b?roster;ibr=y")
	f.Add("xmpp://a@b/c@d?subscribe&name=%20")
	f.Fuzz(func(t *testing.T, link string) {
		i, err := roster.ParseInvitation(link)
		if err != nil {
			return
		}
		i.LandingURL = ""
		again, err := roster.ParseInvitation(i.URI())
		if err != nil {
			t.Fatalf("%q: %v", i.URI(), err)
		}
		if !again.JID.Equal(i.JID) || again.Token != i.Token || again.Name != i.Name || again.Register != i.Register {
			t.Fatalf("%+v became %+v", i, again)
		}
	})
}
