package disco

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
)

// A Store keeps answers between runs of a program, so that the clients that everybody
// has are asked once and for all. Each client.Store is one. At most 512 values of at
// most 64 KiB are kept, whose keys begin with "disco/": clients of several accounts
// may share a store.
type Store interface {
	// Get returns the value of a key, or an error that is [fs.ErrNotExist].
	Get(ctx context.Context, key string) ([]byte, error)
	// Put sets it.
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes it; that it does not exist is no error.
	Delete(ctx context.Context, key string) error
}

const (
	slots     = 512
	maxStored = 64 << 10
)

// slot returns the key for a hash: one of few, so that a store never grows beyond
// them. Two hashes may fall into one; the newer is kept.
func (a announced) slot() string {
	sum := sha256.Sum256([]byte(a.title()))
	return fmt.Sprintf("disco/caps/%03x", binary.BigEndian.Uint16(sum[:])%slots)
}

// title is the first line of a stored value.
func (a announced) title() string {
	if a.v2 {
		return "2 " + a.algo + " " + a.value + "\n"
	}
	return "1 " + a.algo + " " + a.value + "\n"
}

// load returns the answer with a hash, if it is stored. It is checked again: a store
// is not to be trusted more than an entity.
func (c *Client) load(ctx context.Context, a announced) (Info, bool) {
	if c.store == nil {
		return Info{}, false
	}
	b, err := c.store.Get(ctx, a.slot())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			c.s.Emit(confab.HandlerError{Err: fmt.Errorf("disco: store: %w", err)})
		}
		return Info{}, false
	}
	b, ok := bytes.CutPrefix(b, []byte(a.title()))
	if !ok {
		return Info{}, false
	}
	el, err := stream.Parse(b, limits)
	if err != nil {
		return Info{}, false
	}
	return a.verify(el, "")
}

// save stores an answer whose hash was verified.
func (c *Client) save(ctx context.Context, a announced, b []byte) {
	if c.store == nil || len(b) == 0 || len(b) > maxStored {
		return
	}
	if err := c.store.Put(ctx, a.slot(), append([]byte(a.title()), b...)); err != nil && ctx.Err() == nil {
		c.s.Emit(confab.HandlerError{Err: fmt.Errorf("disco: store: %w", err)})
	}
}
