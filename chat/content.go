package chat

import (
	"slices"
	"strconv"
	"strings"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// Limits of what one message may carry; more is dropped.
const (
	maxReactions = 64 // per message and person
	maxReaction  = 64 // bytes of one
	maxMentions  = 256
	maxID        = 1024 // bytes of an id
)

// Content is what a message says, as far as this package knows: the parts that the
// XEPs define, read and checked. A field is empty if the message has no such part.
type Content struct {
	// Text is the body without what stands in it only for clients that do not
	// understand the rest, such as the quoted text of a reply (XEP-0428). Quote is
	// that quoted text, without the marks.
	Text, Quote string
	// Me says that the text is something the author does: it began with "/me "
	// (XEP-0245), which Text does not have any more.
	Me bool
	// Unstyled says that signs like * and _ in the text mean themselves (XEP-0393
	// §5). Use [Spans] to read the styling.
	Unstyled bool
	// Markup are spans that the author has marked (XEP-0394).
	Markup []Span
	// Spoiler says that the text should be hidden until the reader wants to see
	// it; SpoilerHint tells what it is about (XEP-0382).
	Spoiler     bool
	SpoilerHint string
	// ReplyTo is the message that this one answers (XEP-0461).
	ReplyTo *Reply
	// ParentThread is the thread that this message's thread is part of (XEP-0201).
	ParentThread string
	// Mentions are the people that the text names (XEP-0372, XEP-0513).
	Mentions []Mention
	// Sticker says that the message is a sticker, and of which pack (XEP-0449). The
	// picture is a shared file, StickerFile.
	Sticker     *StickerRef
	StickerFile *Sticker
	// Attention asks to be noticed (XEP-0224).
	Attention bool
	// Files are the files that the message shares (XEP-0447): also one that an older
	// client shares by nothing but its address (XEP-0066, XEP-0454). Package upload
	// fetches them.
	Files []File
	// URL is the address of a file if the message is nothing but that
	// (XEP-0066).
	URL string

	// Replaces is the id of the message that this one corrects (XEP-0308).
	Replaces string
	// Retracts is the id of the message that the author takes back (XEP-0424);
	// Reason says why, in words.
	Retracts, Reason string
	// Retracted says that this is what an archive kept of a message that was taken
	// back: a tombstone (XEP-0424 §5).
	Retracted bool
	// ReactsTo is the id of the message that Reactions are about (XEP-0444). An
	// empty list takes earlier ones back.
	ReactsTo  string
	Reactions []string

	// WantsReceipt and Markable ask for a receipt (XEP-0184) and for a marker when
	// the message was displayed (XEP-0333).
	WantsReceipt, Markable bool
	// ReceiptFor is the id of a message that the sender has got (XEP-0184), MarkerFor
	// of the last that was displayed (XEP-0333).
	ReceiptFor, MarkerFor string
	// State tells what the sender is doing (XEP-0085).
	State State
}

// A Reply says which message is answered.
type Reply struct {
	// ID is the id of that message: the one a room gave it, or its own.
	ID string
	// To is the author, as the sender of the reply knows them; zero if not told.
	To jid.JID
}

// A Mention names someone, or a group, in a text.
type Mention struct {
	// Begin and End bound the name in Text, in runes; both are 0 if the mention is
	// not about a place in the text.
	Begin, End int
	// Addr is who is named, if the mention has an address.
	Addr jid.JID
	// OccupantID is who is named in a room (XEP-0421).
	OccupantID string
	// Group is a group that is named, such as "channel" or "moderators", and URI
	// narrows it down (XEP-0513 §3).
	Group, URI string
	// Active limits a group to those who are there now; Quiet says that nobody is to
	// be notified.
	Active, Quiet bool
}

// State is what a person does in a chat (XEP-0085 §4).
type State string

// The states. A message without one has the empty State.
const (
	Active    State = "active"
	Composing State = "composing"
	Paused    State = "paused"
	Inactive  State = "inactive"
	Gone      State = "gone"
)

// Parse reads what a message says.
func Parse(m *confab.Message) Content {
	c := Content{Text: m.Body}
	for _, el := range m.Stanza.Children {
		switch el.Name.Space {
		case confab.NSClient:
			if el.Name.Local == "thread" {
				c.ParentThread = el.Get("parent")
			}
		case nsStates:
			switch s := State(el.Name.Local); s {
			case Active, Composing, Paused, Inactive, Gone:
				c.State = s
			}
		case nsReceipts:
			switch el.Name.Local {
			case "request":
				c.WantsReceipt = true
			case "received":
				c.ReceiptFor = id(el.Get("id"))
			}
		case nsMarkers:
			switch el.Name.Local {
			case "markable":
				c.Markable = true
			case "displayed":
				c.MarkerFor = id(el.Get("id"))
			}
		default:
			c.part(el)
		}
	}
	if c.Text != "" {
		c.body(m)
	}
	if c.Sticker != nil {
		if len(c.Files) > 0 {
			st := stickerOf(c.Files[0])
			c.StickerFile, c.Files = &st, nil
		}
		return c
	}
	c.shared(m)
	return c
}

// part reads one child of a message.
func (c *Content) part(el *confab.Element) {
	switch el.Name.Space + " " + el.Name.Local {
	case nsCorrect + " replace":
		c.Replaces = id(el.Get("id"))
	case nsRetract + " retract":
		c.Retracts, c.Reason = id(el.Get("id")), el.ChildText(nsRetract, "reason")
	case nsRetract + " retracted":
		c.Retracted = true
	case nsFasten + " apply-to":
		if el.Child(nsRetract0, "retract") != nil {
			c.Retracts = id(el.Get("id"))
		}
	case nsRetract0 + " retracted":
		c.Retracted = true
	case nsReactions + " reactions":
		c.ReactsTo, c.Reactions = id(el.Get("id")), reactions(el)
	case nsReply + " reply":
		if r := id(el.Get("id")); r != "" {
			to, err := jid.Parse(el.Get("to"))
			if err != nil {
				to = jid.JID{}
			}
			c.ReplyTo = &Reply{ID: r, To: to}
		}
	case nsSpoiler + " spoiler":
		c.Spoiler = true
		if c.SpoilerHint == "" {
			c.SpoilerHint = el.Text
		}
	case nsStyling + " unstyled":
		c.Unstyled = true
	case nsMarkup + " markup":
		c.Markup = markup(el)
	case nsReference + " reference", nsMentions + " mention":
		if m, ok := mention(el); ok && len(c.Mentions) < maxMentions {
			c.Mentions = append(c.Mentions, m)
		}
	case nsAttention + " attention":
		c.Attention = true
	case nsStickers + " sticker":
		owner, err := jid.Parse(el.Get("jid"))
		if err != nil {
			owner = jid.JID{}
		}
		c.Sticker = &StickerRef{Pack: id(el.Get("pack")), Owner: owner, Node: id(el.Get("node"))}
	case nsSFS + " file-sharing":
		if f, ok := parseFile(el); ok && len(c.Files) < maxFiles {
			c.Files = append(c.Files, f)
		}
	case nsOOB + " x":
		c.URL = strings.TrimSpace(el.ChildText(nsOOB, "url"))
	}
}

// body takes out of the text what is there for older clients.
func (c *Content) body(m *confab.Message) {
	text := m.Body
	cut := fallbacks(m.Stanza, text, c.understood)
	if len(cut) > 0 {
		c.Text, c.Quote = cutOut(text, cut)
		c.moveSpans(cut, len([]rune(c.Text)))
	}
	if c.URL != "" && c.URL != strings.TrimSpace(c.Text) && c.URL != strings.TrimSpace(text) {
		c.URL = "" // a link among other words; the text has it
	}
	if rest, ok := strings.CutPrefix(c.Text, "/me "); ok {
		c.Text, c.Me = rest, true
		c.moveSpans([]span{{0, 4}}, len([]rune(rest)))
	}
	n := len([]rune(c.Text))
	c.Mentions = slices.DeleteFunc(c.Mentions, func(m Mention) bool { return m.Begin > m.End || m.End > n })
	c.Markup = slices.DeleteFunc(c.Markup, func(s Span) bool { return s.Begin > s.End || s.End > n })
}

// understood reports whether a fallback for this namespace can be dropped because
// the part that it stands for was read.
func (c *Content) understood(ns string) bool {
	switch ns {
	case nsReply:
		return c.ReplyTo != nil
	case nsRetract, nsRetract0:
		return c.Retracts != ""
	case nsReactions:
		return c.ReactsTo != ""
	case nsAttention:
		return c.Attention
	case nsSFS:
		return len(c.Files) > 0
	}
	return false
}

// moveSpans adjusts positions to a text of n runes out of which cut was taken.
func (c *Content) moveSpans(cut []span, n int) {
	for i := range c.Mentions {
		m := &c.Mentions[i]
		m.Begin, m.End = min(moved(m.Begin, cut), n), min(moved(m.End, cut), n)
	}
	for i := range c.Markup {
		s := &c.Markup[i]
		s.Begin, s.End = min(moved(s.Begin, cut), n), min(moved(s.End, cut), n)
	}
}

// id returns an id that can be one.
func id(s string) string {
	if len(s) > maxID {
		return ""
	}
	return s
}

func reactions(el *confab.Element) []string {
	var rs []string
	for r := range el.All(nsReactions, "reaction") {
		text := strings.TrimSpace(r.Text)
		if text == "" || len(text) > maxReaction || slices.Contains(rs, text) {
			continue
		}
		if rs = append(rs, text); len(rs) == maxReactions {
			break
		}
	}
	return rs
}

func mention(el *confab.Element) (Mention, bool) {
	if el.Name.Space == nsReference && el.Get("type") != "mention" {
		return Mention{}, false
	}
	m := Mention{
		OccupantID: id(el.Get("occupantid")), URI: id(el.Get("uri")),
		Active: el.Child(nsMentions, "active") != nil, Quiet: el.Child(nsMentions, "noping") != nil,
	}
	if b, e := el.Get("begin"), el.Get("end"); b != "" || e != "" {
		var ok, ok2 bool
		m.Begin, ok = position(b)
		m.End, ok2 = position(e)
		if !ok || !ok2 || m.End < m.Begin {
			return m, false
		}
	}
	if g, ok := strings.CutPrefix(el.Get("mentions"), nsMentions+"#"); ok {
		m.Group = g
	}
	if rest, ok := strings.CutPrefix(m.URI, "xmpp:"); ok && m.Group == "" {
		rest, _, _ = strings.Cut(rest, "?")
		if addr, err := jid.Parse(rest); err == nil {
			m.Addr = addr
		}
	}
	return m, m.Addr.String() != "" || m.OccupantID != "" || m.Group != ""
}

// position reads a place in a text.
func position(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}
