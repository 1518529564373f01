package muc_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

const heath = "heath@rooms.confab.test"

// pair is an embedded server with two people in a room, in a bubble of fake time.
type pair struct {
	srv        *confabtest.Server
	alice, bob *person
	ra, rb     *muc.Room
	joins      atomic.Int64 // presences that bob has sent to the room
}

func inBubble(t *testing.T, f func(t *testing.T, p *pair)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pair{srv: confabtest.NewServer(confabtest.Config{})}
		t.Cleanup(p.srv.Close)
		cfg := testclient.Embedded(p.srv, "alice")
		cfg.Keepalive = 48 * time.Hour // time that stands still makes answers look late
		p.alice = signIn(t, cfg, muc.Config{})
		cfg = testclient.Embedded(p.srv, "bob")
		cfg.Keepalive = 48 * time.Hour
		cfg.Wire = func(e client.WireEvent) {
			if e.Out && len(e.XML) > 9 && string(e.XML[:9]) == "<presence" {
				if el := mustRead(t, string(e.XML)); el.Child("http://jabber.org/protocol/muc", "x") != nil {
					p.joins.Add(1)
				}
			}
		}
		p.bob = signIn(t, cfg, muc.Config{})
		p.alice.ctx, p.bob.ctx = context.Background(), context.Background()
		p.ra = p.alice.join(t, jid.MustParse(heath), "alice", muc.Create(func(s *muc.Settings) { s.Persistent = true }))
		p.rb = p.bob.join(t, jid.MustParse(heath), "bob")
		p.bob.states.Next(t, status(muc.Joined))
		f(t, p)
	})
}

// seen returns the statuses that bob was told of, in order.
func (p *pair) seen() []muc.Status {
	synctest.Wait()
	var all []muc.Status
	for _, s := range p.bob.states.All() {
		all = append(all, s.Status)
	}
	return all
}

// tamper has stanzas for bob changed, over whichever connection they go.
func (p *pair) tamper(f func(e *confab.Element) []*confab.Element) {
	his := func(e *confab.Element) []*confab.Element {
		if !strings.HasPrefix(e.Get("to"), "bob@confab.test/") {
			return []*confab.Element{e}
		}
		return f(e)
	}
	p.srv.OnConn(func(c *confabtest.Conn) { c.Tamper(his) })
	for _, c := range p.srv.Conns() {
		c.Tamper(his)
	}
}

// TestForgotten: a room that has silently lost the user is entered again, and nothing
// that was said meanwhile is missed or told twice.
func TestForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		_, err := p.ra.Send(p.alice.ctx, "one")
		require.NoError(t, err)
		p.bob.heard.Next(t, saying("one"))
		require.True(t, p.srv.Room(heath).Forget("bob"))
		for i := range 5 {
			_, err = p.ra.Send(p.alice.ctx, fmt.Sprint("missed ", i))
			require.NoError(t, err)
		}
		time.Sleep(11 * time.Minute)
		assert.Equal(t, []muc.Status{muc.Suspect, muc.Rejoining, muc.Joined}, p.seen())
		assert.Equal(t, []string{"alice", "bob"}, p.srv.Room(heath).Occupants())
		all := p.bob.heard.All()
		require.Len(t, all, 5)
		for i, m := range all {
			assert.Equal(t, fmt.Sprint("missed ", i), m.Text)
			assert.Equal(t, confab.RoomHistory, m.Source)
			assert.False(t, m.Stamp.IsZero())
		}
		_, err = p.rb.Send(p.bob.ctx, "back")
		require.NoError(t, err)
		p.alice.heard.Next(t, saying("back"))
	})
}

// TestSelfPing: what each answer means (XEP-0410 §3).
func TestSelfPing(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   []muc.Status
		joins  int64
	}{
		{"result", nil, 0},
		{"service-unavailable", nil, 0},
		{"feature-not-implemented", nil, 0},
		// The XEP takes it for a change of the nickname; but the room has not told of any,
		// and Prosody says it of rooms that are no more.
		{"item-not-found", []muc.Status{muc.Suspect, muc.Rejoining, muc.Joined}, 1},
		{"renamed", nil, 0},
		{"not-acceptable", []muc.Status{muc.Suspect, muc.Rejoining, muc.Joined}, 1},
		{"not-allowed", []muc.Status{muc.Suspect, muc.Rejoining, muc.Joined}, 1},
		{"bad-request", []muc.Status{muc.Suspect, muc.Rejoining, muc.Joined}, 1},
		{"remote-server-not-found", []muc.Status{muc.Suspect, muc.Joined}, 0},
		{"remote-server-timeout", []muc.Status{muc.Suspect, muc.Joined}, 0},
		{"", []muc.Status{muc.Suspect, muc.Joined}, 0}, // no answer at all
	} {
		t.Run(c.answer, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *pair) {
				var pings atomic.Int64
				before := p.joins.Load()
				p.tamper(func(e *confab.Element) []*confab.Element {
					if e.Name.Local != "iq" || e.Get("from") != heath+"/bob" || e.Get("type") != "result" {
						return []*confab.Element{e}
					}
					n := pings.Add(1)
					switch {
					case c.answer == "result" || n > 1:
						return []*confab.Element{e}
					case c.answer == "":
						return nil
					}
					condition, first := c.answer, []*confab.Element(nil)
					if c.answer == "renamed" {
						condition = "item-not-found"
						first = []*confab.Element{
							presence(heath+"/bob", "unavailable", x(item("participant", "none").Set("nick", "rob"), "303", "110")).Set("to", e.Get("to")),
							presence(heath+"/rob", "", x(item("participant", "none"), "110")).Set("to", e.Get("to")),
						}
					}
					er := confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, condition)).Set("type", "cancel")
					return append(first, confab.El(confab.NSClient, "iq", er).Set("type", "error").Set("id", e.Get("id")).Set("from", e.Get("from")).Set("to", e.Get("to")))
				})
				time.Sleep(15 * time.Minute)
				assert.Equal(t, c.want, p.seen())
				assert.Equal(t, c.joins, p.joins.Load()-before)
				assert.GreaterOrEqual(t, pings.Load(), int64(1))
				st, _ := p.rb.Status()
				assert.Equal(t, muc.Joined, st)
			})
		})
	}
}

// TestBusyRoom: who hears of the room does not ask.
func TestBusyRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		var pings atomic.Int64
		p.tamper(func(e *confab.Element) []*confab.Element {
			if e.Name.Local == "iq" && e.Get("from") == heath+"/bob" {
				pings.Add(1)
			}
			return []*confab.Element{e}
		})
		for range 60 {
			_, err := p.ra.Send(p.alice.ctx, "still here")
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		assert.Zero(t, pings.Load())
	})
}

// TestEjected: a room that loses the user for technical reasons is entered again, but
// one that does so again and again not all the time.
func TestEjected(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		room := p.srv.Room(heath)
		require.True(t, room.Eject("bob", "307", "333"))
		p.bob.states.Next(t, status(muc.Joined))
		assert.Equal(t, []muc.Status{muc.Suspect, muc.Rejoining}, p.seen())
		before := p.joins.Load()
		stop := time.Now().Add(time.Hour)
		for time.Now().Before(stop) {
			room.Eject("bob", "307", "333")
			time.Sleep(time.Second)
		}
		n := p.joins.Load() - before
		assert.Greater(t, n, int64(5))
		assert.Less(t, n, int64(60))
	})
}

// TestDoubtfulEjections: nor is a room followed ever faster that says in between that the
// user is there.
func TestDoubtfulEjections(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		room, before := p.srv.Room(heath), p.joins.Load()
		refusal := confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "error",
			confab.El(confab.NSStanzas, "not-acceptable")).Set("type", "cancel")).Set("type", "error").Set("from", heath)
		var pings atomic.Int64
		p.tamper(func(e *confab.Element) []*confab.Element {
			if e.Name.Local == "iq" && e.Get("from") == heath+"/bob" && e.Get("type") == "result" {
				pings.Add(1)
			}
			return []*confab.Element{e}
		})
		stop := time.Now().Add(time.Hour)
		for time.Now().Before(stop) {
			p.srv.Inject(p.bob.LocalAddr().String(), refusal)
			time.Sleep(time.Second)
			room.Eject("bob", "307", "333")
			time.Sleep(time.Second)
		}
		assert.Greater(t, pings.Load(), int64(5))
		n := p.joins.Load() - before
		assert.Greater(t, n, int64(5))
		assert.Less(t, n, int64(60))
	})
}

// TestSuspectSpeaks: a room that was not in reach, but goes on telling what happens in it,
// is not waited for.
func TestSuspectSpeaks(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		p.tamper(func(e *confab.Element) []*confab.Element {
			if e.Name.Local == "iq" && e.Get("from") == heath+"/bob" {
				return nil
			}
			return []*confab.Element{e}
		})
		time.Sleep(12 * time.Minute)
		require.Equal(t, []muc.Status{muc.Suspect}, p.seen())
		_, err := p.ra.Send(p.alice.ctx, "who is silent?")
		require.NoError(t, err)
		require.Equal(t, []muc.Status{muc.Suspect, muc.Joined}, p.seen())
		time.Sleep(12 * time.Minute)
		require.Equal(t, []muc.Status{muc.Suspect, muc.Joined, muc.Suspect}, p.seen())
		require.NoError(t, p.ra.SetPresence(p.alice.ctx, "away", ""))
		require.Equal(t, []muc.Status{muc.Suspect, muc.Joined, muc.Suspect, muc.Joined}, p.seen())
	})
}

// TestSlowRename: a nickname that the room has changed is known before its answer to a
// ping is judged, however much there is to do.
func TestSlowRename(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		p.bob.HandlePresence(func(ctx context.Context, pr *confab.Presence) error {
			if pr.From.Resourcepart() == "slow" {
				time.Sleep(5 * time.Second)
			}
			return nil
		})
		before := p.joins.Load()
		var once atomic.Bool
		p.tamper(func(e *confab.Element) []*confab.Element {
			if e.Name.Local != "iq" || e.Get("from") != heath+"/bob" || once.Swap(true) {
				return []*confab.Element{e}
			}
			to := e.Get("to")
			er := confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "item-not-found")).Set("type", "cancel")
			return []*confab.Element{
				presence(heath+"/slow", "", x(item("participant", "none"))).Set("to", to),
				presence(heath+"/bob", "unavailable", x(item("participant", "none").Set("nick", "rob"), "303", "110")).Set("to", to),
				presence(heath+"/rob", "", x(item("participant", "none"), "110")).Set("to", to),
				confab.El(confab.NSClient, "iq", er).Set("type", "error").Set("id", e.Get("id")).Set("from", e.Get("from")).Set("to", to),
			}
		})
		time.Sleep(11 * time.Minute)
		assert.True(t, once.Load())
		assert.Empty(t, p.seen())
		assert.Equal(t, "rob", p.rb.Nick())
		assert.Zero(t, p.joins.Load()-before)
	})
}

// TestLeaveWhileRejoining: who leaves while the room is being entered again is not in it
// in the end.
func TestLeaveWhileRejoining(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		require.True(t, p.srv.Room(heath).Forget("bob"))
		var blocked atomic.Bool
		blocked.Store(true)
		p.tamper(func(e *confab.Element) []*confab.Element {
			if blocked.Load() && e.Name.Local == "presence" && strings.HasPrefix(e.Get("from"), heath) {
				return nil
			}
			return []*confab.Element{e}
		})
		for st, _ := p.rb.Status(); st != muc.Rejoining; st, _ = p.rb.Status() {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		require.Equal(t, []string{"alice", "bob"}, p.srv.Room(heath).Occupants())
		require.NoError(t, p.rb.Leave(p.bob.ctx))
		blocked.Store(false)
		time.Sleep(time.Hour)
		assert.Equal(t, []string{"alice"}, p.srv.Room(heath).Occupants())
		assert.Empty(t, p.bob.rooms.Rooms())
		all := p.bob.states.All()
		require.ErrorIs(t, all[len(all)-1].Err, muc.ErrLeft)
	})
}

// TestRefusedMessage: a room that does not take messages of the user any more is
// looked at once.
func TestRefusedMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		require.True(t, p.srv.Room(heath).Forget("bob"))
		sent, err := p.rb.Send(p.bob.ctx, "am I heard?")
		require.NoError(t, err)
		require.Error(t, sent.Wait(p.bob.ctx, confab.Reflected))
		p.bob.states.Next(t, status(muc.Joined))
		assert.Equal(t, []string{"alice", "bob"}, p.srv.Room(heath).Occupants())
	})
}

// TestUnableToReturn: a room that does not let the user in again is given up, one that
// is only out of reach is not.
func TestUnableToReturn(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		room := p.srv.Room(heath)
		require.True(t, room.Forget("bob"))
		require.NoError(t, p.ra.Ban(p.alice.ctx, p.bob.bare(), "spam"))
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		e := p.bob.states.Next(t, status(muc.Out))
		require.ErrorIs(t, e.Err, muc.ErrBanned)
		assert.Nil(t, p.bob.rooms.Room(jid.MustParse(heath)))
		_, err := p.rb.Send(p.bob.ctx, "hello?")
		require.ErrorIs(t, err, muc.ErrBanned)
	})
	inBubble(t, func(t *testing.T, p *pair) {
		require.True(t, p.srv.Room(heath).Forget("bob"))
		var blocked atomic.Bool
		blocked.Store(true)
		p.tamper(func(e *confab.Element) []*confab.Element {
			if blocked.Load() && e.Name.Local != "iq" && e.Get("from") != "" && jid.MustParse(e.Get("from")).Bare().String() == heath {
				return nil
			}
			return []*confab.Element{e}
		})
		time.Sleep(time.Hour)
		st, _ := p.rb.Status()
		assert.Equal(t, muc.Rejoining, st)
		blocked.Store(false)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, []muc.Status{muc.Suspect, muc.Rejoining, muc.Joined}, p.seen())
	})
}

// TestRecreated: a room that went with the server is made again as it was, and is open
// to the others.
func TestRecreated(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		own := jid.MustParse("own@rooms.confab.test")
		p.bob.join(t, own, "bob", muc.Create(func(s *muc.Settings) { s.Name = "Bob's" }))
		ra := p.alice.join(t, own, "alice")
		p.srv.Stop()
		p.srv.Continue()
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, r := range []*muc.Room{p.bob.rooms.Room(own), ra} {
			st, err := r.Status()
			assert.Equal(t, muc.Joined, st, "%v", err)
		}
		assert.Equal(t, []string{"alice", "bob"}, p.srv.Room(own.String()).Occupants())
		assert.Equal(t, []string{"alice", "bob"}, p.srv.Room(heath).Occupants())
		if p.bob.rooms.Room(own).Created() { // or alice was faster
			assert.Equal(t, "Bob's", p.bob.rooms.Room(own).Info().Name)
		}
	})
}

// TestLeaveForgotten: a room that does not know the user is left at once, and so is one
// without a link to it.
func TestLeaveForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		p.srv.Room(heath).Forget("bob")
		start := time.Now()
		require.NoError(t, p.rb.Leave(p.bob.ctx))
		assert.LessOrEqual(t, time.Since(start), 10*time.Second)
		require.ErrorIs(t, p.bob.states.Next(t, nil).Err, muc.ErrLeft)
		require.NoError(t, p.rb.Leave(p.bob.ctx), "twice does no harm")
		p.srv.Stop()
		synctest.Wait()
		require.NoError(t, p.ra.Leave(p.alice.ctx))
		p.srv.Continue()
		time.Sleep(time.Minute)
		assert.Empty(t, p.alice.rooms.Rooms())
		assert.Empty(t, p.srv.Room(heath).Occupants())
	})
}

// TestLostReflection: a message whose reflection was lost with the link is known to
// have arrived when the room tells it again.
func TestLostReflection(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		var blocked atomic.Bool
		blocked.Store(true)
		p.tamper(func(e *confab.Element) []*confab.Element {
			if blocked.Load() && e.Name.Local == "message" {
				return nil
			}
			return []*confab.Element{e}
		})
		sent, err := p.rb.Send(p.bob.ctx, "lost?")
		require.NoError(t, err)
		p.alice.heard.Next(t, saying("lost?"))
		synctest.Wait()
		require.Less(t, sent.Level(), confab.Reflected)
		blocked.Store(false)
		require.True(t, p.srv.Room(heath).Eject("bob", "333"))
		require.NoError(t, sent.Wait(p.bob.ctx, confab.Reflected))
		o := p.bob.own.Next(t, nil)
		assert.Equal(t, confab.RoomHistory, o.Source)
		assert.Same(t, sent, o.Sent)
	})
}

// TestSlowHistory: a room that takes its time is waited for, and one that never says what
// it is about is entered nevertheless. What was said before is history even then.
func TestSlowHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		t.Cleanup(srv.Close)
		const room = "slow@rooms.slow.test"
		past := func(text string) *confab.Element {
			return groupchat("witch", text, confab.El(nsDelay, "delay").Set("from", room).Set("stamp", "2001-01-01T00:00:00Z")).Set("from", room+"/witch")
		}
		subject := groupchat("", "", confab.El(confab.NSClient, "subject").SetText("Slow")).Set("from", room)
		tell := true
		srv.Component("rooms.slow.test", func(e *confab.Element) {
			send := func(el *confab.Element) { _ = srv.Send(el.Set("to", e.Get("from"))) }
			switch {
			case e.Name.Local == "iq":
				send(confab.El(confab.NSClient, "iq", confab.El("http://jabber.org/protocol/disco#info", "query")).Set("type", "result").Set("id", e.Get("id")).Set("from", e.Get("to")))
			case e.Get("type") == "unavailable":
				send(presence(e.Get("to"), "unavailable", x(item("none", "none"), "110")))
			default:
				send(presence(e.Get("to"), "", x(item("participant", "none"), "110")))
				for i := range 10 {
					time.Sleep(5 * time.Second)
					send(past(fmt.Sprint(i)))
				}
				if tell {
					send(subject)
				}
			}
		})
		cfg := testclient.Embedded(srv, "bob")
		cfg.Keepalive = 48 * time.Hour
		p := signIn(t, cfg, muc.Config{PingAfter: -1})
		p.ctx = context.Background()
		for _, tell = range []bool{true, false} {
			start := time.Now()
			r := p.join(t, jid.MustParse(room), "bob")
			if took := time.Since(start); took < 50*time.Second {
				t.Errorf("Join returned after %v", took)
			}
			for range 10 {
				m := p.heard.Next(t, nil)
				assert.Equal(t, confab.RoomHistory, m.Source)
			}
			srv.Inject(p.LocalAddr().String(), past("late"))
			m := p.heard.Next(t, saying("late"))
			assert.Equal(t, !tell, m.Source == confab.RoomHistory)
			// What is said now ends it, told or not.
			srv.Inject(p.LocalAddr().String(), groupchat("witch", "now").Set("from", room+"/witch"))
			p.heard.Next(t, saying("now"))
			srv.Inject(p.LocalAddr().String(), past("feigned"))
			assert.Equal(t, confab.Live, p.heard.Next(t, saying("feigned")).Source)
			require.NoError(t, r.Leave(p.ctx))
		}
	})
}

// TestMustExistAgain: a room that went with its server is not made again against the
// user's will.
func TestMustExistAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		tea := jid.MustParse("tea@rooms.confab.test")
		ra := p.alice.join(t, tea, "alice", muc.Create())
		p.bob.join(t, tea, "bob", muc.MustExist())
		p.bob.states.Next(t, status(muc.Joined))
		require.NoError(t, ra.Leave(p.alice.ctx))
		p.srv.Stop()
		p.srv.Continue()
		e := p.bob.states.Next(t, func(e muc.State) bool { return e.Status == muc.Out })
		require.ErrorIs(t, e.Err, muc.ErrNoRoom)
		assert.True(t, e.Room.JID().Equal(tea))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.False(t, p.srv.Room(tea.String()).Exists())
		assert.Nil(t, p.bob.rooms.Room(tea))
	})
}

// TestNickTakenMeanwhile: the program is told why it does not come back.
func TestNickTakenMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pair) {
		require.True(t, p.srv.Room(heath).Forget("bob"))
		require.NoError(t, p.ra.SetNick(p.alice.ctx, "bob"))
		time.Sleep(time.Hour)
		assert.Equal(t, []muc.Status{muc.Suspect, muc.Rejoining, muc.Rejoining}, p.seen(), "told once, however often it is tried")
		require.ErrorIs(t, p.bob.states.All()[2].Err, muc.ErrNickTaken)
		st, err := p.rb.Status()
		assert.Equal(t, muc.Rejoining, st)
		require.ErrorIs(t, err, muc.ErrNickTaken)
		require.NoError(t, p.ra.SetNick(p.alice.ctx, "alice"))
		time.Sleep(10 * time.Minute)
		assert.Equal(t, []muc.Status{muc.Suspect, muc.Rejoining, muc.Rejoining, muc.Joined}, p.seen())
	})
}
