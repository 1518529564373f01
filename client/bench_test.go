package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const header = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' ` +
	`xmlns:stream='http://etherx.jabber.org/streams' from='localhost' id='abc' version='1.0' xml:lang='en'>`

// chat is a chat message as servers send it today; 608 bytes.
const chat = `<message to='bench@localhost/b' from='user17@localhost/Conversations.k3Xy' type='chat' ` +
	`id='3f2a9c1e-7b44-4d10-a9e2-5f6b1c8d7e90' xml:lang='en'><body>there were all häuser your when up use word ` +
	`how said an each she which do their</body><thread>9b1d6f3a-2c55-4e21-ab34-0d9e8f7a6b5c</thread>` +
	`<origin-id xmlns='urn:xmpp:sid:0' id='3f2a9c1e-7b44-4d10-a9e2-5f6b1c8d7e90'/>` +
	`<stanza-id xmlns='urn:xmpp:sid:0' by='bench@localhost' id='c4d5e6f7-1a2b-4c3d-ae4f-5a6b7c8d9e0f'/>` +
	`<markable xmlns='urn:xmpp:chat-markers:0'/><request xmlns='urn:xmpp:receipts'/>` +
	`<active xmlns='http://jabber.org/protocol/chatstates'/></message>`

// script is a connection on which the header is followed by stanzas, as many as
// were asked for. Each gets an archive id of its own.
type script struct {
	net.Conn // none
	head     []byte
	stanza   []byte
	rest     []byte
	id       []byte // in the stanza
	count    uint32
	left     int
	more     chan int
}

func newScript() *script {
	s := &script{head: []byte(header), stanza: []byte(chat), more: make(chan int)}
	i := strings.Index(chat, "c4d5e6f7")
	s.id = s.stanza[i : i+8]
	return s
}

func (s *script) Read(b []byte) (n int, err error) {
	if len(s.head) > 0 {
		n = copy(b, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	for n < len(b) {
		if len(s.rest) == 0 {
			if s.left == 0 {
				if n > 0 {
					return n, nil
				}
				var ok bool
				if s.left, ok = <-s.more; !ok {
					return 0, io.EOF
				}
			}
			s.left--
			s.count++
			for i, n := 7, s.count; i >= 0; i, n = i-1, n>>4 {
				s.id[i] = "0123456789abcdef"[n&15]
			}
			s.rest = s.stanza
		}
		k := copy(b[n:], s.rest)
		s.rest = s.rest[k:]
		n += k
	}
	return n, nil
}

func (s *script) Write(b []byte) (int, error) { return len(b), nil }
func (s *script) Close() error                { return nil }
func (s *script) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{HandshakeComplete: true}
}

// reading makes a client that reads a script. Feed lets it read n more stanzas.
func reading(tb testing.TB, setup func(*Client)) (feed func(n int)) {
	c, err := New(Config{Address: "bench@localhost/b", Password: "secret"})
	if err != nil {
		tb.Fatal(err)
	}
	if setup != nil {
		setup(c)
	}
	s := newScript()
	t := newTCP(s, c.limits(), nil)
	if _, err := t.r.Open(); err != nil {
		tb.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- c.read(context.Background(), &session{t: t}) }()
	tb.Cleanup(func() {
		close(s.more)
		if err := <-ended; !errors.Is(err, io.EOF) {
			tb.Error(err)
		}
		if err := c.drv.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return func(n int) { s.more <- n }
}

// receiving is reading with a function that counts messages; wait returns when
// all that were fed have come.
func receiving(tb testing.TB, features int) (run func(n int)) {
	got, want := 0, 0
	done := make(chan struct{})
	feed := reading(tb, func(c *Client) {
		for range features {
			c.HandleMessage(confab.StageInterpret, func(context.Context, *confab.Message) error { return nil })
		}
		confab.On(c, func(_ context.Context, m *confab.Message) {
			if m.From.Localpart() != "user17" || !strings.HasSuffix(m.Body, "which do their") || m.Source != confab.Live {
				tb.Errorf("got %v", m.Stanza)
			}
			if got++; got == want {
				done <- struct{}{}
			}
		})
	})
	return func(n int) {
		want += n
		feed(n)
		<-done
	}
}

// BenchmarkReceive is a chat message from the bytes of the connection to the
// user's function.
func BenchmarkReceive(b *testing.B) {
	for _, features := range []int{0, 3} {
		b.Run(fmt.Sprintf("features=%d", features), func(b *testing.B) {
			run := receiving(b, features)
			b.SetBytes(int64(len(chat)))
			b.ReportAllocs()
			b.ResetTimer()
			run(b.N)
		})
	}
}

// sending makes a client that is linked to w.
func sending(tb testing.TB, w stanzaWriter, acks bool) *Client {
	c, err := New(Config{Address: "bench@localhost/b", Password: "secret"})
	if err != nil {
		tb.Fatal(err)
	}
	c.out.attach(w, acks, func(err error) { tb.Error(err) })
	tb.Cleanup(func() {
		c.out.detach()
		c.out.close(confab.ErrClosed)
		if err := c.drv.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// acking takes stanzas and acknowledges each at once.
type acking struct {
	c *Client
	n uint32
}

func (a *acking) writeStanzas(_, _ []byte, _ int32, ends []entry, _ []byte) error {
	a.n += uint32(len(ends))
	return a.c.out.acknowledged(a.n)
}

// BenchmarkSend is a message from SendMessage to the connection.
func BenchmarkSend(b *testing.B) {
	for _, acks := range []bool{false, true} {
		b.Run(fmt.Sprintf("acks=%t", acks), func(b *testing.B) {
			ctx := context.Background()
			a := &acking{}
			var w stanzaWriter = a
			if !acks {
				w = streamWriter{io.Discard}
			}
			c := sending(b, w, acks)
			a.c = c
			to := jid.MustParse("user1@localhost/Conversations.k3Xy")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.SendMessage(ctx, confab.Draft{To: to, Body: "her come and will this use go other hot of day he had people he who & more than"}); err != nil {
					b.Fatal(err)
				}
			}
			if err := c.out.drain(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkAsk is a request and its answer over a connection in memory.
func BenchmarkAsk(b *testing.B) {
	for _, inflight := range []int{1, 64} {
		b.Run(fmt.Sprintf("inflight=%d", inflight), func(b *testing.B) {
			ctx := context.Background()
			c, err := New(Config{Address: "bench@localhost/b", Password: "secret"})
			if err != nil {
				b.Fatal(err)
			}
			here, there := net.Pipe()
			go answering(there)
			t := newTCP(here, c.limits(), nil)
			if _, err := t.open(jid.JID{}, c.account.Domain()); err != nil {
				b.Fatal(err)
			}
			ended := make(chan error)
			go func() { ended <- c.read(ctx, &session{t: t}) }()
			c.out.attach(t, false, func(err error) { b.Error(err) })
			b.Cleanup(func() {
				c.out.detach()
				_ = here.Close()
				<-ended
				_ = c.drv.Close(ctx)
			})
			b.SetParallelism(inflight)
			b.ReportAllocs()
			b.ResetTimer()
			ask := func() {
				if err := confab.Do(ctx, c, stanza.IQ{Type: stanza.GetIQ, To: c.account.Domain()}, confab.El(nsPing, "ping"), nil); err != nil {
					b.Error(err)
				}
			}
			if inflight == 1 {
				for range b.N {
					ask()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ask()
				}
			})
		})
	}
}

// answering is a server that answers every request.
func answering(conn net.Conn) {
	out := make(chan []byte, 256)
	defer close(out)
	go func() { // a pipe has no buffer: who writes cannot read
		for b := range out {
			_, _ = conn.Write(b)
		}
	}()
	r := stream.NewReader(conn, stream.Limits{})
	if _, err := r.Open(); err != nil {
		return
	}
	out <- []byte(header)
	for {
		el, err := r.Next()
		if err != nil {
			return
		}
		out <- []byte("<iq type='result' from='localhost' id='" + el.Get("id") + "'/>")
	}
}

// TestAllocs keeps the cost of a message from growing unnoticed. The goals are 8
// allocations and 3 kB for one that comes in. The race detector adds to them,
// since it makes pools forget.
func TestAllocs(t *testing.T) {
	const n = 1000
	bound := func(t *testing.T, allocs, bytes float64, f func()) {
		t.Helper()
		f()
		if got := testing.AllocsPerRun(20, f) / n; got > allocs {
			t.Errorf("%.2f allocations for a message, want at most %v", got, allocs)
		}
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				f()
			}
		})
		if got := float64(r.AllocedBytesPerOp()) / n; got > bytes {
			t.Errorf("%.0f bytes for a message, want at most %v", got, bytes)
		}
		t.Logf("%.2f allocations, %.0f bytes", float64(r.AllocsPerOp())/n, float64(r.AllocedBytesPerOp())/n)
	}
	t.Run("in", func(t *testing.T) {
		run := receiving(t, 0)
		bound(t, 6.5, 2700, func() { run(n) })
	})
	t.Run("out", func(t *testing.T) {
		ctx := context.Background()
		c := sending(t, streamWriter{io.Discard}, false)
		to, body := jid.MustParse("user1@localhost/Conversations.k3Xy"), strings.Repeat("word ", 16)
		bound(t, 6, 1000, func() {
			for range n {
				if _, err := c.SendMessage(ctx, confab.Draft{To: to, Body: body}); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.out.drain(ctx); err != nil {
				t.Fatal(err)
			}
		})
	})
}
