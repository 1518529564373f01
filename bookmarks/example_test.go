package bookmarks_test

import (
	"context"
	"fmt"
	"log"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
)

// A phone is in the rooms that were bookmarked on a computer.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	address := srv.AddAccount("juliet", "secret")

	joined := make(chan jid.JID)
	start := func(cfg bookmarks.Config) *bookmarks.Bookmarks {
		c, err := client.New(client.Config{Address: address, Password: "secret", Dial: srv.Dial})
		if err != nil {
			log.Fatal(err)
		}
		b, err := bookmarks.New(c, cfg)
		if err != nil {
			log.Fatal(err)
		}
		ready := make(chan confab.Ready, 1)
		confab.On(c, func(_ context.Context, r confab.Ready) { ready <- r })
		go func() { _ = c.Run(ctx) }()
		<-ready
		return b
	}
	computer := start(bookmarks.Config{})
	phone := start(bookmarks.Config{Join: func(_ context.Context, m bookmarks.Bookmark) error {
		joined <- m.Room // this is where the room is joined
		return nil
	}})

	room := jid.MustParse("theplay@conference.shakespeare.lit")
	if err := computer.Set(ctx, bookmarks.Bookmark{Room: room, Name: "The Play's the Thing", Autojoin: true}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("joined", <-joined)
	m, _ := phone.Get(room)
	fmt.Println(m.Name)
	// Output:
	// joined theplay@conference.shakespeare.lit
	// The Play's the Thing
}

// What is changed is written; all else stays as other clients have left it.
func ExampleBookmarks_Set() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := client.New(client.Config{Address: srv.AddAccount("juliet", "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	b, err := bookmarks.New(c, bookmarks.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ready := make(chan confab.Ready, 1)
	confab.On(c, func(_ context.Context, r confab.Ready) { ready <- r })
	go func() { _ = c.Run(ctx) }()
	<-ready

	room := jid.MustParse("theplay@conference.shakespeare.lit")
	if err := b.Set(ctx, bookmarks.Bookmark{Room: room, Nick: "JC"}); err != nil {
		log.Fatal(err)
	}
	m, _ := b.Get(room)
	m.Pinned = true
	if err := b.Set(ctx, m); err != nil {
		log.Fatal(err)
	}
	for _, m := range b.List() {
		fmt.Println(m.Room, m.Nick, m.Pinned)
	}
	// Output: theplay@conference.shakespeare.lit JC true
}
