package confabtest

import (
	"maps"
	"slices"

	"github.com/confab-im/confab"
)

// discoFeature is service discovery (XEP-0030) for the server and its accounts.
func discoFeature(s *Server) {
	s.hooks.serverInfo = append(s.hooks.serverInfo, nsInfo, nsItems, "urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time", "jabber:iq:last")
	s.hooks.accountInfo = append(s.hooks.accountInfo, nsInfo, nsItems)
	s.handleIQ(nsInfo, "query", serverInfo, accountInfo)
	s.handleIQ(nsItems, "query", serverItems, accountItems)
}

func info(category, typ, name string, features []string) *confab.Element {
	q := confab.El(nsInfo, "query", confab.El(nsInfo, "identity").Set("category", category).Set("type", typ).Set("name", name))
	for _, f := range slices.Compact(slices.Sorted(slices.Values(features))) {
		q.Add(confab.El(nsInfo, "feature").Set("var", f))
	}
	return q
}

func serverInfo(r *request) {
	switch {
	case r.typ != "get":
		r.fail("cancel", "not-allowed", "")
	case r.payload.Get("node") != "":
		r.fail("cancel", "item-not-found", "")
	default:
		r.result(info("server", "im", "confabtest", r.s.hooks.serverInfo))
	}
}

func accountInfo(r *request) {
	switch {
	case !r.trusted():
		r.fail("cancel", "service-unavailable", "")
	case r.payload.Get("node") != "":
		q := confab.El(nsInfo, "query").Set("node", r.payload.Get("node"))
		if !r.s.discover(r, q) {
			r.fail("cancel", "item-not-found", "")
			return
		}
		r.result(q)
	default:
		typ := "registered"
		if r.acc.temporary {
			typ = "anonymous"
		}
		q := info("account", typ, "", r.s.hooks.accountInfo)
		r.s.discover(r, q)
		r.result(q)
	}
}

// discover has features add to an answer of an account, and reports whether any
// knows the node that is asked for.
func (s *Server) discover(r *request, q *confab.Element) (known bool) {
	for _, hook := range s.hooks.discover {
		known = hook(r, q) || known
	}
	return known
}

func serverItems(r *request) {
	q := confab.El(nsItems, "query").Set("node", r.payload.Get("node"))
	if r.payload.Get("node") == "" {
		for _, d := range slices.Sorted(maps.Keys(r.s.domains)) {
			q.Add(confab.El(nsItems, "item").Set("jid", d))
		}
	}
	r.result(q)
}

func accountItems(r *request) {
	if !r.trusted() {
		r.fail("cancel", "service-unavailable", "")
		return
	}
	q := confab.El(nsItems, "query").Set("node", r.payload.Get("node"))
	if r.payload.Get("node") == "" {
		for _, ss := range r.acc.available(anyPriority) {
			q.Add(confab.El(nsItems, "item").Set("jid", ss.addr.String()))
		}
	}
	r.s.discover(r, q)
	r.result(q)
}
