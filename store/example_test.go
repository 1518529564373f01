package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/store"
)

// One file for everything that is to be found again.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(filepath.Join(dir, "bot.db"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	c, err := client.New(client.Config{Address: "bot@example.org", Password: "pw", Store: db})
	if err != nil {
		panic(err)
	}
	mam.New(c, mam.Config{Store: db})
	if _, err := omemo.New(c, omemo.Config{Store: db.Keys()}); err != nil {
		panic(err)
	}
	if err := db.Put(context.Background(), "my own", []byte("value")); err != nil {
		panic(err)
	}
	v, err := db.Get(context.Background(), "my own")
	fmt.Println(string(v), err)
	// Output: value <nil>
}

// What was said is read page by page, and searched.
func ExampleHistory() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(filepath.Join(dir, "chats.db"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, _ := client.New(client.Config{Address: srv.AddAccount("romeo", "pw"), Password: "pw", Dial: srv.Dial, Store: db})
	kept := db.History(c.LocalAddr())
	kept.Follow(c)
	chats := chat.New(c, chat.Config{})
	said := make(chan bool, 1)
	confab.On(c, func(context.Context, chat.Edited) { said <- true })
	go c.Run(ctx)

	notes := chats.With(c.LocalAddr().Bare()) // to oneself
	sent, _ := notes.Send(ctx, "Buy a lader")
	sent.Wait(ctx, confab.Acked)
	notes.Edit(ctx, sent.ID, "Buy a ladder")
	<-said

	found, err := kept.Search(ctx, store.Search{Text: "ladder"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range found {
		fmt.Println(e.Current.Text, "- corrected", e.Edits, "time")
	}
	// Output: Buy a ladder - corrected 1 time
}
