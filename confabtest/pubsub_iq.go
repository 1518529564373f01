package confabtest

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
)

// pubsubRequest is a request to a service, on the way to an account or to the
// component.
type pubsubRequest struct {
	from    addr
	typ     string
	payload *confab.Element
	result  func(*confab.Element)
	send    func(*confab.Element)
	e       *confab.Element
}

func (r pubsubRequest) fail(typ, condition, text string) { r.refuse(typ, condition, "", "", text) }

// refuse answers with an error that has a condition of publish-subscribe, too.
func (r pubsubRequest) refuse(typ, condition, special, feature, text string) {
	e := errorFor(r.e, typ, condition, text)
	if e == nil {
		return
	}
	if special != "" {
		err := e.Child(nsClient, "error")
		err.Add(confab.El(nsPubSubErrors, special).Set("feature", feature))
	}
	r.send(e)
}

func (r pubsubRequest) forbidden() { r.fail("auth", "forbidden", "") }
func (r pubsubRequest) notFound()  { r.fail("cancel", "item-not-found", "") }

// answer answers a request. The lock is held.
func (p *pubsub) answer(r pubsubRequest) {
	if len(r.payload.Children) == 0 {
		r.fail("modify", "bad-request", "")
		return
	}
	act := r.payload.Children[0]
	node := act.Get("node")
	n := p.nodes[node]
	what := r.typ + " " + act.Name.Local
	if r.payload.Name.Space == nsPubSubOwner {
		if what == "get default" {
			r.result(confab.El(nsPubSubOwner, "pubsub", confab.El(nsPubSubOwner, "default", pubsubForm(p.defaults()))))
			return
		}
		switch {
		case node == "":
			r.refuse("modify", "bad-request", "nodeid-required", "", "")
		case n == nil && (p.acc == nil || p.owns(nil, r.from)):
			r.notFound()
		case !p.owns(n, r.from):
			r.forbidden()
		default:
			p.owner(r, what, act, n)
		}
		return
	}
	switch what {
	case "set create":
		p.setCreate(r, node, n)
		return
	case "set publish":
		p.setPublish(r, act, n)
		return
	case "get subscriptions":
		p.getSubscriptions(r, node)
		return
	case "get affiliations":
		list := confab.El(nsPubSub, "affiliations").Set("node", node)
		for _, n := range p.sorted() {
			if a := n.affs[r.from.bare()]; a != "" && (node == "" || node == n.name) {
				list.Add(confab.El(nsPubSub, "affiliation").Set("node", n.name).Set("affiliation", a))
			}
		}
		r.result(confab.El(nsPubSub, "pubsub", list))
		return
	}
	switch {
	case node == "":
		r.refuse("modify", "bad-request", "nodeid-required", "", "")
	case n == nil:
		r.notFound()
	case what == "get items":
		p.getItems(r, act, n)
	case what == "set retract":
		p.setRetract(r, act, n)
	case what == "set subscribe":
		p.setSubscribe(r, act, n)
	case what == "set unsubscribe":
		who, err := parseAddr(act.Get("jid"))
		switch {
		case err != nil || who.bare() != r.from.bare():
			r.refuse("modify", "bad-request", "invalid-jid", "", "")
		case n.subs[who] == "":
			r.refuse("cancel", "unexpected-request", "not-subscribed", "", "")
		default:
			delete(n.subs, who)
			r.result(confab.El(nsPubSub, "pubsub", n.subscription(nsPubSub, who, "none")))
		}
	case what == "get options", what == "set options":
		p.options(r, act, n)
	default:
		r.fail("cancel", "feature-not-implemented", "")
	}
}

func (p *pubsub) setCreate(r pubsubRequest, node string, n *pubsubNode) {
	if n != nil {
		r.fail("cancel", "conflict", "")
		return
	}
	if p.acc != nil && !p.owns(nil, r.from) {
		r.forbidden()
		return
	}
	var cfg map[string][]string
	if c := r.payload.Child(nsPubSub, "configure"); c != nil && len(c.Children) > 0 {
		var ok bool
		if cfg, ok = p.settings(c); !ok {
			r.fail("modify", "not-acceptable", "")
			return
		}
	}
	made := node == ""
	if made {
		node = newID()
	}
	p.create(node, r.from, cfg)
	if !made {
		r.result(nil)
		return
	}
	r.result(confab.El(nsPubSub, "pubsub", confab.El(nsPubSub, "create").Set("node", node)))
}

func (p *pubsub) setPublish(r pubsubRequest, act *confab.Element, n *pubsubNode) {
	var opts map[string][]string
	if o := r.payload.Child(nsPubSub, "publish-options"); o != nil {
		var ok bool
		if opts, ok = p.settings(o); !ok {
			r.fail("modify", "bad-request", "")
			return
		}
	}
	node, items := act.Get("node"), slices.Collect(act.All(nsPubSub, "item"))
	switch {
	case node == "":
		r.refuse("modify", "bad-request", "nodeid-required", "", "")
		return
	case n == nil && p.acc != nil && !p.owns(nil, r.from), n != nil && !p.writes(n, r.from):
		r.forbidden()
		return
	case len(items) != 1:
		r.refuse("modify", "bad-request", "item-required", "", "")
		return
	case len(items[0].Children) > 1, p.acc != nil && len(items[0].Children) != 1:
		r.refuse("modify", "bad-request", "invalid-payload", "", "")
		return
	}
	if n == nil {
		n = p.create(node, r.from, opts)
	}
	for name, v := range opts {
		if !slices.Equal(n.cfg[name], v) {
			r.refuse("cancel", "conflict", "precondition-not-met", "", "Field does not match: "+name)
			return
		}
	}
	it := pubsubItem{id: items[0].Get("id"), publisher: r.from.bare().String(), at: now()}
	if it.id == "" {
		it.id = newID()
	}
	if len(items[0].Children) == 1 {
		it.payload = items[0].Children[0]
	}
	p.publish(n, it)
	r.result(confab.El(nsPubSub, "pubsub",
		confab.El(nsPubSub, "publish", confab.El(nsPubSub, "item").Set("id", it.id)).Set("node", node)))
}

// publish puts an item into a node. The lock is held.
func (p *pubsub) publish(n *pubsubNode, it pubsubItem) {
	n.items = append(slices.DeleteFunc(n.items, func(o pubsubItem) bool { return o.id == it.id }), it)
	n.trim()
	p.notify(n, n.published(it))
}

func (p *pubsub) setRetract(r pubsubRequest, act *confab.Element, n *pubsubNode) {
	id := act.Child(nsPubSub, "item").Get("id")
	i := n.item(id)
	switch {
	case !p.writes(n, r.from):
		r.forbidden()
	case i < 0:
		r.notFound()
	default:
		n.items = slices.Delete(n.items, i, i+1)
		r.result(nil)
		if isTrue(act.Get("notify")) && n.is("notify_retract") {
			p.notify(n, confab.El(nsPubSubEvent, "items", confab.El(nsPubSubEvent, "retract").Set("id", id)).Set("node", n.name))
		}
	}
}

func (p *pubsub) getItems(r pubsubRequest, act *confab.Element, n *pubsubNode) {
	if !p.reads(n, r.from) {
		r.forbidden()
		return
	}
	items := n.items
	out := confab.El(nsPubSub, "items").Set("node", n.name)
	res := confab.El(nsPubSub, "pubsub", out)
	if ids := slices.Collect(act.All(nsPubSub, "item")); len(ids) > 0 {
		items = nil
		for _, id := range ids {
			if i := n.item(id.Get("id")); i >= 0 {
				items = append(items, n.items[i])
			}
		}
	} else if most, err := strconv.Atoi(act.Get("max_items")); err == nil && most >= 0 {
		items = items[max(0, len(items)-most):]
	} else if set := r.payload.Child(nsRSM, "set"); set != nil {
		var page *confab.Element
		if items, page = rsmPage(items, set); page == nil {
			r.notFound()
			return
		}
		res.Add(page)
	}
	for _, it := range items {
		out.Add(it.element(nsPubSub, n.get("itemreply") == "publisher", true))
	}
	r.result(res)
}

// rsmPage cuts out a page (XEP-0059); page is nil if there is no such item.
func rsmPage(items []pubsubItem, set *confab.Element) (_ []pubsubItem, page *confab.Element) {
	at := func(id string) int { return slices.IndexFunc(items, func(it pubsubItem) bool { return it.id == id }) }
	from, to, most := 0, len(items), mostItems
	if m, err := strconv.Atoi(set.ChildText(nsRSM, "max")); err == nil && m >= 0 {
		most = m
	}
	if id := set.ChildText(nsRSM, "after"); id != "" {
		if from = at(id) + 1; from == 0 {
			return nil, nil
		}
	}
	before := set.Child(nsRSM, "before")
	if before != nil && before.Text != "" {
		if to = at(before.Text); to < 0 {
			return nil, nil
		}
	}
	if from > to {
		from = to
	}
	if before != nil {
		from = max(from, to-most)
	} else {
		to = min(to, from+most)
	}
	page = confab.El(nsRSM, "set")
	if from < to {
		page.Add(confab.El(nsRSM, "first").Set("index", strconv.Itoa(from)).SetText(items[from].id),
			confab.El(nsRSM, "last").SetText(items[to-1].id))
	}
	return items[from:to], page.Add(confab.El(nsRSM, "count").SetText(strconv.Itoa(len(items))))
}

func (n *pubsubNode) subscription(space string, who addr, state string) *confab.Element {
	return confab.El(space, "subscription").Set("node", n.name).Set("jid", who.String()).Set("subscription", state)
}

func (p *pubsub) setSubscribe(r pubsubRequest, act *confab.Element, n *pubsubNode) {
	who, err := parseAddr(act.Get("jid"))
	state := "subscribed"
	switch {
	case err != nil || who.bare() != r.from.bare():
		r.refuse("modify", "bad-request", "invalid-jid", "", "")
		return
	case n.affs[who.bare()] == "outcast":
		r.forbidden()
		return
	case n.get("access_model") == "authorize" && !p.reads(n, who):
		state = "pending"
	case !p.reads(n, who):
		r.forbidden()
		return
	}
	n.subs[who] = state
	r.result(confab.El(nsPubSub, "pubsub", n.subscription(nsPubSub, who, state)))
	if state == "pending" {
		p.askOwners(n, who)
	}
	if m := p.last(n, who); m != nil && state == "subscribed" && n.get("send_last_published_item") != "never" {
		p.srv.route(nil, p.addr, who, m)
	}
}

// askOwners asks whether somebody may subscribe (XEP-0060 §8.6).
func (p *pubsub) askOwners(n *pubsubNode, who addr) {
	f := form.New(form.Questions, formAuthorize).Set("pubsub#node", n.name).
		Set("pubsub#subscriber_jid", who.String()).SetBool("pubsub#allow", false)
	f.Field("pubsub#allow").Type = form.Boolean
	for _, a := range sortedAddrs(n.affs) {
		if n.affs[a] == "owner" {
			p.srv.route(nil, p.addr, a, el("message", "", newID(), p.addr, a, f.Element()))
		}
	}
}

const formAuthorize = nsPubSub + "#subscribe_authorization"

// authorize takes the answer to that.
func (p *pubsub) authorize(from addr, e *confab.Element) {
	f := form.Find(e, formAuthorize)
	if f == nil || f.Type != form.Answers {
		return
	}
	who, err := parseAddr(f.Get("pubsub#subscriber_jid"))
	n := p.nodes[f.Get("pubsub#node")]
	if err != nil || n == nil || !p.owns(n, from) || n.subs[who] != "pending" {
		return
	}
	state := "none"
	if ok, _ := f.Bool("pubsub#allow"); ok {
		state = "subscribed"
	}
	p.setState(n, who, state)
}

// setState changes a subscription and tells who has it.
func (p *pubsub) setState(n *pubsubNode, who addr, state string) {
	if state == "none" {
		delete(n.subs, who)
	} else {
		n.subs[who] = state
	}
	p.srv.route(nil, p.addr, who, p.event(who, n.subscription(nsPubSubEvent, who, state)))
}

func (p *pubsub) getSubscriptions(r pubsubRequest, node string) {
	list := confab.El(nsPubSub, "subscriptions").Set("node", node)
	for _, n := range p.sorted() {
		for _, a := range sortedAddrs(n.subs) {
			if a.bare() == r.from.bare() && (node == "" || node == n.name) {
				list.Add(n.subscription(nsPubSub, a, n.subs[a]))
			}
		}
	}
	r.result(confab.El(nsPubSub, "pubsub", list))
}

// options reads or sets the one option of a subscription: whether it delivers.
func (p *pubsub) options(r pubsubRequest, act *confab.Element, n *pubsubNode) {
	who, err := parseAddr(act.Get("jid"))
	switch {
	case err != nil || who.bare() != r.from.bare():
		r.refuse("modify", "bad-request", "invalid-jid", "", "")
	case n.subs[who] == "":
		r.refuse("modify", "unexpected-request", "not-subscribed", "", "")
	case r.typ == "set":
		f := form.Find(act, "")
		if f == nil {
			r.refuse("modify", "bad-request", "invalid-options", "", "")
			return
		}
		if on, ok := f.Bool("pubsub#deliver"); ok {
			n.silent[who] = !on
		}
		r.result(nil)
	default:
		f := form.New(form.Questions, nsPubSub+"#subscribe_options").SetBool("pubsub#deliver", !n.silent[who])
		f.Field("pubsub#deliver").Type = form.Boolean
		r.result(confab.El(nsPubSub, "pubsub",
			confab.El(nsPubSub, "options", f.Element()).Set("node", n.name).Set("jid", who.String())))
	}
}

func sortedAddrs(m map[addr]string) []addr {
	return slices.SortedFunc(maps.Keys(m), func(a, b addr) int { return cmp.Compare(a.String(), b.String()) })
}

// owner answers a request of an owner.
func (p *pubsub) owner(r pubsubRequest, what string, act *confab.Element, n *pubsubNode) {
	switch what {
	case "get configure":
		r.result(confab.El(nsPubSubOwner, "pubsub",
			confab.El(nsPubSubOwner, "configure", pubsubForm(n.cfg)).Set("node", n.name)))
	case "set configure":
		cfg, ok := p.settings(act)
		if !ok {
			r.fail("modify", "not-acceptable", "")
			return
		}
		maps.Copy(n.cfg, cfg)
		n.trim()
		r.result(nil)
		if n.is("notify_config") {
			f := confab.El(nsForm, "x", pubsubForm(n.cfg).Children...).Set("type", "result")
			p.notify(n, confab.El(nsPubSubEvent, "configuration", f).Set("node", n.name))
		}
	case "set delete":
		r.result(nil)
		if n.is("notify_delete") {
			d := confab.El(nsPubSubEvent, "delete").Set("node", n.name)
			if uri := act.Child(nsPubSubOwner, "redirect").Get("uri"); uri != "" {
				d.Add(confab.El(nsPubSubEvent, "redirect").Set("uri", uri))
			}
			p.notify(n, d)
		}
		delete(p.nodes, n.name)
	case "set purge":
		n.items = nil
		r.result(nil)
		p.notify(n, confab.El(nsPubSubEvent, "purge").Set("node", n.name))
	case "get subscriptions":
		list := confab.El(nsPubSubOwner, "subscriptions").Set("node", n.name)
		for _, a := range sortedAddrs(n.subs) {
			list.Add(n.subscription(nsPubSubOwner, a, n.subs[a]).Set("node", ""))
		}
		r.result(confab.El(nsPubSubOwner, "pubsub", list))
	case "set subscriptions":
		for c := range act.All(nsPubSubOwner, "subscription") {
			who, err := parseAddr(c.Get("jid"))
			if err != nil {
				r.refuse("modify", "bad-request", "invalid-jid", "", "")
				return
			}
			p.setState(n, who, c.Get("subscription"))
		}
		r.result(nil)
	case "get affiliations":
		list := confab.El(nsPubSubOwner, "affiliations").Set("node", n.name)
		for _, a := range sortedAddrs(n.affs) {
			list.Add(confab.El(nsPubSubOwner, "affiliation").Set("jid", a.String()).Set("affiliation", n.affs[a]))
		}
		r.result(confab.El(nsPubSubOwner, "pubsub", list))
	case "set affiliations":
		for c := range act.All(nsPubSubOwner, "affiliation") {
			who, err := parseAddr(c.Get("jid"))
			if err != nil || who.bare() == r.from.bare() {
				r.fail("modify", "not-acceptable", "")
				return
			}
			if a := c.Get("affiliation"); a == "none" {
				delete(n.affs, who.bare())
			} else {
				n.affs[who.bare()] = a
			}
		}
		r.result(nil)
	default:
		r.fail("cancel", "feature-not-implemented", "")
	}
}

// metadata describes a node (XEP-0060 §5.4).
func (n *pubsubNode) metadata() *confab.Element {
	f := form.New(form.Result, nsPubSub+"#meta-data")
	for _, name := range []string{"title", "description", "type", "access_model", "publish_model"} {
		f.Set("pubsub#"+name, n.cfg[name]...)
	}
	return f.Element()
}
