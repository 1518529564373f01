package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/confab-im/confab/store"
)

// fill puts n messages of a hundred conversations into a file, in batches.
func fill(b testing.TB, h *store.History, from, n int) {
	words := [...]string{"her", "come", "and", "will", "this", "use", "go", "other", "hot", "of", "day", "he", "had", "people", "who", "more", "ladder"}
	for done := 0; done < n; {
		var batch []any
		for range min(250, n-done) {
			i := from + done
			m := said(juliet, fmt.Sprint("id", i), i, fmt.Sprintf("%s %s %s %s word%d", words[i%17], words[i/17%17], words[i/5%17], words[i/3%17], i))
			m.Chat = jidOf(i % 100)
			batch = append(batch, m)
			done++
		}
		if err := h.Add(context.Background(), batch...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHistory: 100,000 messages in batches; then pages, the list of conversations,
// and searches over them. Memory is that of the heap, after all of it.
func BenchmarkHistory(b *testing.B) {
	const n = 100_000
	db := open(b, filepath.Join(b.TempDir(), "x.db"))
	h := db.History(romeo)
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	ctx := context.Background()
	before := heap()
	start := time.Now()
	fill(b, h, 0, n)
	took := time.Since(start)
	check := func(n int, err error) {
		b.Helper()
		if err != nil || n == 0 {
			b.Fatal(n, err)
		}
	}
	b.Run("page", func(b *testing.B) {
		for b.Loop() {
			es, err := h.Entries(ctx, jidOf(5), store.Page{})
			check(len(es), err)
		}
	})
	b.Run("conversations", func(b *testing.B) {
		for b.Loop() {
			list, err := h.Conversations(ctx, 0)
			check(len(list), err)
		}
	})
	b.Run("search/rare", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			es, err := h.Search(ctx, store.Search{Text: fmt.Sprint("word", i%n)})
			check(len(es), err)
		}
	})
	b.Run("search/common", func(b *testing.B) {
		for b.Loop() {
			es, err := h.Search(ctx, store.Search{Text: "ladder people"})
			check(len(es), err)
		}
	})
	b.Logf("%d messages in %v (%.0f a second); heap before %.1f MB, after %.1f MB", n, took, n/took.Seconds(), before, heap())
}
