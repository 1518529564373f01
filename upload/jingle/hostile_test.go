package jingle_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/confab-im/confab/upload/jingle"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// mallory is a client that says what a test wants.
type mallory struct {
	*testclient.Client
	t     *testing.T
	ctx   context.Context
	heard chan *confab.Element // what she is asked
}

func newMallory(t *testing.T, srv *confabtest.Server, user string) *mallory {
	m := &mallory{t: t, ctx: testclient.Context(t), heard: make(chan *confab.Element, 1000)}
	m.Client = testclient.Up(t, testclient.Embedded(srv, user), func(c *client.Client) {
		for _, n := range [][2]string{{"urn:xmpp:jingle:1", "jingle"}, {"http://jabber.org/protocol/ibb", "open"}, {"http://jabber.org/protocol/ibb", "data"}, {"http://jabber.org/protocol/ibb", "close"}} {
			require.NoError(t, c.HandleIQ(stanza.SetIQ, xml.Name{Space: n[0], Local: n[1]}, func(_ context.Context, q *confab.IQ) (any, error) {
				m.heard <- q.Payload
				return nil, nil
			}))
		}
	})
	return m
}

// ask sends a request and returns the condition of the error, or "".
func (m *mallory) ask(to *person, payload string) string {
	m.t.Helper()
	_, err := m.Ask(m.ctx, confab.El(confab.NSClient, "iq", element(m.t, payload)).Set("type", "set").Set("to", to.LocalAddr().String()))
	var r *confab.Refused
	if errors.As(err, &r) {
		for _, c := range r.Element.Children {
			if c.Name.Space == "urn:xmpp:jingle:errors:1" {
				return c.Name.Local
			}
		}
		return string(r.Err.Condition)
	}
	require.NoError(m.t, err)
	return ""
}

// next waits for what has this action, or this name.
func (m *mallory) next(name string) *confab.Element {
	m.t.Helper()
	late := time.After(testclient.Patience)
	for {
		select {
		case e := <-m.heard:
			if e.Get("action") == name || e.Name.Local == name {
				return e
			}
		case <-late:
			m.t.Fatal("no " + name)
		}
	}
}

func element(t *testing.T, s string) *confab.Element {
	t.Helper()
	el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
	require.NoError(t, err)
	return el
}

// jingleOf makes a <jingle/>; file and transport are the content's.
func jingleOf(action, sid, content string) string {
	return "<jingle xmlns='urn:xmpp:jingle:1' action='" + action + "' sid='" + sid + "'>" + content + "</jingle>"
}

func contentOf(senders, file, transport string) string {
	return "<content creator='initiator' name='f' senders='" + senders + "'><description xmlns='urn:xmpp:jingle:apps:file-transfer:5'>" + file + "</description>" + transport + "</content>"
}

const (
	small   = "<file><name>../../x</name><size>10</size></file>"
	viaIBB  = "<transport xmlns='urn:xmpp:jingle:transports:ibb:1' sid='s1' block-size='4096'/>"
	viaS5B  = "<transport xmlns='urn:xmpp:jingle:transports:s5b:1' sid='s5' mode='tcp'/>"
	openIBB = "<open xmlns='http://jabber.org/protocol/ibb' sid='s1' block-size='4096'/>"
)

func data(seq int, text string) string {
	return fmt.Sprintf("<data xmlns='http://jabber.org/protocol/ibb' sid='s1' seq='%d'>%s</data>", seq, text)
}

// TestSignalling sends what makes no sense, and what belongs to others.
func TestSignalling(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	p := signIn(t, testclient.Embedded(srv, "juliet"), jingle.Config{})
	m := newMallory(t, srv, "mallory")
	other := newMallory(t, srv, "other")

	for _, c := range [][2]string{
		{jingleOf("session-initiate", "", contentOf("initiator", small, viaIBB)), "bad-request"},
		{jingleOf("", "a", contentOf("initiator", small, viaIBB)), "bad-request"},
		{jingleOf("session-initiate", strings.Repeat("x", 300), contentOf("initiator", small, viaIBB)), "bad-request"},
		{jingleOf("session-initiate", "a", ""), "bad-request"},
		{jingleOf("session-initiate", "a", contentOf("initiator", "", viaIBB)), "bad-request"},
		{jingleOf("session-initiate", "a", contentOf("initiator", "<file><size>-1</size></file>", viaIBB)), "bad-request"},
		{jingleOf("session-initiate", "a", contentOf("initiator", "<file><size>99999999999999999999</size></file>", viaIBB)), "bad-request"},
		{jingleOf("session-initiate", "a", contentOf("initiator", "<file><size>10</size><range offset='11'/></file>", viaIBB)), "bad-request"},
		{jingleOf("session-initiate", "a", contentOf("initiator", "<file><size>10</size><range offset='5' length='9223372036854775807'/></file>", viaIBB)), "bad-request"},
		{jingleOf("session-info", "nothing", ""), "unknown-session"},
		{jingleOf("session-terminate", "nothing", ""), "unknown-session"},
		{"<open xmlns='http://jabber.org/protocol/ibb' sid='x' block-size='0'/>", "bad-request"},
		{"<open xmlns='http://jabber.org/protocol/ibb' sid='x' block-size='4096'/>", "not-acceptable"},
		{"<query xmlns='http://jabber.org/protocol/bytestreams' sid='x'><streamhost jid='m@x' host='127.0.0.1' port='1'/></query>", "not-acceptable"},
		{data(0, "AAAA"), "item-not-found"},
		{"<close xmlns='http://jabber.org/protocol/ibb' sid='x'/>", "item-not-found"},
	} {
		require.Equal(t, c[1], m.ask(p, c[0]), c[0])
	}
	require.Empty(t, p.offers.Take())

	// What is not known here is refused in the session.
	for _, c := range [][2]string{
		{contentOf("both", small, viaIBB), "unsupported-applications"},
		{contentOf("initiator", small, viaIBB) + contentOf("initiator", small, viaIBB), "unsupported-applications"},
		{contentOf("initiator", small, "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'/>"), "unsupported-transports"},
		{contentOf("initiator", small, ""), "unsupported-transports"},
	} {
		require.Equal(t, "", m.ask(p, jingleOf("session-initiate", "b", c[0])))
		require.NotNil(t, m.next("session-terminate").Child("urn:xmpp:jingle:1", "reason").Child("urn:xmpp:jingle:1", c[1]))
	}
	require.Empty(t, p.offers.Take())

	// A session belongs to who has begun it.
	require.Equal(t, "", m.ask(p, jingleOf("session-initiate", "c", contentOf("initiator", small, viaIBB))))
	o := p.offers.Next(t, nil)
	require.Equal(t, "x", o.Name)
	require.Equal(t, "tie-break", m.ask(p, jingleOf("session-initiate", "c", contentOf("initiator", small, viaIBB))))
	for _, action := range []string{"session-terminate", "session-info", "transport-info", "session-accept"} {
		require.Equal(t, "unknown-session", other.ask(p, jingleOf(action, "c", contentOf("initiator", small, viaIBB))))
	}
	require.Equal(t, "out-of-order", m.ask(p, jingleOf("session-accept", "c", contentOf("initiator", small, viaIBB))))
	require.Equal(t, "out-of-order", m.ask(p, jingleOf("transport-replace", "c", contentOf("initiator", small, viaIBB))))
	require.Equal(t, "unsupported-info", m.ask(p, jingleOf("session-info", "c", "<ringing xmlns='urn:x'/>")))
	require.Equal(t, "", m.ask(p, jingleOf("session-info", "c", "")))
	require.Equal(t, "feature-not-implemented", m.ask(p, jingleOf("content-add", "c", contentOf("initiator", small, viaIBB))))
	require.Equal(t, "", m.ask(p, jingleOf("session-terminate", "c", "<reason><success/></reason>")))
	<-o.Done()
	require.ErrorIs(t, o.Accept(p.ctx, io.Discard), jingle.ErrUsed)
}

// TestFlood begins more than is taken.
func TestFlood(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	p := signIn(t, testclient.Embedded(srv, "juliet"), jingle.Config{MaxPeer: 3, MaxAll: 5})
	m, other := newMallory(t, srv, "mallory"), newMallory(t, srv, "other")
	taken := 0
	for i := range 1000 {
		switch got := m.ask(p, jingleOf("session-initiate", fmt.Sprint(i), contentOf("initiator", small, viaIBB))); got {
		case "":
			taken++
		default:
			require.Equal(t, "resource-constraint", got)
		}
	}
	require.Equal(t, 3, taken)
	for i := range 10 {
		if other.ask(p, jingleOf("session-initiate", fmt.Sprint(i), contentOf("initiator", small, viaIBB))) == "" {
			taken++
		}
	}
	require.Equal(t, 5, taken)
	// There is room again when some are answered.
	require.NoError(t, p.offers.Next(t, nil).Decline(p.ctx))
	require.Equal(t, "", m.ask(p, jingleOf("session-initiate", "again", contentOf("initiator", small, viaIBB))))
	// What is said of an offer that nobody has accepted is not kept.
	info := jingleOf("transport-info", "again", "<content creator='initiator' name='f'>"+viaS5B+"</content>")
	for range 100 {
		require.Equal(t, "", m.ask(p, info))
	}
}

// TestBlocks sends blocks that are not in order, too many, or not what was said.
func TestBlocks(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	p := signIn(t, testclient.Embedded(srv, "juliet"), jingle.Config{})
	m, other := newMallory(t, srv, "mallory"), newMallory(t, srv, "other")
	const ten = "AAAAAAAAAAAAAA==" // ten bytes
	n := 0
	begin := func(file string) (*bytes.Buffer, chan error) {
		n++
		require.Equal(t, "", m.ask(p, jingleOf("session-initiate", fmt.Sprint(n), contentOf("initiator", file, viaIBB))))
		o := p.offers.Next(t, nil)
		var b bytes.Buffer
		done := make(chan error, 1)
		go func() { done <- o.Accept(p.ctx, &b, jingle.Limit(1000)) }()
		m.next("session-accept")
		require.Equal(t, "item-not-found", other.ask(p, data(0, ten)), "this is not hers")
		require.Equal(t, "not-acceptable", other.ask(p, openIBB), "this is not hers")
		return &b, done
	}
	b, done := begin(small)
	require.Equal(t, "", m.ask(p, openIBB))
	require.Equal(t, "not-acceptable", m.ask(p, openIBB))
	require.Equal(t, "item-not-found", other.ask(p, data(0, ten)))
	require.Equal(t, "item-not-found", other.ask(p, "<close xmlns='http://jabber.org/protocol/ibb' sid='s1'/>"))
	require.Equal(t, "", m.ask(p, data(0, ten)))
	require.NoError(t, <-done)
	require.Equal(t, 10, b.Len())

	for name, c := range map[string]struct {
		blocks []string
		want   error
		file   string
	}{
		"before it is open": {[]string{data(0, ten)}, jingle.ErrConnect, small},
		"jumps":             {[]string{openIBB, data(1, ten)}, jingle.ErrConnect, small},
		"again":             {[]string{openIBB, data(0, "AAAA"), data(0, "AAAA")}, jingle.ErrConnect, small},
		"no base64":         {[]string{openIBB, data(0, "!!!!")}, jingle.ErrConnect, small},
		"padding inside":    {[]string{openIBB, data(0, "AA==AAAA")}, jingle.ErrConnect, small},
		"no number":         {[]string{openIBB, "<data xmlns='http://jabber.org/protocol/ibb' sid='s1' seq='x'>AAAA</data>"}, jingle.ErrConnect, small},
		"larger blocks":     {[]string{openIBB, data(0, strings.Repeat("AAAA", 2000))}, jingle.ErrConnect, small},
		"ends early":        {[]string{openIBB, data(0, "AAAA"), "<close xmlns='http://jabber.org/protocol/ibb' sid='s1'/>"}, jingle.ErrConnect, small},
		"goes on":           {[]string{openIBB, data(0, "AAAAAAAA"), data(1, strings.Repeat("AAAA", 100))}, upload.ErrCorrupt, small},
		"another hash":      {[]string{openIBB, data(0, ten)}, upload.ErrCorrupt, "<file><size>10</size><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>" + sha([]byte("x")) + "</hash></file>"},
		"another SHA-1":     {[]string{openIBB, data(0, ten)}, upload.ErrCorrupt, "<file><size>10</size><hash xmlns='urn:xmpp:hashes:2' algo='sha-1'>w0mcJylzCn+AfvuGdqkty2+KP48=</hash></file>"},
		"a hash that comes": {[]string{openIBB, data(0, ten), jingleOf("session-info", "@", "<checksum xmlns='urn:xmpp:jingle:apps:file-transfer:5' creator='initiator' name='f'><file><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>"+sha([]byte("x"))+"</hash></file></checksum>")},
			upload.ErrCorrupt, "<file><size>10</size><hash-used xmlns='urn:xmpp:hashes:2' algo='sha-256'/></file>"},
		"no size": {[]string{openIBB, data(0, strings.Repeat("AAAA", 400))}, upload.ErrLimit, "<file/>"},
	} {
		t.Run(name, func(t *testing.T) {
			b, done := begin(c.file)
			for _, s := range c.blocks {
				_ = m.ask(p, strings.ReplaceAll(s, "'@'", fmt.Sprintf("'%d'", n)))
			}
			require.ErrorIs(t, <-done, c.want)
			require.LessOrEqual(t, b.Len(), 1000)
		})
	}

	// Who does not wait for acknowledgements is held, and then cut off.
	n++
	require.Equal(t, "", m.ask(p, jingleOf("session-initiate", fmt.Sprint(n), contentOf("initiator", "<file><size>10000000</size></file>", viaIBB))))
	o := p.offers.Next(t, nil)
	stuck := make(chan struct{})
	go func() {
		done <- o.Accept(p.ctx, writer(func(p []byte) (int, error) { <-stuck; return len(p), nil }), jingle.Limit(1<<30))
	}()
	m.next("session-accept")
	require.Equal(t, "", m.ask(p, openIBB))
	block := strings.Repeat("AAAA", 1365)
	for i := range 200 {
		el := element(t, data(i, block))
		require.NoError(t, m.SendElement(m.ctx, confab.El(confab.NSClient, "iq", el).Set("type", "set").Set("id", fmt.Sprint("d", i)).Set("to", p.LocalAddr().String())))
	}
	require.NotEqual(t, "", m.ask(p, data(200, block)))
	close(stuck)
	require.Error(t, <-done)
}

// TestSOCKS meets those who listen, or connect, and do not keep to the protocol.
func TestSOCKS(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	direct := jingle.Config{Reach: jingle.Direct, Addresses: []string{"127.0.0.1"}, Listen: "127.0.0.1:0", Dial: new(net.Dialer).DialContext}
	romeo := signIn(t, testclient.Embedded(srv, "romeo"), direct)
	m := newMallory(t, srv, "mallory")

	// Wrong handshakes reach nothing, and the bytes go in-band then.
	done := make(chan error, 1)
	go func() { done <- romeo.files.Send(romeo.ctx, m.LocalAddr(), upload.FromBytes("x", random(10))) }()
	init := m.next("session-initiate")
	sid := init.Get("sid")
	tr := init.Child("urn:xmpp:jingle:1", "content").Child("urn:xmpp:jingle:transports:s5b:1", "transport")
	var port, cid string
	for c := range tr.All("urn:xmpp:jingle:transports:s5b:1", "candidate") {
		if c.Get("type") == "direct" {
			port, cid = c.Get("port"), c.Get("cid")
		}
	}
	require.NotEmpty(t, port)
	for _, hello := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x05\x00", "\x04\x01\x00", "\x05\x01\x02",
		"\x05\x01\x00\x05\x01\x00\x03\x28" + strings.Repeat("0", 40) + "\x00\x00", "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"} {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		require.NoError(t, err)
		_, _ = io.WriteString(c, hello)
		_ = c.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(c)
		require.NotContains(t, string(got), "\x05\x00\x00", "nobody is let in")
		_ = c.Close()
	}

	// Whoever listens at the other side talks nonsense.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for _, answer := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\x05\xff", "\x05\x00\x05\x01", "\x05\x00\x05\x00\x00\x09"} {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, answer)
			_, _ = io.ReadFull(c, make([]byte, 3))
			_ = c.Close()
		}
	}()
	cands := ""
	for i := range 4 {
		cands += fmt.Sprintf("<candidate cid='c%d' host='127.0.0.1' port='%d' priority='%d' type='direct' jid='m@x/y'/>", i, l.Addr().(*net.TCPAddr).Port, 100+i)
	}
	content := func(inside string) string {
		return "<content creator='initiator' name='file' senders='initiator'>" + inside + "</content>"
	}
	s5b := func(inside string) string {
		return content("<transport xmlns='urn:xmpp:jingle:transports:s5b:1' sid='" + tr.Get("sid") + "'>" + inside + "</transport>")
	}
	require.Equal(t, "", m.ask(romeo, jingleOf("session-accept", sid, content("<description xmlns='urn:xmpp:jingle:apps:file-transfer:5'><file/></description><transport xmlns='urn:xmpp:jingle:transports:s5b:1' sid='"+tr.Get("sid")+"'>"+cands+"</transport>"))))
	require.NotNil(t, m.next("transport-info").Child("urn:xmpp:jingle:1", "content").Child("urn:xmpp:jingle:transports:s5b:1", "transport").Child("urn:xmpp:jingle:transports:s5b:1", "candidate-error"))
	// She says that she has connected, and has not.
	require.Equal(t, "", m.ask(romeo, jingleOf("transport-info", sid, s5b("<candidate-used cid='"+cid+"'/>"))))
	replace := m.next("transport-replace")
	require.NotNil(t, replace)
	require.Equal(t, "", m.ask(romeo, jingleOf("transport-reject", sid, content(""))))
	require.ErrorIs(t, <-done, jingle.ErrConnect)
	require.NotNil(t, m.next("session-terminate"))
}

// TestReach counts to whom connections are made.
func TestReach(t *testing.T) {
	for _, c := range []struct {
		reach jingle.Reach
		hosts []string
		want  []string
	}{
		{jingle.OwnProxies, nil, nil},
		{jingle.Proxies, nil, []string{"198.51.100.1:7777"}},
		{jingle.Direct, nil, []string{"10.0.0.1:7777", "192.0.2.1:7777", "198.51.100.1:7777"}},
		{jingle.Proxies, []string{"10.0.0.9"}, []string{"10.0.0.9:7777", "198.51.100.1:7777"}},
	} {
		t.Run(fmt.Sprint(c.reach, c.hosts), func(t *testing.T) {
			srv := confabtest.NewServer(confabtest.Config{})
			defer srv.Close()
			dialed := make(chan string, 100)
			p := signIn(t, testclient.Embedded(srv, "juliet"), jingle.Config{Reach: c.reach, Hosts: c.hosts, Addresses: []string{}, Listen: "127.0.0.1:0",
				Dial: func(_ context.Context, _, address string) (net.Conn, error) {
					dialed <- address
					return nil, errors.New("counted")
				}})
			m := newMallory(t, srv, "mallory")
			cands := ""
			for i, h := range []string{"direct 192.0.2.1", "direct 10.0.0.1", "proxy 198.51.100.1", "proxy 10.0.0.9", "proxy 0.0.0.0", "proxy 224.0.0.1", "proxy fe80::1", "direct a b",
				"proxy １０.0.0.1", "proxy 10。0。0。1", "proxy 127.1", "proxy 0x7f000001", "proxy 2130706433", "proxy ::127.0.0.1", "proxy 64:ff9b::7f00:1"} {
				typ, host, _ := strings.Cut(h, " ")
				if host == "10.0.0.9" && c.reach == jingle.Direct {
					continue
				}
				cands += fmt.Sprintf("<candidate cid='c%d' host='%s' port='7777' priority='%d' type='%s' jid='proxy.confab.test'/>", i, host, i, typ)
			}
			require.Equal(t, "", m.ask(p, jingleOf("session-initiate", "1", contentOf("initiator", small, "<transport xmlns='urn:xmpp:jingle:transports:s5b:1' sid='s5'>"+cands+"</transport>"))))
			require.Empty(t, dialed, "an offer alone reaches nobody")
			o := p.offers.Next(t, nil)
			done := make(chan error, 1)
			go func() { done <- o.Accept(p.ctx, io.Discard) }()
			accept := m.next("session-accept")
			require.NotContains(t, accept.String(), "type='direct'")
			m.next("transport-info")
			require.Equal(t, "", m.ask(p, jingleOf("session-terminate", "1", "")))
			require.ErrorIs(t, <-done, jingle.ErrCanceled)
			close(dialed)
			seen := map[string]bool{}
			for a := range dialed {
				seen[a] = true
			}
			require.Len(t, seen, len(c.want))
			for _, w := range c.want {
				require.True(t, seen[w], w)
			}
		})
	}
}

// TestStall has the other side say nothing more.
func TestStall(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	p := signIn(t, testclient.Embedded(srv, "juliet"), jingle.Config{Patience: 50 * time.Millisecond, OfferTime: 50 * time.Millisecond})
	m := newMallory(t, srv, "mallory")
	for i, blocks := range [][]string{{}, {openIBB}, {openIBB, data(0, "AAAA")}} {
		require.Equal(t, "", m.ask(p, jingleOf("session-initiate", fmt.Sprint(i), contentOf("initiator", small, viaIBB))))
		o := p.offers.Next(t, nil)
		done := make(chan error, 1)
		go func() { done <- o.Accept(p.ctx, io.Discard) }()
		for _, b := range blocks {
			_ = m.ask(p, b)
		}
		if err := <-done; !errors.Is(err, jingle.ErrUsed) { // a slow machine: the offer was too old
			require.ErrorIs(t, err, jingle.ErrStalled)
		}
	}
	// Nobody answers an offer.
	require.Equal(t, "", m.ask(p, jingleOf("session-initiate", "x", contentOf("initiator", small, viaIBB))))
	require.NotNil(t, m.next("session-terminate"))
	o := p.offers.Next(t, nil)
	<-o.Done()
	require.ErrorIs(t, o.Decline(p.ctx), jingle.ErrUsed)
}

// TestSealed sends nothing in clear where that is not wanted.
func TestSealed(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	sealed := signIn(t, testclient.Embedded(srv, "romeo"), jingle.Config{Sealed: isSealed})
	p := signIn(t, testclient.Embedded(srv, "juliet"), jingle.Config{})
	require.ErrorIs(t, sealed.files.Send(sealed.ctx, p.LocalAddr(), upload.FromBytes("x", []byte("x"))), upload.ErrClear)
	require.Empty(t, p.offers.Take())
	done := sending(sealed, p, upload.FromBytes("x", []byte("x")), jingle.InClear())
	require.NoError(t, p.offers.Next(t, nil).Accept(p.ctx, io.Discard))
	require.NoError(t, <-done)
}
