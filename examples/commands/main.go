// Command commands is a bot that is used by filling in forms, in any client that knows
// ad-hoc commands (XEP-0050): it reminds people of what they want to be reminded of.
//
//	PASSWORD=... commands bot@example.org
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: PASSWORD=... commands bot@example.org")
	}
	c, err := client.New(client.Config{Address: os.Args[1], Password: os.Getenv("PASSWORD")})
	if err != nil {
		log.Fatal(err)
	}
	if err := serve(c, time.Minute); err != nil {
		log.Fatal(err)
	}
	log.Fatal(c.Run(context.Background()))
}

// reminder is the form that people fill in.
type reminder struct {
	Text    string `form:"text,required" label:"What do you want to be reminded of?"`
	Minutes int    `form:"minutes,required" label:"In how many minutes?"`
}

// bot knows what it was asked for, by account.
type bot struct {
	s     confab.Session
	chats *chat.Client
	unit  time.Duration // a minute

	mu   sync.Mutex
	todo map[string][]reminder
}

// most bounds what one account can ask for.
const most = 20

// serve puts the bot on a session.
func serve(s confab.Session, unit time.Duration) error {
	b := &bot{s: s, chats: chat.New(s, chat.Config{}), unit: unit, todo: map[string][]reminder{}}
	srv, err := commands.New(s, commands.Config{})
	if err != nil {
		return err
	}
	return errors.Join(
		srv.Handle(commands.Command{
			Node: "remind", Name: "Remind me", Allow: commands.Everyone,
			Run: commands.Form(func(context.Context, *commands.Request) (reminder, error) {
				return reminder{Minutes: 10}, nil // what the form shows at first
			}, b.remind),
		}),
		srv.Handle(commands.Command{Node: "list", Name: "What I asked for", Allow: commands.Everyone, Run: b.list}),
	)
}

// remind takes a form that was filled in. An error of a field is shown beside it, and the
// form is asked for again.
func (b *bot) remind(_ context.Context, r *commands.Request, v reminder) (*commands.Reply, error) {
	if v.Minutes < 1 || v.Minutes > 24*60 {
		return nil, &form.FieldError{Var: "minutes", Err: errors.New("from one minute to a day")}
	}
	who := r.From.Bare()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.todo[who.String()]) >= most {
		return commands.Fail("That is too much for me."), nil
	}
	b.todo[who.String()] = append(b.todo[who.String()], v)
	b.s.Go(func(ctx context.Context) {
		select {
		case <-time.After(time.Duration(v.Minutes) * b.unit):
			b.tell(ctx, who, v)
		case <-ctx.Done():
		}
	})
	return commands.Say(fmt.Sprintf("In %d minutes.", v.Minutes)), nil
}

func (b *bot) tell(ctx context.Context, who jid.JID, v reminder) {
	if _, err := b.chats.With(who).Send(ctx, "Remember: "+v.Text); err != nil {
		log.Printf("%s: %v", who, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.todo[who.String()]
	if i := slices.Index(left, v); i >= 0 {
		left = slices.Delete(left, i, i+1)
	}
	if b.todo[who.String()] = left; len(left) == 0 {
		delete(b.todo, who.String())
	}
}

// list is a command without a form.
func (b *bot) list(_ context.Context, r *commands.Request) (*commands.Reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := "Nothing."
	for i, v := range b.todo[r.From.Bare().String()] {
		if i == 0 {
			text = ""
		}
		text += fmt.Sprintf("%d. %s\n", i+1, v.Text)
	}
	return commands.Say(text), nil
}
