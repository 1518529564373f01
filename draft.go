package confab

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Draft is a message that is yet to be sent.
type Draft struct {
	// To is whom it is for. It must not be zero.
	To jid.JID
	// Type is chat if empty.
	Type stanza.MessageType
	// ID is made up if empty. An id that is used twice makes the receiver drop
	// the second message as a copy of the first.
	ID                    string
	Lang                  string
	Subject, Body, Thread string
	// SetSubject sends Subject even if it is empty, which clears a room's topic.
	SetSubject bool
	// Extra are further children: *[Element] values, mellium payloads,
	// [xml.TokenReader]s, [xml.Marshaler]s or structs with xml tags.
	Extra []any
	// Seal is set by the stage that has encrypted the draft, for [Sent.Seal]. It is
	// not for users: setting it encrypts nothing.
	Seal *Seal

	children []*Element // Extra, made into elements
}

// Text makes a Draft with a body, for the Send functions of rooms and chats.
func Text(body string) Draft { return Draft{Body: body} }

// prepare fills in what is missing and refuses what cannot be sent.
func (d *Draft) prepare() error {
	if isZero(d.To) {
		return errors.New("confab: a message needs an address: set Draft.To")
	}
	switch d.Type {
	case "":
		d.Type = stanza.ChatMessage
	case stanza.NormalMessage, stanza.ChatMessage, stanza.GroupChatMessage, stanza.HeadlineMessage:
	default:
		return fmt.Errorf("confab: a message cannot be sent with type %q", d.Type)
	}
	if d.ID == "" {
		d.ID = NewID()
	}
	d.children = nil
	for _, x := range d.Extra {
		el, err := ToElement(x)
		if err != nil {
			return fmt.Errorf("confab: Draft.Extra: %w", err)
		}
		d.children = append(d.children, el)
	}
	return nil
}

// AppendXML implements [Appender].
func (d *Draft) AppendXML(b []byte, namespace string) ([]byte, error) {
	b = append(b, "<message"...)
	if namespace != NSClient {
		b = append(b, " xmlns='jabber:client'"...)
	}
	b, err := appendJID(append(b, " to='"...), d.To)
	if err != nil {
		return b, fmt.Errorf("confab: message to: %w", err)
	}
	b = append(b, '\'')
	for _, a := range [...]struct{ name, value string }{
		{" type='", string(d.Type)}, {" id='", d.ID}, {" xml:lang='", d.Lang},
	} {
		if a.value == "" {
			continue
		}
		if b, err = appendEscaped(append(b, a.name...), a.value); err != nil {
			return b, fmt.Errorf("confab: message: %w", err)
		}
		b = append(b, '\'')
	}
	b = append(b, '>')
	for _, t := range [...]struct {
		name, text string
		always     bool
	}{{"subject>", d.Subject, d.SetSubject}, {"body>", d.Body, false}, {"thread>", d.Thread, false}} {
		if t.text == "" && !t.always {
			continue
		}
		b = append(append(b, '<'), t.name...)
		if b, err = appendEscaped(b, t.text); err != nil {
			return b, fmt.Errorf("confab: message <%s: %w", t.name, err)
		}
		b = append(append(b, "</"...), t.name...)
	}
	for _, c := range d.children {
		if b, err = c.AppendXML(b, NSClient); err != nil {
			return b, err
		}
	}
	return append(b, "</message>"...), nil
}

// Element returns the draft as the stanza that will be sent.
func (d *Draft) Element() (*Element, error) {
	c := *d
	if err := c.prepare(); err != nil {
		return nil, err
	}
	el := El(NSClient, "message").Set("to", c.To.String()).Set("type", string(c.Type)).Set("id", c.ID)
	if c.Lang != "" {
		el.Attr = append(el.Attr, xml.Attr{Name: xml.Name{Space: nsXML, Local: "lang"}, Value: c.Lang})
	}
	if c.Subject != "" || c.SetSubject {
		el.Add(El(NSClient, "subject").SetText(c.Subject))
	}
	if c.Body != "" {
		el.Add(El(NSClient, "body").SetText(c.Body))
	}
	if c.Thread != "" {
		el.Add(El(NSClient, "thread").SetText(c.Thread))
	}
	return el.Add(c.children...), nil
}

// NewID returns a fresh random id of 26 letters and digits, good for stanzas,
// origin ids and queries.
func NewID() string {
	// The top-level generator is ChaCha8, seeded by the system.
	const digits = "0123456789abcdefghijklmnopqrstuv"
	var b [26]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range 13 {
		b[i], b[13+i] = digits[hi&31], digits[lo&31]
		hi, lo = hi>>5, lo>>5
	}
	return string(b[:])
}

// A Level is how far a sent message has come. Levels only rise.
type Level uint8

// The levels, in order.
const (
	// Queued: it will be sent when there is a link.
	Queued Level = iota
	// Written: it was handed to the operating system.
	Written
	// Acked: the server has it (XEP-0198).
	Acked
	// Reflected: the room has sent it to everyone.
	Reflected
	// Received: a client of the recipient has it (XEP-0184).
	Received
	// Displayed: the recipient has seen it (XEP-0333).
	Displayed
)

// String returns the name of the constant.
func (l Level) String() string {
	names := [...]string{"Queued", "Written", "Acked", "Reflected", "Received", "Displayed"}
	if int(l) < len(names) {
		return names[l]
	}
	return fmt.Sprintf("Level(%d)", l)
}

// Sent follows one message after SendMessage.
type Sent struct {
	// ID is the id of the stanza, To whom it went.
	ID string
	To jid.JID
	// Seal tells how the message was encrypted; nil if it went in clear.
	Seal *Seal

	mu      sync.Mutex
	level   Level
	noAck   bool
	err     error
	changed chan struct{} // closed and dropped at every change; nil if nobody waits
}

// Level returns how far the message has come.
func (s *Sent) Level() Level {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level
}

// Err returns why the message failed: a [stanza.Error] from who refused it, or
// an error of the link. It is nil while all is well.
func (s *Sent) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Wait returns nil when the message has come as far as l, its error if it has
// failed, or the error of ctx. On a link without stream management nothing says
// that the server has a message: Wait(Acked) then returns [ErrNoAcks].
func (s *Sent) Wait(ctx context.Context, l Level) error {
	for {
		s.mu.Lock()
		switch {
		case s.err != nil:
			err := s.err
			s.mu.Unlock()
			return err
		case s.level >= l:
			s.mu.Unlock()
			return nil
		case l == Acked && s.noAck && s.level >= Written:
			s.mu.Unlock()
			return ErrNoAcks
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		c := s.changed
		s.mu.Unlock()
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Advance raises the level. It is for features that learn more of a message,
// such as from a receipt.
func (s *Sent) Advance(l Level) { s.change(func() { s.level = max(s.level, l) }) }

// Fail says that the message will come no further. Only the first call counts.
func (s *Sent) Fail(err error) {
	s.change(func() {
		if s.err == nil {
			s.err = err
		}
	})
}

// NoAcks says that the message went over a link on which the server does not
// acknowledge. It is for implementations of Session.
func (s *Sent) NoAcks() { s.change(func() { s.noAck = true }) }

func (s *Sent) change(f func()) {
	s.mu.Lock()
	f()
	c := s.changed
	s.changed = nil
	s.mu.Unlock()
	if c != nil {
		close(c)
	}
}

// SendFailed is the event for a message that came back as an error.
type SendFailed struct {
	// ID and To are those of the message that failed.
	ID string
	To jid.JID
	// Err is a [stanza.Error] or an error of the link.
	Err error
	// Sent is the message's tracker, or nil if it was sent too long ago.
	Sent *Sent
}
