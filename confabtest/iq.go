package confabtest

import (
	"github.com/confab-im/confab"
)

// request is an IQ that the server answers. The lock is held while it does.
type request struct {
	s       *Server
	ss      *session // that asks, or nil
	from    addr
	acc     *account // that is asked, or nil for the server
	typ     string   // get or set
	payload *confab.Element
	e       *confab.Element
}

type iqHandler func(r *request)

// iqEntry has the handlers for a payload: for requests to the server and to an
// account, and one of the user's, which goes before.
type iqEntry struct {
	server, account iqHandler
	user            func(iq *confab.Element) *confab.Element
}

// handleIQ has requests with this payload answered; nil leaves what was. Answers
// to a request for an account are given whoever asks: the handler looks.
func (s *Server) handleIQ(space, local string, server, account iqHandler) {
	e := s.iqs[iqKey(space, local)]
	if server != nil {
		e.server = server
	}
	if account != nil {
		e.account = account
	}
	s.iqs[iqKey(space, local)] = e
}

// NoAnswer is what a handler of [Server.HandleIQ] returns to leave the client
// without an answer.
var NoAnswer = &confab.Element{}

// HandleIQ has f answer requests with this payload that are addressed to the
// server or to an account of it, in place of the server's own answer. F gets the
// request, with its from, and returns the payload of the result (nil for none), an
// <error/> in the namespace jabber:client, or [NoAnswer]. It may call the server,
// but not close it. A nil f gives the answer back to the server.
func (s *Server) HandleIQ(space, local string, f func(iq *confab.Element) *confab.Element) {
	s.lock()
	defer s.unlock()
	e := s.iqs[iqKey(space, local)]
	e.user = f
	s.iqs[iqKey(space, local)] = e
}

// answer answers a request to an account, or to the server if acc is nil. The
// lock is held; what it returns is to be called without.
func (s *Server) answer(ss *session, from addr, acc *account, e *confab.Element) (later func()) {
	r := &request{s: s, ss: ss, from: from, acc: acc, typ: e.Get("type"), e: e}
	switch r.typ {
	case "get", "set":
	case "result", "error":
		if ss != nil && acc != nil {
			for _, hook := range s.hooks.answer {
				hook(ss, acc, e)
			}
		}
		return nil
	default:
		r.fail("modify", "bad-request", "")
		return nil
	}
	if len(e.Children) != 1 || e.Get("id") == "" {
		r.fail("modify", "bad-request", "a request has one child and an id")
		return nil
	}
	r.payload = e.Children[0]
	h := s.iqs[r.payload.Name]
	f := h.server
	if acc != nil {
		f = h.account
	}
	switch {
	case h.user != nil:
		return func() {
			p := h.user(e)
			if p == NoAnswer {
				return
			}
			s.lock()
			defer s.unlock()
			if p.Is(nsClient, "error") {
				s.back(r.reply("error", p))
				return
			}
			r.result(p)
		}
	case f != nil:
		f(r)
	default:
		r.fail("cancel", "service-unavailable", "")
	}
	return nil
}

// componentRequest reads a request to a component. It is nil if this is none, or was
// refused.
func (s *Server) componentRequest(ss *session, from addr, e *confab.Element) *request {
	r := &request{s: s, ss: ss, from: from, typ: e.Get("type"), e: e}
	if e.Name.Local != "iq" || r.typ == "result" || r.typ == "error" {
		return nil
	}
	if len(e.Children) != 1 || e.Get("id") == "" || r.typ != "get" && r.typ != "set" {
		r.fail("modify", "bad-request", "")
		return nil
	}
	r.payload = e.Children[0]
	return r
}

func (r *request) reply(typ string, kids ...*confab.Element) *confab.Element {
	e := confab.El(nsClient, "iq", kids...).Set("type", typ).Set("id", r.e.Get("id"))
	if to := r.e.Get("to"); to != "" {
		e.Set("from", to)
	} else if r.acc != nil {
		e.Set("from", r.acc.addr.String())
	}
	return e.Set("to", r.e.Get("from"))
}

// result answers with a payload, which may be nil.
func (r *request) result(payload *confab.Element) {
	e := r.reply("result")
	if payload != nil {
		e.Add(payload)
	}
	r.send(e)
}

// fail answers with an error.
func (r *request) fail(typ, condition, text string) {
	e := r.reply("error")
	if r.payload != nil {
		e.Add(r.payload)
	}
	r.send(e.Add(stanzaError(typ, condition, text)))
}

func (r *request) send(e *confab.Element) {
	if r.ss != nil {
		r.ss.deliver(e, true)
		return
	}
	r.s.back(e)
}

// own reports whether the account asks about itself.
func (r *request) own() bool { return r.acc != nil && r.ss != nil && r.ss.acc == r.acc }

// trusted reports whether the one who asks may see the account.
func (r *request) trusted() bool {
	if r.own() {
		return true
	}
	it := r.acc.roster.items[r.from.bare()]
	return it != nil && it.from
}
