package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
)

// Namespaces of the stream.
const (
	nsStream  = "http://etherx.jabber.org/streams"
	nsStreams = "urn:ietf:params:xml:ns:xmpp-streams"
	nsTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind    = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSASL2   = "urn:xmpp:sasl:2"
	nsBind2   = "urn:xmpp:bind:0"
	nsFast    = "urn:xmpp:fast:0"
	nsSM      = "urn:xmpp:sm:3"
	nsCB      = "urn:xmpp:sasl-cb:0"
	nsCSI     = "urn:xmpp:csi:0"
	nsLimits  = "urn:xmpp:stream-limits:0"
	nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"
)

// transport carries the elements of a stream over one connection. It is read by
// one goroutine and written by one.
type transport interface {
	stanzaWriter
	// open starts a stream, the first or a new one on the same connection, and
	// returns the other side's header.
	open(from, to jid.JID) (*confab.Element, error)
	// next returns the next element and its size. At the orderly end of the
	// stream the error is stream.ErrEnd. After a *stream.LimitError with a Stanza,
	// which was skipped, it can be called again.
	next() (*confab.Element, int, error)
	// send writes an element of the stream's own.
	send(el *confab.Element) error
	// end says that no more will be written.
	end() error
	// Close ends the connection.
	Close() error
	// tlsState returns the state of the encryption as far as channels can be
	// bound to it, or nil.
	tlsState() *tls.ConnectionState
	// lastRead returns when something came last.
	lastRead() time.Time
}

// tcp is a transport over a connection that carries bytes, TCP and TLS mostly.
type tcp struct {
	streamWriter
	conn   net.Conn
	r      *stream.Reader
	read   atomic.Int64
	limits stream.Limits
	begun  bool
	wire   *wireLog
	hold   func(bool) // told whether there is more to take without waiting
}

func newTCP(conn net.Conn, limits stream.Limits, wire *wireLog) *tcp {
	t := &tcp{streamWriter: streamWriter{conn}, conn: conn, limits: limits, wire: wire}
	t.read.Store(time.Now().UnixNano())
	t.r = stream.NewReader(t, limits)
	return t
}

// Read notes when bytes come: any byte is a sign of life.
func (t *tcp) Read(b []byte) (int, error) {
	if t.hold != nil {
		t.hold(false)
	}
	n, err := t.conn.Read(b)
	if n > 0 {
		t.read.Store(time.Now().UnixNano())
		if t.hold != nil && err == nil {
			t.hold(true)
		}
	}
	return n, err
}

// gather makes stanzas that come in one piece pass to the dispatcher in one
// piece. The reader calls it, and what it returns when it ends.
func gather(t transport, drv *confab.Driver) (end func()) {
	if t, ok := t.(*tcp); ok {
		t.hold = drv.Hold
	}
	return func() { drv.Hold(false) }
}

// maxRecord bounds what is encrypted in one piece. A server that reads no more
// than that at a time gets whole stanzas or nothing, wherever the link is cut.
// Prosody up to 13.0 needs it: it reads 4096 bytes at a time, and when a stream
// is resumed it goes on parsing in the middle of a stanza that was cut.
const maxRecord = 4096

// writeStanzas implements stanzaWriter.
func (t *tcp) writeStanzas(control, buf []byte, from int32, ends []entry, tail []byte) error {
	if _, ok := t.conn.(*tls.Conn); !ok || len(control)+len(buf)+len(tail) <= maxRecord {
		return t.streamWriter.writeStanzas(control, buf, from, ends, tail)
	}
	if err := t.streamWriter.writeStanzas(control, nil, 0, nil, nil); err != nil {
		return err
	}
	var start int32
	for i, e := range ends {
		end := e.end - from
		if i+1 < len(ends) && ends[i+1].end-from-start <= maxRecord {
			continue
		}
		if _, err := t.conn.Write(buf[start:end]); err != nil {
			return err
		}
		start = end
	}
	return t.streamWriter.writeStanzas(tail, nil, 0, nil, nil)
}

func (t *tcp) lastRead() time.Time { return time.Unix(0, t.read.Load()) }
func (t *tcp) Close() error        { return t.conn.Close() }

func (t *tcp) open(from, to jid.JID) (*confab.Element, error) {
	var b strings.Builder
	b.WriteString("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' xml:lang='en' to='")
	b.WriteString(escape(to.String()))
	if from.Localpart() != "" {
		b.WriteString("' from='" + escape(from.String()))
	}
	b.WriteString("'>")
	if t.begun {
		t.r.Restart()
	}
	t.begun = true
	t.wire.text(true, b.String())
	if _, err := io.WriteString(t.conn, b.String()); err != nil {
		return nil, err
	}
	h, err := t.r.Open()
	if err != nil {
		return nil, err
	}
	t.wire.element(false, h)
	if !h.Is(nsStream, "stream") {
		return nil, fmt.Errorf("client: this is no XMPP server: it began with <%s xmlns=%q>", h.Name.Local, h.Name.Space)
	}
	return h, nil
}

func (t *tcp) next() (*confab.Element, int, error) {
	el, err := t.r.Next()
	if err != nil {
		return nil, t.r.Size(), err
	}
	t.wire.element(false, el)
	return el, t.r.Size(), nil
}

func (t *tcp) send(el *confab.Element) error {
	b, err := el.AppendXML(nil, confab.NSClient)
	if err != nil {
		return err
	}
	t.wire.element(true, el)
	_, err = t.conn.Write(b)
	return err
}

func (t *tcp) end() error {
	t.wire.text(true, "</stream:stream>")
	_, err := io.WriteString(t.conn, "</stream:stream>")
	return err
}

func (t *tcp) tlsState() *tls.ConnectionState { return connState(t.conn) }

// connState returns the state of an encrypted connection, or nil.
func connState(conn net.Conn) *tls.ConnectionState {
	c, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return nil
	}
	s := c.ConnectionState()
	if !s.HandshakeComplete {
		return nil
	}
	return &s
}

// secure wraps the connection in TLS.
func (t *tcp) secure(ctx context.Context, cfg *tls.Config) (*tcp, error) {
	if t.r.Buffered() > 0 {
		return nil, errClear
	}
	c := tls.Client(t.conn, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return newTCP(c, t.limits, t.wire), nil
}

// escape makes an attribute value.
func escape(s string) string {
	return attrEscaper.Replace(s)
}

var attrEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")

// dialTCP makes an encrypted transport of a fresh connection.
func (c *Client) prepareTCP(ctx context.Context, conn net.Conn, direct bool) (transport, error) {
	domain := c.account.Domain()
	if connState(conn) != nil {
		return newTCP(conn, c.limits(), c.wire), nil
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	name := c.tlsName()
	if direct {
		tc := tls.Client(conn, c.cfg.tlsConfig(name, true))
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, c.handshakeError(err)
		}
		return newTCP(tc, c.limits(), c.wire), nil
	}
	t := newTCP(conn, c.limits(), c.wire)
	// In clear, the server learns the domain and nothing more.
	if _, err := t.open(jid.JID{}, domain); err != nil {
		return nil, err
	}
	features, err := nextFeatures(t)
	var se *StreamError
	if errors.As(err, &se) {
		// Anybody on the way can say that, so it neither ends Run nor leads
		// elsewhere.
		return nil, fmt.Errorf("client: before there was encryption: %v", se)
	}
	if err != nil {
		return nil, err
	}
	if features.Child(nsTLS, "starttls") == nil {
		return nil, c.encryptionError(ErrNoTLS)
	}
	if err := t.send(confab.El(nsTLS, "starttls")); err != nil {
		return nil, err
	}
	el, _, err := t.next()
	if err != nil {
		return nil, err
	}
	if !el.Is(nsTLS, "proceed") {
		return nil, c.encryptionError(fmt.Errorf("STARTTLS was answered with <%s>: %w", el.Name.Local, ErrNoTLS))
	}
	st, err := t.secure(ctx, c.cfg.tlsConfig(name, false))
	if err != nil {
		return nil, c.handshakeError(err)
	}
	return st, nil
}

func (c *Client) encryptionError(err error) error {
	return &EncryptionError{Domain: c.account.Domainpart(), Err: err}
}

// handshakeError tells a handshake that the two sides could not agree on, or
// that we must not trust, from a link that broke in the middle of it.
func (c *Client) handshakeError(err error) error {
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var broken net.Error
	if isVerification(err) || errors.Is(err, errClear) || errors.As(err, &alert) || errors.As(err, &record) {
		return c.encryptionError(err)
	}
	if errors.As(err, &broken) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("client: TLS handshake: %w", err)
	}
	if strings.HasPrefix(err.Error(), "tls: ") {
		return c.encryptionError(err)
	}
	return fmt.Errorf("client: TLS handshake: %w", err)
}

// errClear: an attempt to slip commands into an encrypted stream
// (CVE-2011-0411).
var errClear = errors.New("bytes came in clear after encryption was agreed")

// nextFeatures reads the features that follow a stream header.
func nextFeatures(t transport) (*confab.Element, error) {
	el, _, err := t.next()
	if err != nil {
		return nil, err
	}
	if el.Is(nsStream, "error") {
		return nil, streamError(el)
	}
	if !el.Is(nsStream, "features") {
		return nil, fmt.Errorf("client: expected the stream's features, got <%s xmlns=%q>", el.Name.Local, el.Name.Space)
	}
	return el, nil
}

func streamError(el *confab.Element) *StreamError {
	e := &StreamError{Condition: "undefined-condition"}
	for _, c := range el.Children {
		switch {
		case c.Name.Space != nsStreams:
		case c.Name.Local == "text":
			e.Text = c.Text
		default:
			e.Condition = c.Name.Local
			if c.Name.Local == "see-other-host" {
				e.Host = strings.TrimSpace(c.Text)
			}
		}
	}
	return e
}

// isEnd reports whether the other side ended the stream as it should.
func isEnd(err error) bool { return errors.Is(err, stream.ErrEnd) }
