package disco_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestBigRoom once more, with a server between.
func TestBigRoomLive(t *testing.T) {
	const occupants, kinds = 5000, 5
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx := testclient.Context(t)
	var soft [kinds]*confab.Element
	for i := range soft {
		soft[i] = software(fmt.Sprint("Kind ", i), "a", fmt.Sprint("feature", i))
	}
	var mu sync.Mutex
	requests := 0
	const room = "heath@rooms.localhost"
	srv.Component("rooms.localhost", func(e *confab.Element) {
		if e.Name.Local == "presence" {
			for i := range occupants {
				_ = srv.Send(confab.El(confab.NSClient, "presence", c1(t, soft[i%kinds]), c2(t, soft[i%kinds])).
					Set("from", fmt.Sprintf("%s/witch%d", room, i)).Set("to", e.Get("from")))
			}
			return
		}
		var i int
		_, _ = fmt.Sscanf(e.Get("to"), room+"/witch%d", &i)
		mu.Lock()
		requests++
		mu.Unlock()
		_ = srv.Send(confab.El(confab.NSClient, "iq", soft[i%kinds].Clone().Set("node", e.Children[0].Get("node"))).
			Set("type", "result").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", e.Get("from")))
	})
	var d *disco.Client
	seen := make(chan struct{}, 2*occupants)
	c := testclient.Up(t, testclient.Embedded(srv, "romeo"), func(c *client.Client) {
		d = disco.New(c, disco.Config{})
		c.HandlePresence(func(_ context.Context, p *confab.Presence) error {
			if p.From.Bare().String() == room {
				seen <- struct{}{}
			}
			return nil
		})
	})
	require.NoError(t, c.SendElement(ctx, confab.El(confab.NSClient, "presence").Set("to", room+"/romeo")))
	for range occupants {
		select {
		case <-seen:
		case <-ctx.Done():
			t.Fatal("not all occupants came")
		}
	}
	mu.Lock()
	require.Zero(t, requests)
	mu.Unlock()
	var wg sync.WaitGroup
	for i := range occupants {
		wg.Go(func() {
			info, err := d.Info(ctx, jid.MustParse(fmt.Sprintf("%s/witch%d", room, i)))
			assert.NoError(t, err)
			assert.True(t, info.Has(fmt.Sprint("feature", i%kinds)))
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, kinds, requests)
}
