package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/confab-im/confab/omemo"
)

// Keys is the omemo.Store of a [DB].
type Keys struct{ d *DB }

var _ omemo.Store = Keys{}

// Keys returns the store for the keys of encryption.
func (d *DB) Keys() Keys { return Keys{d} }

// Update implements omemo.Store.
func (k Keys) Update(ctx context.Context, f func(omemo.Tx) error) error {
	return k.run(ctx, false, f)
}

// View implements omemo.Store.
func (k Keys) View(ctx context.Context, f func(omemo.Tx) error) error {
	return k.run(ctx, true, f)
}

func (k Keys) run(ctx context.Context, readOnly bool, f func(omemo.Tx) error) error {
	k.d.mu.Lock()
	defer k.d.mu.Unlock()
	if !readOnly {
		return k.d.update(ctx, func(tx conn) error { return f(keysTx{ctx, tx, false}) })
	}
	tx, err := k.d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	return f(keysTx{ctx, tx, true})
}

type keysTx struct {
	ctx      context.Context
	tx       conn
	readOnly bool
}

var errReadOnly = errors.New("store: this transaction may only read")

// bucketName sets the buckets of keys apart from small values.
func bucketName(bucket string) string { return "omemo/" + bucket }

func (t keysTx) Get(bucket, key string) ([]byte, error) {
	return get(t.ctx, t.tx, bucketName(bucket), key)
}

func (t keysTx) Put(bucket, key string, value []byte) error {
	if t.readOnly {
		return errReadOnly
	}
	return put(t.ctx, t.tx, bucketName(bucket), key, value)
}

func (t keysTx) Delete(bucket, key string) error {
	if t.readOnly {
		return errReadOnly
	}
	return remove(t.ctx, t.tx, bucketName(bucket), key)
}

// Scan reads all that it is about before it calls f, so that f may change it.
func (t keysTx) Scan(bucket, prefix string, f func(string, []byte) error) error {
	rows, err := t.tx.QueryContext(t.ctx, "SELECT key, value FROM kv WHERE bucket = ? AND key >= ? ORDER BY key", bucketName(bucket), prefix)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	type entry struct {
		key   string
		value []byte
	}
	var all []entry
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.key, &e.value); err != nil {
			_ = rows.Close()
			return fmt.Errorf("store: %w", err)
		}
		if !strings.HasPrefix(e.key, prefix) {
			break
		}
		all = append(all, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, e := range all {
		if err := f(e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}
