package client

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/discover"
	"mellium.im/xmpp/jid"
)

// A Config says whose account it is and how to reach it. Address and one way to
// prove who one is are needed; everything else has a default that fits. It is
// copied by [New].
type Config struct {
	// Address is the account, user@domain, or only the domain with Anonymous. A
	// resource is asked for as it is; without one the server chooses, which is
	// what a bot should want: two processes with one resource throw each other
	// out.
	Address string

	// Password proves who one is, with SCRAM or, under TLS and if the account
	// never did better, PLAIN.
	Password string
	// OAuthToken, if set, is asked for an access token at each sign-in
	// (OAUTHBEARER, RFC 7628; XEP-0493).
	OAuthToken func(ctx context.Context) (string, error)
	// Certificate is a client certificate to sign in with (EXTERNAL, XEP-0178).
	Certificate *tls.Certificate
	// Anonymous signs in without an account, if the domain allows it.
	Anonymous bool
	// AllowPlain says what PLAIN is good for: by default it is used under
	// encryption when the server offers nothing better and never has.
	// PlainNever refuses it.
	AllowPlain PlainPolicy

	// Server is where to connect instead of what DNS says: host, host:port,
	// xmpp://host:port (STARTTLS), xmpps://host:port (direct TLS) or
	// wss://host/path. The certificate must still be for the account's domain.
	Server string
	// WebSocket connects by WebSocket only, to the address that the domain's
	// host-meta file names (XEP-0156). Without it, that is the last resort.
	WebSocket bool
	// Proxy is a SOCKS5 proxy, such as Tor's: socks5://[user:password@]host:port.
	// Names are resolved at its far end. It is needed for .onion domains.
	Proxy *url.URL
	// Dial opens connections instead of a [net.Dialer]. A connection that comes
	// with a ConnectionState method whose handshake is complete is taken to be
	// encrypted and authenticated already.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver answers DNS questions instead of the system.
	Resolver Resolver

	// TLS has the settings for encryption, such as RootCAs for a private
	// authority. ServerName is always the account's domain, verification cannot
	// be switched off, and nothing below TLS 1.2 is spoken.
	TLS *tls.Config
	// Pins, if set, are SHA-256 hashes of public keys (SubjectPublicKeyInfo): the
	// server's chain must verify and contain one of them.
	Pins [][sha256.Size]byte

	// Store keeps what a later run of the program needs: tokens for signing in
	// without the password, what kind of authentication the account has seen.
	// Nil keeps it in memory. [FileStore] keeps it in a file.
	Store Store

	// Presence is what is sent after sign-in; nil stands for plain availability.
	// NoPresence sends none: then the server delivers no messages to the bare
	// address, and contacts do not see the client.
	Presence   *confab.Element
	NoPresence bool
	// Software names the program in answers to others and, by its name, in the
	// resource; by default "confab". Nothing is told about the operating system.
	Software Software

	// Keepalive is how long the link may be silent before the server is asked
	// for a sign of life; 0 stands for a minute. A server that does not answer
	// within Patience is taken to be gone; 0 stands for 30 seconds.
	Keepalive, Patience time.Duration
	// ConnectTimeout bounds finding the server, connecting and signing in; 0
	// stands for a minute.
	ConnectTimeout time.Duration
	// BackoffMin and BackoffMax bound the pauses between attempts to connect; 0
	// stands for one second and two minutes. Each pause is up to twice the last,
	// at random.
	BackoffMin, BackoffMax time.Duration
	// Timeout bounds requests whose context has no deadline; 0 stands for
	// [confab.DefaultTimeout].
	Timeout time.Duration
	// QueueBytes bounds what was read and is not yet handled; 0 stands for 8 MiB.
	// OutboxBytes bounds what waits to be sent or acknowledged; 0 stands for
	// 1 MiB.
	QueueBytes, OutboxBytes int
	// MaxStanza bounds the size of a stanza that comes in; 0 stands for 4 MiB. A
	// larger one is skipped, and told as a [confab.BadStanza].
	MaxStanza int
	// MaxSend bounds the size of a stanza that is sent: a larger one is refused with
	// [confab.ErrTooLarge], since servers end the stream of who sends it. 0 stands
	// for what the server announces (XEP-0478), or 256 KiB if it does not, which is
	// what servers commonly take.
	MaxSend int

	// Log gets what happens to the connection. Nil discards it.
	Log *slog.Logger
	// Wire, if set, is called for each stanza and each element of the stream's
	// own that goes in or out, with secrets cut out. It must not block.
	Wire func(WireEvent)
}

// Software describes the program (XEP-0030, XEP-0092).
type Software struct {
	Name, Version string
	// Category and Type are those of the identity; by default "client" and
	// "bot". People's clients say "pc", "phone", "web" or "console".
	Category, Type string
	// Forms are added to the answers about this client (XEP-0128).
	Forms []*confab.Element
	// Node is a URI for the software (XEP-0115 §4); by default confab's.
	Node string
}

// A PlainPolicy says when a password may be sent to the server as it is.
type PlainPolicy uint8

// When PLAIN may be used. It always takes an encrypted link.
const (
	// PlainFirst: as long as the account has not seen SCRAM.
	PlainFirst PlainPolicy = iota
	// PlainNever: never.
	PlainNever
)

// A Resolver answers DNS questions; *[net.Resolver] is one.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// check refuses what cannot work and fills in the defaults.
func (c *Config) check() (account jid.JID, err error) {
	if c.Address == "" {
		return account, errors.New("client: Config.Address is empty; it should be like user@example.org")
	}
	account, err = jid.Parse(c.Address)
	if err != nil {
		return account, fmt.Errorf("client: Config.Address %q: %w", c.Address, err)
	}
	if account.Localpart() == "" && !c.Anonymous && c.Certificate == nil {
		return account, fmt.Errorf("client: Config.Address %q has no user: it should be like user@%s, or set Anonymous", c.Address, account.Domain())
	}
	if c.Password == "" && c.OAuthToken == nil && c.Certificate == nil && !c.Anonymous {
		return account, errors.New("client: set Config.Password, OAuthToken, Certificate or Anonymous")
	}
	if c.TLS != nil && c.TLS.InsecureSkipVerify {
		return account, errors.New("client: Config.TLS.InsecureSkipVerify would give the account to anyone on the way; put a private authority into TLS.RootCAs instead")
	}
	if c.Proxy != nil && c.Proxy.Scheme != "socks5" && c.Proxy.Scheme != "socks5h" {
		return account, fmt.Errorf("client: Config.Proxy has scheme %q; only socks5 is supported", c.Proxy.Scheme)
	}
	if c.Presence != nil && (c.Presence.Name.Local != "presence" || c.Presence.Get("to") != "") {
		return account, errors.New("client: Config.Presence must be a <presence> without to")
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Keepalive, time.Minute}, {&c.Patience, 30 * time.Second}, {&c.ConnectTimeout, time.Minute},
		{&c.BackoffMin, time.Second}, {&c.BackoffMax, 2 * time.Minute}, {&c.Timeout, confab.DefaultTimeout}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	c.BackoffMax = max(c.BackoffMax, c.BackoffMin)
	if c.OutboxBytes <= 0 {
		c.OutboxBytes = 1 << 20
	}
	if c.MaxStanza <= 0 {
		c.MaxStanza = 4 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Store == nil {
		c.Store = &MemoryStore{}
	}
	s := &c.Software
	for _, d := range []struct {
		v   *string
		def string
	}{{&s.Name, "confab"}, {&s.Category, "client"}, {&s.Type, "bot"}, {&s.Node, "https://github.com/confab-im/confab"}} {
		if *d.v == "" {
			*d.v = d.def
		}
	}
	return account, nil
}

// discovery is the part of the configuration that finds servers.
func (c *Config) discovery(domain string) discover.Config {
	d := discover.Config{Domain: domain, Override: c.Server, Proxy: c.Proxy, TLS: c.TLS}
	if c.Dial != nil {
		d.Dial = c.Dial
	}
	if c.Resolver != nil {
		d.Resolver = c.Resolver
	}
	return d
}

// tlsConfig returns the settings for a TLS client. Name is what the certificate
// must be for.
func (c *Config) tlsConfig(name string, direct bool) *tls.Config {
	t := c.TLS.Clone()
	if t == nil {
		t = &tls.Config{}
	}
	t.ServerName = name
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	t.NextProtos = nil
	// One write is one record; see maxRecord.
	t.DynamicRecordSizingDisabled = true
	if direct {
		t.NextProtos = []string{discover.ALPN}
	}
	if c.Certificate != nil {
		t.Certificates = append(t.Certificates[:len(t.Certificates):len(t.Certificates)], *c.Certificate)
	}
	if len(c.Pins) > 0 {
		verify := t.VerifyConnection
		t.VerifyConnection = func(s tls.ConnectionState) error {
			if verify != nil {
				if err := verify(s); err != nil {
					return err
				}
			}
			if !pinned(s.VerifiedChains, c.Pins) {
				return ErrPin
			}
			return nil
		}
	}
	return t
}

func pinned(chains [][]*x509.Certificate, pins [][sha256.Size]byte) bool {
	for _, chain := range chains {
		for _, cert := range chain {
			sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
			for _, pin := range pins {
				if subtle.ConstantTimeCompare(sum[:], pin[:]) == 1 {
					return true
				}
			}
		}
	}
	return false
}

// isVerification reports whether a handshake failed because the server's
// certificate is not to be trusted.
func isVerification(err error) bool {
	var v *tls.CertificateVerificationError
	return errors.As(err, &v) || errors.Is(err, ErrPin)
}
