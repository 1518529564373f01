package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/store"
	"mellium.im/xmpp/stanza"
)

// history signs Alice in with a new device, which reads into a file what was said before
// it came, and searches it.
func (t *tour) history(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "tour")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(filepath.Join(dir, "alice.db"))
	if err != nil {
		return "", err
	}
	defer db.Close()
	cfg := t.config(t.alice)
	cfg.Store = db // it knows nothing yet
	c, err := client.New(cfg)
	if err != nil {
		return "", err
	}
	kept := db.History(c.LocalAddr())
	kept.Follow(c)
	chat.New(c, chat.Config{})
	archives := mam.New(c, mam.Config{Store: db, FirstAge: 24 * time.Hour})
	ready, read := make(chan struct{}, 100), make(chan mam.Progress, 100)
	confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
	confab.On(c, func(_ context.Context, p mam.Progress) {
		if p.Done {
			read <- p
		}
	})
	ended := make(chan error, 1)
	runCtx, stop := context.WithCancel(ctx)
	go func() { ended <- c.Run(runCtx) }()
	defer func() {
		stop()
		<-ended
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		return "", err
	}
	for _, err := range archives.Query(ctx, mam.Query{Limit: 1, Apart: true}) {
		var se stanza.Error
		if errors.As(err, &se) && se.Condition == stanza.ServiceUnavailable {
			say("this server keeps no archive")
			return "no archive on this server", nil
		}
		if err != nil {
			return "", fmt.Errorf("reading the archive: %w", err)
		}
	}
	select {
	case <-read:
	case <-ctx.Done():
		return "", fmt.Errorf("the archive was not read in time: %w", ctx.Err())
	}
	bob := t.bob.c.LocalAddr().Bare()
	es, err := kept.Entries(ctx, bob, store.Page{Limit: 10 * t.messages})
	if err != nil {
		return "", err
	}
	if len(es) < t.messages {
		return "", fmt.Errorf("the archive has %d messages with Bob, of more than %d", len(es), t.messages)
	}
	last := es[len(es)-1].Current.Text
	say("a new device of Alice's reads %d messages with Bob out of the archive; the last is %q", len(es), last)
	word := "juliet"
	if f := strings.Fields(es[0].Current.Text); len(f) > 0 {
		word = strings.Trim(f[0], ".,!?")
	}
	found, err := kept.Search(ctx, store.Search{Text: word})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("nothing is found for %q, of %q", word, es[0].Current.Text)
	}
	say("searching its file for %q finds %d, the newest is %q", word, len(found), found[0].Current.Text)
	return fmt.Sprintf("%d messages read and searched by a new device", len(es)), nil
}
