package confabtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// certs are the certificates of a server, made when they are first needed.
type certs struct {
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	server tls.Certificate
	end    []byte // tls-server-end-point
}

// The time of day does not matter to them, so that they are good under
// testing/synctest as well, where it is the year 2000.
var (
	validFrom = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	validTo   = time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)
)

func newAuthority(name string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: validFrom, NotAfter: validTo,
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return ca, key, err
}

func newCerts(cfg *Config) (*certs, error) {
	ca, key, err := newAuthority("confabtest authority")
	if err != nil {
		return nil, err
	}
	c := &certs{ca: ca, key: key}
	t := &x509.Certificate{
		NotBefore: validFrom, NotAfter: validTo,
		DNSNames:    []string{cfg.Domain, "*." + cfg.Domain, "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, d := range [...]string{cfg.AnonymousDomain, cfg.CaptchaDomain} {
		if d != "" {
			t.DNSNames = append(t.DNSNames, d)
		}
	}
	issuer := c
	switch cfg.Certificate {
	case Expired:
		t.NotAfter = validFrom.AddDate(1, 0, 0)
	case WrongName:
		t.DNSNames, t.IPAddresses = []string{"wrong.example"}, nil
	case UnknownCA:
		if ca, key, err = newAuthority("somebody else's authority"); err != nil {
			return nil, err
		}
		issuer = &certs{ca: ca, key: key}
	}
	if c.server, err = issuer.issue(t); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(c.server.Certificate[0]) // signed with SHA-256 (RFC 5929 §4.1)
	c.end = sum[:]
	return c, nil
}

func (c *certs) issue(t *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return tls.Certificate{}, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, c.ca, &key.PublicKey, c.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func (s *Server) certs() *certs {
	s.certOnce.Do(func() {
		c, err := newCerts(&s.cfg)
		if err != nil {
			panic(fmt.Sprintf("confabtest: making certificates: %v", err))
		}
		s.cert = c
	})
	return s.cert
}

// CA returns the authority that vouches for the server, for
// client.Config.TLS.RootCAs.
func (s *Server) CA() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.certs().ca)
	return p
}

// CAPEM returns the authority's certificate as PEM.
func (s *Server) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certs().ca.Raw})
}

// ClientCertificate makes a certificate with which the user can sign in
// (EXTERNAL, XEP-0178).
func (s *Server) ClientCertificate(user string) tls.Certificate {
	address := user + "@" + s.cfg.Domain
	san, err := xmppAddrSAN(address)
	if err == nil {
		var cert tls.Certificate
		cert, err = s.certs().issue(&x509.Certificate{
			Subject: pkix.Name{CommonName: address}, NotBefore: validFrom, NotAfter: validTo,
			ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			ExtraExtensions: []pkix.Extension{san},
		})
		if err == nil {
			return cert
		}
	}
	panic(fmt.Sprintf("confabtest: making a certificate: %v", err))
}

var (
	oidSAN      = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidXMPPAddr = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}
)

type otherName struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue // explicit tag 0
}

func xmppAddrSAN(address string) (pkix.Extension, error) {
	value, err := asn1.MarshalWithParams(address, "utf8")
	if err != nil {
		return pkix.Extension{}, err
	}
	name, err := asn1.MarshalWithParams(otherName{oidXMPPAddr, asn1.RawValue{
		Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: value,
	}}, "tag:0")
	if err != nil {
		return pkix.Extension{}, err
	}
	der, err := asn1.Marshal([]asn1.RawValue{{FullBytes: name}})
	return pkix.Extension{Id: oidSAN, Value: der}, err
}

// xmppAddrs returns the addresses that a certificate is for.
func xmppAddrs(cert *x509.Certificate) []string {
	var found []string
	for _, e := range cert.Extensions {
		var names []asn1.RawValue
		if !e.Id.Equal(oidSAN) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			continue
		}
		for _, n := range names {
			var (
				o otherName
				v string
			)
			if n.Tag != 0 || n.Class != asn1.ClassContextSpecific {
				continue
			}
			if _, err := asn1.UnmarshalWithParams(n.FullBytes, &o, "tag:0"); err != nil || !o.ID.Equal(oidXMPPAddr) {
				continue
			}
			if _, err := asn1.UnmarshalWithParams(o.Value.Bytes, &v, "utf8"); err == nil {
				found = append(found, v)
			}
		}
	}
	return found
}

// serverTLS returns the settings of the server's side.
func (s *Server) serverTLS(alpn ...string) *tls.Config {
	c := s.certs()
	pool := x509.NewCertPool()
	pool.AddCert(c.ca)
	return &tls.Config{
		Certificates: []tls.Certificate{c.server}, ClientAuth: tls.VerifyClientCertIfGiven,
		ClientCAs: pool, NextProtos: alpn, MinVersion: tls.VersionTLS12,
	}
}
