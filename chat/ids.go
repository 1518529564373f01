package chat

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// An ordered id is the id of a message that also says when it was made: ten digits
// of milliseconds, a dash and fifteen random digits, base 32. Two devices that edit
// the same message at the same time see their own edit and the other's in different
// orders; the ids let everybody agree on which of the two is the last. Ids of other
// clients have no order; those are ordered by when they were sent.
const (
	digits   = "0123456789abcdefghijklmnopqrstuv"
	timeLen  = 10
	idLen    = timeLen + 1 + 15
	maxAhead = time.Minute // how far the clock of ids may be ahead of the own
	// plausible is how far the time of an id may be from when the message came.
	plausible = 5 * time.Minute
)

// IDs makes ids of messages that say in what order they were made, so that a [Timeline]
// has those of one millisecond in it, too. They never go back, and never behind what was
// seen of others: what answers a message has a later id. The zero value is ready; its
// methods may be called from any goroutine. It is for packages that send messages of
// this package their own way.
type IDs struct {
	mu   sync.Mutex
	last int64 // milliseconds
}

// Next returns a fresh id.
func (c *IDs) Next() string {
	c.mu.Lock()
	c.last = max(time.Now().UnixMilli(), c.last+1)
	ms := c.last
	c.mu.Unlock()
	var b [idLen]byte
	for i := timeLen - 1; i >= 0; i-- {
		b[i] = digits[ms&31]
		ms >>= 5
	}
	b[timeLen] = '-'
	r := rand.Uint64()
	for i := timeLen + 1; i < idLen; i++ {
		if i == timeLen+9 {
			r = rand.Uint64()
		}
		b[i] = digits[r&31]
		r >>= 5
	}
	return string(b[:])
}

// Seen takes note of another's id. Those that are no ordered ids are passed over.
func (c *IDs) Seen(id string) {
	ms, ok := idTime(id)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ms > c.last && ms <= time.Now().Add(maxAhead).UnixMilli() {
		c.last = ms
	}
}

// idTime returns the time of an ordered id in milliseconds.
func idTime(id string) (int64, bool) {
	if len(id) != idLen || id[timeLen] != '-' {
		return 0, false
	}
	var ms int64
	for i := range idLen {
		if i == timeLen {
			continue
		}
		ch := id[i]
		var v byte
		switch {
		case ch >= '0' && ch <= '9':
			v = ch - '0'
		case ch >= 'a' && ch <= 'v':
			v = ch - 'a' + 10
		default:
			return 0, false
		}
		if i < timeLen {
			ms = ms<<5 | int64(v)
		}
	}
	return ms, true
}

func itoa(n int) string { return strconv.Itoa(n) }
