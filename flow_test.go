package confab_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/stanza"
)

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
