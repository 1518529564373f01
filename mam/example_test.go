package mam_test

import (
	"context"
	"fmt"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/mam"
	"mellium.im/xmpp/jid"
)

// A new device reads what was said before it came.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	notes := jid.MustParse(srv.AddAccount("romeo", "pw"))

	old, _ := client.New(client.Config{Address: notes.String(), Password: "pw", Dial: srv.Dial})
	go old.Run(ctx)
	for _, s := range []string{"O, she doth teach the torches to burn bright!", "Buy ladder."} {
		sent, _ := old.SendMessage(ctx, confab.Draft{To: notes, Body: s})
		sent.Wait(ctx, confab.Acked)
	}

	c, _ := client.New(client.Config{Address: notes.String(), Password: "pw", Dial: srv.Dial})
	archives := mam.New(c, mam.Config{})
	ready := make(chan bool, 1)
	confab.On(c, func(context.Context, confab.Ready) { ready <- true })
	go c.Run(ctx)
	<-ready
	for r, err := range archives.Query(ctx, mam.Query{With: notes, Apart: true}) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(r.Message.Body)
	}
	// Output:
	// O, she doth teach the torches to burn bright!
	// Buy ladder.
}
