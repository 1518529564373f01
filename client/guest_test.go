package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// guests opens the stream of a guest under a transcript, in a synctest bubble.
func guests(t *testing.T, f func(t *testing.T, tr *confabtest.Transcript, g *client.Guest), set ...func(*client.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr := confabtest.NewTranscript(t)
		cfg := client.Config{Address: "example.net", Server: "xmpp://x:1", Dial: tr.Dial}
		for _, f := range set {
			f(&cfg)
		}
		opened := make(chan *client.Guest, 1)
		go func() {
			g, err := client.OpenGuest(context.Background(), cfg)
			if err != nil {
				t.Error(err)
			}
			opened <- g
		}()
		tr.ExpectHeader("example.net")
		tr.SendHeader("example.net", "<register xmlns='http://jabber.org/features/iq-register'/>")
		g := <-opened
		require.NotNil(t, g)
		defer g.Close()
		f(t, tr, g)
	})
}

const (
	question = "<iq type='get' id='${id}'><query xmlns='jabber:iq:register'/></iq>"
	answered = "<iq type='result' id='${id}'><query xmlns='jabber:iq:register'/></iq>"
)

type answer struct {
	el  *confab.Element
	err error
}

func ask(ctx context.Context, g *client.Guest) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		el, err := g.Ask(ctx, confab.El(confab.NSClient, "iq", confab.El("jabber:iq:register", "query")).Set("type", "get"))
		c <- answer{el, err}
	}()
	return c
}

// TestGuestAnswers: of what a server says, only the answer to the question counts.
func TestGuestAnswers(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		says string
		want func(t *testing.T, a answer)
		open bool // the stream goes on
	}{
		"an answer among others": {
			"<message><body>" + long + "</body></message><iq type='result' id='other'/><iq type='result' id='${id}' from='evil.example'/><iq type='get' id='${id}'><x xmlns='y'/></iq>" + answered,
			func(t *testing.T, a answer) {
				require.NoError(t, a.err)
				require.NotNil(t, a.el.Child("jabber:iq:register", "query"))
				require.Equal(t, "", a.el.Get("from"))
			}, true,
		},
		"from the server": {"<iq type='result' id='${id}' from='example.net'/>", func(t *testing.T, a answer) { require.NoError(t, a.err) }, true},
		"an error": {"<iq type='error' id='${id}'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", func(t *testing.T, a answer) {
			var se stanza.Error
			require.ErrorAs(t, a.err, &se)
			require.Equal(t, stanza.NotAllowed, se.Condition)
		}, true},
		"an error without one": {"<iq type='error' id='${id}'/>", func(t *testing.T, a answer) { require.ErrorAs(t, a.err, new(stanza.Error)) }, true},
		"a stream error": {"<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", func(t *testing.T, a answer) {
			var se *client.StreamError
			require.ErrorAs(t, a.err, &se)
			require.Equal(t, "policy-violation", se.Condition)
		}, false},
		"the end":      {"</stream:stream>", func(t *testing.T, a answer) { require.Error(t, a.err) }, false},
		"no XML":       {"<iq <", func(t *testing.T, a answer) { require.Error(t, a.err) }, false},
		"too large":    {"<iq type='result' id='${id}'><a>" + strings.Repeat(long, 30) + "</a></iq>", func(t *testing.T, a answer) { require.Error(t, a.err) }, false},
		"nested":       {"<iq type='result' id='${id}'>" + strings.Repeat("<a>", 1000) + strings.Repeat("</a>", 1000) + "</iq>", func(t *testing.T, a answer) { require.Error(t, a.err) }, false},
		"talk, no end": {strings.Repeat("<message/>", 1001) + answered, func(t *testing.T, a answer) { require.ErrorContains(t, a.err, "says other things") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			guests(t, func(t *testing.T, tr *confabtest.Transcript, g *client.Guest) {
				a := ask(context.Background(), g)
				tr.Expect(question)
				tr.Send(c.says)
				c.want(t, <-a)
				if !c.open {
					require.ErrorContains(t, (<-ask(context.Background(), g)).err, "the stream has ended")
				}
			}, func(cfg *client.Config) { cfg.MaxStanza = 100_000 })
		})
	}
}

// TestGuestSilence: a server that does not answer holds nobody up for ever, whatever the
// context; nor does who asks hold up others, or Close.
func TestGuestSilence(t *testing.T) {
	t.Run("no deadline", func(t *testing.T) {
		guests(t, func(t *testing.T, tr *confabtest.Transcript, g *client.Guest) {
			began := time.Now()
			a := <-ask(context.Background(), g)
			require.ErrorIs(t, a.err, context.DeadlineExceeded)
			require.Equal(t, 7*time.Second, time.Since(began)) // of the bubble
			require.ErrorContains(t, (<-ask(context.Background(), g)).err, "the stream has ended")
		}, func(cfg *client.Config) { cfg.Timeout = 7 * time.Second })
	})
	t.Run("cancelled", func(t *testing.T) {
		guests(t, func(t *testing.T, tr *confabtest.Transcript, g *client.Guest) {
			ctx, cancel := context.WithCancel(context.Background())
			a := ask(ctx, g)
			tr.Expect(question)
			cancel()
			require.ErrorIs(t, (<-a).err, context.Canceled)
			require.NoError(t, g.Close())
			require.NoError(t, g.Close())
			require.ErrorIs(t, (<-ask(context.Background(), g)).err, confab.ErrClosed)
		})
	})
	t.Run("in turn", func(t *testing.T) {
		guests(t, func(t *testing.T, tr *confabtest.Transcript, g *client.Guest) {
			first := ask(context.Background(), g)
			tr.Expect(question)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			require.ErrorIs(t, (<-ask(ctx, g)).err, context.DeadlineExceeded)
			tr.Send(answered)
			require.NoError(t, (<-first).err, "who has waited in vain has done no harm")
		})
	})
	t.Run("closed", func(t *testing.T) {
		guests(t, func(t *testing.T, tr *confabtest.Transcript, g *client.Guest) {
			began := time.Now()
			first := ask(context.Background(), g)
			tr.Expect(question)
			second := ask(context.Background(), g)
			synctest.Wait()
			require.NoError(t, g.Close())
			require.ErrorIs(t, (<-first).err, confab.ErrClosed)
			require.ErrorIs(t, (<-second).err, confab.ErrClosed)
			require.Zero(t, time.Since(began))
		})
	})
	t.Run("politely", func(t *testing.T) {
		guests(t, func(t *testing.T, tr *confabtest.Transcript, g *client.Guest) {
			require.NoError(t, g.Close())
			tr.ExpectEnd()
		})
	})
	t.Run("reads no more", func(t *testing.T) {
		var full atomic.Bool
		guests(t, func(t *testing.T, tr *confabtest.Transcript, g *client.Guest) {
			full.Store(true)
			began := time.Now()
			_ = g.Close()
			require.Equal(t, 5*time.Second, time.Since(began)) // of the bubble
			require.ErrorIs(t, (<-ask(context.Background(), g)).err, confab.ErrClosed)
		}, func(cfg *client.Config) {
			dial := cfg.Dial
			cfg.Patience = 5 * time.Second
			cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				return &blocked{Conn: conn, full: &full, end: make(chan struct{})}, err
			}
		})
	})
}

// blocked is a connection whose other side reads no more once it is full.
type blocked struct {
	net.Conn
	full *atomic.Bool
	once sync.Once
	end  chan struct{}
}

func (b *blocked) ConnectionState() tls.ConnectionState {
	return b.Conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
}

func (b *blocked) Write(p []byte) (int, error) {
	if b.full.Load() {
		<-b.end
		return 0, errors.New("closed")
	}
	return b.Conn.Write(p)
}

func (b *blocked) Close() error {
	b.once.Do(func() { close(b.end) })
	return b.Conn.Close()
}
