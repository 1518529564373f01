package chat_test

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// device is a person with a view of the one conversation of the test.
type device struct {
	*person
	name string
	peer jid.JID
	view *chat.Timeline
	rnd  *rand.Rand
}

// act does something at random with the conversation as the device sees it.
func (d *device) act(t *testing.T, srv *confabtest.Server, n int) {
	v := d.chats.With(d.peer)
	var err error
	es := d.view.Entries()
	var e chat.Entry
	if len(es) > 0 {
		e = es[max(0, len(es)-1-d.rnd.Intn(20))] // what is new is what people touch
	}
	switch what := d.rnd.Intn(100); {
	case len(es) == 0 || what < 40:
		var sent *confab.Sent
		sent, err = v.Send(d.ctx, fmt.Sprintf("%s says %d", d.name, n))
		// People read as they write.
		require.Eventually(t, func() bool { _, ok := d.view.Entry(sent.ID); return ok }, testclient.Patience, time.Millisecond)
	case what < 60 && e.Message.Self:
		_, err = v.Edit(d.ctx, e.Message.ID, fmt.Sprintf("%s corrects it, %d", d.name, n))
	case what < 65 && e.Message.Self:
		_, err = v.Retract(d.ctx, e.Message.ID, "")
	case what < 70:
		_, err = v.Reply(d.ctx, e.Message, fmt.Sprintf("%s answers %d", d.name, n))
	case what < 85:
		emoji := []string{"a", "b", "c"}[:d.rnd.Intn(4)]
		_, err = v.React(d.ctx, e.Current.Ref(), emoji...)
	case what < 95 && !e.Message.Self:
		err = v.MarkDisplayed(d.ctx, e.Message)
	case what < 97:
		for _, c := range srv.Conns() {
			if d.rnd.Intn(3) == 0 {
				c.Cut()
			}
		}
	default:
		err = v.State(d.ctx, chat.Composing)
	}
	require.NoError(t, err)
}

// see is the conversation as text; the ticks are those of one account's devices.
func (d *device) see(ticks bool) string {
	var b strings.Builder
	for _, e := range d.view.Entries() {
		text := e.Current.Text
		if e.Retracted {
			text = "-"
		}
		fmt.Fprintf(&b, "%s %s %q", e.Message.Author, e.Message.ID, text)
		for _, who := range slices.Sorted(maps.Keys(e.Reactions)) {
			fmt.Fprintf(&b, " %s%v", who, e.Reactions[who])
		}
		if ticks {
			fmt.Fprintf(&b, " %v %v", e.Received, e.Displayed)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestEveryDeviceAgrees: after a thousand random things, done side by side by two
// devices of one and a contact, with links that are cut, everybody sees the same
// conversation.
func TestEveryDeviceAgrees(t *testing.T) {
	seeds := int64(6)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			srv := confabtest.NewServer(confabtest.Config{})
			t.Cleanup(srv.Close)
			cfg := chat.Config{Reveal: everybody}
			var all []*device
			for i, name := range []string{"phone", "desk", "contact"} {
				user := "romeo"
				if name == "contact" {
					user = "juliet"
				}
				d := &device{person: signIn(t, testclient.Embedded(srv, user), cfg), name: name, rnd: rand.New(rand.NewSource(seed*10 + int64(i)))}
				all = append(all, d)
			}
			all[0].peer, all[1].peer, all[2].peer = all[2].bare(), all[2].bare(), all[0].bare()
			for _, d := range all {
				d.view = chat.NewTimeline(d.peer, 2000)
				d.view.Follow(d.Client, nil)
			}
			var wg sync.WaitGroup
			for _, d := range all {
				wg.Go(func() {
					for n := range 334 {
						d.act(t, srv, n)
					}
				})
			}
			wg.Wait()
			end := time.Now().Add(testclient.Patience)
			for {
				a, b, a2, c := all[0].see(true), all[1].see(true), all[0].see(false), all[2].see(false)
				agree := a == b && a2 == c
				if agree && strings.Count(a, "\n") > 200 || time.Now().After(end) {
					require.Equal(t, a, b, "the two devices differ")
					require.Equal(t, a2, c, "the contact differs")
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			// Let what is under way arrive, and look again.
			for _, d := range all {
				sent, err := d.chats.With(d.peer).Send(d.ctx, "the end")
				require.NoError(t, err)
				for _, o := range all {
					require.Eventually(t, func() bool { _, ok := o.view.Entry(sent.ID); return ok }, testclient.Patience, 5*time.Millisecond)
				}
			}
			require.Eventually(t, func() bool { return all[0].see(true) == all[1].see(true) && all[0].see(false) == all[2].see(false) },
				testclient.Patience, 20*time.Millisecond)
			n := 0
			for _, e := range all[0].view.Entries() {
				if e.Edits > 0 || e.Retracted || len(e.Reactions) > 0 {
					n++
				}
			}
			t.Logf("%d messages, %d of them changed; %d links", len(all[0].view.Entries()), n, srv.Stats().Connections)
			require.Greater(t, n, 10)
		})
	}
}
