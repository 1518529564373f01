package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/confab-im/confab/muc"
	"mellium.im/xmpp/jid"
)

var roomCommands = []command{
	{"join", "ROOM [NICK]", "enter a room, or make it", (*app).join},
	{"leave", "", "leave this room", inRoom(func(_ *app, ctx context.Context, r *muc.Room, _ string) error { return r.Leave(ctx) })},
	{"who", "", "who is here", inRoom((*app).who)},
	{"topic", "TEXT", "say what the room is about", inRoom(func(_ *app, ctx context.Context, r *muc.Room, arg string) error {
		_, err := r.SetSubject(ctx, arg)
		return err
	})},
	{"nick", "NAME", "call yourself something else here", inRoom(func(_ *app, ctx context.Context, r *muc.Room, arg string) error {
		return r.SetNick(ctx, arg)
	})},
	{"invite", "ADDRESS", "invite somebody into this room", inRoom(func(_ *app, ctx context.Context, r *muc.Room, arg string) error {
		return withAddress(arg, func(j jid.JID) error { return r.Invite(ctx, j, "") })
	})},
	{"private", "", "make this room one for its members only, which can be encrypted", inRoom(func(a *app, ctx context.Context, r *muc.Room, _ string) error {
		err := r.Configure(ctx, muc.PrivateGroup(r.Info().Name))
		if err == nil {
			a.say(r.JID(), "Only members get in now. /invite makes somebody one.")
		}
		return err
	})},
	{"bookmark", "", "be in this room whenever you are online", inRoom(func(a *app, ctx context.Context, r *muc.Room, _ string) error {
		b, _ := a.marks.Get(r.JID())
		b.Room, b.Nick, b.Autojoin = r.JID(), r.Nick(), true
		if err := a.marks.Set(ctx, b); err != nil {
			return err
		}
		a.say(r.JID(), "Bookmarked.")
		return nil
	})},
	{"unbookmark", "[ROOM]", "do not, and leave it", func(a *app, ctx context.Context, here jid.JID, arg string) error {
		if arg == "" {
			arg = here.String()
		}
		return withAddress(arg, func(j jid.JID) error { return a.marks.Remove(ctx, j) })
	}},
	{"bookmarks", "", "all rooms that are kept", func(a *app, _ context.Context, here jid.JID, _ string) error {
		var b strings.Builder
		for _, m := range a.marks.List() {
			fmt.Fprintf(&b, "%s %s%s\n", m.Room, safeName(m.Name), map[bool]string{true: " (entered by itself)"}[m.Autojoin])
		}
		a.note(here, fmt.Sprintf("%sBookmarks: %d", b.String(), len(a.marks.List())))
		return nil
	}},
}

// inRoom is for commands that only make sense in a room.
func inRoom(f func(*app, context.Context, *muc.Room, string) error) func(*app, context.Context, jid.JID, string) error {
	return func(a *app, ctx context.Context, here jid.JID, arg string) error {
		room, err := a.room(here)
		if err != nil {
			return err
		}
		if room == nil {
			return errors.New("this is no room")
		}
		return f(a, ctx, room, arg)
	}
}

func (a *app) join(ctx context.Context, _ jid.JID, arg string) error {
	address, nick, _ := strings.Cut(arg, " ")
	return withAddress(address, func(j jid.JID) error {
		mark, _ := a.marks.Get(j)
		if nick = strings.TrimSpace(nick); nick == "" {
			nick = mark.Nick
		}
		if nick == "" {
			nick = a.self.Localpart()
		}
		opts := []muc.JoinOption{muc.NickFallback(), muc.Create(muc.PublicChannel(j.Localpart()))}
		if mark.Password != "" {
			opts = append(opts, muc.Password(mark.Password))
		}
		room, err := a.rooms.Join(ctx, j, nick, opts...)
		if err != nil {
			return err
		}
		a.goTo(room.JID())
		a.say(room.JID(), "You are in the room, as %s. %s", safeName(room.Nick()), map[bool]string{true: "It is new."}[room.Created()])
		return nil
	})
}

func (a *app) who(_ context.Context, r *muc.Room, _ string) error {
	var b strings.Builder
	for _, o := range r.Occupants() {
		fmt.Fprintf(&b, "%s (%s", safeName(o.Nick), o.Role)
		if !o.JID.Equal(jid.JID{}) {
			b.WriteString(", " + safeName(o.JID.String()))
		}
		b.WriteString(") " + safeLine(o.Show+" "+o.Status, 80) + "\n")
	}
	a.note(r.JID(), fmt.Sprintf("%sHere: %d", b.String(), len(r.Occupants())))
	return nil
}
