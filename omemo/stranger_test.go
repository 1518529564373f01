package omemo_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func nobody(jid.JID) bool { return false }

// stored counts what a store has in a bucket.
func stored(t *testing.T, s omemo.Store, of *person, bucket, prefix string) (n int) {
	t.Helper()
	require.NoError(t, s.View(of.ctx, func(tx omemo.Tx) error {
		return tx.Scan(of.bare().String()+"/omemo/"+bucket, prefix, func(string, []byte) error { n++; return nil })
	}))
	return n
}

// sendAs sends a message that begins a session from an address that a component has.
func (f forger) sendAs(t *testing.T, srv *confabtest.Server, from string, to *person, text string) {
	t.Helper()
	srv.Send(confab.El(confab.NSClient, "message", f.kex(t, to, envelopeTo(text, ""))).
		Set("from", from).Set("to", to.bare().String()).Set("type", "chat").Set("id", confab.NewID()))
}

// TestEndlessStrangers: domains that have as many accounts as they like use up neither the
// prekeys nor the time of a device; who is known is heard meanwhile.
func TestEndlessStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Reveal: nobody})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		for _, d := range []string{"evil.test", "x.evil.test", "worse.test", "worst.test"} {
			srv.Component(d, func(*confab.Element) {})
		}
		_, err := a.chats.With(b.bare()).Send(a.ctx, "hello")
		require.NoError(t, err)
		b.heard.Next(t, saying("hello"))
		attack := func(domain string, n int) {
			for i := range n {
				forge(t, b, uint32(i+1)).sendAs(t, srv, fmt.Sprintf("u%d@%s", i, domain), a, "spam")
			}
			synctest.Wait()
		}
		attack("evil.test", 50)
		require.InDelta(t, 30, len(a.heard.Take()), 2, "of one domain")
		attack("x.evil.test", 20)
		require.LessOrEqual(t, len(a.heard.Take()), 2, "of a domain that is below it")
		attack("worse.test", 50)
		attack("worst.test", 50)
		require.InDelta(t, 30, len(a.heard.Take()), 5, "of all domains together")
		for _, e := range a.dark.Take() {
			require.ErrorIs(t, e.Err, omemo.ErrTooMany)
		}
		forge(t, b, 777).send(t, a, envelopeTo("known", ""))
		a.heard.Next(t, saying("known"))
		time.Sleep(10 * time.Second)
		_, keys := bundleOf(t, b, a)
		require.GreaterOrEqual(t, len(keys), 80)
	})
}

// TestStoredStrangers: the sessions of strangers do not fill the store, and those of
// others are not pushed out by them.
func TestStoredStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store, Reveal: nobody})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		srv.Component("evil.test", func(*confab.Element) {})
		friend := forge(t, b, 777)
		friend.send(t, a, envelopeTo("first", "")) // as a stranger
		a.heard.Next(t, saying("first"))
		_, err := a.chats.With(b.bare()).Send(a.ctx, "hello")
		require.NoError(t, err)
		for i := range 1050 {
			forge(t, b, 5).sendAs(t, srv, fmt.Sprintf("u%d@evil.test", i), a, "spam")
			time.Sleep(11 * time.Second)
		}
		require.Greater(t, len(a.heard.Take()), 1040)
		for _, bucket := range []string{"caller", "peer", "trust"} {
			n := stored(t, store, a, bucket, "u")
			require.Greater(t, n, 800, bucket)
			require.LessOrEqual(t, n, 1000, bucket)
		}
		n := stored(t, store, a, "session", "u")
		require.LessOrEqual(t, n, 1000)
		require.Zero(t, stored(t, store, a, "session", "u0@"))
		require.Equal(t, 1, stored(t, store, a, "session", "u1049@"))
		require.Equal(t, 2, stored(t, store, a, "session", b.bare().String()), "those of who is known stay")
		// Used prekeys, and what was begun with them, are gone an hour later.
		time.Sleep(2 * time.Hour)
		require.LessOrEqual(t, stored(t, store, a, "prekey", ""), 100)
		require.Zero(t, stored(t, store, a, "begun", ""))
	})
}

// TestUnseen: a stranger learns from nothing that happens by itself that the user is there:
// no answer, no new session, no question to their server. Who was written to does.
func TestUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Reveal: nobody})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		var mu sync.Mutex
		var came []string
		srv.Component("evil.test", func(el *confab.Element) {
			mu.Lock()
			defer mu.Unlock()
			came = append(came, el.String())
		})
		count := func() int {
			time.Sleep(15 * time.Minute)
			mu.Lock()
			defer mu.Unlock()
			return len(came)
		}
		lost := func() {
			key := confab.El(omemo.NSv2, "key").Set("rid", fmt.Sprint(a.keys.Own().ID)).SetText(base64.StdEncoding.EncodeToString(lostMessage(t)))
			enc := confab.El(omemo.NSv2, "encrypted", confab.El(omemo.NSv2, "header", confab.El(omemo.NSv2, "keys", key).Set("jid", a.bare().String())).Set("sid", "6"),
				confab.El(omemo.NSv2, "payload").SetText("AAAA"))
			srv.Send(confab.El(confab.NSClient, "message", enc).Set("from", "u@evil.test").Set("to", a.bare().String()).Set("type", "chat"))
			require.ErrorIs(t, a.dark.Next(t, nil).Err, ratchet.ErrNoSession)
		}
		list := func() {
			const ns = "http://jabber.org/protocol/pubsub#event"
			srv.Send(confab.El(confab.NSClient, "message", confab.El(ns, "event", confab.El(ns, "items", confab.El(ns, "item").Set("id", "current")).
				Set("node", omemo.NSv2+":devices"))).Set("from", "u@evil.test").Set("to", a.LocalAddr().String()).Set("type", "headline"))
		}
		forge(t, b, 5).sendAs(t, srv, "u@evil.test", a, "are you there?")
		a.heard.Next(t, saying("are you there?"))
		lost()
		list()
		require.Zero(t, count(), came)
		// The user writes: from now on they know anyway.
		require.NoError(t, a.keys.SetMode(a.ctx, jid.MustParse("u@evil.test"), omemo.On))
		lost()
		require.NotZero(t, count())
	})
}

// TestUsedPreKeys: a prekey that was used can be used for an hour by those who have fetched
// it at the same time, and is gone then, in the store as well, whatever happens or does
// not: what was encrypted with it stays secret.
func TestUsedPreKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		var els []*confab.Element // all of the same prekey
		for i := range 3 {
			els = append(els, forge(t, b, uint32(i+1)).kex(t, a, envelopeTo(fmt.Sprint("number ", i), "")))
		}
		send := func(i int) {
			require.NoError(t, b.SendElement(b.ctx, mustElement(t, confab.Draft{To: a.bare(), Type: stanza.ChatMessage, ID: confab.NewID(), Extra: []any{els[i]}})))
			time.Sleep(30 * time.Minute)
		}
		send(0)
		send(1)
		require.Len(t, a.heard.Take(), 2)
		require.Equal(t, 100, stored(t, store, a, "prekey", ""))
		require.Equal(t, 2, stored(t, store, a, "begun", ""))
		time.Sleep(time.Hour)
		require.Equal(t, 99, stored(t, store, a, "prekey", ""))
		require.Zero(t, stored(t, store, a, "begun", ""))
		send(2)
		require.Empty(t, a.heard.All())
		require.ErrorIs(t, a.dark.Next(t, nil).Err, ratchet.ErrUnknownPreKey)
	})
}

// TestReplacedKeys: a device that takes another key each time leaves no more than its first
// and its last.
func TestReplacedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		first := forge(t, b, 777)
		var second forger
		for i := range 20 {
			f := first
			if i > 0 {
				f = forge(t, b, 777)
			}
			if i == 1 {
				second = f
			}
			f.send(t, a, envelopeTo(fmt.Sprint("key ", i), ""))
			require.Equal(t, i == 0, a.heard.Next(t, saying(fmt.Sprint("key ", i))).Seal.Trusted)
			time.Sleep(time.Minute)
		}
		require.Equal(t, 2, stored(t, store, a, "trust", b.bare().String()+"\x00"))
		// Forgotten is not trusted.
		second.send(t, a, envelopeTo("again", ""))
		require.False(t, a.heard.Next(t, saying("again")).Seal.Trusted)
		// What the user has decided stays.
		require.NoError(t, a.keys.SetTrust(a.ctx, b.bare(), second.id.Key(), omemo.Distrusted))
		forge(t, b, 777).send(t, a, envelopeTo("another", ""))
		a.heard.Next(t, saying("another"))
		require.Equal(t, 3, stored(t, store, a, "trust", b.bare().String()+"\x00"))
	})
}

// TestRoomOptsNobodyOut: that somebody wants no encryption is not said in a room, nor by an
// archive.
func TestRoomOptsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		opted := testclient.Watch[omemo.OptedOut](a.Client.Client)
		for i, kind := range []stanza.MessageType{stanza.GroupChatMessage, stanza.ChatMessage, stanza.ChatMessage} {
			d := confab.Draft{To: a.bare(), Type: kind, ID: confab.NewID(), Extra: []any{confab.El(omemo.NSv2, "opt-out")}}
			m, err := a.DecodeMessage(mustElement(t, d).Set("from", b.bare().String()+"/x"))
			require.NoError(t, err)
			if i == 1 {
				m.Source, m.By = confab.Archive, a.bare()
			}
			_, err = a.Inject(a.ctx, confab.StageDecrypt, m)
			require.NoError(t, err)
			time.Sleep(time.Second)
			_, err = a.chats.With(b.bare()).Send(a.ctx, "a secret")
			if i < 2 {
				require.NoError(t, err)
				require.Empty(t, opted.All())
			} else {
				require.ErrorIs(t, err, omemo.ErrOptedOut)
				opted.Next(t, nil)
			}
		}
	})
}

// timed is an envelope with a time.
func timed(content, stamp string) string {
	return strings.Replace(strings.Replace(envelopeTo("", ""), "<body xmlns='jabber:client'></body>", content, 1), "<rpad>", "<time stamp='"+stamp+"'/><rpad>", 1)
}
