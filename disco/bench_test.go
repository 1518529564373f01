package disco_test

import (
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"mellium.im/xmpp/jid"
)

// BenchmarkRoom takes the presences of a room of five thousand and then looks at what
// each occupant can do.
func BenchmarkRoom(b *testing.B) {
	const occupants, kinds = 5000, 20
	var soft, hashes [kinds]*confab.Element
	for i := range soft {
		soft[i] = software(fmt.Sprint("Kind ", i), "a", "b", fmt.Sprint("feature", i))
		hashes[i] = c1(b, soft[i])
	}
	jids := make([]jid.JID, occupants)
	presences := make([]*confab.Element, occupants)
	for i := range jids {
		jids[i] = jid.MustParse(occupant(i))
		presences[i] = confab.El(confab.NSClient, "presence", hashes[i%kinds]).Set("from", occupant(i))
	}
	b.ReportAllocs()
	for range b.N {
		w := newWorld(b, func(to, node string) *confab.Element {
			var i int
			_, _ = fmt.Sscanf(to, "heath@rooms.shakespeare.lit/witch%d", &i)
			return soft[i%kinds].Clone()
		})
		d := disco.New(w, disco.Config{})
		for _, p := range presences {
			w.deliver(p)
		}
		w.settle()
		for _, j := range jids {
			if _, err := d.Info(ctx, j); err != nil {
				b.Fatal(err)
			}
		}
		if n := len(w.requests()); n != kinds {
			b.Fatal(n)
		}
	}
}
