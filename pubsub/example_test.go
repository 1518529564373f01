package pubsub_test

import (
	"context"
	"fmt"
	"log"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// An account tells its mood, and hears of it as its other clients would.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := client.New(client.Config{Address: srv.AddAccount("juliet", "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	heard, ready := make(chan *pubsub.Event), make(chan confab.Ready, 1)
	pubsub.Notify(c, "urn:example:mood")
	pubsub.Events(c, nil)
	confab.On(c, func(_ context.Context, e *pubsub.Event) { heard <- e })
	confab.On(c, func(_ context.Context, r confab.Ready) { ready <- r })
	go func() { _ = c.Run(ctx) }()
	<-ready

	pep := pubsub.New(c, jid.JID{})
	id, err := pep.Publish(ctx, "urn:example:mood", pubsub.Item{
		ID: "current", Payload: confab.El("urn:example:mood", "mood").SetText("in love"),
	}, pubsub.Contacts())
	if err != nil {
		log.Fatal(err)
	}
	e := <-heard
	fmt.Println(id, e.From, e.Node, e.Items[0].Payload.Text)
	// Output: current juliet@confab.test urn:example:mood in love
}

func ExampleService_Items() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := client.New(client.Config{Address: srv.AddAccount("juliet", "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = c.Run(ctx) }()

	news := pubsub.New(c, jid.MustParse("pubsub.confab.test"))
	if _, err := news.Create(ctx, "news", pubsub.Config{Access: pubsub.AccessOpen, MaxItems: pubsub.Max}); err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"first", "second"} {
		item := pubsub.Item{ID: text, Payload: confab.El("urn:example:news", "news").SetText(text + "!")}
		if _, err := news.Publish(ctx, "news", item, pubsub.Config{}); err != nil {
			log.Fatal(err)
		}
	}
	for item, err := range news.Items(ctx, "news") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(item.ID, item.Payload.Text)
	}
	// Output:
	// first first!
	// second second!
}
