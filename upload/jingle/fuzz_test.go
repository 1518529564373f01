package jingle

import (
	"bytes"
	"encoding/xml"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// FuzzJingle reads what others say; what is read can be written and read again.
func FuzzJingle(f *testing.F) {
	f.Add("<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='a'><content creator='initiator' name='f' senders='initiator'><description xmlns='urn:xmpp:jingle:apps:file-transfer:5'><file><name>x</name><size>5</size><range offset='1' length='2'/><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>AAAA</hash></file></description><transport xmlns='urn:xmpp:jingle:transports:s5b:1' sid='s'><candidate cid='c' host='h' port='1' priority='5' type='proxy' jid='p'/></transport></content><reason><cancel/></reason></jingle>")
	f.Add("<transport xmlns='urn:xmpp:jingle:transports:ibb:1' sid='s' block-size='4096'/>")
	f.Add("<query xmlns='http://jabber.org/protocol/bytestreams' sid='s'><streamhost jid='a@b/c' host='h' port='1'/></query>")
	f.Fuzz(func(t *testing.T, s string) {
		el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
		if err != nil {
			return
		}
		_, _, _ = parseBlocks(el)
		_ = parseHosts(el, jid.MustParse("a@b/c"))
		check := func(k content) {
			if o, err := parseOffer(k.transport); err == nil {
				again, err := parseOffer(o.element(true))
				require.NoError(t, err)
				require.Equal(t, len(o.candidates), len(again.candidates))
			}
			if d, err := parseFile(k.description.Child(nsFile, "file")); err == nil {
				require.False(t, d.offset < 0 || d.length < -1 || d.Size < -1 || strings.ContainsAny(d.Name, "/\\"))
				again, err := parseFile(d.element())
				require.NoError(t, err)
				again.Date, d.Date = time.Time{}, time.Time{} // fractions of seconds are not kept
				require.True(t, reflect.DeepEqual(d, again), "%+v %+v", d, again)
			}
		}
		if a, err := parseAction(el); err == nil {
			for _, k := range a.contents {
				check(k)
			}
			_ = a.end != nil && a.end.Error() == ""
		}
	})
}

// FuzzBlock reads blocks: none has more than its text can have.
func FuzzBlock(f *testing.F) {
	f.Add("AAAA")
	f.Add("QQ==")
	f.Add(" Q\nQ= = ")
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := decodeBlock(s); err == nil {
			require.LessOrEqual(t, len(b), len(s)*3/4)
		}
	})
}

// wire is a connection that says what it is told to.
type wire struct {
	io.Reader
	bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)       { return w.Reader.Read(p) }
func (*wire) Close() error                       { return nil }
func (*wire) LocalAddr() net.Addr                { return nil }
func (*wire) RemoteAddr() net.Addr               { return nil }
func (*wire) SetDeadline(time.Time) error        { return nil }
func (*wire) SetReadDeadline(t time.Time) error  { return nil }
func (*wire) SetWriteDeadline(t time.Time) error { return nil }

// FuzzSOCKS reads both sides of a handshake. Nobody is let in who does not know the name.
func FuzzSOCKS(f *testing.F) {
	name := strings.Repeat("a", 40)
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x28" + name + "\x00\x00"))
	f.Add([]byte("\x05\x00\x05\x00\x00\x03\x28" + name + "\x00\x00"))
	f.Add([]byte("\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		asked := ""
		err := socksServe(&wire{Reader: bytes.NewReader(b)}, func(dst string) bool { asked = dst; return dst == name })
		if err == nil && asked != name {
			t.Fatal("a stranger was let in")
		}
		_ = socksConnect(&wire{Reader: bytes.NewReader(b)}, name)
	})
}
