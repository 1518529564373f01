package client

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
)

var smRequest = []byte("<r xmlns='urn:xmpp:sm:3'/>")

// maxUnacked is how many stanzas may be handled before the server is told
// unasked.
const maxUnacked = 200

// ackDelay is how long an answer to <r/> waits for stanzas that were read to be
// handled. Then it goes out with what is true, since a server that hears nothing
// for long gives the link up.
const ackDelay = 2 * time.Second

// management is our side of stream management (XEP-0198): what came in.
// h counts the stanzas that were handled: passed by every feature and by the
// user's functions. What was merely read would be lost if the process died.
type management struct {
	drv *confab.Driver
	say func(string)

	mu       sync.Mutex
	id       string // of the stream, if it can be resumed
	max      time.Duration
	since    time.Time // when the link was lost
	location string
	enabled  bool
	up       bool   // there was a stream whose loss was not told yet
	base     uint64 // stanzas of the session that were read before the stream's first
	acked    uint64 // handled, as told last
	wanted   uint64 // the server has asked after this one; 0 if it has its answer
	timer    *time.Timer
}

// resumable reports whether the last stream is worth trying.
func (m *management) resumable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id != "" && (m.since.IsZero() || m.max == 0 || time.Since(m.since) < m.max+time.Minute)
}

// resume makes the request. What no handler has begun is forgotten: the server
// will send it again.
func (m *management) resume() *confab.Element {
	read := m.drv.Truncate()
	m.mu.Lock()
	defer m.mu.Unlock()
	return confab.El(nsSM, "resume").Set("previd", m.id).Set("h", strconv.FormatUint(uint64(uint32(read-m.base)), 10))
}

// enable takes the server's <enabled/>. From here on it counts.
func (m *management) enable(el *confab.Element) {
	read, _, _ := m.drv.Counts()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enabled, m.base, m.acked, m.wanted = true, read, read, 0
	m.id, m.location, m.max, m.since = "", "", 0, time.Time{}
	switch strings.TrimSpace(el.Get("resume")) {
	case "true", "1":
		m.id, m.location = el.Get("id"), el.Get("location")
		if s, err := strconv.Atoi(el.Get("max")); err == nil && s > 0 && s < 1<<30 {
			m.max = time.Duration(s) * time.Second
		}
	}
}

// reset forgets the stream.
func (m *management) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enabled, m.id, m.wanted, m.since = false, "", 0, time.Time{}
	m.stop()
}

// down notes that the link is gone.
func (m *management) down() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since, m.wanted = time.Now(), 0
	m.stop()
}

func (m *management) stop() {
	if m.timer != nil {
		m.timer.Stop()
	}
}

// resumed says that the stream goes on, with all that was read counted.
func (m *management) resumed() {
	read, _, _ := m.drv.Counts()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since, m.acked, m.wanted = time.Time{}, read, 0
}

// asked answers <r/>: at once if everything that was read is handled, else when
// it is, or after a while.
func (m *management) asked() {
	read, _, handled := m.drv.Counts()
	m.mu.Lock()
	defer m.mu.Unlock()
	if handled >= read {
		m.answer(handled)
		return
	}
	if m.wanted == 0 {
		if m.timer == nil {
			m.timer = time.AfterFunc(ackDelay, m.late)
		} else {
			m.timer.Reset(ackDelay)
		}
	}
	m.wanted = read
}

func (m *management) late() {
	_, _, handled := m.drv.Counts()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wanted != 0 {
		m.answer(handled)
		m.timer.Reset(ackDelay)
		m.wanted = max(m.wanted, 1)
	}
}

// handled is called when more stanzas are handled.
func (m *management) handled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.enabled || !m.since.IsZero() {
		return
	}
	_, _, handled := m.drv.Counts()
	if m.wanted != 0 && handled >= m.wanted || handled >= m.acked+maxUnacked {
		m.answer(handled)
	}
}

// final tells the server how far we came, before the stream is closed.
func (m *management) final() string {
	_, _, handled := m.drv.Counts()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.enabled {
		return ""
	}
	return m.ack(handled)
}

func (m *management) answer(handled uint64) {
	if m.wanted != 0 && handled >= m.wanted {
		m.wanted = 0
		m.stop()
	}
	m.say(m.ack(handled))
}

func (m *management) ack(handled uint64) string {
	m.acked = max(m.acked, handled)
	var h uint32
	if handled > m.base {
		h = uint32(handled - m.base)
	}
	return fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h)
}

func (m *management) wasUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up
}

func (m *management) setUp(up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up = up
}

// parseH reads a count, which is modulo 2^32.
func parseH(s string) (uint32, bool) {
	h, err := strconv.ParseUint(s, 10, 32)
	return uint32(h), err == nil
}
