package muc_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/muc"
	"mellium.im/xmpp/jid"
)

// exampleClient signs an account of an embedded server in, with rooms.
func exampleClient(srv *confabtest.Server, user string) (c *client.Client, rooms *muc.Client, stop func()) {
	c, err := client.New(client.Config{Address: srv.AddAccount(user, "secret"), Password: "secret", Dial: srv.Dial})
	if err != nil {
		log.Fatal(err)
	}
	rooms = muc.New(c, muc.Config{})
	ready := make(chan struct{}, 1)
	confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	<-ready
	return c, rooms, func() { cancel(); <-done }
}

// Two people meet in a room, which the first of them makes.
func ExampleClient_Join() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	_, witches, stop := exampleClient(srv, "witch")
	defer stop()
	bot, rooms, stop2 := exampleClient(srv, "bot")
	defer stop2()
	ctx := context.Background()
	address := jid.MustParse("heath@rooms.confab.test")

	heath, err := witches.Join(ctx, address, "First Witch", muc.Create(muc.PublicChannel("A heath")))
	if err != nil {
		log.Fatal(err)
	}

	heard := make(chan string)
	confab.On(bot, func(ctx context.Context, m *muc.Message) {
		if m.Source == confab.Live && m.Room.Mentioned(m) {
			heard <- m.Nick + ": " + m.Text
		}
	})
	room, err := rooms.Join(ctx, address, "bot", muc.NickFallback())
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range room.Occupants() {
		fmt.Println(o.Nick, o.Affiliation, o.Role)
	}
	sent, err := heath.Send(ctx, "When shall we three meet again, bot?")
	if err != nil {
		log.Fatal(err)
	}
	if err := sent.Wait(ctx, confab.Reflected); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-heard)
	// Output:
	// First Witch owner moderator
	// bot none participant
	// First Witch: When shall we three meet again, bot?
}

// A badge with the number of those who are in a room, without entering it.
func ExampleGetDetails() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	_, witches, stop := exampleClient(srv, "witch")
	defer stop()
	c, _, stop2 := exampleClient(srv, "badge")
	defer stop2()
	ctx := context.Background()
	address := jid.MustParse("heath@rooms.confab.test")

	_, err := muc.GetDetails(ctx, c, address)
	fmt.Println(errors.Is(err, muc.ErrNoRoom))
	if _, err := witches.Join(ctx, address, "First Witch", muc.Create(muc.PublicChannel("A heath"))); err != nil {
		log.Fatal(err)
	}
	d, err := muc.GetDetails(ctx, c, address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %d online\n", d.Name, d.Occupants)
	// Output:
	// true
	// A heath: 1 online
}

// A room for members only, which are invited. Everything that the settings do not name
// stays as the service has it.
func ExampleRoom_Configure() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	_, rooms, stop := exampleClient(srv, "witch")
	defer stop()
	ctx := context.Background()

	room, err := rooms.Join(ctx, jid.MustParse("coven@rooms.confab.test"), "First Witch", muc.Create(muc.PrivateGroup("Coven")))
	if err != nil {
		log.Fatal(err)
	}
	if err := room.Configure(ctx, func(s *muc.Settings) { s.Description = "For witches" }); err != nil {
		log.Fatal(err)
	}
	if err := room.SetAffiliation(ctx, jid.MustParse("macbeth@confab.test"), muc.Member, "he is one of us"); err != nil {
		log.Fatal(err)
	}
	s, err := room.Settings(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Name, s.MembersOnly, s.Description)
	for m, err := range room.Affiliations(ctx, muc.Member) {
		fmt.Println(m.JID, m.Reason, err)
	}
	// Output:
	// Coven true For witches
	// macbeth@confab.test he is one of us <nil>
}
