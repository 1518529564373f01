package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/roster"
	"github.com/confab-im/confab/store"
	"github.com/confab-im/confab/upload"
	"mellium.im/xmpp/jid"
)

const (
	patience  = 30 * time.Second // for what a command asks for
	firstPage = 100              // messages of a chat that are shown at first
	firstAge  = 30 * 24 * time.Hour
)

// app is the client without its screen: it takes lines and gives views.
type app struct {
	settings
	self     jid.JID // bare
	begun    time.Time
	c        *client.Client
	roster   *roster.Roster
	chats    *chat.Client
	rooms    *muc.Client
	marks    *bookmarks.Bookmarks
	archives *mam.Archives
	kept     *store.History
	out      *store.Outbox
	keys     *omemo.Manager
	files    *upload.Client

	show  func(view) // the screen
	dirty chan struct{}
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	err     error // why the client has ended
	status  string
	current jid.JID           // zero is the page of the program itself
	open    map[string]bool   // chats without a message that were opened
	count   map[string]int    // how many messages of a chat are shown
	notes   map[string][]note // what the program has to say in a chat
	typing  map[string]map[string]bool
	named   map[string]bool       // rooms in which the user was named
	numbers map[string]*numbering // of messages
	shown   int                   // how many messages of the current chat are on the screen
	state   map[string]chat.State // what was told about the user's own typing
	seen    map[string]string     // the last message of a chat that others were told to be read
	last    map[string]string     // the id of what was sent last in a chat
	listed  []omemo.Device        // what /keys has shown
	known   map[string]bool       // rooms
	lanes   map[string]chan func(context.Context)
}

// note is something that the program says in a chat.
type note struct {
	at   time.Time
	text string
}

// newApp puts all features on a client that does not run yet.
func newApp(cfg client.Config, db *store.DB, s settings) (*app, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	a := &app{
		settings: s, begun: time.Now(), c: c, self: c.LocalAddr().Bare(), dirty: make(chan struct{}, 1), status: "connecting",
		open: map[string]bool{}, count: map[string]int{}, notes: map[string][]note{},
		typing: map[string]map[string]bool{}, named: map[string]bool{}, numbers: map[string]*numbering{},
		state: map[string]chat.State{}, seen: map[string]string{}, last: map[string]string{}, known: map[string]bool{}, lanes: map[string]chan func(context.Context){},
	}
	if a.roster, err = roster.New(c, roster.Config{Store: db}); err != nil {
		return nil, err
	}
	a.archives = mam.New(c, mam.Config{Store: db, FirstAge: firstAge})
	a.out = db.Outbox(c, a.archives) // what is not sent when the program ends is sent by the next run
	a.chats = chat.New(a.out, chat.Config{Reveal: a.roster.Sees})
	a.rooms = muc.New(a.out, muc.Config{Archives: a.archives})
	a.marks, err = bookmarks.New(c, bookmarks.Config{Store: db, Rooms: a.rooms})
	if err != nil {
		return nil, err
	}
	a.keys, err = omemo.New(c, omemo.Config{Store: db.Keys(), Rooms: a.rooms, Reveal: a.roster.Sees})
	if err != nil {
		return nil, err
	}
	a.files = upload.New(a.out, upload.Config{
		Transport: c.HTTPTransport(), AllowLoopback: s.local,
		Sealed: func(j jid.JID) bool { return a.keys.Mode(j) != omemo.Off },
	})
	a.kept = db.History(a.self)
	a.kept.Follow(c)
	a.listen()
	a.say(jid.JID{}, "You are %s. /help tells what can be done here.", a.self)
	return a, nil
}

// start signs in, in the background.
func (a *app) start(ctx context.Context) {
	a.ctx, a.stop = context.WithCancel(ctx)
	a.wg.Go(func() {
		err := a.c.Run(a.ctx)
		if err == nil || a.ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		a.err, a.status = err, "signed off: "+safeLine(err.Error(), 200)
		a.mu.Unlock()
		a.changed()
	})
	a.wg.Go(a.refresh)
	a.changed()
}

// end signs off and returns when everything has ended.
func (a *app) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if a.c.Stats().Connected {
		_ = a.c.Close(ctx) // what it could not deliver is in the outbox
	}
	a.stop()
	a.wg.Wait()
}

// failure is why the client has ended by itself.
func (a *app) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// changed has the screen drawn anew, soon.
func (a *app) changed() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// refresh makes views, one at a time: however much happens at once, the file is asked no
// more often than the screen is drawn.
func (a *app) refresh() {
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-a.dirty:
		}
		v, err := a.view(a.ctx)
		if a.ctx.Err() != nil {
			return
		}
		if err != nil {
			v.Status = "the file cannot be read: " + safeLine(err.Error(), 200)
		}
		a.show(v)
	}
}

// say adds a line of the program's own to a chat; the zero address is its own page. What
// is in it of others is made harmless here.
func (a *app) say(where jid.JID, format string, args ...any) {
	a.note(where, safeText(fmt.Sprintf(format, args...)))
}

// note adds a text that is safe already.
func (a *app) note(where jid.JID, text string) {
	a.mu.Lock()
	key := where.String()
	if a.notes[key] == nil && len(a.notes) > 1000 {
		key = "" // the program's own page
	}
	a.notes[key] = append(a.notes[key], note{time.Now(), text})
	if n := a.notes[key]; len(n) > 100 {
		a.notes[key] = n[len(n)-100:]
	}
	a.mu.Unlock()
	a.changed()
}

// here is the chat that is on the screen.
func (a *app) here() jid.JID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}

// goTo puts a chat on the screen.
func (a *app) goTo(ch jid.JID) {
	a.mu.Lock()
	a.current = ch
	if !ch.Equal(jid.JID{}) {
		a.open[ch.String()] = true
		delete(a.named, ch.String())
	}
	a.mu.Unlock()
	a.changed()
}

// more shows more of the chat that is on the screen.
func (a *app) more() {
	a.mu.Lock()
	key := a.current.String()
	if n := max(a.count[key], firstPage); a.shown >= n {
		a.count[key] = n + firstPage
	}
	a.mu.Unlock()
	a.changed()
}

// do runs f in the background. What is about one chat is done in order; a room that does
// not answer holds nobody else up.
func (a *app) do(where jid.JID, f func(ctx context.Context) error) {
	job := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := f(ctx); err != nil && a.ctx.Err() == nil {
			a.fail(where, err)
		}
	}
	a.mu.Lock()
	lane, ok := a.lanes[where.String()]
	if !ok {
		lane = make(chan func(context.Context), 100)
		a.lanes[where.String()] = lane
		a.wg.Go(func() {
			for {
				select {
				case <-a.ctx.Done():
					return
				case job := <-lane:
					job(a.ctx)
				}
			}
		})
	}
	a.mu.Unlock()
	select {
	case lane <- job:
	default:
		a.fail(where, errors.New("too much waits to be done here already"))
	}
}

// fail tells of something that did not succeed.
func (a *app) fail(where jid.JID, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time (%w)", err)
	}
	a.say(where, "Failed: %s", err.Error())
}

// connection says how the link is.
func (a *app) connection(text string) {
	a.mu.Lock()
	a.status = text
	a.mu.Unlock()
	a.changed()
}
