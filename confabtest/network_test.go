package confabtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	melliumroster "mellium.im/xmpp/roster"
	"mellium.im/xmpp/stanza"
)

func started(t *testing.T, cfg Config) *Server {
	t.Helper()
	srv := newServer(t, cfg)
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	return srv
}

// TestMellium signs in with mellium, an independent client, over STARTTLS.
func TestMellium(t *testing.T) {
	for _, m := range []sasl.Mechanism{sasl.ScramSha256Plus, sasl.ScramSha1Plus, sasl.ScramSha256, sasl.ScramSha1, sasl.Plain} {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			if version == tls.VersionTLS12 && strings.HasSuffix(m.Name, "-PLUS") {
				continue // mellium has nothing but tls-unique there, which is not safe
			}
			t.Run(m.Name+" "+tls.VersionName(version), func(t *testing.T) {
				srv := started(t, Config{})
				connect := func(user string) (*xmpp.Session, chan string) {
					nc, err := net.Dial("tcp", srv.Addr())
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { nc.Close() })
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					defer cancel()
					s, err := xmpp.NewClientSession(ctx, jid.MustParse(user+"@confab.test/"+user), nc,
						xmpp.StartTLS(&tls.Config{RootCAs: srv.CA(), ServerName: srv.Domain(), MaxVersion: version}),
						xmpp.SASL("", user+"-pw", m), xmpp.BindResource())
					if err != nil {
						t.Fatal(err)
					}
					bodies := make(chan string, 10)
					go s.Serve(xmpp.HandlerFunc(func(r xmlstream.TokenReadEncoder, start *xml.StartElement) error {
						if start.Name.Local == "message" {
							var msg struct {
								Body string `xml:"body"`
							}
							if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), r)).Decode(&msg); err != nil && err != io.EOF {
								return err
							}
							bodies <- msg.Body
						}
						return nil
					}))
					return s, bodies
				}
				r, _ := connect("romeo")
				j, bodies := connect("juliet")
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if srv.Stats().Logins[m.Name] != 2 {
					t.Errorf("%+v", srv.Stats())
				}
				srv.Subscribe("romeo", "juliet")
				it := melliumroster.Fetch(ctx, r)
				n := 0
				for it.Next() {
					if n++; it.Item().JID.String() != "juliet@confab.test" || it.Item().Subscription != "both" {
						t.Errorf("%+v", it.Item())
					}
				}
				if err := it.Close(); err != nil || n != 1 {
					t.Errorf("%d contacts, %v", n, err)
				}
				if err := j.Send(ctx, stanza.Presence{}.Wrap(nil)); err != nil {
					t.Fatal(err)
				}
				for _, to := range []string{"juliet@confab.test/juliet", "juliet@confab.test"} {
					msg := stanza.Message{To: jid.MustParse(to), Type: stanza.ChatMessage}.Wrap(
						xmlstream.Wrap(xmlstream.Token(xml.CharData("wherefore")), xml.StartElement{Name: xml.Name{Local: "body"}}))
					if err := r.Send(ctx, msg); err != nil {
						t.Fatal(err)
					}
					select {
					case b := <-bodies:
						if b != "wherefore" {
							t.Error(b)
						}
					case <-ctx.Done():
						t.Fatal("no message")
					}
				}
				for _, s := range []*xmpp.Session{r, j} {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func TestDirectTLSExternal(t *testing.T) {
	srv := started(t, Config{})
	for i, cert := range []tls.Certificate{srv.ClientCertificate("romeo"), {}} {
		cfg := &tls.Config{RootCAs: srv.CA(), ServerName: srv.Domain(), NextProtos: []string{"xmpp-client"}}
		if i == 0 {
			cfg.Certificates = []tls.Certificate{cert}
		}
		nc, err := tls.Dial("tcp", srv.DirectAddr(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if p := nc.ConnectionState().NegotiatedProtocol; p != "xmpp-client" {
			t.Errorf("ALPN %q", p)
		}
		c := over(t, srv, nc)
		f := c.open("")
		if got := strings.Contains(texts(f.Child(nsSASL, "mechanisms")), "EXTERNAL"); got != (i == 0) {
			t.Errorf("%s", f)
		}
		if i == 0 {
			c.Send("<auth xmlns='" + nsSASL + "' mechanism='EXTERNAL'>=</auth>")
			c.Expect("<success xmlns='" + nsSASL + "'/>")
			c.open("")
		}
		c.Send("</stream:stream>")
		c.ExpectEnd()
	}
	if _, err := tls.Dial("tcp", srv.DirectAddr(), &tls.Config{RootCAs: srv.CA(), ServerName: srv.Domain(), NextProtos: []string{"h2"}}); err == nil {
		t.Error("a client that speaks HTTP was taken")
	}
}

func TestCertificates(t *testing.T) {
	for kind, check := range map[CertificateKind]func(error) bool{
		Valid: func(err error) bool { return err == nil },
		Expired: func(err error) bool {
			var e x509.CertificateInvalidError
			return errors.As(err, &e) && e.Reason == x509.Expired
		},
		WrongName: func(err error) bool { var e x509.HostnameError; return errors.As(err, &e) },
		UnknownCA: func(err error) bool { var e x509.UnknownAuthorityError; return errors.As(err, &e) },
	} {
		srv := started(t, Config{Certificate: kind})
		for _, name := range []string{"confab.test", "rooms.confab.test", "localhost"} {
			c, err := tls.Dial("tcp", srv.DirectAddr(), &tls.Config{RootCAs: srv.CA(), ServerName: name})
			if !check(err) {
				t.Errorf("%d: %v", kind, err)
			}
			if err == nil {
				c.Close()
			}
		}
	}
}

func TestWebSocket(t *testing.T) {
	srv := started(t, Config{})
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: srv.CA()}}}
	defer hc.CloseIdleConnections()
	resp, err := hc.Get(srv.HTTPSURL() + "/.well-known/host-meta.json")
	if err != nil {
		t.Fatal(err)
	}
	var meta struct{ Links []struct{ Rel, Href string } }
	err = json.NewDecoder(resp.Body).Decode(&meta)
	resp.Body.Close()
	if err != nil || len(meta.Links) != 1 || meta.Links[0].Href != srv.WebSocketURL() || meta.Links[0].Rel != "urn:xmpp:alt-connections:websocket" {
		t.Fatalf("%v %+v", err, meta)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dial := func() (func(string), func() string, *websocket.Conn) {
		ws, _, err := websocket.Dial(ctx, srv.WebSocketURL(), &websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{"xmpp"}})
		if err != nil {
			t.Fatal(err)
		}
		send := func(s string) {
			t.Helper()
			if err := ws.Write(ctx, websocket.MessageText, []byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		recv := func() string {
			t.Helper()
			_, b, err := ws.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		return send, recv, ws
	}
	send, recv, ws := dial()
	open := "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='confab.test' version='1.0'/>"
	send(open)
	if s := recv(); !strings.HasPrefix(s, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'") {
		t.Error(s)
	}
	if s := recv(); !strings.HasPrefix(s, "<stream:features xmlns:stream='") || strings.Contains(s, "-PLUS") {
		t.Error(s)
	}
	send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + b64("\x00romeo\x00romeo-pw") + "</auth>")
	recv()
	send(open)
	recv()
	recv()
	send("<iq xmlns='jabber:client' type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind></iq>")
	if s := recv(); !strings.HasPrefix(s, "<iq xmlns='jabber:client'") || !strings.Contains(s, "romeo@confab.test/web") {
		t.Error(s)
	}
	send("<presence xmlns='jabber:client'/>")
	recv()
	send("<message xmlns='jabber:client' to='romeo@confab.test' type='chat'><body>me</body></message>")
	if s := recv(); !strings.Contains(s, "<body>me</body>") {
		t.Error(s)
	}
	send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
	if s := recv(); !strings.HasPrefix(s, "<close ") {
		t.Error(s)
	}
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Error(err)
	}
	// A cut falls between messages.
	srv.OnConn(func(c *Conn) { c.CutAfterElements(2) })
	send, recv, ws = dial()
	send(open)
	recv()
	recv()
	if _, _, err := ws.Read(ctx); err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("after the cut: %v", err)
	}
	hc.CloseIdleConnections()
}

func TestStopAndStart(t *testing.T) {
	srv := started(t, Config{})
	c := online(t, srv, "romeo", "orchard")
	addr := srv.Addr()
	srv.Stop()
	if e := c.Next(); !has(e, nsStreams, "system-shutdown") {
		t.Errorf("%s", e)
	}
	c.ExpectEnd()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a stopped server takes connections")
	}
	if _, err := srv.Dial(context.Background(), "tcp", ""); err == nil {
		t.Error("a stopped server takes connections in memory")
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	if srv.Addr() != addr {
		t.Errorf("%s, then %s", addr, srv.Addr())
	}
	online(t, srv, "romeo", "orchard").sync()
	srv.Crash()
	if n := len(srv.Sessions()); n != 0 {
		t.Errorf("%d sessions after a crash", n)
	}
	srv.Continue()
	online(t, srv, "romeo", "orchard").sync()
}
