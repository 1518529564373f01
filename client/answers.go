package client

import (
	"context"
	"encoding/xml"
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
	ver      string
	sent     bool // the own presence went out on this stream
}

// register makes the handlers.
func (a *answers) register(c *Client) error {
	a.c = c
	c.Advertise(caps.NSInfo, caps.NS, nsVersion, nsTime, nsPing)
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
	a.features, a.ver = a.c.drv.Features(nil), ""
	sent := a.sent
	a.mu.Unlock()
	if sent {
		a.c.Go(func(ctx context.Context) { _ = a.c.SendElement(ctx, a.presence(a.c)) })
	}
}

// query makes the answer to disco#info.
func (a *answers) query() *confab.Element {
	s := &a.c.cfg.Software
	q := confab.El(caps.NSInfo, "query",
		confab.El(caps.NSInfo, "identity").Set("category", s.Category).Set("type", s.Type).Set("name", s.Name))
	for _, f := range a.features {
		q.Add(confab.El(caps.NSInfo, "feature").Set("var", f))
	}
	return q.Add(s.Forms...)
}

// verification returns the hash of it.
func (a *answers) verification() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ver == "" {
		a.ver, _ = caps.Ver(a.query()) // our own is well-formed
	}
	return a.ver
}

// presence makes the own presence.
func (a *answers) presence(c *Client) *confab.Element {
	p := c.cfg.Presence.Clone()
	if p == nil {
		p = confab.El(confab.NSClient, "presence")
	}
	p.Add(caps.Element(c.cfg.Software.Node, a.verification()))
	a.mu.Lock()
	a.sent = true
	a.mu.Unlock()
	return p
}

func (a *answers) info(_ context.Context, q *confab.IQ) (any, error) {
	node := q.Payload.Get("node")
	if node != "" && node != a.c.cfg.Software.Node+"#"+a.verification() {
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.query().Set("node", node), nil
}

func (a *answers) items(_ context.Context, q *confab.IQ) (any, error) {
	if q.Payload.Get("node") != "" {
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
