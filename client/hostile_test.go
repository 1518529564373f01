package client_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const me = "romeo@example.net/orchard"

// scripted is a client whose server is a transcript.
type scripted struct {
	*client.Client
	tr   *confabtest.Transcript
	stop context.CancelFunc
	done chan error
	msgs chan *confab.Message
	bad  chan confab.BadStanza
}

// script starts a client under a transcript. It belongs into a synctest bubble:
// all goroutines have to end with it.
func script(t *testing.T, set ...func(*client.Config)) *scripted {
	t.Helper()
	tr := confabtest.NewTranscript(t)
	cfg := client.Config{Address: "romeo@example.net", Password: "pw", Server: "xmpp://x:1", Dial: tr.Dial}
	for _, f := range set {
		f(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{Client: c, tr: tr, done: make(chan error, 1), msgs: make(chan *confab.Message, 1000), bad: make(chan confab.BadStanza, 1000)}
	confab.On(c, func(_ context.Context, m *confab.Message) { s.msgs <- m })
	confab.On(c, func(_ context.Context, b confab.BadStanza) { s.bad <- b })
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() { s.done <- c.Run(ctx) }()
	return s
}

// end stops the client and waits for it.
func (s *scripted) end() error {
	s.stop()
	return <-s.done
}

// TestHostileStanzas sends what no honest server would: the session lives, and
// what comes after is handled.
func TestHostileStanzas(t *testing.T) {
	deep := strings.Repeat("<a>", 1000) + strings.Repeat("</a>", 1000)
	attrs := ""
	for i := range 1000 {
		attrs += fmt.Sprintf(" a%d=''", i)
	}
	for name, xml := range map[string]string{
		"bad from":               `<message from='@@//' id='x'><body>x</body></message>`,
		"bad to":                 `<message to='a@b@c' id='x'><body>x</body></message>`,
		"presence bad from":      `<presence from='&#x9;'/>`,
		"no payload":             `<iq type='get' id='x' from='a@b'/>`,
		"no id":                  `<iq type='get' from='a@b'><ping xmlns='urn:xmpp:ping'/></iq>`,
		"no type":                `<iq id='x' from='a@b'><ping xmlns='urn:xmpp:ping'/></iq>`,
		"odd type":               `<iq type='gett' id='x' from='a@b'><ping xmlns='urn:xmpp:ping'/></iq>`,
		"result for nobody":      `<iq type='result' id='nobody' from='a@b'/>`,
		"error for nobody":       `<iq type='error' id='nobody'/>`,
		"error without error":    `<message type='error' from='a@b' id='x'/>`,
		"empty stanza":           `<message/>`,
		"empty presence":         `<presence/>`,
		"big body":               `<message from='a@b' id='big'><x xmlns='big'>` + strings.Repeat("y", 1<<20) + `</x></message>`,
		"deep":                   `<message from='a@b'><x xmlns='deep'>` + deep + `</x></message>`,
		"a deep request":         `<iq type='get' id='x' from='a@b'>` + deep + `</iq>`,
		"a deep answer":          `<iq type='result' id='x' from='a@b'>` + deep + `</iq>`,
		"huge":                   `<message from='a@b'><x xmlns='huge'>` + strings.Repeat("y", 5<<20) + `</x></message>`,
		"many elements":          `<message from='a@b'><x xmlns='many'>` + strings.Repeat("<y/>", 200_000) + `</x></message>`,
		"many attributes":        `<message from='a@b'><x xmlns='attrs'` + attrs + `/></message>`,
		"foreign namespace":      `<thing xmlns='urn:example:thing'/>`,
		"late features":          `<stream:features/>`,
		"stray acks":             `<a xmlns='urn:xmpp:sm:3' h='0'/>`,
		"bad ack":                `<a xmlns='urn:xmpp:sm:3' h='many'/>`,
		"stray resumed":          `<resumed xmlns='urn:xmpp:sm:3' previd='x' h='1'/>`,
		"sasl again":             `<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`,
		"a thousand requests":    strings.Repeat(`<iq type='get' id='x' from='a@b/c'><query xmlns='urn:example:unknown'/></iq>`, 1000),
		"bad stamp":              `<message from='a@b'><delay xmlns='urn:xmpp:delay' stamp='tomorrow'/></message>`,
		"bad priority":           `<presence from='a@b/c'><priority>99999999999999999999</priority></presence>`,
		"forged own carbon":      `<message from='evil@example.com'><received xmlns='urn:xmpp:carbons:2'/></message>`,
		"emoji in attributes":    `<message from='a@b/😀' id='😀'/>`,
		"ten thousand presences": strings.Repeat(`<presence from='room@b/nick'/>`, 10000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script(t)
				s.tr.SignInManaged(me, "sm1")
				s.tr.Expect(`<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='*' ver='*'/>` +
					`<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>*</hash></c></presence>`)
				go s.tr.Send(xml + `<message from='juliet@example.net/balcony' type='chat' id='after'><body>still there?</body></message>`)
				for {
					m := <-s.msgs
					if m.ID == "after" {
						break
					}
				}
				if s.Stats().Links != 1 {
					t.Error("the session did not live")
				}
				s.tr.Cut()
				s.end()
			})
		})
	}
}

// TestFatal lists what ends a session for good, or the link.
func TestFatal(t *testing.T) {
	streamError := func(c string) string {
		return `<stream:error><` + c + ` xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>`
	}
	for _, tc := range []struct {
		name, xml string
		permanent bool
	}{
		{"conflict", streamError("conflict"), true},
		{"policy-violation", streamError("policy-violation"), true},
		{"host-gone", streamError("host-gone"), true},
		{"shutdown", streamError("system-shutdown"), false},
		{"reset", streamError("reset"), false},
		{"closed", "</stream:stream>", false},
		{"ack of what was not sent", `<a xmlns='urn:xmpp:sm:3' h='77'/>`, false},
		{"not well-formed", `<message></presence>`, false},
		{"doctype", `<!DOCTYPE x [<!ENTITY a "b">]>`, false},
		{"comment", `<!-- hello -->`, false},
		{"processing instruction", `<?php echo 1 ?>`, false},
		{"bad entity", `<message><body>&a;</body></message>`, false},
		{"bad UTF-8", "<message><body>\xff\xfe</body></message>", false},
		{"too big", `<message><body>` + strings.Repeat("x", 40<<10) + `</body></message>`, false},
		{"too deep", `<message>` + strings.Repeat("<a>", 1000) + `</message>`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script(t, func(c *client.Config) { c.MaxStanza = 20 << 10 })
				retry := make(chan client.Retry, 10)
				confab.On(s.Client, func(_ context.Context, e client.Retry) { retry <- e })
				s.tr.SignInManaged(me, "sm1")
				s.tr.Expect(`<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='*' ver='*'/>` +
					`<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>*</hash></c></presence>`)
				// A request that waits is told.
				asked := make(chan error, 1)
				go func() {
					asked <- confab.Do(context.Background(), s, stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse("example.net")}, confab.El("urn:xmpp:ping", "ping"), nil)
				}()
				synctest.Wait()
				s.tr.Send(tc.xml)
				if tc.permanent {
					err := <-s.done
					s.done <- err
					var se *client.StreamError
					if !errors.As(err, &se) || se.Condition != tc.name || !se.Permanent() {
						t.Errorf("got %v", err)
					}
					if err := <-asked; !errors.Is(err, confab.ErrLost) && !errors.Is(err, confab.ErrClosed) {
						t.Errorf("the request got %v", err)
					}
				} else {
					select {
					case e := <-retry:
						if e.Err == nil {
							t.Error("no reason")
						}
					case <-time.After(time.Hour):
						t.Error("the link did not end")
					}
				}
				s.end()
			})
		})
	}
}

// TestLyingServer plays servers that lie while a client signs in.
func TestLyingServer(t *testing.T) {
	header := func(s *scripted, features string) {
		s.tr.ExpectHeader("example.net")
		s.tr.SendHeader("example.net", features)
	}
	const sasl = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism></mechanisms>"
	const success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
	for name, play := range map[string]func(*scripted){
		"success without proof": func(s *scripted) {
			header(s, sasl)
			s.tr.Next()
			s.tr.Send(success)
		},
		"challenge of nonsense": func(s *scripted) {
			header(s, sasl)
			s.tr.Next()
			s.tr.Send("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AAAA</challenge>")
		},
		"no mechanism": func(s *scripted) {
			header(s, "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>X-SPY</mechanism></mechanisms>")
		},
		"no sign-in at all": func(s *scripted) { header(s, "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script(t)
				play(s)
				err := <-s.done
				s.done <- err
				var ae *client.AuthError
				if !errors.As(err, &ae) {
					t.Errorf("got %v", err)
				}
				s.end()
			})
		})
	}
	t.Run("somebody else's address", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := script(t)
			retry := make(chan client.Retry, 10)
			confab.On(s.Client, func(_ context.Context, e client.Retry) { retry <- e })
			s.tr.SignIn("mallory@example.net/x")
			var be *client.BindError
			if e := <-retry; !errors.As(e.Err, &be) {
				t.Errorf("got %v", e.Err)
			}
			s.end()
		})
	})
	t.Run("another stream resumed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := script(t)
			retry := make(chan client.Retry, 10)
			s.tr.SignInManaged(me, "sm1")
			s.tr.Next()
			confab.On(s.Client, func(_ context.Context, e client.Retry) { retry <- e })
			s.tr.Cut()
			<-retry
			s.tr.ExpectHeader("")
			s.tr.SendHeader("example.net", "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism><inline><sm xmlns='urn:xmpp:sm:3'/></inline></authentication>")
			s.tr.Next()
			s.tr.Send("<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>" + me + "</authorization-identifier><resumed xmlns='urn:xmpp:sm:3' previd='other' h='0'/></success>")
			if e := <-retry; !strings.Contains(e.Err.Error(), "another stream") {
				t.Errorf("got %v", e.Err)
			}
			s.end()
		})
	})
}

// TestSilence: a server that says nothing any more is noticed.
func TestSilence(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprint("managed ", managed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script(t, func(c *client.Config) { c.Keepalive, c.Patience = 5*time.Second, 3*time.Second })
				suspended, retry := make(chan error, 1), make(chan error, 10)
				confab.On(s.Client, func(_ context.Context, e confab.Suspended) { suspended <- e.Err })
				confab.On(s.Client, func(_ context.Context, e client.Retry) { retry <- e.Err })
				if managed {
					s.tr.SignInManaged(me, "sm1")
				} else {
					s.tr.SignIn(me)
				}
				s.tr.Next() // presence
				if managed {
					s.tr.Expect(`<r xmlns='urn:xmpp:sm:3'/>`)
					s.tr.Send(`<a xmlns='urn:xmpp:sm:3' h='1'/>`)
				}
				began := time.Now()
				if managed {
					s.tr.Next() // <r/>, unanswered
				} else {
					s.tr.Expect(`<iq type='get' id='*' to='example.net'><ping xmlns='urn:xmpp:ping'/></iq>`)
				}
				if d := time.Since(began); d > 6*time.Second {
					t.Errorf("asked for a sign of life after %v", d)
				}
				if err := <-retry; !errors.Is(err, client.ErrTimeout) {
					t.Errorf("got %v", err)
				}
				if d := time.Since(began); d > 9*time.Second {
					t.Errorf("gave up after %v", d)
				}
				if managed {
					if err := <-suspended; !errors.Is(err, client.ErrTimeout) {
						t.Errorf("suspended: %v", err)
					}
				}
				s.end()
			})
		})
	}
}

// TestWaiters: a hundred requests end at once when the link is lost for good.
func TestWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t)
		s.tr.SignIn(me) // nothing to resume
		s.tr.Next()
		errs := make(chan error, 100)
		for range 100 {
			go func() {
				errs <- confab.Do(context.Background(), s, stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse("example.net")}, confab.El("urn:xmpp:ping", "ping"), nil)
			}()
		}
		for range 100 {
			s.tr.Next()
		}
		began := time.Now()
		s.tr.Cut()
		for range 100 {
			if err := <-errs; !errors.Is(err, confab.ErrLost) {
				t.Errorf("got %v", err)
			}
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("it took %v", d)
		}
		s.end()
	})
}

// TestRide: a request whose stream is resumed gets its answer.
func TestRide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t)
		s.tr.SignInManaged(me, "sm1")
		s.tr.Next()
		asked := make(chan error, 1)
		s.tr.Expect(`<r xmlns='urn:xmpp:sm:3'/>`)
		s.tr.Send(`<a xmlns='urn:xmpp:sm:3' h='1'/>`)
		go func() {
			asked <- confab.Do(context.Background(), s, stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse("example.net")}, confab.El("urn:xmpp:ping", "ping"), nil)
		}()
		s.tr.Expect(`<iq type='get' id='${id}' to='example.net'><ping xmlns='urn:xmpp:ping'/></iq>`)
		s.tr.Cut()
		s.tr.Resume(me, "sm1", 0, 1)
		s.tr.Expect(`<iq type='get' id='${id}' to='example.net'><ping xmlns='urn:xmpp:ping'/></iq>`)
		s.tr.Send(`<iq type='result' id='${id}' from='example.net' to='` + me + `'/>`)
		if err := <-asked; err != nil {
			t.Error(err)
		}
		s.tr.Cut()
		s.end()
	})
}

// TestAckMeansHandled: h counts what the user's function has returned from.
func TestAckMeansHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t)
		hold := make(chan struct{})
		confab.On(s.Client, func(context.Context, *confab.Message) { <-hold })
		s.tr.SignInManaged(me, "sm1")
		s.tr.Next()
		s.tr.Expect(`<r xmlns='urn:xmpp:sm:3'/>`)
		s.tr.Send(`<a xmlns='urn:xmpp:sm:3' h='1'/>` +
			`<message from='juliet@example.net/x' id='1'><body>1</body></message>` +
			`<message from='juliet@example.net/x' id='2'><body>2</body></message><r xmlns='urn:xmpp:sm:3'/>`)
		s.tr.Expect(`<a xmlns='urn:xmpp:sm:3' h='0'/>`) // the truth, after a while
		hold <- struct{}{}
		close(hold)
		s.tr.Expect(`<a xmlns='urn:xmpp:sm:3' h='2'/>`)
		s.tr.Cut()
		s.end()
	})
}

// TestNoLeak: when Run has returned, no goroutine is left.
func TestNoLeak(t *testing.T) {
	before := runtime.NumGoroutine()
	srv := confabtest.NewServer(confabtest.Config{})
	addr := srv.AddAccount("user", "pw")
	var wg sync.WaitGroup
	for range 20 {
		c, end := live(t, client.Config{Address: addr, Password: "pw", Server: "xmpp://x:1", Dial: srv.Dial})
		wg.Go(func() {
			_, _ = c.SendMessage(context.Background(), confab.Draft{To: c.LocalAddr(), Body: "x"})
			end()
		})
	}
	wg.Wait()
	srv.Close()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
}

// TestUnaskedResumption: a server cannot say that it resumed what nobody asked
// for, nor make up our address that way.
func TestUnaskedResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t)
		retry := make(chan client.Retry, 10)
		confab.On(s.Client, func(_ context.Context, e client.Retry) { retry <- e })
		s.tr.ExpectHeader("example.net")
		s.tr.SendHeader("example.net", "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism></authentication>")
		s.tr.Next()
		s.tr.Send("<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>mallory@example.com/x</authorization-identifier><resumed xmlns='urn:xmpp:sm:3' h='0'/></success>")
		if e := <-retry; !strings.Contains(e.Err.Error(), "another stream") {
			t.Errorf("got %v", e.Err)
		}
		if s.Stats().Links != 0 {
			t.Error("it was believed")
		}
		s.end()
	})
}

// TestRoomError: an error about a message counts from the room, not from anybody
// in it.
func TestRoomError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t)
		s.tr.SignIn(me)
		s.tr.Next()
		sent, err := s.SendMessage(context.Background(), confab.Draft{To: jid.MustParse("room@muc.example.net"), Type: stanza.GroupChatMessage, ID: "m1", Body: "x"})
		if err != nil {
			t.Fatal(err)
		}
		s.tr.Next()
		const e = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
		s.tr.Send("<message type='error' id='m1' from='room@muc.example.net/mallory'>" + e)
		synctest.Wait()
		if err := sent.Err(); err != nil {
			t.Errorf("mallory was believed: %v", err)
		}
		s.tr.Send("<message type='error' id='m1' from='room@muc.example.net'>" + e)
		synctest.Wait()
		if err := sent.Err(); !errors.Is(err, stanza.Error{Condition: stanza.Forbidden}) {
			t.Errorf("got %v", err)
		}
		s.tr.Cut()
		s.end()
	})
}

// TestRedirects: a server that lets us in and sends us on, again and again, is
// not followed without pauses.
func TestRedirects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		addr := srv.AddAccount("user", "pw")
		c, err := client.New(client.Config{Address: addr, Password: "pw", Dial: srv.Dial, BackoffMin: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		confab.On(c, func(context.Context, confab.Ready) { srv.Disconnect("see-other-host", "") })
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = c.Run(ctx)
		if n := srv.Stats().Connections; n > 60 {
			t.Errorf("%d connections in a minute", n)
		}
		srv.Close()
	})
}

// TestCloseSaysWhatIsLeft: Close is not content when something was not delivered.
func TestCloseSaysWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t)
		s.tr.SignInManaged(me, "sm1")
		s.tr.Next()
		s.tr.Cut()
		synctest.Wait()
		sent, err := s.SendMessage(context.Background(), confab.Draft{To: jid.MustParse("juliet@example.net"), Body: "x"})
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second Close: %v", err)
		}
		s.end() // nothing can be delivered any more
		if err := <-closed; err == nil {
			t.Error("the first Close was content")
		}
		if sent.Err() == nil {
			t.Error("the message did not fail")
		}
	})
}
