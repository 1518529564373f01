package bookmarks

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

type benchLink struct {
	drv   **confab.Driver
	pages map[string]*confab.Element // by what they come after
}

func (benchLink) LocalAddr() jid.JID { return jid.MustParse("juliet@x.test/y") }

func (l benchLink) Write(_ context.Context, st confab.Appender, _ *confab.Sent) error {
	el := st.(*confab.Element)
	after := ""
	for _, c := range el.Children[0].Children {
		after += c.ChildText("http://jabber.org/protocol/rsm", "after")
	}
	res := confab.El(confab.NSClient, "iq", l.pages[after]).Set("type", "result").Set("id", el.Get("id"))
	go func() { _ = (*l.drv).Deliver(context.Background(), res, 100) }()
	return nil
}

// BenchmarkLoad loads 1,000 bookmarks per operation, in pages of 50.
func BenchmarkLoad(b *testing.B) {
	const ns, rsm, rooms = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/rsm", 1000
	pages := map[string]*confab.Element{}
	for from := 0; from < rooms; from += 50 {
		items := confab.El(ns, "items").Set("node", NS)
		id := func(i int) string { return fmt.Sprintf("room%03d@conference.x.test", i) }
		for i := range 50 {
			items.Add(confab.El(ns, "item", confab.El(NS, "conference",
				confab.El(NS, "nick").SetText("JC"),
				confab.El(NS, "extensions", confab.El("urn:example:state", "state").Set("minimized", "true"))).
				Set("name", "Room "+strconv.Itoa(from+i)).Set("autojoin", "true")).Set("id", id(from+i)))
		}
		after := ""
		if from > 0 {
			after = id(from - 1)
		}
		pages[after] = confab.El(ns, "pubsub", items, confab.El(rsm, "set",
			confab.El(rsm, "first").Set("index", strconv.Itoa(from)).SetText(id(from)),
			confab.El(rsm, "last").SetText(id(from+49)), confab.El(rsm, "count").SetText(strconv.Itoa(rooms))))
	}
	b.ReportAllocs()
	for b.Loop() {
		var drv *confab.Driver
		var hub *confab.Hub
		hub, drv = confab.NewHub(benchLink{&drv, pages}, confab.HubConfig{})
		m, err := New(hub, Config{})
		if err != nil {
			b.Fatal(err)
		}
		drv.Up(context.Background(), true)
		if list := m.List(); len(list) != rooms || !strings.HasPrefix(list[0].Name, "Room") {
			b.Fatal(len(list))
		}
		_ = drv.Close(context.Background())
	}
}
