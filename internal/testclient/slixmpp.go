package testclient

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/confab-im/confab/internal/testbed"
	"github.com/stretchr/testify/require"
)

// Slixmpp is a client that was written by others, in another language: a script of the
// test's own on slixmpp. It does what [Slixmpp.Do] says and tells what it hears.
type Slixmpp struct {
	t   testing.TB
	in  io.Writer
	out chan map[string]any
	// Ready is what it said when it was ready.
	Ready map[string]any
}

const python = "/usr/bin/python3" // Debian's, which has its python3-slixmpp

// StartSlixmpp runs testdata/slix.py until the test ends, and waits until it is ready.
// More arguments are the script's. The test is skipped if there is no slixmpp.
func StartSlixmpp(t testing.TB, s *testbed.Server, address, password string, more ...string) *Slixmpp {
	if err := exec.Command(python, "-c", "import slixmpp").Run(); err != nil {
		s.Skip(t, "slixmpp to talk with (python3-slixmpp)")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, s.CAPEM, 0o600))
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	cmd := exec.Command(python, append([]string{"testdata/slix.py", address, password, host, port, ca}, more...)...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	p := &Slixmpp{t: t, in: in, out: make(chan map[string]any, 10_000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			var e map[string]any
			if json.Unmarshal(sc.Bytes(), &e) == nil {
				p.out <- e
			}
		}
		close(p.out)
	}()
	t.Cleanup(func() {
		_ = in.Close()
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		<-read
		_ = cmd.Wait()
	})
	p.Ready = p.Expect("ready")
	return p
}

// Do writes one line: what to do, and with what.
func (p *Slixmpp) Do(args ...string) {
	p.t.Helper()
	require.NoError(p.t, json.NewEncoder(p.in).Encode(args))
}

// Expect waits for the next line of a kind.
func (p *Slixmpp) Expect(what string) map[string]any {
	p.t.Helper()
	late := time.After(Patience)
	for {
		select {
		case e, ok := <-p.out:
			if !ok {
				p.t.Fatalf("slixmpp ended before %q", what)
			}
			switch e["what"] {
			case what:
				return e
			case "failed":
				p.t.Fatal(e)
			}
		case <-late:
			p.t.Fatalf("no %q from slixmpp", what)
		}
	}
}

// Take returns what it has said and nobody has looked at.
func (p *Slixmpp) Take() (all []map[string]any) {
	for {
		select {
		case e, ok := <-p.out:
			if !ok {
				p.t.Fatal("slixmpp ended")
			}
			all = append(all, e)
		default:
			return all
		}
	}
}
