package confabtest

import (
	"context"
	"time"
)

// Stop ends the server in good order, as an administrator does: streams are ended
// with system-shutdown, sessions end, and nobody can connect until it is started
// again with [Server.Start] or [Server.StartOn], or with [Server.Continue] if it
// never listened. Accounts and what is kept for them stay, and so do the ports.
func (s *Server) Stop() { s.halt(false) }

// Crash ends the server as a power cut does: connections are cut, and sessions
// and what their clients have not acknowledged are forgotten. It can be started
// again as after [Server.Stop].
func (s *Server) Crash() { s.halt(true) }

// Continue lets clients connect with [Server.Dial] again after [Server.Stop] or
// [Server.Crash].
func (s *Server) Continue() {
	s.lock()
	defer s.unlock()
	s.halted = false
}

func (s *Server) halt(crash bool) {
	s.lock()
	s.halted = true
	for _, l := range s.listeners {
		_ = l.Close()
	}
	web := s.web
	s.listeners, s.web = nil, nil
	if !crash {
		for _, hook := range s.hooks.stopping {
			hook()
		}
	}
	for c := range s.conns {
		if crash {
			if ss := c.sess; ss != nil && ss.conn == c {
				ss.conn = nil
			}
			c.q.cutNow()
		} else {
			c.endWith("system-shutdown", "")
		}
	}
	for _, acc := range s.accounts {
		for _, ss := range acc.all() {
			if crash {
				ss.forget()
			} else {
				ss.end()
			}
		}
	}
	clear(s.expired)
	s.unlock()
	if web != nil {
		_ = web.Close()
	}
	if s.uploads != nil {
		s.uploads.stopWeb()
	}
	if s.proxy != nil {
		s.proxy.stop(true)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.Wait(ctx, func() bool { return len(s.Conns()) == 0 }) != nil {
		s.CutAll() // they did not read our last words
	}
}

// forget ends a session without anybody noticing. The lock is held.
func (ss *session) forget() {
	ss.ended, ss.conn = true, nil
	ss.stopTimer()
	delete(ss.acc.sessions, ss.addr.resource)
	delete(ss.srv.streams, ss.sm.id)
	if ss.acc.temporary {
		delete(ss.srv.accounts, ss.acc.addr)
	}
}
