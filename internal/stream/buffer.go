package stream

import (
	"io"
	"sync"
)

const (
	smallSize = 1536     // what an idle Reader keeps
	bigSize   = 64 << 10 // what one with much to read borrows
	maxEmpty  = 100      // reads of nothing in a row
)

var bigPool = sync.Pool{New: func() any { return new([bigSize]byte) }}

// buffer holds bytes[start:end], read and not yet consumed.
//
// It is small to begin with. When reads fill that and leave a stanza cut in two,
// there is a load, or a large stanza: then it is a big one from the pool, and
// beyond that one that grows. Once all is consumed it is the small one again, so
// that what blocks in Read between stanzas never holds more.
type buffer struct {
	src        io.Reader
	err        error // came with bytes, which are used first
	bytes      []byte
	start, end int
	small      []byte
	big        *[bigSize]byte // bytes, if they are from the pool
	max        int            // bytes of the largest stanza
}

func (b *buffer) pending() []byte { return b.bytes[b.start:b.end] }

// fill reads at least one byte, or returns an error.
func (b *buffer) fill() error {
	if b.err != nil {
		err := b.err
		b.err = nil // the next Read tells whether it is still so
		return err
	}
	b.room()
	for range maxEmpty {
		n, err := b.src.Read(b.bytes[b.end:])
		if n < 0 || n > len(b.bytes)-b.end {
			return errCount
		}
		b.end += n
		if n > 0 {
			b.err = err
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// room makes room after end. What it copies is at most what was read since it
// last did, so that the cost is linear however small the reads are.
func (b *buffer) room() {
	n := b.end - b.start
	switch {
	case n == 0:
		if b.small == nil {
			b.small = make([]byte, smallSize)
		}
		if len(b.bytes) != smallSize {
			b.use(b.small, nil)
		}
		b.start, b.end = 0, 0
	case len(b.bytes) > bigSize && n <= bigSize/2,
		len(b.bytes) == smallSize && b.end == smallSize:
		big := bigPool.Get().(*[bigSize]byte)
		b.use(big[:], big)
	case b.end < len(b.bytes):
	case n <= len(b.bytes)/2 || len(b.bytes) >= b.max+bigSize:
		// At the full size there is always room, since n <= max.
		copy(b.bytes, b.pending())
		b.start, b.end = 0, n
	default:
		b.use(make([]byte, min(2*len(b.bytes), b.max+bigSize)), nil)
	}
}

// use goes on with another buffer, giving back the one from the pool.
func (b *buffer) use(to []byte, big *[bigSize]byte) {
	b.end = copy(to, b.pending())
	b.start = 0
	if b.big != nil {
		bigPool.Put(b.big)
	}
	b.bytes, b.big = to, big
}

// drop forgets all bytes.
func (b *buffer) drop() {
	b.start, b.end, b.err = 0, 0, nil
	b.use(b.small, nil)
}
