package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The benchmarks compare with what the primitives of the standard library cost that the
// protocol prescribes, in the same run: the ratio is what counts.

type primitives struct {
	key    *ecdh.PrivateKey
	pub    *ecdh.PublicKey
	sign   ed25519.PrivateKey
	sig    []byte
	secret [32]byte
}

func newPrimitives() *primitives {
	p := &primitives{}
	_, _ = rand.Read(p.secret[:])
	p.key, _ = ecdh.X25519().GenerateKey(rand.Reader)
	other, _ := ecdh.X25519().GenerateKey(rand.Reader)
	p.pub = other.PublicKey()
	p.sign = ed25519.NewKeyFromSeed(p.secret[:])
	p.sig = ed25519.Sign(p.sign, p.secret[:])
	return p
}

func (p *primitives) dh(n int) {
	for range n {
		_, _ = p.key.ECDH(p.pub)
	}
}

func (p *primitives) keygen(n int) {
	for range n {
		_, _ = ecdh.X25519().GenerateKey(rand.Reader)
	}
}

// chain is what one message costs without any Diffie-Hellman: a step of the chain, the
// expansion to 80 bytes, the cipher and the MAC.
func (p *primitives) chain(n int) {
	var buf [64]byte
	var t [32]byte
	for range n {
		h := hmac.New(sha256.New, p.secret[:])
		for i := range 2 {
			h.Reset()
			h.Write(buf[i : i+1])
			h.Sum(t[:0])
		}
		h = hmac.New(sha256.New, p.secret[:]) // extract
		h.Write(t[:])
		h.Sum(t[:0])
		h = hmac.New(sha256.New, t[:]) // expand
		for range 3 {
			h.Reset()
			h.Write(buf[:58])
			h.Sum(t[:0])
		}
		c, _ := aes.NewCipher(p.secret[:])
		cipher.NewCBCEncrypter(c, buf[:16]).CryptBlocks(buf[:], buf[:])
		h = hmac.New(sha256.New, p.secret[:])
		h.Write(buf[:])
		h.Write(buf[:])
		h.Write(buf[:])
		h.Sum(t[:0])
	}
}

// beside runs ours and the primitives in turn and reports ours as a multiple of theirs.
func beside(b *testing.B, ours, theirs func()) {
	b.Helper()
	const batch = 16
	var mine, base time.Duration
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		t := time.Now()
		for range batch {
			theirs()
		}
		base += time.Since(t)
		b.StartTimer()
		t = time.Now()
		for range batch {
			ours()
		}
		mine += time.Since(t)
	}
	b.ReportMetric(float64(mine)/float64(base), "x-primitives")
	b.ReportMetric(float64(mine.Nanoseconds())/float64(b.N)/batch, "ns/each")
}

func each(b *testing.B, f func(b *testing.B, v Version)) {
	for _, v := range [...]Version{V1, V2} {
		b.Run("version"+v.String(), func(b *testing.B) { f(b, v) })
	}
}

// BenchmarkStart begins a session and encrypts its first message: 5 DH, 2 keys, a
// signature to verify.
func BenchmarkStart(b *testing.B) {
	each(b, func(b *testing.B, v Version) {
		p, pr := newPair(b, v, false), newPrimitives()
		k := p.b.newPreKey(b)
		bundle := NewBundle(v, p.b.id, p.b.signed, []*PreKey{k})
		beside(b, func() {
			if bundle.Verify() != nil {
				b.Fatal("bad bundle")
			}
			rec := NewRecord(v)
			if rec.Start(rand.Reader, p.a.id, 1, bundle, k.id) != nil {
				b.Fatal("no session")
			}
			_, _ = rec.Encrypt(someKey)
		}, func() {
			ed25519.Verify(pr.sign.Public().(ed25519.PublicKey), pr.secret[:], pr.sig)
			pr.keygen(2)
			pr.dh(5)
			pr.chain(1)
		})
	})
}

// BenchmarkAnswer takes a session that somebody has begun: 6 DH, a key.
func BenchmarkAnswer(b *testing.B) {
	each(b, func(b *testing.B, v Version) {
		p, pr := newPair(b, v, false), newPrimitives()
		s, err := p.ra.Encrypt(someKey)
		require.NoError(b, err)
		beside(b, func() {
			if _, err := NewRecord(v).Decrypt(rand.Reader, p.b.id, p.b, s.Data, true); err != nil {
				b.Fatal(err)
			}
		}, func() {
			pr.keygen(1)
			pr.dh(6)
			pr.chain(1)
		})
	})
}

// BenchmarkChain encrypts and decrypts a message in one direction.
func BenchmarkChain(b *testing.B) {
	each(b, func(b *testing.B, v Version) {
		p, pr := newPair(b, v, true), newPrimitives()
		beside(b, func() { exchange(b, p, p.ra, p.rb, p.b) }, func() { pr.chain(2) })
	})
}

// BenchmarkChainStored does so with the records out of a store and back into it.
func BenchmarkChainStored(b *testing.B) {
	each(b, func(b *testing.B, v Version) {
		p, pr := newPair(b, v, true), newPrimitives()
		ba, _ := p.ra.AppendBinary(nil)
		bb, _ := p.rb.AppendBinary(nil)
		beside(b, func() {
			ra, rb := NewRecord(v), NewRecord(v)
			if ra.UnmarshalBinary(ba) != nil || rb.UnmarshalBinary(bb) != nil {
				b.Fatal("not stored")
			}
			exchange(b, p, ra, rb, p.b)
			ba, _ = ra.AppendBinary(ba[:0:0])
			bb, _ = rb.AppendBinary(bb[:0:0])
		}, func() { pr.chain(2) })
	})
}

// BenchmarkPingPong answers each message, which moves the ratchet: 2 DH, a key.
func BenchmarkPingPong(b *testing.B) {
	each(b, func(b *testing.B, v Version) {
		p, pr := newPair(b, v, true), newPrimitives()
		i := 0
		beside(b, func() {
			if i++; i%2 == 1 {
				exchange(b, p, p.rb, p.ra, p.a)
			} else {
				exchange(b, p, p.ra, p.rb, p.b)
			}
		}, func() {
			pr.keygen(1)
			pr.dh(2)
			pr.chain(2)
		})
	})
}

func exchange(b *testing.B, _ *pair, from, to *Record, d *goDevice) {
	s, err := from.Encrypt(someKey)
	if err != nil {
		b.Fatal(err)
	}
	if _, err = to.Decrypt(rand.Reader, d.id, d, s.Data, s.KeyExchange); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMany encrypts for a thousand devices, beside a thousand times for one.
func BenchmarkMany(b *testing.B) {
	each(b, func(b *testing.B, v Version) {
		p := newPair(b, v, true)
		stored, _ := p.ra.AppendBinary(nil)
		recs := make([]*Record, 1000)
		for i := range recs {
			recs[i] = NewRecord(v)
			require.NoError(b, recs[i].UnmarshalBinary(stored))
		}
		one := NewRecord(v)
		require.NoError(b, one.UnmarshalBinary(stored))
		var mine, base time.Duration
		for b.Loop() {
			t := time.Now()
			for range recs {
				_, _ = one.Encrypt(someKey)
			}
			base += time.Since(t)
			t = time.Now()
			for _, r := range recs {
				_, _ = r.Encrypt(someKey)
			}
			mine += time.Since(t)
		}
		b.ReportMetric(float64(mine)/float64(base), "x-single")
		b.ReportMetric(float64(mine.Microseconds())/float64(b.N), "µs/1000")
	})
}

// BenchmarkLibomemoC prints what libomemo-c does in the same run.
func BenchmarkLibomemoC(b *testing.B) {
	bin := buildPeer(b)
	for b.Loop() {
		cmd := exec.Command(bin)
		cmd.Stdin = strings.NewReader("bench 2000\n")
		out, err := cmd.Output()
		require.NoError(b, err)
		fmt.Print(string(out))
	}
}

// TestAllocations holds the bound of a message in a chain.
func TestAllocations(t *testing.T) {
	for _, v := range [...]Version{V1, V2} {
		p := newPair(t, v, true)
		n := testing.AllocsPerRun(200, func() { p.toB(t) })
		t.Logf("version %s: %.0f allocations to encrypt and decrypt a message", v, n)
		require.LessOrEqual(t, n, 40.0)
	}
}
