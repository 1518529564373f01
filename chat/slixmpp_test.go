package chat_test

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

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/require"
)

// slixmpp is a chat partner that was written by others, in another language.
type slixmpp struct {
	t   *testing.T
	in  io.Writer
	out chan map[string]any
}

const python = "/usr/bin/python3" // Debian's, which has its python3-slixmpp

func startSlixmpp(t *testing.T, s *testbed.Server, address, password string) *slixmpp {
	if err := exec.Command(python, "-c", "import slixmpp").Run(); err != nil {
		s.Skip(t, "slixmpp to talk with (python3-slixmpp)")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, s.CAPEM, 0o600))
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	cmd := exec.Command(python, "testdata/slix.py", address, password, host, port, ca)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	p := &slixmpp{t: t, in: in, out: make(chan map[string]any, 1000)}
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
	p.expect("ready")
	return p
}

func (p *slixmpp) do(args ...string) {
	p.t.Helper()
	require.NoError(p.t, json.NewEncoder(p.in).Encode(args))
}

// expect waits for the next line of a kind.
func (p *slixmpp) expect(what string) map[string]any {
	p.t.Helper()
	late := time.After(testclient.Patience)
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

// TestSlixmpp chats with slixmpp in both directions.
func TestSlixmpp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		cfg := chat.Config{Reveal: everybody}
		phone := signIn(t, testclient.Config(s, a, pw), cfg)
		desk := signIn(t, testclient.Config(s, a, pw), cfg)
		ctx := phone.ctx
		peer := startSlixmpp(t, s, b, pw2)
		v := phone.chats.With(mustParse(b))
		own := phone.bare().String()

		// From us.
		sent, err := v.Send(ctx, "hello, slixmpp")
		require.NoError(t, err)
		got := peer.expect("message")
		require.Equal(t, "hello, slixmpp", got["body"])
		require.Equal(t, sent.ID, got["id"])
		require.NoError(t, sent.Wait(ctx, confab.Received), "slixmpp gives a receipt")
		require.Equal(t, "hello, slixmpp", desk.own.Next(t, nil).Text)
		require.NoError(t, v.State(ctx, chat.Composing))
		peer.expect("composing")
		_, err = v.Edit(ctx, sent.ID, "hello, Slixmpp")
		require.NoError(t, err)
		got = peer.expect("edit")
		require.Equal(t, "hello, Slixmpp", got["body"])
		require.Equal(t, sent.ID, got["id"])

		// To us, on both devices.
		peer.do("composing", own)
		require.Equal(t, chat.Composing, phone.typing.Next(t, func(e chat.Typing) bool { return e.State == chat.Composing }).State)
		peer.do("send", own, "slix-1", "hello, confab")
		for _, p := range []*person{phone, desk} {
			m := p.heard.Next(t, saying("hello, confab"))
			require.Equal(t, "slix-1", m.ID)
		}
		require.Equal(t, "slix-1", peer.expect("receipt")["id"])
		peer.do("edit", own, "slix-1", "hello, Confab")
		for _, p := range []*person{phone, desk} {
			e := p.edits.Next(t, func(e chat.Edited) bool { return !e.Self })
			require.Equal(t, "slix-1", e.Replaces)
			require.Equal(t, "hello, Confab", e.Text)
		}
		peer.do("react", own, sent.ID, "👋", "🐢")
		for _, p := range []*person{phone, desk} {
			r := p.reacts.Next(t, nil)
			require.Equal(t, sent.ID, r.ReactsTo)
			require.ElementsMatch(t, []string{"👋", "🐢"}, r.Reactions)
		}
		_, err = v.React(ctx, "slix-1", "❤️")
		require.NoError(t, err)
		got = peer.expect("reactions")
		require.Equal(t, "slix-1", got["id"])
		require.Equal(t, []any{"❤️"}, got["values"])

		// What the second device says is copied, too.
		_, err = desk.chats.With(mustParse(b)).Send(ctx, "from the desk")
		require.NoError(t, err)
		require.Equal(t, "from the desk", peer.expect("message")["body"])
		require.Equal(t, "from the desk", phone.own.Next(t, func(o chat.OwnMessage) bool { return o.Source == confab.CarbonOut }).Text)
	})
}
