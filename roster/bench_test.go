package roster_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/roster"
	"mellium.im/xmpp/jid"
)

const contacts = 10_000

func bigRoster() *confab.Element {
	q := query().Set("ver", "1")
	for i := range contacts {
		q.Add(item(fmt.Sprintf("user%d@x.test", i)).Set("name", fmt.Sprint("User ", i)).Set("subscription", "both").
			Add(confab.El(nsRoster, "group").SetText("Friends")))
	}
	return q
}

// BenchmarkLoad loads 10,000 contacts per operation.
func BenchmarkLoad(b *testing.B) {
	list := bigRoster()
	b.ReportAllocs()
	for b.Loop() {
		s := newSession(b, func(q *confab.Element) *confab.Element { return result(q, list) })
		r, _ := roster.New(s, roster.Config{})
		s.drv.Up(context.Background(), true)
		if r.Len() != contacts {
			b.Fatal(r.Len())
		}
	}
}

// BenchmarkPush changes one of 10,000 contacts per operation.
func BenchmarkPush(b *testing.B) {
	list := bigRoster()
	s := newSession(b, func(q *confab.Element) *confab.Element { return result(q, list) })
	r, _ := roster.New(s, roster.Config{})
	s.drv.Up(context.Background(), true)
	pushes := make([]*confab.Element, 2*contacts)
	for i := range pushes {
		pushes[i] = confab.El(confab.NSClient, "iq", query(item(fmt.Sprintf("user%d@x.test", i%contacts)).
			Set("name", fmt.Sprint("Changed ", i)).Set("subscription", "both")).Set("ver", fmt.Sprint(i))).Set("type", "set").Set("id", fmt.Sprint("p", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		_ = s.drv.Deliver(context.Background(), pushes[i%len(pushes)], 200)
		if i%200 == 199 { // a session drops what is too many
			s.answers(i + 1)
		}
	}
	s.answers(b.N)
	b.StopTimer()
	if r.Len() != contacts {
		b.Fatal(r.Len())
	}
}

// BenchmarkPresence takes one presence per operation: of 5,000 clients of 2,500
// contacts, in turn, each saying something new.
func BenchmarkPresence(b *testing.B) {
	list := bigRoster()
	s := newSession(b, func(q *confab.Element) *confab.Element { return result(q, list) })
	r, _ := roster.New(s, roster.Config{})
	s.drv.Up(context.Background(), true)
	const clients = 5000
	all := make([]*confab.Element, 2*clients)
	for i := range all {
		p := presence(fmt.Sprintf("user%d@x.test/%d", i%clients/2, i%2), "", confab.El(confab.NSClient, "priority").SetText("1"),
			confab.El("http://jabber.org/protocol/caps", "c").Set("hash", "sha-1").Set("node", "https://x.test").Set("ver", "x"))
		if i >= clients {
			p.Add(confab.El(confab.NSClient, "show").SetText("away"), confab.El(confab.NSClient, "status").SetText("not here"))
		}
		all[i] = p
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		_ = s.drv.Deliver(context.Background(), all[i%len(all)], 300)
	}
	_ = s.Fence(context.Background())
	b.StopTimer()
	if got := len(r.Presences(jid.MustParse("user0@x.test"))); b.N >= clients && got != 2 {
		b.Fatal(got)
	}
}
