package omemo

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
)

// Stanza content encryption (XEP-0420): what version 2 encrypts is not a text, but
// the elements of a stanza in an envelope that says where they belong.

const nsSCE = "urn:xmpp:sce:1"

// sceLimits bound what an envelope may hold.
var sceLimits = stream.Limits{MaxBytes: 1 << 20, MaxDepth: 64, MaxElements: 1 << 14}

// padTo is the size up to which envelopes are filled, so that "yes" and "no" look the
// same; to that come 0 to 200 characters (XEP-0420 §4.1).
const padTo = 256

// An envelope is the content of a stanza with what says where it belongs.
type envelope struct {
	content []*confab.Element
	from    jid.JID // bare; zero if not told
	to      jid.JID
	stamp   time.Time // zero if not told
}

// marshal writes the envelope. It has default namespaces only, each repeated, because
// there are clients that read no others.
func (e *envelope) marshal() ([]byte, error) {
	b := []byte("<envelope xmlns='" + nsSCE + "'><content>")
	var err error
	for _, c := range e.content {
		if b, err = c.AppendXML(b, nsSCE); err != nil {
			return nil, err
		}
	}
	b = append(b, "</content>"...)
	if !e.stamp.IsZero() {
		b = append(b, "<time xmlns='"+nsSCE+"' stamp='"+e.stamp.UTC().Format("2006-01-02T15:04:05Z")+"'/>"...)
	}
	for _, a := range [...]struct {
		name string
		addr jid.JID
	}{{"from", e.from}, {"to", e.to}} {
		if a.addr.String() == "" {
			continue
		}
		if b, err = confab.El(nsSCE, a.name).Set("jid", a.addr.String()).AppendXML(b, ""); err != nil {
			return nil, err
		}
	}
	n, err := rand.Int(rand.Reader, big.NewInt(201))
	if err != nil {
		return nil, err
	}
	pad := int(n.Int64()) + max(0, padTo-len(b))
	raw := make([]byte, pad)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	b = append(b, "<rpad>"...)
	b = append(b, base64.RawStdEncoding.EncodeToString(raw)[:pad]...)
	return append(b, "</rpad></envelope>"...), nil
}

// parseEnvelope reads an envelope and checks it: sender is the bare address of who has
// sent the stanza, room that of the room it was said in, or zero.
func parseEnvelope(b []byte, sender, room jid.JID) (*envelope, error) {
	el, err := stream.Parse(b, sceLimits)
	if err != nil || !el.Is(nsSCE, "envelope") {
		return nil, fmt.Errorf("%w: it is no envelope", ErrContent)
	}
	content := el.Child(nsSCE, "content")
	if content == nil || el.Child(nsSCE, "rpad") == nil {
		return nil, fmt.Errorf("%w: the envelope has no content or no padding", ErrContent)
	}
	e := &envelope{}
	if f := el.Child(nsSCE, "from"); f != nil {
		if e.from, err = jid.Parse(f.Get("jid")); err != nil || !e.from.Bare().Equal(sender) {
			return nil, fmt.Errorf("%w: the envelope is from somebody else than the stanza", ErrContent)
		}
	}
	if t := el.Child(nsSCE, "to"); t != nil {
		if e.to, err = jid.Parse(t.Get("jid")); err != nil {
			return nil, fmt.Errorf("%w: the envelope is to nobody", ErrContent)
		}
	}
	if room.String() != "" && !e.to.Bare().Equal(room) {
		return nil, fmt.Errorf("%w: the envelope is for another room, or does not say for which", ErrContent)
	}
	if t := el.Child(nsSCE, "time"); t != nil {
		if e.stamp, err = time.Parse(time.RFC3339Nano, t.Get("stamp")); err != nil {
			return nil, fmt.Errorf("%w: the time of the envelope is none", ErrContent)
		}
	}
	for _, c := range content.Children {
		if c.Name.Space != "" && c.Name.Space != nsSCE && !neverInside(c) {
			e.content = append(e.content, c)
		}
	}
	return e, nil
}

// timeMargin is how far the time of an envelope may be from that of its stanza.
const timeMargin = 15 * time.Minute

// displaced reports whether the time of an envelope is not that of its stanza (XEP-0420
// §4). There are good reasons for it, and a message is not lost for it: a client encrypts
// while it has no connection, and clocks are wrong.
func displaced(stamp, sent time.Time) bool {
	return !stamp.IsZero() && sent.Sub(stamp).Abs() > timeMargin
}

// neverInside reports whether an element means nothing inside of an envelope: what is
// for servers, or says how the stanza was encrypted (XEP-0420 §9).
func neverInside(c *confab.Element) bool {
	switch c.Name.Space {
	case nsHints, nsEME, NSv1, NSv2, nsSCE, nsMUCUser, "http://jabber.org/protocol/address", "urn:xmpp:delay",
		"urn:xmpp:carbons:2", "urn:xmpp:forward:0", "urn:xmpp:mam:2", "urn:xmpp:occupant-id:0",
		"http://jabber.org/protocol/pubsub#event":
		return true
	case "urn:xmpp:sid:0":
		return c.Name.Local != "origin-id"
	case confab.NSClient:
		return c.Name.Local != "body" && c.Name.Local != "subject" && c.Name.Local != "thread"
	}
	return strings.HasPrefix(c.Name.Space, "urn:xmpp:message-moderate:")
}

// stays reports whether an element of a stanza goes outside of the encryption, because
// servers or those who cannot read the rest need it.
func stays(c *confab.Element) bool {
	switch c.Name.Space {
	case nsHints, nsEME, nsMUCUser, NSv2, "http://jabber.org/protocol/address", "urn:xmpp:carbons:2", "urn:xmpp:sid:0":
		return true
	}
	return false
}

// pointsOnly reports whether an element tells which message something is about, or what
// somebody asks for or does, and not what is said. Version 1, which encrypts nothing
// but a text, leaves these outside.
func pointsOnly(c *confab.Element) bool {
	switch c.Name.Space {
	case "urn:xmpp:receipts", "urn:xmpp:chat-markers:0", "http://jabber.org/protocol/chatstates",
		"urn:xmpp:message-correct:0", "urn:xmpp:message-retract:1", "urn:xmpp:reply:0", "urn:xmpp:fallback:0",
		"urn:xmpp:styling:0", "urn:xmpp:attention:0", "urn:xmpp:ephemeral:0":
		return true
	case confab.NSClient:
		return c.Name.Local == "thread"
	}
	return false
}
