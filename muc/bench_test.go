package muc_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/caps"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

const (
	crowd = 5000 // occupants
	kinds = 5    // of clients among them
)

// bigRoom is a room that is a function: full of people with clients of a few kinds.
type bigRoom struct {
	srv       *confabtest.Server
	addr      string
	presences []*confab.Element

	mu    sync.Mutex
	infos int // how often an occupant was asked what they can do
}

func newBigRoom(tb testing.TB) *bigRoom {
	b := &bigRoom{srv: confabtest.NewServer(confabtest.Config{MaxQueue: 1 << 30}), addr: "big@rooms.big.test"}
	tb.Cleanup(b.srv.Close)
	for i := range crowd {
		id := sha256.Sum256(fmt.Appendf(nil, "occupant %d", i))
		hash := sha256.Sum256(fmt.Appendf(nil, "picture %d", i))
		b.presences = append(b.presences, presence(fmt.Sprintf("%s/witch%d", b.addr, i), "",
			confab.El("http://jabber.org/protocol/caps", "c").Set("hash", "sha-1").Set("node", "http://example.com/").Set("ver", software(i%kinds).ver),
			confab.El(confab.NSClient, "show").SetText("away"),
			confab.El("vcard-temp:x:update", "x", confab.El("vcard-temp:x:update", "photo").SetText(hex.EncodeToString(hash[:20]))),
			confab.El(nsOccupant, "occupant-id").Set("id", hex.EncodeToString(id[:16])),
			x(item("participant", "member").Set("jid", fmt.Sprintf("user%d@example.com/phone.%d", i, i)))))
	}
	b.srv.Component("rooms.big.test", b.take)
	return b
}

type kind struct {
	ver   string
	query *confab.Element
}

var software = func() func(int) kind {
	var all []kind
	for i := range kinds {
		q := confab.El(disco.NSInfo, "query", confab.El(disco.NSInfo, "identity").Set("category", "client").Set("type", "pc").Set("name", fmt.Sprint("Kind ", i)),
			confab.El(disco.NSInfo, "feature").Set("var", fmt.Sprint("feature", i)))
		ver, _ := caps.Ver(q)
		all = append(all, kind{ver, q})
	}
	return func(i int) kind { return all[i] }
}()

func (b *bigRoom) take(e *confab.Element) {
	to := e.Get("from")
	switch {
	case e.Name.Local == "iq" && strings.Contains(e.Get("to"), "/"):
		b.mu.Lock()
		b.infos++
		b.mu.Unlock()
		var i int
		_, _ = fmt.Sscanf(e.Get("to"), b.addr+"/witch%d", &i)
		b.result(e, software(i%kinds).query.Clone().Set("node", e.Children[0].Get("node")))
	case e.Name.Local == "iq":
		b.result(e, disco.Info{Identities: []disco.Identity{{Category: "conference", Type: "text"}}, Features: []string{nsOccupant, nsSID}}.Element())
	case e.Name.Local == "presence" && e.Get("type") == "":
		for _, p := range b.presences {
			_ = b.srv.Send(p.Clone().Set("to", to))
		}
		_ = b.srv.Send(presence(e.Get("to"), "", x(item("participant", "none"), "110")).Set("to", to))
		_ = b.srv.Send(b.says("", "", confab.El(confab.NSClient, "subject")).Set("to", to))
	case e.Name.Local == "presence":
		_ = b.srv.Send(presence(e.Get("to"), "unavailable", x(item("none", "none"), "110")).Set("to", to))
	}
}

func (b *bigRoom) says(nick, text string, kids ...*confab.Element) *confab.Element {
	from := b.addr
	if nick != "" {
		from += "/" + nick
	}
	return groupchat("", text, kids...).Set("from", from)
}

func (b *bigRoom) result(e, payload *confab.Element) {
	_ = b.srv.Send(confab.El(confab.NSClient, "iq", payload).Set("type", "result").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", e.Get("from")))
}

// TestBigRoom: what everybody in a big room can do takes as many questions as there are
// kinds of clients, and none before somebody wants to know. An occupant takes 600 bytes
// at most.
func TestBigRoom(t *testing.T) {
	b := newBigRoom(t)
	var d *disco.Client
	p := signIn(t, testclient.Embedded(b.srv, "romeo"), muc.Config{}, func(c *client.Client) { d = disco.New(c, disco.Config{}) })
	r := p.join(t, jid.MustParse(b.addr), "romeo")
	require.Len(t, r.Occupants(), crowd+1)
	assert.Empty(t, p.changes.All())
	assert.Zero(t, b.infos)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			info, err := d.Info(p.ctx, jid.MustParse(fmt.Sprintf("%s/witch%d", b.addr, i)))
			assert.NoError(t, err)
			assert.True(t, info.Has(fmt.Sprint("feature", i%kinds)))
		})
	}
	wg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Equal(t, kinds, b.infos)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// occupantBytes measures what an occupant takes.
func occupantBytes(tb testing.TB) float64 {
	b := newBigRoom(tb)
	p := signIn(tb, testclient.Embedded(b.srv, "romeo"), muc.Config{})
	r := p.join(tb, jid.MustParse(b.addr), "romeo")
	with := heap()
	require.Len(tb, r.Occupants(), crowd+1)
	require.NoError(tb, r.Leave(p.ctx))
	return float64(int64(with-heap())) / crowd
}

func TestOccupantBytes(t *testing.T) {
	n := occupantBytes(t)
	t.Logf("%.0f bytes per occupant", n)
	assert.Less(t, n, 600.0)
}

// BenchmarkJoin enters a room with 5,000 occupants and leaves it.
func BenchmarkJoin(b *testing.B) {
	big := newBigRoom(b)
	p := signIn(b, testclient.Embedded(big.srv, "romeo"), muc.Config{})
	p.ctx = context.Background()
	b.ReportAllocs()
	for b.Loop() {
		r := p.join(b, jid.MustParse(big.addr), "romeo")
		if err := r.Leave(p.ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(crowd, "occupants/op")
}

// BenchmarkMessages hears 10,000 messages in a room with 5,000 occupants.
func BenchmarkMessages(b *testing.B) {
	const messages = 10_000
	big := newBigRoom(b)
	c := testclient.Embedded(big.srv, "romeo")
	heard := make(chan struct{}, messages)
	var rooms *muc.Client
	cl := testclient.Up(b, c, func(c *client.Client) {
		rooms = muc.New(c, muc.Config{})
		confab.On(c, func(context.Context, *muc.Message) { heard <- struct{}{} })
	})
	_, err := rooms.Join(context.Background(), jid.MustParse(big.addr), "romeo")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		for i := range messages {
			e := big.says(fmt.Sprintf("witch%d", i%crowd), "Double, double toil and trouble",
				confab.El(nsSID, "stanza-id").Set("by", big.addr).Set("id", confab.NewID()))
			_ = big.srv.Send(e.Set("to", cl.LocalAddr().String()))
		}
		for range messages {
			<-heard
		}
	}
	b.ReportMetric(messages, "messages/op")
}
