package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
)

// healthy checks what SQLite and its search think of a file.
func healthy(t *testing.T, path string) {
	t.Helper()
	raw, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer raw.Close()
	var ok string
	require.NoError(t, raw.QueryRow("PRAGMA integrity_check").Scan(&ok))
	require.Equal(t, "ok", ok)
	_, err = raw.Exec("INSERT INTO texts (texts) VALUES ('integrity-check')")
	require.NoError(t, err)
	rows, err := raw.Query("PRAGMA foreign_key_check")
	require.NoError(t, err)
	require.False(t, rows.Next())
	require.NoError(t, rows.Close())
}

// TestHostile: whatever others send, what follows is kept, found and shown.
func TestHostile(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path)
	h := db.History(romeo)
	strange := said(juliet, "strange", 1, "strange")
	strange.Stamp = time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -14*3600)).UTC()
	old := said(juliet, "old", 2, "old")
	old.Stamp = time.Time{}.Add(time.Second)
	names := said(juliet, "names", 3, "names", confab.El("urn:x", "ä-ö.ü"), confab.El("urn:x y<&>'\"", "x").Set("ß", "1"), confab.El("", "x"))
	events := []any{strange, old, names,
		said(juliet, strings.Repeat("i", 100_000), 4, "a long id"), said(juliet, "", 5, "no id"), said(juliet, "", 6, "no id"),
		said(juliet, "texts", 7, "\u202eodd \U0001F600 \u0301\u0301\u0301 "+strings.Repeat("word ", 50_000)),
		edited(juliet, "e1", 8, "round", "e2"), edited(juliet, "e2", 9, "and round", "e1"), edited(juliet, "e3", 10, "itself", "e3"),
		retracted(juliet, "r1", 11, "r1"), reacted(juliet, "k1", 12, "k1", "x"),
		chat.Displayed{Chat: juliet, From: juliet, ID: "e1"}, chat.Receipt{Chat: juliet, From: juliet, ID: strings.Repeat("i", 100_000)},
	}
	for i := range 3000 { // of one message, before it comes
		events = append(events, edited(juliet, fmt.Sprint("many", i), 100+i, fmt.Sprint("version ", i), "much"))
	}
	events = append(events, said(juliet, "much", 99, "much"))
	for i := range 3000 {
		events = append(events, reacted(juliet, fmt.Sprint("re", i), 4000+i, "much", "x"))
	}
	require.NoError(t, h.Add(ctx, events...))
	require.NoError(t, h.Add(ctx, said(juliet, "last", 90_000, "the last")))
	es, err := h.Entries(ctx, juliet, store.Page{Limit: 100})
	require.NoError(t, err)
	var texts []string
	for _, e := range es {
		texts = append(texts, e.Current.Text)
	}
	for _, want := range []string{"strange", "old", "names", "a long id", "no id", "the last", "version 2999"} {
		require.Contains(t, texts, want)
	}
	_, err = h.Conversations(ctx, 0)
	require.NoError(t, err)
	found, err := h.Search(ctx, store.Search{Text: "version 2999"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, h.Export(ctx, discard{}, nil))

	// Others take nothing back, read nothing and change nothing that is not theirs.
	mine := said(romeo, "mine", 91_000, "mine")
	require.NoError(t, h.Add(ctx, own(mine), retracted(juliet, "r2", 91_001, "mine"), edited(juliet, "e9", 91_002, "forged", "mine"), said(juliet, "mine", 91_003, "the same id")))
	found, err = h.Search(ctx, store.Search{Text: "mine"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "mine", found[0].Current.Text)
	require.Zero(t, found[0].Edits)

	require.NoError(t, h.Add(ctx, retracted(juliet, "r3", 92_000, "much"), retracted(juliet, "r4", 92_001, "much")))
	require.NoError(t, db.Close())
	healthy(t, path)
	db = open(t, path)
	require.NoError(t, db.History(romeo).Delete(ctx, juliet))
	require.NoError(t, db.Close())
	healthy(t, path)
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// TestMigrate: a file of the first version gets the tables of this one, and keeps what it has.
func TestMigrate(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "x.db")
	raw, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	for _, q := range []string{
		"CREATE TABLE kv (bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID",
		"INSERT INTO kv VALUES ('', 'token', 'secret')", "PRAGMA user_version = 1",
	} {
		_, err := raw.Exec(q)
		require.NoError(t, err)
	}
	require.NoError(t, raw.Close())
	db := open(t, path)
	v, err := db.Get(ctx, "token")
	require.NoError(t, err)
	require.Equal(t, "secret", string(v))
	require.NoError(t, db.History(romeo).Add(ctx, said(juliet, "1", 1, "hi")))
	require.NoError(t, db.Close())
	healthy(t, path)
}
