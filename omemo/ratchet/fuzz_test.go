package ratchet

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// pair is two devices with a session.
type pair struct {
	v    Version
	a, b *goDevice
	ra   *Record
	rb   *Record
}

func newPair(tb testing.TB, v Version, answered bool) *pair {
	p := &pair{v: v, a: newDevice(tb, "a", 1), b: newDevice(tb, "b", 2), ra: NewRecord(v), rb: NewRecord(v)}
	k := p.b.newPreKey(tb)
	require.NoError(tb, p.ra.Start(rand.Reader, p.a.id, p.a.num, NewBundle(v, p.b.id, p.b.signed, []*PreKey{k}), k.id))
	if answered {
		p.toB(tb)
		p.toA(tb)
	}
	return p
}

var someKey = bytes.Repeat([]byte{7}, 48)

func (p *pair) toB(tb testing.TB) {
	s, err := p.ra.Encrypt(someKey)
	require.NoError(tb, err)
	_, err = p.rb.Decrypt(rand.Reader, p.b.id, p.b, s.Data, s.KeyExchange)
	require.NoError(tb, err)
}

func (p *pair) toA(tb testing.TB) {
	s, err := p.rb.Encrypt(someKey)
	require.NoError(tb, err)
	_, err = p.ra.Decrypt(rand.Reader, p.a.id, p.a, s.Data, s.KeyExchange)
	require.NoError(tb, err)
}

// fuzzDecrypt: whatever comes, a record changes only when it was authentic, and nothing
// that was not made by the other side is.
func fuzzDecrypt(f *testing.F, kex bool) {
	var pairs []*pair
	for _, v := range [...]Version{V1, V2} {
		p := newPair(f, v, !kex)
		s, err := p.ra.Encrypt(someKey)
		require.NoError(f, err)
		f.Add(byte(v-1), s.Data)
		f.Add(byte(v-1), s.Data[:len(s.Data)/2])
		f.Add(byte(v-1), []byte{})
		pairs = append(pairs, p)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		p := pairs[which%2]
		before, err := p.rb.AppendBinary(nil)
		require.NoError(t, err)
		rec := NewRecord(p.v)
		require.NoError(t, rec.UnmarshalBinary(before))
		got, err := rec.Decrypt(rand.Reader, p.b.id, p.b, b, kex)
		after, _ := rec.AppendBinary(nil)
		if err != nil {
			require.Equal(t, before, after)
			return
		}
		require.Equal(t, someKey, got.Plain, "a message was forged")
		require.True(t, got.Identity.Same(p.a.id.Key()))
	})
}

func FuzzKeyExchange(f *testing.F) { fuzzDecrypt(f, true) }

func FuzzMessage(f *testing.F) { fuzzDecrypt(f, false) }

func FuzzParse(f *testing.F) {
	f.Add(byte(0), []byte{version1, 8, 1})
	f.Add(byte(1), []byte{8, 1, 16, 1})
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		v := Version(which%2) + 1
		if m, err := parseMessage(v, b); err == nil {
			require.NotEmpty(t, m.cipher)
			require.Len(t, m.mac, profiles[v].macSize)
		}
		if k, err := ParseKeyExchange(v, b); err == nil {
			require.False(t, k.Identity.IsZero())
		}
		LooksLikeKeyExchange(b)
	})
}

func FuzzRecord(f *testing.F) {
	for _, v := range [...]Version{V1, V2} {
		p := newPair(f, v, true)
		for range 3 { // leave some behind
			_, err := p.ra.Encrypt(someKey)
			require.NoError(f, err)
		}
		p.toB(f)
		b, err := p.rb.AppendBinary(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if r.UnmarshalBinary(b) != nil {
			require.Empty(t, r.sessions)
			return
		}
		out, err := r.AppendBinary(nil)
		require.NoError(t, err)
		var again Record
		require.NoError(t, again.UnmarshalBinary(out))
		if r.Ready() {
			_, _ = r.Encrypt(someKey)
		}
	})
}
