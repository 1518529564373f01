package confabtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
)

// A SessionInfo is a picture of a session.
type SessionInfo struct {
	JID jid.JID
	// Conn is the number of its connection; 0 while it waits to be resumed.
	Conn int
	// Available says that it has sent presence; then Priority is from there.
	Available bool
	Priority  int
	// Carbons, Interested (in the roster) and Inactive (XEP-0352) are states that
	// the client has asked for.
	Carbons, Interested, Inactive bool
	// Mechanism is what it signed in with, SASL2 whether by XEP-0388, UserAgent
	// the id it gave of its installation.
	Mechanism string
	SASL2     bool
	UserAgent string
	// Managed says that stream management is on, Resumable that the stream can be
	// resumed, by StreamID. In and Out are the stanzas that were handled and sent,
	// Unacked is how many of Out the client has not acknowledged.
	Managed, Resumable bool
	StreamID           string
	In, Out            uint32
	Unacked            int
}

// Stats counts what has happened on a server.
type Stats struct {
	Connections int
	// Logins counts by mechanism, Failures are those that were refused.
	Logins   map[string]int
	Failures int
	// Sessions is how many resources were bound.
	Sessions int
	// Resumptions are streams that were resumed, FailedResumptions attempts that
	// were refused, Timeouts streams that nobody came to resume.
	Resumptions, FailedResumptions, Timeouts int
	// Resent counts stanzas that were sent again after a resumption, Returned
	// messages that were not acknowledged by a session's end and went elsewhere.
	Resent, Returned int
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Logins = maps.Clone(st.Logins)
	return st
}

// Sessions returns all sessions, sorted by address.
func (s *Server) Sessions() []SessionInfo {
	s.lock()
	defer s.mu.Unlock()
	var list []SessionInfo
	for _, a := range s.accounts {
		for _, ss := range a.sessions {
			list = append(list, ss.info())
		}
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return bytes.Compare([]byte(a.JID.String()), []byte(b.JID.String())) })
	return list
}

// Session returns the session of a full address, or the first one of a bare
// address, and whether there is one.
func (s *Server) Session(address string) (SessionInfo, bool) {
	s.lock()
	defer s.mu.Unlock()
	if list := s.find(address); len(list) > 0 {
		return list[0].info(), true
	}
	return SessionInfo{}, false
}

// find returns the session of a full address or those of a bare one.
func (s *Server) find(address string) []*session {
	a, err := parseAddr(address)
	acc := s.accounts[a.bare()]
	switch {
	case err != nil || acc == nil:
		return nil
	case a.resource == "":
		return acc.all()
	case acc.sessions[a.resource] == nil:
		return nil
	}
	return []*session{acc.sessions[a.resource]}
}

func (ss *session) info() SessionInfo {
	j, _ := jid.Parse(ss.addr.String())
	i := SessionInfo{
		JID: j, Available: ss.presence != nil, Carbons: ss.carbons, Interested: ss.interested, Inactive: ss.inactive,
		Mechanism: ss.mechanism, SASL2: ss.sasl2, UserAgent: ss.agent,
		Managed: ss.sm.on, Resumable: ss.sm.resumable, StreamID: ss.sm.id, In: ss.sm.in, Out: ss.sm.out, Unacked: len(ss.sm.queue),
	}
	if i.Available {
		i.Priority = ss.priority
	}
	if ss.conn != nil {
		i.Conn = ss.conn.id
	}
	return i
}

// Conns returns the connections that are open, in order of their numbers.
func (s *Server) Conns() []*Conn {
	s.lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.conns), func(a, b *Conn) int { return a.id - b.id })
}

// Offline returns the messages that are kept for an account of [Server.Domain].
func (s *Server) Offline(user string) []*confab.Element {
	s.lock()
	defer s.mu.Unlock()
	if acc := s.accounts[addr{user, s.cfg.Domain, ""}]; acc != nil {
		return slices.Clone(acc.offline)
	}
	return nil
}

// Wait returns when cond is true, looking whenever something has happened on the
// server. Cond may call the server.
func (s *Server) Wait(ctx context.Context, cond func() bool) error {
	w := make(chan struct{}, 1)
	s.lock()
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	defer func() {
		s.lock()
		defer s.mu.Unlock()
		s.waiters = slices.DeleteFunc(s.waiters, func(x chan struct{}) bool { return x == w })
	}()
	for !cond() {
		select {
		case <-w:
		case <-ctx.Done():
			return fmt.Errorf("confabtest: Wait: %w", context.Cause(ctx))
		}
	}
	return nil
}

// Inject sends a stanza as it is, with whatever from it has, to the session of a
// full address or to all sessions of a bare one, past all rules of routing. It
// returns to how many.
func (s *Server) Inject(to string, e *confab.Element) int {
	s.lock()
	defer s.unlock()
	list := s.find(to)
	for _, ss := range list {
		ss.deliver(e, false)
	}
	return len(list)
}

// InjectRaw writes bytes into the stream of a session, or of all sessions of a
// bare address, and returns to how many. Stanzas in it, up to where it stops to be
// well-formed, are counted by stream management, and after a resumption they are
// sent again as the client should have read them. Sessions that wait to be resumed
// are left out.
func (s *Server) InjectRaw(to, xml string) int {
	var stanzas []*confab.Element
	r := stream.NewReader(io.MultiReader(bytes.NewReader([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='"+nsStream+"'>")),
		bytes.NewReader([]byte(xml))), stream.Limits{MaxBytes: 1 << 30, MaxDepth: 1 << 20, MaxElements: 1 << 24, MaxAttrs: 1 << 20})
	if _, err := r.Open(); err == nil {
		for {
			e, err := r.Next()
			if err != nil {
				break
			}
			if isStanza(e) {
				stanzas = append(stanzas, e)
			}
		}
	}
	s.lock()
	defer s.unlock()
	n := 0
	for _, ss := range s.find(to) {
		if ss.conn == nil {
			continue
		}
		n++
		if ss.sm.on {
			for _, e := range stanzas {
				ss.sm.out++
				ss.sm.queue = append(ss.sm.queue, unacked{e: e, at: now()})
			}
			if len(stanzas) > 0 {
				ss.touch()
			}
		}
		ss.conn.q.add(item{data: []byte(xml)})
	}
	return n
}
