package chat

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// An Option adds something to a message that is sent.
type Option func(*composed) error

// composed is a message in the making.
type composed struct {
	d      confab.Draft
	prefix string // fallback text before the body
	// spans and mentions count in the text as the user gave it, and are moved
	// behind the prefix at the end.
	spans    []Span
	mentions []Mention
	quiet    bool   // ask for no receipt and no marker
	link     string // of a file, which is the text then
}

// Compose makes a draft of a text and options. To and Type are left to the caller:
// it is for packages, such as that for rooms, that have a Send of their own.
func Compose(text string, opts ...Option) (confab.Draft, error) {
	c := composed{d: confab.Draft{Body: text}}
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o(&c); err != nil {
			return confab.Draft{}, err
		}
	}
	if !utf8.ValidString(text) {
		return confab.Draft{}, errors.New("chat: the text is not UTF-8")
	}
	if c.link != "" {
		text = c.link
	}
	n := utf8.RuneCountInString(text)
	shift := utf8.RuneCountInString(c.prefix)
	for i, s := range c.spans {
		if s.Begin < 0 || s.Begin >= s.End || s.End > n {
			return confab.Draft{}, fmt.Errorf("chat: the span from %d to %d is not in the text", s.Begin, s.End)
		}
		c.spans[i].Begin, c.spans[i].End = s.Begin+shift, s.End+shift
	}
	if len(c.spans) > 0 {
		c.add(markupElement(c.spans))
	}
	for _, m := range c.mentions {
		if m.Begin < 0 || m.Begin > m.End || m.End > n {
			return confab.Draft{}, fmt.Errorf("chat: the mention from %d to %d is not in the text", m.Begin, m.End)
		}
		m.Begin, m.End = m.Begin+shift, m.End+shift
		c.d.Extra = append(c.d.Extra, m.elements(m.End > shift)...)
	}
	c.d.Body = c.prefix + text
	return c.d, nil
}

func (c *composed) add(els ...*confab.Element) {
	for _, el := range els {
		c.d.Extra = append(c.d.Extra, el)
	}
}

// InReply makes the message an answer to another (XEP-0461). Clients that do not
// know replies see the text that is answered as a quotation.
func InReply(id string, to jid.JID, text string) Option {
	return func(c *composed) error {
		if id == "" {
			return errors.New("chat: a message without an id cannot be answered")
		}
		c.add(confab.El(nsReply, "reply").Set("to", to.String()).Set("id", id))
		if q := quoted(text); q != "" {
			begin := utf8.RuneCountInString(c.prefix)
			c.prefix += q
			c.add(fallbackElement(nsReply, begin, utf8.RuneCountInString(c.prefix)))
		}
		return nil
	}
}

func fallbackElement(ns string, begin, end int) *confab.Element {
	f := confab.El(nsFallback, "fallback").Set("for", ns)
	b := confab.El(nsFallback, "body")
	if end > 0 {
		b.Set("start", itoa(begin)).Set("end", itoa(end))
	}
	return f.Add(b)
}

// InThread puts the message into a thread, by an id that the program has made, with
// [confab.NewID] or so. Parent is the thread that this one is part of, or ""
// (XEP-0201).
func InThread(id, parent string) Option {
	return func(c *composed) error {
		if id == "" {
			return errors.New("chat: a thread needs an id")
		}
		if parent == "" {
			c.d.Thread = id
			return nil
		}
		c.add(confab.El(confab.NSClient, "thread").SetText(id).Set("parent", parent))
		return nil
	}
}

// WithSubject gives the message a subject.
func WithSubject(subject string) Option {
	return func(c *composed) error { c.d.Subject = subject; return nil }
}

// WithSpoiler hides the text until its reader wants to see it; hint, which may be
// "", tells what it is about (XEP-0382).
func WithSpoiler(hint string) Option {
	return func(c *composed) error {
		c.add(confab.El(nsSpoiler, "spoiler").SetText(hint))
		return nil
	}
}

// Mentioning names people in the text (XEP-0372, XEP-0513).
func Mentioning(mentions ...Mention) Option {
	return func(c *composed) error { c.mentions = append(c.mentions, mentions...); return nil }
}

// elements has the mention in the form that everybody knows, if it has an address,
// and in the explicit one.
func (m Mention) elements(placed bool) []any {
	place := func(el *confab.Element) *confab.Element {
		if placed {
			el.Set("begin", itoa(m.Begin)).Set("end", itoa(m.End))
		}
		return el
	}
	var els []any
	uri := m.URI
	if addr := m.Addr.String(); addr != "" {
		if uri == "" {
			uri = "xmpp:" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23", " ", "%20").Replace(addr)
		}
		els = append(els, place(confab.El(nsReference, "reference")).Set("type", "mention").Set("uri", uri))
	}
	if m.OccupantID == "" && m.Group == "" {
		return els
	}
	x := place(confab.El(nsMentions, "mention")).Set("occupantid", m.OccupantID).Set("uri", uri)
	if m.Group != "" {
		x.Set("mentions", nsMentions+"#"+m.Group)
	}
	if m.Active {
		x.Add(confab.El(nsMentions, "active"))
	}
	if m.Quiet {
		x.Add(confab.El(nsMentions, "noping"))
	}
	return append(els, x)
}

// Marked adds spans of markup that count in runes of the text (XEP-0394).
func Marked(spans ...Span) Option {
	return func(c *composed) error { c.spans = append(c.spans, spans...); return nil }
}

// Unstyled says that signs like * and _ in the text mean themselves (XEP-0393).
func Unstyled() Option {
	return func(c *composed) error { c.add(confab.El(nsStyling, "unstyled")); return nil }
}

// WithAttention asks the other side to take notice (XEP-0224).
func WithAttention() Option {
	return func(c *composed) error { c.add(confab.El(nsAttention, "attention")); return nil }
}

// A Hint tells servers what to do with a message (XEP-0334).
type Hint string

// The hints.
const (
	Store            Hint = "store"
	NoStore          Hint = "no-store"
	NoPermanentStore Hint = "no-permanent-store"
	NoCopy           Hint = "no-copy"
)

// WithHint adds a hint. NoCopy keeps the message from the account's other clients
// (XEP-0280 §6).
func WithHint(h Hint) Option {
	return func(c *composed) error {
		switch h {
		case NoCopy:
			c.add(confab.El(nsCarbons, "private"))
		case Store, NoStore, NoPermanentStore:
		default:
			return fmt.Errorf("chat: there is no hint %q", h)
		}
		c.add(confab.El(nsHints, string(h)))
		return nil
	}
}

// With adds children of any kind to the message; see [confab.Draft].
func With(extra ...any) Option {
	return func(c *composed) error { c.d.Extra = append(c.d.Extra, extra...); return nil }
}

// WithID sends the message under this id. Use it to send one again after a crash: who
// got it the first time drops the copy.
func WithID(id string) Option {
	return func(c *composed) error { c.d.ID = id; return nil }
}

// WithoutRequests asks for neither a receipt nor a marker.
func WithoutRequests() Option {
	return func(c *composed) error { c.quiet = true; return nil }
}

// Edit makes an option that turns a message into the correction of an earlier one,
// by the earlier one's own id (XEP-0308).
func correcting(id string) Option {
	return func(c *composed) error {
		if id == "" {
			return errors.New("chat: a message without an id cannot be corrected")
		}
		c.add(confab.El(nsCorrect, "replace").Set("id", id))
		return nil
	}
}

// Correction makes a draft that puts a text in the place of an earlier one of the
// same author, by the earlier one's own id (XEP-0308).
func Correction(id, text string, opts ...Option) (confab.Draft, error) {
	return Compose(text, append([]Option{correcting(id)}, opts...)...)
}

// retractionText is what clients show that do not know retractions.
const retractionText = "This person attempted to retract a previous message, but it's unsupported by your client."

// Retraction makes a draft that takes a message back, by its own id, or in rooms by
// the one that the room gave it (XEP-0424).
func Retraction(id, reason string) (confab.Draft, error) {
	if id == "" {
		return confab.Draft{}, errors.New("chat: a message without an id cannot be taken back")
	}
	r := confab.El(nsRetract, "retract").Set("id", id)
	if reason != "" {
		r.Add(confab.El(nsRetract, "reason").SetText(reason))
	}
	return confab.Draft{Body: retractionText, Extra: []any{
		r, confab.El(nsFallback, "fallback").Set("for", nsRetract), confab.El(nsHints, string(Store)),
	}}, nil
}

// Reaction makes a draft that puts these reactions in the place of all earlier ones
// of the same person to a message: by its own id, or in rooms by the one that the
// room gave it (XEP-0444). None takes all back.
func Reaction(id string, emoji ...string) (confab.Draft, error) {
	if id == "" {
		return confab.Draft{}, errors.New("chat: nobody can react to a message without an id")
	}
	if len(emoji) > maxReactions {
		return confab.Draft{}, fmt.Errorf("chat: more than %d reactions", maxReactions)
	}
	el := confab.El(nsReactions, "reactions").Set("id", id)
	for i, e := range emoji {
		if e = strings.TrimSpace(e); e == "" || len(e) > maxReaction || !utf8.ValidString(e) {
			return confab.Draft{}, fmt.Errorf("chat: %q is no reaction", e)
		}
		for _, before := range emoji[:i] {
			if before == emoji[i] {
				return confab.Draft{}, fmt.Errorf("chat: the reaction %q is there twice", e)
			}
		}
		el.Add(confab.El(nsReactions, "reaction").SetText(e))
	}
	return confab.Draft{Extra: []any{el, confab.El(nsHints, string(Store))}}, nil
}

// StateDraft makes a draft that only tells what the user is doing (XEP-0085).
func StateDraft(s State) (confab.Draft, error) {
	switch s {
	case Active, Composing, Paused, Inactive, Gone:
	default:
		return confab.Draft{}, fmt.Errorf("chat: there is no state %q", s)
	}
	return confab.Draft{Type: stanza.ChatMessage, Extra: []any{
		confab.El(nsStates, string(s)), confab.El(nsHints, string(NoStore)),
	}}, nil
}
