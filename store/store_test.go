package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/roster"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
)

// A DB is the store of every feature that has one.
var (
	_ client.Store    = (*store.DB)(nil)
	_ mam.Store       = (*store.DB)(nil)
	_ disco.Store     = (*store.DB)(nil)
	_ roster.Store    = (*store.DB)(nil)
	_ bookmarks.Store = (*store.DB)(nil)
	_ omemo.Store     = store.Keys{}
)

func TestMain(m *testing.M) {
	if path := os.Getenv("CONFAB_STORE_CHILD"); path != "" {
		child(path)
	}
	if arg := os.Getenv("CONFAB_HISTORY_CHILD"); arg != "" {
		readHistory(arg)
	}
	if arg := os.Getenv("CONFAB_OUTBOX_CHILD"); arg != "" {
		sendAway(arg)
	}
	os.Exit(testbed.Run(m))
}

func open(t testing.TB, path string) *store.DB {
	t.Helper()
	db, err := store.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestSmallValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d.db") // a name with all that a URI gives a meaning to
	db := open(t, path)
	ctx := context.Background()
	_, err := db.Get(ctx, "a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, db.Delete(ctx, "a"))
	for _, v := range [][]byte{[]byte("x"), {}, nil, {0, 255, 0}} {
		require.NoError(t, db.Put(ctx, "a", v))
		got, err := db.Get(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, append([]byte{}, v...), got)
	}
	require.NoError(t, db.Put(ctx, "a\x00b", []byte("apart")))
	got, err := db.Get(ctx, "a\x00b")
	require.NoError(t, err)
	require.Equal(t, "apart", string(got))
	require.NoError(t, db.Delete(ctx, "a"))
	_, err = db.Get(ctx, "a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)

	_, err = store.Open(path)
	require.ErrorIs(t, err, store.ErrInUse)
	require.NoError(t, db.Close())
	require.Error(t, db.Put(ctx, "a", nil))
	got, err = open(t, path).Get(ctx, "a\x00b")
	require.NoError(t, err)
	require.Equal(t, "apart", string(got))
}

func TestNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	require.NoError(t, open(t, path).Close())
	raw, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = raw.Exec("PRAGMA user_version = 1000")
	require.NoError(t, err)
	require.NoError(t, raw.Close())
	_, err = store.Open(path)
	require.ErrorIs(t, err, store.ErrNewer)
	require.NoError(t, os.WriteFile(path, []byte("this is no database, but it is long enough to be taken for one"), 0o600))
	_, err = store.Open(path)
	require.Error(t, err)
}

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := open(t, path).Keys()
	ctx := context.Background()
	all := func() map[string]string {
		m := map[string]string{}
		require.NoError(t, s.View(ctx, func(tx omemo.Tx) error {
			return tx.Scan("b", "", func(k string, v []byte) error { m[k] = string(v); return nil })
		}))
		return m
	}
	require.NoError(t, s.Update(ctx, func(tx omemo.Tx) error {
		for _, k := range []string{"2", "1", "1\x001", "1\xff", "3"} {
			require.NoError(t, tx.Put("b", k, []byte("v"+k)))
		}
		require.NoError(t, tx.Put("other", "1", nil))
		require.NoError(t, tx.Delete("b", "3"))
		v, err := tx.Get("b", "3")
		require.NoError(t, err)
		require.Nil(t, v)
		v, err = tx.Get("other", "1")
		require.NoError(t, err)
		require.Equal(t, []byte{}, v)
		var keys []string
		require.NoError(t, tx.Scan("b", "1", func(k string, _ []byte) error {
			keys = append(keys, k)
			return tx.Put("b", "4", []byte("within"))
		}))
		require.Equal(t, []string{"1", "1\x001", "1\xff"}, keys)
		return nil
	}))
	want := all()
	require.Len(t, want, 5)
	no := errors.New("no")
	require.ErrorIs(t, s.Update(ctx, func(tx omemo.Tx) error {
		require.NoError(t, tx.Put("b", "1", []byte("changed")))
		require.NoError(t, tx.Delete("b", "2"))
		return no
	}), no)
	require.Equal(t, want, all())
	require.Error(t, s.View(ctx, func(tx omemo.Tx) error { return tx.Put("b", "1", nil) }))
	require.Error(t, s.View(ctx, func(tx omemo.Tx) error { return tx.Delete("b", "1") }))
	require.Equal(t, want, all())
	func() { // a function that panics leaves nothing, and nobody locked out
		defer func() { require.NotNil(t, recover()) }()
		_ = s.Update(ctx, func(tx omemo.Tx) error {
			require.NoError(t, tx.Put("b", "1", []byte("changed")))
			panic("no")
		})
	}()
	require.Equal(t, want, all())
}

// child commits numbers, and says so after each. Two keys always have the same.
func child(path string) {
	db, err := store.Open(path)
	if err != nil {
		fmt.Println("cannot open:", err)
		os.Exit(1)
	}
	ctx := context.Background()
	for n := uint64(1); ; n++ {
		err := db.Keys().Update(ctx, func(tx omemo.Tx) error {
			b := binary.BigEndian.AppendUint64(nil, n)
			if err := tx.Put("b", "one", b); err != nil {
				return err
			}
			if err := tx.Put("b", strconv.FormatUint(n%50, 10), make([]byte, 3000)); err != nil {
				return err
			}
			return tx.Put("b", "two", b)
		})
		if err != nil {
			fmt.Println("cannot write:", err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

// TestKill kills a process while it writes: what it has said is there is there, and
// nothing is there by half.
func TestKill(t *testing.T) {
	for i := range 15 {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.db", i))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CONFAB_STORE_CHILD="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		last, until := uint64(0), uint64(1+rand.IntN(150))
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			n, err := strconv.ParseUint(sc.Text(), 10, 64)
			require.NoError(t, err, sc.Text())
			if last = n; n >= until {
				break
			}
		}
		require.NoError(t, cmd.Process.Kill())
		for sc.Scan() {
			if n, err := strconv.ParseUint(sc.Text(), 10, 64); err == nil {
				last = n
			}
		}
		_ = cmd.Wait()
		require.NoError(t, open(t, path).Keys().View(context.Background(), func(tx omemo.Tx) error {
			one, err := tx.Get("b", "one")
			require.NoError(t, err)
			two, err := tx.Get("b", "two")
			require.NoError(t, err)
			require.Equal(t, one, two)
			require.GreaterOrEqual(t, binary.BigEndian.Uint64(one), last)
			return nil
		}))
	}
}

// TestRestart: a program that keeps everything in one file goes on after a restart.
func TestRestart(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	path := filepath.Join(t.TempDir(), "bot.db")
	ctx := testclient.Context(t)
	start := func(user string, db *store.DB) (*testclient.Client, *chat.Client, *testclient.Seen[*chat.Message]) {
		var chats *chat.Client
		var heard *testclient.Seen[*chat.Message]
		cfg := testclient.Embedded(srv, user)
		cfg.Store = db
		c := testclient.Up(t, cfg, func(c *client.Client) {
			chats = chat.New(c, chat.Config{})
			mam.New(c, mam.Config{Store: db})
			_, err := omemo.New(c, omemo.Config{Store: db.Keys(), Mode: omemo.Required})
			require.NoError(t, err)
			heard = testclient.Watch[*chat.Message](c)
		})
		return c, chats, heard
	}
	db := open(t, path)
	bot, _, heard := start("bot", db)
	person, chats, _ := start("person", open(t, filepath.Join(t.TempDir(), "person.db")))
	say := func(text string) {
		_, err := chats.With(bot.LocalAddr().Bare()).Send(ctx, text)
		require.NoError(t, err)
	}
	say("one")
	require.NotNil(t, heard.Next(t, nil).Seal)
	// What came is dealt with when the events behind it are: until then it comes again.
	type marker struct{}
	behind := testclient.Watch[marker](bot)
	require.NoError(t, bot.Fence(ctx))
	bot.Emit(marker{})
	behind.Next(t, nil)
	require.NoError(t, bot.Close(ctx))
	bot.Stop(t) // Run has returned: nothing uses the file any more
	require.NoError(t, db.Close())
	say("while you were away")
	_, _, heard = start("bot", open(t, path))
	m := heard.Next(t, nil)
	require.Equal(t, "while you were away", m.Text)
	require.NotNil(t, m.Seal)
	require.NotEqual(t, confab.Live, m.Source)
	say("two")
	require.Equal(t, "two", heard.Next(t, nil).Text)
	require.Empty(t, heard.All())
	_ = person
}

func BenchmarkPut(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "x.db"))
	v := make([]byte, 500)
	for i := 0; b.Loop(); i++ {
		if err := db.Put(context.Background(), strconv.Itoa(i%1000), v); err != nil {
			b.Fatal(err)
		}
	}
}
