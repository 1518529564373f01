package client_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A bot that answers "!ping".
func ExampleNew() {
	c, err := client.New(client.Config{Address: "bot@example.org", Password: os.Getenv("BOT_PASSWORD")})
	if err != nil {
		log.Fatal(err)
	}
	confab.On(c, func(ctx context.Context, m *confab.Message) {
		if m.Source == confab.Live && m.Body == "!ping" {
			if _, err := c.SendMessage(ctx, confab.Draft{To: m.From, Body: "pong"}); err != nil {
				log.Print(err)
			}
		}
	})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := c.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		log.Print(err)
	}
}

// twoClients signs two accounts in to a server in the process.
func twoClients(srv *confabtest.Server) (romeo, juliet *client.Client, run func(...*client.Client) (stop func())) {
	for i, user := range []string{"romeo", "juliet"} {
		c, err := client.New(client.Config{
			Address: srv.AddAccount(user, "secret"), Password: "secret", Server: "memory:1", Dial: srv.Dial,
		})
		if err != nil {
			log.Fatal(err)
		}
		if i == 0 {
			romeo = c
		} else {
			juliet = c
		}
	}
	return romeo, juliet, func(cs ...*client.Client) func() {
		done := make(chan error, len(cs))
		for _, c := range cs {
			ready := make(chan struct{})
			cancel := confab.On(c, func(context.Context, confab.Ready) { close(ready) })
			go func() { done <- c.Run(context.Background()) }()
			<-ready
			cancel()
		}
		return func() {
			for _, c := range cs {
				_ = c.Close(context.Background())
			}
			for range cs {
				<-done
			}
		}
	}
}

// Messages by push, and how far a message has come.
func Example_on() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	romeo, juliet, run := twoClients(srv)
	heard := make(chan string)
	confab.On(juliet, func(_ context.Context, m *confab.Message) { heard <- m.From.Localpart() + ": " + m.Body })
	defer run(romeo, juliet)()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	sent, err := romeo.SendMessage(ctx, confab.Draft{To: juliet.LocalAddr().Bare(), Body: "But soft!"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-heard)
	fmt.Println(sent.Wait(ctx, confab.Acked))
	// Output:
	// romeo: But soft!
	// <nil>
}

// Messages by pull.
func Example_events() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	romeo, juliet, run := twoClients(srv)
	defer run(romeo, juliet)()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	romeo.Go(func(ctx context.Context) {
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = romeo.SendMessage(ctx, confab.Draft{To: juliet.LocalAddr(), Body: "hello"})
			time.Sleep(10 * time.Millisecond)
		}
	})
	n := 0
	for m, err := range confab.Events[*confab.Message](ctx, juliet) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Body)
		if n++; n == 2 {
			break
		}
	}
	// Output:
	// hello
	// hello
}

// weather is a payload of one's own.
type weather struct {
	XMLName xml.Name `xml:"urn:example:weather weather"`
	City    string   `xml:"city,attr,omitempty"`
	Degrees int      `xml:"degrees,omitempty"`
}

// A request with one's own payload, on both sides.
func Example_iq() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	romeo, juliet, run := twoClients(srv)
	kind := xml.Name{Space: "urn:example:weather", Local: "weather"}
	err := juliet.HandleIQ(stanza.GetIQ, kind, func(_ context.Context, iq *confab.IQ) (any, error) {
		var q weather
		if err := iq.Payload.Decode(&q); err != nil || q.City != "Verona" {
			return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
		}
		return weather{City: q.City, Degrees: 31}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(romeo, juliet)()

	ask := func(to jid.JID, city string) (w weather, err error) {
		err = confab.Do(context.Background(), romeo, stanza.IQ{Type: stanza.GetIQ, To: to}, weather{City: city}, &w)
		return w, err
	}
	w, err := ask(juliet.LocalAddr(), "Verona")
	fmt.Println(w.Degrees, err)
	_, err = ask(juliet.LocalAddr(), "Mantua")
	fmt.Println(errors.Is(err, stanza.Error{Condition: stanza.ItemNotFound}))
	// Output:
	// 31 <nil>
	// true
}
