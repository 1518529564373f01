package bookmarks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// Max is how many bookmarks are believed. What a server has beyond is left alone.
const Max = 10_000

// maxLoad bounds what is read, as it takes memory, about.
const maxLoad = 32 << 20

// patience is how long a session may wait for the list before it is ready.
const patience = 20 * time.Second

// node is what the node has to be like (XEP-0402 §3.3): above all, for nobody else.
var node = pubsub.Config{Access: pubsub.AccessWhitelist, Persist: pubsub.Yes, MaxItems: pubsub.Max, SendLast: pubsub.Never}

// Config are the settings of [Bookmarks].
type Config struct {
	// Store keeps the list, with its passwords, between runs of the program, so that it
	// is there before the first sign-in. It may be nil.
	Store Store
	// Rooms joins and leaves the rooms, in the place of Join and Leave; a *muc.Client
	// does.
	Rooms Rooms
	// Nick is the nickname for rooms whose bookmark has none, with Rooms; by default the
	// part of the own address before the @.
	Nick string
	// Join enters a room that has Autojoin. It is called again for a room that one is
	// in already, which is no error. Nil joins nothing. The context ends when the
	// room is not to be joined any more, or when the stream is lost: after the next
	// sign-in Join is called again.
	Join func(ctx context.Context, m Bookmark) error
	// Leave leaves a room that is no bookmark any more, or whose Autojoin was cleared.
	// It is called for rooms that one is not in, too. It must not be set without Join.
	Leave func(ctx context.Context, m Bookmark)
}

// Rooms joins and leaves rooms. A *muc.Client does.
type Rooms interface {
	// EnterRoom enters a room; one that one is in already is no error.
	EnterRoom(ctx context.Context, room jid.JID, nick, password string) error
	// LeaveRoom leaves one; one that one is not in is no error.
	LeaveRoom(ctx context.Context, room jid.JID) error
}

// byRooms makes Join and Leave of Rooms.
func (c *Config) byRooms(s confab.Session) error {
	if c.Rooms == nil {
		return nil
	}
	if c.Join != nil || c.Leave != nil {
		return errors.New("bookmarks: Config.Rooms stands in the place of Config.Join and Config.Leave")
	}
	rooms, always := c.Rooms, c.Nick
	c.Join = func(ctx context.Context, m Bookmark) error {
		nick := m.Nick
		if nick == "" {
			nick = always
		}
		if nick == "" {
			nick = s.LocalAddr().Localpart()
		}
		return rooms.EnterRoom(ctx, m.Room, nick, m.Password)
	}
	c.Leave = func(ctx context.Context, m Bookmark) {
		if err := rooms.LeaveRoom(ctx, m.Room); err != nil && ctx.Err() == nil {
			s.Emit(confab.HandlerError{Err: fmt.Errorf("bookmarks: leaving %s: %w", m.Room, err)})
		}
	}
	return nil
}

// The events that tell how the list has changed, whoever has changed it.
type (
	// Added is the event for a new bookmark.
	Added struct{ Bookmark Bookmark }
	// Changed is the event for a bookmark that says something else now.
	Changed struct{ Old, New Bookmark }
	// Removed is the event for a bookmark that is gone.
	Removed struct{ Bookmark Bookmark }
	// JoinFailed is the event for a room with Autojoin that could not be joined. It is
	// tried again after the next sign-in; and if the room's server could not be
	// reached, or the room was full, after half a minute and then ever more rarely, at
	// least each 45 minutes. Each failure is told.
	JoinFailed struct {
		Bookmark Bookmark
		Err      error
	}
)

// Bookmarks is the list of an account. Its methods may be called from any goroutine.
type Bookmarks struct {
	s     confab.Session
	pep   pubsub.Service
	rooms joiner
	load  job // of the list
	old   job // the old bookmarks
	keep  job // the list in the Store
	store Store

	loading chan struct{} // held while the list is loaded
	writing chan struct{} // held while an item is written

	mu      sync.Mutex
	list    map[string]*Bookmark // by room; the values are never changed
	loaded  bool                 // once
	whole   bool                 // the list has all that the server has
	ready   bool                 // the user has heard Ready, and the stream is not lost
	check   bool                 // the list is to be looked at once more
	touched map[string]bool      // rooms that were changed while the list is being loaded, else nil
	removed map[string]bool      // rooms that are gone, until the old bookmarks know
	now     *write               // that is being made
	stores  []store              // of old bookmarks, those that nobody else keeps in step
	known   bool                 // stores is
}

// A write knows whether its event was seen.
type write struct {
	room string
	el   *confab.Element // nil if the item is removed
	seen bool
}

// New puts bookmarks on a session, before it runs.
func New(s confab.Session, cfg Config) (*Bookmarks, error) {
	if err := cfg.byRooms(s); err != nil {
		return nil, err
	}
	if cfg.Leave != nil && cfg.Join == nil {
		return nil, errors.New("bookmarks: Config.Leave needs Config.Join")
	}
	b := &Bookmarks{
		s: s, pep: pubsub.New(s, jid.JID{}), rooms: joiner{s: s, cfg: cfg},
		loading: make(chan struct{}, 1), writing: make(chan struct{}, 1),
		list: map[string]*Bookmark{}, removed: map[string]bool{},
	}
	b.load.f, b.old.f, b.keep.f = b.Refresh, b.syncOld, b.save
	if b.store = cfg.Store; b.store != nil {
		if err := b.recall(context.Background()); err != nil {
			return nil, err
		}
	}
	pubsub.Notify(s, NS)
	pubsub.OnEvent(s, NS, b.event)
	s.OnUp(func(ctx context.Context, fresh bool) error {
		if !fresh {
			return nil
		}
		// After that the session is ready without. The list is asked for once more then.
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return b.Refresh(ctx)
	})
	s.OnDown(func(_ error, lost bool) {
		if lost {
			b.lost()
		}
	})
	confab.On(s, func(_ context.Context, e confab.Ready) {
		if e.Fresh {
			b.begin()
		}
	})
	return b, nil
}

// List returns all bookmarks, those that are pinned first, by the rooms' addresses.
func (b *Bookmarks) List() []Bookmark {
	b.mu.Lock()
	all := slices.Collect(maps.Values(b.list))
	b.mu.Unlock()
	slices.SortFunc(all, func(x, y *Bookmark) int {
		if x.Pinned != y.Pinned {
			if x.Pinned {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.Room.Domainpart(), y.Room.Domainpart()), cmp.Compare(x.Room.Localpart(), y.Room.Localpart()))
	})
	list := make([]Bookmark, len(all))
	for i, m := range all {
		list[i] = m.copy()
	}
	return list
}

// Get returns the bookmark of a room, and whether there is one.
func (b *Bookmarks) Get(room jid.JID) (Bookmark, bool) {
	m := b.get(room.Bare().String())
	if m == nil {
		return Bookmark{}, false
	}
	return m.copy(), true
}

func (b *Bookmarks) get(key string) *Bookmark {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list[key]
}

// Refresh asks the server for all bookmarks. It is done at each new sign-in anyhow; a
// server that does not tell of what other clients remove, such as ejabberd 23.01, may
// need it in between.
func (b *Bookmarks) Refresh(ctx context.Context) error {
	if err := lock(ctx, b.loading); err != nil {
		return err
	}
	defer unlock(b.loading)
	b.mu.Lock()
	b.touched = map[string]bool{}
	ready := b.ready
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.touched = nil
	}()
	got, whole, err := b.read(ctx)
	if errors.Is(err, pubsub.ErrNotFound) {
		got, whole, err = b.read(ctx) // what the next page should follow was removed just now
	}
	if err != nil {
		return fmt.Errorf("bookmarks: the list: %w", err)
	}
	gone, err := b.missing(ctx, got, whole)
	if err != nil {
		return fmt.Errorf("bookmarks: the list: %w", err)
	}
	if ready {
		// Answers overtake events: those that came before are not to undo what is
		// known now.
		if err := b.s.Fence(ctx); err != nil && !errors.Is(err, confab.ErrInHandler) {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// In order, so that users see the same order each time.
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if !b.touched[key] {
			b.put(got[key], b.loaded || b.ready)
		}
	}
	for _, key := range gone {
		if !b.touched[key] {
			b.drop(key)
		}
	}
	b.loaded, b.whole = true, whole
	return nil
}

// read reads the node. The list is not whole if it is larger than it may be.
func (b *Bookmarks) read(ctx context.Context) (got map[string]*Bookmark, whole bool, err error) {
	got = map[string]*Bookmark{}
	size, n := 0, 0
	for it, err := range b.pep.Items(ctx, NS) {
		if errors.Is(err, pubsub.ErrNotFound) && n == 0 {
			break // nobody has published anything yet
		}
		if errors.Is(err, pubsub.ErrUnsupported) {
			return got, false, nil // there is no place for bookmarks, which Set will tell
		}
		if err != nil {
			return nil, false, err
		}
		n++
		if it.Payload != nil {
			size += weight(it.Payload, maxLoad)
		}
		if n > Max || size > maxLoad {
			return got, false, nil
		}
		m, err := parse(it.ID, it.Payload)
		if err != nil {
			continue // of what is not understood, nothing is known, and nothing touched
		}
		key := m.key()
		if old := got[key]; old == nil || it.ID == key {
			got[key] = m
		}
	}
	return got, true, nil
}

// missing returns which known rooms are gone from the server, which is asked for each:
// a page that was cut short must not empty the list.
func (b *Bookmarks) missing(ctx context.Context, got map[string]*Bookmark, whole bool) (gone []string, err error) {
	if !whole {
		return nil, nil
	}
	var ids, keys []string
	b.mu.Lock()
	for _, key := range slices.Sorted(maps.Keys(b.list)) {
		if got[key] == nil && !b.touched[key] {
			keys, ids = append(keys, key), append(ids, b.list[key].id)
		}
	}
	b.mu.Unlock()
	found, err := b.byID(ctx, ids)
	for i, id := range ids {
		if m := found[id]; m != nil {
			got[keys[i]] = m
		} else {
			gone = append(gone, keys[i])
		}
	}
	return gone, err
}

// byID reads some items; those that are there, but are no bookmarks, are nil.
func (b *Bookmarks) byID(ctx context.Context, ids []string) (map[string]*Bookmark, error) {
	found := map[string]*Bookmark{}
	for some := range slices.Chunk(ids, 50) {
		items, err := b.pep.ItemsByID(ctx, NS, some...)
		if err != nil && !errors.Is(err, pubsub.ErrNotFound) {
			return nil, err
		}
		for _, it := range items {
			found[it.ID], _ = parse(it.ID, it.Payload)
		}
	}
	return found, nil
}

// begin is called when the session is up after a new sign-in.
func (b *Bookmarks) begin() {
	b.mu.Lock()
	b.ready, b.check = true, true
	for _, key := range slices.Sorted(maps.Keys(b.list)) {
		if m := b.list[key]; m.Autojoin {
			b.rooms.want(m, true)
		}
	}
	b.mu.Unlock()
	b.old.kick(b.s)
}

// lost is called when the stream is gone.
func (b *Bookmarks) lost() {
	b.mu.Lock()
	b.ready, b.known, b.stores = false, false, nil // the server may be another one next time
	b.mu.Unlock()
	b.rooms.stop()
}

// event takes what the own account tells of its node. It is called by the dispatcher.
func (b *Bookmarks) event(_ context.Context, e *pubsub.Event) (taken bool) {
	if !e.From.Equal(b.s.LocalAddr().Bare()) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Old || e.Message.Source != confab.Live {
		// It was kept for a while, so it may be older than what is known.
		if !b.agrees(e) {
			b.load.kick(b.s)
		}
		return true
	}
	switch e.Kind {
	case pubsub.Purged, pubsub.Deleted:
		for _, key := range slices.Sorted(maps.Keys(b.list)) {
			b.drop(key)
		}
	case pubsub.Published, pubsub.Retracted:
		for _, it := range e.Items {
			b.published(it)
		}
		for _, id := range e.Retracted {
			room, err := roomOf(id)
			if err != nil {
				continue
			}
			key := room.String()
			if b.now != nil && b.now.room == key && b.now.el == nil {
				b.now.seen = true
			}
			b.touch(key)
			if m := b.list[key]; m != nil && m.id == id {
				b.drop(key)
			}
		}
	}
	return true
}

func (b *Bookmarks) published(it pubsub.Item) {
	if it.Payload == nil {
		b.load.kick(b.s) // this server sends no payloads
		return
	}
	m, err := parse(it.ID, it.Payload)
	if err != nil {
		return
	}
	key := m.key()
	if b.now != nil && b.now.room == key && b.now.el != nil && equal(b.now.el, it.Payload) {
		b.now.seen = true
	}
	b.touch(key)
	b.put(m, true)
}

func (b *Bookmarks) touch(key string) {
	if b.touched != nil {
		b.touched[key] = true
	}
}

// agrees reports whether an event says what is known already.
func (b *Bookmarks) agrees(e *pubsub.Event) bool {
	for _, it := range e.Items {
		m, err := parse(it.ID, it.Payload)
		if it.Payload == nil {
			return false
		}
		if err != nil {
			continue
		}
		if old := b.list[m.key()]; old == nil || !old.same(m) {
			return false
		}
	}
	return e.Kind == pubsub.Published && len(e.Retracted) == 0
}

// put adds a bookmark, or replaces it, and does what follows from that. The user is
// told of a new one if tell is set. The lock is held; Emit does not block.
func (b *Bookmarks) put(m *Bookmark, tell bool) {
	key := m.key()
	old := b.list[key]
	switch {
	case old == nil && len(b.list) >= Max:
		b.whole = false
		return
	case old != nil && old.id != m.id && m.id != key:
		return // the same room once more, in another spelling
	}
	b.list[key] = m
	delete(b.removed, key)
	switch {
	case old == nil && tell:
		b.s.Emit(Added{m.copy()})
	case old == nil:
	case old.same(m):
		return
	default:
		b.s.Emit(Changed{old.copy(), m.copy()})
	}
	was := old != nil && old.Autojoin
	if was != m.Autojoin && (b.ready || was) {
		b.rooms.want(m, m.Autojoin)
	}
	b.changed()
}

// drop removes a bookmark. The lock is held.
func (b *Bookmarks) drop(key string) {
	m := b.list[key]
	if m == nil {
		return
	}
	delete(b.list, key)
	b.removed[key] = true
	b.s.Emit(Removed{m.copy()})
	b.rooms.want(m, false)
	b.changed()
}

// changed brings the old bookmarks, and the Store, up to date. The lock is held.
func (b *Bookmarks) changed() {
	if b.store != nil {
		b.keep.kick(b.s)
	}
	if b.ready {
		b.old.kick(b.s)
	}
}

func lock(ctx context.Context, c chan struct{}) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func unlock(c chan struct{}) { <-c }

// A job is done in the background, one at a time: once more if it is wanted while it
// is done.
type job struct {
	f func(context.Context) error

	mu             sync.Mutex
	running, again bool
}

func (j *job) kick(s confab.Session) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running {
		j.again = true
		return
	}
	j.running = true
	s.Go(func(ctx context.Context) {
		for {
			err := j.f(ctx)
			if err != nil && ctx.Err() == nil && !errors.Is(err, confab.ErrLost) {
				s.Emit(confab.HandlerError{Err: err})
			}
			j.mu.Lock()
			if !j.again || ctx.Err() != nil {
				j.running = false
				j.mu.Unlock()
				return
			}
			j.again = false
			j.mu.Unlock()
		}
	})
}
