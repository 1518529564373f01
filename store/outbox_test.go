package store_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// sendAway is a process that sends messages until it is killed: to the account in To,
// named after the run. It prints the name of each that is kept. With To "" it sends what
// was left.
func sendAway(arg string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	var cfg struct {
		readerConfig
		To, Run string
	}
	fail(json.Unmarshal([]byte(arg), &cfg))
	db, err := store.Open(cfg.Path)
	fail(err)
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM([]byte(cfg.CA))
	c, err := client.New(client.Config{Address: cfg.Address, Password: cfg.Password, Server: "xmpp://" + cfg.Server, Store: db,
		TLS: &tls.Config{RootCAs: ca}, BackoffMin: 10 * time.Millisecond})
	fail(err)
	out := db.Outbox(c, mam.New(c, mam.Config{NoFollow: true}))
	chats := chat.New(out, chat.Config{})
	go func() {
		for i := 0; cfg.To != ""; i++ {
			text := fmt.Sprintf("%s number %d", cfg.Run, i)
			_, err := chats.With(jid.MustParse(cfg.To)).Send(context.Background(), text)
			fail(err)
			fmt.Println(text)
		}
		for {
			left, err := out.Unsent(context.Background())
			fail(err)
			if len(left) == 0 {
				fmt.Println("nothing is left")
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	fail(c.Run(context.Background()))
}

// TestOutboxKill kills a process while it sends, again and again: every message that it
// has said is kept arrives, once.
func TestOutboxKill(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	require.NoError(t, srv.Start())
	var mu sync.Mutex
	heard := map[string]int{}
	bob := testclient.Up(t, testclient.Embedded(srv, "bob"), func(c *client.Client) {
		confab.On(c, func(_ context.Context, m *confab.Message) { // of no package that drops copies
			mu.Lock()
			defer mu.Unlock()
			heard[m.Body]++
		})
	})
	cfg := map[string]any{"Path": filepath.Join(t.TempDir(), "x.db"), "Address": srv.AddAccount("alice", "pw"), "Password": "pw", "Server": srv.Addr(), "CA": string(srv.CAPEM())}
	kept := map[string]bool{}
	run := func(name string, to jid.JID, until func(line string) bool) {
		cfg["To"], cfg["Run"] = "", name
		if name != "" {
			cfg["To"] = to.String()
		}
		arg, err := json.Marshal(cfg)
		require.NoError(t, err)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CONFAB_OUTBOX_CHILD="+string(arg))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		killed := false
		for sc := bufio.NewScanner(out); sc.Scan(); {
			line := sc.Text()
			require.NotContains(t, line, "failed:")
			if strings.Contains(line, "number") {
				kept[line] = true
			}
			if !killed && until(line) {
				killed = true
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()
	}
	to := bob.LocalAddr().Bare()
	for i := range 8 {
		n := 1 + rand.IntN(120)
		run(fmt.Sprint("run ", i), to, func(string) bool { n--; return n == 0 })
	}
	run("", to, func(line string) bool { return line == "nothing is left" })
	require.True(t, testclient.Eventually(func() bool {
		mu.Lock()
		defer mu.Unlock()
		for text := range kept {
			if heard[text] == 0 {
				return false
			}
		}
		return true
	}), "something is missing")
	mu.Lock()
	defer mu.Unlock()
	for text, times := range heard {
		require.Equal(t, 1, times, text)
	}
	require.GreaterOrEqual(t, len(kept), 8)
	t.Logf("%d messages said to be kept, %d arrived", len(kept), len(heard))
}

func TestOutbox(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	ctx := testclient.Context(t)
	bob := testclient.Up(t, testclient.Embedded(srv, "bob"))
	var out *store.Outbox
	var left *testclient.Seen[store.Left]
	cfg := testclient.Embedded(srv, "alice")
	setup := func(c *client.Client) {
		out = db.Outbox(c, mam.New(c, mam.Config{NoFollow: true}))
		left = testclient.Watch[store.Left](c)
	}
	alice := testclient.Up(t, cfg, setup)
	unsent := func() (n int) {
		all, err := out.Unsent(ctx)
		require.NoError(t, err)
		return len(all)
	}
	_, err := out.SendMessage(ctx, confab.Draft{Body: "to nobody"})
	require.Error(t, err)
	require.Zero(t, unsent(), "what cannot be sent is not kept")
	sent, err := out.SendMessage(ctx, confab.Draft{To: bob.LocalAddr().Bare(), Body: "hi", Extra: []any{confab.El("urn:example:x", "x").SetText("<&>")}})
	require.NoError(t, err)
	require.NoError(t, sent.Wait(ctx, confab.Acked))
	require.True(t, testclient.Eventually(func() bool { return unsent() == 0 }))
	_, err = out.SendMessage(ctx, confab.Draft{To: bob.LocalAddr().Bare(), Extra: []any{confab.El("http://jabber.org/protocol/chatstates", "composing")}})
	require.NoError(t, err)
	require.Zero(t, unsent(), "typing is of the moment")
	require.Empty(t, left.All())

	// While there is no network it is kept, with all that is in it; a later run sends it.
	alice.Stop(t)
	heard := testclient.Watch[*confab.Message](bob)
	c, err := client.New(cfg)
	require.NoError(t, err)
	setup(c)
	_, err = out.SendMessage(ctx, confab.Draft{ID: "later", To: bob.LocalAddr().Bare(), Body: "later", Thread: "t", Extra: []any{confab.El("urn:example:x", "x").SetText("<&>")}})
	require.NoError(t, err)
	_, err = out.SendMessage(ctx, confab.Draft{ID: "later", To: bob.LocalAddr().Bare(), Body: "twice"})
	require.Error(t, err)
	require.Equal(t, 1, unsent())
	testclient.Up(t, cfg, setup)
	m := heard.Next(t, nil)
	require.Equal(t, []string{"later", "later", "t", "<&>"}, []string{m.ID, m.Body, m.Thread, m.Stanza.ChildText("urn:example:x", "x")})
	require.True(t, testclient.Eventually(func() bool { return unsent() == 0 }))
}

// TestOutboxRoom: what was left for a room is sent when the user is in it, once.
func TestOutboxRoom(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	ctx := testclient.Context(t)
	cfg := testclient.Embedded(srv, "alice")
	room := jid.MustParse("hall@rooms." + jid.MustParse(cfg.Address).Domainpart())
	var heard *testclient.Seen[*muc.Message]
	var bobs *muc.Client
	testclient.Up(t, testclient.Embedded(srv, "bob"), func(c *client.Client) {
		bobs, heard = muc.New(c, muc.Config{}), testclient.Watch[*muc.Message](c)
	})
	_, err := bobs.Join(ctx, room, "bob", muc.Create(muc.PublicChannel("Hall")))
	require.NoError(t, err)
	var out *store.Outbox
	var rooms *muc.Client
	var queries atomic.Int32
	setup := func(c *client.Client) {
		archives := mam.New(c, mam.Config{NoFollow: true})
		out = db.Outbox(c, archives)
		rooms = muc.New(out, muc.Config{})
	}
	cfg.Wire = func(e client.WireEvent) {
		if e.Out && strings.Contains(e.XML, mam.NS) {
			queries.Add(1)
		}
	}
	c, err := client.New(cfg) // without a network
	require.NoError(t, err)
	setup(c)
	for i := range 5 {
		_, err = out.SendMessage(ctx, confab.Draft{To: room, Type: stanza.GroupChatMessage, Body: fmt.Sprint("later ", i)})
		require.NoError(t, err)
	}
	alice := testclient.Up(t, cfg, setup)
	_, err = out.SendMessage(ctx, confab.Draft{ID: "now", To: alice.LocalAddr().Bare(), Body: "now"})
	require.NoError(t, err)
	require.True(t, testclient.Eventually(func() bool {
		left, err := out.Unsent(ctx)
		return err == nil && len(left) == 5
	}), "the room waits until it is entered")
	left, err := out.Unsent(ctx)
	require.NoError(t, err)
	require.NoError(t, out.Discard(ctx, left[4].Draft.ID))
	_, err = rooms.Join(ctx, room, "alice")
	require.NoError(t, err)
	for i := range 4 {
		require.Equal(t, fmt.Sprint("later ", i), heard.Next(t, nil).Text)
	}
	require.True(t, testclient.Eventually(func() bool {
		left, err := out.Unsent(ctx)
		return err == nil && len(left) == 0
	}))
	require.EqualValues(t, 1, queries.Load(), "its archive is asked once")
}
