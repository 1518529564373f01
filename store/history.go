package store

import (
	"context"
	"fmt"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

// A History is what was said in the conversations of one account: see [DB.History]. Its
// methods may be called from any goroutine, but not within [DB.Update].
type History struct {
	d       *DB
	account string
	self    jid.JID
}

// History returns what the file keeps for an account.
func (d *DB) History(account jid.JID) *History {
	return &History{d, account.Bare().String(), account.Bare()}
}

// Follow keeps every message that a session tells of, with its corrections, reactions and
// ticks. Put it on the session before it runs, and before the functions that look into
// the History when something comes.
//
// What comes live is in the file when its event has been handled. What is read out of an
// archive goes there in batches, and with the place of a mam.Archives that has the same
// DB as its Store: that never says that something was read which is not in the file.
// What cannot be written is told by a [confab.HandlerError], and tried again. If that fails
// for more than 10,000 events the rest is lost; places in archives do not move any more
// then, so that a program that opens the file again gets it.
func (h *History) Follow(s confab.Session) (cancel func()) {
	return s.Subscribe(func(e any) bool { return chat.Event(e) != nil }, func(_ context.Context, e any) {
		if err := h.d.take(h, chat.Event(e)); err != nil {
			s.Emit(confab.HandlerError{Err: err})
		}
	})
}

// Add keeps events of package chat or muc, all of them or none. Those that it has are
// passed over. It is for imports; a session is followed.
func (h *History) Add(ctx context.Context, events ...any) error {
	return h.d.Update(ctx, func(tx *Tx) error { return tx.Add(h.self, events...) })
}

// pending is an event that is not in the file yet.
type pending struct {
	h     *History
	event any
}

// Bounds of what is pending: what waits for more to be written with it, and for how long.
const (
	batch      = 256
	batchDelay = 300 * time.Millisecond
)

// maxPending bounds what is kept while nothing can be written.
var maxPending = 10_000

// take keeps an event. Whether it is written at once does not depend on whether the
// session ends meanwhile.
func (d *DB) take(h *History, event any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if len(d.pending) >= maxPending {
		if err := d.flush(context.Background()); err != nil {
			d.lost = true
			return fmt.Errorf("%w; a message is lost", err)
		}
	}
	d.pending = append(d.pending, pending{h, event})
	if m := messageOf(event); m != nil && m.Source != confab.Archive || len(d.pending)%batch == 0 {
		return d.flush(context.Background())
	}
	if d.soon == nil {
		d.soon = time.AfterFunc(batchDelay, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.soon = nil
			if !d.closed {
				_ = d.flush(context.Background()) // the next one tells
			}
		})
	}
	return nil
}

// messageOf returns the message of an event, nil if it is about one of the past.
func messageOf(event any) *chat.Message {
	switch e := event.(type) {
	case *chat.Message:
		return e
	case chat.OwnMessage:
		return e.Message
	case chat.Edited:
		return e.Message
	case chat.Retracted:
		return e.Message
	case chat.Reacted:
		return e.Message
	}
	return nil
}
