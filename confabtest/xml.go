package confabtest

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// Namespaces.
const (
	nsClient   = confab.NSClient
	nsStanzas  = confab.NSStanzas
	nsStream   = "http://etherx.jabber.org/streams"
	nsStreams  = "urn:ietf:params:xml:ns:xmpp-streams"
	nsFraming  = "urn:ietf:params:xml:ns:xmpp-framing"
	nsTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsSASL2    = "urn:xmpp:sasl:2"
	nsBind     = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSession  = "urn:ietf:params:xml:ns:xmpp-session"
	nsBind2    = "urn:xmpp:bind:0"
	nsFast     = "urn:xmpp:fast:0"
	nsCB       = "urn:xmpp:sasl-cb:0"
	nsSM       = "urn:xmpp:sm:3"
	nsCSI      = "urn:xmpp:csi:0"
	nsCarbons  = "urn:xmpp:carbons:2"
	nsForward  = "urn:xmpp:forward:0"
	nsHints    = "urn:xmpp:hints"
	nsDelay    = "urn:xmpp:delay"
	nsSID      = "urn:xmpp:sid:0"
	nsRoster   = "jabber:iq:roster"
	nsRegister = "jabber:iq:register"
	nsBits     = "urn:xmpp:bob"
	nsInfo     = "http://jabber.org/protocol/disco#info"
	nsItems    = "http://jabber.org/protocol/disco#items"
	nsMUCUser  = "http://jabber.org/protocol/muc#user"
	nsXML      = "http://www.w3.org/XML/1998/namespace"
)

// addr is an address that can be compared and be a key.
type addr struct{ local, domain, resource string }

func parseAddr(s string) (addr, error) {
	j, err := jid.Parse(s)
	return addr{j.Localpart(), j.Domainpart(), j.Resourcepart()}, err
}

func (a addr) bare() addr { a.resource = ""; return a }

func (a addr) String() string {
	s := a.domain
	if a.local != "" {
		s = a.local + "@" + s
	}
	if a.resource != "" {
		s += "/" + a.resource
	}
	return s
}

// el makes a stanza. Empty attributes are left out.
func el(name, typ, id string, from, to addr, kids ...*confab.Element) *confab.Element {
	e := confab.El(nsClient, name, kids...)
	if from.domain != "" {
		e.Set("from", from.String())
	}
	if to.domain != "" {
		e.Set("to", to.String())
	}
	return e.Set("id", id).Set("type", typ)
}

// with returns a copy of e that can be given other attributes and children.
func with(e *confab.Element) *confab.Element {
	c := *e
	c.Attr = append(c.Attr[:0:0], e.Attr...)
	c.Children = e.Children[:len(e.Children):len(e.Children)]
	return &c
}

// drop returns e's children less those that match.
func drop(e *confab.Element, match func(*confab.Element) bool) []*confab.Element {
	var kids []*confab.Element
	for _, k := range e.Children {
		if !match(k) {
			kids = append(kids, k)
		}
	}
	return kids
}

// errorFor makes the stanza that answers e with an error, or nil if e must not
// be answered.
func errorFor(e *confab.Element, typ, condition, text string) *confab.Element {
	switch t := e.Get("type"); {
	case t == "error", t == "result":
		return nil
	}
	r := confab.El(nsClient, e.Name.Local).Set("id", e.Get("id")).Set("type", "error")
	r.Set("from", e.Get("to")).Set("to", e.Get("from"))
	if e.Name.Local == "iq" {
		r.Children = e.Children[:len(e.Children):len(e.Children)]
	}
	return r.Add(stanzaError(typ, condition, text))
}

func stanzaError(typ, condition, text string) *confab.Element {
	c := confab.El(nsClient, "error", confab.El(nsStanzas, condition)).Set("type", typ)
	if text != "" {
		c.Add(confab.El(nsStanzas, "text").SetText(text))
	}
	return c
}

// delayed returns a copy of e with a stamp (XEP-0203).
func delayed(e *confab.Element, by addr, at time.Time) *confab.Element {
	if e.Child(nsDelay, "delay") != nil {
		return e
	}
	return with(e).Add(confab.El(nsDelay, "delay").Set("from", by.String()).
		Set("stamp", at.UTC().Format("2006-01-02T15:04:05.000Z")))
}

func isStanza(e *confab.Element) bool {
	if e.Name.Space != nsClient {
		return false
	}
	switch e.Name.Local {
	case "message", "presence", "iq":
		return true
	}
	return false
}

// newID returns an id that cannot be guessed.
func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func isTrue(s string) bool { s = strings.TrimSpace(s); return s == "true" || s == "1" }
