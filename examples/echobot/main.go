// Command echobot answers what people say to it with their own words.
//
//	PASSWORD=... echobot bot@example.org
package main

import (
	"context"
	"log"
	"os"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: PASSWORD=... echobot bot@example.org")
	}
	c, err := client.New(client.Config{Address: os.Args[1], Password: os.Getenv("PASSWORD")})
	if err != nil {
		log.Fatal(err)
	}
	echo(c)
	log.Fatal(c.Run(context.Background()))
}

// echo answers with "> " and what was said, but nothing that begins so: two of these bots
// are not to talk to each other for ever.
func echo(c confab.Session) {
	chats := chat.New(c, chat.Config{})
	confab.On(c, func(ctx context.Context, m *chat.Message) {
		if m.Source != confab.Live || m.Text == "" || m.Text[0] == '>' {
			return
		}
		if _, err := chats.With(m.Chat).Send(ctx, "> "+m.Text); err != nil {
			log.Print(err)
		}
	})
}
