package confabtest

import (
	"strconv"
	"strings"
	"time"

	"github.com/confab-im/confab"
)

// maxUnacked bounds what is kept for a client that does not acknowledge.
const maxUnacked = 200_000

// management is the state of stream management (XEP-0198).
type management struct {
	on        bool
	resumable bool
	id        string
	max       time.Duration
	in        uint32 // handled
	out       uint32 // sent
	queue     []unacked
}

// unacked is a stanza that was sent and not acknowledged.
type unacked struct {
	e     *confab.Element
	at    time.Time
	alone bool // nobody else has it
}

// oldStream is what is remembered of a stream that can no longer be resumed.
type oldStream struct {
	acc *account
	in  uint32
}

func smFailed(condition string) *confab.Element {
	return confab.El(nsSM, "failed", confab.El(nsStanzas, condition))
}

// managed handles the elements of stream management.
func (c *Conn) managed(e *confab.Element) error {
	s := c.srv
	s.lock()
	defer s.unlock()
	ss := c.sess
	if ss != nil && ss.conn != c {
		return errCut // replaced
	}
	switch e.Name.Local {
	case "enable":
		switch {
		case ss == nil:
			c.write(smFailed("unexpected-request"))
		case ss.sm.on:
			c.endWith("policy-violation", "stream management is enabled already")
			return errStream
		default:
			answer := ss.enable(e)
			c.write(answer)
		}
	case "resume":
		if c.user == nil || ss != nil {
			c.write(smFailed("unexpected-request"))
			return nil
		}
		answer, ok := c.resume(e)
		if answer == nil {
			return errStream
		}
		c.write(answer)
		if ok {
			c.sess.resend()
		}
	case "r":
		if ss == nil || !ss.sm.on {
			c.write(smFailed("unexpected-request"))
			return nil
		}
		c.write(confab.El(nsSM, "a").Set("h", strconv.FormatUint(uint64(ss.sm.in), 10)))
	case "a":
		if ss == nil || !ss.sm.on {
			c.write(smFailed("unexpected-request"))
			return nil
		}
		h, err := parseH(e)
		if err != nil {
			c.endWith("policy-violation", "h makes no sense")
			return errStream
		}
		if !ss.acknowledged(h) {
			c.tooHigh(h, ss.sm.out)
			return errStream
		}
	default:
		c.endWith("unsupported-stanza-type", "")
		return errStream
	}
	return nil
}

func parseH(e *confab.Element) (uint32, error) {
	h, err := strconv.ParseUint(strings.TrimSpace(e.Get("h")), 10, 32)
	return uint32(h), err
}

func (c *Conn) tooHigh(h, sent uint32) {
	c.endWith("undefined-condition", "you acknowledged "+strconv.FormatUint(uint64(h), 10)+
		" stanzas, but I only sent you "+strconv.FormatUint(uint64(sent), 10)+" so far",
		confab.El(nsSM, "handled-count-too-high").Set("h", strconv.FormatUint(uint64(h), 10)).
			Set("send-count", strconv.FormatUint(uint64(sent), 10)))
}

// enable starts the counting and returns the answer. The lock is held.
func (ss *session) enable(e *confab.Element) *confab.Element {
	cfg := &ss.srv.cfg
	ss.sm = management{on: true}
	answer := confab.El(nsSM, "enabled")
	if isTrue(e.Get("resume")) && cfg.has(Resumption) {
		ss.sm.resumable, ss.sm.id, ss.sm.max = true, newID(), cfg.ResumeTimeout
		if n, err := strconv.Atoi(e.Get("max")); err == nil && n > 0 {
			ss.sm.max = min(ss.sm.max, time.Duration(n)*time.Second)
		}
		ss.srv.streams[ss.sm.id] = ss
		answer.Set("id", ss.sm.id).Set("resume", "true")
		// Never more than is true, but at least a second.
		answer.Set("max", strconv.Itoa(max(1, int(ss.sm.max/time.Second))))
	}
	return answer
}

// acknowledged takes the client's count, and reports whether it can be true. The
// lock is held.
func (ss *session) acknowledged(h uint32) bool {
	sm := &ss.sm
	first := sm.out - uint32(len(sm.queue)) // counts wrap around at 2^32
	n := h - first
	if n > uint32(len(sm.queue)) {
		return false
	}
	clear(sm.queue[:n])
	sm.queue = sm.queue[n:]
	if len(sm.queue) == 0 {
		sm.queue = nil
	}
	return true
}

// resume makes this connection the one of an earlier stream. It returns the
// answer and whether that is <resumed/>; no answer means that the stream was
// ended. The lock is held.
func (c *Conn) resume(e *confab.Element) (answer *confab.Element, ok bool) {
	s := c.srv
	if !s.cfg.has(Resumption) {
		return smFailed("feature-not-implemented"), false
	}
	id := e.Get("previd")
	ss := s.streams[id]
	h, err := parseH(e)
	switch {
	case err != nil:
		s.stats.FailedResumptions++
		return smFailed("bad-request"), false
	case ss == nil || ss.acc != c.user:
		s.stats.FailedResumptions++
		f := smFailed("item-not-found")
		if old, known := s.expired[id]; known && old.acc == c.user {
			f.Set("h", strconv.FormatUint(uint64(old.in), 10))
		}
		return f, false
	case !ss.acknowledged(h):
		s.stats.FailedResumptions++
		c.tooHigh(h, ss.sm.out)
		return nil, false
	}
	old := ss.conn
	ss.stopTimer()
	ss.conn, c.sess = c, ss
	ss.mechanism, ss.sasl2, ss.agent = c.mechanism, c.sasl2, c.agent
	if old != nil {
		old.endWith("conflict", "the stream was resumed elsewhere")
	}
	s.stats.Resumptions++
	return confab.El(nsSM, "resumed").Set("previd", id).Set("h", strconv.FormatUint(uint64(ss.sm.in), 10)), true
}

// resend writes what was not acknowledged again. The lock is held.
func (ss *session) resend() {
	for _, u := range ss.sm.queue {
		ss.conn.enqueue(u.e, kindStanza)
	}
	if len(ss.sm.queue) > 0 {
		ss.touch()
	}
	ss.srv.stats.Resent += len(ss.sm.queue)
}

// ForgetStreams makes all streams that wait for being resumed end now, as if
// their time had passed, and returns how many there were.
func (s *Server) ForgetStreams() int {
	s.lock()
	defer s.unlock()
	n := 0
	for _, ss := range s.streams {
		if ss.conn == nil {
			ss.end()
			n++
		}
	}
	return n
}
