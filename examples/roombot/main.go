// Command roombot looks after chat rooms: it greets who comes, answers a few commands,
// and removes spam where it is a moderator.
//
//	PASSWORD=... roombot -address bot@example.org -nick keeper room@chat.example ...
//
// It stays in its rooms when it is disconnected or the server restarts, comes back a
// while after it was kicked, and can be restarted at any time: what was said meanwhile it
// reads in the rooms' archives, and removes the spam of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/store"
	"mellium.im/xmpp/jid"
)

func main() {
	address := flag.String("address", "", "the bot's account")
	nick := flag.String("nick", "keeper", "its nickname")
	file := flag.String("file", "roombot.db", "where it keeps its places in the archives")
	flag.Parse()
	db, err := store.Open(*file)
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(client.Config{Address: *address, Password: os.Getenv("PASSWORD"), Store: db})
	if err != nil {
		log.Fatal(err)
	}
	newBot(c, db, *nick, time.Minute, flag.Args()...)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err = c.Run(ctx)
	_ = db.Close()
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

type bot struct {
	s     confab.Session
	rooms *muc.Client
	nick  string
	pause time.Duration // before it tries to come back

	mu   sync.Mutex
	said map[string]*recent // by author
}

// recent is what somebody has said lately.
type recent struct {
	text  string
	times int
	last  time.Time
}

func newBot(s confab.Session, places mam.Store, nick string, pause time.Duration, rooms ...string) *bot {
	archives := mam.New(s, mam.Config{Store: places, NoFollow: true})
	b := &bot{s: s, rooms: muc.New(s, muc.Config{Archives: archives}), nick: nick, pause: pause, said: map[string]*recent{}}
	confab.On(s, func(_ context.Context, r confab.Ready) {
		if !r.Fresh {
			return
		}
		for _, room := range rooms {
			s.Go(func(ctx context.Context) { b.enter(ctx, room) })
		}
	})
	confab.On(s, func(_ context.Context, st muc.State) {
		log.Printf("%s: %v %v", st.Room, st.Status, st.Err)
		if st.Status == muc.Out {
			s.Go(func(ctx context.Context) {
				select {
				case <-time.After(b.pause):
					b.enter(ctx, st.Room.JID().String())
				case <-ctx.Done():
				}
			})
		}
	})
	confab.On(s, b.change)
	confab.On(s, b.message)
	return b
}

// enter joins a room, trying until it can be done. A room that is kept by the muc
// package already is left to it.
func (b *bot) enter(ctx context.Context, room string) {
	j, err := jid.Parse(room)
	if err != nil {
		log.Printf("%s: %v", room, err)
		return
	}
	for ctx.Err() == nil {
		if b.rooms.Room(j) != nil {
			return
		}
		// All that was said before comes out of the archive.
		if _, err = b.rooms.Join(ctx, j, b.nick, muc.NickFallback(), muc.NoHistory()); err == nil {
			return
		}
		log.Printf("%s: %v", room, err)
		select {
		case <-time.After(b.pause):
		case <-ctx.Done():
		}
	}
}

// change greets who comes.
func (b *bot) change(ctx context.Context, c muc.Change) {
	if c.Kind == muc.Entered && !c.Self && c.Occupant.Affiliation == muc.NoAffiliation {
		_, _ = c.Room.Send(ctx, fmt.Sprintf("%s: welcome! Say !help to see what I can do.", c.Occupant.Nick))
	}
}

// message answers commands and looks for spam.
func (b *bot) message(ctx context.Context, m *muc.Message) {
	live := m.Source == confab.Live
	if !live && m.Source != confab.Archive || m.Nick == "" {
		return
	}
	who, _ := m.Room.Occupant(m.Nick)
	if b.isSpam(m) && who.Role != muc.Moderator {
		err := m.Room.Moderate(ctx, m.Ref(), "spam")
		if live { // else the nickname may be somebody else's by now
			err = errors.Join(err, m.Room.Kick(ctx, m.Nick, "spam"))
		}
		if err != nil {
			log.Printf("%s: spam of %s: %v", m.Room, m.Nick, err)
		}
		return
	}
	command, rest, _ := strings.Cut(m.Text, " ")
	switch {
	case !live:
	case command == "!help":
		_, _ = m.Room.Send(ctx, "!who: how many are here; !topic TEXT and !kick NICK: for moderators")
	case command == "!who":
		_, _ = m.Room.Send(ctx, fmt.Sprintf("There are %d of us.", len(m.Room.Occupants())))
	case who.Role != muc.Moderator:
	case command == "!topic":
		if _, err := m.Room.SetSubject(ctx, rest); err != nil {
			log.Printf("%s: %v", m.Room, err)
		}
	case command == "!kick":
		if err := m.Room.Kick(ctx, rest, "asked to by "+m.Nick); err != nil {
			_, _ = m.Room.Send(ctx, "I could not: "+err.Error())
		}
	}
}

// isSpam says whether somebody says the same for the fourth time within a minute.
func (b *bot) isSpam(m *muc.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := m.Room.JID().String() + " " + m.Author
	r := b.said[key]
	if r == nil || r.text != m.Text || m.When().Sub(r.last) > time.Minute {
		if len(b.said) > 10_000 {
			clear(b.said) // a flood of nicknames must not fill the memory
		}
		b.said[key] = &recent{text: m.Text, times: 1, last: m.When()}
		return false
	}
	r.times++
	r.last = m.When()
	return r.times >= 4
}
