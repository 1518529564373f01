package omemo_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// forger is a device that is made by hand.
type forger struct {
	id  *ratchet.Identity
	sid uint32
	as  *person
}

// kex returns a message that begins a session with a device, with an envelope.
func (f forger) kex(t *testing.T, to *person, envelope string) *confab.Element {
	t.Helper()
	rid := fmt.Sprint(to.keys.Own().ID)
	items, err := pubsub.New(f.as, to.bare()).ItemsByID(f.as.ctx, omemo.NSv2+":bundles", rid)
	require.NoError(t, err)
	require.Len(t, items, 1)
	el := items[0].Payload
	un := func(c *confab.Element) []byte {
		b, err := base64.StdEncoding.DecodeString(c.Text)
		require.NoError(t, err)
		return b
	}
	number := func(c *confab.Element) (n uint32) {
		_, err := fmt.Sscan(c.Get("id"), &n)
		require.NoError(t, err)
		return n
	}
	spk, pk := el.Child(omemo.NSv2, "spk"), el.Child(omemo.NSv2, "prekeys").Children[0]
	b := &ratchet.Bundle{Version: ratchet.V2, SignedPreKeyID: number(spk)}
	b.Identity, err = ratchet.ParseIdentityKey(ratchet.V2, un(el.Child(omemo.NSv2, "ik")))
	require.NoError(t, err)
	b.SignedPreKey, err = ratchet.ParsePublicKey(ratchet.V2, un(spk))
	require.NoError(t, err)
	k, err := ratchet.ParsePublicKey(ratchet.V2, un(pk))
	require.NoError(t, err)
	b.PreKeys = []ratchet.PublicPreKey{{ID: number(pk), Key: k}}
	rec := ratchet.NewRecord(ratchet.V2)
	require.NoError(t, rec.Start(rand.Reader, f.id, f.sid, b, b.PreKeys[0].ID))
	content, payload, err := ratchet.SealV2(rand.Reader, []byte(envelope))
	require.NoError(t, err)
	s, err := rec.Encrypt(content)
	require.NoError(t, err)
	keys := confab.El(omemo.NSv2, "keys", confab.El(omemo.NSv2, "key").Set("rid", rid).Set("kex", "true").
		SetText(base64.StdEncoding.EncodeToString(s.Data))).Set("jid", to.bare().String())
	return confab.El(omemo.NSv2, "encrypted", confab.El(omemo.NSv2, "header", keys).Set("sid", fmt.Sprint(f.sid)),
		confab.El(omemo.NSv2, "payload").SetText(base64.StdEncoding.EncodeToString(payload)))
}

func (f forger) send(t *testing.T, to *person, envelope string, more ...any) {
	t.Helper()
	require.NoError(t, f.as.SendElement(f.as.ctx, mustElement(t, confab.Draft{To: to.bare(), Type: stanza.ChatMessage,
		Extra: append([]any{f.kex(t, to, envelope)}, more...)})))
}

func forge(t *testing.T, as *person, sid uint32) forger {
	t.Helper()
	id, err := ratchet.NewIdentity(rand.Reader)
	require.NoError(t, err)
	return forger{id, sid, as}
}

func envelopeTo(text, to string) string {
	affix := ""
	if to != "" {
		affix = "<to jid='" + to + "'/>"
	}
	return "<envelope xmlns='urn:xmpp:sce:1'><content><body xmlns='jabber:client'>" + text + "</body></content><rpad>x</rpad>" + affix + "</envelope>"
}

// TestRedirected: what was said in a room, or to somebody else, is not read as if it was
// said to the user.
func TestRedirected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		for i, to := range []string{"tea@conference.confab.test", "carol@confab.test", "b@confab.test", "@"} {
			forge(t, b, uint32(i+1)).send(t, a, envelopeTo("for others", to))
			got := a.dark.Next(t, nil)
			require.ErrorIs(t, got.Err, omemo.ErrContent, to)
			require.True(t, got.From.Equal(b.bare()))
		}
		require.Empty(t, a.heard.All())
		for i, to := range []string{"", a.bare().String(), a.bare().String() + "/phone"} {
			forge(t, b, uint32(i+100)).send(t, a, envelopeTo(fmt.Sprint("for you ", i), to))
			a.heard.Next(t, saying(fmt.Sprint("for you ", i)))
		}
		require.Empty(t, a.dark.All())
	})
}

// TestRedirectedCopy: the server cannot have it that the user has said something to
// somebody else.
func TestRedirectedCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		var carol atomic.Pointer[jid.JID]
		phone := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		desk := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On}, func(c *client.Client) {
			c.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
				if c := carol.Load(); c != nil && m.Source == confab.CarbonOut {
					m.To = *c
				}
				return nil
			})
		})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		_, err := phone.chats.With(b.bare()).Send(phone.ctx, "yes")
		require.NoError(t, err)
		desk.own.Next(t, ownSaying("yes"))
		other := jid.MustParse("carol@confab.test")
		carol.Store(&other)
		_, err = phone.chats.With(b.bare()).Send(phone.ctx, "marry me")
		require.NoError(t, err)
		b.heard.Next(t, saying("marry me"))
		require.ErrorIs(t, desk.dark.Next(t, nil).Err, omemo.ErrContent)
		require.Empty(t, desk.own.All())
	})
}

// TestBorrowedKey: a key that was met as that of one device is not trusted as that of
// another, which had one.
func TestBorrowedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		_, err := a.chats.With(b.bare()).Send(a.ctx, "hello")
		require.NoError(t, err)
		b.heard.Next(t, saying("hello"))
		time.Sleep(time.Minute)
		evil := forge(t, b, 777) // in no list
		evil.send(t, a, envelopeTo("one", ""))
		require.True(t, a.heard.Next(t, saying("one")).Seal.Trusted)
		evil.sid = b.keys.Own().ID
		evil.send(t, a, envelopeTo("two", ""))
		require.False(t, a.heard.Next(t, saying("two")).Seal.Trusted)
		_, err = a.chats.With(b.bare()).Send(a.ctx, "a secret")
		require.ErrorIs(t, err, omemo.ErrUntrusted)
		// The device itself is still trusted, with the key that it had.
		_, err = b.chats.With(a.bare()).Send(b.ctx, "it is me")
		require.NoError(t, err)
		require.True(t, a.heard.Next(t, saying("it is me")).Seal.Trusted)
	})
}

// TestChurn: lists that change all the time leave nothing behind.
func TestChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		f := forge(t, b, 777)
		tm := "<trust-message xmlns='urn:xmpp:tm:1' usage='urn:xmpp:atm:1' encryption='urn:xmpp:omemo:2'><key-owner jid='" + b.bare().String() + "'><trust>" +
			base64.StdEncoding.EncodeToString(forge(t, b, 1).id.Key().Wire(ratchet.V2)) + "</trust></key-owner></trust-message>"
		f.send(t, a, "<envelope xmlns='urn:xmpp:sce:1'><content>"+tm+"<body xmlns='jabber:client'>spam</body></content><time stamp='2026-01-01T00:00:00Z'/><rpad>x</rpad></envelope>")
		a.heard.Next(t, saying("spam"))
		time.Sleep(time.Minute)
		count := func(bucket string) (n int) {
			require.NoError(t, store.View(a.ctx, func(tx omemo.Tx) error {
				return tx.Scan(a.bare().String()+"/omemo/"+bucket, b.bare().String()+"\x00", func(string, []byte) error { n++; return nil })
			}))
			return n
		}
		require.Equal(t, []int{1, 1, 1}, []int{count("session"), count("trust"), count("atm")})
		for round := range 4 {
			list := confab.El(omemo.NSv2, "devices")
			for i := range 200 {
				list.Add(confab.El(omemo.NSv2, "device").Set("id", fmt.Sprint(1000+round*200+i)))
			}
			_, err := pubsub.New(b, jid.JID{}).Publish(b.ctx, omemo.NSv2+":devices", pubsub.Item{ID: "current", Payload: list}, pubsub.Open())
			require.NoError(t, err)
			require.NoError(t, a.keys.Refresh(a.ctx, b.bare()))
		}
		require.Equal(t, []int{0, 0, 0}, []int{count("session"), count("trust"), count("atm")})
	})
}

// TestRoomUnreached: that the user has another device does not make it a success that
// nobody in a room can read something.
func TestRoomUnreached(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	a := signInToRooms(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
	desk := signIn(t, testclient.Embedded(srv, "a"), omemo.Config{})
	a.lists.Next(t, nil)
	_ = desk
	room, err := a.rooms.Join(a.ctx, jid.MustParse("tea@rooms.confab.test"), "a", muc.Create(muc.PrivateGroup("tea")))
	require.NoError(t, err)
	_, err = room.Send(a.ctx, "to myself")
	require.NoError(t, err)
	require.NoError(t, room.SetAffiliation(a.ctx, jid.MustParse(srv.AddAccount("nokeys", "pw")), muc.Member, ""))
	_, err = room.Send(a.ctx, "to nobody")
	require.ErrorIs(t, err, omemo.ErrNoDevices)
}

// TestLargeWaits: messages that cannot be read yet are kept if they are small, with all
// that is around them.
func TestLargeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{})
		for i, n := range []int{1 << 10, 200_000} {
			key := confab.El(omemo.NSv2, "key").Set("rid", fmt.Sprint(a.keys.Own().ID)).SetText(base64.StdEncoding.EncodeToString(lostMessage(t)))
			enc := confab.El(omemo.NSv2, "encrypted", confab.El(omemo.NSv2, "header", confab.El(omemo.NSv2, "keys", key).Set("jid", a.bare().String())).Set("sid", "5"),
				confab.El(omemo.NSv2, "payload").SetText("AAAA"))
			require.NoError(t, b.SendElement(b.ctx, mustElement(t, confab.Draft{To: a.bare(), Type: stanza.ChatMessage,
				Extra: []any{enc, confab.El("urn:example:x", "x").SetText(strings.Repeat("x", n))}})))
			got := a.dark.Next(t, nil)
			require.ErrorIs(t, got.Err, ratchet.ErrNoSession)
			require.Equal(t, i == 0, got.Waiting)
		}
	})
}

// lostMessage is a message of a session that nobody knows.
func lostMessage(t *testing.T) []byte {
	t.Helper()
	mine, err := ratchet.NewIdentity(rand.Reader)
	require.NoError(t, err)
	id, err := ratchet.NewIdentity(rand.Reader)
	require.NoError(t, err)
	spk, err := ratchet.NewPreKey(rand.Reader, 1)
	require.NoError(t, err)
	rec := ratchet.NewRecord(ratchet.V2)
	require.NoError(t, rec.Start(rand.Reader, mine, 1, ratchet.NewBundle(ratchet.V2, id, spk, []*ratchet.PreKey{spk}), 1))
	s, err := rec.Encrypt(make([]byte, 48))
	require.NoError(t, err)
	// The inner message is the last field of the key exchange.
	i := strings.LastIndex(string(s.Data), "\x2a")
	for ; i >= 0; i = strings.LastIndex(string(s.Data[:i]), "\x2a") {
		if i+1 < len(s.Data) && int(s.Data[i+1]) == len(s.Data)-i-2 {
			return s.Data[i+2:]
		}
		if i+2 < len(s.Data) && int(s.Data[i+1]&0x7f)|int(s.Data[i+2])<<7 == len(s.Data)-i-3 {
			return s.Data[i+3:]
		}
	}
	t.Fatal("no message")
	return nil
}

// TestForgedPast: who has all their messages look old does not keep others from being
// answered.
func TestForgedPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		var answers atomic.Int32
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On}, func(c *client.Client) {
			c.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
				if e := m.Stanza.Child(omemo.NSv2, "encrypted"); e != nil && e.Child(omemo.NSv2, "payload") == nil {
					answers.Add(1)
				}
				return nil
			})
		})
		mallory := alive(t, testclient.Embedded(srv, "mallory"), omemo.Config{Mode: omemo.On})
		delay := confab.El("urn:xmpp:delay", "delay").Set("from", mallory.bare().String()).Set("stamp", "2026-01-01T00:00:00Z")
		old := func() {
			enc := confab.El(omemo.NSv2, "encrypted", confab.El(omemo.NSv2, "header").Set("sid", "5"))
			require.NoError(t, mallory.SendElement(mallory.ctx, mustElement(t, confab.Draft{To: a.bare(), Type: stanza.ChatMessage, Extra: []any{enc, delay}})))
			time.Sleep(5 * time.Second)
		}
		old()
		_, err := b.chats.With(a.bare()).Send(b.ctx, "hello")
		require.NoError(t, err)
		a.heard.Next(t, saying("hello"))
		for range 150 { // twelve minutes
			old()
		}
		require.EqualValues(t, 1, answers.Load(), "the session was not answered")
	})
}

// TestClearChanges: what was encrypted is not changed by what a server could have made,
// and is not taken back by it where all is to be encrypted.
func TestClearChanges(t *testing.T) {
	for _, mode := range []omemo.Mode{omemo.On, omemo.Required} {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := confabtest.NewServer(confabtest.Config{})
				defer srv.Close()
				a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: mode})
				b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
				line := chat.NewTimeline(b.bare(), 0)
				line.Follow(a.Client.Client, func(context.Context) {})
				sent, err := b.chats.With(a.bare()).Send(b.ctx, "pay Bob")
				require.NoError(t, err)
				a.heard.Next(t, saying("pay Bob"))
				raw := func(d confab.Draft) {
					d.To, d.Type, d.ID = a.bare(), stanza.ChatMessage, confab.NewID()
					require.NoError(t, b.SendElement(b.ctx, mustElement(t, d)))
					time.Sleep(time.Second)
				}
				replace := confab.El("urn:xmpp:message-correct:0", "replace").Set("id", sent.ID)
				raw(confab.Draft{Body: "pay Mallory", Extra: []any{replace}})
				// Nor by a key that is not trusted, if the first one was.
				evil := forge(t, b, 777)
				require.NoError(t, a.keys.SetTrust(a.ctx, b.bare(), evil.id.Key(), omemo.Undecided))
				evil.send(t, a, strings.Replace(envelopeTo("pay Mallory", ""), "</content>", "<replace xmlns='urn:xmpp:message-correct:0' id='"+sent.ID+"'/></content>", 1))
				time.Sleep(time.Second)
				require.Len(t, line.Entries(), 1)
				require.Equal(t, "pay Bob", line.Entries()[0].Current.Text)
				_, err = b.chats.With(a.bare()).Edit(b.ctx, sent.ID, "pay Carol")
				require.NoError(t, err)
				time.Sleep(time.Second)
				require.Equal(t, "pay Carol", line.Entries()[0].Current.Text)
				if mode == omemo.Required {
					raw(confab.Draft{Extra: []any{confab.El("urn:xmpp:message-retract:1", "retract").Set("id", sent.ID)}})
					require.False(t, line.Entries()[0].Retracted)
					require.Len(t, a.rejected.All(), 2)
				}
				// A retraction without a text does not go out in clear.
				out, err := b.SendMessage(b.ctx, confab.Draft{To: a.bare(), Type: stanza.ChatMessage,
					Extra: []any{confab.El("urn:xmpp:message-retract:1", "retract").Set("id", sent.ID)}})
				require.NoError(t, err)
				require.NotNil(t, out.Seal)
				time.Sleep(time.Second)
				require.True(t, line.Entries()[0].Retracted)
			})
		})
	}
}

// TestStrangers: a server that sends the lists of as many accounts as it likes does not
// fill the store.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store})
		srv.Component("evil.test", func(*confab.Element) {})
		list := confab.El(omemo.NSv2, "devices", confab.El(omemo.NSv2, "device").Set("id", "5"))
		send := func(from string) {
			const ns = "http://jabber.org/protocol/pubsub#event"
			srv.Send(confab.El(confab.NSClient, "message", confab.El(ns, "event", confab.El(ns, "items", confab.El(ns, "item", list).Set("id", "current")).
				Set("node", omemo.NSv2+":devices"))).Set("from", from).Set("to", a.LocalAddr().String()).Set("type", "headline"))
		}
		for i := range 3000 {
			send(fmt.Sprintf("u%d@evil.test", i))
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		n := 0
		require.NoError(t, store.View(a.ctx, func(tx omemo.Tx) error {
			return tx.Scan(a.bare().String()+"/omemo/peer", "", func(string, []byte) error { n++; return nil })
		}))
		require.Greater(t, n, 1000)
		require.LessOrEqual(t, n, 2010)
		// Those who are known are heard.
		list = confab.El(omemo.NSv2, "devices", confab.El(omemo.NSv2, "device").Set("id", "6"))
		send("u0@evil.test")
		synctest.Wait()
		ds, err := a.keys.Devices(a.ctx, jid.MustParse("u0@evil.test"))
		require.NoError(t, err)
		require.Equal(t, uint32(6), ds[len(ds)-1].ID)
	})
}

// TestReplay: a message that begins a session is read once, also if the session is
// pushed out of the store by lists that change.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		f := forge(t, b, 777)
		enc := f.kex(t, a, envelopeTo("pay", ""))
		send := func() {
			require.NoError(t, b.SendElement(b.ctx, mustElement(t, confab.Draft{To: a.bare(), Type: stanza.ChatMessage, Extra: []any{enc}})))
			time.Sleep(10 * time.Second)
		}
		send()
		send()
		require.Len(t, a.heard.All(), 1)
		for round := range 4 {
			list := confab.El(omemo.NSv2, "devices")
			for i := range 200 {
				list.Add(confab.El(omemo.NSv2, "device").Set("id", fmt.Sprint(1000+round*200+i)))
			}
			_, err := pubsub.New(b, jid.JID{}).Publish(b.ctx, omemo.NSv2+":devices", pubsub.Item{ID: "current", Payload: list}, pubsub.Open())
			require.NoError(t, err)
			require.NoError(t, a.keys.Refresh(a.ctx, b.bare()))
		}
		send()
		require.Len(t, a.heard.All(), 1)
		require.ErrorIs(t, a.dark.Next(t, nil).Err, ratchet.ErrUnknownPreKey)
	})
}

// TestGuessedSender: in the archive of a room that does not tell who has said something,
// only a key that is known can.
func TestGuessedSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		_, err := a.chats.With(b.bare()).Send(a.ctx, "hello")
		require.NoError(t, err)
		b.heard.Next(t, saying("hello"))
		time.Sleep(time.Minute)
		evil := forge(t, b, b.keys.Own().ID)
		for _, known := range []bool{false, true} {
			if known { // it would be believed, then
				evil.send(t, a, envelopeTo("met", ""))
				a.heard.Next(t, saying("met"))
			}
			d := confab.Draft{To: a.bare(), Type: stanza.GroupChatMessage, ID: confab.NewID(), Extra: []any{evil.kex(t, a, envelopeTo("guess who", "tea@rooms.confab.test"))}}
			m, err := a.DecodeMessage(mustElement(t, d).Set("from", "tea@rooms.confab.test/x"))
			require.NoError(t, err)
			m.Source, m.By = confab.Archive, jid.MustParse("tea@rooms.confab.test")
			got, err := a.Inject(a.ctx, confab.StageDecrypt, m)
			require.NoError(t, err)
			if known {
				require.NotNil(t, got)
				require.False(t, got.Seal.Trusted)
				continue
			}
			require.Nil(t, got)
			require.ErrorIs(t, a.dark.Next(t, nil).Err, omemo.ErrUnknownSender)
		}
	})
}

// TestForgedBundle: a server cannot put a prekey of its own under the identity of a device.
func TestForgedBundle(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	a := signIn(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
	b := signIn(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
	require.NoError(t, a.keys.FetchKeys(a.ctx, b.bare()))
	id := fmt.Sprint(b.keys.Own().ID)
	items, err := pubsub.New(b, jid.JID{}).ItemsByID(b.ctx, omemo.NSv2+":bundles", id)
	require.NoError(t, err)
	forged := items[0].Payload.Clone()
	evil, err := ratchet.NewPreKey(rand.Reader, 1)
	require.NoError(t, err)
	forged.Child(omemo.NSv2, "spk").SetText(base64.StdEncoding.EncodeToString(evil.Public().Wire(ratchet.V2)))
	_, err = pubsub.New(b, jid.JID{}).Publish(b.ctx, omemo.NSv2+":bundles", pubsub.Item{ID: id, Payload: forged}, pubsub.Open())
	require.NoError(t, err)
	_, err = a.chats.With(b.bare()).Send(a.ctx, "a secret")
	require.ErrorIs(t, err, omemo.ErrBundle)
	require.ErrorIs(t, err, ratchet.ErrSignature)
	require.ErrorIs(t, a.keys.ReplaceSession(a.ctx, b.bare(), b.keys.Own().ID), omemo.ErrBundle)
}

// TestTrustOfOthers: a contact, verified or not, has no say about the keys of others, and
// one that is not verified none at all.
func TestTrustOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		c := alive(t, testclient.Embedded(srv, "c"), omemo.Config{Mode: omemo.On})
		for _, p := range []*person{b, c} {
			require.NoError(t, a.keys.FetchKeys(a.ctx, p.bare()))
		}
		f := forge(t, b, 777)
		say := func(of *person) {
			t.Helper()
			key := base64.StdEncoding.EncodeToString(of.keys.Own().Key.Wire(ratchet.V2))
			tm := "<trust-message xmlns='urn:xmpp:tm:1' usage='urn:xmpp:atm:1' encryption='urn:xmpp:omemo:2'><key-owner jid='" + of.bare().String() + "'><distrust>" + key + "</distrust></key-owner></trust-message>"
			f.send(t, a, "<envelope xmlns='urn:xmpp:sce:1'><content>"+tm+"</content><time stamp='2026-01-01T00:00:00Z'/><rpad>x</rpad></envelope>")
			time.Sleep(time.Second)
		}
		say(b)
		require.Equal(t, omemo.Blind, trusts(t, a, b))
		require.NoError(t, a.keys.SetTrust(a.ctx, b.bare(), f.id.Key(), omemo.Verified))
		require.Equal(t, omemo.Distrusted, trusts(t, a, b), "what was said before counts now")
		say(c)
		require.Equal(t, omemo.Blind, trusts(t, a, c))
		require.Empty(t, a.failed.All())
	})
}

// TestOccupantClaims: who an occupant says to be in a live message counts for nothing.
func TestOccupantClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		const ns = "http://jabber.org/protocol/muc#user"
		claim := confab.El(ns, "x", confab.El(ns, "item").Set("jid", b.bare().String()))
		d := confab.Draft{To: a.bare(), Type: stanza.GroupChatMessage, ID: confab.NewID(), Extra: []any{forge(t, b, 9).kex(t, a, envelopeTo("I am b", "tea@rooms.confab.test")), claim}}
		m, err := a.DecodeMessage(mustElement(t, d).Set("from", "tea@rooms.confab.test/x"))
		require.NoError(t, err)
		got, err := a.Inject(a.ctx, confab.StageDecrypt, m)
		require.NoError(t, err)
		require.Nil(t, got)
		require.ErrorIs(t, a.dark.Next(t, nil).Err, omemo.ErrUnknownSender)
	})
}

// TestTamperedPayload: a message whose content was changed moves nothing: the intact one
// is read when it comes.
func TestTamperedPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		good := forge(t, b, 777).kex(t, a, envelopeTo("intact", ""))
		bad := good.Clone()
		bad.Child(omemo.NSv2, "payload").SetText(base64.StdEncoding.EncodeToString(make([]byte, 256)))
		for _, el := range []*confab.Element{bad, good} {
			require.NoError(t, b.SendElement(b.ctx, mustElement(t, confab.Draft{To: a.bare(), Type: stanza.ChatMessage, ID: confab.NewID(), Extra: []any{el}})))
			time.Sleep(time.Second)
		}
		require.ErrorIs(t, a.dark.Next(t, nil).Err, ratchet.ErrPayload)
		a.heard.Next(t, saying("intact"))
	})
}
