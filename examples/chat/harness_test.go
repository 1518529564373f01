package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// program is the path of the program, which is built once, with the race detector if the
// tests have it.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "confab-chat-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "chat")
	args := []string{"build", "-o", program}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		os.Exit(1)
	}
	code := testbed.Run(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// person is somebody who sits at a terminal.
type person struct {
	t        *testing.T
	address  jid.JID
	password string
	folder   string // of the data
	saved    string // of what was saved
	server   string
	ask      bool // for the password
	ca       string

	cmd  *exec.Cmd
	tty  *os.File
	term *terminal
	news chan struct{} // something was drawn
	gone chan struct{} // nothing will be
}

// sit makes somebody with an account on a server, who has not started the program yet.
func sit(t *testing.T, s *testbed.Server) *person {
	address, password := s.Account(t)
	p := &person{t: t, address: jid.MustParse(address), password: password, folder: t.TempDir(), saved: t.TempDir(), server: "xmpp://" + s.Addr}
	p.ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(p.ca, s.CAPEM, 0o600))
	return p
}

// start starts the program, as a person does, and waits until it is online.
func (p *person) start() *person {
	p.t.Helper()
	p.run(p.address.String())
	p.see("[online]")
	return p
}

// run starts the program on a terminal of its own.
func (p *person) run(args ...string) {
	p.t.Helper()
	p.cmd = exec.Command(program, append([]string{"-data", p.folder, "-downloads", p.saved, "-server", p.server, "-local"}, args...)...)
	p.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LANG=C.UTF-8", "SSL_CERT_FILE="+p.ca)
	if !p.ask {
		p.cmd.Env = append(p.cmd.Env, "PASSWORD="+p.password)
	}
	var err error
	p.tty, err = pty.StartWithSize(p.cmd, &pty.Winsize{Rows: 50, Cols: 160})
	require.NoError(p.t, err)
	p.term, p.news, p.gone = newTerminal(160, 50), make(chan struct{}, 1), make(chan struct{})
	tty, term, news, gone := p.tty, p.term, p.news, p.gone
	go func() {
		defer close(gone)
		for buf := make([]byte, 4096); ; {
			n, err := tty.Read(buf)
			_, _ = term.Write(buf[:n])
			select {
			case news <- struct{}{}:
			default:
			}
			if err != nil { // the program has ended
				return
			}
		}
	}()
	cmd := p.cmd
	p.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = tty.Close()
		<-gone
	})
}

// when waits until the screen is as ok says.
func (p *person) when(what string, ok func(screen string) bool) string {
	p.t.Helper()
	late := time.After(testclient.Patience)
	for {
		text := p.term.String()
		if ok(text) {
			return text
		}
		select {
		case <-p.news:
		case <-p.gone:
			if text = p.term.String(); ok(text) {
				return text
			}
			p.t.Fatalf("%s: the program has ended before there was %s on the screen:\n%s", p.address, what, text)
		case <-late:
			p.t.Fatalf("%s: no %s on the screen:\n%s", p.address, what, text)
		}
	}
}

// see waits until all of the texts are on the screen.
func (p *person) see(texts ...string) {
	p.t.Helper()
	p.when(fmt.Sprintf("%q", texts), func(screen string) bool {
		return !slices.ContainsFunc(texts, func(t string) bool { return !strings.Contains(screen, t) })
	})
}

// lose waits until a text is not on the screen any more.
func (p *person) lose(text string) {
	p.t.Helper()
	p.when("end of "+text, func(screen string) bool { return !strings.Contains(screen, text) })
}

// press sends keys.
func (p *person) press(keys string) {
	p.t.Helper()
	_, err := p.tty.WriteString(keys)
	require.NoError(p.t, err)
}

// enter types a line.
func (p *person) enter(format string, args ...any) {
	p.t.Helper()
	p.press(fmt.Sprintf(format, args...) + "\r")
}

// quit ends the program, as a person does.
func (p *person) quit() {
	p.t.Helper()
	p.enter("/quit")
	p.ended(0)
}

// ended waits for the end of the program, with this status.
func (p *person) ended(status int) {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(testclient.Patience):
		p.t.Fatalf("the program does not end:\n%s", p.term.String())
	}
	_ = p.cmd.Wait()
	require.Equal(p.t, status, p.cmd.ProcessState.ExitCode(), p.term.String())
}

// pair makes two who are contacts of each other, and have opened their chat.
func pair(t *testing.T, s *testbed.Server) (romeo, juliet *person) {
	return meet(sit(t, s).start(), sit(t, s).start())
}

func meet(romeo, juliet *person) (*person, *person) {
	romeo.t.Helper()
	romeo.enter("/add %s Juliet", juliet.address)
	juliet.see("wants to see your presence")
	juliet.enter("/accept %s", romeo.address)
	juliet.see("+ " + romeo.address.Localpart() + "@")
	romeo.see("+ Juliet")
	romeo.enter("/chat Juliet")
	romeo.see(juliet.address.String() + " (online)")
	juliet.enter("/chat %s", romeo.address)
	juliet.see(romeo.address.String() + " (online)")
	return romeo, juliet
}
