package store_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// readerConfig is what the process that reads needs.
type readerConfig struct {
	Path, Address, Password, Server, CA string
	Limit                               int
}

// readHistory is a process that keeps what it reads, until it is killed. It prints a dot
// for each message that was handled, and a line each time that nothing is missing.
func readHistory(arg string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	var cfg readerConfig
	fail(json.Unmarshal([]byte(arg), &cfg))
	db, err := store.Open(cfg.Path)
	fail(err)
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM([]byte(cfg.CA))
	c, err := client.New(client.Config{Address: cfg.Address, Password: cfg.Password, Server: "xmpp://" + cfg.Server, Store: db,
		TLS: &tls.Config{RootCAs: ca}, BackoffMin: 10 * time.Millisecond})
	fail(err)
	chat.New(c, chat.Config{})
	archives := mam.New(c, mam.Config{Store: db, FirstAge: time.Hour, Limit: cfg.Limit})
	db.History(c.LocalAddr()).Follow(c)
	confab.On(c, func(context.Context, *chat.Message) { fmt.Print(".") })
	confab.On(c, func(_ context.Context, f mam.Failed) { fail(f.Err) })
	confab.On(c, func(ctx context.Context, p mam.Progress) {
		if !p.Done {
			return
		}
		c.Go(func(ctx context.Context) { // what a limit has left out is read beside the rest
			gaps, err := archives.Gaps(ctx, jid.JID{})
			if err != nil {
				return
			}
			for _, g := range gaps {
				_ = archives.Fill(ctx, g)
			}
			if len(gaps) == 0 {
				fmt.Println("\nnothing is missing")
			}
		})
	})
	fail(c.Run(context.Background()))
}

// TestKillCatchUp kills the process that reads an archive while more is said, again and
// again, and cuts its links: what is in the file is the conversation, complete, in order,
// each message once.
func TestKillCatchUp(t *testing.T) {
	stored, kills, seeds := 600, 12, uint64(2)
	if n, err := strconv.ParseUint(os.Getenv("CONFAB_SEEDS"), 10, 64); err == nil {
		stored, kills, seeds = 3000, 25, n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			srv := confabtest.NewServer(confabtest.Config{})
			t.Cleanup(srv.Close)
			require.NoError(t, srv.Start())
			var bobs *chat.Client
			bob := testclient.Up(t, testclient.Embedded(srv, "bob"), func(c *client.Client) { bobs = chat.New(c, chat.Config{}) })
			cfg := readerConfig{Path: filepath.Join(t.TempDir(), "x.db"), Address: srv.AddAccount("alice", "pw"), Password: "pw", Server: srv.Addr(), CA: string(srv.CAPEM())}
			if seed%2 == 1 {
				cfg.Limit = 100
			}
			alice := jid.MustParse(cfg.Address)
			ctx, cancel := context.WithTimeout(context.Background(), 10*testclient.Patience)
			defer cancel()
			n := 0
			say := func() {
				sent, err := bobs.With(alice).Send(ctx, fmt.Sprint("number ", n))
				require.NoError(t, err)
				if n++; n%100 == 0 {
					require.NoError(t, sent.Wait(ctx, confab.Acked))
				}
			}
			for range stored {
				say()
			}
			arg, err := json.Marshal(cfg)
			require.NoError(t, err)
			run := func(until func(out *bufio.Reader)) {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "CONFAB_HISTORY_CHILD="+string(arg))
				out, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				until(bufio.NewReader(out))
				_ = cmd.Process.Kill()
				rest, _ := io.ReadAll(out)
				require.NotContains(t, string(rest), "failed:")
				_ = cmd.Wait()
			}
			for range kills {
				var wg sync.WaitGroup
				more := rnd.IntN(20)
				wg.Go(func() { // goes on meanwhile
					for range more {
						say()
					}
				})
				dots := rnd.IntN(stored / kills * 2)
				run(func(out *bufio.Reader) {
					for i := 0; i < dots; i++ {
						b, err := out.ReadByte()
						if err != nil || b == '\n' {
							break
						}
						if i == dots/2 {
							srv.CutAll()
						}
					}
				})
				wg.Wait()
			}
			run(func(out *bufio.Reader) { // the last may go on to the end
				for {
					line, err := out.ReadString('\n')
					require.NoError(t, err, line)
					if strings.Contains(line, "nothing is missing") {
						return
					}
				}
			})
			db := open(t, cfg.Path)
			es, err := db.History(alice).Entries(ctx, bob.LocalAddr().Bare(), store.Page{Limit: 10 * stored})
			require.NoError(t, err)
			require.Len(t, es, n)
			for i, e := range es {
				require.Equal(t, fmt.Sprint("number ", i), e.Current.Text)
			}
		})
	}
}
