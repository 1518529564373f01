package login

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mellium.im/sasl"
)

// An Offer is what a server says it can do, in one SASL profile.
type Offer struct {
	// Mechanisms are their names, as offered.
	Mechanisms []string
	// Bindings are the channel bindings it announces (XEP-0440), nil if it
	// announces none of that kind.
	Bindings []string
	// Fast are the mechanisms for tokens (XEP-0484).
	Fast []string
}

// Credentials are what we have.
type Credentials struct {
	User      string // the localpart
	Password  string
	OAuth     string // an access token
	External  bool   // a client certificate was shown
	Anonymous bool
	// NoPlain forbids PLAIN, for accounts that have seen better.
	NoPlain bool
	// Token is for FAST, TokenMechanism what it was given for.
	Token, TokenMechanism string
}

// Errors of choosing.
var (
	ErrNone        = errors.New("none of the server's mechanisms can be used")
	ErrPlainPinned = errors.New("the server offers only PLAIN, but this account has signed in with something better before: somebody may be after the password")
)

// Choose picks the best mechanism for what we have. TLS is the state of the
// encryption, or nil if channels cannot be bound to it.
func Choose(o Offer, c Credentials, cs *tls.ConnectionState, keys *Keys) (*Exchange, error) {
	has := func(name string) bool { return slices.Contains(o.Mechanisms, name) }
	if c.Token != "" && slices.Contains(o.Fast, c.TokenMechanism) {
		if data, ok := tokenBinding(c.TokenMechanism, cs); ok {
			return newExchange(hashedToken(c.TokenMechanism, data), c.User, c.Token, "", true), nil
		}
	}
	if c.External && has("EXTERNAL") {
		return newExchange(external, c.User, "", "", false), nil
	}
	if c.OAuth != "" && has("OAUTHBEARER") {
		return newExchange(oauthBearer, c.User, c.OAuth, "", false), nil
	}
	if c.Password != "" {
		if x := chooseSCRAM(o, c, cs, keys); x != nil {
			return x, nil
		}
		if has("PLAIN") {
			if c.NoPlain {
				return nil, ErrPlainPinned
			}
			return newExchange(sasl.Plain, c.User, c.Password, "", false), nil
		}
	}
	if c.Anonymous && has("ANONYMOUS") {
		return newExchange(anonymous, "", "", "", false), nil
	}
	return nil, ErrNone
}

func chooseSCRAM(o Offer, c Credentials, cs *tls.ConnectionState, keys *Keys) *Exchange {
	b, canBind := bind(o.Bindings, cs)
	offersPlus := slices.ContainsFunc(o.Mechanisms, func(m string) bool {
		return strings.HasPrefix(m, "SCRAM-") && strings.HasSuffix(m, "-PLUS")
	})
	for _, name := range []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"} {
		if canBind && slices.Contains(o.Mechanisms, name+"-PLUS") {
			return newExchange(scram(name+"-PLUS", b, o, keys), c.User, c.Password, "", true)
		}
	}
	for _, name := range []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"} {
		if slices.Contains(o.Mechanisms, name) {
			// "y" says that we could have bound the channel and the server did
			// not offer it: if it did, somebody removed the offer, and the
			// server will notice (RFC 5802 §6).
			b := binding{gs2: "n"}
			if cs != nil && !offersPlus {
				b.gs2 = "y"
			}
			return newExchange(scram(name, b, o, keys), c.User, c.Password, "", true)
		}
	}
	return nil
}

// bind picks a channel binding from those that the server announces. One that
// offers -PLUS but announces none cannot be bound to: the likes of ejabberd
// before 24.02 know only tls-unique, which TLS 1.3 does not have, and refuse all
// else as a wrong password.
func bind(announced []string, cs *tls.ConnectionState) (binding, bool) {
	if cs == nil {
		return binding{}, false
	}
	for _, typ := range []string{"tls-exporter", "tls-server-end-point"} {
		if !slices.Contains(announced, typ) {
			continue
		}
		if data, err := bindingData(typ, cs); err == nil {
			return binding{gs2: "p=" + typ, data: data}, true
		}
	}
	return binding{}, false
}

// bindingData returns what identifies the channel.
func bindingData(typ string, cs *tls.ConnectionState) (data []byte, err error) {
	// A state that did not come from crypto/tls, but from a caller's own
	// connection, has no keys to export, and panics.
	defer func() {
		if recover() != nil {
			data, err = nil, fmt.Errorf("login: no channel binding %s here", typ)
		}
	}()
	switch {
	case cs == nil:
	case typ == "tls-exporter":
		// RFC 9266 §4.2: not below TLS 1.3 without extended master secret,
		// which crypto/tls refuses by itself.
		return cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	case typ == "tls-server-end-point" && len(cs.PeerCertificates) > 0:
		return endPoint(cs.PeerCertificates[0]), nil
	}
	return nil, fmt.Errorf("login: no channel binding %s here", typ)
}

// endPoint is the hash of the server's certificate (RFC 5929 §4.1).
func endPoint(cert *x509.Certificate) []byte {
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		s := sha512.Sum384(cert.Raw)
		return s[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		s := sha512.Sum512(cert.Raw)
		return s[:]
	}
	s := sha256.Sum256(cert.Raw)
	return s[:]
}

// tokenBinding returns the data that a token mechanism is bound to.
func tokenBinding(mechanism string, cs *tls.ConnectionState) ([]byte, bool) {
	switch strings.TrimPrefix(mechanism, "HT-SHA-256-") {
	case "EXPR":
		data, err := bindingData("tls-exporter", cs)
		return data, err == nil
	case "ENDP":
		data, err := bindingData("tls-server-end-point", cs)
		return data, err == nil
	case "NONE":
		return nil, true
	}
	return nil, false
}

// TokenMechanism picks the mechanism to ask a token for, or "".
func TokenMechanism(o Offer, cs *tls.ConnectionState) string {
	for _, m := range []string{"HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"} {
		if slices.Contains(o.Fast, m) {
			if _, ok := tokenBinding(m, cs); ok {
				return m
			}
		}
	}
	return ""
}
