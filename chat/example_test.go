package chat_test

import (
	"context"
	"fmt"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
)

// A bot that answers, and somebody who asks it.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	bot, _ := client.New(client.Config{Address: srv.AddAccount("bot", "pw"), Password: "pw", Dial: srv.Dial})
	chats := chat.New(bot, chat.Config{})
	confab.On(bot, func(ctx context.Context, m *chat.Message) {
		chats.With(m.Chat).Reply(ctx, m, "You said: "+m.Text)
	})
	go bot.Run(ctx)

	romeo, _ := client.New(client.Config{Address: srv.AddAccount("romeo", "pw"), Password: "pw", Dial: srv.Dial})
	romeos := chat.New(romeo, chat.Config{})
	answer := make(chan *chat.Message)
	confab.On(romeo, func(_ context.Context, m *chat.Message) { answer <- m })
	go romeo.Run(ctx)

	romeos.With(jid.MustParse("bot@confab.test")).Send(ctx, "hello")
	m := <-answer
	fmt.Println(m.Text)
	fmt.Println("in answer to:", m.Quote)
	// Output:
	// You said: hello
	// in answer to: hello
}

// A Timeline shows a conversation as a person reads it.
func ExampleTimeline() {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, _ := client.New(client.Config{Address: srv.AddAccount("romeo", "pw"), Password: "pw", Dial: srv.Dial})
	chats := chat.New(c, chat.Config{})
	juliet := jid.MustParse(srv.AddAccount("juliet", "pw"))

	changed := make(chan bool, 100)
	view := chat.NewTimeline(juliet, 0)
	view.Follow(c, func(context.Context) { changed <- true })
	go c.Run(ctx)

	v := chats.With(juliet)
	sent, _ := v.Send(ctx, "But soft, what light through yonder airlock breaks?")
	v.Edit(ctx, sent.ID, "But soft, what light through yonder window breaks?")
	v.React(ctx, sent.ID, "🌞")
	for range 3 {
		<-changed
	}
	for _, e := range view.Entries() {
		fmt.Println(e.Current.Text, e.Edits, e.Reactions)
	}
	// Output:
	// But soft, what light through yonder window breaks? 1 map[romeo@confab.test:[🌞]]
}

func ExampleSpans() {
	text := "this is *important*"
	for _, s := range chat.Spans(text) {
		if s.Style&chat.Strong != 0 && s.Style&chat.Mark == 0 {
			fmt.Println(string([]rune(text)[s.Begin:s.End]))
		}
	}
	// Output:
	// important
}

func ExampleCompose() {
	d, _ := chat.Compose("Hello, Juliet!", chat.Mentioning(chat.Mention{Begin: 7, End: 13, Addr: jid.MustParse("juliet@capulet.lit")}))
	d.To, d.ID = jid.MustParse("room@chat.example"), "1"
	el, _ := d.Element()
	fmt.Println(el)
	// Output:
	// <message xmlns='jabber:client' to='room@chat.example' type='chat' id='1'><body>Hello, Juliet!</body><reference xmlns='urn:xmpp:reference:0' begin='7' end='13' type='mention' uri='xmpp:juliet@capulet.lit'/></message>
}
