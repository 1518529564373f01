package bookmarks_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// Rooms are joined side by side, but not all at once, and Ready does not wait for it.
func TestJoinInParallel(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	a := signIn(t, cfg)
	const rooms = 20
	for i := range rooms {
		require.NoError(t, a.Set(ctx, bookmarks.Bookmark{Room: jid.MustParse(fmt.Sprintf("room%02d@x.test", i)), Autojoin: true}))
	}
	a.Stop(t)

	var mu sync.Mutex
	now, most, entered := 0, 0, make(chan struct{}, rooms)
	open := make(chan struct{})
	b, setup := prepare(t, func(ctx context.Context, m bookmarks.Bookmark) error {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		entered <- struct{}{}
		select {
		case <-open:
		case <-ctx.Done():
		}
		mu.Lock()
		now--
		mu.Unlock()
		if m.Room.Localpart() == "room05" {
			panic("a user's function")
		}
		return nil
	})
	b.Client = testclient.Up(t, cfg, setup)
	for range 8 {
		<-entered
	}
	close(open)
	for i := range rooms {
		b.awaitAct(t, "join", jid.MustParse(fmt.Sprintf("room%02d@x.test", i)))
	}
	assert.True(t, b.errs.Next(t, nil).Panicked)
	mu.Lock()
	assert.Equal(t, 8, most)
	mu.Unlock()
	// The room whose function has panicked is not lost, nor is its place.
	m, _ := b.Get(jid.MustParse("room05@x.test"))
	m.Autojoin = false
	require.NoError(t, b.Set(ctx, m))
	b.awaitAct(t, "leave", m.Room)
}

// A join that is not wanted any more is given up, and the room left.
func TestJoinGivenUp(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	d, setup := prepare(t, func(ctx context.Context, m bookmarks.Bookmark) error {
		<-ctx.Done()
		return ctx.Err()
	})
	d.Client = testclient.Up(t, cfg, setup)
	require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: play, Autojoin: true}))
	d.awaitAct(t, "join", play)
	require.NoError(t, d.Remove(ctx, play))
	d.awaitAct(t, "leave", play)
	assert.Empty(t, d.failed.All(), "what was given up has not failed")
}

// After a resumption nothing is done.
func TestResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		d := signIn(t, testclient.Embedded(srv, "juliet"))
		defer d.Stop(t)
		require.NoError(t, d.Set(t.Context(), bookmarks.Bookmark{Room: play, Autojoin: true}))
		d.awaitAct(t, "join", play)
		assert.Equal(t, 1, srv.CutAll())
		assert.False(t, d.WaitReady(t).Fresh)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, d.acts.All())
		assert.Len(t, d.List(), 1)
	})
}

// After a new sign-in all rooms are joined again, what has changed meanwhile is told,
// and what was removed is left.
func TestComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		srv := confabtest.NewServer(confabtest.Config{Without: confabtest.Resumption})
		defer srv.Close()
		cfg := testclient.Embedded(srv, "juliet")
		other := signIn(t, cfg)
		defer other.Stop(t)
		var away atomic.Bool
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if away.Load() {
				return nil, errors.New("away")
			}
			return srv.Dial(ctx, network, address)
		}
		d := signIn(t, cfg)
		defer d.Stop(t)
		for _, room := range []jid.JID{play, orchard} {
			require.NoError(t, other.Set(ctx, bookmarks.Bookmark{Room: room, Autojoin: true}))
			d.awaitAct(t, "join", room)
			d.awaitAdded(t, room)
		}
		away.Store(true)
		s, ok := srv.Session(d.LocalAddr().String())
		require.True(t, ok)
		for _, c := range srv.Conns() {
			if c.ID() == s.Conn {
				c.Cut()
			}
		}
		synctest.Wait()
		require.NoError(t, other.Remove(ctx, play))
		m, _ := other.Get(orchard)
		m.Name = "Orchard"
		require.NoError(t, other.Set(ctx, m))
		require.NoError(t, other.Set(ctx, bookmarks.Bookmark{Room: coven, Autojoin: true}))
		assert.Len(t, d.List(), 2, "what was known last can still be read")
		away.Store(false)
		assert.True(t, d.WaitReady(t).Fresh)
		assert.Equal(t, strs(coven, orchard), sorted(d.rooms()))
		d.awaitAct(t, "leave", play)
		d.awaitAct(t, "join", coven)
		d.awaitAct(t, "join", orchard)
		d.awaitAdded(t, coven)
		assert.True(t, d.removed.Next(t, nil).Bookmark.Room.Equal(play))
		assert.Equal(t, "Orchard", d.changed.Next(t, nil).New.Name)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, d.acts.All())
		assert.Empty(t, d.added.All())
		assert.Empty(t, d.failed.All())
	})
}

// A server that is too slow does not hold up the session, and what it says later counts.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		cfg := testclient.Embedded(srv, "juliet")
		other := signIn(t, cfg)
		defer other.Stop(t)
		require.NoError(t, other.Set(t.Context(), bookmarks.Bookmark{Room: play, Autojoin: true}))
		var asked atomic.Bool
		srv.HandleIQ("http://jabber.org/protocol/pubsub", "pubsub", func(*confab.Element) *confab.Element {
			asked.Store(true)
			return confabtest.NoAnswer
		})
		start := time.Now()
		d, setup := prepare(t, nil)
		d.Client = testclient.Start(t, cfg, setup)
		defer d.Stop(t)
		synctest.Wait()
		require.True(t, asked.Load())
		time.Sleep(time.Second)
		srv.HandleIQ("http://jabber.org/protocol/pubsub", "pubsub", nil)
		d.WaitReady(t)
		assert.Less(t, time.Since(start), 30*time.Second)
		d.awaitAdded(t, play)
		d.awaitAct(t, "join", play)
		require.ErrorIs(t, d.errs.Next(t, nil).Err, context.DeadlineExceeded)
	})
}

// The functions can be called where events are handled.
func TestSetInHandler(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	d, setup := prepare(t, nil)
	d.Client = testclient.Up(t, cfg, func(c *client.Client) {
		setup(c)
		confab.On(c, func(ctx context.Context, e bookmarks.Added) {
			e.Bookmark.Pinned = true
			assert.NoError(t, d.Set(ctx, e.Bookmark))
		})
	})
	require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: play, Name: "Play"}))
	e := d.changed.Next(t, nil)
	assert.True(t, e.New.Pinned)
	assert.Equal(t, "Play", e.New.Name)
}

// A bookmark that is given another room is another bookmark.
func TestOtherRoom(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	d := signIn(t, cfg)
	require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: play, Name: "Play", Nick: "JC"}))
	require.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: orchard, Name: "Orchard"}))
	m, _ := d.Get(play)
	m.Room = orchard
	require.NoError(t, d.Set(ctx, m))
	m, _ = d.Get(orchard)
	assert.Equal(t, "Play JC", m.Name+" "+m.Nick)
	assert.Len(t, d.List(), 2)
}

// Two devices change different things of one bookmark, one after the other, and
// different bookmarks at the same time: nothing is lost, and both come to the same.
func TestManyChanges(t *testing.T) {
	ctx := testclient.Context(t)
	_, cfg := embedded(t, confabtest.Config{})
	a, b := signIn(t, cfg), signIn(t, cfg)
	var wg sync.WaitGroup
	for i, d := range []*device{a, b} {
		for k := range 10 {
			wg.Go(func() {
				room := jid.MustParse(fmt.Sprintf("room%d-%d@x.test", i, k))
				assert.NoError(t, d.Set(ctx, bookmarks.Bookmark{Room: room}))
				for n := range 3 {
					m, ok := d.Get(room)
					assert.True(t, ok)
					m.Name = fmt.Sprint("Name ", n)
					assert.NoError(t, d.Set(ctx, m))
					got, _ := d.Get(room)
					assert.Equal(t, m.Name, got.Name, "one reads what one has written")
				}
				if k%2 == 0 {
					assert.NoError(t, d.Remove(ctx, room))
				}
			})
		}
		wg.Go(func() { assert.NoError(t, d.Refresh(ctx)) })
	}
	wg.Wait()
	for _, d := range []*device{a, b} {
		require.Eventually(t, func() bool { // the other's last events may be on their way
			list := d.List()
			for _, m := range list {
				if m.Name != "Name 2" {
					return false
				}
			}
			return len(list) == 10
		}, testclient.Patience, pause)
		assert.Empty(t, d.errs.All())
	}
}
