package confab_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
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
