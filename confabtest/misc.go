package confabtest

import (
	"encoding/xml"
	"strconv"
	"time"

	"github.com/confab-im/confab"
)

const (
	nsPing    = "urn:xmpp:ping"
	nsVersion = "jabber:iq:version"
	nsTime    = "urn:xmpp:time"
	nsLast    = "jabber:iq:last"
	nsPrivate = "jabber:iq:private"
)

// miscFeature is what takes a few lines each: ping (XEP-0199), version (0092),
// time (0202), last activity (0012), private storage (0049) and the session of
// RFC 3921.
func miscFeature(s *Server) {
	ping := func(r *request) {
		if r.typ != "get" {
			r.fail("modify", "bad-request", "")
			return
		}
		r.result(nil)
	}
	s.handleIQ(nsPing, "ping", ping, func(r *request) {
		if !r.trusted() {
			r.fail("cancel", "service-unavailable", "")
			return
		}
		ping(r)
	})
	s.handleIQ(nsVersion, "query", func(r *request) {
		r.result(confab.El(nsVersion, "query",
			confab.El(nsVersion, "name").SetText("confabtest"), confab.El(nsVersion, "version").SetText("1")))
	}, nil)
	s.handleIQ(nsTime, "time", func(r *request) {
		r.result(confab.El(nsTime, "time", confab.El(nsTime, "tzo").SetText("+00:00"),
			confab.El(nsTime, "utc").SetText(now().UTC().Format(time.RFC3339))))
	}, nil)
	last := func(since time.Time) *confab.Element {
		return confab.El(nsLast, "query").Set("seconds", strconv.Itoa(int(time.Since(since)/time.Second)))
	}
	s.handleIQ(nsLast, "query",
		func(r *request) { r.result(last(r.s.started)) },
		func(r *request) {
			switch {
			case !r.trusted():
				r.fail("auth", "forbidden", "")
			case len(r.acc.available(anyPriority)) > 0:
				r.result(last(now()))
			default:
				r.result(last(r.acc.seen))
			}
		})
	s.handleIQ(nsPrivate, "query", nil, privateIQ)
	session := func(r *request) { r.result(nil) }
	s.handleIQ(nsSession, "session", session, session)
}

// privateData is an account's private XML storage.
type privateData map[xml.Name]*confab.Element

func privateIQ(r *request) {
	if !r.own() {
		r.fail("auth", "forbidden", "")
		return
	}
	if len(r.payload.Children) != 1 {
		r.fail("modify", "bad-request", "")
		return
	}
	data := state[privateData](r.acc)
	if *data == nil {
		*data = privateData{}
	}
	k := r.payload.Children[0]
	if r.typ == "set" {
		(*data)[k.Name] = k
		r.result(nil)
		return
	}
	if v := (*data)[k.Name]; v != nil {
		k = v
	}
	r.result(confab.El(nsPrivate, "query", k))
}
