package confab_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

var self = jid.MustParse("me@example.org/dev")

// fakeLink keeps what is written.
type fakeLink struct {
	mu    sync.Mutex
	out   []*confab.Element
	wrote func(*confab.Element, *confab.Sent) error
}

func (l *fakeLink) LocalAddr() jid.JID { return self }

func (l *fakeLink) Write(ctx context.Context, st confab.Appender, sent *confab.Sent) error {
	b, err := st.AppendXML(nil, "")
	if err != nil {
		return err
	}
	el, err := stream.Parse(b, stream.Limits{})
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.out = append(l.out, el)
	f := l.wrote
	l.mu.Unlock()
	if f != nil {
		return f(el, sent)
	}
	return ctx.Err()
}

func (l *fakeLink) sent() []*confab.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.out)
}

// fakeSession is a Hub as those have it who write their own Session.
type fakeSession struct {
	*confab.Hub
	drv  *confab.Driver
	link *fakeLink
	t    *testing.T
}

var _ confab.Session = fakeSession{}

func newFakeSession(t *testing.T, cfg confab.HubConfig) fakeSession {
	link := &fakeLink{}
	hub, drv := confab.NewHub(link, cfg)
	return fakeSession{hub, drv, link, t}
}

// bubble runs f with a fake session under fake time, and closes it.
func bubble(t *testing.T, cfg confab.HubConfig, f func(t *testing.T, s fakeSession)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSession(t, cfg)
		defer func() {
			if err := s.drv.Close(context.Background()); err != nil {
				t.Errorf("Close: %v", err)
			}
			synctest.Wait()
			checkGoroutines(t)
		}()
		f(t, s)
	})
}

// checkGoroutines fails the test if goroutines of a hub are left.
func checkGoroutines(t *testing.T) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for try := 0; ; try++ {
		stacks := string(buf[:runtime.Stack(buf, true)])
		left := ""
		for _, g := range strings.Split(stacks, "\n\n") {
			for _, typ := range []string{"(*Hub)", "(*inbox)", "(*eventQueue)", "(*iqHandler)", "(*Attached)"} {
				if strings.Contains(g, "confab-im/confab."+typ) && !strings.Contains(g, "checkGoroutines") {
					left = g
				}
			}
		}
		if left == "" {
			return
		}
		if try == 100 {
			t.Errorf("a goroutine is left:\n%s", left)
			return
		}
		runtime.Gosched()
	}
}

func parse(t testing.TB, s string) *confab.Element {
	t.Helper()
	el, err := stream.Parse([]byte(s), stream.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return el
}

func message(from, id, body string) *confab.Element {
	return confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText(body)).
		Set("from", from).Set("id", id).Set("type", "chat")
}

func request(typ, id string, payload ...*confab.Element) *confab.Element {
	return confab.El(confab.NSClient, "iq", payload...).Set("type", typ).Set("id", id).Set("from", "bob@example.net/x")
}

func (s fakeSession) deliver(el *confab.Element) {
	s.t.Helper()
	if err := s.drv.Deliver(context.Background(), el, 300); err != nil {
		s.t.Errorf("Deliver: %v", err)
	}
}

// collect keeps the events of one type.
func collect[T any](s confab.Session) func() []T {
	var mu sync.Mutex
	var got []T
	confab.On(s, func(_ context.Context, v T) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, v)
	})
	return func() []T {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

type result struct {
	el  *confab.Element
	err error
}

func (s fakeSession) ask(ctx context.Context, to, id string) <-chan result {
	c := make(chan result, 1)
	go func() {
		el, err := s.Ask(ctx, confab.El(confab.NSClient, "iq", confab.El("urn:test", "q")).Set("type", "get").Set("to", to).Set("id", id))
		c <- result{el, err}
	}()
	return c
}

func reply(typ, from, id string, children ...*confab.Element) *confab.Element {
	return confab.El(confab.NSClient, "iq", children...).Set("type", typ).Set("from", from).Set("id", id)
}

func errorElement(typ, condition string) *confab.Element {
	return confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, condition)).Set("type", typ)
}

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

func TestOrder(t *testing.T) {
	const n = 10_000
	for _, held := range []bool{false, true} {
		s := newFakeSession(t, confab.HubConfig{})
		var stage, on []string
		s.HandleMessage(confab.StageDecrypt, func(_ context.Context, m *confab.Message) error {
			stage = append(stage, m.ID)
			m.Body += "!"
			return nil
		})
		done := make(chan struct{})
		confab.On(s, func(_ context.Context, m *confab.Message) {
			if m.Body != "hi!" {
				t.Errorf("body %q", m.Body)
			}
			if on = append(on, m.ID); len(on) == n {
				close(done)
			}
		})
		for i := range n {
			if held {
				s.drv.Hold(i%50 != 49)
			}
			s.deliver(message("bob@example.net", fmt.Sprint(i), "hi"))
		}
		s.drv.Hold(false)
		<-done
		for i := range n {
			if want := fmt.Sprint(i); stage[i] != want || on[i] != want {
				t.Fatalf("at %d: stage %s, On %s", i, stage[i], on[i])
			}
		}
		if err := s.drv.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if r, st, h := s.drv.Counts(); r != n || st != n || h != n || s.drv.Backlog() != 0 {
			t.Errorf("counts %d %d %d, backlog %d", r, st, h, s.drv.Backlog())
		}
		if err := s.drv.Close(t.Context()); err != nil {
			t.Error(err)
		}
		checkGoroutines(t)
	}
}

func TestBlockingOn(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		block := make(chan struct{})
		var staged atomic.Int32
		s.HandleMessage(confab.StageDeliver, func(context.Context, *confab.Message) error { staged.Add(1); return nil })
		confab.On(s, func(_ context.Context, _ *confab.Message) { <-block })
		for range 200 {
			s.deliver(message("bob@example.net", "", "x"))
		}
		synctest.Wait()
		if staged.Load() != 200 {
			t.Errorf("features saw %d", staged.Load())
		}
		c := s.ask(context.Background(), "example.org", "1")
		synctest.Wait()
		s.deliver(reply("result", "example.org", "1"))
		if r := <-c; r.err != nil {
			t.Error(r.err)
		}
		if err := s.Fence(t.Context()); err != nil {
			t.Error(err)
		}
		s.deliver(request("get", "9", confab.El("urn:unknown", "q")))
		synctest.Wait()
		if out := s.link.sent(); len(out) != 2 || out[1].Get("id") != "9" {
			t.Errorf("the request was not answered: %v", out)
		}
		if r, st, h := s.drv.Counts(); r != 202 || st != 202 || h != 0 {
			t.Errorf("counts %d %d %d", r, st, h)
		}
		close(block)
		synctest.Wait()
		if _, _, h := s.drv.Counts(); h != 202 || s.drv.Backlog() != 0 {
			t.Errorf("handled %d, backlog %d", h, s.drv.Backlog())
		}
	})
}

func TestSlowConsumer(t *testing.T) {
	bubble(t, confab.HubConfig{QueueBytes: 3000}, func(t *testing.T, s fakeSession) {
		block := make(chan struct{})
		confab.On(s, func(_ context.Context, _ *confab.Message) { <-block })
		// In whole 1000 bytes fit; the eleventh stanza parks the reader.
		parked := make(chan error, 1)
		go func() {
			for range 20 {
				if err := s.drv.Deliver(context.Background(), message("a@b", "", "x"), 300); err != nil {
					parked <- err
					return
				}
			}
			parked <- nil
		}()
		synctest.Wait()
		if r, _, _ := s.drv.Counts(); r != 11 || s.drv.Backlog() != 3300 {
			t.Errorf("read %d, backlog %d", r, s.drv.Backlog())
		}
		// Somebody who waits for a reply lets it go on.
		ctx, cancel := context.WithCancel(context.Background())
		res := s.ask(ctx, "example.org", "1")
		synctest.Wait()
		if len(parked) != 1 || <-parked != nil {
			t.Fatal("the reader is parked though somebody waits for a reply")
		}
		// Up to the hard limit.
		var err error
		n := 20
		for ; n < 200; n++ {
			if err = s.drv.Deliver(context.Background(), message("a@b", "", "x"), 300); err != nil {
				break
			}
		}
		if !errors.Is(err, confab.ErrSlow) || n != 80 {
			t.Errorf("%v after %d", err, n)
		}
		cancel()
		<-res
		close(block)
		if err := s.drv.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if s.drv.Backlog() != 0 {
			t.Errorf("backlog %d", s.drv.Backlog())
		}
		for range 100 {
			s.deliver(message("a@b", "", "x"))
		}
		synctest.Wait()
		if r, st, h := s.drv.Counts(); r != h || st != r || s.drv.Backlog() != 0 {
			t.Errorf("counts %d %d %d, backlog %d", r, st, h, s.drv.Backlog())
		}
	})
}

// A parked reader can be called off, and what it brought stays.
func TestParkedReader(t *testing.T) {
	bubble(t, confab.HubConfig{QueueBytes: 450}, func(t *testing.T, s fakeSession) {
		block := make(chan struct{})
		confab.On(s, func(_ context.Context, _ *confab.Message) { <-block })
		s.deliver(message("a@b", "", "x"))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.drv.Deliver(ctx, message("a@b", "", "x"), 300); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		parked := make(chan error, 1)
		go func() { parked <- s.drv.Deliver(context.Background(), message("a@b", "", "x"), 300) }()
		synctest.Wait()
		if len(parked) != 0 {
			t.Error("the reader is not parked")
		}
		close(block)
		if err := <-parked; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if r, _, h := s.drv.Counts(); r != 3 || h != 3 || s.drv.Backlog() != 0 {
			t.Errorf("read %d, handled %d, backlog %d", r, h, s.drv.Backlog())
		}
	})
}

func TestTruncate(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		block := make(chan struct{})
		var seen []string
		s.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
			seen = append(seen, m.ID)
			<-block
			return nil
		})
		for i := range 5 {
			s.deliver(message("a@b", fmt.Sprint(i), "x"))
		}
		fence, drain := make(chan error, 1), make(chan error, 1)
		go func() { fence <- s.Fence(context.Background()) }()
		go func() { drain <- s.drv.Drain(context.Background()) }()
		synctest.Wait()
		if r, st, h := s.drv.Counts(); r != 5 || st != 1 || h != 0 {
			t.Errorf("counts %d %d %d", r, st, h)
		}
		if n := s.drv.Truncate(); n != 1 {
			t.Errorf("Truncate: %d", n)
		}
		if s.drv.Backlog() != 300 {
			t.Errorf("backlog %d", s.drv.Backlog())
		}
		close(block)
		synctest.Wait()
		if r, st, h := s.drv.Counts(); r != 1 || st != 1 || h != 1 {
			t.Errorf("counts %d %d %d", r, st, h)
		}
		if len(drain) == 0 {
			t.Error("Drain does not end")
		}
		// The server sends them again; the fence then comes to its end.
		if len(fence) != 0 {
			t.Errorf("the fence did not wait: %v", <-fence)
		}
		for i := 1; i < 5; i++ {
			s.deliver(message("a@b", fmt.Sprint(i), "x"))
		}
		if err := <-fence; err != nil {
			t.Error(err)
		}
		if strings.Join(seen, " ") != "0 1 2 3 4" {
			t.Errorf("seen %v", seen)
		}
	})
}

// Truncate may make an end to what Drain waits for.
func TestTruncateDrain(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		s.drv.Hold(true)
		s.deliver(message("a@b", "1", "x"))
		drain := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		go func() { drain <- s.drv.Drain(ctx) }()
		synctest.Wait()
		if n := s.drv.Truncate(); n != 0 {
			t.Errorf("Truncate: %d", n)
		}
		if err := <-drain; err != nil {
			t.Error(err)
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

func TestStages(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		var order []string
		for _, st := range []confab.Stage{confab.StageError, confab.StageDeliver, confab.StageInterpret, confab.StageDecrypt, confab.StageUnwrap} {
			for i := range 2 {
				s.HandleMessage(st, func(_ context.Context, m *confab.Message) error {
					order = append(order, fmt.Sprintf("%d%c", st, 'a'+i))
					switch {
					case m.Body == "eat" && st == confab.StageInterpret && i == 0:
						return fmt.Errorf("eaten: %w", confab.ErrConsumed)
					case m.Body == "fail":
						return errors.New("boom")
					}
					return nil
				})
			}
		}
		msgs, failures := collect[*confab.Message](s), collect[confab.HandlerError](s)
		for _, tt := range []struct {
			body, typ, order string
			msgs, failures   int
		}{
			{"x", "chat", "0a 0b 1a 1b 2a 2b 3a 3b", 1, 0},
			{"eat", "chat", "0a 0b 1a 1b 2a", 1, 0},
			{"fail", "chat", "0a 0b 1a 1b 2a 2b 3a 3b", 2, 8},
			{"x", "error", "4a 4b", 2, 8},
		} {
			order = nil
			s.deliver(message("a@b", "", tt.body).Set("type", tt.typ))
			synctest.Wait()
			if got := strings.Join(order, " "); got != tt.order || len(msgs()) != tt.msgs || len(failures()) != tt.failures {
				t.Errorf("%s %s: %s, %d messages, %d failures", tt.typ, tt.body, got, len(msgs()), len(failures()))
			}
		}
		// Inject begins in the middle and runs on the caller's goroutine.
		order = nil
		m, err := s.DecodeMessage(message("a@b", "", "x"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Inject(t.Context(), confab.StageInterpret, m); got != m || err != nil || strings.Join(order, " ") != "2a 2b 3a 3b" {
			t.Errorf("Inject: %v, %v, %v", got, err, order)
		}
		m.Body = "eat"
		if got, err := s.Inject(t.Context(), confab.StageUnwrap, m); got != nil || err != nil {
			t.Errorf("Inject: %v, %v", got, err)
		}
		if _, err := s.Inject(t.Context(), confab.StageError, m); err == nil {
			t.Error("Inject took StageError")
		}
		if _, err := s.Inject(t.Context(), confab.StageUnwrap, nil); err == nil {
			t.Error("Inject took nil")
		}
		for _, bad := range []*confab.Element{nil, confab.El(confab.NSClient, "iq"), message("@", "", "x")} {
			if _, err := s.DecodeMessage(bad); err == nil {
				t.Errorf("DecodeMessage took %v", bad)
			}
		}
	})
}

// panicker panics when it is written.
type panicker struct{}

func (panicker) MarshalXML(*xml.Encoder, xml.StartElement) error { panic("in MarshalXML") }

func (panicker) TokenReader() xml.TokenReader { panic("in TokenReader") }

type marshalPanicker struct{}

func (marshalPanicker) MarshalXML(*xml.Encoder, xml.StartElement) error { panic("in MarshalXML") }

func TestPanics(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	handler := slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	}), nil)
	bubble(t, confab.HubConfig{Log: slog.New(handler)}, func(t *testing.T, s fakeSession) {
		for st := confab.StageUnwrap; st <= confab.StageError; st++ {
			s.HandleMessage(st, func(context.Context, *confab.Message) error { panic("stage") })
		}
		s.HandlePresence(func(context.Context, *confab.Presence) error { panic("presence") })
		s.HandleDraft(confab.StageDecrypt, func(context.Context, *confab.Draft) error { panic("draft") })
		s.OnUp(func(context.Context, bool) error { panic("up") })
		s.OnDown(func(error, bool) { panic("down") })
		for local, f := range map[string]confab.IQFunc{
			"panic":   func(context.Context, *confab.IQ) (any, error) { panic("request") },
			"reader":  func(context.Context, *confab.IQ) (any, error) { return panicker{}, nil },
			"marshal": func(context.Context, *confab.IQ) (any, error) { return marshalPanicker{}, nil },
			"control": func(context.Context, *confab.IQ) (any, error) { return confab.El("urn:x", "a").SetText("\x01"), nil },
			"nil":     func(context.Context, *confab.IQ) (any, error) { return (*confab.Element)(nil), nil },
		} {
			if err := s.HandleIQ(stanza.GetIQ, xml.Name{Space: "urn:test", Local: local}, f); err != nil {
				t.Fatal(err)
			}
		}
		confab.On(s, func(context.Context, *confab.Message) { panic("on") })
		var later atomic.Int32
		confab.On(s, func(context.Context, *confab.Message) { later.Add(1) })
		failures := collect[confab.HandlerError](s)
		confab.On(s, func(context.Context, confab.HandlerError) { panic("on HandlerError") })
		want := 0
		step := func(what string, n int) {
			t.Helper()
			synctest.Wait()
			if want += n; len(failures()) != want {
				t.Errorf("%s: %d failures, want %d: %v", what, len(failures()), want, failures())
				want = len(failures())
			}
		}
		s.deliver(message("a@b", "", "x"))
		step("stages", 5)
		if later.Load() != 1 {
			t.Error("the second function was not called")
		}
		s.deliver(message("a@b", "", "x").Set("type", "error"))
		step("StageError", 1)
		s.deliver(confab.El(confab.NSClient, "presence").Set("from", "a@b"))
		step("presence", 1)
		if _, err := s.SendMessage(t.Context(), confab.Draft{To: self, Body: "x"}); err == nil || !strings.Contains(err.Error(), "panic") {
			t.Errorf("draft: %v", err)
		}
		s.drv.Up(t.Context(), true)
		step("OnUp", 1)
		s.drv.Down(nil, true)
		step("OnDown", 1)
		s.Go(func(context.Context) { panic("go") })
		step("Go", 1)
		for _, local := range []string{"panic", "reader", "marshal", "control", "nil"} {
			s.deliver(request("get", local, confab.El("urn:test", local)))
			step(local, 1)
		}
		out := s.link.sent()
		if len(out) != 5 {
			t.Fatalf("%d answers", len(out))
		}
		for _, el := range out {
			if el.Get("type") != "error" || confab.StanzaError(el).Condition != stanza.InternalServerError {
				t.Errorf("answer %v", el)
			}
		}
		// All goes on.
		s.deliver(message("a@b", "", "x"))
		step("again", 5)
		if later.Load() != 2 {
			t.Error("later events do not arrive")
		}
		if r, st, h := s.drv.Counts(); r != st || st != h || s.drv.Backlog() != 0 {
			t.Errorf("counts %d %d %d", r, st, h)
		}
	})
	if !strings.Contains(log.String(), "panicked") || !strings.Contains(log.String(), "stack=") {
		t.Error("the panics were not logged with their stack")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestHandleIQ(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		kind := func(local string) xml.Name { return xml.Name{Space: "urn:test", Local: local} }
		handle := func(local string, payload any, err error) {
			t.Helper()
			if err := s.HandleIQ(stanza.GetIQ, kind(local), func(_ context.Context, q *confab.IQ) (any, error) {
				if q.Payload.Name != kind(local) || q.From.String() != "bob@example.net/x" || q.Type != stanza.GetIQ {
					t.Errorf("%+v", q)
				}
				return payload, err
			}); err != nil {
				t.Fatal(err)
			}
		}
		handle("ok", confab.El("urn:test", "answer").Set("a", "b"), nil)
		handle("empty", nil, nil)
		handle("secret", nil, errors.New("password is xyzzy"))
		handle("refuse", nil, fmt.Errorf("no: %w", stanza.Error{Type: stanza.Auth, Condition: stanza.Forbidden}))
		if err := s.HandleIQ(stanza.GetIQ, kind("ok"), nil); !errors.Is(err, confab.ErrTaken) {
			t.Errorf("second handler: %v", err)
		}
		if err := s.HandleIQ(stanza.SetIQ, kind("ok"), func(context.Context, *confab.IQ) (any, error) { return nil, nil }); err != nil {
			t.Errorf("other type: %v", err)
		}
		if err := s.HandleIQ(stanza.ResultIQ, kind("x"), nil); err == nil {
			t.Error("HandleIQ took type result")
		}
		failures, bad := collect[confab.HandlerError](s), collect[confab.BadStanza](s)
		for _, tt := range []struct{ typ, local, want string }{
			{"get", "ok", "<iq xmlns='jabber:client' type='result' id='ok' to='bob@example.net/x'><answer xmlns='urn:test' a='b'/></iq>"},
			{"set", "ok", "<iq xmlns='jabber:client' type='result' id='ok' to='bob@example.net/x'/>"},
			{"get", "empty", "<iq xmlns='jabber:client' type='result' id='empty' to='bob@example.net/x'/>"},
			{"get", "secret", "internal-server-error"},
			{"get", "refuse", "forbidden"},
			{"get", "unknown", "service-unavailable"},
			{"set", "empty", "service-unavailable"},
			{"get", "", "service-unavailable"}, // no payload at all
		} {
			n := len(s.link.sent())
			el := request(tt.typ, tt.local, confab.El("urn:test", tt.local))
			if tt.local == "" {
				el = request(tt.typ, "none")
			}
			s.deliver(el)
			synctest.Wait()
			out := s.link.sent()
			if len(out) != n+1 {
				t.Errorf("%s: %d answers", tt.local, len(out)-n)
				continue
			}
			got := out[n]
			if got.Get("type") == "result" && got.String() != tt.want || got.Get("type") == "error" && string(confab.StanzaError(got).Condition) != tt.want {
				t.Errorf("%s: %s, want %s", tt.local, got, tt.want)
			}
			if strings.Contains(got.String(), "xyzzy") {
				t.Errorf("the text of an error went out: %s", got)
			}
		}
		if len(failures()) != 1 || !strings.Contains(failures()[0].Err.Error(), "xyzzy") {
			t.Errorf("failures %v", failures())
		}
		// The wildcard takes the rest.
		if err := s.HandleIQ(stanza.GetIQ, xml.Name{}, func(_ context.Context, q *confab.IQ) (any, error) {
			return confab.El("urn:test", "wild"), nil
		}); err != nil {
			t.Fatal(err)
		}
		n := len(s.link.sent())
		s.deliver(request("get", "1", confab.El("urn:test", "unknown")))
		s.deliver(request("get", "2", confab.El("urn:test", "ok")))
		synctest.Wait()
		var names []string
		for _, el := range s.link.sent()[n:] {
			names = append(names, el.Children[0].Name.Local)
		}
		slices.Sort(names)
		if strings.Join(names, " ") != "answer wild" {
			t.Errorf("got %v", names)
		}
		// What makes no sense is reported and not answered.
		n = len(s.link.sent())
		for _, el := range []*confab.Element{request("", "1"), request("foo", "1"), request("get", ""), request("get", "1").Set("from", "@"), request("get", "1").Set("to", "a@@")} {
			s.deliver(el)
		}
		synctest.Wait()
		if len(bad()) != 5 || len(s.link.sent()) != n {
			t.Errorf("%d bad, %d answers", len(bad()), len(s.link.sent())-n)
		}
	})
}

func TestIQFlood(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		block := make(chan struct{})
		var running, most, calls atomic.Int32
		var ids []string
		if err := s.HandleIQ(stanza.GetIQ, xml.Name{Space: "urn:test", Local: "q"}, func(_ context.Context, q *confab.IQ) (any, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-block
			calls.Add(1)
			ids = append(ids, q.ID)
			return nil, nil
		}); err != nil {
			t.Fatal(err)
		}
		bad := collect[confab.BadStanza](s)
		before := runtime.NumGoroutine()
		for i := range 10_000 {
			s.deliver(request("get", fmt.Sprint(i+1), confab.El("urn:test", "q")))
			s.deliver(request("get", fmt.Sprint(i+1), confab.El("urn:unknown", "q")))
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 10 {
			t.Errorf("%d goroutines for a flood", n)
		}
		close(block)
		synctest.Wait()
		if most.Load() != 1 || calls.Load() > 300 || calls.Load() < 100 || len(bad()) != 10_000-int(calls.Load()) {
			t.Errorf("%d at once, %d handled, %d dropped", most.Load(), calls.Load(), len(bad()))
		}
		for i, id := range ids {
			if id != fmt.Sprint(i+1) {
				t.Fatalf("request %d is %s", i, id)
			}
		}
	})
}

type event struct{ n int }

func (event) Mark() {}

type marked interface{ Mark() }

func TestEmit(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		s.HandleMessage(confab.StageInterpret, func(_ context.Context, m *confab.Message) error {
			s.Emit(event{1})
			return nil
		})
		var order []string
		confab.On(s, func(_ context.Context, e marked) {
			order = append(order, fmt.Sprint("marked", e.(event).n))
			if e.(event).n == 1 {
				s.Emit(event{2}) // from a function for events
			}
		})
		cancel := confab.On(s, func(_ context.Context, e event) { order = append(order, fmt.Sprint("event", e.n)) })
		confab.On(s, func(_ context.Context, m *confab.Message) { order = append(order, "message") })
		all := collect[any](s)
		s.deliver(message("a@b", "", "x"))
		synctest.Wait()
		if got := strings.Join(order, " "); got != "marked1 event1 message marked2 event2" {
			t.Errorf("got %s", got)
		}
		if len(all()) != 3 {
			t.Errorf("any: %v", all())
		}
		cancel()
		cancel()
		order = nil
		s.Emit(event{3})
		s.Emit(struct{}{})
		s.Emit(nil)
		synctest.Wait()
		if got := strings.Join(order, " "); got != "marked3" {
			t.Errorf("got %s", got)
		}
	})
}

func TestCancelInOn(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		n := 0
		var cancel func()
		cancel = confab.On(s, func(context.Context, event) { n++; cancel() })
		for range 10 {
			s.Emit(event{})
		}
		synctest.Wait()
		if n != 1 {
			t.Errorf("called %d times", n)
		}
	})
}

func TestEvents(t *testing.T) {
	t.Run("leave", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			done := make(chan []int)
			go func() {
				var got []int
				for e, err := range confab.Events[event](context.Background(), s) {
					if err != nil {
						t.Error(err)
					}
					if got = append(got, e.n); len(got) == 3 {
						break
					}
				}
				done <- got
			}()
			synctest.Wait()
			for i := range 10 {
				s.Emit(event{i})
			}
			if got := <-done; !slices.Equal(got, []int{0, 1, 2}) {
				t.Errorf("got %v", got)
			}
		})
	})
	t.Run("context", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var last error
			for _, err := range confab.Events[event](ctx, s) {
				last = err
			}
			if !errors.Is(last, context.DeadlineExceeded) {
				t.Errorf("got %v", last)
			}
		})
	})
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprint("closed before ", before), func(t *testing.T) {
			bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
				if before {
					_ = s.drv.Close(context.Background())
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				done := make(chan error, 1)
				go func() {
					var last error
					for _, err := range confab.Events[event](ctx, s) {
						last = err
					}
					done <- last
				}()
				synctest.Wait()
				if !before {
					_ = s.drv.Close(context.Background())
				}
				if err := <-done; !errors.Is(err, confab.ErrClosed) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
	t.Run("never looped", func(t *testing.T) {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			_ = confab.Events[event](context.Background(), s)
			s.Emit(event{})
			s.deliver(message("a@b", "", "x"))
			synctest.Wait()
			if s.drv.Backlog() != 0 {
				t.Error("an iterator that is not looped over holds things up")
			}
		})
	})
}

func TestSentFails(t *testing.T) {
	const to = "bob@example.net/x"
	for _, tt := range []struct {
		from string
		ok   bool
	}{
		{to, true}, {"bob@example.net", true}, {"example.net", true},
		{"example.org", true}, {"me@example.org", true}, {"", true},
		{"eve@example.net", false}, {"eve@evil.example", false}, {"evil.example", false}, {"eve@example.org", false},
		{"eve@example.net/x", false},
	} {
		bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
			failed := collect[confab.SendFailed](s)
			sent, err := s.SendMessage(t.Context(), confab.Draft{To: jid.MustParse(to), Body: "x"})
			if err != nil {
				t.Fatal(err)
			}
			if s.Sent(sent.ID) != sent {
				t.Error("Sent does not find it")
			}
			s.deliver(message(tt.from, sent.ID, "x").Set("type", "error").Add(errorElement("cancel", "gone")))
			synctest.Wait()
			var se stanza.Error
			if got := errors.As(sent.Err(), &se); got != tt.ok || got && se.Condition != stanza.Gone {
				t.Errorf("error from %q: %v", tt.from, sent.Err())
			}
			if got := failed(); len(got) == 1 != tt.ok || tt.ok && (got[0].Sent != sent || got[0].ID != sent.ID) {
				t.Errorf("error from %q: %v", tt.from, got)
			}
		})
	}
}

func TestSent(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		to := jid.MustParse("bob@example.net")
		sent, err := s.SendMessage(t.Context(), confab.Draft{To: to, Body: "x", ID: "one"})
		if err != nil || sent.ID != "one" || !sent.To.Equal(to) || sent.Level() != confab.Queued {
			t.Fatalf("%v, %v", sent, err)
		}
		wait := func(l confab.Level) <-chan error {
			c := make(chan error, 1)
			go func() { c <- sent.Wait(context.Background(), l) }()
			synctest.Wait()
			return c
		}
		if err := <-wait(confab.Queued); err != nil {
			t.Error(err)
		}
		acked := wait(confab.Acked)
		written := wait(confab.Written)
		sent.Advance(confab.Written)
		if err := <-written; err != nil {
			t.Error(err)
		}
		sent.Advance(confab.Received)
		sent.Advance(confab.Written) // levels only rise
		if err := <-acked; err != nil || sent.Level() != confab.Received {
			t.Error(err, sent.Level())
		}
		displayed := wait(confab.Displayed)
		boom := errors.New("boom")
		sent.Fail(boom)
		sent.Fail(errors.New("second"))
		if err := <-displayed; !errors.Is(err, boom) || !errors.Is(sent.Err(), boom) {
			t.Error(err, sent.Err())
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		other := &confab.Sent{}
		if err := other.Wait(ctx, confab.Written); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		other.NoAcks()
		other.Advance(confab.Written)
		if err := other.Wait(context.Background(), confab.Acked); !errors.Is(err, confab.ErrNoAcks) {
			t.Error(err)
		}
		other.Advance(confab.Received)
		if err := other.Wait(context.Background(), confab.Acked); err != nil {
			t.Error(err)
		}
		// A message that could not be queued is not tracked.
		s.link.wrote = func(*confab.Element, *confab.Sent) error { return boom }
		if _, err := s.SendMessage(t.Context(), confab.Draft{To: to, ID: "two"}); !errors.Is(err, boom) || s.Sent("two") != nil {
			t.Error(err, s.Sent("two"))
		}
		s.link.wrote = nil
		for i := range 5000 {
			if _, err := s.SendMessage(t.Context(), confab.Draft{To: to, ID: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if s.Sent("4000") == nil || s.Sent("100") != nil {
			t.Error("the trackers are not bounded as they should be")
		}
	})
	if confab.Displayed.String() != "Displayed" || confab.Level(99).String() != "Level(99)" || confab.Archive.String() != "Archive" || confab.Source(99).String() != "Source(99)" {
		t.Error("String")
	}
}

func TestDraftHandlers(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		var order []string
		for _, st := range []confab.Stage{confab.StageUnwrap, confab.StageDecrypt, confab.StageInterpret, confab.StageDeliver} {
			s.HandleDraft(st, func(_ context.Context, d *confab.Draft) error {
				order = append(order, fmt.Sprint(st))
				if d.Body == "stop" {
					return errors.New("stopped")
				}
				d.Extra = append(d.Extra, confab.El("urn:test", fmt.Sprint("s", st)))
				return nil
			})
		}
		to := jid.MustParse("bob@example.net")
		if _, err := s.SendMessage(t.Context(), confab.Draft{To: to, Body: "x"}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(order, ""); got != "3210" {
			t.Errorf("order %s", got)
		}
		if el := s.link.sent()[0]; el.Child("urn:test", "s0") == nil || el.Child("urn:test", "s3") == nil || el.ChildText(confab.NSClient, "body") != "x" {
			t.Errorf("sent %s", el)
		}
		if _, err := s.SendMessage(t.Context(), confab.Draft{To: to, Body: "stop"}); err == nil || len(s.link.sent()) != 1 {
			t.Errorf("got %v", err)
		}
		for _, d := range []confab.Draft{
			{}, {Body: "x"}, {To: to, Type: "error"}, {To: to, Type: "foo"}, {To: to, Extra: []any{nil}},
			{To: to, Extra: []any{make(chan int)}}, {To: to, Body: "\x00"}, {To: to, ID: "\xff"}, {To: to, Lang: "\x01"},
		} {
			if _, err := s.SendMessage(t.Context(), d); err == nil {
				t.Errorf("%+v was sent", d)
			}
		}
	})
}

func TestUpDown(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		failures := collect[confab.HandlerError](s)
		meet := make(chan bool)
		s.OnUp(func(_ context.Context, fresh bool) error { meet <- fresh; return nil })
		s.OnUp(func(_ context.Context, fresh bool) error { // side by side, or this would never end
			if !<-meet || !fresh {
				t.Error("not fresh")
			}
			return errors.New("boom")
		})
		s.drv.Up(t.Context(), true)
		synctest.Wait()
		if len(failures()) != 1 {
			t.Errorf("failures %v", failures())
		}
		var downs []string
		s.OnDown(func(err error, lost bool) { downs = append(downs, fmt.Sprint(err, lost)) })
		s.drv.Down(errors.New("a"), false)
		s.drv.Down(errors.New("b"), true)
		if strings.Join(downs, " ") != "a false b true" && strings.Join(downs, " ") != "afalse btrue" {
			t.Errorf("downs %q", downs)
		}
		changed := 0
		if f := s.drv.Features(func() { changed++ }); len(f) != 0 {
			t.Errorf("features %v", f)
		}
		s.Advertise("b", "a")
		s.Advertise("a")
		if f := s.drv.Features(nil); !slices.Equal(f, []string{"a", "b"}) || changed != 1 {
			t.Errorf("features %v, changed %d", f, changed)
		}
	})
}

func TestGoAndClose(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		var ended atomic.Bool
		s.Go(func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended.Store(true)
		})
		s.HandleMessage(confab.StageDeliver, func(ctx context.Context, _ *confab.Message) error { <-ctx.Done(); return nil })
		confab.On(s, func(ctx context.Context, _ event) { <-ctx.Done() })
		s.deliver(message("a@b", "", "x"))
		s.Emit(event{})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := s.drv.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || ended.Load() {
			t.Errorf("Close: %v", err)
		}
		if err := s.drv.Close(context.Background()); err != nil || !ended.Load() {
			t.Errorf("Close: %v", err)
		}
		s.Go(func(context.Context) { t.Error("run after Close") })
		synctest.Wait()
	})
}

func TestDeliverRefuses(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		for _, el := range []*confab.Element{confab.El("urn:x", "message"), confab.El(confab.NSClient, "foo"), confab.El("", "message")} {
			if err := s.drv.Deliver(t.Context(), el, 1); err == nil {
				t.Errorf("%v was taken", el)
			}
			if err := s.SendElement(t.Context(), el); err == nil && el.Name.Space != "" {
				t.Errorf("%v was sent", el)
			}
		}
		if err := s.SendElement(t.Context(), nil); err == nil {
			t.Error("nil was sent")
		}
		if r, _, _ := s.drv.Counts(); r != 0 {
			t.Errorf("%d counted", r)
		}
		bad := collect[confab.BadStanza](s)
		for _, el := range []*confab.Element{
			message("@", "", "x"), message("a@b", "", "x").Set("to", "/"),
			confab.El(confab.NSClient, "presence").Set("from", "a@b@c"),
		} {
			s.deliver(el)
		}
		synctest.Wait()
		if len(bad()) != 3 || s.drv.Backlog() != 0 {
			t.Errorf("%d bad", len(bad()))
		}
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

// TestTinyElements: a stanza counts with the memory that it takes.
func TestTinyElements(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		block := make(chan struct{})
		confab.On(s, func(_ context.Context, _ *confab.Message) { <-block })
		el := message("a@b", "", "x")
		for range 1000 {
			el.Add(confab.El("x", "y"))
		}
		if err := s.drv.Deliver(context.Background(), el, 4100); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.drv.Backlog(); n < 100_000 {
			t.Errorf("a thousand elements count as %d bytes", n)
		}
		close(block)
		if err := s.drv.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestPushesAreNotDropped: strangers cannot keep out what the own account pushes.
func TestPushesAreNotDropped(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		block := make(chan struct{})
		seen := map[string]int{}
		err := s.HandleIQ(stanza.SetIQ, xml.Name{Space: "urn:push", Local: "push"}, func(_ context.Context, q *confab.IQ) (any, error) {
			<-block
			seen[q.From.String()]++
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		own := s.LocalAddr().Bare().String()
		for _, from := range []string{"mallory@evil.example", own} {
			for i := range 1000 {
				el := confab.El(confab.NSClient, "iq", confab.El("urn:push", "push")).Set("type", "set").Set("id", fmt.Sprint(from, i)).Set("from", from)
				if err := s.drv.Deliver(context.Background(), el, 100); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		close(block)
		synctest.Wait()
		if seen[own] != 1000 || seen["mallory@evil.example"] >= 1000 {
			t.Errorf("handled: %v", seen)
		}
	})
}
