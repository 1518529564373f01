package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/confabtest"
)

func TestConfigErrors(t *testing.T) {
	ok := Config{Address: "me@example.org", Password: "secret"}
	for _, tt := range []struct {
		change func(*Config)
		want   string // part of the message; "" if it is right
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Address = "" }, "Config.Address is empty"},
		{func(c *Config) { c.Address = "@@" }, "Config.Address"},
		{func(c *Config) { c.Address = "me@" }, "Config.Address"},
		{func(c *Config) { c.Address = "example.org" }, "has no user"},
		{func(c *Config) { *c = Config{Address: "example.org", Anonymous: true} }, ""},
		{func(c *Config) { *c = Config{Address: "example.org", Certificate: &tls.Certificate{}} }, ""},
		{func(c *Config) {
			*c = Config{Address: "me@example.org", OAuthToken: func(context.Context) (string, error) { return "", nil }}
		}, ""},
		{func(c *Config) { c.Password = "" }, "set Config.Password"},
		{func(c *Config) { c.TLS = &tls.Config{InsecureSkipVerify: true} }, "InsecureSkipVerify"},
		{func(c *Config) { c.TLS = &tls.Config{} }, ""},
		{func(c *Config) { c.Proxy = &url.URL{Scheme: "http", Host: "x"} }, `scheme "http"`},
		{func(c *Config) { c.Proxy = &url.URL{Scheme: "socks5", Host: "x"} }, ""},
		{func(c *Config) { c.Presence = confab.El("", "message") }, "Config.Presence"},
		{func(c *Config) { c.Presence = confab.El("", "presence").Set("to", "a@b") }, "Config.Presence"},
		{func(c *Config) { c.Presence = confab.El("", "presence") }, ""},
	} {
		cfg := ok
		tt.change(&cfg)
		c, err := New(cfg)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "client: ")) {
			t.Errorf("%q: %v", tt.want, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in the error: %v", err)
		}
		if c != nil {
			_ = c.drv.Close(context.Background())
		}
	}
}

func TestTLSConfig(t *testing.T) {
	own := &tls.Config{ServerName: "evil.example", MinVersion: tls.VersionTLS10, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{{}}}
	c := Config{TLS: own, Certificate: &tls.Certificate{}}
	for _, direct := range []bool{false, true} {
		got := c.tlsConfig("example.org", direct)
		if got.ServerName != "example.org" || got.MinVersion != tls.VersionTLS12 || got.InsecureSkipVerify || len(got.Certificates) != 2 {
			t.Errorf("%+v", got)
		}
		if want := map[bool]string{true: "[xmpp-client]", false: "[]"}[direct]; fmt.Sprint(got.NextProtos) != want {
			t.Errorf("ALPN %v", got.NextProtos)
		}
	}
	if own.ServerName != "evil.example" || len(own.Certificates) != 1 {
		t.Error("the user's settings were changed")
	}
	if got := (&Config{}).tlsConfig("example.org", true); got.MinVersion < tls.VersionTLS12 || got.VerifyConnection != nil {
		t.Errorf("%+v", got)
	}
	pinned := &Config{Pins: [][sha256.Size]byte{{1}}}
	if err := pinned.tlsConfig("x", true).VerifyConnection(tls.ConnectionState{}); !errors.Is(err, ErrPin) {
		t.Errorf("no chain: %v", err)
	}
	boom := errors.New("boom")
	pinned.TLS = &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return boom }}
	if err := pinned.tlsConfig("x", true).VerifyConnection(tls.ConnectionState{}); !errors.Is(err, boom) {
		t.Errorf("the user's check: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	c, err := New(Config{Address: "me@example.org", Password: "x", BackoffMin: time.Second, BackoffMax: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for n, limit := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 100: 10 * time.Second, 1 << 40: 10 * time.Second} {
		for range 100 {
			if d := c.backoff(n); d < limit/2 || d > limit {
				t.Errorf("after %d failures: %v, at most %v", n, d, limit)
			}
		}
	}
	_ = c.drv.Close(context.Background())
}

func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct {
		err       error
		want      string
		permanent bool
	}{
		{&AuthError{Mechanism: "PLAIN", Offered: []string{"PLAIN", "X"}, Condition: "not-authorized", Text: "no"}, `client: sign-in failed with PLAIN: not-authorized ("no"); the server offered PLAIN X`, true},
		{&AuthError{Condition: "temporary-auth-failure"}, "temporary-auth-failure", false},
		{&StreamError{Condition: "conflict"}, "another client signed in with the same resource", true},
		{&StreamError{Condition: "policy-violation", Text: "slow"}, `policy-violation ("slow")`, true},
		{&StreamError{Condition: "system-shutdown"}, "system-shutdown", false},
		{&EncryptionError{Domain: "example.org", Err: ErrNoTLS}, "no trusted encryption with example.org", false},
		{&BindError{Err: errors.New("boom")}, "no resource could be bound: boom", false},
	} {
		err := fmt.Errorf("wrapped: %w", tt.err)
		if !strings.Contains(err.Error(), tt.want) || isPermanent(err) != tt.permanent {
			t.Errorf("%v, permanent %v", err, isPermanent(err))
		}
	}
	if !errors.Is(&EncryptionError{Err: ErrPin}, ErrPin) || !errors.Is(&AuthError{Err: ErrPin}, ErrPin) || !errors.Is(&BindError{ErrPin}, ErrPin) {
		t.Error("Unwrap")
	}
}

func TestRedact(t *testing.T) {
	const s = "xyzzy"
	for _, el := range []*confab.Element{
		confab.El(nsSASL, "auth").Set("mechanism", "PLAIN").SetText(s),
		confab.El(nsSASL, "response").SetText(s),
		confab.El(nsSASL, "challenge").SetText(s),
		confab.El(nsSASL, "success").SetText(s),
		confab.El(nsSASL2, "authenticate", confab.El(nsSASL2, "initial-response").SetText(s)),
		confab.El(nsSASL2, "response").SetText(s),
		confab.El(nsSASL2, "challenge").SetText(s),
		confab.El(nsSASL2, "success", confab.El(nsSASL2, "additional-data").SetText(s), confab.El(nsFast, "token").Set("token", s)),
		confab.El(confab.NSClient, "iq", confab.El("jabber:iq:register", "query", confab.El("jabber:iq:register", "password").SetText(s))),
		confab.El(confab.NSClient, "iq", confab.El("jabber:iq:auth", "query", confab.El("jabber:iq:auth", "digest").SetText(s))),
		confab.El("urn:xmpp:http:upload:0", "slot", confab.El("urn:xmpp:http:upload:0", "put", confab.El("urn:xmpp:http:upload:0", "header").Set("name", "Authorization").SetText(s))),
	} {
		before := el.String()
		got := redact(el).String()
		if strings.Contains(got, s) || !strings.Contains(got, "…") {
			t.Errorf("%s", got)
		}
		if el.String() != before {
			t.Errorf("%s was changed", before)
		}
	}
	for _, el := range []*confab.Element{
		confab.El(nsSASL, "mechanisms", confab.El(nsSASL, "mechanism").SetText("PLAIN")),
		confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText(s)),
	} {
		if redact(el) != el {
			t.Errorf("%s was cut", el)
		}
	}
}

// spy gathers all that is logged.
type spy struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *spy) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *spy) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Nothing that is logged during a sign-in helps to sign in.
func TestNothingSecretIsLogged(t *testing.T) {
	const password = "correct horse"
	for _, tt := range []struct {
		name    string
		without confabtest.Feature
		mechs   []string
		bad     bool
	}{
		{"SASL2, FAST", 0, nil, false},
		{"SCRAM", confabtest.SASL2, nil, false},
		{"SCRAM, wrong password", confabtest.SASL2, nil, true},
		{"PLAIN", confabtest.SASL2, []string{"PLAIN"}, false},
		{"PLAIN, SASL2", 0, []string{"PLAIN"}, false},
		{"PLAIN, wrong password", 0, []string{"PLAIN"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var secrets []string
			raw := &spy{}
			srv := confabtest.NewServer(confabtest.Config{Without: tt.without, Mechanisms: tt.mechs, Wire: func(_ int, _ bool, b []byte) {
				_, _ = raw.Write(b)
			}})
			defer srv.Close()
			account := password
			if tt.bad {
				account = "another"
			}
			addr := srv.AddAccount("me", account)
			store := &MemoryStore{}
			logged := &spy{}
			for range 2 { // the second time with a token
				cfg := Config{Address: addr, Password: password, Dial: srv.Dial, Server: "x:1", Store: store,
					Log:  slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
					Wire: func(e WireEvent) { fmt.Fprintln(logged, e.Out, e.XML) }}
				c, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				ready := make(chan struct{}, 1)
				confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
				done := make(chan error, 1)
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				go func() { done <- c.Run(ctx) }()
				select {
				case <-ready:
					_ = c.Close(ctx)
					err = <-done
				case err = <-done:
				}
				cancel()
				var ae *AuthError
				if errors.As(err, &ae) != tt.bad || !tt.bad && err != nil {
					t.Fatalf("Run: %v", err)
				}
				if err != nil {
					fmt.Fprintln(logged, err)
				}
				if c.known.Token != nil {
					mu.Lock()
					secrets = append(secrets, c.known.Token.Token)
					mu.Unlock()
				}
			}
			if (tt.without&confabtest.SASL2 == 0 && !tt.bad) != (len(secrets) > 0) {
				t.Errorf("%d tokens", len(secrets))
			}
			secrets = append(secrets, password, base64.StdEncoding.EncodeToString([]byte(password)),
				base64.StdEncoding.EncodeToString([]byte("\x00me\x00"+password)))
			// Every piece of base64 that was really sent in the course of a sign-in.
			wire := raw.String()
			for _, tag := range []string{"auth", "response", "initial-response", "challenge", "success", "additional-data"} {
				rest := wire
				for {
					i := strings.Index(rest, "<"+tag)
					if i < 0 {
						break
					}
					rest = rest[i+1:]
					_, text, _ := strings.Cut(rest, ">")
					text, _, _ = strings.Cut(text, "<")
					if len(text) > 8 && !strings.Contains(text, "@") { // not the address
						secrets = append(secrets, text)
					}
				}
			}
			if len(secrets) < 5 {
				t.Errorf("the transcript has no secrets: %s", wire)
			}
			out := logged.String()
			if !strings.Contains(out, "…") {
				t.Error("nothing was cut out")
			}
			for _, s := range secrets {
				if len(s) > 4 && strings.Contains(out, s) {
					t.Errorf("%q was logged", s)
				}
			}
		})
	}
}

func TestFileStore(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	s, err := NewFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	value := []byte{0, 1, 0xff}
	if err := s.Put(ctx, "a", value); err != nil {
		t.Fatal(err)
	}
	value[0] = 9 // the store has a copy
	if got, _ := s.Get(ctx, "a"); got[0] != 0 {
		t.Error("the value is shared")
	} else {
		got[1] = 9
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, err := NewFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Get(ctx, "a"); err != nil || string(got) != "\x00\x01\xff" {
		t.Errorf("%q, %v", got, err)
	}
	// A crash in the middle of a write leaves a file beside, and the old one.
	if err := os.WriteFile(path+".123", []byte(`{"a":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFileStore(path); err != nil {
		t.Error(err)
	}
	_ = os.Remove(path + ".123")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			key := fmt.Sprint(i)
			if err := s.Put(ctx, key, []byte(key)); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				_ = s.Delete(ctx, key)
			}
		})
	}
	wg.Wait()
	if again, err = NewFileStore(path); err != nil || len(again.m) != 11 {
		t.Errorf("%d values, %v", len(again.m), err)
	}
	// Nothing else is left in the directory.
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files %v", files)
	}
	// A write that fails leaves all as it was.
	bad := &FileStore{path: filepath.Join(dir, "none", "store"), m: map[string][]byte{"a": {1}}}
	if err := bad.Put(ctx, "b", nil); err == nil {
		t.Error("a write into a directory that is not there succeeded")
	}
	if _, err := bad.Get(ctx, "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a value is there that was not stored")
	}
	for _, junk := range []string{"", "x", "[]", `{"a":5}`} {
		if err := os.WriteFile(path, []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewFileStore(path); err == nil {
			t.Errorf("%q was taken", junk)
		}
	}
	if err := os.WriteFile(path, []byte("null"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := NewFileStore(path); err == nil {
		if err := s.Put(ctx, "a", nil); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewFileStore(dir); err == nil {
		t.Error("a directory was taken")
	}
}
