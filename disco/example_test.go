package disco_test

import (
	"context"
	"fmt"
	"log"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/disco"
)

// signIn makes a client of an account on a server in the process.
func signIn(srv *confabtest.Server, setup func(*client.Client)) (c *client.Client, stop func()) {
	c, err := client.New(client.Config{Address: srv.AddAccount("romeo", "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	setup(c)
	ready := make(chan struct{})
	confab.On(c, func(context.Context, confab.Ready) { close(ready) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	<-ready
	return c, func() { cancel(); <-done }
}

// What the own server can do.
func ExampleClient_Server() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	var d *disco.Client
	_, stop := signIn(srv, func(c *client.Client) { d = disco.New(c, disco.Config{}) })
	defer stop()

	info, err := d.Server(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("pings:", info.Has("urn:xmpp:ping"))
	fmt.Println("carbons:", info.Has("urn:xmpp:carbons:2"))
	// Output:
	// pings: true
	// carbons: true
}

// The services of the own server that have rooms.
func ExampleFind() {
	srv := confabtest.NewServer(confabtest.Config{Without: confabtest.Rooms})
	defer srv.Close()
	srv.Component("rooms.localhost", func(e *confab.Element) {
		info := disco.Info{
			Identities: []disco.Identity{{Category: "conference", Type: "text", Name: "Rooms"}},
			Features:   []string{"http://jabber.org/protocol/muc"},
		}
		_ = srv.Send(confab.El(confab.NSClient, "iq", info.Element()).Set("type", "result").Set("id", e.Get("id")).
			Set("from", e.Get("to")).Set("to", e.Get("from")))
	})
	c, stop := signIn(srv, func(*client.Client) {})
	defer stop()

	rooms, err := disco.Find(context.Background(), c, "http://jabber.org/protocol/muc")
	if err != nil {
		log.Fatal(err)
	}
	for _, service := range rooms {
		fmt.Println(service.JID)
	}
	// Output: rooms.localhost
}
