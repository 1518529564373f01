package confab_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

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
