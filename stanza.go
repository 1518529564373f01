package confab

import (
	"encoding/xml"
	"fmt"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Source says which way a message came. Code that acts on messages, such as a
// bot, should look at it: only Live messages are being said now.
type Source uint8

// The ways a message can come.
const (
	// Live came just now, addressed to this client.
	Live Source = iota
	// Offline was kept by the server while no client was there (XEP-0160), or
	// while this client had lost its link: it carries the server's stamp.
	Offline
	// CarbonIn is a copy of what another client of the account received
	// (XEP-0280).
	CarbonIn
	// CarbonOut is a copy of what another client of the account sent (XEP-0280).
	CarbonOut
	// Archive was read from an archive (XEP-0313).
	Archive
	// RoomHistory was replayed by a room on joining (XEP-0045 §7.2.13).
	RoomHistory
)

// String returns the name of the constant.
func (s Source) String() string {
	if int(s) < len(sourceNames) {
		return sourceNames[s]
	}
	return fmt.Sprintf("Source(%d)", s)
}

var sourceNames = [...]string{"Live", "Offline", "CarbonIn", "CarbonOut", "Archive", "RoomHistory"}

// A Seal says how a message was encrypted from end to end. A message whose Seal
// is nil came in clear.
type Seal struct {
	// Scheme is the namespace of the encryption, such as "urn:xmpp:omemo:2".
	Scheme string
	// Sender is the fingerprint of the sending device's key, as people compare
	// it.
	Sender string
	// Trusted reports whether the user has decided to trust that key.
	Trusted bool
	// Stamp is when the sender has encrypted it, as the sender says, where the encryption
	// tells it (XEP-0420 §4); else zero. It is of the sender's clock: what orders messages
	// is [Message.When].
	Stamp time.Time `json:",omitzero"`
	// Displaced reports that Stamp is far from when the message was sent, as servers say:
	// somebody has held it back, such as a server, or the sender's own client while it
	// was not connected; or a clock is wrong. It may be shown beside the message.
	Displaced bool `json:",omitempty"`
}

// A Message is one message stanza with what is known of where it came from.
type Message struct {
	From, To jid.JID
	ID       string
	Type     stanza.MessageType // [stanza.NormalMessage] if absent or unknown
	Lang     string

	// Body, Subject and Thread are the texts of the first such child. HasBody
	// and HasSubject tell an empty one from none: a room's topic is set by a
	// message with a subject and no body.
	Body, Subject, Thread string
	HasBody, HasSubject   bool

	// Source is the way it came. By vouches for everything that is not Live: the
	// own account for carbons and its archive, the room for its history. It is
	// zero for live messages, which the server vouches for.
	Source Source
	By     jid.JID
	// Stamp is when it was sent, as the server, the room or the archive says;
	// zero for live messages. Received is when this client read it.
	Stamp, Received time.Time
	// ArchiveID is the id under which By keeps it, for messages out of an
	// archive (XEP-0313).
	ArchiveID string
	// Seal tells how it was encrypted; nil means that it came in clear.
	Seal *Seal
	// Err is the error of a stanza of type error. Such messages are seen only in
	// [StageError]: what else they carry is an echo of what was sent.
	Err *stanza.Error

	// Stanza is the whole stanza.
	Stanza *Element
}

// StanzaID returns the id that by gave the message (XEP-0359), or "". It means
// something only when by announces urn:xmpp:sid:0 and is the own account or a
// room; others can forge it.
func (m *Message) StanzaID(by jid.JID) string {
	for c := range m.Stanza.All(nsSID, "stanza-id") {
		if sameJID(c.Get("by"), by) {
			return c.Get("id")
		}
	}
	return ""
}

// OriginID returns the id that the sender claims to have given it (XEP-0359
// §3.2), or "".
func (m *Message) OriginID() string {
	return m.Stanza.Child(nsSID, "origin-id").Get("id")
}

// When returns Stamp, or Received if there is none.
func (m *Message) When() time.Time {
	if m.Stamp.IsZero() {
		return m.Received
	}
	return m.Stamp
}

// A Presence is one presence stanza.
type Presence struct {
	From, To jid.JID
	ID       string
	Type     stanza.PresenceType
	// Show is "" (available), "away", "chat", "dnd" or "xa".
	Show, Status string
	Priority     int8
	Received     time.Time
	// Err is the error of a presence of type error.
	Err    *stanza.Error
	Stanza *Element
}

// An IQ is a request that came in.
type IQ struct {
	// From is who asks. A request of the own account or server may come without
	// one; it then holds the own bare JID.
	From, To jid.JID
	ID       string
	Type     stanza.IQType
	Payload  *Element
	Stanza   *Element
}

// BadStanza is the event for a stanza that was dropped because it makes no
// sense: an address that cannot be, a request without payload, a reply from
// somebody who was not asked.
type BadStanza struct {
	Stanza *Element
	Err    error
}

// StanzaError reads the error of a stanza of type error. A stanza without one
// gives undefined-condition, so the result is never nil.
func StanzaError(el *Element) *stanza.Error {
	var se stanza.Error
	e := el.Child(el.Name.Space, "error")
	if e == nil {
		e = el.Child(NSClient, "error")
	}
	if e != nil {
		se.Type = stanza.ErrorType(e.Get("type"))
		if by, err := jid.Parse(e.Get("by")); err == nil {
			se.By = by
		}
		for _, c := range e.Children {
			switch {
			case c.Name.Space != NSStanzas:
			case c.Name.Local == "text":
				if se.Text == nil {
					se.Text = map[string]string{}
				}
				lang, _ := c.Lookup(nsXML, "lang")
				se.Text[lang] = c.Text
			default:
				se.Condition = stanza.Condition(c.Name.Local)
			}
		}
	}
	if se.Condition == "" {
		se.Condition = stanza.UndefinedCondition
	}
	return &se
}

// decodeMessage makes a Message of an element. Self is the own full JID.
func (p *jidCache) decodeMessage(el *Element, self jid.JID) (*Message, error) {
	m := &Message{Type: stanza.NormalMessage, Stanza: el}
	for i := range el.Attr {
		a := &el.Attr[i]
		switch {
		case a.Name.Space == nsXML && a.Name.Local == "lang":
			m.Lang = a.Value
		case a.Name.Space != "":
		case a.Name.Local == "id":
			m.ID = a.Value
		case a.Name.Local == "type":
			switch t := stanza.MessageType(a.Value); t {
			case stanza.ChatMessage, stanza.GroupChatMessage, stanza.HeadlineMessage, stanza.ErrorMessage:
				m.Type = t
			}
		}
	}
	var err error
	if m.From, m.To, err = p.addresses(el, self); err != nil {
		return nil, err
	}
	for _, c := range el.Children {
		if c.Name.Space == nsDelay && c.Name.Local == "delay" {
			p.delay(m, c, self)
		}
		if c.Name.Space != el.Name.Space {
			continue
		}
		switch c.Name.Local {
		case "body":
			if !m.HasBody {
				m.Body, m.HasBody = c.Text, true
			}
		case "subject":
			if !m.HasSubject {
				m.Subject, m.HasSubject = c.Text, true
			}
		case "thread":
			m.Thread = c.Text
		}
	}
	if m.Type == stanza.ErrorMessage {
		m.Err = StanzaError(el)
	}
	return m, nil
}

// delay marks a message that the server kept. A stamp counts only from the own
// server, the own account or the sender's own domain; a room's history is told
// from live messages by the muc package.
func (p *jidCache) delay(m *Message, d *Element, self jid.JID) {
	by, err := p.parse(d.Get("from"))
	if err != nil {
		return
	}
	if d.Get("from") != "" && !by.Equal(self.Bare()) && !by.Equal(self.Domain()) && !by.Equal(m.From.Bare()) && !by.Equal(m.From.Domain()) {
		return
	}
	t, err := time.Parse(time.RFC3339Nano, d.Get("stamp"))
	if err != nil || t.UTC().Year() > 9999 || m.Source != Live { // by a time zone; nobody could write it again
		return
	}
	m.Source, m.Stamp, m.By = Offline, t.UTC(), by
}

func (p *jidCache) decodePresence(el *Element, self jid.JID) (*Presence, error) {
	pr := &Presence{ID: el.Get("id"), Type: stanza.PresenceType(el.Get("type")), Stanza: el}
	var err error
	if pr.From, pr.To, err = p.addresses(el, self); err != nil {
		return nil, err
	}
	for _, c := range el.Children {
		if c.Name.Space != el.Name.Space {
			continue
		}
		switch c.Name.Local {
		case "show":
			switch c.Text {
			case "away", "chat", "dnd", "xa":
				pr.Show = c.Text
			}
		case "status":
			if pr.Status == "" {
				pr.Status = c.Text
			}
		case "priority":
			pr.Priority = parsePriority(c.Text)
		}
	}
	if pr.Type == stanza.ErrorPresence {
		pr.Err = StanzaError(el)
	}
	return pr, nil
}

// addresses reads from and to. One that is missing means the own account
// (RFC 6120 §8.1.2.1) and the own client.
func (p *jidCache) addresses(el *Element, self jid.JID) (from, to jid.JID, err error) {
	from, to = self.Bare(), self
	for i := range el.Attr {
		a := &el.Attr[i]
		if a.Name.Space != "" || a.Value == "" {
			continue
		}
		switch a.Name.Local {
		case "from":
			if from, err = p.parse(a.Value); err != nil {
				return from, to, fmt.Errorf("confab: from=%q: %w", a.Value, err)
			}
		case "to":
			if to, err = p.parse(a.Value); err != nil {
				return from, to, fmt.Errorf("confab: to=%q: %w", a.Value, err)
			}
		}
	}
	return from, to, nil
}

func parsePriority(s string) int8 {
	n, neg := 0, false
	for i, c := range []byte(s) {
		switch {
		case i == 0 && c == '-':
			neg = true
		case i == 0 && c == '+':
		case c >= '0' && c <= '9' && n < 1000:
			n = n*10 + int(c-'0')
		default:
			return 0
		}
	}
	if neg {
		n = -n
	}
	if n < -128 || n > 127 {
		return 0
	}
	return int8(n)
}

// IQResult makes the stanza that answers q with a payload, which may be nil.
func (q *IQ) result(payload *Element) *Element {
	el := q.reply("result")
	if payload != nil {
		el.Children = []*Element{payload}
	}
	return el
}

func (q *IQ) fail(se stanza.Error) (*Element, error) {
	e, err := ToElement(se)
	if err != nil {
		return nil, err
	}
	el := q.reply("error")
	el.Children = []*Element{e}
	return el, nil
}

func (q *IQ) reply(typ string) *Element {
	return (&Element{Name: xml.Name{Space: NSClient, Local: "iq"}}).
		Set("type", typ).Set("id", q.ID).Set("to", q.Stanza.Get("from"))
}
