package muc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const nsMAM = "urn:xmpp:mam:2"

// Archives read what was said in rooms while the user was not there (XEP-0313). A
// *mam.Archives is one.
type Archives interface {
	// CatchUp reads what is missing of a room's archive. The user is in the room.
	CatchUp(ctx context.Context, room jid.JID) error
	// Seen says that a live message with this id was handled.
	Seen(room jid.JID, id string, stamp time.Time)
	// Left says that messages of a room do not come live any more.
	Left(room jid.JID)
}

// watchArchives tells the archives what was handled: this event follows those that the
// message has become.
func (c *Client) watchArchives() {
	if c.cfg.Archives == nil {
		return
	}
	confab.On(c.s, func(_ context.Context, m *confab.Message) {
		if m.Type != stanza.GroupChatMessage || m.Source != confab.Live {
			return
		}
		r := c.room(m.From)
		if r == nil {
			return
		}
		r.mu.Lock()
		kept, id := r.can.archive && r.can.sids, r.stanzaID(m)
		r.mu.Unlock()
		if kept && id != "" && len(id) <= maxID {
			c.cfg.Archives.Seen(r.jid, id, m.When())
		}
	})
}

// archived reports whether the room's archive is read. The lock is held.
func (r *Room) archived() bool { return r.c.cfg.Archives != nil && r.can.archive }

// catchUp reads what is missing of the room's archive, beside the rest. Of attempts for
// an earlier stay the one for this stay takes over.
func (r *Room) catchUp() {
	r.mu.Lock()
	r.stays++
	stay, wanted := r.stays, r.archived()
	r.mu.Unlock()
	if !wanted {
		return
	}
	r.c.s.Go(func(ctx context.Context) {
		for fails := 0; ; fails++ {
			err := r.c.cfg.Archives.CatchUp(ctx, r.jid)
			if err == nil {
				r.mu.Lock()
				r.followed = true
				r.mu.Unlock()
			}
			if err == nil || ctx.Err() != nil || errors.Is(err, confab.ErrLost) || errors.Is(err, confab.ErrClosed) {
				return // if the stream is lost, entering again begins anew
			}
			r.c.s.Emit(confab.HandlerError{Err: fmt.Errorf("muc: %s: reading the archive: %w", r.key, err)})
			var se stanza.Error
			if errors.As(err, &se) && se.Type != stanza.Wait {
				return
			}
			late := time.NewTimer(backoff(fails))
			select {
			case <-late.C:
			case <-r.ended:
			case <-ctx.Done():
			}
			late.Stop()
			r.mu.Lock()
			over := r.stays != stay || r.status == Out
			r.mu.Unlock()
			if over {
				return
			}
		}
	})
}
