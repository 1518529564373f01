package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/discover"
	"github.com/confab-im/confab/internal/login"
	"github.com/confab-im/confab/internal/stream"
	"mellium.im/xmpp/jid"
)

// A Client is one account, kept connected while [Client.Run] runs. It implements
// [confab.Session]: features are made on it, and handlers registered, before Run
// is called. Its methods may be called from any goroutine.
type Client struct {
	*confab.Hub
	drv     *confab.Driver
	cfg     Config
	account jid.JID
	wire    *wireLog
	keys    *login.Keys
	out     outbox
	sm      management
	live    liveness
	known   known // only Run touches it
	answers answers

	addr    atomic.Pointer[jid.JID]
	running atomic.Bool

	mu        sync.Mutex
	t         transport       // the link, while there is one
	kill      error           // why it was closed by us
	signoff   bool            // Close is at work
	linked    chan struct{}   // closed when the link is gone
	csi       bool            // the server understands client states
	features  *confab.Element // of the stream, after signing in
	settled   bool            // what is done first on a stream is done; only up uses it
	passive   bool
	mechanism string
	byToken   bool

	closeCtx   context.Context // ends when Close was called
	setClosing context.CancelFunc
	stats      counters
}

// known is what is remembered of the account.
type known struct {
	Strong bool   `json:"strong,omitempty"` // it has signed in with better than PLAIN
	Agent  string `json:"agent,omitempty"`  // this installation's id (XEP-0388 §2.3.1)
	Token  *token `json:"token,omitempty"`
}

type token struct {
	Mechanism string    `json:"mechanism"`
	Token     string    `json:"token"`
	Expiry    time.Time `json:"expiry"`
}

// New makes a Client. It does not connect yet; that is Run's. The error says
// what is wrong with the configuration.
func New(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg}
	c.closeCtx, c.setClosing = context.WithCancel(context.Background())
	var err error
	if c.account, err = c.cfg.check(); err != nil {
		return nil, err
	}
	c.keys = keysOf(c.cfg.Store)
	c.wire = newWireLog(c.cfg.Wire)
	c.out.max, c.out.wire = c.cfg.OutboxBytes, c.wire
	bare := c.account.Bare()
	c.addr.Store(&bare)
	c.Hub, c.drv = confab.NewHub(clientLink{c}, confab.HubConfig{Log: c.cfg.Log, Timeout: c.cfg.Timeout, QueueBytes: c.cfg.QueueBytes})
	c.sm.drv, c.sm.say = c.drv, c.out.say
	c.drv.OnHandled(c.sm.handled)
	c.out.limit.Store(c.maxSend(nil))
	c.live.c = c
	if err := c.answers.register(c); err != nil {
		return nil, err
	}
	return c, nil
}

// clientLink is the [confab.Link] of a Client, kept apart so that its methods
// are not the Client's.
type clientLink struct{ c *Client }

// LocalAddr implements [confab.Link].
func (l clientLink) LocalAddr() jid.JID { return *l.c.addr.Load() }

// Write implements [confab.Link].
func (l clientLink) Write(ctx context.Context, st confab.Appender, sent *confab.Sent) error {
	if el, ok := st.(*confab.Element); ok && el.Name.Local == "presence" {
		if isBroadcast(el) {
			return l.c.answers.broadcast(ctx, el)
		}
		st = l.c.answers.dressed(el)
	}
	return l.write(ctx, st, sent)
}

func (l clientLink) write(ctx context.Context, st confab.Appender, sent *confab.Sent) error {
	k := kindMessage
	if el, ok := st.(*confab.Element); ok {
		switch el.Name.Local {
		case "presence":
			k = kindPresence
		case "iq":
			k = kindIQ
		}
	}
	n, err := l.c.out.put(ctx, st, k, sent)
	if err != nil {
		return err
	}
	l.c.stats.out(n)
	if l.c.wire != nil {
		switch st := st.(type) {
		case *confab.Element:
			l.c.wire.element(true, st)
		case *confab.Draft:
			if el, err := st.Element(); err == nil {
				l.c.wire.element(true, el)
			}
		}
	}
	return nil
}

func (c *Client) limits() stream.Limits { return stream.Limits{MaxBytes: c.cfg.MaxStanza, Skip: true} }

// tlsName is what the server's certificate must be for: the account's domain,
// whatever host was connected to.
func (c *Client) tlsName() string {
	if a, err := discover.ASCII(c.account.Domainpart()); err == nil {
		return a
	}
	return c.account.Domainpart()
}

// Run signs in and stays signed in until ctx ends, [Client.Close] is called or
// something happens that trying again cannot mend. It returns nil after Close,
// else the reason: an [AuthError], [EncryptionError], [StreamError] or
// [BindError], or the error of ctx. It can be called once.
//
// Handlers run until Run returns; when it has returned, every goroutine of the
// client has ended.
func (c *Client) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer c.setClosing()
	err := c.run(ctx)
	if c.closeCtx.Err() != nil {
		err = nil
	}
	left := err
	if left == nil {
		left = confab.ErrClosed
	}
	c.drv.Down(left, true)
	c.out.close(left)
	c.sm.reset()
	// Handlers have their context ended; those that do not obey it are waited
	// for, since nothing of ours may be left running.
	if cerr := c.drv.Close(context.WithoutCancel(ctx)); err == nil {
		err = cerr
	}
	return err
}

func (c *Client) run(ctx context.Context) error {
	if err := c.recall(ctx); err != nil {
		return err
	}
	var (
		up       bool // ever
		failures int
		hops     int
		server   = c.cfg.Server
	)
	for {
		// After a flood that the handlers could not take, they catch up first.
		if c.drv.Backlog() > 0 && errors.Is(c.killed(), confab.ErrSlow) {
			if err := c.drv.Drain(ctx); err != nil {
				return err
			}
		}
		began := time.Now()
		established, err := c.once(ctx, server)
		server = c.cfg.Server
		if established {
			up = true
			if time.Since(began) >= steady {
				failures, hops = 0, 0
			} else if isBroken(err) {
				failures = 0 // the network's fault; the server let us in
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c.closeCtx.Err() != nil {
			return nil
		}
		var se *StreamError
		if errors.As(err, &se) && se.Condition == "see-other-host" && se.Host != "" && c.cfg.Server == "" {
			if hops++; hops <= maxHops {
				c.cfg.Log.Info("client: redirected", "host", se.Host)
				server = se.Host
				continue
			}
			hops = 0
			err = fmt.Errorf("client: redirected more than %d times: %w", maxHops, err)
		}
		var ee *EncryptionError
		if isPermanent(err) || !up && errors.As(err, &ee) {
			return err
		}
		failures++
		pause := c.backoff(failures)
		c.cfg.Log.Warn("client: not connected", "err", err, "retry", pause)
		c.Emit(Retry{Err: err, After: pause})
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closeCtx.Done():
			return nil
		}
	}
}

// Retry is the event for a link that could not be made; the next attempt begins
// After the pause.
type Retry struct {
	Err   error
	After time.Duration
}

const maxHops = 5

// steady is how long a link has to last for the server to count as well again.
const steady = time.Minute

// isBroken reports whether a link ended without a word of the server's.
func isBroken(err error) bool {
	var se *StreamError
	var ae *ackError
	return !errors.As(err, &se) && !errors.As(err, &ae)
}

// backoff returns the pause after n failures in a row. The first is short: most
// links that are lost can be had again at once.
func (c *Client) backoff(n int) time.Duration {
	d := c.cfg.BackoffMin
	for range min(n-1, 30) {
		d = min(2*d, c.cfg.BackoffMax)
	}
	return d/2 + mathrand.N(d/2+1)
}

// once makes one link and serves it to its end.
func (c *Client) once(ctx context.Context, server string) (established bool, err error) {
	// On a goroutine of its own, whose stack is gone afterwards: the one that
	// signing in needs is large, and this goroutine is what an idle client has.
	var s *session
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, err = c.connect(ctx, server)
	}()
	<-done
	if err != nil {
		return false, err
	}
	err = c.serve(ctx, s)
	return true, err
}

// serve runs a session that is signed in until its link ends.
func (c *Client) serve(ctx context.Context, s *session) error {
	lost := !s.resumed && c.sm.wasUp()
	if lost {
		if h := s.lost.Get("h"); h != "" {
			if n, ok := parseH(h); ok {
				_ = c.out.acknowledged(n)
			}
		}
		c.out.renew()
		c.sm.reset()
		c.drv.Down(confab.ErrLost, true)
		c.Emit(confab.Lost{Err: confab.ErrLost})
	}
	c.addr.Store(&s.addr)
	c.begin(s)
	linkCtx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(linkCtx, func() { _ = s.t.Close() })
	var ups sync.WaitGroup
	err := c.attach(s)
	if err == nil {
		ups.Go(func() { c.up(linkCtx, s) })
		err = c.read(linkCtx, s)
	}
	if k := c.killed(); k != nil {
		err = k
	}
	_ = s.t.Close()
	c.out.detach()
	c.live.stop()
	c.mu.Lock()
	c.t = nil
	close(c.linked)
	c.mu.Unlock()
	stop()
	cancel()
	ups.Wait()
	c.sm.down()
	if ctx.Err() != nil || c.closeCtx.Err() != nil {
		return err
	}
	c.cfg.Log.Info("client: link lost", "err", err)
	if c.sm.resumable() && !isPermanent(err) {
		c.drv.Down(err, false)
		c.Emit(confab.Suspended{Err: err})
	} else if !isPermanent(err) {
		c.sm.reset()
		c.sm.setUp(false)
		c.out.renew()
		c.drv.Down(err, true)
		c.Emit(confab.Lost{Err: err})
	}
	return err
}

// attach lets what is queued flow over a new link.
func (c *Client) attach(s *session) error {
	if c.closeCtx.Err() != nil {
		return confab.ErrClosed
	}
	switch {
	case s.resumed:
		if err := c.out.resumed(s.serverH); err != nil {
			// It counts what we never sent: this stream cannot be trusted.
			c.sm.reset()
			return err
		}
		c.sm.resumed()
		c.out.attach(s.t, true, c.fail)
	case s.enabled.Is(nsSM, "enabled"):
		c.sm.setUp(true)
		c.sm.enable(s.enabled)
		c.out.attach(s.t, true, c.fail)
	case !s.sasl2 && s.features.Child(nsSM, "sm") != nil:
		c.sm.setUp(true)
		if err := s.t.send(confab.El(nsSM, "enable").Set("resume", "true")); err != nil {
			return err
		}
		c.out.attach(s.t, true, c.fail)
	default:
		c.sm.setUp(true)
		c.out.attach(s.t, false, c.fail)
	}
	c.live.start(s.t)
	return nil
}

// begin makes a session the current one.
func (c *Client) begin(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t, c.kill, c.linked = s.t, nil, make(chan struct{})
	c.csi = s.features.Child(nsCSI, "csi") != nil || c.csi && s.resumed
	if !s.resumed {
		c.features = s.features
		c.out.limit.Store(c.maxSend(s.features))
	}
	c.mechanism, c.byToken = s.mechanism, s.fast
	c.stats.links.Add(1)
	if s.resumed {
		c.stats.resumptions.Add(1)
	}
}

// up does what is to be done first on a new link, and says so. What a lost link has
// kept from being done on a new stream is done when the stream is resumed.
func (c *Client) up(ctx context.Context, s *session) {
	if !s.resumed {
		c.settled = false
	}
	fresh := !c.settled
	c.drv.Up(ctx, fresh)
	if ctx.Err() != nil {
		return
	}
	if fresh && !c.cfg.NoPresence {
		if err := c.answers.first(ctx); err != nil {
			return
		}
	}
	c.settled = true
	c.mu.Lock()
	say := c.csi && c.passive
	c.mu.Unlock()
	if say {
		c.out.say("<inactive xmlns='urn:xmpp:csi:0'/>")
	}
	c.cfg.Log.Info("client: ready", "addr", s.addr, "fresh", fresh, "mechanism", s.mechanism)
	c.Emit(confab.Ready{Addr: s.addr, Fresh: fresh})
}

// read is the reader: it takes what comes until the link ends.
func (c *Client) read(ctx context.Context, s *session) error {
	defer gather(s.t, c.drv)()
	for {
		el, size, err := s.t.next()
		var over *stream.LimitError
		if errors.As(err, &over) && over.Stanza != nil && over.Stanza.Name.Space == confab.NSClient {
			c.stats.in(size)
			if err := c.drv.Refuse(ctx, over.Stanza, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			if isEnd(err) {
				_ = s.t.end()
				return &StreamError{Condition: "closed", Text: "the server closed the stream"}
			}
			return fmt.Errorf("client: reading: %w", err)
		}
		switch el.Name.Space {
		case confab.NSClient:
			c.stats.in(size)
			c.live.parked.Store(true)
			err := c.drv.Deliver(ctx, el, size)
			c.live.parked.Store(false)
			if err != nil {
				if errors.Is(err, confab.ErrSlow) {
					c.fail(err)
				}
				return err
			}
		case nsSM:
			if err := c.managed(el); err != nil {
				return err
			}
		case nsFraming:
			if to := el.Get("see-other-uri"); to != "" { // RFC 7395 §3.6.1
				return &StreamError{Condition: "see-other-host", Host: to}
			}
		case nsStream:
			switch el.Name.Local {
			case "error":
				return streamError(el)
			case "features": // those after SASL2
				c.learn(el)
			}
		}
	}
}

// defaultMaxSend is what servers commonly take, 256 KiB.
const defaultMaxSend = 256 << 10

// maxSend is how large a stanza may be that is sent.
func (c *Client) maxSend(features *confab.Element) int64 {
	if c.cfg.MaxSend > 0 {
		return int64(c.cfg.MaxSend)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(features.Child(nsLimits, "limits").ChildText(nsLimits, "max-bytes")), 10, 31)
	if err != nil || n < 10_000 { // no server may take less (RFC 6120 §13.12)
		return defaultMaxSend
	}
	return int64(n)
}

// StreamFeature reports whether the server announced this stream feature when the
// client had signed in, such as urn:xmpp:features:pre-approval.
func (c *Client) StreamFeature(space, local string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.features.Child(space, local) != nil
}

// learn takes the features that are sent when the sign-in is over.
func (c *Client) learn(features *confab.Element) {
	c.mu.Lock()
	c.features = features
	c.mu.Unlock()
	c.out.limit.Store(c.maxSend(features))
	if features.Child(nsCSI, "csi") == nil {
		return
	}
	c.mu.Lock()
	say := c.passive && !c.csi
	c.csi = true
	c.mu.Unlock()
	if say {
		c.out.say("<inactive xmlns='urn:xmpp:csi:0'/>")
	}
}

// managed handles an element of stream management.
func (c *Client) managed(el *confab.Element) error {
	switch el.Name.Local {
	case "r":
		c.sm.asked()
	case "a":
		if h, ok := parseH(el.Get("h")); ok {
			if err := c.out.acknowledged(h); err != nil {
				c.sm.reset()
				return err
			}
		}
	case "enabled":
		c.sm.enable(el)
	case "failed":
		c.out.unacked()
	}
	return nil
}

// fail ends the link for a reason of ours.
func (c *Client) fail(err error) {
	c.mu.Lock()
	t := c.t
	if c.kill == nil {
		c.kill = err
	}
	c.mu.Unlock()
	if t != nil {
		_ = t.Close()
	}
}

func (c *Client) killed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kill
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// recall loads what is known of the account.
func (c *Client) recall(ctx context.Context) error {
	b, err := c.cfg.Store.Get(ctx, c.storeKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c.known)
	}
	if err != nil {
		return fmt.Errorf("client: Config.Store: %w", err)
	}
	return nil
}

func (c *Client) remember(ctx context.Context) error {
	b, err := json.Marshal(c.known)
	if err == nil {
		err = c.cfg.Store.Put(ctx, c.storeKey(), b)
	}
	if err != nil {
		return fmt.Errorf("client: Config.Store: %w", err)
	}
	return nil
}

func (c *Client) storeKey() string { return c.account.Bare().String() + "/login" }
