package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	maxRecords = 256 // per service; what a hostile answer may cost us in sorting
	maxTargets = 32

	lookupTimeout = 10 * time.Second
	// lookupGrace is how long one service's records wait for the other's answer.
	lookupGrace = 2 * time.Second
)

var errUnusable = errors.New("no usable SRV record among those published")

// services are the SRV service names and what they stand for.
var services = [2]struct {
	name   string
	direct bool
}{{"xmpps-client", true}, {"xmpp-client", false}}

// answer is what DNS said about one service. All fields are empty if it said
// that there are no records.
type answer struct {
	targets []Target
	refused bool  // its target is "."
	err     error // the question was not answered
}

// lookupSRV asks for both services at once and makes one list of the answers.
func (c Config) lookupSRV(ctx context.Context, domain string) ([]Target, error) {
	answers, err := c.askSRV(ctx, domain)
	if err != nil {
		return nil, c.fail(err)
	}
	var (
		targets []Target
		failed  []error
		refused bool
	)
	for _, a := range answers {
		targets = append(targets, a.targets...)
		refused = refused || a.refused
		if a.err != nil {
			failed = append(failed, a.err)
		}
	}
	lookupErr := join(failed...)
	switch {
	case len(targets) > 0:
		targets = order(targets, c.random())
		for i := range targets {
			targets[i].LookupErr = lookupErr
		}
		return targets, nil
	case refused && lookupErr != nil:
		// The domain does use SRV, so that XEP-0368 forbids the fallback, but it
		// is not known to refuse everything: a later lookup may succeed.
		return nil, &Error{Domain: c.Domain, Err: ErrLookup, Lookup: lookupErr}
	case refused:
		return nil, c.fail(ErrRefused)
	default:
		return fallback(domain, "fallback", lookupErr), nil
	}
}

// askSRV asks for both services in parallel. It fails only if ctx ends.
func (c Config) askSRV(ctx context.Context, domain string) ([len(services)]answer, error) {
	type reply struct {
		service int
		answer
	}
	var answers [len(services)]answer
	for i, s := range services {
		answers[i].err = fmt.Errorf("_%s._tcp.%s: no answer in time: %w", s.name, domain, context.DeadlineExceeded)
	}

	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	replies := make(chan reply, len(services))
	for i, s := range services {
		go func() {
			_, records, err := c.resolver().LookupSRV(lookup, s.name, "tcp", domain+".")
			replies <- reply{i, readSRV(s.name, s.direct, records, err)}
		}()
	}
	var grace <-chan time.Time
	for range services {
		select {
		case r := <-replies:
			answers[r.service] = r.answer
			if len(r.targets) > 0 && grace == nil {
				timer := time.NewTimer(lookupGrace)
				defer timer.Stop()
				grace = timer.C
			}
		case <-grace:
			return answers, nil
		case <-lookup.Done():
			return answers, ctx.Err()
		}
	}
	return answers, ctx.Err()
}

// readSRV judges the answer to one question. Records that make no sense are left
// out; they must not keep anyone from the good ones.
func readSRV(service string, direct bool, records []*net.SRV, err error) answer {
	var a answer
	dot := false
	for i, r := range records {
		if i == maxRecords {
			break
		}
		if r == nil {
			continue
		}
		if r.Target == "." {
			dot = true
			continue
		}
		host := strings.ToLower(strings.TrimSuffix(r.Target, "."))
		if r.Port == 0 || !validName(host) {
			continue
		}
		t := Target{
			Host: host, Port: r.Port, Direct: direct, Source: "srv _" + service,
			Priority: r.Priority, Weight: r.Weight,
		}
		if !slices.Contains(a.targets, t) {
			a.targets = append(a.targets, t)
		}
	}
	switch {
	case len(a.targets) > 0:
		// net.Resolver gives an error beside the good records when it had to
		// drop bad ones. That is no failure.
	case dot:
		a.refused = true
	case isNotFound(err):
	case err != nil:
		a.err = err
	case len(records) > 0:
		a.err = fmt.Errorf("_%s._tcp: %w", service, errUnusable)
	}
	return a
}

// isNotFound reports whether err is an answer, and not the lack of one.
func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// order sorts by priority and, within one priority, at random by weight. Both
// kinds of targets take part alike, as XEP-0368 wants it.
func order(targets []Target, intn func(int) int) []Target {
	slices.SortStableFunc(targets, func(a, b Target) int { return int(a.Priority) - int(b.Priority) })
	for start := 0; start < len(targets); {
		end := start + 1
		for end < len(targets) && targets[end].Priority == targets[start].Priority {
			end++
		}
		shuffle(targets[start:end], intn)
		start = end
	}
	if len(targets) > maxTargets {
		targets = targets[:maxTargets]
	}
	return targets
}

// shuffle is the selection of RFC 2782: those of weight 0 stand first, and the
// first whose running sum reaches a random number between 0 and the sum of the
// weights is taken out, until none is left.
func shuffle(group []Target, intn func(int) int) {
	// Equal weights, above all 0 everywhere, must not leave it to the name
	// server who comes first.
	for i := len(group) - 1; i > 0; i-- {
		j := intn(i + 1)
		group[i], group[j] = group[j], group[i]
	}
	slices.SortStableFunc(group, func(a, b Target) int { return min(int(a.Weight), 1) - min(int(b.Weight), 1) })
	sum := 0
	for _, t := range group {
		sum += int(t.Weight)
	}
	for ; len(group) > 1; group = group[1:] {
		n, running := intn(sum+1), 0
		for i, t := range group {
			if running += int(t.Weight); running >= n {
				copy(group[1:i+1], group[:i])
				group[0] = t
				sum -= int(t.Weight)
				break
			}
		}
	}
}
