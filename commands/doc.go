// Package commands is ad-hoc commands (XEP-0050): what people do with a service or a
// bot by filling in forms, in any client, without knowing a word of its language.
//
// # Using commands
//
// An entity is a service, or one client of somebody's, by its full address: those of a
// contact are what Presences and Best of a roster.Roster tell.
//
// [List] returns the commands of an entity, [Execute] begins one. The [Dialog] that
// it returns is at a [Stage]: a form to fill in, or the result.
//
//	d, err := commands.Execute(ctx, c, service, "config")
//	if f := d.Stage().Form; f != nil {
//		f.Set("service", "httpd")
//		err = d.Submit(ctx, f)
//	}
//
// # Serving commands
//
// A [Server] lets others use commands of this client.
//
//	srv, err := commands.New(c, commands.Config{})
//	err = srv.Handle(commands.Command{
//		Node: "restart", Name: "Restart a service", Allow: commands.Only(admin),
//		Run: commands.Form(func(context.Context, *commands.Request) (Restart, error) {
//			return Restart{Service: "httpd"}, nil // what the form shows at first
//		}, func(ctx context.Context, r *commands.Request, v Restart) (*commands.Reply, error) {
//			return commands.Say("Restarted " + v.Service + "."), nil
//		}),
//	})
//
// Forms are data forms of package form, which makes them from structs
// (form.Marshal) and checks what comes back. Commands of several stages are a
// [Handler] that looks at [Request.Step].
package commands
