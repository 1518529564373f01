package confabtest

import (
	"maps"
	"slices"
	"strings"

	"github.com/confab-im/confab"
)

const (
	nsBlocking       = "urn:xmpp:blocking"
	nsBlockingErrors = "urn:xmpp:blocking:errors"
	nsReporting      = "urn:xmpp:reporting:1"
)

// blocklist is whom an account has blocked (XEP-0191).
type blocklist struct {
	jids    map[addr]bool
	wants   map[*session]bool // have asked for the list and get its changes
	reports []*confab.Element
}

func (b *blocklist) has(other addr) bool {
	if b == nil || len(b.jids) == 0 {
		return false
	}
	return b.jids[other] || b.jids[other.bare()] || b.jids[addr{domain: other.domain}] ||
		b.jids[addr{domain: other.domain, resource: other.resource}]
}

// blockingFeature is XEP-0191, and the reports of XEP-0377.
func blockingFeature(s *Server) {
	s.hooks.serverInfo = append(s.hooks.serverInfo, nsBlocking, nsReporting)
	s.handleIQ(nsBlocking, "blocklist", nil, func(r *request) {
		switch {
		case !r.own():
			r.fail("auth", "forbidden", "")
			return
		case r.typ != "get":
			r.fail("modify", "bad-request", "")
			return
		}
		b := state[blocklist](r.acc)
		if b.wants == nil {
			b.wants = map[*session]bool{}
		}
		b.wants[r.ss] = true
		list := confab.El(nsBlocking, "blocklist")
		for _, j := range blockedAddrs(b.jids) {
			list.Add(confab.El(nsBlocking, "item").Set("jid", j))
		}
		r.result(list)
	})
	s.handleIQ(nsBlocking, "block", nil, changeBlocks)
	s.handleIQ(nsBlocking, "unblock", nil, changeBlocks)
	s.hooks.allow = append(s.hooks.allow, func(a *account, other addr, _ *confab.Element, _ bool) bool {
		return other.bare() == a.addr || !state[blocklist](a).has(other)
	})
	s.hooks.gone = append(s.hooks.gone, func(ss *session) { delete(state[blocklist](ss.acc).wants, ss) })
}

func blockedAddrs(m map[addr]bool) []string {
	var all []string
	for a := range m {
		all = append(all, a.String())
	}
	slices.Sort(all)
	return all
}

// changeBlocks handles both commands.
func changeBlocks(r *request) {
	block := r.payload.Name.Local == "block"
	items := slices.Collect(r.payload.All(nsBlocking, "item"))
	switch {
	case !r.own():
		r.fail("auth", "forbidden", "")
		return
	case r.typ != "set" || block && len(items) == 0:
		r.fail("modify", "bad-request", "")
		return
	}
	list := state[blocklist](r.acc)
	jids := map[addr]bool{}
	for _, it := range items {
		a, err := parseAddr(it.Get("jid"))
		if err != nil {
			r.fail("modify", "jid-malformed", "")
			return
		}
		jids[a] = true
		if rep := it.Child(nsReporting, "report"); rep != nil {
			if rep.Get("reason") == "" {
				r.fail("modify", "bad-request", "a report needs a reason")
				return
			}
			list.reports = append(list.reports, it)
		}
	}
	after := &blocklist{jids: maps.Clone(list.jids)}
	switch {
	case block && after.jids == nil:
		after.jids = jids
	case block:
		maps.Copy(after.jids, jids)
	case len(items) == 0:
		after.jids = nil
	default:
		maps.DeleteFunc(after.jids, func(a addr, _ bool) bool { return jids[a] })
	}
	for _, it := range r.acc.roster.sorted() {
		if it.from && block && !list.has(it.jid) && after.has(it.jid) {
			r.acc.hide(it.jid)
		}
	}
	before := &blocklist{jids: list.jids}
	list.jids = after.jids
	for _, it := range r.acc.roster.sorted() {
		if it.from && !block && before.has(it.jid) && !after.has(it.jid) {
			for _, ss := range r.acc.available(anyPriority) {
				r.s.route(nil, ss.addr, it.jid, with(ss.presence).Set("to", it.jid.String()))
			}
		}
	}
	r.result(nil)
	for _, ss := range r.acc.all() {
		if !list.wants[ss] {
			continue
		}
		p := confab.El(nsBlocking, r.payload.Name.Local)
		for _, it := range items {
			p.Add(confab.El(nsBlocking, "item").Set("jid", it.Get("jid")))
		}
		ss.deliver(el("iq", "set", newID(), addr{}, ss.addr, p), false)
	}
}

// refuse answers what a client sends to somebody it has blocked (XEP-0191 §3.4).
func (s *Server) refuse(e *confab.Element) {
	if r := errorFor(e, "cancel", "not-acceptable", ""); r != nil {
		r.Child(nsClient, "error").Add(confab.El(nsBlockingErrors, "blocked"))
		s.back(r)
	}
}

// Blocked returns whom an account of [Server.Domain] has blocked, sorted.
func (s *Server) Blocked(user string) []string {
	s.lock()
	defer s.mu.Unlock()
	if acc := s.accounts[addr{strings.ToLower(user), s.cfg.Domain, ""}]; acc != nil {
		return blockedAddrs(state[blocklist](acc).jids)
	}
	return nil
}

// Reports returns what an account of [Server.Domain] has reported (XEP-0377): the
// items of the blocks that came with a report.
func (s *Server) Reports(user string) []*confab.Element {
	s.lock()
	defer s.mu.Unlock()
	if acc := s.accounts[addr{strings.ToLower(user), s.cfg.Domain, ""}]; acc != nil {
		return slices.Clone(state[blocklist](acc).reports)
	}
	return nil
}
