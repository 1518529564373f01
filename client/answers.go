package client

import (
	"context"
	"encoding/xml"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/caps"
	"mellium.im/xmpp/stanza"
)

// Namespaces of what is answered.
const (
	nsItems   = "http://jabber.org/protocol/disco#items"
	nsVersion = "jabber:iq:version"
	nsTime    = "urn:xmpp:time"
	nsLast    = "jabber:iq:last"
	nsPing    = "urn:xmpp:ping"
)

// answers tells others what this client is and can do.
type answers struct {
	mu       sync.Mutex
	c        *Client
	features []string
	said     []announced     // what presences told of, the newest first
	stale    bool            // the features have changed since
	sent     bool            // the own presence went out on this stream
	own      *confab.Element // the presence that the program sent last, or nil

	sending sync.Mutex // held while the own presence is queued: the last is the last
}

// announced is an answer to disco#info that a presence tells of. Who asks for one
// of the last few gets it even when it has changed meanwhile (XEP-0390 §7.1).
type announced struct {
	ver, hash string // by XEP-0115 and XEP-0390
	query     *confab.Element
}

// maxAnnounced is how many are kept.
const maxAnnounced = 4

// register makes the handlers.
func (a *answers) register(c *Client) error {
	a.c = c
	c.Advertise(caps.NSInfo, caps.NS, caps.NS2, nsVersion, nsTime, nsPing)
	a.features = c.drv.Features(a.changed)
	for _, h := range []struct {
		space, local string
		f            confab.IQFunc
	}{
		{caps.NSInfo, "query", a.info},
		{nsItems, "query", a.items},
		{nsVersion, "query", a.version},
		{nsTime, "time", a.time},
		{nsLast, "query", a.last},
		{nsPing, "ping", func(context.Context, *confab.IQ) (any, error) { return nil, nil }},
	} {
		if err := c.HandleIQ(stanza.GetIQ, xml.Name{Space: h.space, Local: h.local}, h.f); err != nil {
			return err
		}
	}
	c.OnDown(func(_ error, lost bool) {
		if lost {
			a.mu.Lock()
			a.sent = false
			a.mu.Unlock()
		}
	})
	return nil
}

// changed is called when a feature is added. Contacts learn of it by a new
// presence.
func (a *answers) changed() {
	a.mu.Lock()
	a.features, a.stale = a.c.drv.Features(nil), true
	sent := a.sent
	a.mu.Unlock()
	if sent {
		a.c.Go(func(ctx context.Context) {
			a.sending.Lock()
			defer a.sending.Unlock()
			_ = a.announce(ctx)
		})
	}
}

// query makes the answer to disco#info. The stream is in English: saying so in the
// identity keeps the hash the same, whatever becomes of xml:lang on the way.
func (a *answers) query() *confab.Element {
	s := &a.c.cfg.Software
	id := confab.El(caps.NSInfo, "identity").Set("category", s.Category).Set("type", s.Type).Set("name", s.Name)
	id.Attr = append(id.Attr, xml.Attr{Name: xml.Name{Space: "http://www.w3.org/XML/1998/namespace", Local: "lang"}, Value: "en"})
	q := confab.El(caps.NSInfo, "query", id)
	for _, f := range a.features {
		q.Add(confab.El(caps.NSInfo, "feature").Set("var", f))
	}
	return q.Add(s.Forms...)
}

// current returns the newest answer and its hashes.
func (a *answers) current() announced {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.said) > 0 && !a.stale {
		return a.said[0]
	}
	q := a.query()
	ver, _ := caps.Ver(q)                     // our own is well-formed
	hash, _ := caps.Hash(q, caps.Default, "") // none if the program's forms have no type
	a.said = slices.Insert(a.said, 0, announced{ver, hash, q})
	a.said, a.stale = a.said[:min(len(a.said), maxAnnounced)], false
	return a.said[0]
}

// isBroadcast reports whether a stanza is the own presence, for everybody.
func isBroadcast(el *confab.Element) bool {
	return el.Name.Local == "presence" && el.Get("to") == "" && (el.Get("type") == "" || el.Get("type") == "unavailable")
}

// broadcast takes the own presence from the program. What was sent last is what
// later sign-ins begin with, and what they begin with if none is up yet.
func (a *answers) broadcast(ctx context.Context, el *confab.Element) error {
	if a.c.cfg.NoPresence {
		return clientLink{a.c}.write(ctx, el, nil)
	}
	if _, err := el.AppendXML(nil, confab.NSClient); err != nil {
		return err
	}
	a.sending.Lock()
	defer a.sending.Unlock()
	a.mu.Lock()
	a.own = el.Clone()
	sent := a.sent
	a.mu.Unlock()
	if !sent {
		return nil
	}
	return a.announce(ctx)
}

// first sends the own presence on a new stream.
func (a *answers) first(ctx context.Context) error {
	a.sending.Lock()
	defer a.sending.Unlock()
	a.mu.Lock()
	a.sent = true
	hidden := a.own.Get("type") != ""
	a.mu.Unlock()
	if hidden {
		return nil
	}
	return a.announce(ctx)
}

// announce sends the own presence.
func (a *answers) announce(ctx context.Context) error {
	return clientLink{a.c}.write(ctx, a.presence(), nil)
}

// presence makes the own presence.
func (a *answers) presence() *confab.Element {
	a.mu.Lock()
	p := a.own.Clone()
	a.mu.Unlock()
	if p == nil {
		p = a.c.cfg.Presence.Clone()
	}
	if p == nil {
		p = confab.El(confab.NSClient, "presence")
	}
	return a.dressed(p)
}

// dressed returns a presence with what tells of this client's abilities.
func (a *answers) dressed(p *confab.Element) *confab.Element {
	if p.Get("type") != "" || p.Child(caps.NS, "c") != nil {
		return p
	}
	now, c := a.current(), *p
	c.Children = append(slices.Clip(p.Children), caps.Element(a.c.cfg.Software.Node, now.ver))
	if now.hash != "" {
		c.Add(caps.Element2(caps.Default, now.hash))
	}
	return &c
}

func (a *answers) info(ctx context.Context, q *confab.IQ) (any, error) {
	node := q.Payload.Get("node")
	if f := a.c.drv.Node(node); f != nil {
		return f(ctx, q)
	}
	now := a.current()
	if node == "" {
		return now.query, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.said {
		if node == a.c.cfg.Software.Node+"#"+s.ver || s.hash != "" && node == caps.Node(caps.Default, s.hash) {
			return s.query.Clone().Set("node", node), nil
		}
	}
	return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
}

func (a *answers) items(ctx context.Context, q *confab.IQ) (any, error) {
	node := q.Payload.Get("node")
	if f := a.c.drv.Node(node); f != nil {
		return f(ctx, q)
	}
	if node != "" {
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	}
	return confab.El(nsItems, "query"), nil
}

// version does not tell the operating system: it is nobody's business.
func (a *answers) version(context.Context, *confab.IQ) (any, error) {
	s := &a.c.cfg.Software
	q := confab.El(nsVersion, "query", confab.El(nsVersion, "name").SetText(s.Name))
	if s.Version != "" {
		q.Add(confab.El(nsVersion, "version").SetText(s.Version))
	}
	return q, nil
}

// time answers in UTC, which does not tell where one is.
func (a *answers) time(context.Context, *confab.IQ) (any, error) {
	return confab.El(nsTime, "time",
		confab.El(nsTime, "tzo").SetText("+00:00"),
		confab.El(nsTime, "utc").SetText(time.Now().UTC().Format("2006-01-02T15:04:05Z"))), nil
}

// last says how long nothing was sent (XEP-0012), to the own account only.
func (a *answers) last(_ context.Context, q *confab.IQ) (any, error) {
	if !q.From.Bare().Equal(a.c.LocalAddr().Bare()) {
		return nil, stanza.Error{Type: stanza.Auth, Condition: stanza.Forbidden}
	}
	idle := int64(time.Since(time.Unix(0, a.c.out.lastOut.Load())) / time.Second)
	return confab.El(nsLast, "query").Set("seconds", strconv.FormatInt(max(idle, 0), 10)), nil
}
