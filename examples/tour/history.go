package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"mellium.im/xmpp/stanza"
)

// history signs Alice in with a new device, which reads what was said before it came.
func (t *tour) history(ctx context.Context) (string, error) {
	cfg := t.config(t.alice)
	cfg.Store = &client.MemoryStore{} // it knows nothing yet
	c, err := client.New(cfg)
	if err != nil {
		return "", err
	}
	archives := mam.New(c, mam.Config{NoFollow: true})
	ready := make(chan struct{}, 100)
	confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
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
	n, last := 0, ""
	for r, err := range archives.Query(ctx, mam.Query{With: t.bob.c.LocalAddr().Bare(), Apart: true}) {
		var se stanza.Error
		if errors.As(err, &se) && se.Condition == stanza.ServiceUnavailable {
			say("this server keeps no archive")
			return "no archive on this server", nil
		}
		if err != nil {
			return "", fmt.Errorf("reading the archive: %w", err)
		}
		if r.Message.HasBody {
			n, last = n+1, r.Message.Body
		}
	}
	if n < t.messages {
		return "", fmt.Errorf("the archive has %d messages with Bob, of more than %d", n, t.messages)
	}
	say("a new device of Alice's reads %d messages with Bob out of the archive; the last is %q", n, last)
	return fmt.Sprintf("%d messages read by a new device", n), nil
}
