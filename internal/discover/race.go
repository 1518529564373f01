package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// resolutionDelay is what IPv4 addresses wait for the IPv6 ones (RFC 8305).
	resolutionDelay = 50 * time.Millisecond
	// maxPerFamily and maxAttempts keep a domain from using its users' clients
	// to knock at a great many doors.
	maxPerFamily = 4
	maxAttempts  = 64
	// drainTime is how long a Race that is decided waits for its losers. They
	// end at once unless a function of the caller's ignores its context; they
	// clean up after themselves even then, only later.
	drainTime = time.Second
)

// Race tries the targets in their order until one works, and returns what
// prepare made of it. An attempt begins when the one before it has failed or
// has been at it for Config.Stagger; attempts that began go on side by side.
// Each target's IPv6 and IPv4 addresses are tried alternately.
//
// The prepare function gets the fresh connection and makes it usable: TLS, the
// stream header, whatever shows that the right server answers. It must be safe
// to be called by several goroutines at once. For a WebSocket target conn is
// nil, and prepare dials. The first prepare that succeeds wins and takes
// ownership of its connection; all other attempts are cancelled, their
// connections closed, and a value that came too late is closed if it has a
// Close method. The context of prepare ends when Race returns.
//
// A prepare error with a method Permanent() bool that returns true (found by
// [errors.As]) ends the race at once, because no other target would do better.
//
// The error is an *[Error].
func Race[T any](ctx context.Context, c Config, targets []Target,
	prepare func(ctx context.Context, conn net.Conn, t Target) (T, error),
) (T, Target, error) {
	value, target, err := race(ctx, c, targets, func(ctx context.Context, conn net.Conn, t Target) (any, error) {
		return prepare(ctx, conn, t)
	})
	won, _ := value.(T)
	return won, target, err
}

// A candidate is an address of a target.
type candidate struct {
	index int    // of the target
	rank  int    // among the target's addresses
	addr  string // host:port; empty for WebSocket
	err   error  // why it must not be tried
}

// An event is a goroutine's one and only report to the racer.
type event struct {
	lookup int // the target whose addresses these are, or -1
	addrs  []candidate

	attempt   int // otherwise: the attempt that ended
	value     any
	permanent bool

	err error
}

// A racer is run by one goroutine, to which lookups and attempts report.
type racer struct {
	Config
	ctx     context.Context // of everything that is started
	dial    DialFunc
	prepare func(context.Context, net.Conn, Target) (any, error)
	targets []Target
	events  chan event
	over    chan struct{} // closed when nobody listens to events any more
	// claimed decides the race: by the attempt that sets it, or by the racer
	// when it gives up.
	claimed atomic.Bool

	next        int         // the first target that was not touched yet
	found       []bool      // targets that have addresses
	lookups     []int       // lookups under way, by target
	lookupStart []time.Time // when they began, by target
	dnsErrs     [][]error   // failed lookups, by target
	looking     int         // lookups under way in all
	pending     []candidate // addresses to be tried, best first
	waiting     bool        // an attempt is due as soon as there is an address
	running     int         // goroutines that have not reported yet
	timer       *time.Timer // says when the next attempt is due
	attempts    []Attempt
	started     []time.Time // of attempts
	done        []bool      // of attempts
}

func race(ctx context.Context, c Config, targets []Target,
	prepare func(context.Context, net.Conn, Target) (any, error),
) (any, Target, error) {
	dial, err := c.dialer()
	switch {
	case err != nil:
		return nil, Target{}, c.fail(err)
	case len(targets) == 0:
		return nil, Target{}, c.fail(errNoTargets)
	case ctx.Err() != nil:
		return nil, Target{}, c.fail(ctx.Err())
	}
	inner, cancel := context.WithCancel(ctx)
	r := &racer{
		Config: c, ctx: inner, dial: dial, prepare: prepare, targets: targets,
		events: make(chan event), over: make(chan struct{}),
		found: make([]bool, len(targets)), lookups: make([]int, len(targets)),
		lookupStart: make([]time.Time, len(targets)), dnsErrs: make([][]error, len(targets)),
		timer: time.NewTimer(c.stagger()),
	}
	defer close(r.over)
	defer cancel()
	defer r.timer.Stop()

	winner, reason := r.run(ctx)
	cancel()
	r.drain(reason)
	if winner != nil {
		return winner.value, r.attempts[winner.attempt].Target, nil
	}
	failure := &Error{Domain: c.Domain, Attempts: r.attempts, Err: ended(ctx)}
	for _, t := range targets {
		if t.LookupErr != nil {
			failure.Lookup = t.LookupErr
			break
		}
	}
	return nil, Target{}, failure
}

// run races until there is a winner or a reason to stop. Attempts that are still
// under way then have failed for that reason.
func (r *racer) run(ctx context.Context) (winner *event, reason error) {
	r.advance(true)
	done := ctx.Done()
	for r.running > 0 || len(r.pending) > 0 || r.next < len(r.targets) {
		select {
		case ev := <-r.events:
			r.running--
			switch {
			case ev.lookup >= 0:
				r.resolved(ev)
			case ev.err == nil:
				return &ev, errAborted
			default:
				r.failed(ev.attempt, ev.err)
				// If the claim fails, somebody has won: hear them out.
				if ev.permanent && r.claimed.CompareAndSwap(false, true) {
					return nil, errAborted
				}
				r.advance(false)
			}
		case <-r.timer.C:
			r.advance(true)
		case <-done:
			if r.claimed.CompareAndSwap(false, true) {
				return nil, ctx.Err()
			}
			done = nil
		}
	}
	return nil, nil
}

// drain waits for what is still under way after the race was decided, so that
// normally nothing of it outlives the call.
func (r *racer) drain(reason error) {
	limit := time.NewTimer(drainTime)
	defer limit.Stop()
	for r.running > 0 {
		select {
		case ev := <-r.events:
			r.running--
			if ev.lookup < 0 {
				err := reason
				if !errors.Is(reason, errAborted) {
					err = ev.err
				}
				r.failed(ev.attempt, err)
			}
		case <-limit.C:
			r.running = 0
		}
	}
	for i := range r.attempts {
		if !r.done[i] {
			r.failed(i, reason)
		}
	}
	for i, n := range r.lookups {
		if n > 0 && !r.found[i] {
			r.unresolved(i, reason)
		}
	}
}

// advance begins one more attempt: at the best address known, or else by
// looking up those of the next target. Without a tick of the timer it is one
// that failed which makes room; then lookups under way, which are for better
// targets, get the rest of their time.
func (r *racer) advance(tick bool) {
	switch {
	case len(r.attempts) >= maxAttempts:
		r.pending, r.next, r.waiting = nil, len(r.targets), true
		return
	case len(r.pending) > 0:
		c := r.pending[0]
		r.pending = r.pending[1:]
		r.begin(c)
	case r.next == len(r.targets), !tick && r.looking > 0:
		r.waiting = true
		return
	default:
		r.next++
		r.resolve(r.next - 1)
	}
	r.timer.Reset(r.stagger())
}

// resolve gets a target's addresses. Where there is nothing to look up, the
// attempt begins right away.
func (r *racer) resolve(index int) {
	t := r.targets[index]
	switch {
	case t.URL != "":
		r.begin(candidate{index: index})
		return
	case isOnion(t.Host) && !r.hooked():
		r.begin(candidate{index: index, err: ErrOnion})
		return
	case r.remoteDNS(), isOnion(t.Host), isIP(t.Host):
		r.begin(candidate{index: index, addr: t.Addr()})
		return
	}
	r.waiting = true
	r.lookups[index], r.lookupStart[index] = 2, time.Now()
	ipv6 := make(chan struct{})
	go func() {
		r.lookup(index, "ip6", nil)
		close(ipv6)
	}()
	go r.lookup(index, "ip4", ipv6)
	r.running += 2
	r.looking += 2
}

// lookup reports a target's addresses of one family. If there are any, it waits
// a moment for the family that goes first.
func (r *racer) lookup(index int, network string, first <-chan struct{}) {
	ctx, cancel := context.WithTimeout(r.ctx, r.timeout())
	defer cancel()
	t := r.targets[index]
	ips, err := r.resolver().LookupNetIP(ctx, network, t.Host)
	ev := event{lookup: index, err: err}
	var seen []netip.Addr
	for _, ip := range ips {
		ip = ip.Unmap()
		if !ip.IsValid() || ip.Is4() != (network == "ip4") || slices.Contains(seen, ip) {
			continue
		}
		if len(seen) == maxPerFamily {
			break
		}
		// The ranks of the families interleave: 0, 2, 4 and 1, 3, 5.
		rank := 2 * len(seen)
		if ip.Is4() {
			rank++
		}
		seen = append(seen, ip)
		addr := net.JoinHostPort(ip.String(), strconv.Itoa(int(t.Port)))
		ev.addrs = append(ev.addrs, candidate{index: index, rank: rank, addr: addr})
	}
	if first != nil && len(seen) > 0 {
		delay := time.NewTimer(resolutionDelay)
		defer delay.Stop()
		select {
		case <-first:
		case <-delay.C:
		case <-ctx.Done():
		}
	}
	r.report(ev)
}

// resolved takes in the addresses of a target.
func (r *racer) resolved(ev event) {
	i := ev.lookup
	r.looking--
	r.lookups[i]--
	if ev.err != nil {
		r.dnsErrs[i] = append(r.dnsErrs[i], ev.err)
	}
	if len(ev.addrs) > 0 {
		r.found[i] = true
		r.pending = append(r.pending, ev.addrs...)
		slices.SortStableFunc(r.pending, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.rank, b.rank))
		})
		if r.waiting {
			r.advance(false)
		}
	}
	if r.lookups[i] == 0 && !r.found[i] {
		r.unresolved(i, resolveError(r.dnsErrs[i]))
		r.advance(false)
	}
}

// resolveError makes one reason of those for both families. They are mostly the
// same; if not, a failure says more than "no such host".
func resolveError(errs []error) error {
	for _, err := range errs {
		if !isNotFound(err) {
			return err
		}
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return errNoAddresses
}

// begin starts an attempt.
func (r *racer) begin(c candidate) {
	i := len(r.attempts)
	r.add(Attempt{Target: r.targets[c.index], Addr: c.addr}, time.Now())
	r.waiting = false
	r.running++
	go func() {
		ev := event{lookup: -1, attempt: i}
		ev.value, ev.permanent, ev.err = r.try(c)
		r.report(ev)
	}()
}

// try connects and prepares. It has won if it returns no error.
func (r *racer) try(c candidate) (value any, permanent bool, err error) {
	if c.err != nil {
		return nil, false, c.err
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.timeout())
	defer cancel()

	var conn net.Conn
	release := func() bool { return ctx.Err() == nil }
	if c.addr != "" {
		if conn, err = r.dial(ctx, "tcp", c.addr); err != nil {
			return nil, false, r.explain(ctx, err)
		}
		if conn == nil {
			return nil, false, errNoConn
		}
		defer func() {
			if err != nil {
				conn.Close()
			}
		}()
		// Closing is what wakes a prepare that reads without minding its context.
		release = context.AfterFunc(ctx, func() { conn.Close() })
	}
	value, err = r.prepare(ctx, conn, r.targets[c.index])
	inTime := release()
	if err != nil {
		var p interface{ Permanent() bool }
		permanent = inTime && errors.As(err, &p) && p.Permanent()
		return nil, permanent, r.explain(ctx, err)
	}
	if !inTime || !r.claimed.CompareAndSwap(false, true) {
		if closer, ok := value.(io.Closer); ok {
			closer.Close()
		}
		if err = r.explain(ctx, ended(ctx)); err == nil {
			err = errAborted
		}
		return nil, false, err
	}
	return value, false, nil
}

// explain gives the reason for which the connection was closed under an
// attempt, which its own error ("use of closed network connection") hides.
func (r *racer) explain(ctx context.Context, err error) error {
	if whole := ended(r.ctx); whole != nil {
		return whole
	}
	switch timeout := ended(ctx); {
	case timeout == nil:
		return err
	case timeout == err:
		return fmt.Errorf("no success within %v: %w", r.timeout(), err)
	default:
		return fmt.Errorf("no success within %v: %w (%w)", r.timeout(), timeout, err)
	}
}

// ended is ctx.Err, but knows that the deadline has come even before the
// context's timer does: connections that were given it are often faster.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) && ctx.Err() == nil {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// report hands an event over, unless the race is long over.
func (r *racer) report(ev event) {
	select {
	case r.events <- ev:
	case <-r.over:
	}
}

// add notes the begin of an attempt.
func (r *racer) add(a Attempt, start time.Time) {
	r.attempts = append(r.attempts, a)
	r.started = append(r.started, start)
	r.done = append(r.done, false)
}

// unresolved notes that an attempt did not even get to an address.
func (r *racer) unresolved(target int, err error) {
	r.add(Attempt{Target: r.targets[target]}, r.lookupStart[target])
	r.failed(len(r.attempts)-1, err)
}

// failed notes the end of an attempt.
func (r *racer) failed(i int, err error) {
	r.attempts[i].Err, r.attempts[i].Duration = err, time.Since(r.started[i])
	r.done[i] = true
}
