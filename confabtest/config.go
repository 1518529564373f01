package confabtest

import (
	"time"
)

// A Feature is a part of the server that can be switched off in
// [Config.Without].
type Feature uint32

// The parts of the server.
const (
	// StartTLS offers and demands encryption on connections that have none.
	// Without it such connections may sign in as they are.
	StartTLS Feature = 1 << iota
	// SASL1 is the sign-in of RFC 6120.
	SASL1
	// SASL2 is the sign-in of XEP-0388.
	SASL2
	// Bind2 binds resources within SASL2 (XEP-0386).
	Bind2
	// FAST signs in with tokens (XEP-0484).
	FAST
	// ChannelBinding offers the -PLUS mechanisms and announces the types
	// (XEP-0440).
	ChannelBinding
	// DowngradeProtection has SCRAM prove what was offered (XEP-0474).
	DowngradeProtection
	// StreamManagement is XEP-0198.
	StreamManagement
	// Resumption is the resuming of streams with XEP-0198.
	Resumption
	// Registration makes, changes and removes accounts (XEP-0077).
	Registration
	// Carbons are copies for the other clients of an account (XEP-0280).
	Carbons
	// Offline keeps messages for accounts that nobody is signed in to.
	Offline
	// ClientState is XEP-0352.
	ClientState
	// StanzaIDs are the ids that the server gives to messages (XEP-0359).
	StanzaIDs
	// RosterVersions saves sending a roster that is known (RFC 6121 §2.6).
	RosterVersions
	// PubSub is publish-subscribe (XEP-0060): a component, pubsub.<Domain>, and
	// every account (PEP, XEP-0163).
	PubSub
	// AvatarConversion shows the picture that an account has published by PEP in
	// its vCard and its presence, and the other way round (XEP-0398).
	AvatarConversion
	// Archives keep the messages of accounts (XEP-0313). They need StanzaIDs.
	Archives
	// Rooms is the component rooms.<Domain> (XEP-0045).
	Rooms
	// Uploads is the component upload.<Domain> (XEP-0363).
	Uploads
	// Bytestreams is the proxy proxy.<Domain> (XEP-0065).
	Bytestreams
)

// A CertificateKind is a kind of certificate that the server shows.
type CertificateKind uint8

// The kinds of certificates.
const (
	// Valid is for the server's domains, by [Server.CA].
	Valid CertificateKind = iota
	// Expired is like Valid, but was valid long ago.
	Expired
	// WrongName is for another domain.
	WrongName
	// UnknownCA is not by [Server.CA].
	UnknownCA
)

// A Config says what the server is to be like. With the zero value it can do
// everything that it can do, and has no accounts.
type Config struct {
	// Domain is the domain of the accounts; by default "confab.test".
	Domain string
	// AnonymousDomain is a second domain, where ANONYMOUS signs in; none by
	// default.
	AnonymousDomain string
	// CaptchaDomain is a domain where who wants an account fills in a data form and says
	// what is in a picture (XEP-0158); none by default. So that programs can read it, the
	// file of the picture ends with "answer=" and what to say.
	CaptchaDomain string
	// Without switches features off: Without: SASL2 | FAST.
	Without Feature
	// Mechanisms are offered for signing in, where they are possible; by default
	// SCRAM with SHA-1, SHA-256 and SHA-512, each with and without -PLUS, PLAIN,
	// EXTERNAL, and OAUTHBEARER if CheckToken is set. ANONYMOUS can be given.
	Mechanisms []string
	// Iterations is the count for SCRAM; by default 4096.
	Iterations int
	// CheckToken decides on OAUTHBEARER: whether the token is good for the user.
	// The user is "" if the client named none; then the name that is returned
	// counts.
	CheckToken func(user, token string) (name string, ok bool)
	// MaxAttempts is how many failures to sign in end a connection; by default 3.
	MaxAttempts int
	// TokenLifetime is how long a token of FAST is good; by default 21 days. One
	// that has less than TokenRotation to live is replaced when it is used; by
	// default half the lifetime.
	TokenLifetime, TokenRotation time.Duration
	// ResumeTimeout is how long a stream can be resumed; by default 5 minutes.
	ResumeTimeout time.Duration
	// Certificate is what kind of certificate is shown.
	Certificate CertificateKind
	// MaxStanza is the size of a stanza that is taken; by default 1 MiB.
	MaxStanza int
	// MaxQueue is how many bytes wait for one connection; by default 64 MiB. A
	// connection that needs more is cut.
	MaxQueue int
	// MaxFile is the size of a file that is taken (XEP-0363); by default 100 MiB.
	MaxFile int64
	// Wire, if set, is called with each element that is read or is to be written,
	// and is meant for logs. It must not call the server. The bytes are valid
	// during the call only.
	Wire func(conn int, out bool, xml []byte)
}

func (c *Config) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	num := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	if c.Domain == "" {
		c.Domain = "confab.test"
	}
	if c.Mechanisms == nil {
		c.Mechanisms = []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
			"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "EXTERNAL"}
		if c.CheckToken != nil {
			c.Mechanisms = append(c.Mechanisms, "OAUTHBEARER")
		}
	}
	num(&c.Iterations, 4096)
	num(&c.MaxAttempts, 3)
	num(&c.MaxStanza, 1<<20)
	num(&c.MaxQueue, 64<<20)
	if c.MaxFile == 0 {
		c.MaxFile = 100 << 20
	}
	def(&c.TokenLifetime, 21*24*time.Hour)
	def(&c.TokenRotation, c.TokenLifetime/2)
	def(&c.ResumeTimeout, 5*time.Minute)
}

func (c *Config) has(f Feature) bool { return c.Without&f == 0 }
