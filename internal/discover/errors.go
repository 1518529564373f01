package discover

import (
	"errors"
	"strings"
	"time"
)

var (
	// ErrRefused means that the domain's SRV records say in so many words (a
	// target of ".") that no XMPP service for clients is offered there.
	ErrRefused = errors.New("the domain's DNS says that it offers no XMPP service for clients")

	// ErrLookup means that DNS failed in a way that leaves nothing to try: one
	// service is refused and the lookup of the other one failed.
	ErrLookup = errors.New("the SRV lookup failed")

	// ErrOnion means that a .onion name can only be reached through a proxy or
	// dial function, and none is set.
	ErrOnion = errors.New(".onion names need a proxy or a dial function")

	// ErrDomain means that Config.Domain is no domain name or IP address.
	ErrDomain = errors.New("not a valid domain")

	// ErrOverride means that Config.Override has none of the accepted forms.
	ErrOverride = errors.New("not a valid override")

	// ErrProxy means that Config.Proxy is not a SOCKS5 proxy's address.
	ErrProxy = errors.New("not a valid SOCKS5 proxy address")

	// ErrNoWebSocket means that the domain names no secure WebSocket endpoint.
	ErrNoWebSocket = errors.New("no WebSocket endpoint found")

	errNoTargets   = errors.New("nothing to try")
	errNoAddresses = errors.New("the name has no addresses")
	errNoConn      = errors.New("the dial function returned no connection")
	errAborted     = errors.New("aborted, because the race was over")
)

// An Attempt is one try of a [Race] that came to nothing.
type Attempt struct {
	Target Target
	// Addr is the address that was tried, empty if none was found. It holds the
	// host name when a proxy resolves it.
	Addr string
	// Err is the reason of the failure. An attempt that ran into Config.Timeout
	// matches context.DeadlineExceeded, though the caller's context may be fine.
	Err error
	// Duration is how long it took to fail.
	Duration time.Duration
}

// String tells the attempt as one clause.
func (a Attempt) String() string {
	var b strings.Builder
	b.WriteString(a.Target.String())
	if a.Addr != "" && a.Addr != a.Target.Addr() {
		b.WriteString(" at ")
		b.WriteString(a.Addr)
	}
	b.WriteString(" after ")
	b.WriteString(a.Duration.Round(time.Millisecond).String())
	b.WriteString(": ")
	if a.Err != nil {
		b.WriteString(a.Err.Error())
	}
	return b.String()
}

// Error is the error of this package: everything that was tried for a domain
// and why nothing came of it. [errors.Is] and [errors.As] reach all the causes.
type Error struct {
	// Domain is the account's domain as it was given.
	Domain string
	// Attempts are the failed attempts in the order of their start.
	Attempts []Attempt
	// Lookup is what went wrong with the SRV lookups, if anything.
	Lookup error
	// Err is the reason that lies in no single attempt, if there is one: the
	// caller's context ended, or there was nothing to try.
	Err error
}

// Error lists the attempts and their reasons.
func (e *Error) Error() string {
	var parts []string
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	for _, a := range e.Attempts {
		parts = append(parts, a.String())
	}
	if e.Lookup != nil {
		parts = append(parts, "SRV lookup: "+e.Lookup.Error())
	}
	return "discover: cannot connect to " + e.Domain + ": " + strings.Join(parts, "; ")
}

// Unwrap returns the causes: Err, those of the attempts, and Lookup.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	for _, a := range e.Attempts {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	if e.Lookup != nil {
		errs = append(errs, e.Lookup)
	}
	return errs
}

// join is errors.Join on one line.
func join(errs ...error) error {
	if len(errs) == 0 {
		return nil
	}
	return &joined{errs}
}

type joined struct{ errs []error }

func (j *joined) Error() string {
	texts := make([]string, len(j.errs))
	for i, err := range j.errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (j *joined) Unwrap() []error { return j.errs }
