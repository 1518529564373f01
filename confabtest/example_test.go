package confabtest_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// startClient signs a user of the server in, in memory.
func startClient(ctx context.Context, srv *confabtest.Server, user string, setup func(*client.Client)) *client.Client {
	address := srv.AddAccount(user, "secret")
	c, err := client.New(client.Config{
		Address: address, Password: "secret", Dial: srv.Dial, Server: "in.memory:5222",
		BackoffMin: time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	setup(c)
	go func() { _ = c.Run(ctx) }()
	if err := srv.Wait(ctx, func() bool { s, ok := srv.Session(address); return ok && s.Available }); err != nil {
		log.Fatal(err)
	}
	return c
}

func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	heard := make(chan string)
	startClient(ctx, srv, "juliet", func(c *client.Client) {
		confab.On(c, func(_ context.Context, m *confab.Message) {
			heard <- fmt.Sprintf("%s says %q", m.From.Bare(), m.Body)
		})
	})
	romeo := startClient(ctx, srv, "romeo", func(*client.Client) {})
	draft := confab.Draft{To: jid.MustParse("juliet@confab.test"), Body: "But, soft!"}
	if _, err := romeo.SendMessage(ctx, draft); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-heard)
	// Output: romeo@confab.test says "But, soft!"
}

// The first connection breaks after its third stanza; the stream is
// resumed and nothing is lost.
func ExampleServer_OnConn() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var conns atomic.Int32
	srv.OnConn(func(c *confabtest.Conn) {
		if conns.Add(1) == 1 {
			c.CutAfterStanzas(3) // presence and two messages
		}
	})
	heard := make(chan string, 10)
	startClient(ctx, srv, "juliet", func(c *client.Client) {
		confab.On(c, func(_ context.Context, m *confab.Message) { heard <- m.Body })
	})
	romeo := startClient(ctx, srv, "romeo", func(*client.Client) {})
	for _, s := range []string{"one", "two", "three", "four"} {
		if _, err := romeo.SendMessage(ctx, confab.Draft{To: jid.MustParse("juliet@confab.test"), Body: s}); err != nil {
			log.Fatal(err)
		}
	}
	for range 4 {
		fmt.Println(<-heard)
	}
	fmt.Println(srv.Stats().Resumptions, "resumption")
	// Output:
	// one
	// two
	// three
	// four
	// 1 resumption
}

// A handler of the test's own plays what the server does not have.
func ExampleServer_HandleIQ() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv.HandleIQ("urn:example:dice", "roll", func(*confab.Element) *confab.Element {
		return confab.El("urn:example:dice", "roll").SetText("4")
	})
	c := startClient(ctx, srv, "romeo", func(*client.Client) {})
	var roll confab.Element
	iq := stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse(srv.Domain())}
	if err := confab.Do(ctx, c, iq, confab.El("urn:example:dice", "roll"), &roll); err != nil {
		log.Fatal(err)
	}
	fmt.Println(roll.Text)
	// Output: 4
}
