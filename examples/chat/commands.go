package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/roster"
	"github.com/confab-im/confab/store"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A command is what a line that begins with a slash does. Here is the chat it was typed in.
type command struct {
	name, args, help string
	run              func(a *app, ctx context.Context, here jid.JID, arg string) error
}

// commands are all of them, in the order of /help. It is filled by init, as /help reads it.
var commands []command

func init() {
	commands = slices.Concat(general, people, messageCommands, roomCommands, fileCommands, keyCommands)
}

var general = []command{
	{"help", "", "this", func(a *app, _ context.Context, here jid.JID, _ string) error {
		var b strings.Builder
		for _, c := range commands {
			fmt.Fprintf(&b, "/%-11s %-22s %s\n", c.name, c.args, c.help)
		}
		a.note(here, b.String()+"Tab: next chat. Ctrl-P, Ctrl-N: up and down the list. PgUp, PgDn: scroll.")
		return nil
	}},
	{"quit", "", "sign off and end", nil}, // the screen does it
	{"chat", "ADDRESS|NAME", "open a chat; without an address, this program's own page", (*app).openChat},
	{"status", "online|away|xa|dnd [TEXT]", "what your contacts see", (*app).setStatus},
}

var people = []command{
	{"add", "ADDRESS [NAME]", "make somebody a contact, and ask to see them", (*app).addContact},
	{"rename", "NAME", "call this contact something else", func(a *app, ctx context.Context, here jid.JID, arg string) error {
		return a.roster.Rename(ctx, here, arg)
	}},
	{"remove", "ADDRESS", "remove a contact", func(a *app, ctx context.Context, _ jid.JID, arg string) error {
		return withAddress(arg, func(j jid.JID) error { return a.roster.Remove(ctx, j) })
	}},
	{"accept", "ADDRESS", "let somebody see you, and ask to see them", func(a *app, ctx context.Context, _ jid.JID, arg string) error {
		return withAddress(arg, func(j jid.JID) error {
			if err := a.roster.Accept(ctx, j); err != nil {
				return err
			}
			if c, _ := a.roster.Contact(j); c.Subscription.SeesThem() {
				return nil
			}
			return a.roster.Subscribe(ctx, j)
		})
	}},
	{"decline", "ADDRESS", "do not", func(a *app, ctx context.Context, _ jid.JID, arg string) error {
		return withAddress(arg, func(j jid.JID) error { return a.roster.Decline(ctx, j) })
	}},
}

var messageCommands = []command{
	{"edit", "[#N] TEXT", "correct your last message, or that with the number", (*app).edit},
	{"reply", "[#N] TEXT", "answer the last message, or another", (*app).reply},
	{"react", "[#N] [EMOJI ...]", "react to the last message; none takes it back", (*app).react},
	{"retract", "[#N] [REASON]", "take your last message back", (*app).retract},
	{"show", "[#N]", "a message as a whole", (*app).showWhole},
	{"search", "WORDS", "find messages", (*app).search},
}

// enter takes a line that was typed in the chat that is on the screen.
func (a *app) enter(text string) {
	here := a.here()
	if strings.TrimSpace(text) == "" {
		return
	}
	name, arg, isCommand := parse(text)
	if !isCommand {
		a.do(here, func(ctx context.Context) error { return a.send(ctx, here, strings.TrimPrefix(text, "\\")) })
		return
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name && c.run != nil })
	if i < 0 {
		a.say(here, "There is no /%s: see /help. A text that begins with a slash is sent with a \\ before it.", name)
		return
	}
	a.do(here, func(ctx context.Context) error { return commands[i].run(a, ctx, here, arg) })
}

// parse reads a line: is it a command, and which?
func parse(text string) (name, arg string, isCommand bool) {
	if !strings.HasPrefix(text, "/") || text == "/me" || strings.HasPrefix(text, "/me ") {
		return "", "", false
	}
	name, arg, _ = strings.Cut(text[1:], " ")
	return strings.ToLower(name), strings.TrimSpace(arg), true
}

// numbered reads a number of a message, "#12", at the beginning of an argument.
func numbered(arg string) (n int, rest string) {
	first, rest, _ := strings.Cut(arg, " ")
	if _, err := fmt.Sscanf(first, "#%d", &n); err != nil || fmt.Sprintf("#%d", n) != first || n < 1 {
		return 0, arg
	}
	return n, strings.TrimSpace(rest)
}

func withAddress(arg string, f func(jid.JID) error) error {
	j, err := jid.Parse(arg)
	if err != nil || arg == "" {
		return fmt.Errorf("%q is no address", arg)
	}
	return f(j.Bare())
}

var errNoChat = errors.New("no chat is open: /chat ADDRESS or /join ROOM")

// room is the room here, nil if this is a chat.
func (a *app) room(here jid.JID) (*muc.Room, error) {
	if here.Equal(jid.JID{}) {
		return nil, errNoChat
	}
	room := a.rooms.Room(here)
	if room == nil && a.isRoom(here) {
		return nil, fmt.Errorf("you are not in the room: /join %s", here)
	}
	return room, nil
}

func (a *app) send(ctx context.Context, here jid.JID, text string) error {
	room, err := a.room(here)
	if err != nil {
		return err
	}
	var s *confab.Sent
	if room != nil {
		s, err = room.Send(ctx, text)
	} else {
		s, err = a.chats.With(here).Send(ctx, text)
	}
	return a.said(here, s, err)
}

// said remembers the last message, so that /edit finds it before it is in the history.
func (a *app) said(here jid.JID, s *confab.Sent, err error) error {
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[here.String()] = s.ID
	delete(a.state, here.String())
	return nil
}

// entries are the messages of a chat that are shown.
func (a *app) entries(ctx context.Context, ch jid.JID) ([]chat.Entry, error) {
	a.mu.Lock()
	limit := max(a.count[ch.String()], firstPage)
	a.mu.Unlock()
	return a.kept.Entries(ctx, ch, store.Page{Limit: limit})
}

// target finds the message that a command is about: by its number, or the last of which
// ok says that it will do.
func (a *app) target(ctx context.Context, here jid.JID, n int, ok func(chat.Entry) bool) (chat.Entry, error) {
	es, err := a.entries(ctx, here)
	if err != nil {
		return chat.Entry{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range slices.Backward(es) {
		if n > 0 {
			if num := a.numbers[here.String()]; num != nil && num.of(e) == n {
				return e, nil
			}
		} else if !e.Retracted && ok(e) {
			return e, nil
		}
	}
	if n > 0 {
		return chat.Entry{}, fmt.Errorf("there is no message #%d here", n)
	}
	return chat.Entry{}, errors.New("there is no such message here")
}

func mine(e chat.Entry) bool      { return e.Message.Self }
func ofOthers(e chat.Entry) bool  { return !e.Message.Self }
func withFiles(e chat.Entry) bool { return len(e.Current.Files) > 0 }
func whatever(chat.Entry) bool    { return true }

// ref is how reactions and retractions name a message: in rooms by the room's id.
func ref(m *chat.Message) string {
	if m.Type == stanza.GroupChatMessage {
		return m.ServerID
	}
	return m.Ref()
}

func (a *app) edit(ctx context.Context, here jid.JID, arg string) error {
	n, text := numbered(arg)
	if text == "" {
		return errors.New("what should it say?")
	}
	room, err := a.room(here)
	if err != nil {
		return err
	}
	id, err := a.unseen(ctx, here)
	if err != nil {
		return err
	}
	if n > 0 || id == "" {
		e, err := a.target(ctx, here, n, mine)
		if err != nil {
			return err
		}
		if !e.Message.Self {
			return errors.New("that is not yours")
		}
		id = e.Message.ID
	}
	if room != nil {
		_, err = room.Edit(ctx, id, text)
	} else {
		_, err = a.chats.With(here).Edit(ctx, id, text)
	}
	return err
}

// unseen is the id of the last message if it is so young that the history does not have
// it yet: a room has not sent it back, or its event is on its way.
func (a *app) unseen(ctx context.Context, here jid.JID) (string, error) {
	a.mu.Lock()
	id := a.last[here.String()]
	a.mu.Unlock()
	es, err := a.entries(ctx, here)
	if err != nil || slices.ContainsFunc(es, func(e chat.Entry) bool { return e.Message.ID == id }) {
		return "", err
	}
	return id, nil
}

func (a *app) reply(ctx context.Context, here jid.JID, arg string) error {
	n, text := numbered(arg)
	room, err := a.room(here)
	if err != nil {
		return err
	}
	e, err := a.target(ctx, here, n, ofOthers)
	if err != nil {
		return err
	}
	var s *confab.Sent
	if room != nil {
		s, err = room.Reply(ctx, &muc.Message{Message: *e.Message, Room: room, Nick: e.Message.From.Resourcepart()}, text)
	} else {
		s, err = a.chats.With(here).Reply(ctx, e.Message, text)
	}
	return a.said(here, s, err)
}

func (a *app) react(ctx context.Context, here jid.JID, arg string) error {
	n, emoji := numbered(arg)
	room, err := a.room(here)
	if err != nil {
		return err
	}
	e, err := a.target(ctx, here, n, ofOthers)
	if err != nil {
		return err
	}
	if room != nil {
		_, err = room.React(ctx, ref(e.Message), strings.Fields(emoji)...)
	} else {
		_, err = a.chats.With(here).React(ctx, ref(e.Message), strings.Fields(emoji)...)
	}
	return err
}

func (a *app) retract(ctx context.Context, here jid.JID, arg string) error {
	n, reason := numbered(arg)
	room, err := a.room(here)
	if err != nil {
		return err
	}
	e, err := a.target(ctx, here, n, mine)
	if err != nil {
		return err
	}
	switch {
	case room != nil && !e.Message.Self:
		err = room.Moderate(ctx, ref(e.Message), reason)
	case room != nil:
		_, err = room.Retract(ctx, ref(e.Message), reason)
	case !e.Message.Self:
		return errors.New("that is not yours")
	default:
		_, err = a.chats.With(here).Retract(ctx, e.Message.ID, reason)
	}
	return err
}

// showWhole shows a message with all that is left out elsewhere, but not all of a book.
func (a *app) showWhole(ctx context.Context, here jid.JID, arg string) error {
	n, _ := numbered(arg)
	e, err := a.target(ctx, here, n, whatever)
	if err != nil {
		return err
	}
	if e.Retracted {
		return errors.New("it was taken back")
	}
	text, cut := clip(e.Current.Text, 10*maxText)
	if cut {
		text += " …"
	}
	a.note(here, clean(text, true))
	return nil
}

func (a *app) search(ctx context.Context, here jid.JID, arg string) error {
	es, err := a.kept.Search(ctx, store.Search{Text: arg, Chat: here, Limit: 20})
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, e := range slices.Backward(es) {
		fmt.Fprintf(&b, "%s %s %s: %s\n", e.Message.When().Format("2006-01-02 15:04"), safeName(e.Message.Chat.String()), a.author(e.Message), safeLine(e.Current.Text, 200))
	}
	a.note(here, fmt.Sprintf("%sFound: %d", b.String(), len(es)))
	return nil
}

// openChat opens a chat by its address or the beginning of its name.
func (a *app) openChat(ctx context.Context, _ jid.JID, arg string) error {
	if arg == "" {
		a.goTo(jid.JID{})
		return nil
	}
	rows, err := a.rows(ctx, jid.JID{})
	if err != nil {
		return err
	}
	for _, r := range rows[1:] {
		if strings.HasPrefix(strings.ToLower(r.Name), strings.ToLower(arg)) || r.JID.String() == arg {
			a.goTo(r.JID)
			return nil
		}
	}
	if !strings.Contains(arg, "@") {
		return fmt.Errorf("nobody here is called %s; with an address, a new chat begins", arg)
	}
	return withAddress(arg, func(j jid.JID) error {
		a.goTo(j)
		return nil
	})
}

func (a *app) addContact(ctx context.Context, _ jid.JID, arg string) error {
	address, name, _ := strings.Cut(arg, " ")
	return withAddress(address, func(j jid.JID) error {
		if err := a.roster.Add(ctx, j, strings.TrimSpace(name)); err != nil {
			return err
		}
		return a.roster.Subscribe(ctx, j)
	})
}

func (a *app) setStatus(ctx context.Context, _ jid.JID, arg string) error {
	show, text, _ := strings.Cut(arg, " ")
	switch show {
	case "online":
		show = ""
	case "away", "xa", "dnd":
	default:
		return errors.New("online, away, xa or dnd?")
	}
	return a.roster.SetPresence(ctx, roster.Own{Show: show, Status: strings.TrimSpace(text)})
}

// composing tells the other one that the user is typing, or has stopped. Only who may see
// the user's presence, or is in the room, is told.
func (a *app) composing(text string) {
	here := a.here()
	_, _, isCommand := parse(text)
	state := chat.Active
	if text != "" && !isCommand {
		state = chat.Composing
	}
	a.mu.Lock()
	same := cmp.Or(a.state[here.String()], chat.Active) == state
	a.mu.Unlock()
	room := a.rooms.Room(here)
	if same || room == nil && !a.roster.Sees(here) {
		return
	}
	a.mu.Lock()
	a.state[here.String()] = state
	a.mu.Unlock()
	a.do(here, func(ctx context.Context) error {
		// It is of the moment: where it fails nothing is lost.
		if room != nil {
			_ = room.State(ctx, state)
		} else {
			_ = a.chats.With(here).State(ctx, state)
		}
		return nil
	})
}
