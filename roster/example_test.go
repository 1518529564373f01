package roster_test

import (
	"context"
	"fmt"
	"log"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/roster"
	"mellium.im/xmpp/jid"
)

// up signs in to an account of a server and returns when it is ready.
func up(srv *confabtest.Server, user string, cfg roster.Config) (*client.Client, *roster.Roster) {
	c, err := client.New(client.Config{Address: srv.AddAccount(user, "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	r, err := roster.New(c, cfg)
	if err != nil {
		log.Fatal(err)
	}
	ready := make(chan bool, 1)
	confab.On(c, func(context.Context, confab.Ready) { ready <- true })
	go func() { _ = c.Run(context.Background()) }()
	<-ready
	return c, r
}

// A bot that lets everyone see it, and wants to see them.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx := context.Background()

	bot, _ := up(srv, "bot", roster.Config{Policy: roster.Mutual})
	defer bot.Close(ctx)

	romeo, contacts := up(srv, "romeo", roster.Config{Policy: roster.AcceptAll})
	defer romeo.Close(ctx)
	came := make(chan roster.PresenceChanged, 10)
	confab.On(romeo, func(_ context.Context, e roster.PresenceChanged) {
		if e.JID.Localpart() == "bot" {
			came <- e
		}
	})
	if err := contacts.Subscribe(ctx, jid.MustParse("bot@confab.test"), roster.WithNick("Romeo")); err != nil {
		log.Fatal(err)
	}
	e := <-came
	fmt.Println(e.JID.Bare(), "is there:", e.New.Available)
	// Output: bot@confab.test is there: true
}

func ExampleRoster_Add() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx := context.Background()
	c, r := up(srv, "juliet", roster.Config{})
	defer c.Close(ctx)

	nurse := jid.MustParse("nurse@confab.test")
	if err := r.Add(ctx, nurse, "Nurse", "Servants"); err != nil {
		log.Fatal(err)
	}
	if err := r.Rename(ctx, nurse, "Angelica"); err != nil {
		log.Fatal(err)
	}
	for _, c := range r.Contacts() {
		fmt.Println(c.JID, c.Name, c.Groups, c.Subscription)
	}
	// Output: nurse@confab.test Angelica [Servants] none
}

func ExampleRoster_Invite() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx := context.Background()
	romeo, his := up(srv, "romeo", roster.Config{})
	defer romeo.Close(ctx)
	juliet, hers := up(srv, "juliet", roster.Config{})
	defer juliet.Close(ctx)
	friends := make(chan roster.Contact, 10)
	confab.On(romeo, func(_ context.Context, e roster.Changed) {
		if e.New.Subscription == roster.Both {
			friends <- e.New
		}
	})

	i, err := his.Invite(ctx, roster.InviteOptions{Name: "Romeo"})
	if err != nil {
		log.Fatal(err)
	}
	link := i.URI() // to be sent by mail or shown as a QR code

	got, err := roster.ParseInvitation(link)
	if err != nil {
		log.Fatal(err)
	}
	if err := hers.AcceptInvitation(ctx, got); err != nil {
		log.Fatal(err)
	}
	fmt.Println((<-friends).JID)
	// Output: juliet@confab.test
}

func ExampleBlocklist_Block() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx := context.Background()
	c, err := client.New(client.Config{Address: srv.AddAccount("juliet", "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	b, err := roster.NewBlocklist(c)
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = c.Run(ctx) }()
	defer c.Close(ctx)

	if err := b.Block(ctx, jid.MustParse("spam.example")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.IsBlocked(jid.MustParse("somebody@spam.example/x")), srv.Blocked("juliet"))
	// Output: true [spam.example]
}
