package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
)

// kind is what a stanza in the outbox is, as far as it matters when a stream
// was lost: messages are sent again, the rest is made anew by those who care.
type kind uint8

const (
	kindMessage kind = iota
	kindPresence
	kindIQ
)

// entry is one stanza in a chunk.
type entry struct {
	end  int32 // offset in the chunk behind its last byte
	kind kind
	sent *confab.Sent
}

// chunk is a run of stanzas in one buffer. Bytes that are there are never moved
// or changed, so that they can be written while more are appended.
type chunk struct {
	buf     []byte
	entries []entry
	written int // entries that were written
	acked   int // entries that were acknowledged, and are done with
}

// chunkSize is how full a chunk gets. It starts small: most clients say little.
const chunkSize = 32 << 10

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, 1<<10)} }}

func (c *chunk) free() {
	if cap(c.buf) > 2*chunkSize {
		return // it held something huge
	}
	clear(c.entries)
	*c = chunk{buf: c.buf[:0], entries: c.entries[:0]}
	chunks.Put(c)
}

// from returns the offset of entry i.
func (c *chunk) from(i int) int32 {
	if i == 0 {
		return 0
	}
	return c.entries[i-1].end
}

// outbox holds the stanzas on their way out: first to be written, then, with
// stream management, to be acknowledged. It outlives links. Senders wait while
// it is full, so its memory is bounded.
//
// Writing is done by a goroutine that exists while there is something to write,
// and a moment longer; what gathers meanwhile goes out in one piece (group
// commit).
type outbox struct {
	max  int // bytes
	wire *wireLog

	mu          sync.Mutex
	chunks      []*chunk
	bytes       int           // in all chunks, not acknowledged
	room        chan struct{} // closed when bytes fall
	empty       chan struct{} // closed when nothing is left
	control     []byte        // <a/>, <r/> and the like: not counted, not kept
	closed      error
	undelivered error // why something was left when it was closed

	w        stanzaWriter  // the link, or nil while there is none
	gen      int           // of the link
	flushing bool          // the flusher is at work
	parked   bool          // the flusher waits for work
	wake     chan struct{} // gets one value to unpark it
	ended    chan struct{} // closed when the flusher of this link has ended
	writing  *chunk        // what the flusher writes from
	orphan   bool          // that was dropped meanwhile
	fail     func(error)   // ends the link, for a failed write
	lastOut  atomic.Int64  // when stanzas were written last
	limit    atomic.Int64  // of the size of a stanza

	acks      bool // the server acknowledges: stanzas are kept until it does
	asked     bool // <r/> is on its way
	since     time.Time
	unasked   int    // stanzas written since
	sentTotal uint32 // stanzas written on this stream, modulo 2^32
	ackTotal  uint32
}

// stanzaWriter writes whole stanzas: control first, then those in buf, which
// ends at each of ends.
type stanzaWriter interface {
	writeStanzas(control, buf []byte, from int32, ends []entry, tail []byte) error
}

// put appends a stanza. It blocks while the outbox is full.
func (o *outbox) put(ctx context.Context, st confab.Appender, k kind, sent *confab.Sent) (n int, err error) {
	// Made before the lock is taken, which the flusher needs as well.
	made := scratch.Get().(*[]byte)
	defer keepScratch(made)
	if *made, err = st.AppendXML((*made)[:0], confab.NSClient); err != nil {
		return 0, err
	}
	n = len(*made)
	if most := int(o.limit.Load()); most > 0 && n > most {
		return 0, fmt.Errorf("%w: it has %d bytes, of at most %d", confab.ErrTooLarge, n, most)
	}
	o.mu.Lock()
	for o.closed == nil && o.bytes >= o.max {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		o.mu.Lock()
	}
	defer o.mu.Unlock()
	if o.closed != nil {
		return 0, o.closed
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	o.keep(*made, entry{kind: k, sent: sent})
	o.flush()
	return n, nil
}

// maxControl bounds what waits for a server that does not read.
const maxControl = 16 << 10

// say queues something that is no stanza.
func (o *outbox) say(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil || len(o.control) > maxControl {
		return // what is said counts up: the next one says it too
	}
	o.control = append(o.control, s...)
	o.flush()
}

// ask queues <r/>, unless one is under way.
func (o *outbox) ask() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil || !o.acks || o.asked {
		return
	}
	o.asked, o.since = true, time.Now()
	o.control = append(o.control, smRequest...)
	o.flush()
}

// askedAt returns when the <r/> that is under way was sent, or zero.
func (o *outbox) askedAt() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.asked {
		return time.Time{}
	}
	return o.since
}

// finish writes what is queued and then last, and takes the link away.
func (o *outbox) finish(last string) {
	o.mu.Lock()
	w := o.w
	o.w = nil
	o.retire()
	if w != nil && last != "" {
		o.wire.text(true, last)
		_ = w.writeStanzas([]byte(last), nil, 0, nil, nil)
	}
}

// retire unlocks and returns when the flusher has ended, which the caller has
// given a reason for.
func (o *outbox) retire() {
	there, ended := o.flushing || o.parked, o.ended
	o.unpark()
	o.mu.Unlock()
	if there {
		<-ended
	}
}

// unpark makes a flusher that waits look again.
func (o *outbox) unpark() {
	if o.parked {
		o.parked = false
		o.wake <- struct{}{}
	}
}

// linger is how long a flusher waits for more to do: a goroutine that is there
// takes a tenth off a quick exchange of stanzas, but it takes memory, too.
const linger = 20 * time.Millisecond

// flush sees to it that what is queued is written, if there is a link.
func (o *outbox) flush() {
	switch {
	case o.w == nil || o.flushing:
		return
	case o.parked:
		o.unpark()
	default:
		o.wake, o.ended = make(chan struct{}, 1), make(chan struct{})
		go o.run(o.w, o.gen, o.wake, o.ended)
	}
	o.flushing = true
}

// run is the flusher.
func (o *outbox) run(w stanzaWriter, gen int, wake <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	rest := time.NewTimer(linger)
	defer rest.Stop()
	for o.write(w, gen) {
		rest.Reset(linger)
		select {
		case <-wake:
		case <-rest.C:
			o.mu.Lock()
			if o.parked {
				o.parked = false
				o.mu.Unlock()
				return
			}
			o.mu.Unlock()
			<-wake
		}
	}
}

// write writes until there is nothing left, and reports whether to wait for
// more: the flusher is parked then.
func (o *outbox) write(w stanzaWriter, gen int) bool {
	for {
		o.mu.Lock()
		c, i := o.nextUnwritten()
		control := o.control
		o.control = nil
		if o.gen != gen || c == nil && len(control) == 0 {
			o.flushing = false
			o.parked = o.gen == gen && o.w != nil
			again := o.parked
			o.drop(0)
			o.mu.Unlock()
			return again
		}
		var buf []byte
		var ends []entry
		var from int32
		if c != nil {
			from = c.from(i)
			last := len(c.entries)
			ends = c.entries[i:last:last]
			buf = c.buf[from:c.from(last):c.from(last)]
			c.written += len(ends)
		}
		o.writing = c
		var tail []byte
		acks := o.acks
		if acks {
			o.sentTotal += uint32(len(ends))
			o.unasked += len(ends)
			if !o.asked && o.unasked > 0 {
				// One request is under way at a time: this adapts to the
				// round trip by itself.
				o.asked, o.since, o.unasked = true, time.Now(), 0
				tail = smRequest
			}
		}
		o.mu.Unlock()

		if o.wire != nil {
			o.wire.text(true, string(control))
			o.wire.text(true, string(tail))
		}
		err := w.writeStanzas(control, buf, from, ends, tail)
		if err == nil && len(ends) > 0 {
			o.lastOut.Store(time.Now().UnixNano())
			for k := range ends {
				if s := ends[k].sent; s != nil {
					if !acks {
						s.NoAcks()
					}
					s.Advance(confab.Written)
				}
			}
		}
		o.mu.Lock()
		if o.orphan {
			c.free()
		}
		o.writing, o.orphan = nil, false
		if err != nil {
			o.flushing = false
			fail := o.fail
			current := o.gen == gen
			o.mu.Unlock()
			if current {
				fail(err)
			}
			return false
		}
		if !o.acks {
			o.dropWritten()
		}
		o.mu.Unlock()
	}
}

// nextUnwritten returns the first chunk with entries that were not written, and
// the index of the first of those.
func (o *outbox) nextUnwritten() (*chunk, int) {
	for _, c := range o.chunks {
		if c.written < len(c.entries) {
			return c, c.written
		}
	}
	return nil, 0
}

// drop removes the first n entries, which are done with, and what chunks are
// empty then.
func (o *outbox) drop(n int) {
	for len(o.chunks) > 0 {
		c := o.chunks[0]
		k := min(n, len(c.entries)-c.acked)
		o.bytes -= int(c.from(c.acked+k) - c.from(c.acked))
		c.acked += k
		n -= k
		if c.acked < len(c.entries) {
			break
		}
		if c == o.writing && len(c.buf) <= chunkSize-1024 {
			break // still being filled
		}
		o.chunks[0] = nil
		if o.chunks = o.chunks[1:]; len(o.chunks) == 0 {
			o.chunks = nil
		}
		if c == o.writing {
			o.orphan = true
		} else {
			c.free()
		}
	}
	if o.room != nil && o.bytes < o.max {
		close(o.room)
		o.room = nil
	}
	if o.bytes == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// acknowledged takes the server's h (XEP-0198 §4). It fails if the server
// acknowledges what was not sent.
func (o *outbox) acknowledged(h uint32) error {
	o.mu.Lock()
	o.asked = false
	n := h - o.ackTotal // modulo 2^32
	if n > o.sentTotal-o.ackTotal {
		o.mu.Unlock()
		return &ackError{h, o.sentTotal}
	}
	acked := o.take(int(n))
	o.ackTotal = h
	if o.unasked > 0 && o.w != nil && o.acks {
		o.asked, o.since, o.unasked = true, time.Now(), 0
		o.control = append(o.control, smRequest...)
		o.flush()
	}
	o.mu.Unlock()
	for _, s := range acked {
		s.Advance(confab.Acked)
	}
	return nil
}

// take drops the first n entries and returns their trackers.
func (o *outbox) take(n int) []*confab.Sent {
	sent := make([]*confab.Sent, 0, min(n, 64))
	left := n
	for _, c := range o.chunks {
		for i := c.acked; i < len(c.entries) && left > 0; i++ {
			left--
			if s := c.entries[i].sent; s != nil {
				sent = append(sent, s)
			}
		}
		if left == 0 {
			break
		}
	}
	o.drop(n)
	return sent
}

// attach gives the outbox a new stream. What was not written on an old one
// follows at once.
func (o *outbox) attach(w stanzaWriter, acks bool, fail func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w, o.fail, o.acks = w, fail, acks
	o.control, o.asked, o.unasked = nil, false, 0
	o.flush()
}

// unacked says that the server does not acknowledge after all.
func (o *outbox) unacked() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acks = false
	for _, c := range o.chunks {
		for i := c.acked; i < c.written; i++ {
			if s := c.entries[i].sent; s != nil {
				s.NoAcks()
			}
		}
	}
	if !o.flushing {
		o.dropWritten()
	}
}

// dropWritten drops all that was written. It is called when nobody is writing.
func (o *outbox) dropWritten() {
	n := 0
	for _, c := range o.chunks {
		n += c.written - c.acked
	}
	o.drop(n)
}

// detach takes the link away; it returns when nothing is being written to it.
func (o *outbox) detach() {
	o.mu.Lock()
	o.w = nil
	o.gen++
	o.control = nil
	o.retire()
}

// resumed carries the outbox over to a link that resumes its stream: h is what
// the server has, and the rest will be written again.
func (o *outbox) resumed(h uint32) error {
	if err := o.acknowledged(h); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rewind()
	o.sentTotal = h
	return nil
}

// rewind makes everything unwritten.
func (o *outbox) rewind() {
	for _, c := range o.chunks {
		c.written = c.acked
	}
}

// renew readies the outbox for a new stream. Messages are kept, and sent again
// if they had been written: their ids tell receivers when one comes twice. What
// else was written belongs to the lost stream and is dropped, as are requests,
// whose askers were told. It returns the trackers of messages that may have
// arrived although nobody acknowledged them, if they are not sent again.
func (o *outbox) renew() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sentTotal, o.ackTotal, o.asked, o.unasked = 0, 0, false, 0
	old := o.chunks
	o.chunks, o.bytes = nil, 0
	for _, c := range old {
		for i := c.acked; i < len(c.entries); i++ {
			e := c.entries[i]
			if e.kind != kindMessage && (i < c.written || e.kind == kindIQ) {
				continue
			}
			o.keep(c.buf[c.from(i):e.end], e)
		}
	}
	if o.room != nil && o.bytes < o.max {
		close(o.room)
		o.room = nil
	}
	if o.bytes == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// keep appends a stanza to the last chunk, or to a new one.
func (o *outbox) keep(b []byte, e entry) {
	var c *chunk
	if len(o.chunks) > 0 {
		c = o.chunks[len(o.chunks)-1]
	}
	if c == nil || len(c.buf) > chunkSize-1024 {
		c = chunks.Get().(*chunk)
		o.chunks = append(o.chunks, c)
	}
	c.buf = append(c.buf, b...)
	e.end = int32(len(c.buf))
	c.entries = append(c.entries, e)
	o.bytes += len(b)
}

// drain returns when all that was put is written and, with acks, acknowledged.
func (o *outbox) drain(ctx context.Context) error {
	o.mu.Lock()
	if o.bytes == 0 || o.closed != nil {
		err := o.undelivered
		o.mu.Unlock()
		return err
	}
	if o.empty == nil {
		o.empty = make(chan struct{})
	}
	empty := o.empty
	o.mu.Unlock()
	o.ask()
	select {
	case <-empty:
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.undelivered
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close fails what is left and every put from now on.
func (o *outbox) close(err error) {
	o.mu.Lock()
	o.closed = err
	if o.bytes > 0 {
		o.undelivered = err
	}
	left := o.take(1 << 30)
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	if o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
	o.mu.Unlock()
	for _, s := range left {
		s.Fail(err)
	}
}
