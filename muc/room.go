package muc

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"mellium.im/xmpp/jid"
)

// A Room is a room that the user is in. It stays the same when the room is lost and
// entered again; it ends when the user leaves or is thrown out. Its methods may be
// called from any goroutine.
type Room struct {
	c    *Client
	jid  jid.JID
	key  string
	opts joinOptions
	wake chan struct{}
	// first is closed when the first attempt has ended, with firstErr.
	first    chan struct{}
	firstErr error
	ended    chan struct{} // closed when the room is Out

	mu        sync.Mutex
	nick      string
	own       *confab.Element // the presence that the program has set, or nil
	status    Status
	err       error
	turned    chan struct{} // closed and dropped when the status changes
	can       abilities
	info      disco.Info
	occupants crowd
	tenures   uint32
	subject   Subject
	topics    []topic
	created   bool
	seen      seen
	members   []jid.JID // those of the lists, when they were asked for last
	membersAt time.Time
	lists     lists
	att       *attempt
	early     bool // the subject is yet to come, though the user was let in long ago
	rename    *renaming
	leaving   bool

	gone  bool      // the room does not know the user any more
	doubt bool      // it may be so: ask
	last  time.Time // when the room was last heard of
	since time.Time // when the user entered
	fails int
	// stays is how often the user has entered; followed says that the archives know
	// a place in the room's, so that they can go on from there.
	stays int
	// refusedFor is why entering again was refused last, and how often.
	refusedFor error
	refusals   int
	followed   bool
	retryAt    time.Time
	asking     bool // for what the room can do, because that has changed
}

// abilities are what a room says of itself: without these, occupants could forge what
// the room is to vouch for.
type abilities struct{ ids, sids, hats, moderates, archive bool }

func abilitiesOf(i disco.Info) abilities {
	return abilities{ids: i.Has(nsOccupant), sids: i.Has(nsSID) || i.Has(nsMAM), hats: i.Has(nsHats), moderates: i.Has(nsModerate), archive: i.Has(nsMAM)}
}

type renaming struct {
	nick string
	done chan error
}

// JID returns the room's address.
func (r *Room) JID() jid.JID { return r.jid }

// String returns the room's address.
func (r *Room) String() string { return r.key }

// Nick returns the user's nickname.
func (r *Room) Nick() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nick
}

// Status returns whether the user is there, and why not.
func (r *Room) Status() (Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status, r.err
}

// Created reports whether there was no such room before the user entered.
func (r *Room) Created() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.created
}

// Subject returns what the room is about.
func (r *Room) Subject() Subject {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.subject
}

// Info returns what the room has said of itself when it was entered, or when its
// settings have changed.
func (r *Room) Info() Details {
	r.mu.Lock()
	defer r.mu.Unlock()
	return detailsOf(r.info)
}

// Self returns the user as an occupant.
func (r *Room) Self() Occupant {
	o, _ := r.Occupant(r.Nick())
	return o
}

// Occupant returns who has a nickname, and whether anybody has.
func (r *Room) Occupant(nick string) (Occupant, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.occupants.by[nick]; o != nil {
		return o.Occupant, true
	}
	return Occupant{}, false
}

// Occupants returns everybody who is there, the user included, sorted by nickname.
func (r *Room) Occupants() []Occupant {
	r.mu.Lock()
	all := make([]Occupant, 0, len(r.occupants.by))
	for _, o := range r.occupants.by {
		all = append(all, o.Occupant)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b Occupant) int { return strings.Compare(a.Nick, b.Nick) })
	return all
}

// Complete returns the nicknames that begin with a text, whatever their case, those
// who spoke last first. The user's own is not among them.
func (r *Room) Complete(prefix string) []string {
	prefix = strings.ToLower(prefix)
	own := r.Nick()
	var found []Occupant
	for _, o := range r.Occupants() {
		if o.Nick != own && strings.HasPrefix(strings.ToLower(o.Nick), prefix) {
			found = append(found, o)
		}
	}
	slices.SortStableFunc(found, func(a, b Occupant) int { return cmp.Compare(b.Active.UnixNano(), a.Active.UnixNano()) })
	nicks := make([]string, len(found))
	for i, o := range found {
		nicks[i] = o.Nick
	}
	return nicks
}

// poke has the room's goroutine look at what there is to do.
func (r *Room) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// set changes the status and tells the user. The lock is held.
func (r *Room) set(s Status, err error) {
	if r.status == s || r.status == Out || s == Suspect && r.status == Rejoining {
		return
	}
	if r.status == Joining && (s == Suspect || s == Rejoining) {
		return
	}
	r.status, r.err = s, err
	if r.turned != nil {
		close(r.turned)
		r.turned = nil
	}
	switch s {
	case Joined:
		r.since = time.Now()
	case Out:
		r.occupants, r.seen = crowd{}, seen{}
		if r.att != nil {
			r.att.end(err)
		}
		if r.rename != nil {
			r.rename.done <- err
			r.rename = nil
		}
		close(r.ended)
		r.c.forget(r)
	}
	r.c.s.Emit(State{Room: r, Status: s, Err: err})
}

// joined waits until the user is in the room. The error says why that will not be.
func (r *Room) joined(ctx context.Context) error {
	for {
		r.mu.Lock()
		st, err := r.status, r.err
		if r.turned == nil {
			r.turned = make(chan struct{})
		}
		wait := r.turned
		r.mu.Unlock()
		switch st {
		case Joined:
			return nil
		case Out:
			return err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return fmt.Errorf("muc: %s: not there: %w", r.key, ctx.Err())
		}
	}
}

// SetNick changes the user's nickname. It returns when the room has done so, or an
// error such as [ErrNickTaken].
func (r *Room) SetNick(ctx context.Context, nick string) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, confab.DefaultTimeout)
		defer cancel()
	}
	if err := r.joined(ctx); err != nil {
		return err
	}
	to, err := r.at(nick)
	if err != nil {
		return err
	}
	n := &renaming{nick: to.Resourcepart(), done: make(chan error, 1)}
	r.mu.Lock()
	switch {
	case r.nick == n.nick:
		r.mu.Unlock()
		return nil
	case r.rename != nil:
		r.mu.Unlock()
		return fmt.Errorf("muc: %s: the nickname is being changed already", r.key)
	}
	r.rename = n
	p := r.presenceTo(to)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		if r.rename == n {
			r.rename = nil
		}
		r.mu.Unlock()
	}()
	if err := r.c.s.SendElement(ctx, p); err != nil {
		return err
	}
	select {
	case err := <-n.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// presenceTo makes the user's presence for an address in the room. The lock is held.
func (r *Room) presenceTo(to jid.JID) *confab.Element {
	p := r.own.Clone()
	if p == nil {
		p = confab.El(confab.NSClient, "presence")
	}
	return p.Set("to", to.String())
}

// SetPresence shows the room that the user is there ("") or "away", "chat", "dnd",
// "xa", with words and further children. It stays so when the room is entered again.
func (r *Room) SetPresence(ctx context.Context, show, status string, extra ...*confab.Element) error {
	p := confab.El(confab.NSClient, "presence")
	switch show {
	case "":
	case "away", "chat", "dnd", "xa":
		p.Add(confab.El(confab.NSClient, "show").SetText(show))
	default:
		return fmt.Errorf("muc: there is no presence %q", show)
	}
	if status != "" {
		p.Add(confab.El(confab.NSClient, "status").SetText(status))
	}
	p.Add(extra...)
	r.mu.Lock()
	r.own = p
	to, err := r.of(r.nick)
	there := r.status == Joined
	p = r.presenceTo(to)
	r.mu.Unlock()
	if err != nil || !there {
		return err
	}
	return r.c.s.SendElement(ctx, p)
}

// Leave leaves the room. It returns when the room has said so, or ctx ends; either
// way the room is left.
func (r *Room) Leave(ctx context.Context) error {
	r.mu.Lock()
	if r.status == Out {
		r.mu.Unlock()
		return nil
	}
	there := (r.status == Joined || r.status == Suspect) && !r.gone || r.att != nil
	to, err := r.of(r.nick)
	r.leaving = true
	r.mu.Unlock()
	if err == nil && there {
		// Without a link it goes out with the next one, if the stream is resumed.
		err = r.c.s.SendElement(ctx, confab.El(confab.NSClient, "presence").Set("to", to.String()).Set("type", "unavailable"))
		if err == nil && r.c.isUp() {
			late := time.NewTimer(10 * time.Second)
			defer late.Stop()
			select {
			case <-r.ended:
			case <-late.C:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(Out, &Error{Room: r.jid, Kind: ErrLeft})
	return err
}
