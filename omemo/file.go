package omemo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// FileStore is a [Store] in one file that only its owner may read. Each transaction
// is appended and flushed to the disk; from time to time the file is written anew,
// beside the old one, and put in its place. A crash leaves the transactions that
// were finished. Where the system can, the file is locked, so that two programs
// cannot use one device by mistake.
type FileStore struct {
	mem  MemoryStore
	path string
	f    *os.File
	size int64 // of what is good in the file
	err  error // why nothing can be written any more

	compactAt int64 // the size at which the file is written anew
}

const (
	fileMagic = "confab omemo keys 1\n"
	fileKind  = "confab omemo keys "
	maxRecord = 1 << 30
	// A file is written anew when it is larger than this and than so many times
	// what is in it.
	compactAbove = 1 << 20
	compactRatio = 4
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// OpenFileStore opens a file, or makes one. Close it when Run of the client that uses it
// has returned.
func OpenFileStore(path string) (*FileStore, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("omemo: %w", err)
	}
	s := &FileStore{path: path, f: f}
	if err := s.open(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("omemo: %s: %w", path, err)
	}
	return s, nil
}

func (s *FileStore) open() error {
	if err := lock(s.f); err != nil {
		return fmt.Errorf("another program uses it: %w", err)
	}
	b, err := io.ReadAll(s.f)
	if err != nil {
		return err
	}
	s.mem.m = table{}
	if len(b) < len(fileMagic) && bytes.HasPrefix([]byte(fileMagic), b) {
		// New, or a crash cut its very first line.
		if err := s.f.Truncate(0); err != nil {
			return err
		}
		if _, err := s.f.WriteAt([]byte(fileMagic), 0); err != nil {
			return err
		}
		s.size, s.compactAt = int64(len(fileMagic)), compactAbove
		return errors.Join(s.f.Sync(), syncFolder(s.path))
	}
	if !bytes.HasPrefix(b, []byte(fileMagic)) {
		if bytes.HasPrefix(b, []byte(fileKind)) {
			return errors.New("a newer version of this library wrote this file")
		}
		return errors.New("this is no file of keys")
	}
	good := int64(len(fileMagic))
	for rest := b[good:]; ; {
		changed, n, ok := readRecord(rest)
		if !ok {
			if bytes.Count(rest, []byte{0}) != len(rest) && completeAfter(rest) {
				return errors.New("the file is damaged in its middle: what follows cannot be believed; restore the account with a new device")
			}
			break
		}
		s.mem.m.apply(changed)
		rest, good = rest[n:], good+int64(n)
	}
	// What follows was being written when the program or the machine stopped.
	if good < int64(len(b)) {
		if err := errors.Join(s.f.Truncate(good), s.f.Sync()); err != nil {
			return err
		}
	}
	s.size, s.compactAt = good, nextCompact(s.mem.m.bytes())
	return nil
}

// completeAfter reports whether a record whose sum is wrong is followed by one that
// is whole: then it was not cut by a crash, but damaged.
func completeAfter(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	n := int64(binary.BigEndian.Uint32(b)) + 8
	if n >= int64(len(b)) || n > maxRecord {
		return false
	}
	_, _, ok := readRecord(b[n:])
	return ok
}

// A record is its length, its sum, and the changes: a byte that is 1 for a value and
// 0 for a key that is gone, bucket, key and value, each with its length.
func appendRecord(b []byte, changed table) []byte {
	at := len(b)
	b = append(b, make([]byte, 8)...)
	str := func(s []byte) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for bucket, keys := range changed {
		for k, v := range keys {
			if v == nil {
				b = append(b, 0)
			} else {
				b = append(b, 1)
			}
			str([]byte(bucket))
			str([]byte(k))
			if v != nil {
				str(v)
			}
		}
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-8))
	binary.BigEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], crcTable))
	return b
}

// readRecord reads one record. It is not ok if b does not begin with a whole one.
func readRecord(b []byte) (changed table, size int, ok bool) {
	if len(b) < 8 {
		return nil, 0, false
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n == 0 || n > maxRecord || int64(len(b)) < 8+n {
		return nil, 0, false
	}
	p := b[8 : 8+n]
	if crc32.Checksum(p, crcTable) != binary.BigEndian.Uint32(b[4:]) {
		return nil, 0, false
	}
	str := func() []byte {
		l, k := binary.Uvarint(p)
		if k <= 0 || l > uint64(len(p)-k) {
			ok = false
			return nil
		}
		s := p[k : k+int(l)]
		p = p[k+int(l):]
		return s
	}
	changed, ok = table{}, true
	for ok && len(p) > 0 {
		is := p[0]
		p = p[1:]
		bucket, key := string(str()), string(str())
		var v []byte
		if is == 1 {
			v = append([]byte{}, str()...)
		}
		changed.put(bucket, key, v)
	}
	return changed, int(8 + n), ok
}

func (t table) bytes() (n int64) {
	for b, keys := range t {
		for k, v := range keys {
			n += int64(len(b) + len(k) + len(v) + 8)
		}
	}
	return n
}

// View implements [Store].
func (s *FileStore) View(ctx context.Context, f func(Tx) error) error { return s.mem.View(ctx, f) }

// Update implements [Store].
func (s *FileStore) Update(ctx context.Context, f func(Tx) error) error {
	return s.mem.update(ctx, f, s.commit)
}

func (s *FileStore) commit(changed table) error {
	if s.err != nil {
		return s.err
	}
	rec := appendRecord(nil, changed)
	if len(rec) > maxRecord {
		return errors.New("omemo: the transaction is too large")
	}
	_, err := s.f.WriteAt(rec, s.size)
	if err == nil {
		err = s.f.Sync()
	}
	if err != nil {
		// After a failed flush nobody knows what is on the disk. What is half
		// there must not become whole later.
		if terr := errors.Join(s.f.Truncate(s.size), s.f.Sync()); terr != nil {
			s.err = fmt.Errorf("omemo: %s cannot be written any more: %w", s.path, terr)
		}
		return fmt.Errorf("omemo: %w", err)
	}
	s.size += int64(len(rec))
	if s.size > s.compactAt {
		// What was committed stays so if this fails: the old file is as good.
		_ = s.compact(changed)
	}
	return nil
}

// nextCompact says at what size to write the file anew, when live bytes are in it.
func nextCompact(live int64) int64 { return max(compactAbove, compactRatio*live) }

// compact writes what is there into a new file, and puts it in place of the old one.
func (s *FileStore) compact(changed table) error {
	all := table{}
	all.apply(s.mem.m)
	all.apply(changed)
	s.compactAt = nextCompact(s.size) // not again at once, should this fail
	b := []byte(fileMagic)
	for bucket, keys := range all { // in parts, none of them too large
		for k, v := range keys {
			b = appendRecord(b, table{bucket: {k: v}})
		}
	}
	tmp, err := os.OpenFile(s.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		_ = tmp.Close()
		_ = os.Remove(s.path + ".new")
		return err
	}
	if err := lock(tmp); err != nil {
		return fail(err)
	}
	if _, err := tmp.Write(b); err != nil {
		return fail(err)
	}
	if err := tmp.Sync(); err != nil {
		return fail(err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		return fail(err)
	}
	old := s.f
	s.f, s.size, s.compactAt = tmp, int64(len(b)), nextCompact(int64(len(b)))
	_ = old.Close()
	if err := syncFolder(s.path); err != nil {
		// The name may still be the old file's after a crash of the machine.
		s.err = fmt.Errorf("omemo: %s cannot be written any more: %w", s.path, err)
		return s.err
	}
	return nil
}

// Close closes the file. No transaction succeeds after it.
func (s *FileStore) Close() error {
	s.mem.mu.Lock()
	defer s.mem.mu.Unlock()
	if s.err == nil {
		s.err = errors.New("omemo: the store is closed")
	}
	return s.f.Close()
}

// syncFolder makes the name of a file durable.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return syncDir(d)
}
