package disco_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/caps"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

// world is a session whose requests a function answers.
type world struct {
	*confab.Hub
	tb  testing.TB
	drv *confab.Driver

	mu     sync.Mutex
	asked  []string // who was asked, in order, with the node
	answer func(to, node string) *confab.Element
}

var self = jid.MustParse("romeo@montague.lit/orchard")

// newWorld makes a session in which answer returns the payload of a result, an
// <error/>, or nil for none.
func newWorld(tb testing.TB, answer func(to, node string) *confab.Element) *world {
	w := &world{tb: tb, answer: answer}
	w.Hub, w.drv = confab.NewHub(w, confab.HubConfig{})
	tb.Cleanup(func() { _ = w.drv.Close(context.Background()) })
	return w
}

func (w *world) LocalAddr() jid.JID { return self }

func (w *world) Write(_ context.Context, st confab.Appender, _ *confab.Sent) error {
	iq := st.(*confab.Element)
	to, q := iq.Get("to"), iq.Children[0]
	w.mu.Lock()
	w.asked = append(w.asked, to+" "+q.Get("node"))
	w.mu.Unlock()
	w.Go(func(context.Context) {
		p := w.answer(to, q.Get("node"))
		if p == nil {
			return
		}
		res := confab.El(confab.NSClient, "iq", p).Set("type", "result").Set("id", iq.Get("id")).Set("from", to)
		if p.Name.Local == "error" {
			res.Set("type", "error")
		}
		w.deliver(res)
	})
	return nil
}

func (w *world) deliver(el *confab.Element) {
	if err := w.drv.Deliver(context.Background(), el, 300); err != nil && !errors.Is(err, confab.ErrClosed) {
		w.tb.Error(err)
	}
}

// settle returns when all that was delivered is handled.
func (w *world) settle() { require.NoError(w.tb, w.Fence(context.Background())) }

func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.asked...)
}

// presence lets an entity say that it is there, with a hash.
func (w *world) presence(from string, c ...*confab.Element) {
	w.deliver(confab.El(confab.NSClient, "presence", c...).Set("from", from))
}

func (w *world) gone(from string) {
	w.deliver(confab.El(confab.NSClient, "presence").Set("from", from).Set("type", "unavailable"))
}

// software is a kind of client.
func software(name string, features ...string) *confab.Element {
	q := confab.El(disco.NSInfo, "query", confab.El(disco.NSInfo, "identity").Set("category", "client").Set("type", "pc").Set("name", name))
	for _, f := range features {
		q.Add(confab.El(disco.NSInfo, "feature").Set("var", f))
	}
	return q
}

func c1(tb testing.TB, q *confab.Element) *confab.Element {
	ver, err := caps.Ver(q)
	require.NoError(tb, err)
	return caps.Element("urn:node", ver)
}

func c2(tb testing.TB, q *confab.Element) *confab.Element {
	h, err := caps.Hash(q, caps.Default, "")
	require.NoError(tb, err)
	return caps.Element2(caps.Default, h)
}

func refusal(condition string) *confab.Element {
	return confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, condition)).Set("type", "cancel")
}

func occupant(i int) string { return fmt.Sprintf("heath@rooms.shakespeare.lit/witch%d", i) }
