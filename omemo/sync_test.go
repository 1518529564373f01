package omemo_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// published returns the ids of the devices in an account's lists, which have to be the
// same in both versions.
func published(t *testing.T, p *person, of jid.JID) []string {
	t.Helper()
	var lists [2][]string
	for i, n := range []string{omemo.NSv2 + ":devices", omemo.NSv1 + ".devicelist"} {
		items, err := pubsub.New(p, of).Latest(p.ctx, n, 1)
		require.NoError(t, err)
		require.Len(t, items, 1)
		for _, c := range items[0].Payload.Children {
			lists[i] = append(lists[i], c.Get("id"))
		}
		slices.Sort(lists[i])
	}
	require.Equal(t, lists[0], lists[1])
	return lists[0]
}

// TestConverge: devices of one account sign in at once and overwrite each other's lists;
// in the end all are in them.
func TestConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		cfg := testclient.Embedded(srv, "romeo")
		const n = 5
		people := make([]*person, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { people[i] = alive(t, cfg, omemo.Config{}) })
		}
		wg.Wait()
		time.Sleep(time.Minute)
		var want []string
		for _, p := range people {
			want = append(want, fmt.Sprint(p.keys.Own().ID))
			require.Empty(t, p.failed.All())
		}
		slices.Sort(want)
		require.Equal(t, want, published(t, people[0], people[0].bare()))
		ds, err := people[0].keys.Devices(people[0].ctx, people[0].bare())
		require.NoError(t, err)
		require.Len(t, ds, n)
	})
}

// TestRemoved: another client of the account keeps removing the device. It comes back a
// few times, and tells the user then.
func TestRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		cfg := testclient.Embedded(srv, "romeo")
		p := alive(t, cfg, omemo.Config{})
		evil := &person{ctx: context.Background()}
		evil.Client = testclient.Up(t, cfg)
		returns := 0
		for range 100 {
			items, err := pubsub.New(evil, jid.JID{}).Latest(evil.ctx, omemo.NSv2+":devices", 1)
			require.NoError(t, err)
			if len(items) == 1 && len(items[0].Payload.Children) > 0 {
				returns++
				_, err = pubsub.New(evil, jid.JID{}).Publish(evil.ctx, omemo.NSv2+":devices",
					pubsub.Item{ID: "current", Payload: confab.El(omemo.NSv2, "devices")}, pubsub.Open())
				require.NoError(t, err)
			}
			time.Sleep(10 * time.Second)
		}
		require.Equal(t, 6, returns, "once at first, and five times again")
		require.ErrorIs(t, p.failed.Next(t, nil).Err, omemo.ErrRemoved)
		require.Empty(t, p.failed.All())
	})
}

// TestCatchUp: somebody begins sessions while a device is away, and the archive gives
// the messages twice and in reverse; each is read once, and each session is answered once.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		julietCfg := testclient.Embedded(srv, "juliet")
		first := alive(t, julietCfg, omemo.Config{Store: store})
		juliet := first.bare()
		first.Stop(t)

		// Four devices write, each more than once before any answer.
		var want []string
		var people []*person
		for i := range 4 {
			p := alive(t, testclient.Embedded(srv, fmt.Sprintf("friend%d", i)), omemo.Config{Mode: omemo.On})
			people = append(people, p)
			for j := range 3 {
				text := fmt.Sprintf("friend %d, message %d", i, j)
				_, err := p.chats.With(juliet).Send(p.ctx, text)
				require.NoError(t, err)
				want = append(want, text)
			}
		}
		time.Sleep(time.Second)

		// The archive, as it was, is read by hand.
		reader := &person{ctx: context.Background()}
		var archive []*confab.Message
		var archives *mam.Archives
		reader.Client = testclient.Up(t, julietCfg, func(c *client.Client) {
			archives = mam.New(c, mam.Config{NoFollow: true})
			confab.On(c, func(context.Context, *confab.Message) {}) // the offline ones are lost
		})
		for r, err := range archives.Query(reader.ctx, mam.Query{Apart: true}) {
			require.NoError(t, err)
			if r.Message.Stanza.Child(omemo.NSv2, "encrypted") != nil {
				archive = append(archive, r.Message)
			}
		}
		require.Len(t, archive, len(want))
		reader.Stop(t)

		p := alive(t, julietCfg, omemo.Config{Store: store})
		slices.Reverse(archive)
		for range 2 {
			for _, m := range archive {
				c := *m
				if got, err := p.Inject(p.ctx, confab.StageDecrypt, &c); err == nil && got != nil {
					p.Emit(got)
				}
			}
		}
		time.Sleep(time.Minute)
		var got []string
		for _, m := range p.heard.All() {
			got = append(got, m.Text)
			require.NotNil(t, m.Seal)
		}
		slices.Sort(got)
		slices.Sort(want)
		require.Equal(t, want, got)
		require.Empty(t, p.dark.All())
		for _, f := range people {
			// The answer has come: the next message begins no session any more.
			_, err := f.chats.With(juliet).Send(f.ctx, "now")
			require.NoError(t, err)
			require.Equal(t, "now", p.heard.Next(t, func(m *chat.Message) bool { return m.Text == "now" && m.From.Bare().Equal(f.bare()) }).Text)
			require.Empty(t, f.dark.All())
		}
		out := srvOut(t, p, people[0])
		require.NotContains(t, out, "kex=")
	})
}

// srvOut sends one more message and returns the <encrypted/> as it came.
func srvOut(t *testing.T, to, from *person) string {
	t.Helper()
	var mu sync.Mutex
	var raw string
	to.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
		if e := m.Stanza.Child(omemo.NSv2, "encrypted"); e != nil {
			mu.Lock()
			defer mu.Unlock()
			raw = e.String()
		}
		return nil
	})
	_, err := from.chats.With(to.bare()).Send(from.ctx, "look")
	require.NoError(t, err)
	to.heard.Next(t, saying("look"))
	mu.Lock()
	defer mu.Unlock()
	return raw
}

// TestLate: messages that come before the one that begins their session are read when it
// comes. There are clients that say only once how a session begins.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		var mu sync.Mutex
		var held []*confab.Message
		c := alive(t, testclient.Embedded(srv, "c"), omemo.Config{Mode: omemo.On}, func(cl *client.Client) {
			cl.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
				if m.Stanza.Child(omemo.NSv2, "encrypted") == nil {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				k := *m
				held = append(held, &k)
				return confab.ErrConsumed
			})
		})
		for i := range 3 {
			_, err := a.chats.With(c.bare()).Send(a.ctx, fmt.Sprintf("message %d", i))
			require.NoError(t, err)
		}
		time.Sleep(time.Second)
		mu.Lock()
		msgs := append([]*confab.Message(nil), held...)
		mu.Unlock()
		require.Len(t, msgs, 3)
		for i := 2; i >= 0; i-- {
			m := msgs[i]
			if i > 0 {
				m.Stanza = m.Stanza.Clone()
				key := m.Stanza.Child(omemo.NSv2, "encrypted").Child(omemo.NSv2, "header").Child(omemo.NSv2, "keys").Child(omemo.NSv2, "key")
				b, err := base64.StdEncoding.DecodeString(key.Text)
				require.NoError(t, err)
				key.Set("kex", "").SetText(base64.StdEncoding.EncodeToString(innerOf(t, b)))
			}
			got, err := c.Inject(c.ctx, confab.StageDecrypt, m)
			require.NoError(t, err)
			if got != nil {
				c.Emit(got)
			}
			if i > 0 {
				u := c.dark.Next(t, nil)
				// By the second one a session may be there, made to mend the first.
				require.True(t, errors.Is(u.Err, ratchet.ErrNoSession) || errors.Is(u.Err, ratchet.ErrMAC), u.Err)
				require.True(t, u.Waiting)
			}
		}
		for i := range 3 {
			c.heard.Next(t, saying(fmt.Sprintf("message %d", i)))
		}
		require.Empty(t, c.dark.All())
		require.Empty(t, c.heard.All())
	})
}

// innerOf returns field 5 of a protocol buffer.
func innerOf(t *testing.T, b []byte) []byte {
	t.Helper()
	for len(b) > 0 {
		tag := b[0]
		n, k := binary.Uvarint(b[1:])
		require.Positive(t, k)
		b = b[1+k:]
		if tag&7 == 2 {
			if tag>>3 == 5 {
				return b[:n]
			}
			b = b[n:]
		}
	}
	t.Fatal("no message in it")
	return nil
}

// TestReplace: a session that is lost on one side is replaced: by itself when a message
// comes that it cannot read, and by hand.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		store := &omemo.MemoryStore{}
		bCfg := testclient.Embedded(srv, "b")
		b := alive(t, bCfg, omemo.Config{Store: store, Mode: omemo.On})
		talk := func(from, to *person, text string) {
			t.Helper()
			_, err := from.chats.With(to.bare()).Send(from.ctx, text)
			require.NoError(t, err)
			require.NotNil(t, to.heard.Next(t, saying(text)).Seal)
		}
		talk(a, b, "one")
		talk(b, a, "two")
		b.Stop(t)
		// B's sessions are gone, such as by a restored copy.
		data, err := omemo.Export(context.Background(), store, b.bare())
		require.NoError(t, err)
		restored := &omemo.MemoryStore{}
		require.NoError(t, omemo.Import(context.Background(), restored, b.bare(), data))
		id := b.keys.Own().ID
		b = alive(t, bCfg, omemo.Config{Store: restored, Mode: omemo.On})
		require.Equal(t, id, b.keys.Own().ID)
		_, err = a.chats.With(b.bare()).Send(a.ctx, "lost")
		require.NoError(t, err)
		u := b.dark.Next(t, nil)
		require.ErrorIs(t, u.Err, ratchet.ErrNoSession)
		require.Equal(t, a.keys.Own().ID, u.Device)
		time.Sleep(time.Minute)
		talk(a, b, "three")
		talk(b, a, "four")
		require.NoError(t, a.keys.ReplaceSession(a.ctx, b.bare(), id))
		time.Sleep(time.Minute)
		talk(a, b, "five")
		talk(b, a, "six")
		require.Empty(t, a.dark.All())
		require.Empty(t, b.dark.All())
	})
}

// TestModes: clear text does not slip out, nor in.
func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{})
		plain := &person{ctx: context.Background()}
		plain.Client = testclient.Up(t, testclient.Embedded(srv, "plain"))
		ctx := a.ctx

		// Off.
		_, err := a.chats.With(b.bare()).Send(ctx, "clear")
		require.NoError(t, err)
		require.Nil(t, b.heard.Next(t, saying("clear")).Seal)
		// On, to somebody who has no keys.
		require.NoError(t, a.keys.SetMode(ctx, plain.bare(), omemo.On))
		_, err = a.chats.With(plain.bare()).Send(ctx, "secret")
		require.ErrorIs(t, err, omemo.ErrNoDevices)
		var un *omemo.UnreachableError
		require.ErrorAs(t, err, &un)
		require.Contains(t, err.Error(), plain.bare().String())
		// Keys that are not trusted.
		require.NoError(t, a.keys.SetMode(ctx, b.bare(), omemo.On))
		require.NoError(t, a.keys.FetchKeys(ctx, b.bare()))
		ds, err := a.keys.Devices(ctx, b.bare())
		require.NoError(t, err)
		require.Len(t, ds, 1)
		require.NoError(t, a.keys.SetTrust(ctx, b.bare(), ds[0].Key, omemo.Distrusted))
		_, err = a.chats.With(b.bare()).Send(ctx, "secret")
		require.ErrorIs(t, err, omemo.ErrUntrusted)
		who, err := a.keys.Verify(ctx, b.keys.URI())
		require.NoError(t, err)
		require.Equal(t, b.bare(), who)
		_, err = a.chats.With(b.bare()).Send(ctx, "secret")
		require.NoError(t, err)
		require.NotNil(t, b.heard.Next(t, saying("secret")).Seal)
		// Required takes nothing in clear.
		require.NoError(t, b.keys.SetMode(ctx, a.bare(), omemo.Required))
		require.NoError(t, a.keys.SetMode(ctx, b.bare(), omemo.Off))
		_, err = a.chats.With(b.bare()).Send(ctx, "in clear")
		require.NoError(t, err)
		require.Equal(t, "in clear", b.rejected.Next(t, nil).Message.Body)
		require.Empty(t, b.heard.All())
		// A new device of somebody who is verified waits for a decision.
		require.NoError(t, a.keys.SetMode(ctx, b.bare(), omemo.On))
		b2 := alive(t, testclient.Embedded(srv, "b"), omemo.Config{})
		time.Sleep(5 * time.Minute) // they are no contacts: nobody tells a
		_, err = a.chats.With(b.bare()).Send(ctx, "to the old one")
		require.NoError(t, err)
		require.NotNil(t, b.heard.Next(t, saying("to the old one")).Seal)
		sk := a.skipped.Next(t, nil)
		require.Equal(t, b2.keys.Own().ID, sk.Failures[0].Device)
		require.ErrorIs(t, sk.Failures[0].Err, omemo.ErrUntrusted)
		require.ErrorIs(t, b2.dark.Next(t, nil).Err, omemo.ErrNotForThisDevice)
		nk := a.news.Next(t, func(e omemo.NewKey) bool { return e.Device.ID == b2.keys.Own().ID })
		require.Equal(t, omemo.Undecided, nk.Device.Trust)
		// Nor does any kind of message slip out in clear.
		for _, d := range []confab.Draft{
			{Type: stanza.NormalMessage, Body: "x"}, {Type: stanza.HeadlineMessage, Body: "x"}, {Subject: "x"}, {SetSubject: true},
			{Type: stanza.NormalMessage, Extra: []any{confab.El("urn:x", "secret").SetText("x")}},
			{Extra: []any{confab.El("jabber:x:oob", "x", confab.El("jabber:x:oob", "url").SetText("https://x"))}},
			{Thread: "t", Extra: []any{confab.El("urn:xmpp:message-correct:0", "replace").Set("id", "1"), confab.El("urn:x", "secret")}},
		} {
			d.To = b.bare()
			sent, err := a.SendMessage(ctx, d)
			require.NoError(t, err)
			require.NotNil(t, sent.Seal, "%+v", d)
		}
		// Receipts and such go in clear, and say nothing.
		_, err = a.SendMessage(ctx, confab.Draft{To: b.bare(), Type: stanza.ChatMessage, Extra: []any{confab.El("urn:xmpp:receipts", "received").Set("id", "x")}})
		require.NoError(t, err)
		// Opting out.
		_, err = b.SendMessage(ctx, confab.Draft{To: a.bare(), Type: stanza.ChatMessage, Extra: []any{confab.El(omemo.NSv2, "opt-out", confab.El(omemo.NSv2, "reason").SetText("no more"))}})
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, err = a.chats.With(b.bare()).Send(ctx, "still secret")
		require.ErrorIs(t, err, omemo.ErrOptedOut)
		require.NoError(t, a.keys.SetMode(ctx, b.bare(), omemo.On))
		_, err = a.chats.With(b.bare()).Send(ctx, "secret again")
		require.NoError(t, err)
	})
}

// alive is signIn for tests in which an hour passes in no time.
func alive(tb testing.TB, cfg client.Config, ocfg omemo.Config, setup ...func(*client.Client)) *person {
	p := signIn(tb, cfg, ocfg, setup...)
	p.ctx = context.Background()
	return p
}
