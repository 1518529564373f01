//go:build unix

package omemo_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// killStore ends the process, as kill -9 does, at one of its transactions: before it,
// when all is done but to make it durable, or right after that.
type killStore struct {
	omemo.Store
	at, n int
	when  string
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (s *killStore) Update(ctx context.Context, f func(omemo.Tx) error) error {
	s.n++
	now := s.n == s.at
	if now && s.when == "before" {
		die()
	}
	err := s.Store.Update(ctx, func(tx omemo.Tx) error {
		err := f(tx)
		if now && s.when == "within" {
			die()
		}
		return err
	})
	if now {
		die()
	}
	return err
}

// child is the process that is killed: it echoes what it reads. It runs until its
// standard input ends.
func child() {
	args := strings.Fields(os.Getenv("CONFAB_OMEMO_CHILD"))
	at, _ := strconv.Atoi(args[4])
	pem, err := os.ReadFile(args[3])
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	file, err := omemo.OpenFileStore(args[2])
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Config{Address: args[1], Password: "secret", Server: "xmpp://" + args[0], TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		panic(err)
	}
	chats := chat.New(c, chat.Config{})
	keys, err := omemo.New(c, omemo.Config{Store: &killStore{Store: file, at: at, when: args[5]}, Mode: omemo.Required})
	if err != nil {
		panic(err)
	}
	_ = keys
	confab.On(c, func(ctx context.Context, m *chat.Message) {
		// A message is dealt with when its answer is at the server: until then what is sent
		// is in this process only.
		sent, err := chats.With(m.Chat).Send(ctx, "echo "+m.Text)
		if err == nil {
			err = sent.Wait(ctx, confab.Acked)
		}
		if err != nil {
			fmt.Println("failed", err)
		}
	})
	confab.On(c, func(_ context.Context, e omemo.Undecryptable) { fmt.Println("dark", e.Err) })
	confab.On(c, func(ctx context.Context, _ confab.Ready) { fmt.Println("ready") })
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
		}
		cancel()
	}()
	_ = c.Run(ctx)
	_ = file.Close()
	os.Exit(0)
}

// TestKill kills a process at every transaction, in three ways, while it receives and
// sends. Afterwards every message was read and answered: no key was used for two of
// them, or one of the two would be taken for a copy, and no session was lost.
func TestKill(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{Without: confabtest.Resumption})
	defer srv.Close()
	require.NoError(t, srv.Start())
	romeo := signIn(t, testclient.Embedded(srv, "romeo"), omemo.Config{Mode: omemo.Required})
	address := srv.AddAccount("juliet", "secret")
	juliet := jid.MustParse(address)
	dir := t.TempDir()
	ca, keys := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "keys")
	require.NoError(t, os.WriteFile(ca, srv.CAPEM(), 0o600))

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// run starts the process and returns what it has said when it has ended. Ready is
	// called when it is ready.
	run := func(at int, when string, ready func(stop func(), gone <-chan struct{})) (killed bool) {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("CONFAB_OMEMO_CHILD=%s %s %s %s %d %s", srv.Addr(), address, keys, ca, at, when))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var wg sync.WaitGroup
		gone := make(chan struct{})
		for sc := bufio.NewScanner(out); sc.Scan(); {
			switch line := sc.Text(); {
			case line == "ready":
				wg.Go(func() { ready(func() { _ = in.Close() }, gone) })
			case strings.HasPrefix(line, "dark"):
				t.Error("the process cannot read a message: " + line)
			}
		}
		close(gone)
		_ = in.Close()
		wg.Wait()
		err = cmd.Wait()
		require.NoError(t, ctx.Err())
		return err != nil
	}
	var mu sync.Mutex
	var wanted []string
	say := func(text string) {
		_, err := romeo.chats.With(juliet).Send(ctx, text)
		assert.NoError(t, err)
		mu.Lock()
		defer mu.Unlock()
		wanted = append(wanted, "echo "+text)
	}
	echoed := func() bool {
		have := map[string]bool{}
		for _, m := range romeo.heard.All() {
			have[m.Text] = true
		}
		mu.Lock()
		defer mu.Unlock()
		for _, w := range wanted {
			if !have[w] {
				return false
			}
		}
		return true
	}
	// await waits until all is answered or the process has gone.
	await := func(gone <-chan struct{}) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !echoed() {
			select {
			case <-gone:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
	// The first run only makes the keys.
	run(0, "never", func(stop func(), _ <-chan struct{}) { stop() })
	kills := 0
	for _, when := range []string{"before", "within", "after"} {
		for at := 1; at <= 25; at++ {
			say(fmt.Sprintf("%s %d first", when, at)) // one that waits, and one that comes live
			killed := run(at, when, func(stop func(), gone <-chan struct{}) {
				say(fmt.Sprintf("%s %d then", when, at))
				await(gone)
				stop()
			})
			if killed {
				kills++
			}
		}
	}
	require.False(t, run(0, "never", func(stop func(), gone <-chan struct{}) {
		await(gone)
		stop()
	}))
	t.Logf("killed %d times", kills)
	require.GreaterOrEqual(t, kills, 30)
	require.True(t, echoed())
	require.Empty(t, romeo.dark.All())
	require.Empty(t, romeo.rejected.All())
}
