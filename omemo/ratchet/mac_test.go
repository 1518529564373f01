package ratchet

import (
	"crypto/rand"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// countingReader tells how much randomness was drawn.
type countingReader struct{ n int }

func (r *countingReader) Read(b []byte) (int, error) {
	r.n += len(b)
	return io.ReadFull(rand.Reader, b)
}

// TestNothingBeforeMAC: of a message whose MAC is wrong nothing is looked at and nothing is
// kept: the state is what it was, byte for byte, no key is drawn for an answer, and the
// error is the same whatever would come out of the cipher. The intact message is read then.
func TestNothingBeforeMAC(t *testing.T) {
	for _, v := range []Version{V1, V2} {
		t.Run(v.String(), func(t *testing.T) {
			alice, err := NewIdentity(rand.Reader)
			require.NoError(t, err)
			bob, err := NewIdentity(rand.Reader)
			require.NoError(t, err)
			signed, err := NewPreKey(rand.Reader, 1)
			require.NoError(t, err)
			one, err := NewPreKey(rand.Reader, 2)
			require.NoError(t, err)
			keys := macKeys{signed, one}
			a, b := NewRecord(v), NewRecord(v)
			require.NoError(t, a.Start(rand.Reader, alice, 1, NewBundle(v, bob, signed, []*PreKey{one}), 2))
			check := func(what string, to *Record, self *Identity, s Sealed) {
				t.Helper()
				before, err := to.AppendBinary(nil)
				require.NoError(t, err)
				for i := 1; i <= 40; i++ { // the MAC is at the end, or in front of the rest
					for _, at := range []int{len(s.Data) - i, i} {
						if s.KeyExchange && (at == i || i <= 10) {
							continue // what names prekeys, and no MAC is about
						}
						bad := append([]byte(nil), s.Data...)
						bad[at] ^= 1
						r := &countingReader{}
						_, err = to.Decrypt(r, self, keys, bad, s.KeyExchange)
						require.Error(t, err, what)
						after, e := to.AppendBinary(nil)
						require.NoError(t, e)
						require.Equal(t, before, after, "%s: the state has changed", what)
						require.Zero(t, r.n, "%s: a key was drawn", what)
					}
				}
				_, err = to.Decrypt(rand.Reader, self, keys, s.Data, s.KeyExchange)
				require.NoError(t, err, what)
			}
			seal := func(r *Record) Sealed {
				s, err := r.Encrypt(make([]byte, 48))
				require.NoError(t, err)
				return s
			}
			check("key exchange", b, bob, seal(a))
			check("answer", a, alice, seal(b))
			late := seal(a)
			check("step", b, bob, seal(a))
			check("chain", b, bob, seal(a))
			check("late", b, bob, late)

			// What would be bad padding, with a bad MAC and with a good one.
			s := *a.sessions[0]
			key := chainStep(&s.sendKey)
			k := expand(v, &key)
			m := message{key: s.own.pub, n: s.n, pn: s.pn, cipher: make([]byte, 32)}
			m.signed = appendMessage(nil, v, m.key, m.n, m.pn, m.cipher)
			m.mac = make([]byte, profiles[v].macSize)
			_, err = b.tryAll(rand.Reader, &m)
			require.ErrorIs(t, err, ErrMAC)
			var ad [66]byte
			m.mac = k.mac(v, s.ad(ad[:0], true), m.signed)
			_, err = b.tryAll(rand.Reader, &m)
			require.ErrorIs(t, err, ErrMalformed)
		})
	}
}

type macKeys struct{ signed, one *PreKey }

func (k macKeys) PreKey(uint32) *PreKey       { return k.one }
func (k macKeys) SignedPreKey(uint32) *PreKey { return k.signed }
