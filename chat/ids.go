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

// A clock makes ordered ids. It never goes back, and never behind what it has seen
// of others: what answers a message has a later id.
type clock struct {
	mu   sync.Mutex
	last int64 // milliseconds
}

func (c *clock) next() string {
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

// seen takes note of another's id.
func (c *clock) seen(id string) {
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
