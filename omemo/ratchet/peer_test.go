package ratchet

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// buildPeer compiles a device on libomemo-c, which others have written in C.
func buildPeer(tb testing.TB) string {
	tb.Helper()
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libomemo-c").Output()
	if err != nil {
		tb.Skip("lacks: libomemo-c to talk with (libomemo-c-dev, libssl-dev, pkg-config)")
	}
	bin := filepath.Join(tb.TempDir(), "peer")
	args := append([]string{"-w", "-O2", "-o", bin, "testdata/peer.c"}, strings.Fields(string(flags))...)
	out, err := exec.Command("cc", append(args, "-lcrypto")...).CombinedOutput()
	require.NoError(tb, err, "%s", out)
	return bin
}

// cDevice is one device in C.
type cDevice struct {
	t    testing.TB
	in   io.WriteCloser
	out  *bufio.Reader
	name string
	id   uint32
	b    *Bundle
	free []uint32 // prekeys that nobody was given
}

func startPeer(t testing.TB, bin string, v Version, name string, id uint32) *cDevice {
	cmd := exec.Command(bin)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	d := &cDevice{t: t, in: in, out: bufio.NewReaderSize(out, 1<<16), name: name, id: id}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	w := d.ask("init %d %d 20", int(v)+2, id)
	d.b = &Bundle{Version: v}
	for i := 0; i < len(w); i++ {
		switch w[i] {
		case "ik":
			d.b.Identity, err = ParseIdentityKey(v, unhex(t, w[i+1]))
			require.NoError(t, err)
		case "spk":
			n, err := strconv.Atoi(w[i+1])
			require.NoError(t, err)
			d.b.SignedPreKeyID = uint32(n)
			d.b.SignedPreKey, err = ParsePublicKey(v, unhex(t, w[i+2]))
			require.NoError(t, err)
		case "sig":
			d.b.Signature = unhex(t, w[i+1])
		case "pks":
			for j := i + 1; j+1 < len(w); j += 2 {
				n, err := strconv.Atoi(w[j])
				require.NoError(t, err)
				k, err := ParsePublicKey(v, unhex(t, w[j+1]))
				require.NoError(t, err)
				d.b.PreKeys = append(d.b.PreKeys, PublicPreKey{uint32(n), k})
				d.free = append(d.free, uint32(n))
			}
			i = len(w)
		}
	}
	require.NoError(t, d.b.Verify())
	return d
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// ask returns what is behind "ok".
func (d *cDevice) ask(format string, args ...any) []string {
	d.t.Helper()
	w, err := d.try(format, args...)
	require.NoError(d.t, err)
	return w
}

func (d *cDevice) try(format string, args ...any) ([]string, error) {
	if _, err := fmt.Fprintf(d.in, format+"\n", args...); err != nil {
		return nil, err
	}
	line, err := d.out.ReadString('\n')
	if err != nil {
		return nil, err
	}
	w := strings.Fields(line)
	if len(w) == 0 || w[0] != "ok" {
		return nil, fmt.Errorf("%s: %s", d.name, strings.TrimSpace(line))
	}
	return w[1:], nil
}

// goDevice is one of ours.
type goDevice struct {
	id      *Identity
	name    string
	num     uint32
	signed  *PreKey
	keys    map[uint32]*PreKey
	next    uint32
	records map[string]*Record
}

func newDevice(t testing.TB, name string, num uint32) *goDevice {
	d := &goDevice{name: name, num: num, keys: map[uint32]*PreKey{}, next: 1, records: map[string]*Record{}}
	var err error
	d.id, err = NewIdentity(rand.Reader)
	require.NoError(t, err)
	d.signed, err = NewPreKey(rand.Reader, 1)
	require.NoError(t, err)
	return d
}

func (d *goDevice) PreKey(id uint32) *PreKey { return d.keys[id] }

func (d *goDevice) SignedPreKey(id uint32) *PreKey {
	if id != 1 {
		return nil
	}
	return d.signed
}

func (d *goDevice) newPreKey(t testing.TB) *PreKey {
	k, err := NewPreKey(rand.Reader, d.next)
	require.NoError(t, err)
	d.keys[d.next] = k
	d.next++
	return k
}

func (d *goDevice) record(v Version, peer string) *Record {
	if d.records[peer] == nil {
		d.records[peer] = NewRecord(v)
	}
	return d.records[peer]
}

// TestLibomemoC: three devices of ours and three on libomemo-c, each with each, ten
// thousand messages, of which some are lost, some come twice and many out of order: what
// arrives is read.
func TestLibomemoC(t *testing.T) {
	bin := buildPeer(t)
	messages := 10_000 // in each version
	if testing.Short() {
		messages = 500
	}
	for _, v := range [...]Version{V1, V2} {
		t.Run("version "+v.String(), func(t *testing.T) {
			seed := mrand.Uint64()
			t.Logf("seed %d", seed)
			r := mrand.New(mrand.NewPCG(seed, 1))
			var ours [3]*goDevice
			var theirs [3]*cDevice
			for i := range 3 {
				ours[i] = newDevice(t, fmt.Sprintf("g%d", i), uint32(100+i))
				theirs[i] = startPeer(t, bin, v, fmt.Sprintf("c%d", i), uint32(200+i))
			}
			type flight struct {
				toC   bool
				g, c  int
				data  []byte
				kex   bool
				plain []byte
				held  int // rounds that it may still be held
			}
			size := 32
			if v == V2 {
				size = 48
			}
			var air []flight
			sent, lost, doubled, read := 0, 0, 0, 0
			send := func(g, c int, toC bool) {
				plain := make([]byte, size)
				_, _ = rand.Read(plain)
				o, p := ours[g], theirs[c]
				f := flight{toC: toC, g: g, c: c, plain: plain, held: 2}
				rec := o.record(v, p.name)
				if toC {
					if !rec.Ready() {
						pk := p.free[0]
						p.free = p.free[1:]
						require.NoError(t, rec.Start(rand.Reader, o.id, o.num, p.b, pk))
					}
					s, err := rec.Encrypt(plain)
					require.NoError(t, err)
					f.data, f.kex = s.Data, s.KeyExchange
				} else {
					w, err := p.try("enc %s %d %x", o.name, o.num, plain)
					if err != nil { // no session yet
						k := o.newPreKey(t)
						b := NewBundle(v, o.id, o.signed, []*PreKey{k})
						p.ask("bundle %s %d %x %d %x %x %d %x", o.name, o.num, b.Identity.Wire(v), b.SignedPreKeyID,
							b.SignedPreKey.Wire(v), b.Signature, k.id, k.key.pub.Wire(v))
						w = p.ask("enc %s %d %x", o.name, o.num, plain)
					}
					f.kex, f.data = w[0] == "pre", unhex(t, w[1])
				}
				sent++
				air = append(air, f)
			}
			deliver := func(f flight, again bool) {
				o, p := ours[f.g], theirs[f.c]
				if f.toC {
					kind := "msg"
					if f.kex {
						kind = "pre"
					}
					w, err := p.try("dec %s %d %s %x", o.name, o.num, kind, f.data)
					if again {
						require.Error(t, err)
						return
					}
					require.NoError(t, err)
					require.Equal(t, hex.EncodeToString(f.plain), w[0])
				} else {
					rec := o.record(v, p.name)
					got, err := rec.Decrypt(rand.Reader, o.id, o, f.data, f.kex)
					if again {
						require.ErrorIs(t, err, ErrDuplicate)
						return
					}
					require.NoError(t, err)
					require.Equal(t, f.plain, got.Plain)
					if got.NewSession {
						delete(o.keys, got.PreKeyID)
					}
					// Through the store, as a program does it.
					b, err := rec.AppendBinary(nil)
					require.NoError(t, err)
					o.records[p.name] = NewRecord(v)
					require.NoError(t, o.records[p.name].UnmarshalBinary(b))
				}
				read++
			}
			for sent < messages {
				g, c, toC := r.IntN(3), r.IntN(3), r.IntN(2) == 0
				for range 1 + r.IntN(6) {
					send(g, c, toC)
				}
				r.Shuffle(len(air), func(i, j int) { air[i], air[j] = air[j], air[i] })
				var left []flight
				for _, f := range air {
					// libomemo-c keeps the last five chains: what is late must not be later.
					if f.g == g && f.c == c {
						f.held--
					}
					switch {
					case f.held > 0 && r.IntN(3) == 0:
						left = append(left, f)
					case r.IntN(50) == 0:
						lost++
					default:
						deliver(f, false)
						if r.IntN(20) == 0 {
							deliver(f, true)
							doubled++
						}
					}
				}
				air = left
			}
			for _, f := range air {
				deliver(f, false)
			}
			t.Logf("%d sent, %d lost on purpose, %d came twice, %d read", sent, lost, doubled, read)
			require.Equal(t, sent-lost, read)
			require.NotZero(t, lost)
			require.NotZero(t, doubled)
		})
	}
}
