package confabtest

import (
	"github.com/confab-im/confab"
)

// registerFeature is in-band registration (XEP-0077) for those who are signed in.
func registerFeature(s *Server) {
	if !s.cfg.has(Registration) {
		return
	}
	s.hooks.serverInfo = append(s.hooks.serverInfo, nsRegister)
	h := func(r *request) {
		if r.ss == nil || r.acc != nil && !r.own() {
			r.fail("auth", "forbidden", "")
			return
		}
		changeAccount(r)
	}
	s.handleIQ(nsRegister, "query", h, h)
}

func changeAccount(r *request) {
	acc := r.ss.acc
	switch {
	case acc.temporary:
		r.fail("cancel", "not-allowed", "")
	case r.typ == "get":
		r.result(confab.El(nsRegister, "query", confab.El(nsRegister, "registered"),
			confab.El(nsRegister, "username").SetText(acc.addr.local), confab.El(nsRegister, "password")))
	case r.payload.Child(nsRegister, "remove") != nil:
		if len(r.payload.Children) != 1 {
			r.fail("modify", "bad-request", "")
			return
		}
		r.result(nil)
		r.s.removeAccount(acc)
	default:
		a, err := parseAddr(r.payload.ChildText(nsRegister, "username") + "@" + acc.addr.domain)
		password := r.payload.ChildText(nsRegister, "password")
		switch {
		case err != nil || password == "":
			r.fail("modify", "bad-request", "")
		case a != acc.addr:
			r.fail("cancel", "not-allowed", "")
		default:
			acc.password = password
			clear(acc.tokens)
			r.result(nil)
		}
	}
}

// register makes an account for somebody who is not signed in. The lock is held.
func (c *Conn) register(e *confab.Element) {
	q := e.Child(nsRegister, "query")
	reply := func(typ string, kids ...*confab.Element) {
		c.write(confab.El(nsClient, "iq", kids...).Set("type", typ).Set("id", e.Get("id")).Set("from", c.host))
	}
	fail := func(typ, condition string) { reply("error", q, stanzaError(typ, condition, "")) }
	switch e.Get("type") {
	case "get":
		reply("result", confab.El(nsRegister, "query",
			confab.El(nsRegister, "instructions").SetText("Choose a name and a password."),
			confab.El(nsRegister, "username"), confab.El(nsRegister, "password")))
	case "set":
		user, password := q.ChildText(nsRegister, "username"), q.ChildText(nsRegister, "password")
		a, err := parseAddr(user + "@" + c.host)
		switch {
		case user == "" || password == "" || err != nil || a.local == "" || a.resource != "":
			fail("modify", "not-acceptable")
		case c.srv.accounts[a] != nil:
			fail("cancel", "conflict")
		default:
			c.srv.newAccount(a, password)
			reply("result")
		}
	default:
		fail("modify", "bad-request")
	}
}
