package confab_test

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

// melliumSession makes a session of mellium's that is ready at once: the header
// of its stream is there already.
func melliumSession(t *testing.T, rw io.ReadWriter, state xmpp.SessionState) *xmpp.Session {
	t.Helper()
	server := self.Domain()
	from, to := server, self
	if state&xmpp.Received != 0 {
		from, to = to, from
	}
	head := `<stream:stream from="` + from.String() + `" to="` + to.String() + `" id="123" version="1.0" xmlns="jabber:client" xmlns:stream="` + stream.NS + `">`
	s, err := xmpp.NewSession(t.Context(), server, self, struct {
		io.Reader
		io.Writer
	}{io.MultiReader(strings.NewReader(head), rw, strings.NewReader("</stream:stream>")), rw}, 0,
		func(_ context.Context, in, out *stream.Info, s *xmpp.Session, _ any) (xmpp.SessionState, io.ReadWriter, any, error) {
			rc := s.TokenReader()
			defer rc.Close()
			in.XMLNS, out.XMLNS = stanza.NSClient, stanza.NSClient
			_, err := rc.Token()
			return state | xmpp.Ready, nil, nil, err
		})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// attached returns an attached session and its peer, both of them served.
func attached(t *testing.T, peer xmpp.Handler, setup func(a *confab.Attached)) (a *confab.Attached, xs, server *xmpp.Session) {
	t.Helper()
	near, far := net.Pipe()
	xs = melliumSession(t, near, 0)
	a = confab.Attach(xs)
	server = melliumSession(t, far, xmpp.Received)
	if setup != nil {
		setup(a)
	}
	ready := make(chan struct{})
	confab.On(a, func(context.Context, confab.Ready) { close(ready) })
	served := make(chan error, 2)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- server.Serve(peer) }()
	go func() { served <- a.Serve(ctx) }()
	<-ready
	t.Cleanup(func() {
		// Closing the pipe ends both.
		cancel()
		_ = near.Close()
		_ = far.Close()
		for range 2 {
			select {
			case <-served:
			case <-time.After(10 * time.Second):
				t.Fatal("Serve does not end")
			}
		}
		checkGoroutines(t)
	})
	return a, xs, server
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAttach(t *testing.T) {
	peer := mux.New(stanza.NSClient, ping.Handle(),
		mux.IQFunc(stanza.GetIQ, xml.Name{Space: "urn:test", Local: "q"}, func(iq stanza.IQ, t xmlstream.TokenReadEncoder, _ *xml.StartElement) error {
			_, err := xmlstream.Copy(t, iq.Result(xmlstream.Wrap(nil, xml.StartElement{Name: xml.Name{Space: "urn:test", Local: "a"}})))
			return err
		}))
	got := make(chan *confab.Message, 10)
	a, xs, server := attached(t, peer, func(a *confab.Attached) {
		confab.On(a, func(_ context.Context, m *confab.Message) { got <- m })
		err := a.HandleIQ(stanza.GetIQ, xml.Name{Space: "urn:test", Local: "own"}, func(context.Context, *confab.IQ) (any, error) {
			return confab.El("urn:test", "answer"), nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	ctx := short(t)
	var el confab.Element
	if err := confab.Do(ctx, a, stanza.IQ{Type: stanza.GetIQ, To: self.Domain()}, confab.El("urn:test", "q"), &el); err != nil || el.Name.Local != "a" {
		t.Errorf("Do: %v, %v", &el, err)
	}
	if err := confab.Do(ctx, a, stanza.IQ{Type: stanza.GetIQ, To: self.Domain()}, confab.El("urn:test", "unknown"), nil); !errors.Is(err, stanza.Error{Condition: stanza.ServiceUnavailable}) {
		t.Errorf("Do: %v", err)
	}
	// mellium's own functions work beside.
	for range 10 {
		if err := ping.Send(ctx, xs, self.Domain()); err != nil {
			t.Errorf("ping: %v", err)
		}
	}
	msg := confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText("hi")).Set("from", "bob@example.net/x").Set("to", self.String()).Set("type", "chat")
	if err := server.Send(ctx, msg.TokenReader()); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-got:
		if m.Body != "hi" || m.From.String() != "bob@example.net/x" {
			t.Errorf("%+v", m)
		}
	case <-ctx.Done():
		t.Fatal("no message came")
	}
	ask := func(payload *confab.Element) (*confab.Element, error) {
		iq := confab.El(confab.NSClient, "iq", payload).Set("type", "get").Set("id", confab.NewID()).Set("from", self.Domain().String()).Set("to", self.String())
		rc, err := server.SendIQ(ctx, iq.TokenReader())
		if err != nil {
			return nil, err
		}
		defer rc.Close()
		return confab.ReadElement(rc)
	}
	for range 20 {
		if el, err := ask(confab.El("urn:test", "own")); err != nil || el.Get("type") != "result" || el.Child("urn:test", "answer") == nil {
			t.Errorf("%v, %v", el, err)
		}
		if el, err := ask(confab.El("urn:test", "else")); err != nil || el.Get("type") != "error" || confab.StanzaError(el).Condition != stanza.ServiceUnavailable {
			t.Errorf("%v, %v", el, err)
		}
	}
	sent, err := a.SendMessage(ctx, confab.Draft{To: jid.MustParse("bob@example.net"), Body: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := sent.Wait(ctx, confab.Written); err != nil {
		t.Error(err)
	}
	if err := sent.Wait(ctx, confab.Acked); !errors.Is(err, confab.ErrNoAcks) {
		t.Error(err)
	}
}

func TestAttachServeEnds(t *testing.T) {
	near, far := net.Pipe()
	a := confab.Attach(melliumSession(t, near, 0))
	go func() { _, _ = io.Copy(io.Discard, far) }()
	ended := make(chan error, 1)
	go func() {
		_, err := a.Ask(context.Background(), confab.El(confab.NSClient, "iq", confab.El("urn:test", "q")).Set("type", "get"))
		ended <- err
	}()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx) }()
	time.Sleep(10 * time.Millisecond)
	cancel()
	_ = near.Close()
	select {
	case err := <-served:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve does not end")
	}
	if err := <-ended; !errors.Is(err, confab.ErrLost) && !errors.Is(err, confab.ErrClosed) && err == nil {
		t.Errorf("Ask: %v", err)
	}
	_ = far.Close()
	checkGoroutines(t)
}

func TestFallback(t *testing.T) {
	bubble(t, confab.HubConfig{}, func(t *testing.T, s fakeSession) {
		var messages, presences atomic.Int32
		m := mux.New(stanza.NSClient, ping.Handle(),
			mux.MessageFunc(stanza.ChatMessage, xml.Name{Local: "body"}, func(stanza.Message, xmlstream.TokenReadEncoder) error {
				messages.Add(1)
				return nil
			}),
			mux.PresenceFunc(stanza.AvailablePresence, xml.Name{}, func(stanza.Presence, xmlstream.TokenReadEncoder) error {
				presences.Add(1)
				return errors.New("boom")
			}))
		if err := confab.Fallback(s, m); err != nil {
			t.Fatal(err)
		}
		if err := confab.Fallback(s, m); !errors.Is(err, confab.ErrTaken) {
			t.Errorf("a second Fallback: %v", err)
		}
		failures := collect[confab.HandlerError](s)
		s.deliver(request("get", "1", confab.El("urn:xmpp:ping", "ping")))
		s.deliver(request("get", "2", confab.El("urn:test", "unknown")))
		s.deliver(message("bob@example.net/x", "3", "hi"))
		s.deliver(confab.El(confab.NSClient, "presence").Set("from", "bob@example.net/x"))
		time.Sleep(time.Second)
		types := map[string]string{}
		for _, el := range s.link.sent() {
			if types[el.Get("id")] != "" {
				t.Errorf("answered twice: %s", el)
			}
			types[el.Get("id")] = el.Get("type")
		}
		if types["1"] != "result" || types["2"] != "error" || messages.Load() == 0 || presences.Load() != 1 || len(failures()) != 1 {
			t.Errorf("%v, %d messages, %d presences, failures %v", types, messages.Load(), presences.Load(), failures())
		}
	})
}
