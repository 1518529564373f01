package omemo_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/omemo"
	"mellium.im/xmpp/jid"
)

// Two people turn encryption on, and one scans the other's code.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	sign := func(user string) (*chat.Client, *omemo.Manager, *client.Client) {
		c, err := client.New(client.Config{Address: srv.AddAccount(user, "pw"), Password: "pw", Dial: srv.Dial})
		if err != nil {
			panic(err)
		}
		chats := chat.New(c, chat.Config{})
		keys, err := omemo.New(c, omemo.Config{Store: &omemo.MemoryStore{}}) // a program keeps its keys: OpenFileStore
		if err != nil {
			panic(err)
		}
		ready := make(chan struct{}, 10)
		confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
		go c.Run(ctx)
		<-ready
		return chats, keys, c
	}
	chats, keys, _ := sign("romeo")
	_, hers, juliet := sign("juliet")
	heard := make(chan *chat.Message, 10)
	confab.On(juliet, func(_ context.Context, m *chat.Message) { heard <- m })

	peer, err := keys.Verify(ctx, hers.URI()) // such as from a QR code
	if err != nil {
		panic(err)
	}
	if err := keys.SetMode(ctx, peer, omemo.Required); err != nil {
		panic(err)
	}
	if _, err := chats.With(peer).Send(ctx, "for your eyes only"); err != nil {
		panic(err)
	}
	m := <-heard
	fmt.Println(m.Text, m.Seal.Scheme, m.Seal.Trusted)
	// Output: for your eyes only urn:xmpp:omemo:2 true
}

// Somebody without keys gets nothing, and nothing in clear.
func ExampleManager_SetMode() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, err := client.New(client.Config{Address: srv.AddAccount("romeo", "pw"), Password: "pw", Dial: srv.Dial})
	if err != nil {
		panic(err)
	}
	chats := chat.New(c, chat.Config{})
	keys, err := omemo.New(c, omemo.Config{Store: &omemo.MemoryStore{}})
	if err != nil {
		panic(err)
	}
	go c.Run(ctx)
	juliet := jid.MustParse(srv.AddAccount("juliet", "pw"))
	if err := keys.SetMode(ctx, juliet, omemo.On); err != nil {
		panic(err)
	}
	_, err = chats.With(juliet).Send(ctx, "a secret")
	fmt.Println(err)
	// Output: omemo: nothing was sent to juliet@confab.test: there is no device to encrypt for; juliet@confab.test: there is no device to encrypt for
}

func ExampleOpenFileStore() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := omemo.OpenFileStore(filepath.Join(dir, "keys"))
	if err != nil {
		panic(err)
	}
	defer store.Close()
	c, err := client.New(client.Config{Address: "romeo@example.org", Password: "pw"})
	if err != nil {
		panic(err)
	}
	keys, err := omemo.New(c, omemo.Config{Store: store})
	if err != nil {
		panic(err)
	}
	fmt.Println(len(keys.Own().Key.Fingerprint()))
	// Output: 71
}
