package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/store"
)

// One file for everything that is to be found again.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(filepath.Join(dir, "bot.db"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	c, err := client.New(client.Config{Address: "bot@example.org", Password: "pw", Store: db})
	if err != nil {
		panic(err)
	}
	mam.New(c, mam.Config{Store: db})
	if _, err := omemo.New(c, omemo.Config{Store: db.Keys()}); err != nil {
		panic(err)
	}
	if err := db.Put(context.Background(), "my own", []byte("value")); err != nil {
		panic(err)
	}
	v, err := db.Get(context.Background(), "my own")
	fmt.Println(string(v), err)
	// Output: value <nil>
}
