package confabtest

import (
	"slices"

	"github.com/confab-im/confab"
)

// carbonsFeature is XEP-0280.
func carbonsFeature(s *Server) {
	if !s.cfg.has(Carbons) {
		return
	}
	s.hooks.serverInfo = append(s.hooks.serverInfo, nsCarbons)
	s.hooks.accountInfo = append(s.hooks.accountInfo, nsCarbons)
	for _, name := range []string{"enable", "disable"} {
		h := func(r *request) {
			if r.ss == nil || r.acc != nil && !r.own() || r.typ != "set" {
				r.fail("modify", "bad-request", "")
				return
			}
			r.ss.carbons = name == "enable"
			r.result(nil)
		}
		s.handleIQ(nsCarbons, name, h, h)
	}
}

// eligible reports whether a message is to be copied.
func (s *Server) eligible(e *confab.Element) bool {
	if !s.cfg.has(Carbons) || e.Child(nsCarbons, "private") != nil || e.Child(nsHints, "no-copy") != nil {
		return false
	}
	switch e.Get("type") {
	case "chat":
		return true
	case "groupchat", "headline", "error":
		return false
	}
	return e.Child(nsClient, "body") != nil || e.Child("urn:xmpp:receipts", "") != nil || e.Child("urn:xmpp:chat-markers:0", "") != nil
}

// sentCarbons copies what a client sends for the others of its account. The lock
// is held.
func (s *Server) sentCarbons(ss *session, to addr, e *confab.Element) {
	if to.bare() == ss.acc.addr {
		return // they get it as it is
	}
	eligible := s.eligible(e)
	for _, hook := range s.hooks.message {
		if e = hook(ss.acc, e, true); e == nil {
			return
		}
	}
	if eligible {
		s.copies(ss.acc, "sent", e, ss)
	}
}

// receivedCarbons copies what some clients of an account receive for the others
// of it, and returns how many copies there are. The lock is held.
func (s *Server) receivedCarbons(acc *account, e *confab.Element, receivers ...*session) int {
	if !s.eligible(e) || e.Child(nsMUCUser, "x") != nil && e.Child(nsClient, "body") != nil && e.Get("type") == "chat" {
		return 0 // private messages of rooms reach each client that is in the room
	}
	return s.copies(acc, "received", e, receivers...)
}

func (s *Server) copies(acc *account, direction string, e *confab.Element, except ...*session) int {
	n := 0
	for _, ss := range acc.all() {
		if !ss.carbons || slices.Contains(except, ss) {
			continue
		}
		n++
		ss.deliver(el("message", e.Get("type"), "", acc.addr, ss.addr,
			confab.El(nsCarbons, direction, confab.El(nsForward, "forwarded", e))), false)
	}
	return n
}

// withoutPrivate takes out the mark that kept a message from being copied.
func withoutPrivate(e *confab.Element) *confab.Element {
	if e.Child(nsCarbons, "private") == nil {
		return e
	}
	c := with(e)
	c.Children = drop(e, func(k *confab.Element) bool { return k.Is(nsCarbons, "private") })
	return c
}

// stanzaIDFeature gives messages the ids of XEP-0359.
func stanzaIDFeature(s *Server) {
	if !s.cfg.has(StanzaIDs) {
		return
	}
	s.hooks.accountInfo = append(s.hooks.accountInfo, nsSID)
	s.hooks.message = append(s.hooks.message, func(a *account, e *confab.Element, _ bool) *confab.Element {
		switch e.Get("type") {
		case "groupchat", "headline", "error":
			return e
		}
		c := with(e)
		c.Children = drop(e, func(k *confab.Element) bool {
			by, err := parseAddr(k.Get("by"))
			return k.Is(nsSID, "stanza-id") && (err != nil || by.bare() == a.addr)
		})
		return c.Add(confab.El(nsSID, "stanza-id").Set("by", a.addr.String()).Set("id", newID()))
	})
}
