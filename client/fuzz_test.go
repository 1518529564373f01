package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-im/confab"
)

// scripted is a connection whose other side says what is written down and then
// hangs up. It counts as encrypted.
type scripted struct {
	net.Conn // nil: what is not below is not called
	r        *bytes.Reader
	mu       sync.Mutex
	closed   bool
	sent     bytes.Buffer
}

func (c *scripted) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.r.Read(b)
}

func (c *scripted) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.sent.Write(b)
}

func (c *scripted) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }
func (c *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

func (c *scripted) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13}
}

const (
	fuzzPassword = "hunter2hunter2"
	fuzzHeader   = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1' from='example.org'>"
)

// play lets a client sign in to a server that says this, and says it again when
// the client comes back with what it has learnt. It returns how Run ended.
func play(t *testing.T, cfg Config, script []byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	var wire strings.Builder
	dials := 0
	cfg.Address, cfg.Server = "me@example.org", "x:1"
	cfg.BackoffMin, cfg.BackoffMax = 1, 1
	cfg.MaxStanza = 1 << 16
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		if dials++; dials > 2 {
			cancel()
			return nil, io.ErrClosedPipe
		}
		return &scripted{r: bytes.NewReader(script)}, nil
	}
	cfg.Wire = func(e WireEvent) {
		mu.Lock()
		defer mu.Unlock()
		wire.WriteString(e.XML)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	confab.On(c, func(_ context.Context, e confab.HandlerError) {
		if e.Panicked {
			t.Errorf("%v", e.Err)
		}
	})
	began := time.Now()
	err = c.Run(ctx)
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("Run took %v: %v", d, err)
	}
	if err == nil {
		t.Error("Run returned nil though nobody closed the client")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, s := range []string{
		fuzzPassword, base64.StdEncoding.EncodeToString([]byte(fuzzPassword)),
		base64.StdEncoding.EncodeToString([]byte("\x00me\x00" + fuzzPassword)),
	} {
		if !bytes.Contains(script, []byte(s)) && (strings.Contains(wire.String(), s) || err != nil && strings.Contains(err.Error(), s)) {
			t.Errorf("%q was logged", s)
		}
	}
	checkEnded(t, c)
	return err
}

// checkEnded fails the test if a request can still be sent.
func checkEnded(t *testing.T, c *Client) {
	t.Helper()
	if err := c.SendElement(context.Background(), confab.El("", "presence")); !errors.Is(err, confab.ErrClosed) {
		t.Errorf("after Run: %v", err)
	}
}

const (
	sasl1Features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
	bindFeatures  = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
	sasl2Features = "<stream:features><authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism><inline><sm xmlns='urn:xmpp:sm:3'/><fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-NONE</mechanism></fast><bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:sm:3'/></inline></bind></inline></authentication></stream:features>"
	sasl2Success  = "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>me@example.org/x</authorization-identifier><token xmlns='urn:xmpp:fast:0' token='t' expiry='2099-01-01T00:00:00Z'/><bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' id='1' resume='true' max='300'/></bound></success><stream:features/>"
)

// FuzzFeatures is a server that says anything after its stream header.
func FuzzFeatures(f *testing.F) {
	for _, s := range []string{
		"", "</stream:stream>", "<stream:features/>", sasl1Features,
		sasl1Features + "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + fuzzHeader + bindFeatures + "<iq type='result' id='x'/>",
		sasl1Features + "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + fuzzHeader + "<stream:features/>",
		sasl1Features + "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AAAA</challenge>",
		sasl1Features + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>no</text></failure>",
		sasl1Features + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/></failure>",
		"<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>evil:1</see-other-host></stream:error>",
		strings.ReplaceAll(sasl1Features, "PLAIN", "SCRAM-SHA-1") + "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14LHM9QUFBQSxpPTQwOTY=</challenge>",
		sasl2Features + sasl2Success, "<features xmlns='x'/>", "<a", "\x00", "<!DOCTYPE x>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		_ = play(t, Config{Password: fuzzPassword}, append([]byte(fuzzHeader), script...))
	})
}

// FuzzSASL2 is a server that offers everything and then says anything.
func FuzzSASL2(f *testing.F) {
	for _, s := range []string{
		"", sasl2Success,
		sasl2Success + "<message from='a@b'><body>hi</body></message><iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='0'/></stream:stream>",
		sasl2Success + "<a xmlns='urn:xmpp:sm:3' h='99'/>", sasl2Success + "<a xmlns='urn:xmpp:sm:3'/>",
		"<success xmlns='urn:xmpp:sasl:2'><resumed xmlns='urn:xmpp:sm:3' previd='1' h='5'/></success>",
		"<success xmlns='urn:xmpp:sasl:2'><failed xmlns='urn:xmpp:sm:3' h='5'/></success>" + bindFeatures,
		"<success xmlns='urn:xmpp:sasl:2'/>" + bindFeatures, "<success xmlns='urn:xmpp:sasl:2'/><stream:features/>",
		"<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>eve@example.org/x</authorization-identifier><bound xmlns='urn:xmpp:bind:0'/></success>",
		"<continue xmlns='urn:xmpp:sasl:2'><tasks><task>HOTP</task></tasks></continue>",
		"<failure xmlns='urn:xmpp:sasl:2'><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>" + sasl2Success,
		"<challenge xmlns='urn:xmpp:sasl:2'>====</challenge>", "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		_ = play(t, Config{Password: fuzzPassword}, append([]byte(fuzzHeader+sasl2Features), script...))
	})
}
