package client_test

import (
	"context"
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/stream"
	"github.com/confab-im/confab/internal/testbed"
	"mellium.im/xmpp/stanza"
)

// TestDeepPeer: what is too deep for us ends no session, on a real server either,
// where any stranger can send it.
func TestDeepPeer(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		aliceAddr, alicePass := s.Account(t)
		bobAddr, bobPass := s.Account(t)
		got := make(chan *confab.Message, 100)
		bad := make(chan confab.BadStanza, 100)
		bob := up(t, config(s, bobAddr, bobPass), func(c *client.Client) {
			confab.On(c, func(_ context.Context, m *confab.Message) { got <- m })
			confab.On(c, func(_ context.Context, b confab.BadStanza) { bad <- b })
		})
		alice := up(t, config(s, aliceAddr, alicePass))
		ctx := timeout(t)
		deep := confab.El("deep", "x")
		for range 240 {
			deep = confab.El("deep", "x", deep)
		}
		for _, d := range []confab.Draft{{Body: "deep", Extra: []any{deep}}, {Body: "after"}} {
			d.To = bob.LocalAddr()
			if _, err := alice.SendMessage(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
		if m := <-got; m.Body != "after" {
			t.Errorf("got %q", m.Body)
		}
		var over *stream.LimitError
		select { // it came before the other one, if it came
		case b := <-bad:
			if !errors.As(b.Err, &over) || b.Stanza.Get("from") != alice.LocalAddr().String() {
				t.Errorf("got %+v", b)
			}
		default:
			s.Skip(t, "stanzas that are 240 elements deep")
		}
		// A question that is too deep is answered; so is one whose answer is.
		res, err := alice.Ask(ctx, confab.El(confab.NSClient, "iq", deep).Set("type", "get").Set("to", bob.LocalAddr().String()))
		var se stanza.Error
		if !errors.As(err, &se) || se.Condition != stanza.ServiceUnavailable {
			t.Errorf("%v, %v", res, err)
		}
		err = bob.HandleIQ(stanza.GetIQ, xml.Name{Space: "deep", Local: "please"}, func(context.Context, *confab.IQ) (any, error) { return deep, nil })
		if err != nil {
			t.Fatal(err)
		}
		res, err = alice.Ask(ctx, confab.El(confab.NSClient, "iq", confab.El("deep", "please")).Set("type", "get").Set("to", bob.LocalAddr().String()))
		if !errors.As(err, &over) {
			t.Errorf("%v, %v", res, err)
		}
		if n := bob.Stats().Links + alice.Stats().Links; n != 2 {
			t.Errorf("%d links", n)
		}
	})
}

// TestTooLarge: what the server would end the stream for is refused, whoever has
// brought it about.
func TestTooLarge(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	cfg := func(user string) client.Config {
		return client.Config{Address: srv.AddAccount(user, "pw"), Password: "pw", Dial: srv.Dial}
	}
	long := strings.Repeat("x", 300<<10)
	alice := up(t, cfg("alice"))
	bob := up(t, cfg("bob"), func(c *client.Client) {
		err := c.HandleIQ(stanza.GetIQ, xml.Name{Space: "urn:test", Local: "long"}, func(context.Context, *confab.IQ) (any, error) {
			return confab.El("urn:test", "long").SetText(long), nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	ctx := timeout(t)
	if _, err := alice.SendMessage(ctx, confab.Draft{To: bob.LocalAddr(), Body: long}); !errors.Is(err, confab.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	_, err := alice.Ask(ctx, confab.El(confab.NSClient, "iq", confab.El("urn:test", "long")).Set("type", "get").Set("to", bob.LocalAddr().String()))
	var se stanza.Error
	if !errors.As(err, &se) || se.Condition != stanza.ResourceConstraint {
		t.Errorf("got %v", err)
	}
	big := cfg("carol")
	big.MaxSend = 512 << 10
	carol := up(t, big)
	if _, err := carol.SendMessage(ctx, confab.Draft{To: bob.LocalAddr(), Body: long}); err != nil {
		t.Error(err)
	}
	for _, r := range []*running{alice, bob} {
		if n := r.Stats().Links; n != 1 {
			t.Errorf("%d links", n)
		}
	}
}
