package muc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A JoinOption is an option of [Client.Join].
type JoinOption func(*joinOptions)

type joinOptions struct {
	password  string
	fallback  bool
	mustExist bool
	create    []func(*Settings)
	// history: nil leaves it to the room.
	since   *time.Time
	most    int // -1: no limit
	nothing bool
	own     *confab.Element
}

// Password is the room's password. It is remembered for entering again.
func Password(password string) JoinOption { return func(o *joinOptions) { o.password = password } }

// NickFallback takes nick_, nick__ and so on if the nickname is taken.
func NickFallback() JoinOption { return func(o *joinOptions) { o.fallback = true } }

// NoHistory asks for nothing that was said before, neither now nor when the room is
// entered again. It is for those who read the room's archive.
func NoHistory() JoinOption { return func(o *joinOptions) { o.nothing = true } }

// HistorySince asks for what was said since then, as far as the room still has it.
func HistorySince(t time.Time) JoinOption { return func(o *joinOptions) { o.since = &t } }

// HistoryMax asks for the last n messages at most.
func HistoryMax(n int) JoinOption { return func(o *joinOptions) { o.most = n } }

// Create has the room configured if it does not exist yet. Without any function, as
// without this option, it gets the settings that the service gives to new rooms. See
// [PrivateGroup] and [PublicChannel].
func Create(edit ...func(*Settings)) JoinOption {
	return func(o *joinOptions) { o.create = append(o.create, edit...) }
}

// MustExist makes Join fail with [ErrNoRoom] rather than make a new room. It holds for
// entering again, too: the room is Out then.
func MustExist() JoinOption { return func(o *joinOptions) { o.mustExist = true } }

// attempt is one try to enter. The room's lock guards it.
type attempt struct {
	nick      string
	occupants crowd
	self      bool // the own presence has come
	created   bool
	renick    string        // what the room has made of the nickname
	entered   chan struct{} // closed with self
	heard     chan struct{} // has something when more history has come
	done      chan struct{} // closed at the end, with err
	err       error
	over      bool
}

// own is the nickname that the user has or is about to have.
func (a *attempt) own() string {
	if a.renick != "" {
		return a.renick
	}
	return a.nick
}

func (a *attempt) end(err error) {
	if !a.over {
		a.over, a.err = true, err
		close(a.done)
	}
}

// subjectPatience is how long a room that has let the user in may be silent before it
// tells what it is about. All do; but the standard did not always say so.
const subjectPatience = 10 * time.Second

// maxEarly is how long after that history is still believed, if no subject comes and
// nobody says anything.
const maxEarly = time.Minute

// maxFallbacks is how many other nicknames are tried.
const maxFallbacks = 8

// Join enters a room under a nickname, and returns when all who are there are known,
// and what the room is about. The error is an [*Error] with the reason, such as
// [ErrNickTaken], or one of the link. From then on the room is kept: when it has lost
// the user it is entered again; see [State].
//
// A room that does not exist is made; see [Create] and [MustExist]. A room that the
// user is in already is returned as it is.
func (c *Client) Join(ctx context.Context, room jid.JID, nick string, opts ...JoinOption) (*Room, error) {
	room = room.Bare()
	if room.Localpart() == "" {
		return nil, fmt.Errorf("muc: %q is not the address of a room", room)
	}
	o := joinOptions{most: -1}
	for _, f := range opts {
		if f == nil {
			continue
		}
		f(&o)
	}
	r := &Room{
		c: c, jid: room, key: room.String(), opts: o, wake: make(chan struct{}, 1),
		first: make(chan struct{}), ended: make(chan struct{}), own: o.own,
	}
	to, err := r.at(nick)
	if err != nil {
		return nil, err
	}
	r.nick = to.Resourcepart()
	for {
		c.mu.Lock()
		old := c.rooms[r.key]
		if old == nil {
			c.rooms[r.key] = r
			c.mu.Unlock()
			break
		}
		c.mu.Unlock()
		select {
		case <-old.first:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := old.firstErr; err != nil {
			if ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
				c.forget(old) // it was another caller who did not want to wait
				continue
			}
			return nil, err
		}
		old.mu.Lock()
		leaving := old.leaving
		old.mu.Unlock()
		if leaving {
			select {
			case <-old.ended:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if st, _ := old.Status(); st != Out {
			return old, nil
		}
		c.forget(old)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
	}
	err = r.enter(ctx)
	if err == nil {
		err = r.setUp(ctx)
	}
	r.mu.Lock()
	r.firstErr = err
	if err != nil {
		if r.status != Joining {
			r.set(Out, err)
		} else { // nobody has heard of it
			r.status, r.err = Out, err
			close(r.ended)
			c.forget(r)
		}
	}
	r.mu.Unlock()
	close(r.first)
	if err != nil {
		return nil, err
	}
	r.catchUp()
	c.s.Go(func(ctx context.Context) {
		r.keep(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		if ctx.Err() != nil && r.status != Out { // the session is over
			r.set(Out, &Error{Room: r.jid, Kind: ErrLeft, Cause: confab.ErrClosed})
		}
	})
	return r, nil
}

// setUp configures a room that is new.
func (r *Room) setUp(ctx context.Context) error {
	if !r.Created() {
		return nil
	}
	err := r.open(ctx)
	if err != nil {
		r.goAway(r.Nick())
	}
	return err
}

// open configures a room that is new, so that others can enter.
func (r *Room) open(ctx context.Context) error {
	if err := r.Configure(ctx, r.opts.create...); err != nil {
		return err
	}
	r.refresh(ctx)
	return nil
}

// enter makes an attempt, and more with other nicknames if the user wants that.
func (r *Room) enter(ctx context.Context) error {
	info, known := r.ask(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.mu.Lock()
	if known {
		r.info, r.can = info, abilitiesOf(info)
	}
	nick := r.nick
	r.mu.Unlock()
	if a := r.c.cfg.Archives; a != nil {
		a.Left(r.jid) // what comes from now on may have a hole before it
	}
	var err error
	for range maxFallbacks {
		if err = r.try(ctx, nick, known); !r.opts.fallback || !errors.Is(err, ErrNickTaken) {
			break
		}
		nick += "_"
	}
	if err != nil {
		return err
	}
	if !known && !r.Created() {
		r.refresh(ctx) // what it can do decides whom to believe
	}
	return nil
}

// ask asks what the room can do. A room need not answer.
func (r *Room) ask(ctx context.Context) (disco.Info, bool) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	info, err := disco.GetInfo(ctx, r.c.s, r.jid, "")
	return info, err == nil
}

func (r *Room) refresh(ctx context.Context) {
	info, ok := r.ask(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking = false
	if ok {
		r.info, r.can = info, abilitiesOf(info)
	}
}

// try makes one attempt.
func (r *Room) try(ctx context.Context, nick string, exists bool) error {
	to, err := r.of(nick)
	if err != nil {
		return err
	}
	a := &attempt{nick: to.Resourcepart(), entered: make(chan struct{}), heard: make(chan struct{}, 1), done: make(chan struct{})}
	x := confab.El(NS, "x")
	if h := r.historyWanted(); h != nil {
		x.Add(h)
	}
	if v := r.listsWanted(); v != nil {
		x.Add(v)
	}
	if r.opts.password != "" {
		x.Add(confab.El(NS, "password").SetText(r.opts.password))
	}
	r.mu.Lock()
	if r.leaving || r.status == Out {
		r.mu.Unlock()
		return &Error{Room: r.jid, Kind: ErrLeft}
	}
	r.att, r.early = a, false
	p := r.presenceTo(to)
	r.mu.Unlock()
	p.Add(x)
	if err = r.c.s.SendElement(ctx, p); err == nil {
		err = r.await(ctx, a)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || a.over && a.err == nil {
		r.early = r.early || !a.over // history may come yet
		r.admit(a)
		err = a.err
	}
	if err == nil {
		return nil
	}
	r.att = nil
	if ctx.Err() != nil || errors.Is(err, errMade) || r.leaving || r.status == Out {
		r.goAway(nick) // it may let us in yet, which nobody wants any more
	}
	return err
}

// goAway leaves the room without waiting for it.
func (r *Room) goAway(nick string) {
	to, err := r.of(nick)
	if err != nil {
		return
	}
	r.c.s.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = r.c.s.SendElement(ctx, confab.El(confab.NSClient, "presence").Set("to", to.String()).Set("type", "unavailable"))
	})
}

func (r *Room) await(ctx context.Context, a *attempt) error {
	late := time.NewTimer(time.Hour)
	defer late.Stop()
	entered := a.entered
	for {
		select {
		case <-a.done:
			return a.err
		case <-entered:
			entered = nil
			late.Reset(subjectPatience)
		case <-a.heard:
			late.Reset(subjectPatience)
		case <-late.C:
			if entered == nil {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("muc: %s did not let us in: %w", r.key, ctx.Err())
		}
	}
}

// errMade is why a room that was made, but should have existed, is left.
var errMade = errors.New("it would have been made")

// admit takes over what an attempt has brought. The lock is held.
func (r *Room) admit(a *attempt) {
	if a.over {
		return
	}
	if a.created && r.opts.mustExist {
		a.end(&Error{Room: r.jid, Kind: ErrNoRoom, Cause: errMade})
		return
	}
	a.end(nil)
	r.att = nil
	now := time.Now()
	for nick, o := range a.occupants.by {
		if was := r.occupants.by[nick]; was != nil {
			o.Active = was.Active
		}
	}
	r.occupants, r.created = a.occupants, a.created
	r.nick = a.own()
	r.gone, r.doubt, r.last = false, false, now
	r.refusedFor, r.refusals = nil, 0
	r.set(Joined, nil)
}

// historyWanted makes the wish for what was said before. Who enters again asks for
// what they have missed by how long ago that was, so that clocks do not matter; what
// comes twice is known by its id.
func (r *Room) historyWanted() *confab.Element {
	h := confab.El(NS, "history")
	r.mu.Lock()
	last, archived := r.last, r.archived() && r.followed
	r.mu.Unlock()
	switch {
	case r.opts.nothing, archived && !last.IsZero():
		return h.Set("maxchars", "0").Set("maxstanzas", "0")
	case !last.IsZero():
		return h.Set("seconds", strconv.Itoa(int(time.Since(last)/time.Second)+overlap))
	}
	if r.opts.since != nil {
		h.Set("since", r.opts.since.UTC().Format("2006-01-02T15:04:05Z"))
	}
	if r.opts.most >= 0 {
		h.Set("maxstanzas", strconv.Itoa(r.opts.most))
	}
	if len(h.Attr) == 0 {
		return nil
	}
	return h
}

// overlap is how many seconds more than what was missed is asked for.
const overlap = 10

// refused is an error presence of the room, or from where the user wants to be. The
// lock is held.
func (r *Room) refused(p *confab.Presence) {
	nick := p.From.Resourcepart()
	if a := r.att; a != nil && (nick == "" || sameNick(nick, a.nick)) && !a.self {
		a.end(refusal(r.jid, p.Err))
		return
	}
	if n := r.rename; n != nil && (nick == "" || sameNick(nick, n.nick)) {
		n.done <- refusal(r.jid, p.Err)
		r.rename = nil
		return
	}
	// Presence that the room has refused though we think that we are there.
	if r.status == Joined && p.Err.Condition == stanza.NotAcceptable {
		r.doubt = true
		r.poke()
	}
}
