package confabtest

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
)

const (
	nsPubSub       = "http://jabber.org/protocol/pubsub"
	nsPubSubEvent  = nsPubSub + "#event"
	nsPubSubOwner  = nsPubSub + "#owner"
	nsPubSubErrors = nsPubSub + "#errors"
	nsRSM          = "http://jabber.org/protocol/rsm"
	nsForm         = form.NS
)

// mostItems is how many items a node can keep: "max".
const mostItems = 256

// pubsub is a service (XEP-0060): that of an account (PEP), or the component. It
// does what Prosody's does.
type pubsub struct {
	srv   *Server
	addr  addr
	acc   *account // nil for the component
	nodes map[string]*pubsubNode
}

type pubsubNode struct {
	name   string
	cfg    map[string][]string // by the names of the form, less "pubsub#"
	items  []pubsubItem        // the oldest first
	subs   map[addr]string     // subscribed or pending
	silent map[addr]bool       // subscriptions that deliver nothing
	affs   map[addr]string
}

type pubsubItem struct {
	id, publisher string
	payload       *confab.Element // or nil
	at            time.Time
}

func newPubsub(s *Server, a addr, acc *account) *pubsub {
	return &pubsub{srv: s, addr: a, acc: acc, nodes: map[string]*pubsubNode{}}
}

// defaults returns what a node is like at first.
func (p *pubsub) defaults() map[string][]string {
	c := map[string][]string{
		"access_model": {"open"}, "max_items": {"20"}, "persist_items": {"1"}, "send_last_published_item": {"never"},
		"publish_model": {"publishers"}, "deliver_payloads": {"1"}, "notify_retract": {"1"}, "notify_delete": {"1"},
		"notify_config": {"0"}, "itemreply": {"none"}, "title": {""}, "description": {""}, "type": {""},
		"roster_groups_allowed": nil,
	}
	if p.acc != nil {
		c["access_model"], c["max_items"] = []string{"presence"}, []string{"1"}
		c["send_last_published_item"] = []string{"on_sub_and_presence"}
	}
	return c
}

// pubsubFields are the settings with their types and, for lists, their values.
var pubsubFields = []struct {
	name    string
	typ     form.FieldType
	options []string
}{
	{"title", form.TextSingle, nil}, {"description", form.TextSingle, nil}, {"type", form.TextSingle, nil},
	{"max_items", form.TextSingle, nil}, {"persist_items", form.Boolean, nil},
	{"access_model", form.ListSingle, []string{"authorize", "open", "presence", "roster", "whitelist"}},
	{"roster_groups_allowed", form.ListMulti, nil},
	{"publish_model", form.ListSingle, []string{"publishers", "subscribers", "open"}},
	{"send_last_published_item", form.ListSingle, []string{"never", "on_sub", "on_sub_and_presence"}},
	{"deliver_payloads", form.Boolean, nil}, {"notify_retract", form.Boolean, nil},
	{"notify_delete", form.Boolean, nil}, {"notify_config", form.Boolean, nil},
	{"itemreply", form.ListSingle, []string{"owner", "publisher", "none"}},
}

func pubsubForm(cfg map[string][]string) *confab.Element {
	f := form.New(form.Questions, nsPubSub+"#node_config")
	for _, d := range pubsubFields {
		fd := form.Field{Var: "pubsub#" + d.name, Type: d.typ, Values: cfg[d.name]}
		for _, o := range d.options {
			fd.Options = append(fd.Options, form.Option{Value: o})
		}
		f.Fields = append(f.Fields, fd)
	}
	return f.Element()
}

// settings reads a form that was filled in. What is unknown is passed over; values
// that cannot be make it not ok.
func (p *pubsub) settings(el *confab.Element) (cfg map[string][]string, ok bool) {
	cfg = map[string][]string{}
	f := form.Find(el, "")
	if f == nil {
		return nil, false
	}
	for _, d := range pubsubFields {
		fd := f.Field("pubsub#" + d.name)
		if fd == nil {
			continue
		}
		v := slices.Clone(fd.Values)
		if d.typ == form.Boolean {
			b, good := f.Bool(fd.Var)
			if v = []string{"0"}; b {
				v[0] = "1"
			}
			ok = good
		} else {
			ok = d.options == nil || len(v) == 1 && slices.Contains(d.options, v[0])
		}
		if d.name == "max_items" && f.Get(fd.Var) != "max" {
			n, err := strconv.Atoi(f.Get(fd.Var))
			ok = err == nil && n > 0 && n <= mostItems
		}
		if d.name == "access_model" && p.acc != nil && v[0] == "authorize" || !ok {
			return nil, false
		}
		cfg[d.name] = v
	}
	return cfg, true
}

func (n *pubsubNode) get(name string) string {
	if v := n.cfg[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (n *pubsubNode) is(name string) bool { return n.get(name) == "1" }

func (n *pubsubNode) max() int {
	if m, err := strconv.Atoi(n.get("max_items")); err == nil {
		return m
	}
	return mostItems
}

// trim forgets the oldest of too many items.
func (n *pubsubNode) trim() {
	if !n.is("persist_items") {
		n.items = nil
	}
	if over := len(n.items) - n.max(); over > 0 {
		n.items = slices.Clone(n.items[over:])
	}
}

func (n *pubsubNode) item(id string) int {
	return slices.IndexFunc(n.items, func(it pubsubItem) bool { return it.id == id })
}

func (it pubsubItem) element(space string, publisher, payload bool) *confab.Element {
	e := confab.El(space, "item").Set("id", it.id)
	if publisher {
		e.Set("publisher", it.publisher)
	}
	if payload && it.payload != nil {
		e.Add(it.payload)
	}
	return e
}

// sorted returns the nodes by name.
func (p *pubsub) sorted() []*pubsubNode {
	return slices.SortedFunc(maps.Values(p.nodes), func(a, b *pubsubNode) int { return cmp.Compare(a.name, b.name) })
}

// create makes a node with settings beside the defaults.
func (p *pubsub) create(name string, creator addr, cfg map[string][]string) *pubsubNode {
	n := &pubsubNode{name: name, cfg: p.defaults(), subs: map[addr]string{}, silent: map[addr]bool{}, affs: map[addr]string{creator.bare(): "owner"}}
	maps.Copy(n.cfg, cfg)
	p.nodes[name] = n
	return n
}

// owns reports whether somebody may do all with a node.
func (p *pubsub) owns(n *pubsubNode, who addr) bool {
	if p.acc != nil {
		return who.bare() == p.addr
	}
	return n != nil && n.affs[who.bare()] == "owner"
}

// reads reports whether somebody may read a node.
func (p *pubsub) reads(n *pubsubNode, who addr) bool {
	who = who.bare()
	switch n.affs[who] {
	case "outcast":
		return false
	case "owner", "publisher", "member":
		return true
	}
	if p.owns(n, who) {
		return true
	}
	switch n.get("access_model") {
	case "open":
		return true
	case "presence":
		return p.seen(who)
	case "roster":
		if p.acc == nil || p.acc.roster.items[who] == nil {
			return false
		}
		return slices.ContainsFunc(p.acc.roster.items[who].groups, func(g string) bool {
			return slices.Contains(n.cfg["roster_groups_allowed"], g)
		})
	case "authorize":
		return n.subs[who] == "subscribed"
	}
	return false
}

// writes reports whether somebody may publish to a node.
func (p *pubsub) writes(n *pubsubNode, who addr) bool {
	who = who.bare()
	switch n.affs[who] {
	case "outcast":
		return false
	case "owner", "publisher", "publish-only":
		return true
	}
	if p.owns(n, who) {
		return true
	}
	switch n.get("publish_model") {
	case "open":
		return true
	case "subscribers":
		return n.subs[who] == "subscribed"
	}
	return false
}

// seen reports whether somebody may see the presence of the service's account.
func (p *pubsub) seen(who addr) bool {
	if p.acc == nil {
		return false
	}
	it := p.acc.roster.items[who.bare()]
	return who.bare() == p.addr || it != nil && it.from
}

// event makes the message that tells of a node.
func (p *pubsub) event(to addr, what *confab.Element) *confab.Element {
	return el("message", "headline", newID(), p.addr, to, confab.El(nsPubSubEvent, "event", what))
}

// notify sends an event to all who are interested in a node and may read it. The lock
// is held.
func (p *pubsub) notify(n *pubsubNode, what *confab.Element) {
	if p.acc != nil {
		for _, ss := range p.srv.interested(n.name) {
			if p.seen(ss.addr) && p.reads(n, ss.addr) {
				ss.deliver(p.event(ss.addr, what), true)
			}
		}
	}
	for _, a := range sortedAddrs(n.subs) {
		if n.subs[a] == "subscribed" && !n.silent[a] && p.reads(n, a) {
			p.srv.route(nil, p.addr, a, p.event(a, what))
		}
	}
}

func (n *pubsubNode) published(it pubsubItem) *confab.Element {
	return confab.El(nsPubSubEvent, "items",
		it.element(nsPubSubEvent, n.get("itemreply") == "publisher", n.is("deliver_payloads"))).Set("node", n.name)
}

// last returns the event for the item that was published last, with its stamp, or
// nil if there is none.
func (p *pubsub) last(n *pubsubNode, to addr) *confab.Element {
	if len(n.items) == 0 {
		return nil
	}
	it := n.items[len(n.items)-1]
	return delayed(p.event(to, n.published(it)), p.addr, it.at)
}
