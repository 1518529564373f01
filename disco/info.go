package disco

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Namespaces of service discovery, which are also the features that say that an
// entity answers.
const (
	NSInfo  = "http://jabber.org/protocol/disco#info"
	NSItems = "http://jabber.org/protocol/disco#items"
)

const nsXML = "http://www.w3.org/XML/1998/namespace"

// ErrTooMuch is returned for answers of unreasonable size.
var ErrTooMuch = errors.New("disco: the answer is unreasonably large")

// maxParts bounds the features, identities and forms of an answer.
const maxParts = 4096

// An Identity is something that an entity is, such as a room: conference, text
// (https://xmpp.org/registrar/disco-categories.html).
type Identity struct{ Category, Type, Name, Lang string }

// Info is what an entity says of itself (XEP-0030 §3). Infos that a [Client] returns
// are shared: their slices must not be changed.
type Info struct {
	// Node is the node that was asked about, or "".
	Node       string
	Identities []Identity
	Features   []string
	// Forms have more, such as the number of a room's occupants (XEP-0128).
	Forms []*form.Form
}

// Has reports whether the entity has a feature, named by its namespace.
func (i Info) Has(feature string) bool { return slices.Contains(i.Features, feature) }

// Identity returns the first identity with this category and type, and whether there
// is one. An empty type matches any.
func (i Info) Identity(category, typ string) (Identity, bool) {
	for _, id := range i.Identities {
		if id.Category == category && (typ == "" || id.Type == typ) {
			return id, true
		}
	}
	return Identity{}, false
}

// Form returns the form about formType (XEP-0068), or nil.
func (i Info) Form(formType string) *form.Form {
	for _, f := range i.Forms {
		if f.About() == formType {
			return f
		}
	}
	return nil
}

// Element returns i as the payload of an answer, for who answers requests about a
// node of the own: see HandleNode of [confab.Session].
func (i Info) Element() *confab.Element {
	q := confab.El(NSInfo, "query").Set("node", i.Node)
	for _, id := range i.Identities {
		el := confab.El(NSInfo, "identity").Set("category", id.Category).Set("type", id.Type).Set("name", id.Name)
		if id.Lang != "" {
			el.Attr = append(el.Attr, xml.Attr{Name: xml.Name{Space: nsXML, Local: "lang"}, Value: id.Lang})
		}
		q.Add(el)
	}
	for _, f := range i.Features {
		q.Add(confab.El(NSInfo, "feature").Set("var", f))
	}
	for _, f := range i.Forms {
		q.Add(f.Element())
	}
	return q
}

// ParseInfo reads the payload of an answer. Forms that make no sense are left out.
func ParseInfo(query *confab.Element) (Info, error) {
	if !query.Is(NSInfo, "query") {
		return Info{}, errors.New("disco: this is not an answer to disco#info")
	}
	if len(query.Children) > maxParts {
		return Info{}, ErrTooMuch
	}
	i := Info{Node: strings.Clone(query.Get("node"))}
	for _, c := range query.Children {
		switch {
		case c.Is(NSInfo, "identity"):
			lang, _ := c.Lookup(nsXML, "lang")
			i.Identities = append(i.Identities, Identity{c.Get("category"), c.Get("type"), c.Get("name"), lang})
		case c.Is(NSInfo, "feature"):
			if v := c.Get("var"); v != "" {
				i.Features = append(i.Features, v)
			}
		case c.Is(form.NS, "x"):
			if f, err := form.Parse(c); err == nil {
				i.Forms = append(i.Forms, f)
			}
		}
	}
	return i, nil
}

// GetInfo asks an entity, or a node of it if node is not empty, what it is and what
// it can do. The error is a [stanza.Error] if it refused: item-not-found and
// service-unavailable mean that it does not exist or does not tell us.
func GetInfo(ctx context.Context, s confab.Requester, to jid.JID, node string) (Info, error) {
	var q confab.Element
	if err := ask(ctx, s, to, confab.El(NSInfo, "query").Set("node", node), &q); err != nil {
		return Info{}, err
	}
	return ParseInfo(&q)
}

func ask(ctx context.Context, s confab.Requester, to jid.JID, query, answer *confab.Element) error {
	if err := confab.Do(ctx, s, stanza.IQ{Type: stanza.GetIQ, To: to}, query, answer); err != nil {
		return fmt.Errorf("disco: %s: %w", to, err)
	}
	return nil
}

// condition returns why an entity refused, or "".
func condition(err error) stanza.Condition {
	var se stanza.Error
	if errors.As(err, &se) {
		return se.Condition
	}
	return ""
}
