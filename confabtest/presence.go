package confabtest

import (
	"strconv"
	"strings"
	"time"

	"github.com/confab-im/confab"
)

func now() time.Time { return time.Now() }

// takePresence handles presence of a client (RFC 6121 §§3, 4). The lock is held.
func (s *Server) takePresence(ss *session, to addr, e *confab.Element) {
	for _, hook := range s.hooks.outgoing {
		e = hook(ss, e)
	}
	typ := e.Get("type")
	if e.Get("to") == "" {
		switch typ {
		case "":
			s.goOnline(ss, e)
		case "unavailable":
			ss.goOffline(e)
		}
		return
	}
	switch typ {
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		s.sendSubscription(ss.acc, to.bare(), e)
		return
	case "probe":
		return // servers probe
	case "":
		if it := ss.acc.roster.items[to.bare()]; (it == nil || !it.from) && to.bare() != ss.acc.addr {
			ss.directed[to] = true
		}
	case "unavailable":
		delete(ss.directed, to)
	}
	s.route(ss, ss.addr, to, e)
}

// goOnline makes a session available, or more or less so. The lock is held.
func (s *Server) goOnline(ss *session, e *confab.Element) {
	acc, before, priority := ss.acc, ss.presence, ss.priority
	ss.presence, ss.priority = e, 0
	if p, err := strconv.Atoi(strings.TrimSpace(e.ChildText(nsClient, "priority"))); err == nil && p >= -128 && p <= 127 {
		ss.priority = p
	}
	s.broadcast(ss, e, true)
	for _, hook := range s.hooks.presence {
		hook(ss, e)
	}
	if before == nil {
		for _, other := range acc.available(anyPriority) {
			if other != ss {
				ss.deliver(with(other.presence).Set("to", ss.addr.String()), false)
			}
		}
		for _, it := range acc.roster.sorted() {
			if it.to {
				s.probe(ss, it.jid)
			}
		}
		for _, it := range acc.roster.sorted() {
			if it.pending != nil {
				ss.deliver(it.pending, false)
			}
		}
	}
	if ss.priority >= 0 && (before == nil || priority < 0) {
		ss.flushOffline()
	}
}

// broadcast sends presence to the contacts that see the account and to its own
// clients. The lock is held.
func (s *Server) broadcast(ss *session, e *confab.Element, self bool) {
	for _, other := range ss.acc.available(anyPriority) {
		if self || other != ss {
			other.deliver(with(e).Set("to", other.addr.String()), false)
		}
	}
	for _, it := range ss.acc.roster.sorted() {
		if it.from && s.allows(ss.acc, it.jid, e, true) {
			s.route(nil, ss.addr, it.jid, with(e).Set("to", it.jid.String()))
		}
	}
}

// probe asks for the presence of a contact. The lock is held.
func (s *Server) probe(ss *session, contact addr) {
	if acc := s.accounts[contact]; acc != nil {
		if it := acc.roster.items[ss.acc.addr]; it != nil && it.from &&
			s.allows(acc, ss.acc.addr, ss.presence, true) && s.allows(ss.acc, contact, ss.presence, false) {
			for _, other := range acc.available(anyPriority) {
				ss.deliver(with(other.presence).Set("to", ss.addr.String()), false)
			}
		}
		return
	}
	if d := s.domains[contact.domain]; d != nil {
		d.stanza(s, ss, ss.acc.addr, contact, el("presence", "probe", "", ss.acc.addr, contact))
	}
}

// goOffline makes a session unavailable. The lock is held.
func (ss *session) goOffline(e *confab.Element) {
	s := ss.srv
	e = with(e).Set("from", ss.addr.String())
	if ss.presence != nil {
		ss.presence = nil
		s.broadcast(ss, e, false)
		for _, hook := range s.hooks.presence {
			hook(ss, e)
		}
	}
	for to := range ss.directed {
		delete(ss.directed, to)
		s.route(nil, ss.addr, to, with(e).Set("to", to.String()))
	}
}

// presence delivers presence to an account. The lock is held.
func (s *Server) presence(acc *account, from, to addr, e *confab.Element) {
	switch e.Get("type") {
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		s.takeSubscription(acc, from.bare(), e)
		return
	case "probe":
		if it := acc.roster.items[from.bare()]; it != nil && it.from {
			for _, other := range acc.available(anyPriority) {
				s.route(nil, other.addr, from, with(other.presence).Set("to", from.String()))
			}
		}
		return
	}
	if to.resource != "" {
		if t := acc.sessions[to.resource]; t != nil {
			t.deliver(e, false)
		}
		return
	}
	for _, t := range acc.available(anyPriority) {
		t.deliver(e, false)
	}
}

// sendSubscription handles what an account wants of a contact (RFC 6121 §3 and
// appendix A.2). The lock is held.
func (s *Server) sendSubscription(acc *account, to addr, e *confab.Element) {
	e = with(e).Set("from", acc.addr.String()).Set("to", to.String())
	if !s.hosts[to.domain] && s.domains[to.domain] == nil {
		s.bounce(e, "cancel", "remote-server-not-found", "")
		return
	}
	if to == acc.addr {
		return
	}
	r := &acc.roster
	it := r.items[to]
	switch e.Get("type") {
	case "subscribe":
		it = r.need(to)
		if !it.listed || !it.to && !it.ask {
			it.listed, it.ask = true, it.ask || !it.to
			acc.push(it)
		}
	case "subscribed":
		if it != nil && it.from {
			return
		}
		if it == nil || it.pending == nil {
			// Nobody has asked: they may, from now on (RFC 6121 §3.4.2).
			it = r.need(to)
			if !it.approved {
				it.listed, it.approved = true, true
				acc.push(it)
			}
			return
		}
		it.listed, it.from, it.pending = true, true, nil
		acc.push(it)
		s.route(nil, acc.addr, to, e)
		for _, ss := range acc.available(anyPriority) {
			s.route(nil, ss.addr, to, with(ss.presence).Set("to", to.String()))
		}
		return
	case "unsubscribe":
		if it != nil && (it.to || it.ask) {
			it.to, it.ask = false, false
			acc.push(it)
		}
	case "unsubscribed":
		if it == nil || !it.from && it.pending == nil && !it.approved {
			return
		}
		was, told := it.from, it.from || it.pending != nil
		it.from, it.pending, it.approved = false, nil, false
		if it.listed {
			acc.push(it)
		}
		r.tidy(it)
		if was {
			acc.hide(to)
		}
		if !told {
			return
		}
	}
	s.route(nil, acc.addr, to, e)
}

// hide tells a contact that the account's clients are gone. The lock is held.
func (a *account) hide(to addr) {
	for _, ss := range a.available(anyPriority) {
		a.srv.route(nil, ss.addr, to, el("presence", "unavailable", "", ss.addr, to))
	}
}

// takeSubscription handles what a contact wants of an account (RFC 6121
// appendix A.3). The lock is held.
func (s *Server) takeSubscription(acc *account, from addr, e *confab.Element) {
	e = with(e).Set("from", from.String()).Set("to", acc.addr.String())
	r := &acc.roster
	it := r.items[from]
	show := func() {
		for _, ss := range acc.available(anyPriority) {
			ss.deliver(e, false)
		}
	}
	switch e.Get("type") {
	case "subscribe":
		if it != nil && it.from {
			s.route(nil, acc.addr, from, el("presence", "subscribed", "", acc.addr, from))
			return
		}
		if it != nil && it.approved {
			it.from, it.pending = true, nil
			acc.push(it)
			s.route(nil, acc.addr, from, el("presence", "subscribed", "", acc.addr, from))
			for _, ss := range acc.available(anyPriority) {
				s.route(nil, ss.addr, from, with(ss.presence).Set("to", from.String()))
			}
			return
		}
		it = r.need(from)
		it.pending = e
		show()
	case "subscribed":
		if it == nil || !it.ask {
			return
		}
		it.ask, it.to = false, true
		show()
		acc.push(it)
	case "unsubscribe":
		if it == nil || !it.from && it.pending == nil {
			return
		}
		was := it.from
		it.from, it.pending = false, nil
		show()
		if it.listed {
			acc.push(it)
		}
		r.tidy(it)
		if was {
			acc.hide(from)
		}
	case "unsubscribed":
		if it == nil || !it.to && !it.ask {
			return
		}
		it.to, it.ask = false, false
		show()
		acc.push(it)
	}
}
