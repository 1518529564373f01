package omemo_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// TestAttacks: what anybody can send crashes nothing, ends nothing, forges nothing and
// leaves nothing behind.
func TestAttacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		store := &omemo.MemoryStore{}
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.Required, Store: store})
		b := alive(t, testclient.Embedded(srv, "b"), omemo.Config{Mode: omemo.On})
		mallory := alive(t, testclient.Embedded(srv, "mallory"), omemo.Config{Mode: omemo.On})
		_, err := b.chats.With(a.bare()).Send(b.ctx, "hello")
		require.NoError(t, err)
		a.heard.Next(t, saying("hello"))
		time.Sleep(time.Minute)

		send := func(els ...*confab.Element) {
			t.Helper()
			d := confab.Draft{To: a.bare(), Type: stanza.ChatMessage, Extra: []any{confab.El("urn:xmpp:hints", "store")}}
			for _, el := range els {
				d.Extra = append(d.Extra, el)
			}
			require.NoError(t, mallory.SendElement(mallory.ctx, mustElement(t, d)))
			time.Sleep(time.Second)
		}
		rid := fmt.Sprint(a.keys.Own().ID)
		b64 := base64.StdEncoding.EncodeToString
		v1 := func(sid, iv, payload string, keys ...*confab.Element) *confab.Element {
			h := confab.El(omemo.NSv1, "header", keys...).Set("sid", sid).Add(confab.El(omemo.NSv1, "iv").SetText(iv))
			return confab.El(omemo.NSv1, "encrypted", h, confab.El(omemo.NSv1, "payload").SetText(payload))
		}
		v2 := func(sid, payload string, keys ...*confab.Element) *confab.Element {
			ks := confab.El(omemo.NSv2, "keys", keys...).Set("jid", a.bare().String())
			return confab.El(omemo.NSv2, "encrypted", confab.El(omemo.NSv2, "header", ks).Set("sid", sid), confab.El(omemo.NSv2, "payload").SetText(payload))
		}
		key := func(ns, data, flag string) *confab.Element {
			return confab.El(ns, "key").Set("rid", rid).Set(flag, "true").SetText(data)
		}
		many := make([]*confab.Element, 3000)
		for i := range many {
			many[i] = key(omemo.NSv2, b64([]byte{8, 1}), "kex")
		}
		for _, el := range []*confab.Element{
			confab.El(omemo.NSv1, "encrypted"), confab.El(omemo.NSv2, "encrypted"),
			v1("", "", ""), v1("-1", "x", "x"), v1("1", "!", "!"), v2("99999999999", "AAAA"),
			v1("1", b64(make([]byte, 12)), b64([]byte("x")), key(omemo.NSv1, "", "prekey")),
			v1("1", b64(make([]byte, 12)), b64([]byte("x")), key(omemo.NSv1, b64([]byte{0x33}), "prekey")),
			v1("1", b64(make([]byte, 12)), b64([]byte("x")), key(omemo.NSv1, b64([]byte{0x33, 0x0a, 0}), "x")),
			v2("1", b64([]byte("x")), key(omemo.NSv2, b64(make([]byte, 1000)), "kex")),
			v2("1", b64(make([]byte, 150_000)), key(omemo.NSv2, b64([]byte{10, 0}), "x")),
			v2("1", b64([]byte("x")), many...),
			confab.El(omemo.NSv2, "encrypted", confab.El(omemo.NSv2, "header", confab.El(omemo.NSv2, "keys").Set("jid", "@@")).Set("sid", "1")),
			confab.El("urn:xmpp:sce:1", "envelope", confab.El("urn:xmpp:sce:1", "content", confab.El(confab.NSClient, "body").SetText("forged"))),
			confab.El(omemo.NSv2, "opt-out"),
		} {
			send(el)
		}
		require.Empty(t, a.heard.All())
		for _, e := range a.dark.Take() {
			require.Error(t, e.Err)
			require.NotContains(t, e.Err.Error(), "panic")
		}

		// A flood of sessions is held back, and costs others nothing.
		for range 60 {
			evil, err := ratchet.NewIdentity(rand.Reader)
			require.NoError(t, err)
			sendKex(t, a, mallory, evil)
		}
		time.Sleep(time.Second)
		held := 0
		for _, e := range a.dark.Take() {
			if e.From.Equal(mallory.bare()) && strings.Contains(e.Err.Error(), "too many new sessions") {
				held++
			}
		}
		require.GreaterOrEqual(t, held, 20)
		a.heard.Take()
		_, err = b.chats.With(a.bare()).Send(b.ctx, "still here")
		require.NoError(t, err)
		require.True(t, a.heard.Next(t, saying("still here")).Seal.Trusted)

		// A list of a hundred thousand devices is not kept, and bad keys are not used.
		list := confab.El(omemo.NSv2, "devices")
		for i := range 5000 {
			list.Add(confab.El(omemo.NSv2, "device").Set("id", fmt.Sprint(i+1)))
		}
		_, err = pubsub.New(mallory, jid.JID{}).Publish(mallory.ctx, omemo.NSv2+":devices", pubsub.Item{ID: "current", Payload: list}, pubsub.Open())
		require.NoError(t, err)
		require.NoError(t, a.keys.Refresh(a.ctx, mallory.bare()))
		ds, err := a.keys.Devices(a.ctx, mallory.bare())
		require.NoError(t, err)
		require.LessOrEqual(t, len(ds), 400)
		require.Empty(t, a.failed.All())
	})
}

func mustElement(t *testing.T, d confab.Draft) *confab.Element {
	t.Helper()
	el, err := d.Element()
	require.NoError(t, err)
	return el
}

// sendKex begins a session with a device, from a device that nobody knows.
func sendKex(t *testing.T, to, from *person, id *ratchet.Identity) {
	t.Helper()
	sid := fmt.Sprint(to.keys.Own().ID)
	items, err := pubsub.New(from, to.bare()).ItemsByID(from.ctx, omemo.NSv2+":bundles", sid)
	require.NoError(t, err)
	require.Len(t, items, 1)
	el := items[0].Payload
	un := func(c *confab.Element) []byte {
		b, err := base64.StdEncoding.DecodeString(c.Text)
		require.NoError(t, err)
		return b
	}
	b := &ratchet.Bundle{Version: ratchet.V2, SignedPreKeyID: 1}
	b.Identity, err = ratchet.ParseIdentityKey(ratchet.V2, un(el.Child(omemo.NSv2, "ik")))
	require.NoError(t, err)
	b.SignedPreKey, err = ratchet.ParsePublicKey(ratchet.V2, un(el.Child(omemo.NSv2, "spk")))
	require.NoError(t, err)
	pk := el.Child(omemo.NSv2, "prekeys").Children[0]
	var n uint32
	_, err = fmt.Sscan(pk.Get("id"), &n)
	require.NoError(t, err)
	k, err := ratchet.ParsePublicKey(ratchet.V2, un(pk))
	require.NoError(t, err)
	b.PreKeys = []ratchet.PublicPreKey{{ID: n, Key: k}}
	rec := ratchet.NewRecord(ratchet.V2)
	require.NoError(t, rec.Start(rand.Reader, id, 1, b, n))
	envelope := "<envelope xmlns='urn:xmpp:sce:1'><content><body xmlns='jabber:client'>spam</body></content><rpad>x</rpad></envelope>"
	content, payload, err := ratchet.SealV2(rand.Reader, []byte(envelope))
	require.NoError(t, err)
	s, err := rec.Encrypt(content)
	require.NoError(t, err)
	keys := confab.El(omemo.NSv2, "keys", confab.El(omemo.NSv2, "key").Set("rid", sid).Set("kex", "true").SetText(base64.StdEncoding.EncodeToString(s.Data))).Set("jid", to.bare().String())
	enc := confab.El(omemo.NSv2, "encrypted", confab.El(omemo.NSv2, "header", keys).Set("sid", "777"),
		confab.El(omemo.NSv2, "payload").SetText(base64.StdEncoding.EncodeToString(payload)))
	require.NoError(t, from.SendElement(from.ctx, mustElement(t, confab.Draft{To: to.bare(), Type: stanza.ChatMessage, Extra: []any{enc}})))
}

// TestSwappedKey: somebody has another key under a device that was known: it is new, and
// not trusted by itself.
func TestSwappedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		a := alive(t, testclient.Embedded(srv, "a"), omemo.Config{Mode: omemo.On})
		m := alive(t, testclient.Embedded(srv, "m"), omemo.Config{Mode: omemo.On})
		for i := range 2 {
			id, err := ratchet.NewIdentity(rand.Reader)
			require.NoError(t, err)
			sendKex(t, a, m, id) // each time device 777
			got := a.heard.Next(t, saying("spam"))
			require.Equal(t, i == 0, got.Seal.Trusted)
			require.Equal(t, id.Key().Fingerprint(), got.Seal.Sender)
			n := a.news.Next(t, func(e omemo.NewKey) bool { return e.Device.ID == 777 })
			want := omemo.Blind
			if i > 0 {
				want = omemo.Undecided
			}
			require.Equal(t, want, n.Device.Trust)
			time.Sleep(time.Minute)
		}
	})
}
