package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/roster"
	"github.com/confab-im/confab/store"
	"mellium.im/xmpp/jid"
)

// listen takes what the features tell. What was said is in the history already when an
// event comes here, so that there is not much to do but to have the screen drawn.
func (a *app) listen() {
	confab.On(a.c, func(ctx context.Context, e any) {
		switch e := e.(type) {
		case confab.Ready, confab.Suspended, confab.Lost, client.Retry:
			a.link(e)
		case *chat.Message:
			a.typed(e.Chat, e.Chat.String(), false)
		case chat.Typing:
			if !e.From.Bare().Equal(a.self) {
				a.typed(e.Chat, e.Chat.String(), e.State == chat.Composing)
			}
		case muc.Typing:
			if e.Nick != e.Room.Nick() {
				a.typed(e.Room.JID(), e.Nick, e.State == chat.Composing)
			}
		case *muc.Message:
			a.typed(e.Room.JID(), e.Nick, false)
			if e.Source != confab.RoomHistory && e.Room.Mentioned(e) {
				a.mentioned(e.Room.JID())
			}
		case muc.PrivateMessage:
			a.say(e.Room.JID(), "%s says to you alone: %s", safeName(e.Nick), e.Text)
		case chat.Position:
			a.do(e.Chat, func(ctx context.Context) error { return a.readElsewhere(ctx, e) })
		default:
			a.tell(e)
		}
		a.changed()
	})
}

// link says how the connection is.
func (a *app) link(e any) {
	switch e := e.(type) {
	case confab.Ready:
		a.connection("online")
		if e.Fresh {
			a.do(jid.JID{}, a.readPositions)
		}
	case confab.Suspended, confab.Lost:
		a.connection("no link; connecting again")
	case client.Retry:
		a.connection(fmt.Sprintf("no link (%s); trying again in %v", safeLine(e.Err.Error(), 80), e.After.Round(time.Second)))
	}
}

func (a *app) typed(ch jid.JID, who string, on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := ch.String()
	if !on {
		delete(a.typing[key], who)
		return
	}
	if a.typing[key] == nil {
		if len(a.typing) > 1000 { // strangers must not fill the memory
			clear(a.typing)
		}
		a.typing[key] = map[string]bool{}
	}
	if len(a.typing[key]) < 100 {
		a.typing[key][who] = true
	}
}

// mentioned notes that the user was named in a room that is not on the screen.
func (a *app) mentioned(room jid.JID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.current.Equal(room) {
		a.named[room.String()] = true
	}
}

// tell says in words what is no part of a conversation, but should be known.
func (a *app) tell(e any) {
	none := jid.JID{}
	switch e := e.(type) {
	case roster.Request:
		if c, _ := a.roster.Contact(e.From); c.Asked || c.Subscription.SeesThem() {
			// Whom the user has asked may see the user, too.
			a.do(none, func(ctx context.Context) error { return a.roster.Accept(ctx, e.From) })
			return
		}
		a.say(none, "%s wants to see your presence. %s", e.From, safeLine(e.Nick+" "+e.Status, 200))
		a.say(none, "/accept %s or /decline %s", e.From, e.From)
	case roster.Answered:
		a.say(e.From.Bare(), "%s has %s your request.", e.From.Bare(), map[bool]string{true: "accepted", false: "declined"}[e.Accepted])
	case muc.Invitation:
		a.say(none, "%s invites you into a room. %s", e.From, safeLine(e.Reason, 200))
		a.say(none, "/join %s", e.Room)
	case muc.State:
		a.roomState(e)
	case muc.Subject:
		a.say(e.Room.JID(), "Topic: %s", safeLine(e.Text, 300))
	case roster.PresenceChanged:
		if !e.New.Available {
			a.typed(e.JID.Bare(), e.JID.Bare().String(), false)
		}
	case muc.Change:
		if e.Kind != muc.Entered && e.Kind != muc.Changed {
			a.typed(e.Room.JID(), cmp.Or(e.Before.Nick, e.Occupant.Nick), false)
		}
		if e.Kind >= muc.Kicked && e.Kind <= muc.Removed {
			a.say(e.Room.JID(), "%s was thrown out (%v). %s", safeName(e.Occupant.Nick), e.Kind, safeLine(e.Reason, 200))
		}
	case bookmarks.JoinFailed:
		a.fail(none, e.Err)
	case confab.SendFailed:
		a.fail(e.To.Bare(), fmt.Errorf("a message came back: %w", e.Err))
	case store.Left:
		a.fail(e.Draft.To.Bare(), fmt.Errorf("a message was given up: %w", e.Err))
	case confab.HandlerError:
		a.fail(none, e.Err)
	case omemo.Undecryptable, omemo.NewKey, omemo.Rejected, omemo.OptedOut, omemo.Skipped, omemo.Failed:
		a.secret(e)
	}
}

func (a *app) roomState(e muc.State) {
	switch e.Status {
	case muc.Rejoining:
		a.say(e.Room.JID(), "The room has lost you; entering again.")
	case muc.Out:
		if e.Err != nil && !errors.Is(e.Err, muc.ErrLeft) {
			a.say(e.Room.JID(), "You are not in the room any more: %s", e.Err.Error())
		}
	}
}

// secret tells what is to be known about encryption.
func (a *app) secret(e any) {
	switch e := e.(type) {
	case omemo.Undecryptable:
		where := e.Message.From.Bare()
		if where.Equal(a.self) {
			where = e.Message.To.Bare()
		}
		if _, ok := a.roster.Contact(where); !ok && a.rooms.Room(where) == nil {
			where = jid.JID{} // where it is seen; strangers must not open chats by it
		}
		a.say(where, "A message of %s cannot be read: %s", e.Message.From, e.Err.Error())
	case omemo.NewKey:
		if !e.Device.Self {
			a.say(e.Device.Addr, "%s has a new key, %s (%v). /keys shows all.", e.Device.Addr, e.Device.Key.Fingerprint(), e.Device.Trust)
		}
	case omemo.Rejected:
		a.say(e.Message.From.Bare(), "A message that was not encrypted was not taken.")
	case omemo.OptedOut:
		a.say(e.Addr, "%s asks to be written to without encryption: /omemo off, if you agree. %s", e.Addr, safeLine(e.Reason, 200))
	case omemo.Skipped:
		for _, f := range e.Failures {
			a.say(e.To.Bare(), "Not encrypted for device %d of %s: %s", f.Device, f.Addr, f.Err.Error())
		}
	case omemo.Failed:
		a.fail(jid.JID{}, e.Err)
	}
}

// readPositions asks how far other devices have read.
func (a *app) readPositions(ctx context.Context) error {
	all, err := a.chats.Positions(ctx)
	if err != nil {
		return nil // a server without PEP
	}
	for _, p := range all {
		a.do(p.Chat, func(ctx context.Context) error { return a.readElsewhere(ctx, p) })
	}
	return nil
}

// readElsewhere marks as read what another device has read.
func (a *app) readElsewhere(ctx context.Context, p chat.Position) error {
	es, err := a.kept.Entries(ctx, p.Chat, store.Page{Limit: 2 * firstPage})
	if err != nil {
		return err
	}
	for _, e := range es {
		if e.Message.ServerID == p.ID {
			defer a.changed()
			return a.kept.MarkRead(ctx, p.Chat, e.Message.Place())
		}
	}
	return nil // older than all that is shown
}
