package confabtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
)

// transcriptPatience is how long a Transcript waits for the client.
const transcriptPatience = 10 * time.Second

// A Transcript is a scripted server: a test says, line by line, what the client
// sends and what it gets, as the examples of the XEPs do.
//
//	tr := confabtest.NewTranscript(t)
//	c, err := client.New(client.Config{..., Dial: tr.Dial})
//	go c.Run(ctx)
//	tr.SignIn("romeo@example.net/orchard")
//	tr.Expect(`<presence/>`)
//	tr.Expect(`<iq type='get' id='${id}'><ping xmlns='urn:xmpp:ping'/></iq>`)
//	tr.Send(`<iq type='result' id='${id}'/>`)
//
// What is expected is compared as XML: the order of attributes, quotes, prefixes
// and white space between elements do not matter. Namespaces that are not given
// are jabber:client. In what is expected, the value of an attribute, or a text, is
// one of
//
//   - "*", which anything matches,
//   - "${name}", which anything matches the first time; the value is kept under
//     that name, and has to be the same the next time,
//   - "...", as the text of an element: its text and its children may be anything.
//
// In what is sent, ${name} stands for the kept value. A mistake ends the test with
// t.Fatalf, so the methods are for the test's own goroutine, but for Dial.
type Transcript struct {
	t    testing.TB
	vars map[string]string

	mu     sync.Mutex
	dialed []net.Conn // not yet accepted
	closed bool
	cond   sync.Cond

	conn net.Conn // the current one
	r    *stream.Reader
	all  []net.Conn
}

// NewTranscript makes a Transcript whose connections end with the test.
func NewTranscript(t testing.TB) *Transcript {
	tr := &Transcript{t: t, vars: map[string]string{}}
	tr.cond.L = &tr.mu
	t.Cleanup(tr.close)
	return tr
}

func (tr *Transcript) close() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.closed = true
	for _, c := range append(tr.all, tr.dialed...) {
		_ = c.Close()
	}
	tr.cond.Broadcast()
}

// Dial makes a connection to the script, for client.Config.Dial. It counts as
// encrypted, and works under testing/synctest.
func (tr *Transcript) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cl, sv := newPipe()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.closed {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("confabtest: the test is over")}
	}
	tr.dialed = append(tr.dialed, sv)
	tr.cond.Broadcast()
	return &secureConn{cl, tls.ConnectionState{
		Version: tls.VersionTLS12, HandshakeComplete: true,
		PeerCertificates: []*x509.Certificate{{Raw: []byte("transcript")}},
	}}, nil
}

// Accept waits for the client to connect, and goes on with that connection.
func (tr *Transcript) Accept() {
	tr.t.Helper()
	late := false
	timer := time.AfterFunc(transcriptPatience, func() {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		late = true
		tr.cond.Broadcast()
	})
	defer timer.Stop()
	tr.mu.Lock()
	for len(tr.dialed) == 0 && !late {
		tr.cond.Wait()
	}
	if len(tr.dialed) == 0 {
		tr.mu.Unlock()
		tr.t.Fatalf("transcript: the client did not connect")
	}
	tr.conn = tr.dialed[0]
	tr.dialed = tr.dialed[1:]
	tr.all = append(tr.all, tr.conn)
	tr.mu.Unlock()
	tr.r = stream.NewReader(tr.conn, stream.Limits{})
}

func (tr *Transcript) need() {
	tr.t.Helper()
	if tr.conn == nil {
		tr.Accept()
	}
}

// ExpectHeader waits for a stream header, the first or one after a restart, and
// checks where it goes, unless to is "".
func (tr *Transcript) ExpectHeader(to string) *confab.Element {
	tr.t.Helper()
	tr.need()
	tr.r.Restart()
	_ = tr.conn.SetReadDeadline(time.Now().Add(transcriptPatience))
	h, err := tr.r.Open()
	if err != nil {
		tr.t.Fatalf("transcript: expected a stream header, got %v", err)
	}
	if !h.Is(nsStream, "stream") || to != "" && h.Get("to") != to {
		tr.t.Fatalf("transcript: expected a stream header to %q, got\n%s", to, h)
	}
	return h
}

// SendHeader sends a stream header with these stream features.
func (tr *Transcript) SendHeader(from, features string) {
	tr.t.Helper()
	tr.write("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + nsStream +
		"' version='1.0' id='transcript' from='" + escape(from) + "'><stream:features>" + tr.expand(features) + "</stream:features>")
}

// Next waits for the next element, whatever it is.
func (tr *Transcript) Next() *confab.Element {
	tr.t.Helper()
	e, err := tr.next(transcriptPatience)
	if err != nil {
		tr.t.Fatalf("transcript: expected an element, got %v", err)
	}
	return e
}

func (tr *Transcript) next(d time.Duration) (*confab.Element, error) {
	tr.need()
	_ = tr.conn.SetReadDeadline(time.Now().Add(d))
	return tr.r.Next()
}

// Expect waits for the next element, which must match, and returns it.
func (tr *Transcript) Expect(xml string) *confab.Element {
	tr.t.Helper()
	want, err := parse(xml)
	if err != nil {
		tr.t.Fatalf("transcript: Expect: %v in\n%s", err, xml)
	}
	got, err := tr.next(transcriptPatience)
	if err != nil {
		tr.t.Fatalf("transcript: expected\n%s\ngot %v", pretty(want), err)
	}
	if diff := tr.compare(want, got); diff != "" {
		tr.t.Fatalf("transcript: %s\nexpected\n%s\ngot\n%s", diff, pretty(want), pretty(got))
	}
	return got
}

// ExpectNothing makes sure that the client sends nothing for a while. Under
// testing/synctest that takes no time.
func (tr *Transcript) ExpectNothing(d time.Duration) {
	tr.t.Helper()
	got, err := tr.next(d)
	if err == nil {
		tr.t.Fatalf("transcript: expected nothing, got\n%s", pretty(got))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		tr.t.Fatalf("transcript: expected nothing, got %v", err)
	}
}

// ExpectEnd waits for the client to close its stream.
func (tr *Transcript) ExpectEnd() {
	tr.t.Helper()
	got, err := tr.next(transcriptPatience)
	if err == nil {
		tr.t.Fatalf("transcript: expected the end of the stream, got\n%s", pretty(got))
	}
	if !errors.Is(err, stream.ErrEnd) {
		tr.t.Fatalf("transcript: expected the end of the stream, got %v", err)
	}
}

// Send writes XML, which need not be well-formed, after putting in what was kept.
func (tr *Transcript) Send(xml string) {
	tr.t.Helper()
	tr.need()
	tr.write(tr.expand(xml))
}

func (tr *Transcript) write(s string) {
	tr.t.Helper()
	_ = tr.conn.SetWriteDeadline(time.Now().Add(transcriptPatience))
	if _, err := tr.conn.Write([]byte(s)); err != nil {
		tr.t.Fatalf("transcript: writing: %v", err)
	}
}

// Cut ends the connection as if the network was gone. The next step waits for the
// client to connect again.
func (tr *Transcript) Cut() {
	if m, ok := tr.conn.(*memConn); ok {
		m.reset()
	}
	tr.conn = nil
}

// Get returns the value that was kept under a name.
func (tr *Transcript) Get(name string) string { return tr.vars[name] }

// Set keeps a value under a name.
func (tr *Transcript) Set(name, value string) { tr.vars[name] = value }

func (tr *Transcript) expand(s string) string {
	for name, v := range tr.vars {
		s = strings.ReplaceAll(s, "${"+name+"}", escape(v))
	}
	return s
}

// SignIn plays the sign-in of a client to its end, with PLAIN by SASL2 (XEP-0388)
// and Bind 2 (XEP-0386), so that address, with its resource, is bound. Inline are
// answers to what the client asks for along with it, put into <bound/>: without
// any, nothing is offered.
func (tr *Transcript) SignIn(address string) {
	tr.t.Helper()
	tr.signIn(address, "", "", "")
}

// SignInManaged is SignIn with stream management (XEP-0198) under this id: the
// counts begin at zero on both sides.
func (tr *Transcript) SignInManaged(address, id string) {
	tr.t.Helper()
	tr.signIn(address, "<inline><feature var='urn:xmpp:sm:3'/></inline>", "<sm xmlns='urn:xmpp:sm:3'/>",
		"<enabled xmlns='urn:xmpp:sm:3' id='"+escape(id)+"' resume='true' max='600'/>")
}

func (tr *Transcript) signIn(address, inBind, inline, bound string) {
	tr.t.Helper()
	a, err := parseAddr(address)
	if err != nil || a.resource == "" {
		tr.t.Fatalf("transcript: SignIn: %q is no full address", address)
	}
	tr.ExpectHeader(a.domain)
	tr.SendHeader(a.domain, "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism><inline>"+
		"<bind xmlns='urn:xmpp:bind:0'>"+inBind+"</bind>"+inline+"</inline></authentication>")
	e := tr.Next()
	if !e.Is(nsSASL2, "authenticate") || e.Get("mechanism") != "PLAIN" || e.Child(nsBind2, "bind") == nil {
		tr.t.Fatalf("transcript: SignIn: expected <authenticate/> with PLAIN and <bind/>, got\n%s", pretty(e))
	}
	if (bound != "") != (e.Child(nsBind2, "bind").Child(nsSM, "enable") != nil) {
		tr.t.Fatalf("transcript: SignIn: stream management was to be asked for: %v, but\n%s", bound != "", pretty(e))
	}
	tr.write("<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>" + escape(address) +
		"</authorization-identifier><bound xmlns='urn:xmpp:bind:0'>" + bound + "</bound></success><stream:features/>")
}

// Resume plays the sign-in of a client that resumes a stream within it. The client
// must name the stream and have handled h stanzas; handled is how many the server
// says to have.
func (tr *Transcript) Resume(address, id string, h, handled uint32) {
	tr.t.Helper()
	a, err := parseAddr(address)
	if err != nil {
		tr.t.Fatalf("transcript: Resume: %v", err)
	}
	tr.ExpectHeader(a.domain)
	tr.SendHeader(a.domain, "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism><inline>"+
		"<bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:sm:3'/></inline></bind><sm xmlns='urn:xmpp:sm:3'/></inline></authentication>")
	e := tr.Next()
	r := e.Child(nsSM, "resume")
	if got := fmt.Sprintf("%s %s", r.Get("previd"), r.Get("h")); got != fmt.Sprintf("%s %d", id, h) {
		tr.t.Fatalf("transcript: Resume: expected previd and h to be %s %d, got\n%s", id, h, pretty(e))
	}
	tr.write(fmt.Sprintf("<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>%s</authorization-identifier>"+
		"<resumed xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/></success>", escape(address), escape(id), handled))
}
