package confabtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/login"
	"mellium.im/sasl"
)

func TestLoginPlain(t *testing.T) {
	srv := newServer(t, Config{})
	c := online(t, srv, "romeo", "orchard")
	c.sync()
	i, ok := srv.Session("romeo@confab.test/orchard")
	if !ok || i.Mechanism != "PLAIN" || i.SASL2 || !i.Available || i.Conn != 1 {
		t.Fatalf("%+v", i)
	}
	c.Send("</stream:stream>")
	c.ExpectEnd()
	if st := srv.Stats(); st.Logins["PLAIN"] != 1 || st.Connections != 1 || st.Sessions != 1 {
		t.Errorf("%+v", st)
	}
}

func TestFeatures(t *testing.T) {
	srv := newServer(t, Config{Without: SASL2})
	c := dial(t, srv)
	f := c.open("")
	if got := texts(f.Child(nsSASL, "mechanisms")); got != "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN" {
		t.Error(got)
	}
	if has(f, nsSASL2, "authentication") || !has(f, nsCB, "sasl-channel-binding") || has(f, nsTLS, "starttls") {
		t.Errorf("%s", f)
	}
	// In clear nothing but encryption is offered.
	cl, sv := net.Pipe()
	srv.Serve(sv, false)
	d := over(t, srv, cl)
	if f := d.open(""); len(f.Children) != 1 || !has(f.Child(nsTLS, "starttls"), nsTLS, "required") {
		t.Errorf("%s", f)
	}
	d.Send("<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + b64("\x00romeo\x00romeo-pw") + "</auth>")
	d.Expect("<failure xmlns='" + nsSASL + "'><encryption-required/></failure>")
}

func TestStreamErrors(t *testing.T) {
	header := "<stream:stream xmlns='jabber:client' xmlns:stream='" + nsStream + "' version='1.0' to='confab.test'>"
	for name, c := range map[string]struct{ send, condition string }{
		"host":      {strings.Replace(header, "confab.test", "other.test", 1), "host-unknown"},
		"version":   {strings.Replace(header, "version='1.0'", "", 1), "unsupported-version"},
		"namespace": {strings.Replace(header, nsStream, "urn:other", 1), "invalid-namespace"},
		"xml":       {header + "<a></b>", "not-well-formed"},
		"comment":   {header + "<!-- -->", "restricted-xml"},
		"unknown":   {header + "<a xmlns='urn:other'/>", "unsupported-stanza-type"},
		"early":     {header + "<message/>", "not-authorized"},
		"size":      {header + "<message><body>" + strings.Repeat("x", 2<<20), "policy-violation"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, Config{})
			c2 := dial(t, srv)
			go func() { _, _ = c2.conn.Write([]byte(c.send)) }()
			c2.ExpectHeader("")
			e := c2.Next()
			if e.Name.Local == "features" {
				e = c2.Next()
			}
			if !e.Is(nsStream, "error") || !has(e, nsStreams, c.condition) {
				t.Errorf("want %s, got %s", c.condition, e)
			}
			c2.ExpectEnd()
		})
	}
}

// TestSCRAM signs in with mellium's client side.
func TestSCRAM(t *testing.T) {
	srv := newServer(t, Config{})
	for _, m := range []sasl.Mechanism{sasl.ScramSha1, sasl.ScramSha256} {
		n := sasl.NewClient(m, sasl.Credentials(func() (u, p, i []byte) { return []byte("romeo"), []byte("romeo-pw"), nil }))
		prove(t, srv, m.Name, func() ([]byte, error) {
			_, resp, err := n.Step(nil)
			return resp, err
		}, func(ch []byte) ([]byte, error) {
			_, resp, err := n.Step(ch)
			return resp, err
		})
	}
}

// TestSCRAMBound signs in with the SDK's client side, which checks what was
// offered (XEP-0474) and, in memory, binds to the server's certificate.
func TestSCRAMBound(t *testing.T) {
	for name := range hashes {
		for _, plus := range []string{"", "-PLUS"} {
			all := []string{name, name + "-PLUS", "PLAIN"}
			srv := newServer(t, Config{Mechanisms: all})
			var cs *tls.ConnectionState
			if plus != "" {
				cs = &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true, PeerCertificates: []*x509.Certificate{srv.certs().server.Leaf}}
			}
			x, err := login.Choose(login.Offer{Mechanisms: all, Bindings: []string{"tls-server-end-point"}},
				login.Credentials{User: "romeo", Password: "romeo-pw"}, cs, nil)
			if err != nil || x.Mechanism != name+plus {
				t.Fatal(x, err)
			}
			prove(t, srv, x.Mechanism, x.Start, func(ch []byte) ([]byte, error) {
				if strings.HasPrefix(string(ch), "v=") {
					return nil, x.Success(ch)
				}
				return x.Next(ch)
			})
		}
	}
}

// prove signs in by SASL2 with a mechanism of two steps.
func prove(t *testing.T, srv *Server, mechanism string, start func() ([]byte, error), next func([]byte) ([]byte, error)) {
	t.Helper()
	c := dial(t, srv)
	c.open("")
	resp, err := start()
	if err != nil {
		t.Fatal(err)
	}
	ch := c.authenticate(mechanism, string(resp), "")
	data, _ := base64.StdEncoding.DecodeString(ch.Text)
	if !ch.Is(nsSASL2, "challenge") || !strings.Contains(string(data), ",h=") {
		t.Fatalf("%s: %s", mechanism, ch)
	}
	if resp, err = next(data); err != nil {
		t.Fatal(mechanism, err)
	}
	c.Send("<response xmlns='" + nsSASL2 + "'>" + b64(string(resp)) + "</response>")
	e := c.Next()
	if data, _ = base64.StdEncoding.DecodeString(e.ChildText(nsSASL2, "additional-data")); !strings.HasPrefix(string(data), "v=") ||
		e.ChildText(nsSASL2, "authorization-identifier") != "romeo@confab.test" {
		t.Fatalf("%s: %s", mechanism, e)
	}
	if _, err := next(data); err != nil {
		t.Error(mechanism, err)
	}
	if f := c.Next(); !has(f, nsBind, "bind") || has(f, nsSASL2, "authentication") {
		t.Errorf("%s", f)
	}
	if srv.Stats().Logins[mechanism] != 1 {
		t.Errorf("%s: %+v", mechanism, srv.Stats())
	}
}

func TestDowngradeHash(t *testing.T) {
	s := NewServer(Config{Mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}})
	defer s.Close()
	c := &Conn{srv: s, secure: true, host: s.cfg.Domain, tlsState: &tls.ConnectionState{}}
	m := newSCRAM(c, "SCRAM-SHA-1-PLUS", c.mechanisms()).(*scram)
	if got := m.offer(); got != "G6k/rBLDqgOhRRaCuuatSDFkJ08=" { // the example of XEP-0474 §3.3
		t.Error(got)
	}
}

func TestAuthFailures(t *testing.T) {
	plain := func(user, password string) string { return b64("\x00" + user + "\x00" + password) }
	for name, c := range map[string]struct{ send, condition string }{
		"password":  {"<auth xmlns='NS' mechanism='PLAIN'>" + plain("romeo", "x") + "</auth>", "not-authorized"},
		"user":      {"<auth xmlns='NS' mechanism='PLAIN'>" + plain("tybalt", "x") + "</auth>", "not-authorized"},
		"mechanism": {"<auth xmlns='NS' mechanism='CRAM-MD5'/>", "invalid-mechanism"},
		"external":  {"<auth xmlns='NS' mechanism='EXTERNAL'>=</auth>", "invalid-mechanism"},
		"anonymous": {"<auth xmlns='NS' mechanism='ANONYMOUS'/>", "invalid-mechanism"},
		"encoding":  {"<auth xmlns='NS' mechanism='PLAIN'>!!</auth>", "incorrect-encoding"},
		"malformed": {"<auth xmlns='NS' mechanism='PLAIN'>" + b64("romeo") + "</auth>", "malformed-request"},
		"authzid":   {"<auth xmlns='NS' mechanism='PLAIN'>" + b64("juliet@confab.test\x00romeo\x00romeo-pw") + "</auth>", "invalid-authzid"},
		"abort":     {"<abort xmlns='NS'/>", "aborted"},
		"response":  {"<response xmlns='NS'/>", "malformed-request"},
		"gs2":       {"<auth xmlns='NS' mechanism='SCRAM-SHA-1'>" + b64("x,,n=romeo,r=abc") + "</auth>", "malformed-request"},
		"unbound":   {"<auth xmlns='NS' mechanism='SCRAM-SHA-1-PLUS'>" + b64("n,,n=romeo,r=abc") + "</auth>", "malformed-request"},
		"type":      {"<auth xmlns='NS' mechanism='SCRAM-SHA-1-PLUS'>" + b64("p=tls-unique,,n=romeo,r=abc") + "</auth>", "malformed-request"},
		"stripped":  {"<auth xmlns='NS' mechanism='SCRAM-SHA-1'>" + b64("y,,n=romeo,r=abc") + "</auth>", "not-authorized"},
		"extension": {"<auth xmlns='NS' mechanism='SCRAM-SHA-1'>" + b64("n,,m=x,n=romeo,r=abc") + "</auth>", "malformed-request"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, Config{})
			c1 := dial(t, srv)
			c1.open("")
			c1.Send(strings.ReplaceAll(c.send, "NS", nsSASL))
			if e := c1.Next(); !e.Is(nsSASL, "failure") || !has(e, nsSASL, c.condition) {
				t.Errorf("want %s, got %s", c.condition, e)
			}
			c2 := dial(t, srv)
			c2.open("")
			x := strings.ReplaceAll(c.send, "NS", nsSASL2)
			x = strings.ReplaceAll(x, "<auth ", "<authenticate ")
			x = strings.ReplaceAll(x, "</auth>", "</initial-response></authenticate>")
			if i := strings.Index(x, ">"); strings.HasSuffix(x, "</authenticate>") {
				x = x[:i+1] + "<initial-response>" + x[i+1:]
			}
			x = strings.ReplaceAll(x, ">=<", "><")
			c2.Send(x)
			if e := c2.Next(); !e.Is(nsSASL2, "failure") || !has(e, nsSASL, c.condition) {
				t.Errorf("SASL2: want %s, got %s", c.condition, e)
			}
		})
	}
}

func TestAttempts(t *testing.T) {
	srv := newServer(t, Config{MaxAttempts: 2})
	c := dial(t, srv)
	c.open("")
	bad := "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + b64("\x00romeo\x00x") + "</auth>"
	c.Send(bad + bad)
	c.Expect("<failure xmlns='" + nsSASL + "'><not-authorized/></failure>")
	c.Expect("<failure xmlns='" + nsSASL + "'><not-authorized/></failure>")
	c.Expect("<error xmlns='" + nsStream + "'><policy-violation xmlns='" + nsStreams + "'/><text xmlns='" + nsStreams + "'>*</text></error>")
	c.ExpectEnd()
	// Without an initial response there is an empty challenge first.
	d := dial(t, srv)
	d.open("")
	d.Send("<auth xmlns='" + nsSASL + "' mechanism='PLAIN'/>")
	d.Expect("<challenge xmlns='" + nsSASL + "'/>")
	d.Send("<response xmlns='" + nsSASL + "'>" + b64("\x00romeo\x00romeo-pw") + "</response>")
	d.Expect("<success xmlns='" + nsSASL + "'/>")
}

// authenticate signs in by SASL2 with everything inline.
func (c *raw) authenticate(mechanism, ir, more string) *confab.Element {
	c.t.Helper()
	c.Send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='" + mechanism + "'><initial-response>" + b64(ir) +
		"</initial-response><user-agent id='d4565fa7'/>" + more + "</authenticate>")
	return c.Next()
}

func TestBind2(t *testing.T) {
	srv := newServer(t, Config{})
	c := dial(t, srv)
	f := c.open("romeo@confab.test")
	in := f.Child(nsSASL2, "authentication").Child(nsSASL2, "inline")
	if !has(in, nsBind2, "bind") || !has(in, nsSM, "sm") || !has(in, nsFast, "fast") {
		t.Fatalf("%s", f)
	}
	e := c.authenticate("PLAIN", "\x00romeo\x00romeo-pw", "<bind xmlns='urn:xmpp:bind:0'><tag>Tester</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/>"+
		"<enable xmlns='urn:xmpp:carbons:2'/><inactive xmlns='urn:xmpp:csi:0'/></bind>")
	if d := c.compare(mustParse(t, "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>${jid}</authorization-identifier>"+
		"<bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' id='${id}' resume='true' max='300'/></bound></success>"), e); d != "" {
		t.Fatal(d, e)
	}
	if f := c.Next(); !f.Is(nsStream, "features") || has(f, nsBind, "bind") || has(f, nsSM, "sm") {
		t.Errorf("%s", f)
	}
	full := c.Get("jid")
	if !strings.HasPrefix(full, "romeo@confab.test/Tester/") {
		t.Error(full)
	}
	i, _ := srv.Session(full)
	if !i.SASL2 || !i.Carbons || !i.Inactive || !i.Resumable || i.StreamID != c.Get("id") || i.UserAgent != "d4565fa7" {
		t.Errorf("%+v", i)
	}
	// The same client gets the same resource, and its old stream ends.
	d := dial(t, srv)
	d.open("")
	e = d.authenticate("PLAIN", "\x00romeo\x00romeo-pw", "<bind xmlns='urn:xmpp:bind:0'><tag>Tester</tag></bind>")
	if got := e.ChildText(nsSASL2, "authorization-identifier"); got != full {
		t.Errorf("%s, then %s", full, got)
	}
	if e := c.Next(); !has(e, nsStreams, "conflict") {
		t.Errorf("%s", e)
	}
	c.ExpectEnd()
	// A second sign-in on one stream is an error.
	d.Next()
	if e := d.authenticate("PLAIN", "\x00romeo\x00romeo-pw", ""); !e.Is(nsStream, "error") {
		t.Errorf("%s", e)
	}
}

func mustParse(t *testing.T, s string) *confab.Element {
	t.Helper()
	e, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ht(user, token, side string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte(side))
	return user + "\x00" + string(m.Sum(nil))
}

func TestFAST(t *testing.T) {
	srv := newServer(t, Config{TokenLifetime: time.Hour, TokenRotation: time.Minute})
	const ask = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"
	open := func(from string) *raw {
		c := dial(t, srv)
		c.open(from)
		return c
	}
	token := func(e *confab.Element) string {
		tk := e.Child(nsFast, "token")
		if exp, err := time.Parse(time.RFC3339, tk.Get("expiry")); tk == nil || err != nil || time.Until(exp) <= 0 {
			t.Fatalf("no good token in %s", e)
		}
		return tk.Get("token")
	}
	const me = "romeo@confab.test"
	if e := open("").authenticate("PLAIN", "\x00romeo\x00romeo-pw", ask); has(e, nsFast, "token") {
		t.Errorf("a token without from: %s", e)
	}
	first := token(open(me).authenticate("PLAIN", "\x00romeo\x00romeo-pw", ask))
	use := func(tk, more, attrs string) *confab.Element {
		return open(me).authenticate("HT-SHA-256-NONE", ht("romeo", tk, "Initiator"), "<fast xmlns='urn:xmpp:fast:0'"+attrs+"/>"+more)
	}
	e := use(first, "", "")
	want := ht("", first, "Responder")[1:]
	if e.ChildText(nsSASL2, "additional-data") != b64(want) || has(e, nsFast, "token") {
		t.Fatalf("%s", e)
	}
	// A new token does not end the old one until it is used.
	second := token(use(first, ask, ""))
	if e := use(first, "", ""); e.Name.Local != "success" {
		t.Errorf("the old token, while the new one is unused: %s", e)
	}
	if e := use(second, "", ""); e.Name.Local != "success" {
		t.Errorf("the new token: %s", e)
	}
	if e := use(first, "", ""); !has(e, nsSASL, "not-authorized") {
		t.Errorf("the old token, after the new one was used: %s", e)
	}
	if e := use(second, "", " invalidate='true'"); e.Name.Local != "success" || has(e, nsFast, "token") {
		t.Errorf("invalidating: %s", e)
	}
	if e := use(second, "", ""); !has(e, nsSASL, "not-authorized") {
		t.Errorf("invalidated: %s", e)
	}
	third := token(open(me).authenticate("PLAIN", "\x00romeo\x00romeo-pw", ask))
	if e := open(me).authenticate("HT-SHA-256-ENDP", ht("romeo", third, "Initiator"), "<fast xmlns='urn:xmpp:fast:0'/>"); !has(e, nsSASL, "not-authorized") {
		t.Errorf("with another mechanism: %s", e)
	}
	if e := open("").authenticate("HT-SHA-256-NONE", ht("romeo", third, "Initiator"), "<fast xmlns='urn:xmpp:fast:0'/>"); !has(e, nsSASL, "malformed-request") {
		t.Errorf("without from: %s", e)
	}
	if e := open("juliet@confab.test").authenticate("HT-SHA-256-NONE", ht("romeo", third, "Initiator"), "<fast xmlns='urn:xmpp:fast:0'/>"); !has(e, nsSASL, "not-authorized") {
		t.Errorf("from somebody else: %s", e)
	}
	if n := srv.ExpireTokens("romeo"); n != 1 {
		t.Errorf("%d tokens", n)
	}
	if e := use(third, "", ""); !has(e, nsSASL, "credentials-expired") {
		t.Errorf("expired: %s", e)
	}
}

func TestRotation(t *testing.T) {
	srv := newServer(t, Config{TokenLifetime: time.Hour, TokenRotation: 2 * time.Hour})
	c := dial(t, srv)
	c.open("romeo@confab.test")
	tk := c.authenticate("PLAIN", "\x00romeo\x00romeo-pw", "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>").Child(nsFast, "token").Get("token")
	for range 3 {
		c := dial(t, srv)
		c.open("romeo@confab.test")
		e := c.authenticate("HT-SHA-256-NONE", ht("romeo", tk, "Initiator"), "<fast xmlns='urn:xmpp:fast:0'/>")
		next := e.Child(nsFast, "token").Get("token")
		if next == "" || next == tk {
			t.Fatalf("%s", e)
		}
		tk = next
	}
}

func TestAnonymousAndBearer(t *testing.T) {
	srv := newServer(t, Config{AnonymousDomain: "anon.test", CheckToken: func(user, token string) (string, bool) {
		return "romeo", token == "good" && (user == "" || user == "romeo")
	}})
	c := dial(t, srv)
	c.Send("<stream:stream xmlns='jabber:client' xmlns:stream='" + nsStream + "' version='1.0' to='anon.test'>")
	c.ExpectHeader("")
	if f := c.Next(); texts(f.Child(nsSASL, "mechanisms")) != "ANONYMOUS" {
		t.Fatalf("%s", f)
	}
	c.Send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='ANONYMOUS'><initial-response/><bind xmlns='urn:xmpp:bind:0'/></authenticate>")
	e := c.Next()
	if j := e.ChildText(nsSASL2, "authorization-identifier"); !strings.Contains(j, "@anon.test/") {
		t.Fatalf("%s", e)
	}
	c.Next()
	if n := len(srv.Accounts()); n != 4 {
		t.Errorf("%d accounts", n)
	}
	c.Send("</stream:stream>")
	c.ExpectEnd()
	if n := len(srv.Accounts()); n != 3 {
		t.Errorf("%d accounts after the session", n)
	}
	for ir, want := range map[string]string{
		"n,,\x01auth=Bearer good\x01\x01":         "success",
		"n,a=romeo,\x01auth=Bearer good\x01\x01":  "success",
		"n,,\x01auth=Bearer bad\x01\x01":          "challenge",
		"n,a=juliet,\x01auth=Bearer good\x01\x01": "challenge",
		"n,,": "failure",
	} {
		d := dial(t, srv)
		d.open("")
		d.Send("<auth xmlns='" + nsSASL + "' mechanism='OAUTHBEARER'>" + b64(ir) + "</auth>")
		if e := d.Next(); e.Name.Local != want {
			t.Errorf("%q: %s", ir, e)
		} else if want == "challenge" {
			d.Send("<response xmlns='" + nsSASL + "'>" + b64("\x01") + "</response>")
			d.Expect("<failure xmlns='" + nsSASL + "'><not-authorized/></failure>")
		}
	}
}

func TestBind(t *testing.T) {
	srv := newServer(t, Config{})
	a := signIn(t, srv, "romeo", "orchard")
	b := signIn(t, srv, "romeo", "orchard")
	if e := a.Next(); !has(e, nsStreams, "conflict") {
		t.Errorf("%s", e)
	}
	a.ExpectEnd()
	b.sync()
	c := dial(t, srv)
	if f := c.auth("romeo"); !has(f, nsBind, "bind") || !has(f, nsSM, "sm") || !has(f, nsCSI, "csi") || !has(f, "urn:xmpp:features:rosterver", "ver") {
		t.Errorf("%s", f)
	}
	c.Send("<iq type='set' id='1'><bind xmlns='" + nsBind + "'/></iq>")
	c.Expect("<iq type='result' id='1'><bind xmlns='" + nsBind + "'><jid>*</jid></bind></iq>")
	d := dial(t, srv)
	d.auth("juliet")
	d.Send("<message to='romeo@confab.test'/>")
	if e := d.Next(); !has(e, nsStreams, "not-authorized") {
		t.Errorf("%s", e)
	}
}

func TestInBandRegistration(t *testing.T) {
	srv := newServer(t, Config{})
	c := dial(t, srv)
	if f := c.open(""); !has(f, "http://jabber.org/features/iq-register", "register") {
		t.Errorf("%s", f)
	}
	c.Send("<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>")
	c.Expect("<iq type='result' id='1' from='confab.test'><query xmlns='jabber:iq:register'><instructions>*</instructions><username/><password/></query></iq>")
	set := "<iq type='set' id='2'><query xmlns='jabber:iq:register'><username>NAME</username><password>PW</password></query></iq>"
	c.Send(strings.NewReplacer("NAME", "romeo", "PW", "x").Replace(set))
	if e := c.Next(); e.Get("type") != "error" || !has(e.Child(nsClient, "error"), nsStanzas, "conflict") {
		t.Errorf("%s", e)
	}
	c.Send(strings.NewReplacer("NAME", "tybalt", "PW", "tybalt-pw").Replace(set))
	c.Expect("<iq type='result' id='2' from='confab.test'/>")
	d := signIn(t, srv, "tybalt", "street")
	d.Send("<iq type='set' id='3' to='confab.test'><query xmlns='jabber:iq:register'><username>tybalt</username><password>new</password></query></iq>")
	d.Expect("<iq type='result' id='3' from='confab.test' to='${me}'/>")
	d.Send("<iq type='set' id='4'><query xmlns='jabber:iq:register'><remove/></query></iq>")
	d.Expect("<iq type='result' id='4' from='tybalt@confab.test' to='${me}'/>")
	if e := d.Next(); !has(e, nsStreams, "not-authorized") {
		t.Errorf("%s", e)
	}
	if got := strings.Join(srv.Accounts(), " "); strings.Contains(got, "tybalt") {
		t.Error(got)
	}
}
