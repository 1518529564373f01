package commands_test

import (
	"context"
	"fmt"
	"log"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/confabtest"
)

// Restart is the form of a command.
type Restart struct {
	Service string `form:"service,required" label:"Service" options:"httpd=Web server,jabberd=Chat server"`
	Force   bool   `form:"force" label:"Even if somebody uses it"`
}

// A bot serves a command, which a person uses.
func Example() {
	ctx := context.Background()
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()

	bot, stop := signIn(srv, "bot", func(c *client.Client) {
		s, err := commands.New(c, commands.Config{})
		if err != nil {
			log.Fatal(err)
		}
		err = s.Handle(commands.Command{
			Node: "restart", Name: "Restart a service", Allow: commands.Everyone,
			Run: commands.Form(func(context.Context, *commands.Request) (Restart, error) {
				return Restart{Service: "httpd"}, nil
			}, func(_ context.Context, _ *commands.Request, v Restart) (*commands.Reply, error) {
				if v.Service == "jabberd" && !v.Force {
					return nil, &form.FieldError{Var: "force", Label: "Even if somebody uses it", Err: fmt.Errorf("you are using it")}
				}
				return commands.Say("Restarted " + v.Service + "."), nil
			}),
		})
		if err != nil {
			log.Fatal(err)
		}
	})
	defer stop()
	person, stop := signIn(srv, "person", func(*client.Client) {})
	defer stop()

	list, err := commands.List(ctx, person, bot.LocalAddr())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(list[0].Name)
	d, err := commands.Execute(ctx, person, list[0].JID, list[0].Node)
	if err != nil {
		log.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		f := d.Stage().Form.Set("service", "jabberd").SetBool("force", force)
		if err := d.Submit(ctx, f); err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.Stage().Status, d.Stage().Notes[0].Text)
	}
	// Output:
	// Restart a service
	// executing Even if somebody uses it: you are using it
	// completed Restarted jabberd.
}

// signIn makes a client of an account on a server in the process.
func signIn(srv *confabtest.Server, user string, setup func(*client.Client)) (c *client.Client, stop func()) {
	c, err := client.New(client.Config{Address: srv.AddAccount(user, "secret"), Password: "secret", Dial: srv.Dial})
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
