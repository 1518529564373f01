package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/confab-im/confab/internal/login"
)

// A Store keeps small values between runs of a program: tokens and what is known
// of an account's authentication. Keys begin with the account's bare JID. Values
// hold secrets. A value that Put has returned for must survive a crash. All
// methods may be called from any goroutine.
type Store interface {
	// Get returns the value of a key, or an error that is [fs.ErrNotExist].
	Get(ctx context.Context, key string) ([]byte, error)
	// Put sets it.
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes it; that it does not exist is no error.
	Delete(ctx context.Context, key string) error
}

// MemoryStore is a [Store] that forgets everything when the program ends. Its
// zero value is ready for use. Clients that share one, or a FileStore, also share
// what is derived from a password, which is most of the work of a sign-in.
type MemoryStore struct {
	mu   sync.Mutex
	m    map[string][]byte
	keys login.Keys // not stored
}

// keysOf returns the cache of derived keys that belongs to a store.
func keysOf(s Store) *login.Keys {
	switch s := s.(type) {
	case *MemoryStore:
		return &s.keys
	case *FileStore:
		return &s.keys
	}
	return new(login.Keys)
}

// Get implements [Store].
func (s *MemoryStore) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return append([]byte(nil), v...), nil
}

// Put implements [Store].
func (s *MemoryStore) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string][]byte{}
	}
	s.m[key] = append([]byte(nil), value...)
	return nil
}

// Delete implements [Store].
func (s *MemoryStore) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
	return nil
}

// FileStore is a [Store] in one file that only its owner may read. Each change
// writes the file anew and puts it in place of the old one, so a crash leaves
// one or the other. One process may use it at a time.
type FileStore struct {
	path string
	mu   sync.Mutex
	m    map[string][]byte
	keys login.Keys // not stored
}

// NewFileStore opens the store in the file at path, or begins one.
func NewFileStore(path string) (*FileStore, error) {
	s := &FileStore{path: path, m: map[string][]byte{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := json.Unmarshal(b, &s.m); err != nil {
		return nil, fmt.Errorf("client: %s is no store of confab's: %w", path, err)
	}
	return s, nil
}

// Get implements [Store].
func (s *FileStore) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return append([]byte(nil), v...), nil
}

// Put implements [Store].
func (s *FileStore) Put(_ context.Context, key string, value []byte) error {
	return s.change(func(m map[string][]byte) { m[key] = append([]byte(nil), value...) })
}

// Delete implements [Store].
func (s *FileStore) Delete(_ context.Context, key string) error {
	return s.change(func(m map[string][]byte) { delete(m, key) })
}

func (s *FileStore) change(f func(map[string][]byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[string][]byte, len(s.m)+1)
	for k, v := range s.m {
		m[k] = v
	}
	f(m)
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := writeFile(s.path, b); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	s.m = m
	return nil
}

// writeFile replaces a file so that a crash leaves the old one or the new one.
func writeFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
