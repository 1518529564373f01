package confabtest

import (
	"maps"
	"slices"

	"github.com/confab-im/confab"
)

// domain is what answers for a domain without accounts, such as rooms. Stanza
// takes a stanza for an address there; ss is the session that sent it, or nil.
// The lock is held.
type domain interface {
	stanza(s *Server, ss *session, from, to addr, e *confab.Element)
}

// all returns the account's sessions in order of their resources.
func (a *account) all() []*session {
	list := make([]*session, 0, len(a.sessions))
	for _, r := range slices.Sorted(maps.Keys(a.sessions)) {
		list = append(list, a.sessions[r])
	}
	return list
}

// available returns those that are available, with at least this priority.
func (a *account) available(priority int) []*session {
	return slices.DeleteFunc(a.all(), func(ss *session) bool { return ss.presence == nil || ss.priority < priority })
}

const anyPriority = -128

// take handles a stanza of a client. What it returns, if not nil, is to be called
// without the lock, which is held now.
func (s *Server) take(ss *session, e *confab.Element) (later func()) {
	e = with(e).Set("from", ss.addr.String())
	to := ss.acc.addr
	if t := e.Get("to"); t != "" {
		var err error
		if to, err = parseAddr(t); err != nil {
			s.bounce(e, "modify", "jid-malformed", "")
			return nil
		}
	}
	if to != ss.acc.addr && !s.allows(ss.acc, to, e, true) {
		s.refuse(e)
		return nil
	}
	switch e.Name.Local {
	case "presence":
		s.takePresence(ss, to, e)
		return nil
	case "message":
		if e.Get("to") == "" {
			e.Set("to", to.String())
		}
		s.sentCarbons(ss, to, e)
	}
	return s.route(ss, ss.addr, to, e)
}

func (s *Server) allows(a *account, other addr, e *confab.Element, out bool) bool {
	for _, hook := range s.hooks.allow {
		if !hook(a, other, e, out) {
			return false
		}
	}
	return true
}

// route brings a stanza to where it is addressed to. It must have its from. The
// lock is held.
func (s *Server) route(ss *session, from, to addr, e *confab.Element) (later func()) {
	if !s.hosts[to.domain] {
		if d := s.domains[to.domain]; d != nil {
			d.stanza(s, ss, from, to, e)
		} else {
			s.bounce(e, "cancel", "remote-server-not-found", "")
		}
		return nil
	}
	if to.local == "" {
		if e.Name.Local == "iq" {
			return s.answer(ss, from, nil, e)
		}
		return nil
	}
	acc := s.accounts[to.bare()]
	if acc == nil {
		if e.Name.Local != "presence" {
			s.bounce(e, "cancel", "service-unavailable", "")
		}
		return nil
	}
	if from.bare() != acc.addr && !s.allows(acc, from, e, false) {
		if e.Name.Local != "presence" {
			s.bounce(e, "cancel", "service-unavailable", "")
		}
		return nil
	}
	switch e.Name.Local {
	case "message":
		s.message(acc, to, e)
	case "presence":
		s.presence(acc, from, to, e)
	case "iq":
		if to.resource == "" {
			return s.answer(ss, from, acc, e)
		}
		if t := acc.sessions[to.resource]; t != nil {
			t.deliver(e, true)
		} else {
			s.bounce(e, "cancel", "service-unavailable", "")
		}
	}
	return nil
}

// bounce answers a stanza with an error. The lock is held.
func (s *Server) bounce(e *confab.Element, typ, condition, text string) {
	if r := errorFor(e, typ, condition, text); r != nil {
		s.back(r)
	}
}

// back delivers what answers a stanza. The lock is held.
func (s *Server) back(e *confab.Element) {
	to, err := parseAddr(e.Get("to"))
	if err != nil {
		return
	}
	if acc := s.accounts[to.bare()]; acc != nil {
		for _, t := range acc.all() {
			// What is about a subscription comes from the account.
			if t.addr == to || to.resource == "" && e.Name.Local == "presence" && t.presence != nil {
				t.deliver(e, true)
			}
		}
		return
	}
	if d := s.domains[to.domain]; d != nil {
		from, _ := parseAddr(e.Get("from"))
		d.stanza(s, nil, from, to, e)
	}
}

// message delivers a message to an account (RFC 6121 §8.5). The lock is held.
func (s *Server) message(acc *account, to addr, e *confab.Element) {
	typ := e.Get("type")
	for _, hook := range s.hooks.message {
		if e = hook(acc, e, false); e == nil {
			return
		}
	}
	if to.resource != "" {
		if t := acc.sessions[to.resource]; t != nil {
			copies := s.receivedCarbons(acc, e, t)
			t.deliver(withoutPrivate(e), copies == 0)
			return
		}
		if typ == "groupchat" {
			s.bounce(e, "cancel", "service-unavailable", "")
			return
		}
	} else if typ == "groupchat" {
		s.bounce(e, "cancel", "service-unavailable", "")
		return
	}
	if typ == "error" || typ == "headline" && to.resource != "" {
		return
	}
	s.spread(acc, e)
}

// spread delivers a message to whoever is there, or keeps it. The lock is held.
func (s *Server) spread(acc *account, e *confab.Element) {
	targets := acc.available(0)
	if len(targets) == 0 {
		if e.Get("type") != "headline" {
			s.keep(acc, e)
		}
		return
	}
	copies := s.receivedCarbons(acc, e, targets...)
	for _, t := range targets {
		t.deliver(withoutPrivate(e), len(targets)+copies == 1)
	}
}

// returned finds another way for what a session that has ended did not
// acknowledge. The lock is held.
func (s *Server) returned(ss *session, u unacked) {
	switch typ := u.e.Get("type"); u.e.Name.Local {
	case "message":
		if !u.alone || typ == "error" || typ == "groupchat" || typ == "headline" || u.e.Child(nsCarbons, "") != nil {
			return
		}
		if s.accounts[ss.acc.addr] != ss.acc || s.closed {
			s.bounce(u.e, "cancel", "service-unavailable", "")
			return
		}
		s.stats.Returned++
		s.spread(ss.acc, delayed(u.e, addr{domain: ss.addr.domain}, u.at))
	case "iq":
		if typ == "get" || typ == "set" {
			s.bounce(u.e, "wait", "recipient-unavailable", "")
		}
	}
}

// keep stores a message for an account that nobody is there to take it for
// (XEP-0160). The lock is held.
func (s *Server) keep(acc *account, e *confab.Element) {
	if !s.cfg.has(Offline) || acc.temporary {
		s.bounce(e, "cancel", "service-unavailable", "")
		return
	}
	if !worthKeeping(e) {
		return
	}
	acc.offline = append(acc.offline, delayed(e, addr{domain: acc.addr.domain}, now()))
}

// worthKeeping reports whether a message is more than a sign that somebody types.
func worthKeeping(e *confab.Element) bool {
	if e.Child(nsHints, "no-store") != nil || e.Child(nsHints, "no-permanent-store") != nil {
		return false
	}
	for _, k := range e.Children {
		switch k.Name.Space {
		case "http://jabber.org/protocol/chatstates", nsSID, nsHints, nsDelay:
		case nsClient:
			if k.Name.Local != "thread" {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// flushOffline delivers what was kept. The lock is held.
func (ss *session) flushOffline() {
	kept := ss.acc.offline
	ss.acc.offline = nil
	for _, e := range kept {
		ss.deliver(e, true)
	}
}
