package muc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestRestarts: the server is restarted under ten rooms, again and again, while somebody
// else goes on talking, also when that one is back already and the program is not. Each
// room is entered again, the program hears of it once, and of each message that the
// room's archive has, once.
func TestRestarts(t *testing.T) {
	testbed.EachPrivate(t, func(t *testing.T, s *testbed.Server) {
		rounds := 10
		if testing.Short() {
			rounds = 3
		}
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
		defer cancel()
		var away atomic.Bool
		a := reader(t, s, func(cfg *client.Config) {
			cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if away.Load() {
					return nil, errors.New("away")
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
		})
		b := reader(t, s, nil)
		a.ctx, b.ctx = ctx, ctx
		var rooms, theirs []*muc.Room
		for i := range 10 {
			r := a.join(t, newRoom(s), "alice", muc.Create(muc.PublicChannel(fmt.Sprint("Room ", i))))
			rooms, theirs = append(rooms, r), append(theirs, b.join(t, r.JID(), "bob"))
			a.states.Next(t, status(muc.Joined))
			b.states.Next(t, status(muc.Joined))
		}
		if !rooms[0].Info().Info.Has(mam.NS) {
			s.Skip(t, "archives of rooms")
		}
		for round := range rounds {
			stop := b.talk(t, theirs, fmt.Sprint("round ", round))
			away.Store(true)
			if round%2 == 0 {
				s.Restart(t)
			} else {
				s.Kill(t)
				s.Start(t)
			}
			again(t, b, theirs, round)
			b.say(t, theirs, fmt.Sprintf("round %d: while alice is away", round))
			away.Store(false)
			again(t, a, rooms, round)
			stop()
			b.say(t, theirs, fmt.Sprintf("round %d: all are there", round))
		}
		for _, r := range rooms {
			a.hasArchive(t, b, r.JID())
		}
	})
}

// archivist is a person who reads the archives of rooms.
type archivist struct {
	*person
	archives *mam.Archives
}

func reader(tb testing.TB, s *testbed.Server, edit func(*client.Config)) *archivist {
	tb.Helper()
	addr, pw := s.Account(tb)
	cfg := testclient.Config(s, addr, pw)
	cfg.BackoffMax = 200 * time.Millisecond
	if edit != nil {
		edit(&cfg)
	}
	a := &archivist{person: &person{ctx: testclient.Context(tb)}}
	a.Client = testclient.Up(tb, cfg, func(c *client.Client) {
		a.archives = mam.New(c, mam.Config{})
		a.watch(c, muc.Config{Archives: a.archives})
	})
	return a
}

// again waits until all rooms are entered again, and checks what was told of that.
func again(t *testing.T, p *archivist, rooms []*muc.Room, round int) {
	t.Helper()
	for range rooms {
		p.states.Next(t, status(muc.Joined))
	}
	count := map[string]int{}
	for _, e := range p.states.All() {
		count[e.Status.String()+e.Room.String()]++
	}
	for _, r := range rooms {
		assert.Equal(t, 1, count["Suspect"+r.String()], "round %d", round)
		assert.Equal(t, 1, count["Rejoining"+r.String()], "round %d", round)
		assert.Zero(t, count["Joined"+r.String()], "round %d", round)
	}
	for range len(p.states.All()) {
		p.states.Next(t, nil)
	}
}

// talk says something in the rooms, one after the other, until it is stopped. What the
// link loses is lost.
func (p *archivist) talk(t *testing.T, rooms []*muc.Room, text string) (stop func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, err := rooms[i%len(rooms)].Send(ctx, fmt.Sprintf("%s: %d", text, i))
			if err != nil && ctx.Err() == nil && !errors.Is(err, confab.ErrLost) {
				assert.NoError(t, err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// say says something in each room, which the rooms confirm.
func (p *archivist) say(t *testing.T, rooms []*muc.Room, text string) {
	t.Helper()
	for _, r := range rooms {
		_, err := r.Send(p.ctx, text)
		require.NoError(t, err)
	}
	for _, r := range rooms {
		p.own.Next(t, func(m muc.OwnMessage) bool { return m.Text == text && m.Room == r })
	}
}

// hasArchive checks that the program has heard all that the room's archive has, and
// nothing twice.
func (p *archivist) hasArchive(t *testing.T, other *archivist, room jid.JID) {
	t.Helper()
	var want []string
	for res, err := range other.archives.Query(p.ctx, mam.Query{Archive: room, Apart: true}) {
		require.NoError(t, err)
		if res.Message.Body != "" {
			want = append(want, res.ID)
		}
	}
	heard := func() map[string]int {
		n := map[string]int{}
		for _, m := range p.heard.All() {
			if m.Room.JID().Equal(room) {
				n[m.Ref()]++
			}
		}
		return n
	}
	missing := func() (ids []string) {
		n := heard()
		for _, id := range want {
			if n[id] == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	require.NotEmpty(t, want)
	for late := time.Now().Add(testclient.Patience); len(missing()) > 0 && time.Now().Before(late); {
		time.Sleep(5 * time.Millisecond)
	}
	require.Empty(t, missing(), "of %v in %s", want, room)
	archived := 0
	for _, m := range p.heard.All() {
		if m.Room.JID().Equal(room) && m.Source == confab.Archive {
			archived++
		}
	}
	require.NotZero(t, archived, "read from the archive of %s", room)
	t.Logf("%s: %d messages, %d of them out of the archive", room, len(want), archived)
	for id, n := range heard() {
		require.Equal(t, 1, n, "message %s", id)
	}
}
