package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A view is all that the screen shows. Everything in it is safe to be shown.
type view struct {
	Chat                  jid.JID
	Status, Title, Typing string
	Rows                  []row
	Lines                 []line
}

// A row is a chat in the list.
type row struct {
	JID     jid.JID
	Name    string
	Mark    string // presence, or what kind of room it is
	Unread  int
	Named   bool // the user was named there
	Current bool
	last    time.Time
}

// kind says how a line looks.
type kind uint8

const (
	theirs kind = iota
	own
	naming // names the user
	notice // of the program's own
)

// A line is a message, or what the program has to say.
type line struct {
	Kind   kind
	Number int // to refer to it; 0 for notices
	At     time.Time
	Who    string
	Text   string
	Tail   string // reactions, ticks
}

// numbering gives the messages of a chat numbers that stay as long as the program runs.
type numbering struct {
	byID map[string]int
	next int
}

func (n *numbering) of(e chat.Entry) int {
	key := e.Message.Author + " " + e.Message.ID
	if e.Message.ID == "" {
		key = " " + e.Message.ServerID
	}
	if n.byID[key] == 0 {
		n.next++
		n.byID[key] = n.next
	}
	return n.byID[key]
}

// view looks at everything.
func (a *app) view(ctx context.Context) (view, error) {
	a.mu.Lock()
	v := view{Status: a.status, Chat: a.current}
	current := a.current
	a.mu.Unlock()
	var es []chat.Entry
	var err error
	if !current.Equal(jid.JID{}) {
		if es, err = a.entries(ctx, current); err != nil {
			return v, err
		}
		a.read(ctx, current, es)
	}
	if v.Rows, err = a.rows(ctx, current); err != nil {
		return v, err
	}
	v.Title = a.title(current)
	v.Lines, v.Typing = a.lines(current, es)
	waiting, err := a.waiting(ctx, current, es)
	v.Lines = append(v.Lines, waiting...)
	return v, err
}

// read says that the user has seen what is on the screen.
func (a *app) read(ctx context.Context, ch jid.JID, es []chat.Entry) {
	i := len(es) - 1
	for i >= 0 && es[i].Message.Self {
		i--
	}
	// A late message may stand before what was read already, and count as read: that does
	// not tell its author.
	if i < 0 || es[i].Displayed && es[i].Message.Received.Before(a.begun) {
		return
	}
	m := es[i].Message
	if err := a.kept.MarkRead(ctx, ch, es[len(es)-1].Message.Place()); err != nil {
		a.fail(ch, err)
	}
	a.mu.Lock()
	seen := a.seen[ch.String()] == m.Ref()
	a.seen[ch.String()] = m.Ref()
	a.mu.Unlock()
	if seen {
		return
	}
	a.do(ch, func(ctx context.Context) error {
		// That others cannot be told is no reason to bother the user.
		if a.isRoom(ch) {
			if m.ServerID != "" {
				_ = a.chats.SetPosition(ctx, chat.Position{Chat: ch, By: ch, ID: m.ServerID})
			}
			return nil
		}
		_ = a.chats.With(ch).MarkDisplayed(ctx, m)
		return nil
	})
}

// isRoom reports whether a chat is a room: one that the user is in, or has kept.
func (a *app) isRoom(ch jid.JID) bool {
	if a.rooms.Room(ch) != nil {
		return true
	}
	if _, ok := a.marks.Get(ch); ok {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[ch.String()]
}

// rows is the one list of chats: those with the newest messages first, then contacts and
// rooms in which nothing was said yet.
func (a *app) rows(ctx context.Context, current jid.JID) ([]row, error) {
	all := map[string]*row{}
	get := func(j jid.JID) *row {
		r := all[j.String()]
		if r == nil {
			r = &row{JID: j, Name: safeName(j.String())}
			all[j.String()] = r
		}
		return r
	}
	cs, err := a.kept.Conversations(ctx, 200)
	if err != nil {
		return nil, err
	}
	for _, c := range cs {
		r := get(c.Chat)
		r.Unread, r.last = c.Unread, c.Last.Message.When()
		if c.Last.Message.Type == stanza.GroupChatMessage {
			r.Mark = "~"
		}
	}
	for _, c := range a.roster.Contacts() {
		r := get(c.JID)
		if c.Name != "" {
			r.Name = safeName(c.Name)
		}
		r.Mark = presenceMark(a.roster.Best(c.JID).Available, a.roster.Best(c.JID).Show)
	}
	for _, b := range a.marks.List() {
		r := get(b.Room)
		r.Mark = "~"
		if b.Name != "" {
			r.Name = safeName(b.Name)
		}
	}
	for _, room := range a.rooms.Rooms() {
		r := get(room.JID())
		r.Mark = "~"
		if st, _ := room.Status(); st == muc.Joined {
			r.Mark = "#"
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.open {
		get(jid.MustParse(key))
	}
	for key, r := range all {
		if r.Mark == "~" || r.Mark == "#" {
			a.known[key] = true
		}
		r.Named = a.named[key]
		r.Current = r.JID.Equal(current)
	}
	rows := []row{{Name: "confab", Current: current.Equal(jid.JID{})}}
	for _, r := range slices.SortedFunc(maps.Values(all), func(x, y *row) int {
		return cmp.Or(y.last.Compare(x.last), strings.Compare(x.Name, y.Name), strings.Compare(x.JID.String(), y.JID.String()))
	}) {
		rows = append(rows, *r)
	}
	return rows, nil
}

func presenceMark(available bool, show string) string {
	switch {
	case !available:
		return "-"
	case show == "away" || show == "xa":
		return "z"
	case show == "dnd":
		return "!"
	}
	return "+"
}

// title says with whom or where, and whether it is encrypted.
func (a *app) title(ch jid.JID) string {
	if ch.Equal(jid.JID{}) {
		return a.self.String()
	}
	t := ch.String()
	if room := a.rooms.Room(ch); room != nil {
		t += fmt.Sprintf(" (%d here, you are %s)", len(room.Occupants()), safeName(room.Nick()))
		if s := room.Subject().Text; s != "" {
			t += " " + safeLine(s, 100)
		}
	} else if c, ok := a.roster.Contact(ch); ok {
		p := a.roster.Best(ch)
		switch {
		case !c.Subscription.SeesThem():
			t += " (presence unknown)"
		case !p.Available:
			t += " (offline)"
		default:
			t += " (" + cmp.Or(safeName(p.Show), "online") + ") " + safeLine(p.Status, 80)
		}
	}
	if m := a.keys.Mode(ch); m != omemo.Off {
		t = "[OMEMO " + strings.ToLower(m.String()) + "] " + t
	}
	return safeLine(t, 300)
}

// lines are the messages of a chat and the notices between them.
func (a *app) lines(ch jid.JID, es []chat.Entry) (lines []line, typing string) {
	nick := ""
	room := a.rooms.Room(ch)
	if room != nil {
		nick = room.Nick()
	}
	quoted := map[string]int{}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown = len(es)
	n := a.numbers[ch.String()]
	if n == nil {
		n = &numbering{byID: map[string]int{}}
		a.numbers[ch.String()] = n
	}
	for _, e := range es {
		num := n.of(e)
		for _, id := range []string{e.Message.ID, e.Message.ServerID} {
			if id != "" {
				quoted[id] = num
			}
		}
		l := line{Number: num, At: e.Message.When(), Who: a.author(e.Message), Text: body(e, num, quoted), Tail: a.tail(e)}
		switch {
		case e.Message.Self:
			l.Kind = own
		case room != nil && muc.Mentions(&muc.Message{Message: *e.Current, Room: room}, nick):
			l.Kind = naming
		}
		lines = append(lines, l)
	}
	for _, n := range a.notes[ch.String()] {
		lines = append(lines, line{Kind: notice, At: n.at, Text: n.text})
	}
	slices.SortStableFunc(lines, func(x, y line) int { return x.At.Compare(y.At) })
	for _, who := range slices.Sorted(maps.Keys(a.typing[ch.String()])) {
		typing += safeName(who) + " is typing. "
	}
	return lines, safeLine(typing, 200)
}

// waiting are messages to a room that it has not sent back yet. Those of chats are in the
// history at once.
func (a *app) waiting(ctx context.Context, ch jid.JID, es []chat.Entry) (lines []line, err error) {
	if a.rooms.Room(ch) == nil {
		return nil, nil
	}
	all, err := a.out.Unsent(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range all {
		if !u.Draft.To.Bare().Equal(ch) || slices.ContainsFunc(es, func(e chat.Entry) bool { return e.Message.ID == u.Draft.ID }) {
			continue
		}
		el, err := u.Draft.Element()
		if err != nil {
			continue
		}
		m, err := confab.ParseMessage(el, a.self)
		if err != nil {
			continue
		}
		if c := chat.Parse(m); c.Text != "" && c.Replaces == "" && c.Retracts == "" {
			lines = append(lines, line{Kind: own, At: u.At, Who: "you", Text: safeText(c.Text), Tail: "..."})
		}
	}
	return lines, nil
}

// author is what the one who said something is called.
func (a *app) author(m *chat.Message) string {
	switch {
	case m.Type == stanza.GroupChatMessage:
		return safeName(cmp.Or(m.From.Resourcepart(), "(the room)"))
	case m.Self:
		return "you"
	}
	if c, ok := a.roster.Contact(m.Chat); ok && c.Name != "" {
		return safeName(c.Name)
	}
	return safeName(cmp.Or(m.Chat.Localpart(), m.Chat.String()))
}

// body is what a message says now.
func body(e chat.Entry, number int, quoted map[string]int) string {
	m := e.Current
	switch {
	case e.Retracted:
		return strings.TrimSpace("(taken back) " + safeLine(e.Reason, 100))
	case m.Spoiler:
		return "(hidden: " + safeLine(m.SpoilerHint, 100) + " /show)"
	}
	text := safeText(m.Text)
	if m.Me {
		text = "* " + text
	}
	for _, f := range m.Files {
		text = strings.TrimSpace(text + "\n" + fileLine(f, number))
	}
	if m.ReplyTo != nil {
		if n := quoted[m.ReplyTo.ID]; n > 0 {
			text = fmt.Sprintf("(to #%d) %s", n, text)
		} else {
			text = "(to an earlier message) " + text
		}
	}
	return text
}

// tail says what has become of a message.
func (a *app) tail(e chat.Entry) string {
	var t []string
	if e.Retracted {
		return ""
	}
	if e.Edits > 0 {
		t = append(t, "(edited)")
	}
	counts := map[string]int{}
	for _, rs := range e.Reactions {
		for _, r := range rs {
			counts[safeLine(r, 8)]++
		}
	}
	for _, r := range slices.Sorted(maps.Keys(counts)) {
		t = append(t, fmt.Sprintf("%s %d", r, counts[r]))
	}
	if s := e.Current.Seal; s != nil {
		t = append(t, map[bool]string{true: "[enc]", false: "[enc, key not trusted]"}[s.Trusted])
	}
	if e.Message.Self && e.Message.Type != stanza.GroupChatMessage {
		t = append(t, a.tick(e))
	}
	return strings.Join(t, " ")
}

// tick says how far an own message has come.
func (a *app) tick(e chat.Entry) string {
	level, failed := confab.Acked, false
	if s := a.c.Sent(e.Message.ID); s != nil {
		level, failed = s.Level(), s.Err() != nil
	}
	switch {
	case e.Displayed:
		return "read"
	case e.Received:
		return "received"
	case failed:
		return "FAILED"
	case level < confab.Acked:
		return "..."
	}
	return "sent"
}
