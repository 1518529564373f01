package stream

import (
	"bytes"
	"io"
	"sync"

	"github.com/confab-im/confab"
)

// A Reader reads one XMPP stream. It is for one goroutine at a time.
//
// An error of the connection, such as a deadline that has passed, does not harm
// it: the next call goes on where that one stopped. Errors of the stream
// itself, and ErrEnd, are returned again by each call until Reset or Restart.
type Reader struct {
	buffer
	limits Limits
	tables *tables   // nil between stanzas, when idle
	header []binding // namespaces that the header declares
	name   string    // of the header, as it was written
	phase  phase
	err    error // for good
	offset int64 // of buffer.start
	size   int
	keep   int64
}

type phase uint8

const (
	closed   phase = iota // before the header
	declared              // after the XML declaration
	open                  // between stanzas
	inside                // in the header or a stanza
)

// tables are what a stanza needs while it is read.
type tables struct {
	scanner scanner
	scope   scope
}

var tablesPool = sync.Pool{New: func() any { return new(tables) }}

// release gives the tables back, but not those of an uncommonly large stanza.
func (t *tables) release() {
	const large = 1024
	if cap(t.scanner.tags) > large || cap(t.scanner.attrs) > large || cap(t.scanner.texts) > large ||
		cap(t.scope.bindings) > large {
		return
	}
	t.scope.reset(nil)
	t.scanner.reset(Limits{}, "", false)
	tablesPool.Put(t)
}

// NewReader returns a Reader that expects the beginning of a stream.
func NewReader(r io.Reader, l Limits) *Reader {
	l = l.withDefaults()
	return &Reader{limits: l, buffer: buffer{src: r, max: l.MaxBytes}}
}

// Reset makes r expect the beginning of a stream from another source, as after
// STARTTLS. Bytes that were read but not consumed are lost: the caller makes sure
// that Buffered returns 0, since there they would be an attack.
func (r *Reader) Reset(src io.Reader) {
	r.drop()
	r.src = src
	r.Restart()
}

// Restart makes r expect the beginning of a stream from the same source, as
// after SASL.
func (r *Reader) Restart() {
	r.idle()
	r.header, r.name, r.phase, r.err = nil, "", closed, nil
}

// Size returns how many bytes the last element was that Open or Next returned.
func (r *Reader) Size() int { return r.size }

// Offset returns how many bytes were consumed in total, white space included.
func (r *Reader) Offset() int64 { return r.offset }

// Buffered returns how many bytes were read from the source and not consumed.
func (r *Reader) Buffered() int { return r.end - r.start }

// Keepalives returns how many bytes of white space there were between stanzas.
func (r *Reader) Keepalives() int64 { return r.keep }

// Open reads the header of a stream and returns it as an element without
// children. The namespaces it declares apply to the stanzas.
//
// It returns io.EOF if the connection ended before the header began, otherwise
// the errors that Next returns.
func (r *Reader) Open() (*confab.Element, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.name != "":
		return nil, errOpen
	}
	if r.phase == closed {
		if err := r.begin(closed); err != nil {
			return nil, err
		}
		if err := r.declaration(); err != nil {
			return nil, err
		}
		r.phase = declared
	}
	if r.phase == declared {
		if err := r.begin(declared); err != nil {
			return nil, cut(err)
		}
		r.acquire(true)
	}
	b, _, err := r.scan()
	if err != nil {
		return nil, err
	}
	e, err := r.finish(b)
	if err != nil {
		return nil, err
	}
	t := r.tables
	nm := t.scanner.tags[0].name
	r.name = string(b[nm.start:nm.end])
	r.header = t.scope.base()
	empty := t.scanner.empty
	t.scope.reset(r.header)
	r.consume(len(b))
	if empty { // <stream:stream/> is its own end
		r.err = ErrEnd
	}
	return e, nil
}

// Next returns the next top-level child of the stream, whole. White space
// between stanzas is skipped.
//
// It returns ErrEnd when the peer has closed the stream; io.EOF if the connection
// ended between stanzas without that, io.ErrUnexpectedEOF if it ended inside of
// one; a *SyntaxError for what is not well formed or is forbidden, a *LimitError
// for what is over a limit, and other errors as the source returned them. A
// *LimitError whose Stanza is not nil is the only error after which Next can be
// called again: the stanza was skipped.
func (r *Reader) Next() (*confab.Element, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.name == "":
		return nil, errNotOpen
	case r.phase == open:
		if err := r.begin(open); err != nil {
			return nil, err
		}
		r.acquire(false)
	}
	b, v, err := r.scan()
	if err != nil {
		return nil, err
	}
	if v == ended {
		r.consume(len(b))
		r.err = ErrEnd
		r.idle()
		return nil, ErrEnd
	}
	e, err := r.finish(b)
	if err != nil {
		return nil, err
	}
	r.consume(len(b))
	return e, nil
}

// begin skips white space up to a '<'.
func (r *Reader) begin(p phase) error {
	for {
		b, i := r.pending(), 0
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		r.start += i
		r.offset += int64(i)
		if p == open {
			r.keep += int64(i)
		}
		switch {
		case i == len(b):
		case b[i] == '<':
			return nil
		default:
			return r.fail(bad(0, Malformed, "text outside of elements"))
		}
		r.idle()
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// declaration consumes the XML declaration, if there is one.
func (r *Reader) declaration() error {
	for {
		if b := r.pending(); len(b) > 1 {
			n, f := declaration(b)
			if f != nil {
				return r.fail(f)
			}
			if n > 0 || b[1] != '?' {
				r.start += n
				r.offset += int64(n)
				return nil
			}
		}
		if err := r.fill(); err != nil {
			return cut(err)
		}
	}
}

// acquire gets what is needed to scan.
func (r *Reader) acquire(header bool) {
	if r.tables == nil {
		r.tables = tablesPool.Get().(*tables)
		r.tables.scope.reset(r.header)
	}
	r.tables.scanner.reset(r.limits, r.name, header)
	r.phase = inside
}

// idle gives back what is not needed between stanzas.
func (r *Reader) idle() {
	if r.tables != nil {
		r.tables.release()
		r.tables = nil
	}
}

// scan reads on to the end of a stanza, of the header, or of the stream, and
// returns its bytes.
func (r *Reader) scan() ([]byte, verdict, error) {
	for {
		b := r.pending()
		v, f := r.tables.scanner.scan(b[:min(len(b), r.limits.MaxBytes)])
		switch {
		case f != nil && f.what != "" && r.limits.Skip && r.name != "":
			return nil, v, r.skip(f)
		case f != nil:
			return nil, v, r.fail(f)
		case v != more:
			return b[:r.tables.scanner.pos], v, nil
		case len(b) > r.limits.MaxBytes && r.limits.Skip && r.name != "":
			return nil, v, r.skip(&fault{what: "MaxBytes", limit: r.limits.MaxBytes})
		case len(b) > r.limits.MaxBytes:
			return nil, v, r.fail(&fault{what: "MaxBytes", limit: r.limits.MaxBytes})
		}
		if err := r.fill(); err != nil {
			return nil, v, cut(err)
		}
	}
}

func (r *Reader) finish(b []byte) (*confab.Element, error) {
	e, f := r.tables.scanner.finish(b, true, &r.tables.scope)
	if f != nil {
		return nil, r.fail(f)
	}
	return e, nil
}

func (r *Reader) consume(n int) {
	r.start += n
	r.offset += int64(n)
	r.size = n
	r.phase = open
}

// fail makes f the error of all further calls.
func (r *Reader) fail(f *fault) error {
	r.err = f.at(r.offset)
	r.idle()
	return r.err
}

// cut is the error for a connection that ended inside of something.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Parse reads one whole document, as in a WebSocket frame (RFC 7395): an
// optional XML declaration and one element, with nothing but white space around
// it. Nothing is in scope but what it declares itself. The errors are those of
// [Reader.Next], and io.ErrUnexpectedEOF for an empty or cut document. It keeps
// no reference to b.
func Parse(b []byte, l Limits) (*confab.Element, error) {
	l = l.withDefaults()
	doc := b
	if bytes.HasPrefix(b, []byte("<?")) {
		n, f := declaration(b)
		if f != nil {
			return nil, f.at(0)
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		b = b[n:]
	}
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	if len(b) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	offset := int64(len(doc) - len(b))
	if b[0] != '<' {
		return nil, bad(0, Malformed, "text outside of elements").at(offset)
	}
	t := tablesPool.Get().(*tables)
	defer t.release()
	t.scope.reset(nil)
	t.scanner.reset(l, "", false)
	v, f := t.scanner.scan(b[:min(len(b), l.MaxBytes)])
	if f == nil && v == more && len(b) > l.MaxBytes {
		f = &fault{what: "MaxBytes", limit: l.MaxBytes}
	}
	switch {
	case f != nil && f.what != "":
		root, _ := rootOf(b[:min(len(b), l.MaxBytes)], l, "", nil)
		return nil, &LimitError{Offset: offset, What: f.what, Limit: f.limit, Stanza: root}
	case f != nil:
		return nil, f.at(offset)
	case v == more:
		return nil, io.ErrUnexpectedEOF
	}
	n := t.scanner.pos
	for i := n; i < len(b); i++ {
		if !isSpace(b[i]) {
			return nil, bad(i, Malformed, "something after the end of the document").at(offset)
		}
	}
	e, f := t.scanner.finish(b[:n], false, &t.scope)
	if f != nil {
		return nil, f.at(offset)
	}
	return e, nil
}
