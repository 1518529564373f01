package client_test

import (
	"context"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestTalk(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := timeout(t)
		aliceAddr, alicePass := s.Account(t)
		bobAddr, bobPass := s.Account(t)
		got := make(chan *confab.Message, 100)
		bob := up(t, config(s, bobAddr, bobPass), func(c *client.Client) {
			confab.On(c, func(_ context.Context, m *confab.Message) { got <- m })
		})
		alice := up(t, config(s, aliceAddr, alicePass))
		sent, err := alice.SendMessage(ctx, confab.Draft{To: bob.LocalAddr(), Body: "größe & <东京> 😀"})
		if err != nil {
			t.Fatal(err)
		}
		if err := sent.Wait(ctx, confab.Acked); err != nil {
			t.Errorf("not acknowledged: %v", err)
		}
		m := <-got
		if m.Body != "größe & <东京> 😀" || !m.From.Equal(alice.LocalAddr()) || m.ID != sent.ID || m.Source != confab.Live {
			t.Errorf("got %+v", m)
		}
		var ping struct{}
		err = confab.Do(ctx, alice, stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse(s.Domain)}, confab.El("urn:xmpp:ping", "ping"), nil)
		if err != nil {
			t.Error("ping:", err, ping)
		}
		if err := alice.Close(ctx); err != nil {
			t.Error("close:", err)
		}
		if err := <-alice.done; err != nil {
			t.Error("Run:", err)
		}
		alice.done <- nil
		t.Logf("%s: %+v", s.Version, bob.Stats())
	})
}
