package omemo_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

func stampOf(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// TestDisplaced: a message that servers say was sent at another time than its sender says
// is marked, and not lost (XEP-0420 §4).
func TestDisplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		now := time.Now()
		delay := func(d time.Duration) *confab.Element {
			return confab.El("urn:xmpp:delay", "delay").Set("from", b.bare().String()).Set("stamp", stampOf(now.Add(d)))
		}
		for i, c := range []struct {
			said      time.Duration
			delay     *confab.Element
			displaced bool
		}{
			{0, nil, false},
			{-10 * time.Minute, nil, false},
			{10 * time.Minute, nil, false},
			{-2 * time.Hour, nil, true},
			{2 * time.Hour, nil, true},
			{-72 * time.Hour, delay(-72 * time.Hour), false},
			{-72 * time.Hour, delay(-2 * time.Hour), true},
		} {
			var more []any
			if c.delay != nil {
				more = append(more, c.delay)
			}
			text := string(rune('a' + i))
			forge(t, b, uint32(i+1)).send(t, a, timed("<body xmlns='jabber:client'>"+text+"</body>", stampOf(now.Add(c.said))), more...)
			m := a.heard.Next(t, saying(text))
			require.Equal(t, c.displaced, m.Seal.Displaced, "%+v", c)
			require.True(t, m.Seal.Stamp.Equal(now.Add(c.said).Truncate(time.Second)), "%+v", c)
		}
		_, err := b.chats.With(a.bare()).Send(b.ctx, "from a real one")
		require.NoError(t, err)
		m := a.heard.Next(t, saying("from a real one"))
		require.False(t, m.Seal.Displaced)
		require.False(t, m.Seal.Stamp.IsZero())
		forge(t, b, 99).send(t, a, envelopeTo("no time", ""))
		m = a.heard.Next(t, saying("no time"))
		require.True(t, m.Seal.Stamp.IsZero())
		require.False(t, m.Seal.Displaced)
	})
}

// TestLateTrust: of what another device says of a key, the later counts, in whatever order
// it comes; and what the user has decided here counts until something later is said.
func TestLateTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		require.NoError(t, a.keys.FetchKeys(a.ctx, b.bare()))
		f := forge(t, b, 777)
		key := b.keys.Own().Key
		say := func(what string, at time.Time) {
			t.Helper()
			f.send(t, a, timed("<trust-message xmlns='urn:xmpp:tm:1' usage='urn:xmpp:atm:1' encryption='urn:xmpp:omemo:2'><key-owner jid='"+b.bare().String()+"'><"+what+">"+
				base64.StdEncoding.EncodeToString(key.Wire(ratchet.V2))+"</"+what+"></key-owner></trust-message>", stampOf(at)))
			time.Sleep(time.Minute)
		}
		start := time.Now()
		// What is said before the device is verified.
		say("distrust", start.Add(-time.Hour))
		say("trust", start.Add(-2*time.Hour))
		require.Equal(t, omemo.Blind, trusts(t, a, b))
		require.NoError(t, a.keys.SetTrust(a.ctx, b.bare(), f.id.Key(), omemo.Verified))
		require.Equal(t, omemo.Distrusted, trusts(t, a, b))
		// And behind that.
		say("trust", start.Add(-90*time.Minute))
		require.Equal(t, omemo.Distrusted, trusts(t, a, b), "an old one that comes late")
		say("trust", time.Now())
		require.Equal(t, omemo.Verified, trusts(t, a, b))
		say("distrust", start.Add(-time.Minute))
		require.Equal(t, omemo.Verified, trusts(t, a, b))
		// What the user decides here.
		require.NoError(t, a.keys.SetTrust(a.ctx, b.bare(), key, omemo.Distrusted))
		say("trust", start)
		require.Equal(t, omemo.Distrusted, trusts(t, a, b))
		// A clock that is wrong does not decide for good.
		say("trust", time.Now().Add(1000*time.Hour))
		require.Equal(t, omemo.Verified, trusts(t, a, b))
		say("distrust", time.Now())
		require.Equal(t, omemo.Distrusted, trusts(t, a, b))
		require.Empty(t, a.failed.All())
	})
}

// TestRejectedOnce: what was refused is told once, though the archive gives it to the next
// run of the program as well.
func TestRejectedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{})
		for run := range 2 {
			a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.Required, Store: store})
			for _, id := range []string{"1", "2", "1"} {
				m, err := a.DecodeMessage(mustElement(t, confab.Draft{To: a.bare(), Type: stanza.ChatMessage, Body: "in clear", ID: confab.NewID()}).Set("from", b.bare().String()))
				require.NoError(t, err)
				m.Source, m.By, m.ArchiveID = confab.Archive, a.bare(), id
				got, err := a.Inject(a.ctx, confab.StageDecrypt, m)
				require.NoError(t, err)
				require.Nil(t, got)
			}
			time.Sleep(10 * time.Second)
			if run == 0 {
				require.Len(t, a.rejected.All(), 2)
			} else {
				require.Empty(t, a.rejected.All())
			}
			a.Stop(t)
		}
	})
}

// TestLeftOver: what a run of the program has decrypted and not dealt with is read by the
// next one, once.
func TestLeftOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		var mu sync.Mutex
		var came *confab.Message
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store}, func(c *client.Client) {
			c.HandleMessage(confab.StageUnwrap, func(_ context.Context, m *confab.Message) error {
				if m.Stanza.Child(omemo.NSv2, "encrypted") != nil {
					mu.Lock()
					defer mu.Unlock()
					k := *m
					k.Stanza = m.Stanza.Clone()
					came = &k
				}
				return nil
			})
			c.HandleMessage(confab.StageDecrypt, func(context.Context, *confab.Message) error { return confab.ErrConsumed })
		})
		_, err := b.chats.With(a.bare()).Send(b.ctx, "left over")
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		require.Empty(t, a.heard.All())
		a.Stop(t)
		var read atomic.Int32 // how often it was read, behind what decrypts
		a = alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store}, func(c *client.Client) {
			c.HandleMessage(confab.StageDecrypt, func(_ context.Context, m *confab.Message) error {
				if m.Body == "left over" {
					read.Add(1)
				}
				return nil
			})
		})
		for range 3 {
			mu.Lock()
			k := *came
			mu.Unlock()
			got, err := a.Inject(a.ctx, confab.StageDecrypt, &k)
			require.NoError(t, err)
			if got != nil {
				a.Emit(got)
			}
		}
		require.EqualValues(t, 1, read.Load())
		time.Sleep(time.Second)
		require.Equal(t, "left over", a.heard.Next(t, nil).Text)
		require.Empty(t, a.heard.All())
		require.Empty(t, a.dark.All())
	})
}

// pickyStore fails to commit what has a message that is sent, while it is told to.
type pickyStore struct {
	omemo.MemoryStore
	broken atomic.Bool
}

type pickyTx struct {
	omemo.Tx
	sent bool
}

func (x *pickyTx) Put(bucket, key string, value []byte) error {
	x.sent = x.sent || strings.HasSuffix(bucket, "/sent")
	return x.Tx.Put(bucket, key, value)
}

func (s *pickyStore) Update(ctx context.Context, f func(omemo.Tx) error) error {
	return s.MemoryStore.Update(ctx, func(tx omemo.Tx) error {
		x := &pickyTx{Tx: tx}
		if err := f(x); err != nil {
			return err
		}
		if x.sent && s.broken.Load() {
			return errDisk
		}
		return nil
	})
}

// TestFailedSend: what a transaction that failed has learned is not believed to be stored.
func TestFailedSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &pickyStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, Store: store})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		store.broken.Store(true)
		_, err := a.chats.With(b.bare()).Send(a.ctx, "not sent")
		require.True(t, errors.Is(err, errDisk), err)
		store.broken.Store(false)
		_, err = a.chats.With(b.bare()).Send(a.ctx, "sent")
		require.NoError(t, err)
		b.heard.Next(t, saying("sent"))
		a.Stop(t)
		a = alive(t, testclient.Embedded(srv, "a"), omemo.Config{Store: store})
		ds, err := a.keys.Devices(a.ctx, b.bare())
		require.NoError(t, err)
		require.Len(t, ds, 1)
		require.True(t, ds[0].Key.Same(b.keys.Own().Key))
	})
}

// TestOnlyV2: nothing is sent in version 1 if the user wants that.
func TestOnlyV2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On, OnlyV2: true})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		_, err := a.chats.With(b.bare()).Send(a.ctx, "hello")
		require.NoError(t, err)
		require.NoError(t, a.keys.OnlyV1(b.bare()))
		_, err = a.chats.With(b.bare()).Send(a.ctx, "a secret")
		require.ErrorIs(t, err, omemo.ErrOnlyV1)
	})
}
