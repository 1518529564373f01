package disco_test

import (
	"context"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/caps"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
)

// FuzzAnswer gives a Client any presence and any answer: what it then knows of others
// who have the same hash must have that hash.
func FuzzAnswer(f *testing.F) {
	soft := software("X", "a", "b")
	for _, c := range []*confab.Element{c1(f, soft), c2(f, soft)} {
		f.Add(c.String(), soft.String())
	}
	f.Add("<c xmlns='http://jabber.org/protocol/caps'/>", "<query/>")
	f.Fuzz(func(t *testing.T, c, answer string) {
		ce, err := stream.Parse([]byte(c), stream.Limits{})
		if err != nil {
			return
		}
		q, err := stream.Parse([]byte(answer), stream.Limits{})
		if err != nil || q.Name.Local == "error" {
			return
		}
		// Only one of the two answers, so that what is known of the other is by its
		// hash and not by what it said itself.
		w := newWorld(t, func(to, _ string) *confab.Element {
			if to != "a@x/y" {
				return confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "service-unavailable")).Set("type", "cancel")
			}
			return q
		})
		d := disco.New(w, disco.Config{})
		w.presence("a@x/y", ce)
		w.presence("b@x/y", ce)
		w.settle()
		info, err := d.Info(context.Background(), jid.MustParse("a@x/y"))
		if err != nil {
			return
		}
		shared, ok := d.Known(jid.MustParse("b@x/y"))
		if !ok {
			return
		}
		again := shared.Element()
		if len(info.Features) != len(shared.Features) {
			t.Errorf("%v and %v", info, shared)
		}
		if !ce.Is(caps.NS2, "c") {
			if ver, err := caps.VerWith(again, ce.Get("hash")); err != nil || ver != ce.Get("ver") {
				t.Errorf("%s has not the hash of %s", again, c)
			}
			return
		}
		for _, h := range ce.Children {
			if got, err := caps.Hash(again, h.Get("algo"), ""); err == nil && got == strings.TrimSpace(h.Text) {
				return
			}
		}
		t.Errorf("%s has not a hash of %s", again, c)
	})
}

// FuzzItems reads any answer to disco#items.
func FuzzItems(f *testing.F) {
	f.Add("<query xmlns='" + disco.NSItems + "'><item jid='a'/><set xmlns='http://jabber.org/protocol/rsm'><last>x</last></set></query>")
	f.Fuzz(func(t *testing.T, answer string) {
		q, err := stream.Parse([]byte(answer), stream.Limits{})
		if err != nil || q.Name.Local == "error" {
			return
		}
		s := &scripted{t: t, answer: func(*confab.Element) *confab.Element { return q }}
		items, _ := collect(s)
		if len(items) > disco.Max {
			t.Error(len(items))
		}
	})
}
