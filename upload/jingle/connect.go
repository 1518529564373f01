package jingle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/place"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// How connections are tried.
const (
	maxProxies  = 4
	maxOwn      = 8                      // addresses that are offered
	stagger     = 200 * time.Millisecond // between one try and the next (XEP-0260 §4)
	dialTime    = 10 * time.Second       // for all of them
	proxyTime   = 10 * time.Second       // for a proxy to answer
	connectTime = 5 * time.Second        // for a connection that should be there
)

// errNoWay says that no connection came about: the bytes go in-band.
var errNoWay = fmt.Errorf("%w", ErrConnect)

// ownProxies are those of the own server (XEP-0065 §4). They are asked for once in a
// session.
func (c *Client) ownProxies(ctx context.Context) []candidate {
	c.mu.Lock()
	list, known := c.proxies, c.known
	c.mu.Unlock()
	if known {
		return list
	}
	found, err := disco.FindIdentity(ctx, c.s, "proxy", "bytestreams")
	if err != nil {
		return nil
	}
	for _, f := range found[:min(len(found), maxProxies)] {
		ctx, cancel := context.WithTimeout(ctx, proxyTime)
		var el confab.Element
		err := confab.Do(ctx, c.s, stanza.IQ{Type: stanza.GetIQ, To: f.JID}, confab.El(nsBytestreams, "query"), &el)
		cancel()
		if err != nil {
			continue
		}
		for h := range el.All(nsBytestreams, "streamhost") {
			port, err := strconv.ParseUint(h.Get("port"), 10, 16)
			if err != nil || port == 0 || !goodHost(h.Get("host")) || len(list) == maxProxies {
				continue
			}
			list = append(list, candidate{host: h.Get("host"), jid: f.JID.String(), port: int(port), typ: "proxy"})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proxies, c.known = list, true
	return list
}

// hosts are what this side offers: proxies and, if that is wanted, itself.
func (c *Client) hosts(ctx context.Context, dst ...string) (list []candidate, own *listener) {
	if c.cfg.Reach == Direct {
		if l, err := listen(c.cfg.Listen, dst...); err == nil {
			own = l
			port := l.ln.Addr().(*net.TCPAddr).Port
			for i, host := range c.addresses() {
				list = append(list, candidate{
					cid: confab.NewID(), host: host, jid: c.s.LocalAddr().String(), port: port, typ: "direct",
					priority: 126<<16 + uint32(1000-i),
				})
			}
		}
	}
	for i, p := range c.ownProxies(ctx) {
		p.cid, p.priority = confab.NewID(), 10<<16+uint32(1000-i)
		list = append(list, p)
	}
	return list, own
}

// addresses are those of this machine.
func (c *Client) addresses() (list []string) {
	if c.cfg.Addresses != nil {
		return c.cfg.Addresses[:min(len(c.cfg.Addresses), maxOwn)]
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || len(list) == maxOwn {
			continue
		}
		if ip := p.Addr().Unmap(); ip.IsGlobalUnicast() || c.cfg.AllowLoopback && ip.IsLoopback() {
			list = append(list, ip.String())
		}
	}
	return list
}

// gather finds out what this side offers for a session. What the other side has offered
// already is not offered again (XEP-0260 §2.3).
func (x *session) gather(ctx context.Context) {
	me := x.c.s.LocalAddr()
	x.ours.dst = digest(x.ours.sid, me, x.peer)
	// Some ask for it by who has begun, whoever listens.
	list, own := x.c.hosts(ctx, x.ours.dst, digest(x.ours.sid, x.peer, me))
	x.own = own
	x.ours.candidates = slices.DeleteFunc(list, func(k candidate) bool {
		return slices.ContainsFunc(x.theirs.candidates, func(t candidate) bool { return t.host == k.host && t.port == k.port })
	})
}

// may reports whether this is a place to connect to.
func (c *Client) may(ctx context.Context, k candidate) bool {
	switch c.cfg.Reach {
	case Direct:
		return true
	case Proxies:
		return k.typ == "proxy"
	}
	return k.typ == "proxy" && slices.ContainsFunc(c.ownProxies(ctx), func(p candidate) bool { return p.host == k.host && p.port == k.port })
}

var errAddress = errors.New("jingle: no connection is made to this address")

// mayIP reports whether an address is one to connect to.
func (c *Client) mayIP(ip netip.Addr) bool {
	switch place.Of(ip) {
	case place.Loopback:
		return c.cfg.AllowLoopback
	case place.Inside:
		return c.cfg.Reach == Direct && ip.Unmap().IsPrivate()
	}
	return true
}

// mayHost reports whether a host is one to connect to, as far as its name tells.
func (c *Client) mayHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return c.mayIP(ip)
	}
	where := place.OfHost(host)
	return where == place.Public || where == place.Loopback && c.cfg.AllowLoopback
}

// dial connects to a host that may be anything.
func (c *Client) dial(ctx context.Context, host string, port int) (net.Conn, error) {
	named := slices.Contains(c.cfg.Hosts, host)
	if host = place.ASCII(host); host == "" || !named && !c.mayHost(host) {
		return nil, errAddress
	}
	address := net.JoinHostPort(host, strconv.Itoa(port))
	if c.cfg.Dial != nil {
		return c.cfg.Dial(ctx, "tcp", address)
	}
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if ap, err := netip.ParseAddrPort(address); !named && (err != nil || !c.mayIP(ap.Addr())) {
			return errAddress
		}
		return nil
	}}
	return d.DialContext(ctx, "tcp", address)
}

// connectTo connects to a candidate and asks it for the bytestream.
func (c *Client) connectTo(ctx context.Context, k candidate, dst string) (net.Conn, error) {
	conn, err := c.dial(ctx, k.host, k.port)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = socksConnect(conn, dst)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// reached is a candidate that a connection was made to, or none.
type reached struct {
	candidate
	conn net.Conn
}

// try connects to the best candidate that can be reached. Enough ends it for those that are
// not better than what there is already.
func (c *Client) try(ctx context.Context, list []candidate, dst func(candidate) string, enough <-chan uint32) reached {
	list = slices.DeleteFunc(slices.Clone(list), func(k candidate) bool { return !c.may(ctx, k) })
	slices.SortStableFunc(list, func(a, b candidate) int { return -compare(a.priority, b.priority) })
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	results := make(chan reached, len(list))
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
		close(results)
		for r := range results {
			if r.conn != nil {
				_ = r.conn.Close()
			}
		}
	}()
	next, open, bar := 0, 0, uint32(0)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next < len(list) || open > 0 {
		select {
		case <-timer.C:
			if next == len(list) || list[next].priority < bar {
				next = len(list)
				continue
			}
			k := list[next]
			next++
			open++
			wg.Go(func() {
				conn, _ := c.connectTo(ctx, k, dst(k))
				results <- reached{k, conn}
			})
			timer.Reset(stagger)
		case r := <-results:
			open--
			if r.conn != nil {
				return r
			}
			timer.Reset(0)
		case p := <-enough:
			bar = max(bar, p)
			// What is under way is the best of the list, but may be worse than that.
			if !slices.ContainsFunc(list, func(k candidate) bool { return k.priority >= bar }) {
				return reached{}
			}
		case <-ctx.Done():
			return reached{}
		}
	}
	return reached{}
}

func compare(a, b uint32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// link connects the two sides: by a connection or in-band.
func (x *session) link(ctx context.Context) (io.ReadWriteCloser, error) {
	defer x.own.close()
	if x.offered != nil {
		return x.inBandLink(ctx)
	}
	conn, err := x.negotiate(ctx)
	if err == nil {
		return conn, nil
	}
	if !errors.Is(err, errNoWay) {
		return nil, err
	}
	if err := x.fallBack(ctx); err != nil {
		return nil, err
	}
	return x.inBandLink(ctx)
}

// negotiate finds a connection (XEP-0260 §2).
func (x *session) negotiate(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dst := x.theirs.dst
	if dst == "" {
		dst = digest(x.ours.sid, x.peer, x.c.s.LocalAddr())
	}
	tried, enough := make(chan reached, 1), make(chan uint32, 1)
	go func() { tried <- x.c.try(ctx, x.theirs.candidates, func(candidate) string { return dst }, enough) }()
	var mine reached
	defer func() {
		if mine.conn != nil {
			_ = mine.conn.Close()
		}
	}()
	var theirs *candidate
	iKnow, theyKnow := false, false
	var activated chan struct{} // nil until it was said
	late := time.NewTimer(x.c.cfg.Patience)
	defer late.Stop()
	defer func() {
		if !iKnow {
			cancel()
			if r := <-tried; r.conn != nil {
				_ = r.conn.Close()
			}
		}
	}()
	for !iKnow || !theyKnow {
		select {
		case mine = <-tried:
			iKnow = true
			var err error
			if mine.conn != nil {
				err = x.tell(ctx, "candidate-used", mine.cid)
			} else {
				err = x.tell(ctx, "candidate-error", "")
			}
			if err != nil {
				return nil, err
			}
		case a := <-x.in:
			what, cid, err := x.info(a)
			if err != nil {
				return nil, err
			}
			switch what {
			case "candidate-used":
				i := slices.IndexFunc(x.ours.candidates, func(k candidate) bool { return k.cid == cid })
				if i < 0 || theyKnow {
					return nil, fmt.Errorf("%w: candidate-used", errMalformed)
				}
				theirs, theyKnow = &x.ours.candidates[i], true
				enough <- theirs.priority // once
			case "candidate-error":
				theyKnow = true
			case "activated":
				activated = make(chan struct{})
			case "proxy-error":
				return nil, errNoWay
			}
		case <-x.ctx.Done():
			return nil, context.Cause(x.ctx)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-late.C:
			return nil, ErrStalled
		}
	}
	take := func() (net.Conn, error) {
		conn := mine.conn
		mine.conn = nil
		return conn, nil
	}
	switch {
	case mine.conn == nil && theirs == nil:
		return nil, errNoWay
	case mine.conn != nil && (theirs == nil || mine.priority > theirs.priority || mine.priority == theirs.priority && x.initiator):
		for mine.typ == "proxy" && activated == nil {
			a, err := x.next(ctx, x.c.cfg.Patience)
			if err != nil {
				return nil, err
			}
			switch what, _, err := x.info(a); {
			case err != nil:
				return nil, err
			case what == "activated":
				return take()
			case what == "proxy-error":
				return nil, errNoWay
			}
		}
		return take()
	case theirs.typ != "proxy":
		return x.own.take(ctx, connectTime)
	}
	conn, err := x.activate(ctx, *theirs)
	if err != nil {
		if ctx.Err() != nil || x.ctx.Err() != nil {
			return nil, err
		}
		if err := x.tell(ctx, "proxy-error", ""); err != nil {
			return nil, err
		}
		return nil, errNoWay
	}
	if err := x.tell(ctx, "activated", theirs.cid); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// activate connects to a proxy of ours and has it join the two sides (XEP-0065 §5.3.4).
func (x *session) activate(ctx context.Context, k candidate) (net.Conn, error) {
	return x.c.activate(ctx, k, x.ours.sid, x.ours.dst, x.peer)
}

func (c *Client) activate(ctx context.Context, k candidate, sid, dst string, peer jid.JID) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, proxyTime)
	defer cancel()
	to, err := jid.Parse(k.jid)
	if err != nil {
		return nil, err
	}
	conn, err := c.connectTo(ctx, k, dst)
	if err != nil {
		return nil, err
	}
	if _, err := c.ask(ctx, to, confab.El(nsBytestreams, "query", confab.El(nsBytestreams, "activate").SetText(peer.String())).Set("sid", sid)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// info reads what the other side says of the transport.
func (x *session) info(a *action) (what, cid string, err error) {
	if a.name == "transport-replace" && !x.initiator {
		x.replaced = a.contents[0].transport
		return "", "", errNoWay
	}
	if a.name != "transport-info" {
		return "", "", nil
	}
	t := a.contents[0].transport
	if !t.Is(nsSOCKS, "transport") || t.Get("sid") != x.ours.sid {
		return "", "", nil
	}
	for _, k := range t.Children {
		switch k.Name.Local {
		case "candidate-used", "candidate-error", "activated", "proxy-error":
			return k.Name.Local, k.Get("cid"), nil
		}
	}
	return "", "", nil
}

// fallBack replaces the transport by one in stanzas (XEP-0260 §3).
func (x *session) fallBack(ctx context.Context) error {
	if x.initiator {
		t := inBandTerms{confab.NewID(), x.c.cfg.BlockSize}
		if err := x.say(ctx, "transport-replace", blocksElement(t.sid, t.block)); err != nil {
			return err
		}
		for {
			a, err := x.next(ctx, x.c.cfg.Patience)
			if err != nil {
				return err
			}
			switch a.name {
			case "transport-accept":
				sid, block, err := parseBlocks(a.contents[0].transport)
				if err != nil || sid != t.sid {
					return fmt.Errorf("%w: transport-accept", errMalformed)
				}
				t.block = min(t.block, block)
				x.offered = &t
				return nil
			case "transport-reject":
				return ErrConnect
			}
		}
	}
	for x.replaced == nil {
		a, err := x.next(ctx, x.c.cfg.Patience)
		if err != nil {
			return err
		}
		if a.name == "transport-replace" {
			x.replaced = a.contents[0].transport
		}
	}
	sid, block, err := parseBlocks(x.replaced)
	if err != nil || !x.replaced.Is(nsInBand, "transport") {
		_ = x.say(ctx, "transport-reject", confab.El(nsInBand, "transport").Set("sid", sid))
		return ErrConnect
	}
	t := inBandTerms{sid, min(block, x.c.cfg.BlockSize)}
	x.offered = &t
	if err := x.expect(); err != nil {
		return err
	}
	return x.say(ctx, "transport-accept", blocksElement(t.sid, t.block))
}
