package confabtest

import (
	"sync"
	"time"
)

// what an item is, for counting.
const (
	kindOther   = iota // stream headers, raw bytes
	kindElement        // no stanza
	kindStanza
)

// item is something to be written: an element, and over WebSocket a message.
type item struct {
	data []byte
	what int
	due  time.Time // not before
}

// queue is what waits to be written to a connection, with a goroutine that writes
// it, and the place where connections are cut. Positions are counted in bytes
// from the beginning of the connection, before encryption.
type queue struct {
	c    *Conn
	max  int
	mu   sync.Mutex
	cond sync.Cond // the state has changed
	done chan struct{}

	items    []item
	size     int   // bytes in items
	total    int64 // bytes ever added
	written  int64
	stanzas  int // ever added
	elements int
	writing  bool
	dead     bool // nothing is written any more
	closing  bool // to be closed when all is written
	muted    bool
	delay    time.Duration

	cutAt       int64 // position, or -1
	cutStanzas  int   // or 0
	cutElements int
}

func newQueue(c *Conn, maxBytes int) *queue {
	q := &queue{c: c, max: maxBytes, cutAt: -1, done: make(chan struct{})}
	q.cond.L = &q.mu
	return q
}

// add queues an item. It never blocks: a connection for which too much waits is
// cut.
func (q *queue) add(it item) {
	if !q.put(it) {
		q.cutNow()
	}
}

func (q *queue) put(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dead || q.closing {
		return true
	}
	if q.size+len(it.data) > q.max {
		return false
	}
	if q.delay > 0 {
		it.due = time.Now().Add(q.delay)
	}
	q.items = append(q.items, it)
	q.size += len(it.data)
	q.total += int64(len(it.data))
	if it.what >= kindElement {
		q.elements++
	}
	if it.what == kindStanza {
		q.stanzas++
	}
	if q.cutStanzas > 0 && it.what == kindStanza && q.stanzas >= q.cutStanzas ||
		q.cutElements > 0 && it.what >= kindElement && q.elements >= q.cutElements {
		q.cutBy(q.total)
	}
	q.cond.Broadcast()
	return true
}

// cutBy has the connection cut at a position, if not earlier.
func (q *queue) cutBy(pos int64) {
	if q.cutAt < 0 || pos < q.cutAt {
		q.cutAt = pos
	}
	q.cond.Broadcast()
}

// seal has the connection cut when all that was added is written.
func (q *queue) seal() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cutBy(q.total)
}

// cutNow cuts the connection.
func (q *queue) cutNow() { q.kill(errCut) }

// finish has the connection closed when all that was added is written.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing = true
	q.cond.Broadcast()
}

// kill ends the queue and closes the connection, with an error if it is to look
// like one of the network.
func (q *queue) kill(err error) {
	q.mu.Lock()
	q.dead = true
	q.items, q.size = nil, 0
	q.cond.Broadcast()
	q.mu.Unlock()
	q.c.gate.close()
	if m, ok := q.c.raw.(*memConn); ok && err != nil {
		m.reset()
		return
	}
	_ = q.c.raw.Close()
}

// flush waits until all is written and reports whether it was.
func (q *queue) flush() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.dead && (len(q.items) > 0 || q.writing) {
		q.cond.Wait()
	}
	return !q.dead
}

// broken ends the queue since nothing can be written any more. What the client
// has sent before the connection broke is still read.
func (q *queue) broken() {
	q.mu.Lock()
	q.dead = true
	q.items, q.size = nil, 0
	q.cond.Broadcast()
	q.mu.Unlock()
	_ = q.c.raw.SetReadDeadline(time.Now().Add(5 * time.Second))
}

// run writes until the connection has ended.
func (q *queue) run() {
	s := q.c.srv
	defer s.wg.Done()
	defer close(q.done)
	defer func() {
		s.lock()
		defer s.mu.Unlock()
		delete(s.writers, q.c)
	}()
	for {
		batch, cut, ok := q.next()
		if !ok {
			break
		}
		err := q.write(batch)
		q.mu.Lock()
		q.writing = false
		for _, it := range batch {
			q.written += int64(len(it.data))
		}
		q.cond.Broadcast()
		q.mu.Unlock()
		if cut {
			q.cutNow()
			return
		}
		if err != nil {
			q.broken()
			return
		}
	}
	q.mu.Lock()
	dead := q.dead
	q.mu.Unlock()
	if dead {
		q.cutNow()
		return
	}
	q.c.hangUp()
	q.kill(nil)
}

// next returns what is to be written now, and whether the connection is to be cut
// then; or false at the end.
func (q *queue) next() (batch []item, cut, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.dead:
			return nil, false, false
		case q.cutAt >= 0 && q.written >= q.cutAt:
			q.dead = true
			return nil, false, false
		case q.muted:
		case len(q.items) == 0:
			if q.closing {
				return nil, false, false
			}
		default:
			if wait := time.Until(q.items[0].due); !q.items[0].due.IsZero() && wait > 0 {
				t := time.AfterFunc(wait, func() {
					q.mu.Lock()
					defer q.mu.Unlock()
					q.cond.Broadcast()
				})
				q.cond.Wait()
				t.Stop()
				continue
			}
			batch, cut = q.take()
			q.writing = true
			return batch, cut, true
		}
		q.cond.Wait()
	}
}

// take removes what is due and before the cut from the queue.
func (q *queue) take() (batch []item, cut bool) {
	now, pos, n := time.Time{}, q.written, 0
	for n < len(q.items) && !cut {
		it := q.items[n]
		if !it.due.IsZero() {
			if now.IsZero() {
				now = time.Now()
			}
			if it.due.After(now) {
				break
			}
		}
		n++
		if end := pos + int64(len(it.data)); q.cutAt >= 0 && end >= q.cutAt {
			if cut = true; q.c.ws == nil {
				it.data = it.data[:q.cutAt-pos]
			} else if end > q.cutAt {
				break // a message cannot be cut in two
			}
		}
		pos += int64(len(it.data))
		batch = append(batch, it)
		q.size -= len(it.data)
	}
	q.items = q.items[n:]
	if len(q.items) == 0 {
		q.items = nil
	}
	return batch, cut
}

func (q *queue) write(batch []item) error {
	if q.c.ws != nil {
		for _, it := range batch {
			if err := q.c.ws.write(it.data); err != nil {
				return err
			}
		}
		return nil
	}
	var b []byte
	if len(batch) == 1 {
		b = batch[0].data
	} else {
		for _, it := range batch {
			b = append(b, it.data...)
		}
	}
	if len(b) == 0 {
		return nil
	}
	_, err := q.c.netConn().Write(b)
	return err
}
