package mam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

type (
	// Progress is the event for how far catching up has come.
	Progress struct {
		Archive jid.JID
		// Read is how many messages were read so far, Total how many there are to
		// read, -1 if the archive does not say.
		Read, Total int
		// Done says that nothing is missing any more, but for what a [Gap] tells.
		Done bool
	}
	// Failed is the event for catching up that could not go on. It is tried again at
	// the next sign-in; [Archives.CatchUp] tries at once.
	Failed struct {
		Archive jid.JID
		Err     error
	}
	// Gap is the event for messages that were not read because of Config.Limit:
	// those between two others.
	Gap struct {
		Archive       jid.JID
		After, Before Place
	}
)

// A Place is a message of an archive. If ID is "", it is a time.
type Place struct {
	ID    string
	Stamp time.Time
}

// A cursor is the last message up to which nothing is missing.
type cursor = Place

// A hole is a Gap as it is kept. Which one it is, Before tells: After moves while it is
// filled.
type hole struct{ After, Before Place }

// follower keeps an archive without holes.
type follower struct {
	a       *Archives
	archive jid.JID // zero for the own one

	busy sync.Mutex // held while catching up

	mu     sync.Mutex
	loaded bool
	state  struct {
		Cursor *cursor `json:",omitempty"`
		Gaps   []hole  `json:",omitempty"`
	}
	read   *cursor // how far this process has read; state.Cursor follows when it is handled
	synced bool    // what comes live comes without a hole
	live   *cursor // the last that came live while that was not so
	ids    map[uint64]struct{}
	order  []uint64 // of ids, a ring
	next   int
}

// known is how many ids are remembered to tell that a message comes both live and out
// of the archive.
//
// It is more than a server keeps for who is away, and than is read before what came live
// meanwhile has its turn; some 3 MB if it comes to that.
const known = 1 << 17

// seed makes hashes of ids that others cannot foresee.
var seed = maphash.MakeSeed()

// again reports whether a message was seen before, and remembers it.
func (f *follower) again(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := maphash.String(seed, id)
	if _, ok := f.ids[k]; ok {
		return true
	}
	if f.ids == nil {
		f.ids = map[uint64]struct{}{}
	}
	f.ids[k] = struct{}{}
	if len(f.order) < known {
		f.order = append(f.order, k)
		return false
	}
	delete(f.ids, f.order[f.next])
	f.order[f.next] = k
	f.next = (f.next + 1) % known
	return false
}

// moved is an event for ourselves: when it is handled, so is every event before it,
// and the cursor may move.
type moved struct {
	f  *follower
	to cursor
}

// filled is such an event for a gap: what is missing begins behind to now, or nothing is
// missing there any more.
type filled struct {
	f      *follower
	before Place
	to     cursor
	done   bool
}

// watch follows the own archive.
func (a *Archives) watch() {
	confab.On(a.s, func(ctx context.Context, e moved) { e.f.move(ctx, e.to) })
	confab.On(a.s, func(ctx context.Context, e filled) { e.f.narrow(ctx, e) })
	if a.cfg.NoFollow {
		return
	}
	f := a.follower(jid.JID{})
	id := func(m *confab.Message) string {
		if m.Type == stanza.GroupChatMessage || m.Source == confab.Archive || m.Source == confab.RoomHistory {
			return ""
		}
		return m.StanzaID(a.s.LocalAddr().Bare())
	}
	a.s.HandleMessage(confab.StageDecrypt, func(_ context.Context, m *confab.Message) error {
		if id := id(m); id != "" && f.again(id) {
			return confab.ErrConsumed
		}
		return nil
	})
	confab.On(a.s, func(_ context.Context, m *confab.Message) {
		if id := id(m); id != "" {
			f.seen(cursor{id, m.When().UTC()}, m.Source == confab.Offline)
		}
	})
	a.s.OnDown(func(_ error, lost bool) {
		if lost {
			f.mu.Lock()
			f.synced, f.live = false, nil
			f.mu.Unlock()
		}
	})
	a.s.OnUp(func(ctx context.Context, fresh bool) error {
		if !fresh {
			return nil
		}
		done := make(chan struct{})
		a.s.Go(func(ctx context.Context) {
			defer close(done)
			f.run(ctx, false)
		})
		if a.cfg.Wait < 0 {
			return nil
		}
		late := time.NewTimer(a.cfg.Wait)
		defer late.Stop()
		select {
		case <-done:
		case <-late.C:
		case <-ctx.Done():
		}
		return nil
	})
	// What comes between that and the first presence goes elsewhere. Nothing is
	// missing only after a look that the server sees behind the presence.
	confab.On(a.s, func(_ context.Context, e confab.Ready) {
		if e.Fresh {
			a.s.Go(func(ctx context.Context) { f.run(ctx, true) })
		}
	})
}

func (a *Archives) follower(archive jid.JID) *follower {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := archive.String()
	f := a.follow[k]
	if f == nil {
		f = &follower{a: a, archive: archive}
		a.follow[k] = f
	}
	return f
}

// CatchUp reads what is missing of an archive, the own one if it is zero, or a room's.
// The own one is caught up with at each sign-in; for rooms, call it after joining.
// Messages become events, as those of [Archives.Query] do, and *confab.Message events,
// too.
func (a *Archives) CatchUp(ctx context.Context, archive jid.JID) error {
	return a.follower(archive.Bare()).catchUp(ctx, true)
}

// Seen says that a live message with this id was handled, so that nothing before it
// has to be read again. It is for rooms; for the own archive it happens by itself.
func (a *Archives) Seen(archive jid.JID, id string, stamp time.Time) {
	f := a.follower(archive.Bare())
	f.again(id)
	f.seen(cursor{id, stamp.UTC()}, false)
}

// Left says that messages of a room do not come live any more.
func (a *Archives) Left(archive jid.JID) {
	f := a.follower(archive.Bare())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced, f.live = false, nil
}

// Gaps returns what is known to be missing of an archive.
func (a *Archives) Gaps(ctx context.Context, archive jid.JID) ([]Gap, error) {
	f := a.follower(archive.Bare())
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var gaps []Gap
	for _, g := range f.state.Gaps {
		gaps = append(gaps, Gap{f.archive, g.After, g.Before})
	}
	return gaps, nil
}

// Fill reads what is missing in a gap, oldest first, as CatchUp does. The gap gets smaller
// as what was read is handled, and is gone when all of it is: a program that ends before
// finds the rest in [Archives.Gaps] again.
func (a *Archives) Fill(ctx context.Context, g Gap) error {
	f := a.follower(g.Archive.Bare())
	f.busy.Lock()
	defer f.busy.Unlock()
	if err := f.load(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	known := slices.ContainsFunc(f.state.Gaps, func(h hole) bool { return h.Before == g.Before })
	f.mu.Unlock()
	if !known {
		return fmt.Errorf("mam: %v has no such gap: see Gaps for those that it has", a.whose(g.Archive))
	}
	err := f.forward(ctx, g.After, g.Before, func(to cursor) { a.s.Emit(filled{f: f, before: g.Before, to: to}) })
	if err != nil {
		return err
	}
	a.s.Emit(filled{f: f, before: g.Before, done: true})
	return nil
}

// narrow makes a gap smaller, on the goroutine that handles events.
func (f *follower) narrow(ctx context.Context, e filled) {
	f.mu.Lock()
	if i := slices.IndexFunc(f.state.Gaps, func(h hole) bool { return h.Before == e.before }); i >= 0 {
		f.state.Gaps = slices.Clone(f.state.Gaps)
		if e.done {
			f.state.Gaps = slices.Delete(f.state.Gaps, i, i+1)
		} else {
			f.state.Gaps[i].After = e.to
		}
	}
	f.mu.Unlock()
	f.keep(ctx)
}

// run is catchUp that reports what goes wrong as an event.
func (f *follower) run(ctx context.Context, live bool) {
	err := f.catchUp(ctx, live)
	if err == nil || ctx.Err() != nil || errors.Is(err, confab.ErrLost) || errors.Is(err, confab.ErrClosed) {
		return // the next sign-in begins again
	}
	var se stanza.Error
	if errors.As(err, &se) && (se.Condition == stanza.ServiceUnavailable || se.Condition == stanza.FeatureNotImplemented) {
		return // there is no archive
	}
	f.a.s.Emit(Failed{Archive: f.archive, Err: err})
}

// catchUp reads what is missing. Live says that messages come live already, so that
// nothing can be missing afterwards.
func (f *follower) catchUp(ctx context.Context, live bool) error {
	f.busy.Lock()
	defer f.busy.Unlock()
	if err := f.load(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	if f.synced && !live { // a look that began later has come first
		f.mu.Unlock()
		return nil
	}
	f.synced = false
	c := f.read
	if c == nil {
		c = f.state.Cursor
	}
	f.mu.Unlock()
	var err error
	switch {
	case c == nil:
		err = f.begin(ctx)
	case f.a.cfg.Limit > 0:
		err = f.newest(ctx, *c)
	default:
		err = f.forward(ctx, *c, Place{}, f.advance)
	}
	if err != nil {
		return err
	}
	if !live {
		return nil
	}
	f.mu.Lock()
	f.synced = true
	last := f.live
	f.live = nil
	f.mu.Unlock()
	if last != nil { // it came after the last page
		f.advance(*last)
	}
	return nil
}

// forward reads all that follows a place, up to another if that is not zero. Handed is
// told after each page how far that is.
func (f *follower) forward(ctx context.Context, from, before Place, handed func(cursor)) error {
	read, total := 0, -1
	for {
		q := Query{Archive: f.archive, After: from.ID}
		if from.ID == "" {
			q.Start = from.Stamp.Truncate(time.Second) // some archives count in seconds
		}
		if !before.Stamp.IsZero() {
			q.End = before.Stamp.Truncate(time.Second).Add(time.Second)
		}
		var fails error
		for p, err := range f.a.pages(ctx, q) {
			if fails = err; err != nil {
				break
			}
			if i := slices.IndexFunc(p.results, func(r raw) bool {
				return before.ID != "" && r.id == before.ID || !q.End.IsZero() && r.stamp.After(q.End)
			}); i >= 0 {
				p.results = p.results[:i]
			}
			if p.index >= 0 && p.total >= p.index {
				total = read + p.total - p.index
			}
			n := len(p.results)
			if from.ID == "" { // by time it finds what is a little older, too
				p.results = slices.DeleteFunc(p.results, func(r raw) bool { return r.stamp.Before(from.Stamp.Truncate(time.Second)) })
			}
			if err := f.deliver(ctx, p.results); err != nil {
				return err
			}
			if m := len(p.results); m > 0 {
				from = cursor{p.results[m-1].id, p.results[m-1].stamp}
				handed(from)
			}
			read += n
			if total >= 0 {
				total = max(total, read)
			}
			f.a.s.Emit(Progress{Archive: f.archive, Read: read, Total: total})
		}
		if errors.Is(fails, ErrExpired) && from.ID != "" {
			from.ID = "" // the archive has lost that message: its time tells where to go on
			continue
		}
		if fails != nil {
			return fails
		}
		f.a.s.Emit(Progress{Archive: f.archive, Read: read, Total: read, Done: true})
		return nil
	}
}

// begin is the first time.
func (f *follower) begin(ctx context.Context) error {
	cfg := &f.a.cfg
	var start time.Time
	if cfg.FirstAge > 0 {
		// ejabberd refuses times before 1970.
		if start = time.Now().Add(-cfg.FirstAge); start.Before(time.Unix(0, 0)) {
			start = time.Time{}
		}
	}
	from := cursor{Stamp: start}
	if cfg.First > 0 || cfg.FirstAge == 0 {
		around, err := f.walk(ctx, max(cfg.First, 0), cursor{Stamp: start})
		if err != nil {
			return err
		}
		from = around.before
	}
	if cfg.First == 0 && cfg.FirstAge == 0 {
		f.advance(from)
		return nil
	}
	f.mu.Lock()
	f.read = &from // an attempt that is cut short goes on there
	f.mu.Unlock()
	return f.forward(ctx, from, Place{}, f.advance)
}

// newest reads at most Limit of what follows the cursor, the newest, and leaves a gap
// for the rest.
func (f *follower) newest(ctx context.Context, c cursor) error {
	around, err := f.walk(ctx, f.a.cfg.Limit, c)
	if err != nil {
		return err
	}
	if around.before == c || around.first.ID == "" {
		return f.forward(ctx, c, Place{}, f.advance)
	}
	g := Gap{f.archive, c, around.first}
	f.mu.Lock()
	// One that begins here is of an attempt that was cut short.
	f.state.Gaps = slices.DeleteFunc(slices.Clone(f.state.Gaps), func(h hole) bool { return h.After == c })
	f.state.Gaps = append(f.state.Gaps, hole{g.After, g.Before})
	f.mu.Unlock()
	if err := f.save(ctx); err != nil {
		return err
	}
	f.a.s.Emit(g)
	return f.forward(ctx, around.before, Place{}, f.advance)
}

// around is where the last messages of an archive begin.
type around struct {
	before, first Place // the place before them, and the first of them
}

// walk goes back from the end over n messages, or to a place if that comes before. It
// keeps nothing of what it sees, so that memory does not grow with n.
func (f *follower) walk(ctx context.Context, n int, to cursor) (at around, err error) {
	at.before = to
	q := Query{Archive: f.archive, Backwards: true, Start: to.Stamp.Truncate(time.Second), Page: min(n+1, 250)}
	seen := 0
	for p, err := range f.a.pages(ctx, q) {
		if err != nil {
			return at, err
		}
		for _, r := range p.results {
			if to.ID != "" && r.id == to.ID || r.stamp.Before(to.Stamp.Truncate(time.Second)) {
				return at, nil
			}
			if seen == n {
				at.before = Place{r.id, r.stamp}
				return at, nil
			}
			seen++
			at.first = Place{r.id, r.stamp}
		}
	}
	return at, nil
}

func (f *follower) deliver(ctx context.Context, rs []raw) error {
	for _, r := range rs {
		f.mu.Lock()
		if f.live != nil && f.live.ID == r.id {
			f.live = nil
		}
		f.mu.Unlock()
		if f.again(r.id) {
			continue
		}
		res, err := f.a.open(ctx, Query{Archive: f.archive}, r, -1)
		if err != nil { // it was not handed on: the next attempt does that
			f.mu.Lock()
			delete(f.ids, maphash.String(seed, r.id))
			f.mu.Unlock()
			return err
		}
		if res.Message != nil {
			f.a.s.Emit(res.Message)
		}
	}
	return nil
}

// seen takes note of a live message that was handled. One that the server has kept may
// come after newer ones: it moves nothing back.
func (f *follower) seen(c cursor, kept bool) {
	f.mu.Lock()
	for _, last := range [...]*cursor{f.read, f.live} {
		if kept && last != nil && !c.Stamp.After(last.Stamp) {
			f.mu.Unlock()
			return
		}
	}
	synced := f.synced
	if !synced {
		f.live = &c
	}
	f.mu.Unlock()
	if synced {
		f.advance(c)
	}
}

// advance says that nothing is missing up to here. The cursor moves when all that was
// handed on before is handled.
func (f *follower) advance(to cursor) {
	f.mu.Lock()
	f.read = &to
	f.mu.Unlock()
	f.a.s.Emit(moved{f, to})
}

// move moves the cursor, on the goroutine that handles events.
func (f *follower) move(ctx context.Context, to cursor) {
	f.mu.Lock()
	f.state.Cursor = &to
	f.mu.Unlock()
	f.keep(ctx)
}

// keep is save that reports what goes wrong as an event.
func (f *follower) keep(ctx context.Context) {
	if err := f.save(ctx); err != nil && ctx.Err() == nil {
		f.a.s.Emit(Failed{Archive: f.archive, Err: fmt.Errorf("mam: keeping the place: %w", err)})
	}
}

func (f *follower) key() string {
	own := f.a.s.LocalAddr().Bare().String()
	if f.archive.String() == "" {
		return own + "/mam"
	}
	return own + "/mam/" + f.archive.String()
}

func (f *follower) load(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded {
		return nil
	}
	b, err := f.a.cfg.Store.Get(ctx, f.key())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("mam: reading the place in the archive: %w", err)
	default:
		if err := json.Unmarshal(b, &f.state); err != nil {
			return fmt.Errorf("mam: reading the place in the archive: %w", err)
		}
	}
	f.loaded = true
	return nil
}

func (f *follower) save(ctx context.Context) error {
	f.mu.Lock()
	b, err := json.Marshal(f.state)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.a.cfg.Store.Put(ctx, f.key(), b)
}
