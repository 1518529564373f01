package muc_test

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
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slixmpp is an occupant that was written by others, in another language.
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

// TestSlixmpp shares a room with slixmpp: what each of the two does is seen by the other.
func TestSlixmpp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room := newRoom(s)
		addr, pw := s.Account(t)
		a := someone(t, s)
		ra := a.join(t, room, "alice")
		peer := startSlixmpp(t, s, addr, pw)
		is := func(key string, want any) func(map[string]any) bool {
			return func(e map[string]any) bool { return e[key] == want }
		}
		next := func(what string, ok func(map[string]any) bool) map[string]any {
			for {
				if e := peer.expect(what); ok(e) {
					return e
				}
			}
		}
		peer.do("join", room.String(), "slix")
		assert.Equal(t, []any{"alice", "slix"}, peer.expect("joined")["nicks"])
		a.changes.Next(t, change(muc.Entered, "slix"))

		// Text, in public and in private.
		_, err := ra.Send(a.ctx, "hello, slixmpp")
		require.NoError(t, err)
		assert.Equal(t, "alice", next("message", is("body", "hello, slixmpp"))["nick"])
		peer.do("send", room.String(), "hello, confab")
		assert.Equal(t, "slix", a.heard.Next(t, saying("hello, confab")).Nick)
		_, err = ra.SendPrivate(a.ctx, "slix", "psst")
		require.NoError(t, err)
		assert.Equal(t, "alice", next("private", is("body", "psst"))["nick"])
		peer.do("private", room.String(), "alice", "yes?")
		assert.Equal(t, "slix", a.private.Next(t, nil).Nick)

		// The subject.
		_, err = ra.SetSubject(a.ctx, "Turtles")
		require.NoError(t, err)
		next("subject", is("text", "Turtles"))
		require.NoError(t, ra.SetRole(a.ctx, "slix", muc.Moderator, ""))
		a.changes.Next(t, func(c muc.Change) bool { return c.Kind == muc.Changed && c.Occupant.Role == muc.Moderator })
		peer.do("subject", room.String(), "Snails")
		e := a.subjects.Next(t, func(e muc.Subject) bool { return e.Text == "Snails" })
		assert.Equal(t, "slix", e.Nick)

		// Nicknames.
		require.NoError(t, ra.SetNick(a.ctx, "alicia"))
		assert.Equal(t, "alicia", next("left", is("nick", "alice"))["to"])
		next("there", is("nick", "alicia"))
		peer.do("nick", room.String(), "slack")
		assert.Equal(t, "slix", a.changes.Next(t, change(muc.Renamed, "slack")).Before.Nick)

		// Each throws somebody out.
		bAddr, bPw := s.Account(t)
		b := clientOf(t, s, bAddr, bPw)
		b.join(t, room, "bob")
		peer.do("kick", room.String(), "bob", "enough")
		var me *muc.Error
		require.ErrorAs(t, b.states.Next(t, status(muc.Out)).Err, &me)
		require.ErrorIs(t, me, muc.ErrKicked)
		assert.Equal(t, "enough", me.Reason)
		a.changes.Next(t, change(muc.Kicked, "bob"))
		require.NoError(t, ra.SetRole(a.ctx, "slack", muc.Participant, ""))
		require.NoError(t, ra.Kick(a.ctx, "slack", "you, too"))
		assert.Contains(t, next("left", is("nick", "slack"))["codes"], 307.0)
		a.changes.Next(t, change(muc.Kicked, "slack"))
	})
}
