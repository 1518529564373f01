package ratchet

import (
	"encoding/binary"
	"fmt"
)

// A record is stored as a version byte, the version of OMEMO, the number of sessions,
// and the sessions: some 460 bytes each, and 70 for each key of a missing message.

const storedAs = 1

const (
	flagInitiator = 1 << iota
	flagReceived
	flagHeartbeat
	flagPending
	flagEd
	flagRival
	flagsEnd
)

// AppendBinary appends the record, secrets and all.
func (r *Record) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, storedAs, byte(r.v))
	b = binary.AppendUvarint(b, uint64(len(r.sessions)))
	for _, s := range r.sessions {
		b = s.append(b)
	}
	return b, nil
}

func (s *session) append(b []byte) []byte {
	var flags byte
	for _, f := range [...]struct {
		is   bool
		flag byte
	}{{s.initiator, flagInitiator}, {s.hasRecv, flagReceived}, {s.heartbeat, flagHeartbeat}, {s.pending, flagPending}, {s.peer.known, flagEd}, {s.rival, flagRival}} {
		if f.is {
			flags |= f.flag
		}
	}
	b = append(b, flags)
	b = append(b, s.peer.curve[:]...)
	b = append(b, s.peer.ed[:]...)
	b = append(b, s.self.curve[:]...)
	b = append(b, s.self.ed[:]...)
	b = append(b, s.root[:]...)
	b = append(b, s.sendKey[:]...)
	b = append(b, s.recvKey[:]...)
	b = append(b, s.own.secret[:]...)
	b = append(b, s.own.pub[:]...)
	b = append(b, s.theirs[:]...)
	b = append(b, s.base[:]...)
	for _, n := range [...]uint32{s.n, s.nr, s.pn, s.steps, s.preKeyID, s.signedID, s.registrationID} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.AppendUvarint(b, uint64(len(s.heads)))
	for _, h := range s.heads {
		b = append(b, h[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(s.skipped)))
	for i := range s.skipped {
		k := &s.skipped[i]
		b = append(b, k.theirs[:]...)
		b = append(b, k.key[:]...)
		spare := uint32(0)
		if k.spare {
			spare = 1
		}
		for _, n := range [...]uint32{k.n, k.step, spare} {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return b
}

// decoder reads what append has written.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return make([]byte, n)
	}
	s := d.b[:n]
	d.b = d.b[n:]
	return s
}

func (d *decoder) number(most uint64) uint64 {
	n, l := binary.Uvarint(d.b)
	if d.bad || l <= 0 || n > most {
		d.bad = true
		return 0
	}
	d.b = d.b[l:]
	return n
}

// UnmarshalBinary reads what AppendBinary has written. After an error the record is what
// it was.
func (r *Record) UnmarshalBinary(b []byte) error {
	if len(b) < 2 || b[0] != storedAs || !Version(b[1]).valid() {
		return fmt.Errorf("%w: not a stored record, or one of a newer version", ErrMalformed)
	}
	d := &decoder{b: b[2:]}
	v := Version(b[1])
	n := int(d.number(maxArchived + 1))
	sessions := make([]*session, 0, n)
	for range n {
		s, err := d.session(v)
		if err != nil {
			return err
		}
		sessions = append(sessions, s)
	}
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("%w: a stored record", ErrMalformed)
	}
	r.v, r.sessions = v, sessions
	return nil
}

func (d *decoder) session(v Version) (*session, error) {
	flags := d.take(1)[0]
	s := &session{v: v, initiator: flags&flagInitiator != 0, hasRecv: flags&flagReceived != 0,
		heartbeat: flags&flagHeartbeat != 0, pending: flags&flagPending != 0, rival: flags&flagRival != 0}
	for _, k := range [...]*[32]byte{(*[32]byte)(&s.peer.curve), &s.peer.ed, (*[32]byte)(&s.self.curve), &s.self.ed} {
		copy(k[:], d.take(32))
	}
	s.peer.known, s.self.known = flags&flagEd != 0, true
	d.bad = d.bad || v == V2 && !s.peer.known
	copy(s.root[:], d.take(32))
	copy(s.sendKey[:], d.take(32))
	copy(s.recvKey[:], d.take(32))
	copy(s.own.secret[:], d.take(32))
	copy(s.own.pub[:], d.take(32))
	copy(s.theirs[:], d.take(32))
	copy(s.base[:], d.take(32))
	for _, n := range [...]*uint32{&s.n, &s.nr, &s.pn, &s.steps, &s.preKeyID, &s.signedID, &s.registrationID} {
		*n = uint32(d.number(1<<32 - 1))
	}
	for range d.number(keepHeads) {
		s.heads = append(s.heads, [8]byte(d.take(8)))
	}
	n := int(d.number(maxSkip))
	if n > 0 && !d.bad && len(d.b) < n*67 {
		d.bad = true
	}
	if d.bad || flags >= flagsEnd {
		return nil, fmt.Errorf("%w: a stored session", ErrMalformed)
	}
	if n > 0 {
		s.skipped = make([]skippedKey, n)
	}
	for i := range s.skipped {
		k := &s.skipped[i]
		copy(k.theirs[:], d.take(32))
		copy(k.key[:], d.take(32))
		k.n, k.step, k.spare = uint32(d.number(1<<32-1)), uint32(d.number(1<<32-1)), d.number(1) == 1
	}
	return s, nil
}
