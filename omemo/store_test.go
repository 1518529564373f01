package omemo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// dump returns all that is in a store.
func dump(t *testing.T, s Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, s.View(context.Background(), func(tx Tx) error {
		for _, b := range []string{"a", "b"} {
			if err := tx.Scan(b, "", func(k string, v []byte) error {
				all[b+"/"+k] = string(v)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}))
	return all
}

// TestStores: both stores keep what the contract promises.
func TestStores(t *testing.T) {
	file, err := OpenFileStore(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	ctx := context.Background()
	for name, s := range map[string]Store{"memory": &MemoryStore{}, "file": file} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, s.Update(ctx, func(tx Tx) error {
				for _, k := range []string{"2", "1", "11", "3"} {
					require.NoError(t, tx.Put("a", k, []byte("v"+k)))
				}
				require.NoError(t, tx.Put("b", "empty", nil))
				require.NoError(t, tx.Delete("a", "3"))
				require.NoError(t, tx.Delete("a", "not there"))
				v, err := tx.Get("a", "3")
				require.NoError(t, err)
				require.Nil(t, v)
				var keys []string
				require.NoError(t, tx.Scan("a", "1", func(k string, v []byte) error {
					keys = append(keys, k)
					require.Equal(t, "v"+k, string(v))
					return nil
				}))
				require.Equal(t, []string{"1", "11"}, keys)
				return nil
			}))
			want := dump(t, s)
			require.Equal(t, map[string]string{"a/1": "v1", "a/11": "v11", "a/2": "v2", "b/empty": ""}, want)
			no := errors.New("no")
			require.ErrorIs(t, s.Update(ctx, func(tx Tx) error {
				require.NoError(t, tx.Put("a", "1", []byte("changed")))
				require.NoError(t, tx.Delete("a", "2"))
				return no
			}), no)
			require.Equal(t, want, dump(t, s))
			require.Error(t, s.View(ctx, func(tx Tx) error { return tx.Put("a", "1", nil) }))
			require.Error(t, s.View(ctx, func(tx Tx) error { return tx.Delete("a", "1") }))
			value := []byte("mine")
			require.NoError(t, s.Update(ctx, func(tx Tx) error { return tx.Put("a", "1", value) }))
			value[0] = 'X'
			require.Equal(t, "mine", dump(t, s)["a/1"])
			ended, cancel := context.WithCancel(ctx)
			cancel()
			require.ErrorIs(t, s.Update(ended, func(Tx) error { return nil }), context.Canceled)
		})
	}
}

// TestFileCut cuts a file at every byte: what is there afterwards is what was there after
// one of the transactions.
func TestFileCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	s, err := OpenFileStore(path)
	require.NoError(t, err)
	ctx := context.Background()
	states := map[int64]map[string]string{s.size: dump(t, s)}
	for i := range 8 {
		require.NoError(t, s.Update(ctx, func(tx Tx) error {
			if i == 5 {
				return tx.Delete("a", "3")
			}
			if err := tx.Put("b", "last", []byte{byte(i)}); err != nil {
				return err
			}
			return tx.Put("a", fmt.Sprint(i), []byte("value"))
		}))
		states[s.size] = dump(t, s)
	}
	_, err = OpenFileStore(path)
	if err != nil { // where files can be locked
		require.ErrorContains(t, err, "another program")
	}
	require.NoError(t, s.Close())
	require.Error(t, s.Update(ctx, func(tx Tx) error { return tx.Put("a", "x", nil) }))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	want := map[string]string{}
	for n := range int64(len(whole)) + 1 {
		if now, ok := states[n]; ok {
			want = now
		}
		cut := filepath.Join(dir, "cut")
		require.NoError(t, os.WriteFile(cut, whole[:n], 0o600))
		s, err := OpenFileStore(cut)
		require.NoError(t, err, "cut at %d", n)
		require.Equal(t, want, dump(t, s), "cut at %d", n)
		// It goes on from there.
		require.NoError(t, s.Update(ctx, func(tx Tx) error { return tx.Put("a", "new", []byte("x")) }))
		require.NoError(t, s.Close())
		s, err = OpenFileStore(cut)
		require.NoError(t, err)
		require.Equal(t, "x", dump(t, s)["a/new"])
		require.NoError(t, s.Close())
	}
	// Damage in the middle is no crash, and not passed over.
	bad := append([]byte(nil), whole...)
	bad[len(fileMagic)+10] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad"), bad, 0o600))
	_, err = OpenFileStore(filepath.Join(dir, "bad"))
	require.ErrorContains(t, err, "damaged")
	for name, content := range map[string]string{"newer": fileKind + "2\nxxx", "other": "something else entirely"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		_, err = OpenFileStore(filepath.Join(dir, name))
		require.Error(t, err, name)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
}

// TestFileCompacts: a file does not grow for ever.
func TestFileCompacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	s, err := OpenFileStore(path)
	require.NoError(t, err)
	ctx := context.Background()
	value := make([]byte, 100_000)
	for i := range 100 {
		require.NoError(t, s.Update(ctx, func(tx Tx) error {
			value[0] = byte(i)
			return tx.Put("a", fmt.Sprint(i%2), value)
		}))
		require.LessOrEqual(t, s.size, int64(compactAbove+len(value)+1000))
	}
	want := dump(t, s)
	require.NoError(t, s.Close())
	s, err = OpenFileStore(path)
	require.NoError(t, err)
	require.Equal(t, want, dump(t, s))
	require.NoError(t, s.Close())
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(fileMagic))
	f.Add(appendRecord([]byte(fileMagic), table{"a": {"b": []byte("c"), "d": nil}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			changed, n, ok := readRecord(b)
			if !ok {
				completeAfter(b)
				return
			}
			require.LessOrEqual(t, n, len(b))
			again, _, ok := readRecord(appendRecord(nil, changed))
			require.True(t, ok || len(changed) == 0)
			if ok {
				require.Equal(t, changed, again)
			}
			b = b[n:]
		}
	})
}
