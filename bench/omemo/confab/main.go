// The OMEMO benchmark of confab: package omemo/ratchet, each record out of its
// stored form and back for each message, as the peers do it.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/confab-im/confab/omemo/ratchet"
)

// cpu is the processor time of this process, its garbage collector's included.
func cpu() time.Duration {
	var u syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

type device struct {
	id          *ratchet.Identity
	signed, pre *ratchet.PreKey
}

func newDevice() *device {
	id, err := ratchet.NewIdentity(rand.Reader)
	must(err)
	signed, err := ratchet.NewPreKey(rand.Reader, 1)
	must(err)
	pre, err := ratchet.NewPreKey(rand.Reader, 1)
	must(err)
	return &device{id, signed, pre}
}

func (d *device) PreKey(uint32) *ratchet.PreKey       { return d.pre }
func (d *device) SignedPreKey(uint32) *ratchet.PreKey { return d.signed }

// use takes a record out of b, and returns what is to be kept of it.
func use(v ratchet.Version, b []byte, f func(*ratchet.Record)) []byte {
	rec := ratchet.NewRecord(v)
	if b != nil {
		must(rec.UnmarshalBinary(b))
	}
	f(rec)
	b, err := rec.AppendBinary(nil)
	must(err)
	return b
}

// timed reports what n calls of f took.
func timed(v ratchet.Version, what string, n int, f func(i int)) {
	t := cpu()
	for i := range n {
		f(i)
	}
	fmt.Printf("RESULT O%v%s %d %.9f\n", v, what, n, (cpu() - t).Seconds())
}

func main() {
	n, err := strconv.Atoi(os.Getenv("XB_N"))
	must(err)
	for _, v := range []ratchet.Version{ratchet.V1, ratchet.V2} {
		plain := bytes.Repeat([]byte{7}, 32)
		if v == ratchet.V2 {
			plain = bytes.Repeat([]byte{7}, 48)
		}
		a, b := newDevice(), newDevice()
		bundle := ratchet.NewBundle(v, b.id, b.signed, []*ratchet.PreKey{b.pre})
		var ofA, ofB []byte
		sent := make([]ratchet.Sealed, n)
		encrypt := func(rec *ratchet.Record, i int) {
			s, err := rec.Encrypt(plain)
			must(err)
			sent[i] = s
		}
		decrypt := func(rec *ratchet.Record, self *device, i int) {
			got, err := rec.Decrypt(rand.Reader, self.id, self, sent[i].Data, sent[i].KeyExchange)
			must(err)
			if !bytes.Equal(got.Plain, plain) {
				log.Fatal("not what was encrypted")
			}
		}
		timed(v, "b", n/10, func(i int) {
			ofA = use(v, nil, func(rec *ratchet.Record) {
				must(bundle.Verify())
				must(rec.Start(rand.Reader, a.id, 1, bundle, 1))
				encrypt(rec, i)
			})
		})
		timed(v, "a", n/10, func(i int) {
			ofB = use(v, nil, func(rec *ratchet.Record) { decrypt(rec, b, i) })
		})
		// An answer, after which no message carries the key exchange any more.
		ofB = use(v, ofB, func(rec *ratchet.Record) { encrypt(rec, 0) })
		ofA = use(v, ofA, func(rec *ratchet.Record) { decrypt(rec, a, 0) })
		timed(v, "e", n, func(i int) {
			ofA = use(v, ofA, func(rec *ratchet.Record) { encrypt(rec, i) })
		})
		timed(v, "d", n, func(i int) {
			ofB = use(v, ofB, func(rec *ratchet.Record) { decrypt(rec, b, i) })
		})
	}
}
