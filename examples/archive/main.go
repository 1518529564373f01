// Command archive downloads the history of an account into a file, and searches it.
//
//	PASSWORD=... archive -address juliet@example.org -file juliet.db
//	archive -address juliet@example.org -file juliet.db -search "orchard walls"
//
// The second time, only what is new is downloaded. To search, no network is needed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/store"
	"mellium.im/xmpp/jid"
)

func main() {
	address := flag.String("address", "", "the account")
	file := flag.String("file", "archive.db", "where its history is kept")
	words := flag.String("search", "", "words to look for, in what is kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *address, *file, *words); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, file, words string) (err error) {
	account, err := jid.Parse(address)
	if err != nil {
		return err
	}
	db, err := store.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if words != "" {
		return search(ctx, db, account, words, os.Stdout)
	}
	return download(ctx, client.Config{Address: address, Password: os.Getenv("PASSWORD"), Store: db}, db, os.Stderr)
}

// everything is older than any message.
const everything = 100 * 365 * 24 * time.Hour

// download reads what is not in the file yet, and shows how far it is.
func download(ctx context.Context, cfg client.Config, db *store.DB, w io.Writer) error {
	cfg.NoPresence = true // nothing live is to come
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	chat.New(c, chat.Config{})
	mam.New(c, mam.Config{Store: db, FirstAge: everything})
	db.History(c.LocalAddr()).Follow(c)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	confab.On(c, func(ctx context.Context, p mam.Progress) {
		bar(w, p)
		if p.Done {
			cancel(errDone)
		}
	})
	confab.On(c, func(ctx context.Context, f mam.Failed) { cancel(fmt.Errorf("reading the archive: %w", f.Err)) })
	err = c.Run(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

var errDone = errors.New("all is there")

// bar draws how far it is.
func bar(w io.Writer, p mam.Progress) {
	const width = 40
	if p.Total > 0 {
		n := min(width, width*p.Read/p.Total)
		fmt.Fprintf(w, "\r[%s%s] %d of %d", strings.Repeat("=", n), strings.Repeat(" ", width-n), p.Read, p.Total)
	} else {
		fmt.Fprintf(w, "\r%d messages", p.Read)
	}
	if p.Done {
		fmt.Fprintln(w)
	}
}

// search prints the messages that have all the words, oldest first.
func search(ctx context.Context, db *store.DB, account jid.JID, words string, w io.Writer) error {
	found, err := db.History(account).Search(ctx, store.Search{Text: words, Limit: 1000})
	if err != nil {
		return err
	}
	for _, e := range found {
		m := e.Message
		who := m.Chat.String()
		if m.Self {
			who = "to " + who
		}
		// Others have written this: a terminal is not to obey it.
		fmt.Fprintf(w, "%s %s: %q\n", m.When().Local().Format(time.DateTime), who, e.Current.Text)
	}
	return nil
}
