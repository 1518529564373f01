package confab_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestReplyFrom(t *testing.T) {
	for _, tt := range []struct {
		to, from string
		ok       bool
	}{
		{"", "", true},
		{"", "me@example.org", true},
		{"", "me@example.org/dev", true},
		{"", "example.org", true},
		{"", "me@example.org/other", false},
		{"", "eve@example.org", false},
		{"", "eve@example.net", false},
		{"me@example.org", "", true},
		{"me@example.org", "me@example.org", true},
		{"me@example.org", "eve@example.net", false},
		{"me@example.org", "me@example.org/eve", false},
		{"example.org", "example.org", true},
		{"example.org", "", true},
		{"example.org", "example.net", false},
		{"example.org", "eve@example.org", false},
		{"bob@example.net/x", "bob@example.net/x", true},
		{"bob@example.net/x", "bob@EXAMPLE.net/x", true},
		{"bob@example.net/x", "bob@example.net/X", false},
		{"bob@example.net/x", "bob@example.net", false},
		{"bob@example.net/x", "example.net", false},
		{"bob@example.net/x", "", false},
		{"bob@example.net", "bob@example.net/x", false},
		{"bob@example.net", "", false},
		{"muc.example.org", "", false},
		{"muc.example.org", "muc.example.org", true},
		{"muc.example.org", "example.org", false},
		{"bob@example.net", "@", false},
	} {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			bad := collect[confab.BadStanza](s)
			res := s.ask(context.Background(), tt.to, "1")
			synctest.Wait()
			s.deliver(reply("result", tt.from, "1", confab.El("urn:test", "a")))
			synctest.Wait()
			select {
			case r := <-res:
				if !tt.ok {
					t.Errorf("asked %q: the answer from %q was taken", tt.to, tt.from)
				} else if r.err != nil || r.el.Child("urn:test", "a") == nil {
					t.Errorf("asked %q: %v, %v", tt.to, r.el, r.err)
				}
			default:
				if tt.ok {
					t.Errorf("asked %q: the answer from %q was not taken", tt.to, tt.from)
				}
				if len(bad()) != 1 {
					t.Errorf("asked %q: BadStanza %d times", tt.to, len(bad()))
				}
				// The waiter is still there, for the right one.
				s.deliver(reply("result", tt.to, "1"))
				if r := <-res; r.err != nil {
					t.Errorf("asked %q: then %v", tt.to, r.err)
				}
			}
			if s.drv.Backlog() != 0 {
				t.Errorf("backlog %d", s.drv.Backlog())
			}
		})
	}
}

func TestReplyError(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		res := s.ask(context.Background(), "bob@example.net/x", "1")
		synctest.Wait()
		s.deliver(reply("error", "bob@example.net/x", "1", errorElement("cancel", "item-not-found").
			Add(confab.El(confab.NSStanzas, "text").SetText("no"))))
		r := <-res
		var se stanza.Error
		if !errors.As(r.err, &se) || se.Condition != stanza.ItemNotFound || se.Type != stanza.Cancel || se.Text[""] != "no" {
			t.Errorf("got %#v", r.err)
		}
		if !errors.Is(r.err, stanza.Error{Condition: stanza.ItemNotFound}) {
			t.Errorf("not Is: %v", r.err)
		}
		// One without a reason is an error all the same.
		res = s.ask(context.Background(), "bob@example.net/x", "2")
		synctest.Wait()
		s.deliver(reply("error", "bob@example.net/x", "2"))
		if r = <-res; !errors.As(r.err, &se) || se.Condition != stanza.UndefinedCondition {
			t.Errorf("got %#v", r.err)
		}
	})
}

func TestAskEnds(t *testing.T) {
	t.Run("lost", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			var all []<-chan result
			for i := range 100 {
				all = append(all, s.ask(context.Background(), "example.org", fmt.Sprint("a", i)))
			}
			synctest.Wait()
			began := time.Now()
			s.drv.Down(errors.New("cut"), false) // may be resumed: they go on waiting
			synctest.Wait()
			if len(all[0]) != 0 {
				t.Error("a waiter ended though the stream can be resumed")
			}
			s.drv.Down(errors.New("cut"), true)
			for _, c := range all {
				if r := <-c; !errors.Is(r.err, confab.ErrLost) {
					t.Errorf("got %v", r.err)
				}
			}
			if d := time.Since(began); d != 0 {
				t.Errorf("it took %v", d)
			}
		})
	})
	t.Run("closed", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			c := s.ask(context.Background(), "example.org", "1")
			synctest.Wait()
			_ = s.drv.Close(context.Background())
			if r := <-c; !errors.Is(r.err, confab.ErrClosed) {
				t.Errorf("got %v", r.err)
			}
			if r := <-s.ask(context.Background(), "example.org", "2"); !errors.Is(r.err, confab.ErrClosed) {
				t.Errorf("after Close: %v", r.err)
			}
			if err := s.SendElement(t.Context(), confab.El("", "presence")); !errors.Is(err, confab.ErrClosed) {
				t.Errorf("SendElement: %v", err)
			}
			if _, err := s.SendMessage(t.Context(), confab.Draft{To: self, Body: "x"}); !errors.Is(err, confab.ErrClosed) {
				t.Errorf("SendMessage: %v", err)
			}
			if err := s.Fence(t.Context()); !errors.Is(err, confab.ErrClosed) {
				t.Errorf("Fence: %v", err)
			}
			if err := s.drv.Deliver(t.Context(), message("a@b", "1", "x"), 1); !errors.Is(err, confab.ErrClosed) {
				t.Errorf("Deliver: %v", err)
			}
		})
	})
	t.Run("context", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			ctx, cancel := context.WithCancel(context.Background())
			c := s.ask(ctx, "example.org", "1")
			synctest.Wait()
			cancel()
			if r := <-c; !errors.Is(r.err, context.Canceled) {
				t.Errorf("got %v", r.err)
			}
			s.deliver(reply("result", "example.org", "1")) // too late
		})
	})
	for _, d := range []time.Duration{0, 7 * time.Second} {
		t.Run("timeout", func(t *testing.T) {
			bubble(t, confab.HubConfig{Timeout: d}, func(t *testing.T, s fakeSession) {
				began := time.Now()
				r := <-s.ask(context.Background(), "example.org", "1")
				want := d
				if d == 0 {
					want = confab.DefaultTimeout
				}
				if !errors.Is(r.err, context.DeadlineExceeded) || time.Since(began) != want {
					t.Errorf("%v after %v", r.err, time.Since(began))
				}
			})
		})
	}
	t.Run("write", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			boom := errors.New("boom")
			s.link.wrote = func(*confab.Element, *confab.Sent) error { return boom }
			if r := <-s.ask(context.Background(), "example.org", "1"); !errors.Is(r.err, boom) {
				t.Errorf("got %v", r.err)
			}
			s.link.wrote = nil
			c := s.ask(context.Background(), "example.org", "1") // the id is free again
			synctest.Wait()
			if r := <-s.ask(context.Background(), "example.org", "1"); r.err == nil {
				t.Error("the same id twice was taken")
			}
			s.deliver(reply("result", "example.org", "1"))
			if r := <-c; r.err != nil {
				t.Error(r.err)
			}
		})
	})
	t.Run("bad", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			for _, el := range []*confab.Element{
				nil, confab.El(confab.NSClient, "message"), confab.El("urn:x", "iq").Set("type", "get"),
				confab.El(confab.NSClient, "iq"), confab.El(confab.NSClient, "iq").Set("type", "result"),
				confab.El(confab.NSClient, "iq").Set("type", "get").Set("to", "@"),
				confab.El(confab.NSClient, "iq", confab.El("urn:x", "a").SetText("\x00")).Set("type", "get"),
			} {
				if _, err := s.Ask(t.Context(), el); err == nil {
					t.Errorf("%v was asked", el)
				}
			}
			// Ask does not change what it is given.
			el := confab.El(confab.NSClient, "iq").Set("type", "get")
			c := make(chan error, 1)
			go func() { _, err := s.Ask(context.Background(), el); c <- err }()
			synctest.Wait()
			if el.Get("id") != "" {
				t.Error("Ask changed its argument")
			}
			s.deliver(reply("result", "", s.link.sent()[0].Get("id")))
			if err := <-c; err != nil {
				t.Error(err)
			}
		})
	})
}

// answerAll makes the link answer every request at once, as a reader would.
func (s fakeSession) answerAll() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.link.wrote = func(el *confab.Element, _ *confab.Sent) error {
		if typ := el.Get("type"); el.Name.Local == "iq" && (typ == "get" || typ == "set") {
			go s.deliver(reply("result", el.Get("to"), el.Get("id"), confab.El("urn:test", "a")))
		}
		return nil
	}
}

func TestAskInHandlers(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		s.answerAll()
		var inStage, inOn, inPresence, inIQ int
		ask := func(ctx context.Context, n *int) {
			if r := <-s.ask(ctx, "example.org", ""); r.err != nil {
				t.Error(r.err)
			}
			*n++
		}
		s.HandleMessage(confab.StageInterpret, func(ctx context.Context, _ *confab.Message) error {
			ask(ctx, &inStage)
			return nil
		})
		s.HandlePresence(func(ctx context.Context, _ *confab.Presence) error {
			ask(ctx, &inPresence)
			return nil
		})
		if err := s.HandleIQ(stanza.GetIQ, xml.Name{Space: "urn:test", Local: "q"}, func(ctx context.Context, _ *confab.IQ) (any, error) {
			ask(ctx, &inIQ)
			return nil, nil
		}); err != nil {
			t.Fatal(err)
		}
		confab.On(s, func(ctx context.Context, _ *confab.Message) { ask(ctx, &inOn) })
		for i := range 100 {
			s.deliver(message("bob@example.net", fmt.Sprint(i), "x"))
			s.deliver(confab.El(confab.NSClient, "presence").Set("from", "bob@example.net/x"))
			s.deliver(request("get", fmt.Sprint(i), confab.El("urn:test", "q")))
		}
		synctest.Wait()
		if inStage != 100 || inOn != 100 || inPresence != 100 || inIQ != 100 {
			t.Errorf("stage %d, On %d, presence %d, IQ %d", inStage, inOn, inPresence, inIQ)
		}
		if s.drv.Backlog() != 0 {
			t.Errorf("backlog %d", s.drv.Backlog())
		}
	})
}

func TestFence(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		if err := s.Fence(t.Context()); err != nil {
			t.Error(err)
		}
		block := make(chan struct{})
		s.HandleMessage(confab.StageDeliver, func(ctx context.Context, _ *confab.Message) error {
			if err := s.Fence(ctx); !errors.Is(err, confab.ErrInHandler) {
				t.Errorf("in a handler: %v", err)
			}
			<-block
			return nil
		})
		s.deliver(message("a@b", "", "x"))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := s.Fence(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		cancel()
		fence := make(chan error, 1)
		go func() { fence <- s.Fence(context.Background()) }()
		synctest.Wait()
		close(block)
		if err := <-fence; err != nil {
			t.Error(err)
		}
	})
	t.Run("lost", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			block := make(chan struct{})
			s.HandleMessage(confab.StageDeliver, func(context.Context, *confab.Message) error { <-block; return nil })
			s.deliver(message("a@b", "", "x"))
			s.deliver(message("a@b", "", "x"))
			fence := make(chan error, 1)
			go func() { fence <- s.Fence(context.Background()) }()
			synctest.Wait()
			s.drv.Truncate()
			s.drv.Down(nil, true)
			if err := <-fence; !errors.Is(err, confab.ErrLost) {
				t.Errorf("got %v", err)
			}
			close(block)
		})
	})
}

func TestRequester(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		s.answerAll()
		var a struct {
			XMLName xml.Name `xml:"urn:test a"`
		}
		q := stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse("example.org")}
		if err := confab.Do(t.Context(), s, q, confab.El("urn:test", "q"), &a); err != nil || a.XMLName.Local != "a" {
			t.Errorf("Do: %v", err)
		}
		var el confab.Element
		if err := confab.Do(t.Context(), s, q, nil, &el); err != nil || el.Name.Local != "a" {
			t.Errorf("Do: %v", err)
		}
		if err := confab.Do(t.Context(), s, stanza.IQ{Type: stanza.ResultIQ}, nil, nil); err == nil {
			t.Error("Do took type result")
		}
		if err := confab.Do(t.Context(), s, q, make(chan int), nil); err == nil {
			t.Error("Do took a channel")
		}
		// Over what has SendIQ and no Ask: the same, by the hand.
		plain := struct{ confab.Requester }{s}
		if err := confab.Do(t.Context(), plain, q, confab.El("urn:test", "q"), &el); err != nil || el.Name.Local != "a" {
			t.Errorf("Do, plain: %v", err)
		}
		s.link.wrote = func(el *confab.Element, _ *confab.Sent) error {
			go s.deliver(reply("error", el.Get("to"), el.Get("id"), errorElement("auth", "forbidden")))
			return nil
		}
		for _, r := range []confab.Requester{s, plain} {
			if err := confab.Do(t.Context(), r, q, nil, nil); !errors.Is(err, stanza.Error{Condition: stanza.Forbidden}) {
				t.Errorf("Do: %v", err)
			}
		}
		s.link.wrote = func(el *confab.Element, _ *confab.Sent) error {
			go s.deliver(reply("result", el.Get("to"), el.Get("id")))
			return nil
		}
		if err := confab.Do(t.Context(), s, q, nil, &el); err == nil {
			t.Error("an empty answer was decoded")
		}
		if err := confab.Do(t.Context(), s, q, nil, nil); err != nil {
			t.Error(err)
		}
	})
}
