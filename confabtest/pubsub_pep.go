package confabtest

import (
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/caps"
)

// watchers knows which clients want the events of which nodes: those with
// "+notify" behind them among their features (XEP-0163 §4.3.2).
type watchers struct {
	hashes  map[string][]string // the nodes, by verification string
	clients map[*session]*watcher
}

type watcher struct {
	ver, query string // asked for, and with which id
	nodes      []string
}

// pep returns the service of an account.
func (a *account) pep() *pubsub {
	p := state[*pubsub](a)
	if *p == nil {
		*p = newPubsub(a.srv, a.addr, a)
	}
	return *p
}

// pubsubFeature is publish-subscribe (XEP-0060), for accounts (XEP-0163) and as a
// component.
func pubsubFeature(s *Server) {
	if !s.cfg.has(PubSub) {
		return
	}
	s.watchers = watchers{map[string][]string{}, map[*session]*watcher{}}
	ask := func(r *request) { r.acc.pep().answer(pubsubRequest{r.from, r.typ, r.payload, r.result, r.send, r.e}) }
	s.handleIQ(nsPubSub, "pubsub", nil, ask)
	s.handleIQ(nsPubSubOwner, "pubsub", nil, ask)
	s.hooks.accountInfo = append(s.hooks.accountInfo, pubsubFeatures("auto-create", "auto-subscribe",
		"filtered-notifications", "presence-notifications", "presence-subscribe", "access-presence", "last-published")...)
	s.hooks.discover = append(s.hooks.discover, func(r *request, q *confab.Element) bool {
		return r.acc.pep().discover(r.from, r.payload, q)
	})
	s.hooks.presence = append(s.hooks.presence, s.watchPresence)
	s.hooks.gone = append(s.hooks.gone, func(ss *session) { delete(s.watchers.clients, ss) })
	s.hooks.answer = append(s.hooks.answer, s.watchAnswer)
	d := "pubsub." + s.cfg.Domain
	s.domains[d] = &pubsubComponent{newPubsub(s, addr{domain: d}, nil)}
}

func pubsubFeatures(more ...string) []string {
	all := []string{nsPubSub, nsRSM}
	for _, f := range append(more, "access-open", "access-whitelist", "config-node", "config-node-max", "create-and-configure",
		"create-nodes", "delete-items", "delete-nodes", "instant-nodes", "item-ids", "member-affiliation", "meta-data",
		"modify-affiliations", "multi-items", "outcast-affiliation", "persistent-items", "publish", "publish-options",
		"publisher-affiliation", "purge-nodes", "retract-items", "retrieve-affiliations", "retrieve-default",
		"retrieve-items", "retrieve-subscriptions", "manage-subscriptions", "subscribe", "subscription-options", "rsm") {
		all = append(all, nsPubSub+"#"+f)
	}
	return all
}

// interested returns the clients that want the events of a node, whoever owns it.
func (s *Server) interested(node string) []*session {
	var list []*session
	for ss, w := range s.watchers.clients {
		if ss.presence != nil && slices.Contains(w.nodes, node) {
			list = append(list, ss)
		}
	}
	slices.SortFunc(list, func(a, b *session) int { return strings.Compare(a.addr.String(), b.addr.String()) })
	return list
}

// watchPresence looks at what a client says of itself (XEP-0115), and asks it if
// it is new. The lock is held.
func (s *Server) watchPresence(ss *session, e *confab.Element) {
	if e.Get("type") != "" {
		delete(s.watchers.clients, ss)
		return
	}
	c := e.Child(caps.NS, "c")
	w := s.watchers.clients[ss]
	if c == nil || c.Get("hash") != "sha-1" || c.Get("ver") == "" || w != nil && w.ver == c.Get("ver") {
		return
	}
	if w == nil {
		w = &watcher{}
		s.watchers.clients[ss] = w
	}
	w.ver, w.query = c.Get("ver"), ""
	if nodes, ok := s.watchers.hashes[w.ver]; ok {
		s.watch(ss, w, nodes)
		return
	}
	w.query = newID()
	ss.deliver(el("iq", "get", w.query, ss.acc.addr, ss.addr,
		confab.El(nsInfo, "query").Set("node", c.Get("node")+"#"+w.ver)), true)
}

// watchAnswer takes what a client says to that. The lock is held.
func (s *Server) watchAnswer(ss *session, acc *account, e *confab.Element) {
	w := s.watchers.clients[ss]
	q := e.Child(nsInfo, "query")
	if acc != ss.acc || w == nil || w.query == "" || e.Get("id") != w.query || e.Get("type") != "result" || q == nil {
		return
	}
	w.query = ""
	nodes := []string{}
	for f := range q.All(nsInfo, "feature") {
		if n, ok := strings.CutSuffix(f.Get("var"), "+notify"); ok {
			nodes = append(nodes, n)
		}
	}
	if ver, err := caps.Ver(q); err == nil && ver == w.ver && len(s.watchers.hashes) < 10_000 {
		s.watchers.hashes[ver] = nodes
	}
	s.watch(ss, w, nodes)
}

// watch notes what a client wants, and sends the last items of what it did not want
// before. The lock is held.
func (s *Server) watch(ss *session, w *watcher, nodes []string) {
	old := w.nodes
	w.nodes = nodes
	var accounts []*account
	for _, a := range s.accounts {
		accounts = append(accounts, a)
	}
	slices.SortFunc(accounts, func(a, b *account) int { return strings.Compare(a.addr.String(), b.addr.String()) })
	for _, a := range accounts {
		if !a.pep().seen(ss.addr) {
			continue
		}
		for _, name := range nodes {
			n := a.pep().nodes[name]
			if n == nil || slices.Contains(old, name) || n.get("send_last_published_item") != "on_sub_and_presence" || !a.pep().reads(n, ss.addr) {
				continue
			}
			if m := a.pep().last(n, ss.addr); m != nil {
				ss.deliver(m, true)
			}
		}
	}
}

// pubsubComponent is the service that belongs to nobody.
type pubsubComponent struct{ *pubsub }

// stanza implements domain. The lock is held.
func (c *pubsubComponent) stanza(s *Server, _ *session, from, to addr, e *confab.Element) {
	typ := e.Get("type")
	if e.Name.Local == "message" && typ != "error" && to == c.addr {
		c.authorize(from, e)
	}
	if e.Name.Local != "iq" || typ != "get" && typ != "set" {
		return
	}
	if to != c.addr || len(e.Children) != 1 {
		s.bounce(e, "cancel", "service-unavailable", "")
		return
	}
	p := e.Children[0]
	reply := func(payload *confab.Element) {
		r := el("iq", "result", e.Get("id"), c.addr, from)
		if payload != nil {
			r.Add(payload)
		}
		s.route(nil, c.addr, from, r)
	}
	r := pubsubRequest{from, typ, p, reply, func(e *confab.Element) { s.back(e) }, e}
	switch {
	case p.Is(nsPubSub, "pubsub"), p.Is(nsPubSubOwner, "pubsub"):
		c.answer(r)
	case p.Is(nsInfo, "query"), p.Is(nsItems, "query"):
		q := confab.El(p.Name.Space, "query").Set("node", p.Get("node"))
		if p.Get("node") == "" && p.Name.Space == nsInfo {
			q = info("pubsub", "service", "", append(pubsubFeatures("access-authorize"), nsInfo, nsItems))
		}
		if !c.discover(from, p, q) && p.Get("node") != "" {
			r.fail("cancel", "item-not-found", "")
			return
		}
		reply(q)
	default:
		s.bounce(e, "cancel", "service-unavailable", "")
	}
}

// discover adds to an answer what the service says of itself and of its nodes.
func (p *pubsub) discover(from addr, ask, q *confab.Element) (known bool) {
	node := ask.Get("node")
	if node == "" {
		if ask.Name.Space == nsInfo && p.acc != nil {
			q.Children = append([]*confab.Element{confab.El(nsInfo, "identity").Set("category", "pubsub").Set("type", "pep")}, q.Children...)
		}
		if ask.Name.Space == nsItems {
			for _, n := range p.sorted() {
				if p.reads(n, from) {
					q.Add(confab.El(nsItems, "item").Set("jid", p.addr.String()).Set("node", n.name).Set("name", n.get("title")))
				}
			}
		}
		return true
	}
	n := p.nodes[node]
	if n == nil || !p.reads(n, from) {
		return false
	}
	if ask.Name.Space == nsItems {
		for _, it := range n.items {
			q.Add(confab.El(nsItems, "item").Set("jid", p.addr.String()).Set("name", it.id))
		}
		return true
	}
	q.Add(confab.El(nsInfo, "identity").Set("category", "pubsub").Set("type", "leaf"))
	q.Add(confab.El(nsInfo, "feature").Set("var", nsPubSub))
	q.Add(n.metadata())
	return true
}
