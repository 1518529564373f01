package muc

import (
	"context"
	"errors"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/stanza"
)

// keep is the goroutine of a room that was entered: it asks a silent room whether the
// user is still there (XEP-0410), and enters again when that is not so.
func (r *Room) keep(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		job, wait := r.next()
		switch job {
		case doPing:
			r.ping(ctx)
		case doEnter:
			r.reenter(ctx)
		}
		if job != doNothing {
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-r.ended:
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

type job uint8

const (
	doNothing job = iota
	doPing
	doEnter
)

// forever is how long to wait for what only an event can bring.
const forever = 24 * time.Hour

// next returns what there is to do, or how long to wait.
func (r *Room) next() (job, time.Duration) {
	up := r.c.isUp()
	r.mu.Lock()
	defer r.mu.Unlock()
	pause := time.Until(r.retryAt)
	switch {
	case r.status == Out, r.leaving, !up:
		return doNothing, forever
	case (r.gone || r.doubt) && pause > 0:
		return doNothing, pause
	case r.gone:
		return doEnter, 0
	case r.doubt:
		return doPing, 0
	case r.c.cfg.PingAfter < 0:
		return doNothing, forever
	}
	if idle := time.Since(r.last); idle < r.c.cfg.PingAfter {
		return doNothing, r.c.cfg.PingAfter - idle
	}
	return doPing, 0
}

// heard notes that the room has sent something. While it is being entered nothing is
// noted: what was missed counts from before. The lock is held.
func (r *Room) heard() {
	if r.att == nil && !r.gone {
		r.last = time.Now()
	}
}

// speaks notes that the room tells the user what happens in it, so that they are there.
// The lock is held.
func (r *Room) speaks() {
	if r.heard(); r.att == nil && !r.gone && r.status == Suspect {
		r.doubt, r.retryAt = false, time.Time{}
		r.isThere()
	}
}

// linkUp is called when there is a link again.
func (r *Room) linkUp(fresh bool) {
	r.mu.Lock()
	if fresh && r.status != Joining && r.status != Out {
		r.gone, r.fails, r.retryAt = true, 0, time.Time{}
		r.set(Suspect, &Error{Room: r.jid, Kind: ErrForgotten})
	}
	r.mu.Unlock()
}

// linkLost is called when a stream has ended for good, and with it the user's presence
// in all rooms.
func (r *Room) linkLost(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.att != nil {
		r.att.end(confab.ErrLost)
	}
	if r.status == Joining || r.status == Out {
		return
	}
	r.gone = true
	if r.rename != nil {
		r.rename.done <- confab.ErrLost
		r.rename = nil
	}
	r.set(Suspect, &Error{Room: r.jid, Kind: ErrForgotten, Cause: err})
}

// ping asks whether the user is still there (XEP-0410 §3).
func (r *Room) ping(ctx context.Context) {
	r.mu.Lock()
	nick, asked := r.nick, r.last
	r.doubt = false // what comes up from now on is another question
	to, err := r.of(nick)
	r.mu.Unlock()
	if err != nil {
		return
	}
	pctx, cancel := context.WithTimeout(ctx, r.c.cfg.PingTimeout)
	err = confab.Do(pctx, r.c.s, stanza.IQ{Type: stanza.GetIQ, To: to}, confab.El(nsPing, "ping"), nil)
	cancel()
	var se stanza.Error
	if errors.As(err, &se) && se.Condition == stanza.ItemNotFound {
		_ = r.c.s.Fence(ctx) // if it is for another nickname, the room has told of that before
	}
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || r.status == Out {
		return // something else has told
	}
	switch {
	case err == nil:
		r.isThere()
		return
	case errors.As(err, &se):
		switch {
		case se.Condition == stanza.ServiceUnavailable, se.Condition == stanza.FeatureNotImplemented,
			se.Condition == stanza.ItemNotFound && r.nick != nick:
			// One of the user's clients does not know pings, or the nickname was
			// changed just now. Otherwise there is nobody of that name, or no room: it
			// went with a restart, say.
			r.isThere()
			return
		case se.Condition == stanza.RemoteServerNotFound, se.Condition == stanza.RemoteServerTimeout:
		default:
			r.lost(&Error{Room: r.jid, Kind: ErrForgotten, Cause: se}, true)
			return
		}
	case r.last.After(asked):
		return // no answer, but something else was heard
	}
	// Nobody knows. The server, or another client of the user, may be slow.
	r.doubt = true
	r.retryAt = time.Now().Add(backoff(r.fails + 1))
	r.fails++
	r.set(Suspect, &Error{Room: r.jid, Kind: ErrUnreachable, Cause: err})
}

// isThere notes that the user is still in the room. The lock is held.
func (r *Room) isThere() {
	r.last = time.Now()
	// A room that throws us out and lets us in again and again is not to be followed
	// ever faster.
	if time.Since(r.since) >= time.Minute {
		r.fails = 0
	}
	if r.status == Suspect {
		r.set(Joined, nil)
	}
}

// reenter enters again.
func (r *Room) reenter(ctx context.Context) {
	select {
	case r.c.slots <- struct{}{}:
		defer func() { <-r.c.slots }()
	case <-ctx.Done():
		return
	case <-r.ended:
		return
	}
	r.mu.Lock()
	r.set(Rejoining, r.err)
	r.mu.Unlock()
	tctx, cancel := context.WithTimeout(ctx, r.c.cfg.Patience)
	defer cancel()
	err := r.enter(tctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil && r.Created() {
		// It went with its last occupant. Others wait until it is opened again.
		if err := r.open(tctx); err != nil {
			r.c.s.Emit(confab.HandlerError{Err: err})
		}
	}
	if err == nil {
		r.catchUp()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if final(err) {
		r.set(Out, err)
		return
	}
	if !r.c.isUp() {
		return // the next stream begins anew
	}
	r.fails++
	r.retryAt = time.Now().Add(backoff(r.fails))
	// It was refused, and may be again. One refusal is often that of an earlier self
	// that is about to go; what lasts is told, once for each reason.
	var e *Error
	if !errors.As(err, &e) || e.Kind == nil {
		return
	}
	if r.refusedFor != e.Kind {
		r.refusedFor, r.refusals = e.Kind, 0
	}
	r.err = err
	if r.refusals++; r.refusals == 2 && r.status == Rejoining {
		r.c.s.Emit(State{Room: r, Status: Rejoining, Err: err})
	}
}
