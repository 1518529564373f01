package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/muc"
	"mellium.im/xmpp/jid"
)

// rooms has the two meet in a room.
func (t *tour) rooms(ctx context.Context) (string, error) {
	services, err := disco.Find(ctx, t.alice.c, muc.NS)
	if err != nil {
		return "", fmt.Errorf("looking for rooms: %w", err)
	}
	if len(services) == 0 {
		say("this server has no rooms")
		return "no rooms on this server", nil
	}
	addr, err := jid.New("tour-"+t.alice.c.LocalAddr().Localpart(), services[0].JID.Domainpart(), "")
	if err != nil {
		return "", err
	}
	hers, err := t.alice.muc.Join(ctx, addr, "Alice", muc.Create(muc.PublicChannel("The Tour")))
	if err != nil {
		return "", err
	}
	say("Alice has made the room %s", addr)
	his, err := t.bob.muc.Join(ctx, addr, "Bob")
	if err != nil {
		return "", err
	}
	say("Bob enters; he sees %d people, and the room is called %q", len(his.Occupants()), his.Info().Name)

	view := chat.NewTimeline(addr, 0)
	defer his.Follow(view, nil)()
	sent, err := hers.Send(ctx, "Welcome, Bpb!")
	if err != nil {
		return "", err
	}
	if _, err := hers.Edit(ctx, sent.ID, "Welcome, Bob!"); err != nil {
		return "", err
	}
	err = await(ctx, "Bob does not see the correction in the room", func() bool {
		e, ok := view.Entry(sent.ID)
		return ok && e.Current.Text == "Welcome, Bob!"
	})
	if err != nil {
		return "", err
	}
	if _, err := hers.SetSubject(ctx, "What is new"); err != nil {
		return "", err
	}
	if err := his.SetNick(ctx, "Bobby"); err != nil {
		return "", err
	}
	err = await(ctx, "the topic, or Bob's new nickname, does not come", func() bool {
		_, ok := hers.Occupant("Bobby")
		return ok && his.Subject().Text == "What is new"
	})
	if err != nil {
		return "", err
	}
	say("Alice corrects herself and sets the topic; Bob calls himself %s", his.Nick())

	if err := t.alice.marks.Set(ctx, bookmarks.Bookmark{Room: addr, Name: "The Tour", Nick: "Alice"}); err != nil {
		return "", fmt.Errorf("the bookmark: %w", err)
	}
	if _, ok := t.alice.marks.Get(addr); !ok {
		return "", errors.New("the bookmark is not there")
	}
	say("Alice has a bookmark for it, on all her devices")
	if err := t.alice.marks.Remove(ctx, addr); err != nil {
		return "", err
	}
	if err := hers.Destroy(ctx, "the tour goes on", jid.JID{}); err != nil {
		return "", err
	}
	err = await(ctx, "Bob is still in a room that is no more", func() bool {
		st, _ := his.Status()
		return st == muc.Out
	})
	if err != nil {
		return "", err
	}
	_, why := his.Status()
	say("Alice closes the room; Bob hears why: %v", why)
	return "made, entered, talked, bookmarked, closed", nil
}
