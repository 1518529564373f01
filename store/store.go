package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // SQLite in Go
)

// version is that of the tables: see migrations.
const version = 3

// migrations bring a file from the version of their index to the next.
var migrations = [version]string{
	`CREATE TABLE kv (bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID`,
	historyTables,
	outboxTable,
}

// small is the bucket of what Get, Put and Delete are about.
const small = ""

// ErrNewer says that a newer version of this package has made a file.
var ErrNewer = errors.New("store: the file was made by a newer version of this library")

// ErrInUse says that another program has a file.
var ErrInUse = errors.New("store: another program uses the file")

// DB is an SQLite file. Its methods may be called from any goroutine.
type DB struct {
	db *sql.DB
	// mu lets one transaction in at a time, so that those of the same program wait for
	// each other instead of failing.
	mu sync.Mutex
	// pending is what was read out of archives and goes into the file with the next
	// transaction, or soon.
	pending []pending
	soon    *time.Timer
	// lost says that something was to be kept and is not: places in archives stay as
	// they are from then on, so that the next run reads it again.
	lost   bool
	closed bool
}

// Open opens a file, or makes one that only its owner may read. Close it when Run of the
// clients that use it has returned.
func Open(path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	// SQLite would make it for everybody to read.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	pragmas := url.Values{"_pragma": {
		"locking_mode(EXCLUSIVE)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "busy_timeout(2000)", "trusted_schema(0)",
	}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: pragmas.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db.SetMaxOpenConns(1)
	d := &DB{db: db}
	if err := d.migrate(context.Background()); err != nil {
		_ = db.Close()
		if isBusy(err) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	return d, nil
}

// isBusy reports whether SQLite has found the file locked.
func isBusy(err error) bool {
	var coded interface{ Code() int }
	return errors.As(err, &coded) && coded.Code()&0xff == 5
}

// migrate brings the file to this version.
func (d *DB) migrate(ctx context.Context) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var have int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	if have > version {
		return fmt.Errorf("%w (tables of version %d, this one knows %d)", ErrNewer, have, version)
	}
	for ; have < version; have++ {
		if _, err := tx.ExecContext(ctx, migrations[have]); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", have+1)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Close closes the file.
func (d *DB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	err := d.flush(context.Background())
	d.closed = true
	if d.soon != nil {
		d.soon.Stop()
	}
	return errors.Join(err, d.db.Close())
}

// Get returns the value of a key, or an error that is [fs.ErrNotExist].
func (d *DB) Get(ctx context.Context, key string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, err := get(ctx, d.db, small, key)
	if err == nil && v == nil {
		return nil, fmt.Errorf("store: %q: %w", key, fs.ErrNotExist)
	}
	return v, err
}

// Put sets the value of a key. It survives a crash when Put has returned.
func (d *DB) Put(ctx context.Context, key string, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holds(key) {
		return errLost
	}
	return d.update(ctx, func(tx conn) error { return put(ctx, tx, small, key, value) })
}

// holds reports whether a key is the place in an archive, and that is not to move. The
// lock is held.
func (d *DB) holds(key string) bool { return d.lost && strings.Contains(key, "/mam") }

// Delete removes a key; that there is none is no error.
func (d *DB) Delete(ctx context.Context, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.update(ctx, func(tx conn) error { return remove(ctx, tx, small, key) })
}

// conn is a database or a transaction.
type conn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// get returns nil for a key that there is not.
func get(ctx context.Context, c conn, bucket, key string) ([]byte, error) {
	v := []byte{}
	err := c.QueryRowContext(ctx, "SELECT value FROM kv WHERE bucket = ? AND key = ?", bucket, key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if v == nil {
		v = []byte{}
	}
	return v, nil
}

func put(ctx context.Context, c conn, bucket, key string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	_, err := c.ExecContext(ctx, "INSERT INTO kv (bucket, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", bucket, key, value)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func remove(ctx context.Context, c conn, bucket, key string) error {
	if _, err := c.ExecContext(ctx, "DELETE FROM kv WHERE bucket = ? AND key = ?", bucket, key); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
