package chat

import (
	"context"
	"fmt"
	"sync"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Config has the settings of a [Client]. The zero value is good.
type Config struct {
	// Reveal reports whether somebody may learn that the user is there and reads:
	// receipts and displayed markers are sent only to them. A roster's contacts
	// are a good choice: Reveal: contacts.Sees, with a roster.Roster. If it is nil,
	// those may whom the user has written to since the program began; to others it
	// looks as if nobody was there, and their [confab.Sent.Wait] for a receipt lasts.
	Reveal func(bare jid.JID) bool
	// NoCarbons leaves what the user's other clients send and receive to them.
	NoCarbons bool
	// NoReceipts answers no requests for receipts (XEP-0184), and NoRequests asks
	// for none, nor for markers.
	NoReceipts, NoRequests bool
}

// A Client understands and sends what people say to each other. Make one with
// [New]. Its methods may be called from any goroutine.
type Client struct {
	s   confab.Session
	cfg Config
	ids IDs

	mu      sync.Mutex
	seen    *dedup
	wrote   *recently      // to whom the user has written
	states  *recently      // with whom the user is not just Active
	sids    bool           // the account's server gives ids that can be believed
	answers []confab.Draft // receipts that wait to be sent
	sending bool           // somebody sends them
}

// features are what this package understands.
var features = []string{
	nsCorrect, nsRetract, nsReactions, nsReply, nsFallback, nsReceipts, nsMarkers, nsStates, nsSID, nsSpoiler,
	nsReference, nsMentions, nsStyling, nsMarkup, nsAttention, nsHints, nsOOB, nsSFS, nsEncrypted, nsFile,
}

// New puts chats on a session, before it runs.
func New(s confab.Session, cfg Config) *Client {
	c := &Client{s: s, cfg: cfg, seen: newDedup(), wrote: newRecently(), states: newRecently()}
	s.Advertise(features...)
	s.HandleMessage(confab.StageUnwrap, c.unwrap)
	s.HandleMessage(confab.StageInterpret, c.interpret)
	s.OnUp(func(ctx context.Context, fresh bool) error {
		if !fresh {
			return nil
		}
		var wg sync.WaitGroup
		var err error
		if !cfg.NoCarbons {
			wg.Go(func() { err = c.enableCarbons(ctx) })
		}
		wg.Go(func() { c.learnIDs(ctx) })
		wg.Wait()
		if err != nil {
			return fmt.Errorf("chat: carbons: %w", err)
		}
		return nil
	})
	c.followPositions()
	return c
}

// learnIDs asks whether the account's server gives messages ids and removes those
// that others have forged (XEP-0359 §3.1).
func (c *Client) learnIDs(ctx context.Context) {
	var info confab.Element
	err := confab.Do(ctx, c.s, stanza.IQ{Type: stanza.GetIQ, To: c.s.LocalAddr().Bare()}, confab.El(nsDisco, "query"), &info)
	has := false
	if err == nil {
		for f := range info.All(nsDisco, "feature") {
			has = has || f.Get("var") == nsSID
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sids = has
}

// interpret understands one message and tells the user.
func (c *Client) interpret(_ context.Context, m *confab.Message) error {
	own := c.s.LocalAddr().Bare()
	switch m.Type {
	case stanza.GroupChatMessage, stanza.HeadlineMessage, stanza.ErrorMessage:
		return nil
	}
	if m.Stanza.Child(nsMUCUser, "x") != nil || m.Source == confab.RoomHistory || m.Source == confab.Archive && !m.By.Equal(own) {
		return nil // of a room
	}
	cm := &Message{Message: m, Content: Parse(m), Chat: m.From.Bare(), Author: m.From.Bare().String()}
	if cm.Self = m.From.Bare().Equal(own); cm.Self {
		cm.Chat = m.To.Bare()
	}
	live := m.Source == confab.Live || m.Source == confab.CarbonIn || m.Source == confab.CarbonOut
	if live && cm.State != "" && !cm.Self {
		c.s.Emit(Typing{Chat: cm.Chat, From: m.From, State: cm.State})
	}
	if !cm.hasContent() {
		return nil
	}
	if m.Source == confab.Archive {
		cm.ServerID = id(m.ArchiveID)
	} else if c.believesIDs() {
		cm.ServerID = id(m.StanzaID(own))
	}
	c.ids.Seen(m.ID)
	if c.isCopy(cm) {
		return confab.ErrConsumed
	}
	c.signal(cm)
	return nil
}

// hasContent reports whether the message is more than a state of typing.
func (m *Message) hasContent() bool {
	return m.said() || m.Retracts != "" || m.ReactsTo != "" || m.ReceiptFor != "" || m.MarkerFor != "" || m.Retracted
}

// said reports whether the message has something to show.
func (m *Message) said() bool {
	return m.HasBody && m.Body != "" || m.Subject != "" || m.Attention || m.Sticker != nil || len(m.Files) > 0
}

func (c *Client) believesIDs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sids
}

func (c *Client) isCopy(m *Message) bool {
	what := m.Body + "\x00" + m.Subject + "\x00" + m.Replaces + "\x00" + m.Retracts + "\x00" + m.ReactsTo
	for _, r := range m.Reactions {
		what += "\x00" + r
	}
	what += "\x00" + m.ReceiptFor + "\x00" + m.MarkerFor
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.copyOf(m.Author, m.Ref(), m.ServerID, what)
}

// signal emits what a message means.
func (c *Client) signal(m *Message) {
	if m.Self {
		c.mu.Lock()
		c.wrote.add(m.Chat.String())
		c.mu.Unlock()
	}
	if m.ReceiptFor != "" && !m.Self {
		c.s.Emit(Receipt{Chat: m.Chat, From: m.From, ID: m.ReceiptFor, Sent: c.tracked(m, m.ReceiptFor, confab.Received)})
	}
	if m.MarkerFor != "" {
		e := Displayed{Chat: m.Chat, From: m.From, Self: m.Self, ID: m.MarkerFor}
		if !m.Self {
			e.Sent = c.tracked(m, m.MarkerFor, confab.Displayed)
		}
		c.s.Emit(e)
	}
	switch {
	case m.Retracts != "":
		c.s.Emit(Retracted{Message: m, ID: m.Retracts})
	case m.Retracted:
		c.s.Emit(Retracted{Message: m, ID: m.Ref()})
	case m.ReactsTo != "":
		c.s.Emit(Reacted{m})
	case m.said() && m.Replaces != "":
		c.s.Emit(Edited{m})
	case m.said() && m.Self:
		c.s.Emit(OwnMessage{m})
	case m.said():
		c.s.Emit(m)
	}
	c.answer(m)
}

// tracked raises the level of a message of ours of which m tells, if m is from whom
// it was for.
func (c *Client) tracked(m *Message, id string, l confab.Level) *confab.Sent {
	s := c.s.Sent(id)
	if s == nil || !s.To.Bare().Equal(m.Chat) {
		return nil
	}
	s.Advance(l)
	return s
}
