package client_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
)

// TestWays signs in to each server by STARTTLS, direct TLS and WebSocket.
func TestWays(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		for name, server := range map[string]string{
			"STARTTLS": "xmpp://" + s.Addr, "direct TLS": "xmpps://" + s.DirectAddr, "WebSocket": s.WebSocketURL,
		} {
			t.Run(name, func(t *testing.T) {
				addr, pass := s.Account(t)
				cfg := config(s, addr, pass)
				cfg.Server = server
				c := up(t, cfg)
				ctx := timeout(t)
				sent, err := c.SendMessage(ctx, confab.Draft{To: c.LocalAddr(), Body: "to myself"})
				if err != nil {
					t.Fatal(err)
				}
				if err := sent.Wait(ctx, confab.Acked); err != nil {
					t.Errorf("not acknowledged: %v", err)
				}
				if err := c.Close(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// TestToken signs in again with what the first sign-in left in the store.
func TestToken(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		addr, pass := s.Account(t)
		cfg := config(s, addr, pass)
		cfg.Store = &client.MemoryStore{}
		for i := range 3 {
			c := up(t, cfg)
			st := c.Stats()
			if i > 0 && !st.Token {
				if b, _ := cfg.Store.Get(context.Background(), addr+"/login"); !strings.Contains(string(b), "token") {
					s.Skip(t, "XEP-0484 tokens")
				}
				t.Errorf("sign-in %d was with %s", i, st.Mechanism)
			}
			if err := c.Close(timeout(t)); err != nil {
				t.Error(err)
			}
		}
		// A token that is no good any more: the password helps.
		cfg2 := cfg
		cfg2.Password = "wrong"
		c := up(t, cfg2)
		if !c.Stats().Token {
			t.Error("the token was not used")
		}
	})
}

// TestWrongPassword ends Run, after one attempt.
func TestWrongPassword(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		addr, _ := s.Account(t)
		r := start(t, config(s, addr, "wrong"))
		err := <-r.done
		r.done <- err
		var ae *client.AuthError
		if !errors.As(err, &ae) || ae.Condition != "not-authorized" || !ae.Permanent() {
			t.Fatalf("got %v", err)
		}
		if n := r.Stats().Links; n != 0 {
			t.Errorf("%d links", n)
		}
	})
}

// TestAnonymous signs in without an account.
func TestAnonymous(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		if s.AnonDomain == "" {
			s.Skip(t, "SASL ANONYMOUS")
		}
		cfg := config(s, s.AnonDomain, "")
		cfg.Anonymous = true
		c := up(t, cfg)
		if c.LocalAddr().Domainpart() != s.AnonDomain {
			t.Errorf("signed in as %s", c.LocalAddr())
		}
	})
}

// TestMechanisms signs in to the embedded server with each mechanism, both ways.
func TestMechanisms(t *testing.T) {
	const pw = "pässword, with = and ,"
	for _, tc := range []struct {
		offer, want string
		set         func(*confabtest.Server, *client.Config)
	}{
		{offer: "SCRAM-SHA-512-PLUS SCRAM-SHA-512 PLAIN", want: "SCRAM-SHA-512-PLUS"},
		{offer: "SCRAM-SHA-256-PLUS SCRAM-SHA-512 PLAIN", want: "SCRAM-SHA-256-PLUS"},
		{offer: "SCRAM-SHA-1-PLUS PLAIN", want: "SCRAM-SHA-1-PLUS"},
		{offer: "SCRAM-SHA-512 SCRAM-SHA-1", want: "SCRAM-SHA-512"},
		{offer: "SCRAM-SHA-256 PLAIN", want: "SCRAM-SHA-256"},
		{offer: "PLAIN SCRAM-SHA-1", want: "SCRAM-SHA-1"},
		{offer: "PLAIN", want: "PLAIN"},
		{offer: "EXTERNAL PLAIN", want: "EXTERNAL", set: func(s *confabtest.Server, c *client.Config) {
			cert := s.ClientCertificate("user")
			c.Certificate = &cert
		}},
		{offer: "OAUTHBEARER PLAIN", want: "OAUTHBEARER", set: func(_ *confabtest.Server, c *client.Config) {
			c.OAuthToken = func(context.Context) (string, error) { return "the token", nil }
		}},
	} {
		for _, without := range []confabtest.Feature{confabtest.SASL1, confabtest.SASL2} {
			name := "SASL2 " + tc.offer
			if without == confabtest.SASL2 {
				name = "SASL1 " + tc.offer
			}
			t.Run(name, func(t *testing.T) {
				srv := confabtest.NewServer(confabtest.Config{
					Mechanisms: strings.Fields(tc.offer), Without: without,
					CheckToken: func(_, token string) (string, bool) { return "user", token == "the token" },
				})
				t.Cleanup(srv.Close)
				if err := srv.Start(); err != nil {
					t.Fatal(err)
				}
				cfg := client.Config{Address: srv.AddAccount("user", pw), Password: pw, Server: "xmpps://" + srv.DirectAddr(),
					TLS: &tls.Config{RootCAs: srv.CA()}}
				if tc.set != nil {
					tc.set(srv, &cfg)
				}
				c := up(t, cfg)
				if got := c.Stats().Mechanism; got != tc.want {
					t.Errorf("signed in with %s, want %s", got, tc.want)
				}
			})
		}
	}
}

// TestPlainPinned: an account that has seen SCRAM never sends its password again.
func TestPlainPinned(t *testing.T) {
	store := &client.MemoryStore{}
	var said []string
	try := func(mechanisms ...string) error {
		srv := confabtest.NewServer(confabtest.Config{Mechanisms: mechanisms, Without: confabtest.FAST,
			Wire: func(_ int, out bool, xml []byte) {
				if !out {
					said = append(said, string(xml))
				}
			}})
		defer srv.Close()
		cfg := client.Config{Address: srv.AddAccount("user", "pw"), Password: "pw", Server: "xmpp://x:1", Dial: srv.Dial, Store: store}
		c, err := client.New(cfg)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		confab.On(c, func(context.Context, confab.Ready) { go c.Close(ctx) })
		return c.Run(ctx)
	}
	if err := try("SCRAM-SHA-256", "PLAIN"); err != nil {
		t.Fatal(err)
	}
	said = nil
	err := try("PLAIN")
	var ae *client.AuthError
	if !errors.As(err, &ae) || ae.Mechanism != "" {
		t.Fatalf("got %v", err)
	}
	for _, s := range said {
		if strings.Contains(s, "PLAIN") {
			t.Errorf("the client sent %s", s)
		}
	}
}

// TestCertificates: nothing secret goes to a server that cannot be trusted, and
// the error says why.
func TestCertificates(t *testing.T) {
	var invalid x509.CertificateInvalidError
	var wrongName x509.HostnameError
	var unknown x509.UnknownAuthorityError
	for name, tc := range map[string]struct {
		kind    confabtest.CertificateKind
		without confabtest.Feature
		target  any
		is      error
	}{
		"expired":           {kind: confabtest.Expired, target: &invalid},
		"wrong name":        {kind: confabtest.WrongName, target: &wrongName},
		"unknown authority": {kind: confabtest.UnknownCA, target: &unknown},
		"no STARTTLS":       {without: confabtest.StartTLS, is: client.ErrNoTLS},
	} {
		for _, direct := range []bool{false, true} {
			if direct && tc.is != nil {
				continue
			}
			t.Run(name, func(t *testing.T) {
				srv := confabtest.NewServer(confabtest.Config{Certificate: tc.kind, Without: tc.without})
				t.Cleanup(srv.Close)
				if err := srv.Start(); err != nil {
					t.Fatal(err)
				}
				server := "xmpp://" + srv.Addr()
				if direct {
					server = "xmpps://" + srv.DirectAddr()
				}
				r := start(t, client.Config{Address: srv.AddAccount("user", "pw"), Password: "pw", Server: server, TLS: &tls.Config{RootCAs: srv.CA()}})
				err := <-r.done
				r.done <- err
				var ee *client.EncryptionError
				if !errors.As(err, &ee) {
					t.Fatalf("got %T %v", err, err)
				}
				if tc.is != nil && !errors.Is(err, tc.is) || tc.target != nil && !errors.As(err, tc.target) {
					t.Errorf("got %v", err)
				}
				if st := srv.Stats(); len(st.Logins) > 0 || st.Failures > 0 {
					t.Errorf("the client tried to sign in: %+v", st)
				}
			})
		}
	}
}

// TestPins: a chain that verifies is not enough if keys are pinned.
func TestPins(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(srv.CAPEM())
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	cfg := client.Config{Address: srv.AddAccount("user", "pw"), Password: "pw", Server: "xmpp://" + srv.Addr(), TLS: &tls.Config{RootCAs: srv.CA()}}
	cfg.Pins = [][32]byte{sha256.Sum256(ca.RawSubjectPublicKeyInfo)}
	up(t, cfg)
	cfg.Pins = [][32]byte{{1}}
	r := start(t, cfg)
	err = <-r.done
	r.done <- err
	if !errors.Is(err, client.ErrPin) {
		t.Errorf("got %v", err)
	}
}

// TestWebSocketRedirect: a server may send a client on at any time (RFC 7395 §3.6.1).
func TestWebSocketRedirect(t *testing.T) {
	first, second := confabtest.NewServer(confabtest.Config{}), confabtest.NewServer(confabtest.Config{})
	for _, srv := range []*confabtest.Server{first, second} {
		t.Cleanup(srv.Close)
		srv.AddAccount("user", "pw")
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
	}
	pool := first.CA()
	pool.AppendCertsFromPEM(second.CAPEM())
	r := up(t, client.Config{Address: first.AddAccount("user", "pw"), Password: "pw", WebSocket: true,
		TLS: &tls.Config{RootCAs: pool}, BackoffMin: time.Millisecond,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == first.Domain()+":443" {
				address = strings.TrimPrefix(first.HTTPSURL(), "https://")
			}
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}})
	first.InjectRaw(r.LocalAddr().String(), "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' see-other-uri='"+second.WebSocketURL()+"'/>")
	r.wait(t)
	if n := second.Stats().Connections; n != 1 {
		t.Errorf("%d connections to the server that was named", n)
	}
}

// TestUnreachable lists every attempt.
func TestUnreachable(t *testing.T) {
	c, err := client.New(client.Config{Address: "user@example.org", Password: "pw", Server: "nowhere.example",
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("refused: " + address)}
		}})
	if err != nil {
		t.Fatal(err)
	}
	retry := make(chan client.Retry, 10)
	confab.On(c, func(_ context.Context, e client.Retry) { retry <- e })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	select {
	case e := <-retry:
		var ce *client.ConnectError
		if !errors.As(e.Err, &ce) || len(ce.Attempts) != 2 {
			t.Errorf("got %v", e.Err)
		}
		for _, want := range []string{"nowhere.example:5222", "nowhere.example:5223", "refused"} {
			if !strings.Contains(e.Err.Error(), want) {
				t.Errorf("%q is not in %v", want, e.Err)
			}
		}
	case <-time.After(patience):
		t.Error("no Retry")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
