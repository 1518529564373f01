package jingle_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/upload"
	"github.com/confab-im/confab/upload/jingle"
)

// A file goes from one client to the other.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	sign := func(user string) (*client.Client, *jingle.Client) {
		c, err := client.New(client.Config{Address: srv.AddAccount(user, "pw"), Password: "pw", Dial: srv.Dial})
		if err != nil {
			panic(err)
		}
		files, err := jingle.New(c, jingle.Config{Dial: c.HTTPTransport().DialContext})
		if err != nil {
			panic(err)
		}
		ready := make(chan struct{}, 10)
		confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
		go c.Run(ctx)
		<-ready
		return c, files
	}
	_, files := sign("romeo")
	juliet, _ := sign("juliet")
	read := make(chan struct{})
	confab.On(juliet, func(ctx context.Context, o *jingle.Offer) {
		go func() {
			fmt.Printf("%s offers %s, %d bytes\n", o.From.Bare(), o.Name, o.Size)
			var b bytes.Buffer
			if err := o.Accept(ctx, &b); err != nil {
				panic(err)
			}
			fmt.Println(b.String())
			close(read)
		}()
	})

	err := files.Send(ctx, juliet.LocalAddr(), upload.FromBytes("letter.txt", []byte("My dearest")))
	fmt.Println("sent:", err)
	<-read
	// Unordered output:
	// romeo@confab.test offers letter.txt, 10 bytes
	// My dearest
	// sent: <nil>
}
