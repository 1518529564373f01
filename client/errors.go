package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/confab-im/confab/internal/discover"
)

// Errors of the client. Those with a Permanent method that returns true end
// [Client.Run]: trying again would not help, or would do harm.
var (
	// ErrPin: the certificate verified, but none of Config.Pins is in its chain.
	ErrPin = errors.New("client: the server's certificate chain has none of the pinned keys")
	// ErrNoTLS: the server offers no encryption, or somebody on the way has
	// removed the offer. Nothing secret was sent.
	ErrNoTLS = errors.New("client: the server offers no encryption (STARTTLS), or somebody on the way removed the offer")
	// ErrRunning: Run was called a second time.
	ErrRunning = errors.New("client: Run was called already; make a new Client to sign in again")
	// ErrTimeout: the server did not answer in time.
	ErrTimeout = errors.New("client: the server gave no sign of life")
)

// An EncryptionError says that no trustworthy encryption could be had. No
// credential was sent.
type EncryptionError struct {
	// Domain is what the certificate should have been for.
	Domain string
	// Err is why: ErrNoTLS, ErrPin, a *tls.CertificateVerificationError or
	// another error of the handshake.
	Err error
}

// Error implements error.
func (e *EncryptionError) Error() string {
	return fmt.Sprintf("client: no trusted encryption with %s: %v", e.Domain, e.Err)
}

// Unwrap returns the cause.
func (e *EncryptionError) Unwrap() error { return e.Err }

// An AuthError says that the server did not let us in, or that we did not trust
// it enough to try.
type AuthError struct {
	// Mechanism is what was tried, or empty if none of those offered will do.
	Mechanism string
	// Offered are the mechanisms the server offered.
	Offered []string
	// Condition is the server's reason (RFC 6120 §6.5), such as
	// "not-authorized", and Text what it said with it.
	Condition, Text string
	// Err is the reason on our side, such as a bad server signature.
	Err error
}

// Error implements error.
func (e *AuthError) Error() string {
	var b strings.Builder
	b.WriteString("client: sign-in failed")
	if e.Mechanism != "" {
		b.WriteString(" with " + e.Mechanism)
	}
	if e.Condition != "" {
		b.WriteString(": " + e.Condition)
	}
	if e.Text != "" {
		fmt.Fprintf(&b, " (%q)", e.Text)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	fmt.Fprintf(&b, "; the server offered %s", strings.Join(e.Offered, " "))
	return b.String()
}

// Unwrap returns the reason on our side.
func (e *AuthError) Unwrap() error { return e.Err }

// Permanent reports whether trying again is pointless. It is false only for
// temporary-auth-failure.
func (e *AuthError) Permanent() bool { return e.Condition != "temporary-auth-failure" }

// A StreamError is what the server ended the stream with (RFC 6120 §4.9).
type StreamError struct {
	Condition, Text string
	// Host is where to go instead, with see-other-host.
	Host string
}

// Error implements error.
func (e *StreamError) Error() string {
	s := "client: the server ended the stream: " + e.Condition
	if e.Text != "" {
		s += fmt.Sprintf(" (%q)", e.Text)
	}
	if e.Condition == "conflict" {
		s += "; another client signed in with the same resource"
	}
	return s
}

// Permanent reports whether coming back would be wrong: another client took our
// place, or the server does not want this one.
func (e *StreamError) Permanent() bool {
	switch e.Condition {
	case "conflict", "host-gone", "host-unknown", "not-authorized", "policy-violation", "unsupported-version", "improper-addressing", "invalid-from":
		return true
	}
	return false
}

// A BindError says that the server gave us no resource.
type BindError struct{ Err error }

// Error implements error.
func (e *BindError) Error() string { return "client: no resource could be bound: " + e.Err.Error() }

// Unwrap returns the cause, a stanza.Error.
func (e *BindError) Unwrap() error { return e.Err }

// A ConnectError says that no server could be reached. It lists each attempt.
type ConnectError struct {
	Domain   string
	Attempts []Attempt
	err      *discover.Error
}

// An Attempt is one try to connect.
type Attempt struct {
	// Target is what was tried, such as "xmpp.example.org:5223 direct TLS (srv
	// _xmpps-client)"; Addr is the address behind it, if it came to that.
	Target, Addr string
	Err          error
}

// Error implements error.
func (e *ConnectError) Error() string { return "client: " + e.err.Error() }

// Unwrap returns the reasons of all attempts.
func (e *ConnectError) Unwrap() []error { return e.err.Unwrap() }

// connectError makes the errors of package discover public.
func connectError(err error) error {
	var d *discover.Error
	if !errors.As(err, &d) {
		return err
	}
	ce := &ConnectError{Domain: d.Domain, err: d}
	for _, a := range d.Attempts {
		ce.Attempts = append(ce.Attempts, Attempt{Target: a.Target.String(), Addr: a.Addr, Err: a.Err})
	}
	return ce
}

// isPermanent reports whether Run has to end.
func isPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// ackError is a server that acknowledges what was never sent (XEP-0198 §4).
type ackError struct{ h, sent uint32 }

func (e *ackError) Error() string {
	return fmt.Sprintf("client: the server acknowledges %d stanzas, but only %d were sent", e.h, e.sent)
}
