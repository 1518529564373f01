package register_test

import (
	"context"
	"fmt"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/register"
)

// Somebody without an account gets one.
func Example() {
	srv := confabtest.NewServer(confabtest.Config{Domain: "example.org"})
	defer srv.Close()
	ctx := context.Background()

	g, err := client.OpenGuest(ctx, client.Config{Address: "example.org", Dial: srv.Dial})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	f, err := register.Fetch(ctx, g)
	if err != nil {
		fmt.Println(err)
		return
	}
	f.Set("username", "romeo")
	_, err = register.Submit(ctx, g, f)
	fmt.Println(err)
	f.Set("password", "wherefore art thou")
	romeo, err := register.Submit(ctx, g, f)
	fmt.Println(romeo, err)
	// Output:
	// register: form: field Password (password): a value is required
	// romeo@example.org <nil>
}
