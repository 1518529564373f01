package store_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
)

// TestSamePlace: messages of one moment, with no id or with the same, are on one page or
// on the next, and exported.
func TestSamePlace(t *testing.T) {
	ctx := context.Background()
	for _, id := range []string{"", "same"} {
		h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
		for i := range 20 {
			m := said(juliet, id, 5, fmt.Sprint("word ", i))
			m.ServerID = ""
			if i%2 == 0 || id != "" {
				m.ServerID = fmt.Sprint("server", i)
			}
			m.ArchiveID = m.ServerID
			require.NoError(t, h.Add(ctx, m))
		}
		require.NoError(t, h.Add(ctx, said(juliet, "last", 6, "last")))
		back, forth := 0, 0
		for p := (store.Page{Limit: 7}); ; {
			es, err := h.Entries(ctx, juliet, p)
			require.NoError(t, err)
			if len(es) == 0 {
				break
			}
			back += len(es)
			p.Before = es[0].Message.Place()
		}
		for p := (store.Page{Limit: 7, After: said(juliet, "", 1, "x").Place()}); ; {
			es, err := h.Entries(ctx, juliet, p)
			require.NoError(t, err)
			if len(es) == 0 {
				break
			}
			forth += len(es)
			p.After = es[len(es)-1].Message.Place()
		}
		require.Equal(t, []int{21, 21}, []int{back, forth})
		var out bytes.Buffer
		require.NoError(t, h.Export(ctx, &out, nil))
		require.Equal(t, 21, bytes.Count(out.Bytes(), []byte("\n")))
		found := map[string]bool{}
		for s := (store.Search{Text: "word", Limit: 7}); ; {
			es, err := h.Search(ctx, s)
			require.NoError(t, err)
			if len(es) == 0 {
				break
			}
			for _, e := range es {
				require.False(t, found[e.Current.Text], e.Current.Text)
				found[e.Current.Text] = true
			}
			s.Before = es[len(es)-1].Current.Place()
		}
		require.Len(t, found, 20)
	}
}

// TestStamps: who claims to speak from the end of time stays neither the newest nor read,
// and who claims to speak from before 1970 is seen.
func TestStamps(t *testing.T) {
	ctx := context.Background()
	h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
	future := said(juliet, "f", 5, "future")
	future.Source, future.Received = confab.Offline, future.Stamp
	future.Stamp = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	past := said(juliet, "p", 5, "past")
	past.Chat, past.Stamp = jidOf(1), time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, h.Add(ctx, future, past))
	list, err := h.Conversations(ctx, 0)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, []int{1, 1}, []int{list[0].Unread, list[1].Unread})
	require.NoError(t, h.MarkRead(ctx, juliet, list[0].Last.Message.Place()))
	require.NoError(t, h.Add(ctx, said(juliet, "n", 1000, "now")))
	list, err = h.Conversations(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, "now", list[0].Last.Current.Text)
	require.Equal(t, 1, list[0].Unread)
}

// TestSearchOn: what was corrected later than something else was said hides nothing on
// the next page.
func TestSearchOn(t *testing.T) {
	ctx := context.Background()
	h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
	require.NoError(t, h.Add(ctx, said(juliet, "1", 1, "a word"), said(juliet, "2", 50, "the word"), edited(juliet, "3", 100, "another word", "1")))
	es, err := h.Search(ctx, store.Search{Text: "word", Limit: 1})
	require.NoError(t, err)
	require.Equal(t, "1", es[0].Message.ID)
	es, err = h.Search(ctx, store.Search{Text: "word", Limit: 1, Before: es[0].Current.Place()})
	require.NoError(t, err)
	require.Len(t, es, 1)
	require.Equal(t, "2", es[0].Message.ID)
}
