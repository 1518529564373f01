package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestFull: while nothing can be written, what comes is kept in memory and written later.
// If it is too much the place in the archive stays where it was, so that nothing is
// missing in the next run.
func TestFull(t *testing.T) {
	defer func(n int) { maxPending = n }(maxPending)
	maxPending = 300
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "x.db")
	d, err := Open(path)
	require.NoError(t, err)
	me, she := jid.MustParse("romeo@example.net"), jid.MustParse("juliet@example.com")
	h := d.History(me)
	n := 0
	comes := func() error {
		n++
		el := confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText("hi")).Set("id", fmt.Sprint(n)).Set("from", she.String())
		m, err := confab.ParseMessage(el, me)
		require.NoError(t, err)
		m.Source = confab.Archive
		return d.take(h, &chat.Message{Message: m, Content: chat.Parse(m), Chat: she, Author: she.String(), ServerID: fmt.Sprint("s", n)})
	}
	full, err := sql.Open("sqlite", "file:/no/such/folder/x.db")
	require.NoError(t, err)
	defer full.Close()
	whole := d.db
	swap := func(db *sql.DB) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.db = db
	}
	place := me.String() + "/mam"
	for _, much := range []int{200, maxPending + 1} {
		swap(full)
		for range much {
			err = comes()
		}
		swap(whole)
		if much < maxPending {
			require.NoError(t, d.Put(ctx, place, []byte("behind all")))
			list, err := h.Conversations(ctx, 0)
			require.NoError(t, err)
			require.Equal(t, much, list[0].Unread)
		}
	}
	require.ErrorContains(t, err, "lost")
	require.Error(t, d.Put(ctx, place, []byte("too far")))
	require.Error(t, d.Update(ctx, func(tx *Tx) error { return tx.Put(place, []byte("too far")) }))
	require.NoError(t, d.Put(ctx, "other", []byte("x")))
	require.NoError(t, d.Close())
	d, err = Open(path)
	require.NoError(t, err)
	v, err := d.Get(ctx, place)
	require.NoError(t, err)
	require.Equal(t, "behind all", string(v))
	require.NoError(t, d.Put(ctx, place, []byte("on")))
	require.NoError(t, d.Close())
}
