package bookmarks

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/confab-im/confab"
)

// A Store keeps small values between runs of a program. A client.Store is one.
type Store interface {
	// Get returns the value of a key, or an error that is [fs.ErrNotExist].
	Get(ctx context.Context, key string) ([]byte, error)
	// Put sets it.
	Put(ctx context.Context, key string, value []byte) error
}

// kept is a bookmark as the Store has it: as an item of the node.
type kept struct{ ID, XML string }

func (b *Bookmarks) storeKey() string { return b.s.LocalAddr().Bare().String() + "/bookmarks" }

// recall reads the list of the last run, so that it is there before the first sign-in.
func (b *Bookmarks) recall(ctx context.Context) error {
	v, err := b.store.Get(ctx, b.storeKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var items []kept
	if err == nil {
		err = json.Unmarshal(v, &items)
	}
	if err != nil {
		return fmt.Errorf("bookmarks: Config.Store: %w", err)
	}
	for _, it := range items[:min(len(items), Max)] {
		el, err := confab.ReadElement(xml.NewDecoder(bytes.NewReader([]byte(it.XML))))
		if err != nil {
			return fmt.Errorf("bookmarks: Config.Store: %w", err)
		}
		if m, err := parse(it.ID, el); err == nil {
			b.list[m.key()] = m
		}
	}
	b.loaded = true // what is new since is told
	return nil
}

// save keeps the list as it is now.
func (b *Bookmarks) save(ctx context.Context) error {
	b.mu.Lock()
	list := slices.SortedFunc(maps.Values(b.list), func(x, y *Bookmark) int { return bytes.Compare([]byte(x.key()), []byte(y.key())) })
	b.mu.Unlock()
	items := []kept{}
	for _, m := range list {
		c := m.copy()
		c.was = nil // all of it
		text, err := c.apply(nil).AppendXML(nil, "")
		if err != nil {
			return fmt.Errorf("bookmarks: keeping %v: %w", m.Room, err)
		}
		items = append(items, kept{m.id, string(text)})
	}
	v, err := json.Marshal(items)
	if err != nil {
		return err
	}
	if err := b.store.Put(ctx, b.storeKey(), v); err != nil {
		return fmt.Errorf("bookmarks: Config.Store: %w", err)
	}
	return nil
}
