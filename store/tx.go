package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/confab-im/confab/omemo"
	"mellium.im/xmpp/jid"
)

// A Tx is a transaction over everything in a file: see [DB.Update]. It is good until the
// function that got it returns.
type Tx struct {
	ctx context.Context
	d   *DB
	tx  conn
}

// prepared is a transaction that prepares each statement once.
type prepared struct {
	*sql.Tx
	statements map[string]*sql.Stmt
}

func (p *prepared) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := p.statements[query]; s != nil {
		return s, nil
	}
	s, err := p.PrepareContext(ctx, query)
	if err == nil {
		p.statements[query] = s
	}
	return s, err
}

func (p *prepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (p *prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := p.statement(ctx, query)
	if err != nil { // which the transaction says, too
		return p.Tx.QueryRowContext(ctx, query, args...)
	}
	return s.QueryRowContext(ctx, args...)
}

// Update runs f in one transaction: all that it does is in the file when Update returns
// nil, and nothing of it when it returns an error, such as that of f. Within f only the
// Tx is for use, not the DB.
func (d *DB) Update(ctx context.Context, f func(*Tx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.update(ctx, func(tx conn) error { return f(&Tx{ctx, d, tx}) })
}

// Get is [DB.Get] in the transaction.
func (t *Tx) Get(key string) ([]byte, error) {
	v, err := get(t.ctx, t.tx, small, key)
	if err == nil && v == nil {
		return nil, fmt.Errorf("store: %q: %w", key, fs.ErrNotExist)
	}
	return v, err
}

// Put is [DB.Put] in the transaction.
func (t *Tx) Put(key string, value []byte) error {
	if t.d.holds(key) {
		return errLost
	}
	return put(t.ctx, t.tx, small, key, value)
}

// Delete is [DB.Delete] in the transaction.
func (t *Tx) Delete(key string) error { return remove(t.ctx, t.tx, small, key) }

// Keys are the keys of encryption, as [DB.Keys] has them, in the transaction.
func (t *Tx) Keys() omemo.Tx { return keysTx{t.ctx, t.tx, false} }

// Add is [History.Add] in the transaction.
func (t *Tx) Add(account jid.JID, events ...any) error {
	for _, e := range events {
		if err := t.d.History(account).add(t.ctx, t.tx, e); err != nil {
			return err
		}
	}
	return nil
}

// update runs f in a transaction, with what is pending before it. The lock is held.
func (d *DB) update(ctx context.Context, f func(conn) error) error {
	if d.closed {
		return errClosed
	}
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	c := &prepared{tx, map[string]*sql.Stmt{}}
	for _, p := range d.pending {
		if err := p.h.add(ctx, c, p.event); err != nil {
			return err
		}
	}
	if f != nil {
		if err := f(c); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	clear(d.pending)
	d.pending = d.pending[:0]
	return nil
}

// flush writes what is pending. The lock is held.
func (d *DB) flush(ctx context.Context) error {
	if len(d.pending) == 0 {
		return nil
	}
	return d.update(ctx, nil)
}

// errLost is what keeps places in archives from moving.
var errLost = errors.New("store: messages could not be written and were lost: open the file again, and they are read out of the archive")

var errClosed = errors.New("store: the file is closed")
