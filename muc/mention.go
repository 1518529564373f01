package muc

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/confab-im/confab/chat"
)

// Mentions reports whether a message names who has this nickname: by a mention that its
// author has marked (XEP-0372, XEP-0513), or by the word. Case does not matter.
func Mentions(m *Message, nick string) bool {
	if m == nil || nick == "" {
		return false
	}
	own := ""
	if m.Room != nil {
		if o, ok := m.Room.Occupant(nick); ok {
			own = o.OccupantID
		}
	}
	return marked(m, nick, own) || hasWord(lowered(m.Text), strings.ToLower(nick))
}

// marked reports whether the author has marked that the text names somebody.
func marked(m *Message, nick, id string) bool {
	for _, x := range m.Content.Mentions {
		if x.OccupantID != "" && x.OccupantID == id || x.Addr.Resourcepart() == nick && x.Addr.Bare().Equal(m.Chat) || x.Group == "channel" && !x.Quiet {
			return true
		}
	}
	return false
}

// lowered is a text to look for nicknames in: the beginning of it, if it is very long.
func lowered(text string) string {
	const most = 16 << 10
	return strings.ToLower(text[:min(len(text), most)])
}

// Mentioned reports whether a message of somebody else names the user.
func (r *Room) Mentioned(m *Message) bool { return m != nil && !m.Self && Mentions(m, r.Nick()) }

// Named returns the nicknames of those who are there and whom a message names.
func (r *Room) Named(m *Message) []string {
	if m == nil {
		return nil
	}
	var nicks []string
	text := lowered(m.Text)
	for _, o := range r.Occupants() {
		if o.Nick != "" && (marked(m, o.Nick, o.OccupantID) || hasWord(text, strings.ToLower(o.Nick))) {
			nicks = append(nicks, o.Nick)
		}
	}
	return nicks
}

// hasWord reports whether a word stands in a text by itself.
func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[i+len(word):])
		if !wordRune(before) && !wordRune(after) {
			return true
		}
		_, n := utf8.DecodeRuneInString(text[i:])
		from = i + n
	}
}

func wordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
}

// Follow feeds a timeline, which was made for the room's address, with what happens in
// the room. Changed, which may be nil, is called after each event that has changed it.
func (r *Room) Follow(t *chat.Timeline, changed func(ctx context.Context)) (cancel func()) {
	of := func(event any) (any, bool) {
		switch e := event.(type) {
		case *Message:
			return &e.Message, e.Room == r
		case OwnMessage:
			return chat.OwnMessage{Message: &e.Message.Message}, e.Room == r
		case Edited:
			return chat.Edited{Message: &e.Message.Message}, e.Room == r
		case Retracted:
			return chat.Retracted{Message: &e.Message.Message, ID: e.ID, By: e.By}, e.Room == r
		case Reacted:
			return chat.Reacted{Message: &e.Message.Message}, e.Room == r
		}
		return nil, false
	}
	return r.c.s.Subscribe(func(event any) bool { _, ok := of(event); return ok }, func(ctx context.Context, event any) {
		if e, _ := of(event); t.Apply(e) && changed != nil {
			changed(ctx)
		}
	})
}
