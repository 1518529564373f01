package confabtest

import (
	"reflect"
	"time"

	"github.com/confab-im/confab"
)

// account is an account. The server's lock guards it.
type account struct {
	srv       *Server
	addr      addr
	password  string
	temporary bool // of ANONYMOUS: gone with its session
	sessions  map[string]*session
	roster    roster
	offline   []*confab.Element
	tokens    map[string]*tokenSlots // of FAST, by the id of the user agent
	seen      time.Time              // when the last session ended
	state     map[reflect.Type]any
}

// state returns the part of an account's state that belongs to a feature, which
// is the zero value at first.
func state[T any](a *account) *T {
	key := reflect.TypeFor[T]()
	if v, ok := a.state[key].(*T); ok {
		return v
	}
	v := new(T)
	a.state[key] = v
	return v
}

// newAccount makes an account. The lock is held.
func (s *Server) newAccount(a addr, password string) *account {
	acc := &account{
		srv: s, addr: a, password: password, sessions: map[string]*session{},
		roster: newRoster(), tokens: map[string]*tokenSlots{}, state: map[reflect.Type]any{}, seen: time.Now(),
	}
	s.accounts[a] = acc
	return acc
}

// removeAccount removes an account with all that belongs to it. The lock is held.
func (s *Server) removeAccount(acc *account) {
	acc.offline = nil
	acc.roster.cancelAll(acc)
	for _, ss := range acc.sessions {
		if c := ss.conn; c != nil {
			c.endWith("not-authorized", "the account was removed")
		} else {
			ss.end()
		}
	}
	delete(s.accounts, acc.addr)
}

// session is a resource of an account that is bound. The server's lock guards it.
type session struct {
	srv  *Server
	acc  *account
	addr addr
	conn *Conn // nil while it waits for being resumed

	mechanism string
	sasl2     bool
	agent     string

	presence   *confab.Element // nil while it is not available
	priority   int
	directed   map[addr]bool
	interested bool // in the roster
	carbons    bool
	inactive   bool
	held       []*confab.Element // presence, while it is inactive

	sm    management
	timer *time.Timer
	dirty bool
	ended bool
}

// newSession binds a resource to the connection; a session that has it already is
// replaced. The lock is held.
func (c *Conn) newSession(a addr) *session {
	if old := c.user.sessions[a.resource]; old != nil {
		old.replace()
	}
	ss := &session{
		srv: c.srv, acc: c.user, addr: a, conn: c, directed: map[addr]bool{},
		mechanism: c.mechanism, sasl2: c.sasl2, agent: c.agent,
	}
	c.user.sessions[a.resource] = ss
	c.sess = ss
	c.srv.stats.Sessions++
	return ss
}

// replace ends a session because another one takes its place. The lock is held.
func (ss *session) replace() {
	if c := ss.conn; c != nil {
		c.endWith("conflict", "replaced by a new session")
		return
	}
	ss.end()
}

// touch notes that the client is to be asked for an acknowledgement.
func (ss *session) touch() {
	if !ss.dirty {
		ss.dirty = true
		ss.srv.dirty = append(ss.srv.dirty, ss)
	}
}

// deliver sends a stanza to the client. Alone says that nobody else gets it. The
// lock is held.
func (ss *session) deliver(e *confab.Element, alone bool) {
	if ss.ended {
		return
	}
	if ss.inactive {
		if ss.hold(e) {
			return
		}
		ss.flushHeld()
	}
	if ss.conn == nil {
		ss.push(e, alone)
		return
	}
	for _, e := range ss.conn.tampered(e) {
		ss.push(e, alone)
	}
}

func (ss *session) push(e *confab.Element, alone bool) {
	if ss.ended {
		return
	}
	if ss.sm.on {
		if len(ss.sm.queue) >= maxUnacked {
			ss.replace()
			return
		}
		ss.sm.out++
		ss.sm.queue = append(ss.sm.queue, unacked{e, time.Now(), alone})
		ss.touch()
	}
	if ss.conn != nil {
		ss.conn.enqueue(e, kindStanza)
	}
}

// hold keeps presence back for a client that is inactive, the last of each
// sender.
func (ss *session) hold(e *confab.Element) bool {
	if t := e.Get("type"); e.Name.Local != "presence" || t != "" && t != "unavailable" || e.Child(nsMUCUser, "x") != nil {
		return false
	}
	for i, h := range ss.held {
		if h.Get("from") == e.Get("from") {
			ss.held = append(ss.held[:i:i], ss.held[i+1:]...)
			break
		}
	}
	ss.held = append(ss.held, e)
	return true
}

func (ss *session) flushHeld() {
	held := ss.held
	ss.held = nil
	for _, e := range held {
		ss.push(e, false)
	}
}

func (ss *session) setInactive(on bool) {
	if ss.inactive = on; !on {
		ss.flushHeld()
	}
}

// hibernate lets the session wait for being resumed. The lock is held.
func (ss *session) hibernate() {
	s := ss.srv
	var t *time.Timer
	t = time.AfterFunc(ss.sm.max, func() {
		s.lock()
		defer s.unlock()
		if ss.timer == t && ss.conn == nil && !s.closed {
			s.stats.Timeouts++
			ss.end()
		}
	})
	ss.timer = t
}

func (ss *session) stopTimer() {
	if ss.timer != nil {
		ss.timer.Stop()
		ss.timer = nil
	}
}

// end ends the session for good: others see it go, and what the client has not
// acknowledged goes elsewhere. The lock is held.
func (ss *session) end() {
	if ss.ended {
		return
	}
	s, acc := ss.srv, ss.acc
	ss.ended, ss.conn = true, nil
	ss.stopTimer()
	if acc.sessions[ss.addr.resource] == ss {
		delete(acc.sessions, ss.addr.resource)
	}
	if ss.sm.id != "" {
		delete(s.streams, ss.sm.id)
		if len(s.expired) >= 10_000 {
			clear(s.expired)
		}
		s.expired[ss.sm.id] = oldStream{acc, ss.sm.in}
	}
	acc.seen = time.Now()
	ss.goOffline(confab.El(nsClient, "presence").Set("type", "unavailable"))
	for _, hook := range s.hooks.gone {
		hook(ss)
	}
	for _, u := range ss.sm.queue {
		s.returned(ss, u)
	}
	ss.sm.queue = nil
	if acc.temporary && len(acc.sessions) == 0 {
		delete(s.accounts, acc.addr)
	}
}
