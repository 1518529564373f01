package omemo

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A Store keeps the keys of a device between runs of a program. What is in it is
// secret. Values are small; a bucket has up to some ten thousand keys.
//
// The contract, on which the safety of all keys stands:
//
//   - Update is one transaction. When it returns nil, everything that f has put and
//     deleted will be there after a crash of the program or of the machine. When it
//     returns an error, nothing of it will. There is no third outcome.
//   - A transaction sees its own changes, and no half of another.
//   - A store that was restored from a copy made earlier is not the same store: its
//     keys were used since. Make a new device then; see [Export].
//   - One program at a time uses the state of a device.
//
// A Manager runs one transaction for each message that it encrypts, for however many
// devices, or decrypts.
type Store interface {
	// Update runs f in a transaction that may change the store. The error of f ends
	// it without a trace, and is returned as it is.
	Update(ctx context.Context, f func(Tx) error) error
	// View runs f in one that may not.
	View(ctx context.Context, f func(Tx) error) error
}

// A Tx is a transaction of a [Store]. It is good until the function that got it
// returns. Buckets are made when something is put into them.
type Tx interface {
	// Get returns the value of a key, nil if there is none. The caller does not
	// change it.
	Get(bucket, key string) ([]byte, error)
	// Put sets a value, of which the store keeps a copy.
	Put(bucket, key string, value []byte) error
	// Delete removes a key; that there is none is no error.
	Delete(bucket, key string) error
	// Scan calls f for every key with a prefix, in the order of the keys.
	Scan(bucket, prefix string, f func(key string, value []byte) error) error
}

// errReadOnly is returned by a transaction of View that is told to change something.
var errReadOnly = errors.New("omemo: this transaction may only read")

// MemoryStore is a [Store] that forgets everything when the program ends: a device
// that exists once. Its zero value is ready for use.
type MemoryStore struct {
	mu sync.RWMutex
	m  table
}

// table has buckets of keys.
type table map[string]map[string][]byte

func (t table) put(bucket, key string, value []byte) {
	if t[bucket] == nil {
		t[bucket] = map[string][]byte{}
	}
	t[bucket][key] = value
}

// Update implements [Store].
func (s *MemoryStore) Update(ctx context.Context, f func(Tx) error) error {
	return s.update(ctx, f, nil)
}

// update runs f and has commit make its changes durable before they are made.
func (s *MemoryStore) update(ctx context.Context, f func(Tx) error, commit func(table) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = table{}
	}
	tx := &memoryTx{base: s.m, changed: table{}}
	if err := f(tx); err != nil {
		return err
	}
	if len(tx.changed) == 0 {
		return nil
	}
	if commit != nil {
		if err := commit(tx.changed); err != nil {
			return err
		}
	}
	s.m.apply(tx.changed)
	return nil
}

// apply makes changes: a nil value is a key that is gone.
func (t table) apply(changed table) {
	for b, keys := range changed {
		for k, v := range keys {
			if v == nil {
				delete(t[b], k)
			} else {
				t.put(b, k, v)
			}
		}
	}
}

// View implements [Store].
func (s *MemoryStore) View(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f(&memoryTx{base: s.m})
}

// memoryTx are changes on top of a table; changed is nil if there may be none.
type memoryTx struct{ base, changed table }

func (t *memoryTx) Get(bucket, key string) ([]byte, error) {
	if v, ok := t.changed[bucket][key]; ok {
		return v, nil
	}
	return t.base[bucket][key], nil
}

func (t *memoryTx) Put(bucket, key string, value []byte) error {
	if t.changed == nil {
		return errReadOnly
	}
	t.changed.put(bucket, key, append([]byte{}, value...))
	return nil
}

func (t *memoryTx) Delete(bucket, key string) error {
	if t.changed == nil {
		return errReadOnly
	}
	t.changed.put(bucket, key, nil)
	return nil
}

func (t *memoryTx) Scan(bucket, prefix string, f func(string, []byte) error) error {
	found := map[string][]byte{}
	for _, from := range [...]map[string][]byte{t.base[bucket], t.changed[bucket]} {
		for k, v := range from {
			if strings.HasPrefix(k, prefix) {
				found[k] = v
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(found)) {
		if found[k] == nil {
			continue
		}
		if err := f(k, found[k]); err != nil {
			return err
		}
	}
	return nil
}

// deleteAll deletes the keys with a prefix.
func deleteAll(tx Tx, bucket, prefix string) error {
	var keys []string
	err := tx.Scan(bucket, prefix, func(k string, _ []byte) error {
		keys = append(keys, k)
		return nil
	})
	for _, k := range keys {
		if err == nil {
			err = tx.Delete(bucket, k)
		}
	}
	return err
}

// scoped is the part of a store that belongs to one account.
type scoped struct {
	store  Store
	prefix string
}

func (s scoped) update(ctx context.Context, f func(Tx) error) error {
	return s.store.Update(ctx, func(tx Tx) error { return f(scopedTx{tx, s.prefix}) })
}

func (s scoped) view(ctx context.Context, f func(Tx) error) error {
	return s.store.View(ctx, func(tx Tx) error { return f(scopedTx{tx, s.prefix}) })
}

type scopedTx struct {
	tx     Tx
	prefix string
}

func (t scopedTx) Get(b, k string) ([]byte, error) { return t.tx.Get(t.prefix+b, k) }
func (t scopedTx) Put(b, k string, v []byte) error { return t.tx.Put(t.prefix+b, k, v) }
func (t scopedTx) Delete(b, k string) error        { return t.tx.Delete(t.prefix+b, k) }
func (t scopedTx) Scan(b, p string, f func(string, []byte) error) error {
	return t.tx.Scan(t.prefix+b, p, f)
}
