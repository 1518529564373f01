package upload

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGCM compares with the library's GCM, byte for byte: every size up to some blocks,
// sizes around pieces, every size of key, and vectors of other sizes than 12.
func TestGCM(t *testing.T) {
	sizes := []int{gcmPiece - 1, gcmPiece, gcmPiece + 1, 3*gcmPiece + 17, 1 << 20}
	for n := range 100 {
		sizes = append(sizes, n)
	}
	for _, keySize := range []int{16, 24, 32} {
		for _, ivSize := range []int{12, 16, 1, 33} {
			for _, n := range sizes {
				key, iv, plain := random(keySize), random(ivSize), random(n)
				block, err := aes.NewCipher(key)
				require.NoError(t, err)
				lib, err := cipher.NewGCMWithNonceSize(block, ivSize)
				require.NoError(t, err)
				want := lib.Seal(nil, iv, plain, nil)

				g, err := newGCM(key, iv)
				require.NoError(t, err)
				got := bytes.Clone(plain)
				for p := got; len(p) > 0; {
					k := min(len(p), 4096)
					require.NoError(t, g.encrypt(p[:k]))
					p = p[k:]
				}
				tag := g.tag()
				if got = append(got, tag[:]...); !bytes.Equal(want, got) {
					t.Fatalf("key %d, iv %d, size %d", keySize, ivSize, n)
				}

				g, err = newGCM(key, iv)
				require.NoError(t, err)
				require.NoError(t, g.decrypt(got[:n]))
				require.True(t, bytes.Equal(plain, got[:n]))
				require.Equal(t, tag, g.tag())
			}
		}
	}
}

// TestCounterWraps has a counter that comes to its end in the file. Which vector leads
// there is computed backwards.
func TestCounterWraps(t *testing.T) {
	key := random(32)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	var h ghash
	require.NoError(t, h.init(block))
	start := [16]byte{1, 2, 3, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xfb}
	// The counter is (iv*H + lengths)*H.
	x := load(start).mul(h.inv)
	x.lo ^= 128
	v := x.mul(h.inv).store()
	lib, err := cipher.NewGCMWithNonceSize(block, 16)
	require.NoError(t, err)
	for n := range 200 {
		plain := random(n)
		g, err := newGCM(key, v[:])
		require.NoError(t, err)
		got := bytes.Clone(plain)
		for p := got; len(p) > 0; {
			k := min(len(p), 16)
			require.NoError(t, g.encrypt(p[:k]))
			p = p[k:]
		}
		tag := g.tag()
		require.Equal(t, lib.Seal(nil, v[:], plain, nil), append(got, tag[:]...), n)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func BenchmarkGCM(b *testing.B) {
	p := make([]byte, gcmPiece)
	b.Run("upload", func(b *testing.B) {
		b.SetBytes(gcmPiece)
		g, _ := newGCM(random(32), random(12))
		for b.Loop() {
			g.size = 0
			if err := g.encrypt(p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(gcmPiece)
		block, _ := aes.NewCipher(random(32))
		lib, _ := cipher.NewGCM(block)
		out := make([]byte, 0, gcmPiece+16)
		for b.Loop() {
			lib.Seal(out, zeroNonce[:], p, nil)
		}
	})
}
