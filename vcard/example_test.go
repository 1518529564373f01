package vcard_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/pubsub"
	"github.com/confab-im/confab/vcard"
	"mellium.im/xmpp/jid"
)

// signIn signs a new account in on a server in the process.
func signIn(ctx context.Context, srv *confabtest.Server, user string) (*client.Client, *vcard.Profiles) {
	c, err := client.New(client.Config{Address: srv.AddAccount(user, "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	cards := vcard.New(c, vcard.Config{})
	ready := make(chan confab.Ready, 1)
	confab.On(c, func(_ context.Context, r confab.Ready) { ready <- r })
	go func() { _ = c.Run(ctx) }()
	<-ready
	return c, cards
}

func ExampleProfiles_SetProfile() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, juliet := signIn(ctx, srv, "juliet")
	_, romeo := signIn(ctx, srv, "romeo")

	p := vcard.Profile{FullName: "Juliet Capulet", City: "Verona", Birthday: "--06-09"}
	if err := juliet.SetProfile(ctx, p, pubsub.AccessOpen); err != nil {
		log.Fatal(err)
	}
	p, err := romeo.Profile(ctx, jid.MustParse("juliet@confab.test"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.FullName, "of", p.City, p.Birthday)
	// Output: Juliet Capulet of Verona --06-09
}

func ExampleProfiles_SetAvatar() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, cards := signIn(ctx, srv, "juliet")
	changed := make(chan vcard.AvatarChanged, 1)
	confab.On(c, func(_ context.Context, e vcard.AvatarChanged) { changed <- e })

	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		log.Fatal(err)
	}
	if _, err := cards.SetAvatar(ctx, b.Bytes(), pubsub.AccessOpen); err != nil {
		log.Fatal(err)
	}
	e := <-changed
	pic, err := cards.FetchAvatar(ctx, e.JID, *e.Avatar)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.JID, pic.Type, pic.Width, pic.Height, bytes.Equal(pic.Data, b.Bytes()))
	// Output: juliet@confab.test image/png 64 64 true
}

func ExampleColor() {
	c := vcard.Color("Romeo")
	fmt.Printf("#%02x%02x%02x\n", c.R, c.G, c.B)
	// Output: #dd00af
}
