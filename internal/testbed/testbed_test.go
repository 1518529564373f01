package testbed

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("TESTBED_ABANDON") != "" {
		abandon()
	}
	os.Exit(Run(m))
}

// each is Each without the embedded server while there is none.
func each(t *testing.T, f func(t *testing.T, s *Server)) {
	for _, name := range Selected() {
		if name == Embedded && startEmbedded == nil {
			continue
		}
		t.Run(name, func(t *testing.T) { f(t, Shared(t, name)) })
	}
}

func eachPrivate(t *testing.T, f func(t *testing.T, s *Server)) {
	for _, name := range Selected() {
		if name == Embedded && startEmbedded == nil {
			continue
		}
		t.Run(name, func(t *testing.T) { f(t, Private(t, name)) })
	}
}

// stream is a client's stream, just enough of one.
type stream struct {
	conn net.Conn
	r    *bufio.Reader
}

func open(t *testing.T, conn net.Conn, err error, domain string) *stream {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	s := &stream{conn, bufio.NewReader(conn)}
	s.send(t, fmt.Sprintf(streamHeader, domain))
	return s
}

func openTCP(t *testing.T, addr, domain string) *stream {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	return open(t, conn, err, domain)
}

func openTLS(t *testing.T, s *Server, domain string) *stream {
	t.Helper()
	conn, err := tls.Dial("tcp", s.DirectAddr, &tls.Config{
		ServerName: domain, RootCAs: s.CA, NextProtos: []string{"xmpp-client"},
	})
	return open(t, conn, err, domain)
}

func (s *stream) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.conn, text); err != nil {
		t.Fatal(err)
	}
}

// until reads up to the end of a tag that holds one of marks, and returns all
// that it read.
func (s *stream) until(t *testing.T, marks ...string) string {
	t.Helper()
	var all strings.Builder
	for {
		tag, err := s.r.ReadString('>')
		all.WriteString(tag)
		for _, mark := range marks {
			if strings.Contains(tag, mark) {
				return all.String()
			}
		}
		if err != nil {
			t.Fatalf("waiting for %q: %v after %q", marks, err, all.String())
		}
	}
}

// auth signs in with SASL PLAIN and reports whether the server took it.
func (s *stream) auth(t *testing.T, user, password string) bool {
	t.Helper()
	features := s.until(t, "</stream:features")
	if !strings.Contains(features, "PLAIN") {
		t.Fatalf("no SASL PLAIN in %s", features)
	}
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	s.send(t, `<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">`+response+`</auth>`)
	return strings.Contains(s.until(t, "<success", "<failure"), "<success")
}

func signIn(t *testing.T, s *Server, address, password string) bool {
	t.Helper()
	user, domain, _ := strings.Cut(address, "@")
	return openTLS(t, s, domain).auth(t, user, password)
}

func TestServer(t *testing.T) {
	each(t, func(t *testing.T, s *Server) {
		t.Logf("%s %s", s.Name, s.Version)
		if s.Version == "" || s.Domain == "" {
			t.Errorf("incomplete: %+v", s)
		}
		openTCP(t, s.Addr, s.Domain).until(t, "<starttls")
		for i := range 20 {
			address, password := s.Account(t)
			if !signIn(t, s, address, password) {
				t.Fatalf("account %d, %s, was refused", i, address)
			}
			if i == 0 && signIn(t, s, address, password+"x") {
				t.Error("a wrong password was taken")
			}
		}
		address := s.NamedAccount(t, "some-one.é", `a "q\uoted" pâss`)
		if !signIn(t, s, address, `a "q\uoted" pâss`) {
			t.Error("the named account was refused")
		}
		s.NamedAccount(t, "some-one.é", "another")
		if !signIn(t, s, address, "another") {
			t.Error("the changed password was refused")
		}
		if s.PlainDomain != "" {
			address, password := s.AccountAt(t, s.PlainDomain)
			user, domain, _ := strings.Cut(address, "@")
			stream := openTLS(t, s, domain)
			if features := stream.until(t, "</stream:features"); !strings.Contains(features, "SCRAM-SHA-256") {
				t.Errorf("%s offers no SCRAM-SHA-256: %s", domain, features)
			}
			if !openTLS(t, s, domain).auth(t, user, password) {
				t.Error("the account with a plain password was refused")
			}
		}
		if s.AnonDomain != "" {
			features := openTLS(t, s, s.AnonDomain).until(t, "</stream:features")
			if !strings.Contains(features, "ANONYMOUS") {
				t.Errorf("%s offers no ANONYMOUS: %s", s.AnonDomain, features)
			}
		}
	})
}

func TestHTTPS(t *testing.T) {
	each(t, func(t *testing.T, s *Server) {
		if s.HTTPSBase == "" {
			s.Skip(t, "HTTPS")
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CA}}}
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.HTTPSBase+"/.well-known/host-meta", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = s.Domain
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), s.WebSocketURL) {
			t.Errorf("host-meta: %s, %v: %s", resp.Status, err, body)
		}
	})
}

func TestRestart(t *testing.T) {
	eachPrivate(t, func(t *testing.T, s *Server) {
		before, passwordBefore := s.Account(t)
		start := time.Now()
		s.Restart(t)
		t.Logf("restarted in %v", time.Since(start))
		if !signIn(t, s, before, passwordBefore) {
			t.Error("an account was lost at the restart")
		}
		s.Kill(t)
		if c, err := net.Dial("tcp", s.Addr); err == nil {
			c.Close()
			t.Error("a killed server takes connections")
		}
		s.Start(t)
		if !signIn(t, s, before, passwordBefore) {
			t.Error("an account was lost when the server was killed")
		}
	})
}

func TestClose(t *testing.T) {
	each(t, func(t *testing.T, shared *Server) {
		start := time.Now()
		s, err := Open(shared.Name) // beside the first
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("started in %v", time.Since(start))
		pid := s.backend.pid()
		if address, password := s.Account(t); !signIn(t, s, address, password) {
			t.Error("the second server refused its account")
		}
		s.Close()
		s.Close()
		if pid != 0 {
			waitGone(t, pid)
		}
		if c, err := net.Dial("tcp", s.Addr); err == nil {
			c.Close()
			t.Error("a closed server takes connections")
		}
		openTCP(t, shared.Addr, shared.Domain).until(t, "<starttls")
	})
}

// abandon is this test binary started again by TestAbandoned: it starts a
// server and is killed.
func abandon() {
	s, err := Open(os.Getenv("TESTBED_ABANDON"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.backend.pid(), s.backend.(interface{ folder() string }).folder())
	select {}
}

func (p *process) folder() string { return p.dir }

func TestAbandoned(t *testing.T) {
	each(t, func(t *testing.T, s *Server) {
		if s.backend.pid() == 0 {
			return // it lives in this process
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "TESTBED_ABANDON="+s.Name)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		cmd.Process.Kill()
		cmd.Wait()
		number, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		pid, convErr := strconv.Atoi(number)
		if err != nil || convErr != nil || dir == "" {
			t.Fatalf("%q, %v", line, err)
		}
		waitGone(t, pid)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(dir); os.IsNotExist(err) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s was left behind", dir)
			}
		}
	})
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

func TestMissingServer(t *testing.T) {
	t.Setenv("CONFAB_PROSODY", filepath.Join(t.TempDir(), "prosody"))
	if s, err := Open(Prosody); err == nil {
		s.Close()
		t.Error("a Prosody that is not there was started")
	}
	if _, err := Open("nonesuch"); err == nil {
		t.Error("a server of no known kind was started")
	}
}

func TestSelected(t *testing.T) {
	for env, want := range map[string]string{
		"": "[embedded]", " prosody, ejabberd ,": "[prosody ejabberd]",
	} {
		t.Setenv("CONFAB_SERVERS", env)
		if got := fmt.Sprint(Selected()); got != want {
			t.Errorf("%q: %s, want %s", env, got, want)
		}
	}
}

func TestAtLeast(t *testing.T) {
	for _, c := range []struct {
		version, least string
		want           bool
	}{
		{"13.0.1", "13", true}, {"0.12.3", "13", false}, {"0.12.3", "0.12", true},
		{"23.01-1", "23.01", true}, {"23.01-1", "23.10", false}, {"24.12", "23.10", true}, {"13", "13.0.1", false},
	} {
		if got := atLeast(c.version, c.least); got != c.want {
			t.Errorf("atLeast(%q, %q) = %v", c.version, c.least, got)
		}
	}
}
