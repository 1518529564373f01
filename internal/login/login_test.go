package login

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"mellium.im/sasl"
)

// The exchanges in RFC 5802 §5 and RFC 7677 §3.
func TestSCRAMVectors(t *testing.T) {
	for _, tt := range []struct{ name, nonce, first, proof, last string }{
		{"SCRAM-SHA-1", "fyko+d2lbbFgONRv9qkxdawL", "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
		{"SCRAM-SHA-256", "rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		n := sasl.NewClient(sasl.Plain, sasl.Credentials(func() (u, p, i []byte) { return []byte("user"), []byte("pencil"), nil }))
		st := scramState{clientFirst: "n=user,r=" + tt.nonce}
		resp, st, err := st.answer(n, tt.name, hashes[tt.name], binding{gs2: "n"}, Offer{}, &Keys{}, tt.first)
		if err != nil {
			t.Fatal(err)
		}
		nonce, _, _ := strings.Cut(tt.first, ",")
		if got, want := string(resp), "c=biws,"+nonce+",p="+tt.proof; got != want {
			t.Errorf("%s: %s, want %s", tt.name, got, want)
		}
		if err := st.verify([]byte(tt.last)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := st.verify([]byte(tt.last + ",x=1")); err != nil {
			t.Errorf("%s, with an extension: %v", tt.name, err)
		}
		for _, bad := range []string{"", "v=", "v=AAAA", "x=1," + tt.last, tt.last + "A", "e=invalid-proof", tt.first} {
			if st.verify([]byte(bad)) == nil {
				t.Errorf("%s: %q was taken", tt.name, bad)
			}
		}
	}
}

func TestDowngradeHash(t *testing.T) {
	o := Offer{Mechanisms: []string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}, Bindings: []string{"tls-server-end-point", "tls-exporter"}}
	if got := o.hash(sha1.New); got != "G6k/rBLDqgOhRRaCuuatSDFkJ08=" {
		t.Errorf("got %s", got)
	}
	if o.Mechanisms[0] != "SCRAM-SHA-1-PLUS" {
		t.Error("the offer was changed")
	}
}

// scramServer is the server's side, made by the letter of RFC 5802.
type scramServer struct {
	h        func() hash.Hash
	password string
	salt     []byte
	rounds   string // what i= says
	iter     int
	extra    string // appended to the first message
	cbind    []byte

	gs2, clientBare, first, nonce string
}

func newServer(name string) *scramServer {
	return &scramServer{h: hashes[strings.TrimSuffix(name, "-PLUS")], password: "pencil", salt: []byte("salty"), rounds: "4096", iter: 4096}
}

func (s *scramServer) begin(client []byte) string {
	parts := strings.SplitN(string(client), ",", 3)
	s.gs2, s.clientBare = parts[0]+","+parts[1]+",", parts[2]
	_, own, _ := strings.Cut(s.clientBare, ",r=")
	s.nonce = own + "server"
	s.first = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.salt) + ",i=" + s.rounds + s.extra
	return s.first
}

func (s *scramServer) finish(client []byte) (string, error) {
	bare, p, ok := strings.Cut(string(client), ",p=")
	if !ok {
		return "", errors.New("no proof")
	}
	if want := "c=" + base64.StdEncoding.EncodeToString(append([]byte(s.gs2), s.cbind...)) + ",r=" + s.nonce; bare != want {
		return "", fmt.Errorf("got %s, want %s", bare, want)
	}
	salted, err := pbkdf2.Key(s.h, s.password, s.salt, s.iter, s.h().Size())
	if err != nil {
		return "", err
	}
	sum := func(key []byte, msg string) []byte {
		m := hmac.New(s.h, key)
		m.Write([]byte(msg))
		return m.Sum(nil)
	}
	message := s.clientBare + "," + s.first + "," + bare
	key := sum(salted, "Client Key")
	stored := s.h()
	stored.Write(key)
	want := sum(stored.Sum(nil), message)
	for i := range want {
		want[i] ^= key[i]
	}
	if p != base64.StdEncoding.EncodeToString(want) {
		return "", errors.New("bad proof")
	}
	return "v=" + base64.StdEncoding.EncodeToString(sum(sum(salted, "Server Key"), message)), nil
}

var creds = Credentials{User: "us=er,x", Password: "pencil"}

func choose(t testing.TB, o Offer, c Credentials, cs *tls.ConnectionState) *Exchange {
	t.Helper()
	x, err := Choose(o, c, cs, &Keys{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestSCRAM(t *testing.T) {
	cs := tlsState(t)
	exporter, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	for name := range hashes {
		for _, bind := range []string{"", "tls-exporter", "tls-server-end-point"} {
			o := Offer{Mechanisms: []string{name}}
			s := newServer(name)
			if bind != "" {
				o = Offer{Mechanisms: []string{name, name + "-PLUS"}, Bindings: []string{bind}}
				s.cbind = exporter
				if bind == "tls-server-end-point" {
					sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
					s.cbind = sum[:]
				}
			}
			s.extra = ",h=" + o.hash(s.h) + ",z=unknown"
			for _, inSuccess := range []bool{false, true} {
				x := choose(t, o, creds, cs)
				first, err := x.Start()
				if err != nil {
					t.Fatal(err)
				}
				want := "y,,n=us=3Der=2Cx,r="
				if bind != "" {
					want = "p=" + bind + ",,n=us=3Der=2Cx,r="
				}
				if !strings.HasPrefix(string(first), want) {
					t.Errorf("%s: begins with %s", x.Mechanism, first)
				}
				resp, err := x.Next([]byte(s.begin(first)))
				if err != nil {
					t.Fatal(err)
				}
				last, err := s.finish(resp)
				if err != nil {
					t.Fatalf("%s: %v", x.Mechanism, err)
				}
				if inSuccess {
					if err := x.Success([]byte(last)); err != nil {
						t.Errorf("%s: %v", x.Mechanism, err)
					}
				} else {
					if resp, err := x.Next([]byte(last)); err != nil || len(resp) != 0 {
						t.Errorf("%s: %q, %v", x.Mechanism, resp, err)
					}
					if err := x.Success(nil); err != nil {
						t.Errorf("%s: %v", x.Mechanism, err)
					}
				}
				if _, err := x.Next([]byte(last)); !errors.Is(err, ErrChallenge) {
					t.Errorf("a challenge after the end: %v", err)
				}
			}
		}
	}
}

// The other half is mellium's, which does not take escaped names.
func TestSCRAMWithMellium(t *testing.T) {
	creds := Credentials{User: "user", Password: "pencil"}
	for _, m := range []sasl.Mechanism{sasl.ScramSha1, sasl.ScramSha256} {
		h := hashes[m.Name]
		s := sasl.NewServer(m, func(*sasl.Negotiator) bool { return true },
			sasl.SaltedCredentials(func(user, _ []byte, _ string) ([]byte, []byte, int64, error) {
				if string(user) != creds.User {
					return nil, nil, 0, sasl.ErrAuthn
				}
				return []byte("salt"), sasl.SCRAMSaltPassword(h, []byte(creds.Password), []byte("salt"), 4096), 4096, nil
			}))
		x := choose(t, Offer{Mechanisms: []string{m.Name}}, creds, nil)
		msg, err := x.Start()
		for more := true; more && err == nil; {
			var challenge []byte
			if more, challenge, err = s.Step(msg); err != nil {
				break
			}
			if !more {
				err = x.Success(challenge)
				break
			}
			msg, err = x.Next(challenge)
		}
		if err != nil || !x.proven {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

func TestSCRAMRefuses(t *testing.T) {
	const name = "SCRAM-SHA-256"
	o := Offer{Mechanisms: []string{name}}
	for _, tt := range []struct {
		what   string
		change func(s *scramServer)
		first  func(string) string
		err    error
	}{
		{"other nonce", nil, func(s string) string { return "r=x" + s[2:] }, ErrChallenge},
		{"our own nonce", nil, func(s string) string { return strings.Replace(s, "server", "", 1) }, ErrChallenge},
		{"short nonce", nil, func(s string) string { return "r=" + s[4:] }, ErrChallenge},
		{"long nonce", nil, func(s string) string { return strings.Replace(s, "server", strings.Repeat("x", 2000), 1) }, ErrChallenge},
		{"4095 rounds", func(s *scramServer) { s.rounds = "4095" }, nil, ErrChallenge},
		{"1 round", func(s *scramServer) { s.rounds = "1" }, nil, ErrChallenge},
		{"0 rounds", func(s *scramServer) { s.rounds = "0" }, nil, ErrChallenge},
		{"-1 rounds", func(s *scramServer) { s.rounds = "-1" }, nil, ErrChallenge},
		{"endless rounds", func(s *scramServer) { s.rounds = "10000001" }, nil, ErrChallenge},
		{"too many rounds for an int", func(s *scramServer) { s.rounds = "99999999999999999999" }, nil, ErrChallenge},
		{"rounds?", func(s *scramServer) { s.rounds = "" }, nil, ErrChallenge},
		{"no salt", func(s *scramServer) { s.salt = nil }, nil, ErrChallenge},
		{"bad salt", nil, func(s string) string { return strings.Replace(s, "s=", "s=!", 1) }, ErrChallenge},
		{"extension", nil, func(s string) string { return "m=x," + s }, ErrChallenge},
		{"empty", nil, func(string) string { return "" }, ErrChallenge},
		{"downgrade", func(s *scramServer) {
			s.extra = ",h=" + Offer{Mechanisms: []string{name, name + "-PLUS"}}.hash(sha256.New)
		}, nil, ErrDowngrade},
	} {
		x := choose(t, o, creds, nil)
		s := newServer(name)
		if tt.change != nil {
			tt.change(s)
		}
		msg, err := x.Start()
		if err != nil {
			t.Fatal(err)
		}
		first := s.begin(msg)
		if tt.first != nil {
			first = tt.first(first)
		}
		if resp, err := x.Next([]byte(first)); !errors.Is(err, tt.err) || resp != nil {
			t.Errorf("%s: %q, %v", tt.what, resp, err)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the error does not name the mechanism: %v", tt.what, err)
		}
		if err := x.Success([]byte(first)); !errors.Is(err, ErrServer) {
			t.Errorf("%s: then success: %v", tt.what, err)
		}
		if _, err := x.Next([]byte(first)); err == nil {
			t.Errorf("%s: then a challenge was taken", tt.what)
		}
	}
}

// A server that says success without having proven that it knows the password
// is not believed, whatever it says along with it.
func TestSuccessNeedsProof(t *testing.T) {
	const name = "SCRAM-SHA-1"
	for what, data := range map[string]func(s *scramServer, first string) string{
		"nothing":         func(*scramServer, string) string { return "" },
		"garbage":         func(*scramServer, string) string { return "x" },
		"wrong signature": func(*scramServer, string) string { return "v=" + base64.StdEncoding.EncodeToString(make([]byte, 20)) },
		"error":           func(*scramServer, string) string { return "e=other-error" },
		"a challenge":     func(_ *scramServer, first string) string { return first },
	} {
		for _, early := range []bool{true, false} {
			x := choose(t, Offer{Mechanisms: []string{name}}, creds, nil)
			msg, err := x.Start()
			if err != nil {
				t.Fatal(err)
			}
			s := newServer(name)
			first := s.begin(msg)
			if !early {
				if _, err := x.Next([]byte(first)); err != nil {
					t.Fatal(err)
				}
			}
			if err := x.Success([]byte(data(s, first))); err == nil {
				t.Errorf("success with %s (early %v) was believed", what, early)
			}
			if err := x.Success(nil); err == nil {
				t.Errorf("success with %s, then again", what)
			}
		}
	}
	// So is one that does not know it.
	x := choose(t, Offer{Mechanisms: []string{name}}, creds, nil)
	msg, _ := x.Start()
	s := newServer(name)
	if _, err := x.Next([]byte(s.begin(msg))); err != nil {
		t.Fatal(err)
	}
	s.password = "other"
	if err := x.Success([]byte("v=" + base64.StdEncoding.EncodeToString(mac(sha1.New, []byte("x"), "y")))); !errors.Is(err, ErrServer) {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	var k Keys
	a, err := k.derive("SCRAM-SHA-1", sha1.New, "pw", []byte("salt"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := k.derive("SCRAM-SHA-1", sha1.New, "pw", []byte("salt"), 4096)
	if &a.client[0] != &b.client[0] {
		t.Error("keys were derived twice")
	}
	for i := range 100 {
		c, _ := k.derive("SCRAM-SHA-1", sha1.New, strconv.Itoa(i), []byte("salt"), 1)
		if bytes.Equal(a.client, c.client) {
			t.Error("another password gives the same keys")
		}
	}
	if len(k.m) > maxKeys {
		t.Errorf("%d keys are kept", len(k.m))
	}
	var none *Keys
	if c, err := none.derive("SCRAM-SHA-1", sha1.New, "pw", []byte("salt"), 4096); err != nil || !bytes.Equal(c.server, a.server) {
		t.Error(err)
	}
}

func TestHashedToken(t *testing.T) {
	cs := tlsState(t)
	for _, m := range []string{"HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"} {
		data, ok := tokenBinding(m, cs)
		if !ok {
			t.Fatal(m)
		}
		c := Credentials{User: "user", Password: "pw", Token: "secret", TokenMechanism: m}
		o := Offer{Mechanisms: []string{"SCRAM-SHA-256"}, Fast: []string{m}}
		for _, good := range []bool{true, false} {
			x := choose(t, o, c, cs)
			first, err := x.Start()
			want := append([]byte("user\x00"), mac(sha256.New, []byte("secret"), "Initiator"+string(data))...)
			if err != nil || x.Mechanism != m || !bytes.Equal(first, want) {
				t.Errorf("%s: %q, %v", x.Mechanism, first, err)
			}
			answer := mac(sha256.New, []byte("secret"), "Responder"+string(data))
			if !good {
				answer = want[5:] // what it heard from us
			}
			if err := x.Success(answer); good != (err == nil) {
				t.Errorf("%s: %v", m, err)
			}
		}
		for _, data := range [][]byte{nil, {}, []byte("x")} {
			x := choose(t, o, c, cs)
			if _, err := x.Start(); err != nil {
				t.Fatal(err)
			}
			if err := x.Success(data); !errors.Is(err, ErrServer) {
				t.Errorf("%s: success with %q: %v", m, data, err)
			}
		}
	}
}

func TestOthers(t *testing.T) {
	x := choose(t, Offer{Mechanisms: []string{"OAUTHBEARER"}}, Credentials{User: "a,b=c", OAuth: "tok.en"}, nil)
	if first, err := x.Start(); err != nil || string(first) != "n,a=a=2Cb=3Dc,\x01auth=Bearer tok.en\x01\x01" {
		t.Errorf("%q, %v", first, err)
	}
	if resp, err := x.Next([]byte(`{"status":"invalid_token"}`)); err != nil || string(resp) != "\x01" {
		t.Errorf("%q, %v", resp, err)
	}
	x = choose(t, Offer{Mechanisms: []string{"OAUTHBEARER"}}, Credentials{User: "a", OAuth: "x\x01y"}, nil)
	if _, err := x.Start(); err == nil {
		t.Error("a token with a separator in it was sent")
	}
	x = choose(t, Offer{Mechanisms: []string{"EXTERNAL"}}, Credentials{User: "a", External: true}, nil)
	if first, err := x.Start(); err != nil || first == nil || len(first) != 0 {
		t.Errorf("%q, %v", first, err)
	}
	if err := x.Success(nil); err != nil {
		t.Error(err)
	}
	x = choose(t, Offer{Mechanisms: []string{"PLAIN"}}, creds, nil)
	if first, err := x.Start(); err != nil || string(first) != "\x00us=er,x\x00pencil" {
		t.Errorf("%q, %v", first, err)
	}
	if _, err := x.Next([]byte("x")); !errors.Is(err, ErrChallenge) {
		t.Errorf("a challenge for PLAIN: %v", err)
	}
	x = choose(t, Offer{Mechanisms: []string{"SCRAM-SHA-1"}}, Credentials{User: "a\x00b", Password: "x"}, nil)
	if _, err := x.Start(); err == nil {
		t.Error("a user name with NUL was sent")
	}
}

func TestChoose(t *testing.T) {
	cs := tlsState(t)
	all := []string{"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "EXTERNAL", "ANONYMOUS", "OAUTHBEARER"}
	both := []string{"tls-server-end-point", "tls-exporter"}
	pw := Credentials{User: "u", Password: "p"}
	for i, tt := range []struct {
		o     Offer
		c     Credentials
		tls   bool
		want  string
		start string
		err   error
	}{
		{Offer{Mechanisms: all, Bindings: both}, pw, true, "SCRAM-SHA-512-PLUS", "p=tls-exporter,,", nil},
		{Offer{Mechanisms: all, Bindings: both[:1]}, pw, true, "SCRAM-SHA-512-PLUS", "p=tls-server-end-point,,", nil},
		// -PLUS is offered and we cannot: "n".
		{Offer{Mechanisms: all, Bindings: []string{"tls-unique"}}, pw, true, "SCRAM-SHA-512", "n,,", nil},
		{Offer{Mechanisms: all}, pw, true, "SCRAM-SHA-512", "n,,", nil},
		{Offer{Mechanisms: all, Bindings: both}, pw, false, "SCRAM-SHA-512", "n,,", nil},
		// We could and it is not offered: "y".
		{Offer{Mechanisms: []string{"SCRAM-SHA-1", "PLAIN"}, Bindings: both}, pw, true, "SCRAM-SHA-1", "y,,", nil},
		{Offer{Mechanisms: []string{"SCRAM-SHA-256", "SCRAM-SHA-1"}}, pw, false, "SCRAM-SHA-256", "n,,", nil},
		// Binding goes before a longer hash.
		{Offer{Mechanisms: []string{"SCRAM-SHA-512", "SCRAM-SHA-1-PLUS"}, Bindings: both}, pw, true, "SCRAM-SHA-1-PLUS", "p=tls-exporter,,", nil},
		{Offer{Mechanisms: []string{"PLAIN"}}, pw, true, "PLAIN", "", nil},
		{Offer{Mechanisms: []string{"PLAIN"}}, Credentials{User: "u", Password: "p", NoPlain: true}, true, "", "", ErrPlainPinned},
		{Offer{Mechanisms: all}, Credentials{User: "u", Password: "p", NoPlain: true}, true, "SCRAM-SHA-512", "", nil},
		{Offer{Mechanisms: []string{"DIGEST-MD5", "CRAM-MD5", "LOGIN"}}, pw, true, "", "", ErrNone},
		{Offer{}, pw, true, "", "", ErrNone},
		{Offer{Mechanisms: all}, Credentials{}, true, "", "", ErrNone},
		{Offer{Mechanisms: all}, Credentials{Anonymous: true}, true, "ANONYMOUS", "", nil},
		{Offer{Mechanisms: all}, Credentials{User: "u", Password: "p", External: true, OAuth: "t"}, true, "EXTERNAL", "", nil},
		{Offer{Mechanisms: all}, Credentials{User: "u", Password: "p", OAuth: "t"}, true, "OAUTHBEARER", "", nil},
		{Offer{Mechanisms: []string{"OAUTHBEARER"}}, pw, true, "", "", ErrNone},
		{Offer{Mechanisms: all, Fast: []string{"HT-SHA-256-EXPR"}}, Credentials{User: "u", Password: "p", Token: "t", TokenMechanism: "HT-SHA-256-EXPR", External: true}, true, "HT-SHA-256-EXPR", "", nil},
		{Offer{Mechanisms: []string{"PLAIN"}, Fast: []string{"HT-SHA-256-EXPR"}}, Credentials{User: "u", Password: "p", Token: "t", TokenMechanism: "HT-SHA-256-EXPR"}, false, "PLAIN", "", nil},
		{Offer{Mechanisms: []string{"PLAIN"}, Fast: []string{"HT-SHA-256-ENDP"}}, Credentials{User: "u", Password: "p", Token: "t", TokenMechanism: "HT-SHA-256-EXPR"}, true, "PLAIN", "", nil},
		{Offer{Mechanisms: []string{"PLAIN"}, Fast: []string{"HT-SHA-256-UNIQ"}}, Credentials{User: "u", Password: "p", Token: "t", TokenMechanism: "HT-SHA-256-UNIQ"}, true, "PLAIN", "", nil},
	} {
		state := cs
		if !tt.tls {
			state = nil
		}
		x, err := Choose(tt.o, tt.c, state, nil)
		if !errors.Is(err, tt.err) || x == nil && tt.want != "" {
			t.Errorf("%d: %v", i, err)
			continue
		}
		if x == nil {
			continue
		}
		first, err := x.Start()
		if x.Mechanism != tt.want || err != nil || !strings.HasPrefix(string(first), tt.start) {
			t.Errorf("%d: %s %q, %v; want %s %s", i, x.Mechanism, first, err, tt.want, tt.start)
		}
	}
	o := Offer{Fast: []string{"HT-SHA-256-NONE", "HT-SHA-256-ENDP", "HT-SHA-256-EXPR", "HT-SHA-512-EXPR"}}
	if got := TokenMechanism(o, cs); got != "HT-SHA-256-EXPR" {
		t.Error(got)
	}
	if got := TokenMechanism(o, nil); got != "HT-SHA-256-NONE" {
		t.Error(got)
	}
	if got := TokenMechanism(Offer{}, cs); got != "" {
		t.Error(got)
	}
}

func TestEndPoint(t *testing.T) {
	raw := []byte("certificate")
	s256, s384, s512 := sha256.Sum256(raw), sha512.Sum384(raw), sha512.Sum512(raw)
	for alg, want := range map[x509.SignatureAlgorithm][]byte{
		x509.SHA1WithRSA: s256[:], x509.MD5WithRSA: s256[:], x509.SHA256WithRSA: s256[:], x509.PureEd25519: s256[:],
		x509.ECDSAWithSHA384: s384[:], x509.SHA512WithRSAPSS: s512[:],
	} {
		if got := endPoint(&x509.Certificate{Raw: raw, SignatureAlgorithm: alg}); !bytes.Equal(got, want) {
			t.Errorf("%v: %x", alg, got)
		}
	}
}

// tlsState returns the client's side of a real handshake.
func tlsState(t testing.TB) *tls.ConnectionState {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.org"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	done := make(chan error, 1)
	go func() { done <- server.HandshakeContext(context.Background()) }()
	client := tls.Client(a, &tls.Config{ServerName: "example.org", RootCAs: pool})
	if err := client.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	cs := client.ConnectionState()
	return &cs
}

// TestForeignState: a connection of the caller's own that claims to be encrypted
// has nothing to bind to.
func TestForeignState(t *testing.T) {
	cs := &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}
	x, err := Choose(Offer{Mechanisms: []string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}, Bindings: []string{"tls-exporter"}}, Credentials{User: "u", Password: "p"}, cs, nil)
	if err != nil || x.Mechanism != "SCRAM-SHA-1" {
		t.Errorf("got %+v, %v", x, err)
	}
}
