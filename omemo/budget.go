package omemo

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
	"mellium.im/xmpp/jid"
)

// What others can have us do is bounded, for each account; and for strangers, of whom a
// domain has as many as it likes, for each domain and in all.

const (
	// Who begins sessions may begin so many at once, and one more each time this has
	// passed. While messages are read that have piled up, there may be more.
	budgetMost  = 30
	budgetPast  = 500
	budgetEvery = 10 * time.Second
	// All strangers of a domain together may begin so many.
	domainMost  = 30
	domainPast  = 200
	domainEvery = 10 * time.Second
	// All strangers may begin so many: less than there are prekeys at any time, so that
	// there are some left for those who are none.
	allMost  = 60
	allPast  = 400
	allEvery = 2 * time.Second

	// maxCallers is how many strangers are kept in the store who have begun sessions.
	maxCallers = 1000
	// fewerCallers is how many are left when there are too many.
	fewerCallers = 900

	bucketCaller = "caller" // when strangers have begun a session
)

type budget struct {
	begun   map[string]*bucket // by account
	domains map[string]*bucket // strangers of a domain
	all     map[string]*bucket // all strangers
	healed  map[string]time.Time
	heals   map[string]*bucket
}

// A bucket empties when something is done, and fills with time.
type bucket struct {
	left float64
	at   time.Time
}

// fill returns a bucket as it is now.
func fill(bs *map[string]*bucket, k string, most float64, every time.Duration) *bucket {
	now := time.Now()
	if *bs == nil {
		*bs = map[string]*bucket{}
	}
	b := (*bs)[k]
	if b == nil {
		if len(*bs) > maxOwed { // those of the others that are full say nothing
			for k, b := range *bs {
				if now.Sub(b.at) > time.Hour {
					delete(*bs, k)
				}
			}
		}
		if len(*bs) > maxOwed {
			clear(*bs)
		}
		b = &bucket{most, now}
		(*bs)[k] = b
	}
	b.left = min(most, b.left+float64(now.Sub(b.at))/float64(every))
	b.at = now
	return b
}

// take takes one out of each of the buckets, or of none.
func take(bs ...*bucket) bool {
	for _, b := range bs {
		if b.left < 1 {
			return false
		}
	}
	for _, b := range bs {
		b.left--
	}
	return true
}

// take reports whether an account may begin one more session.
func (b *budget) take(addr jid.JID, known, past bool) bool {
	prefix, most, domain, all := "", float64(budgetMost), float64(domainMost), float64(allMost)
	if past {
		prefix, most, domain, all = "past ", budgetPast, domainPast, allPast
	}
	mine := fill(&b.begun, prefix+addr.String(), most, budgetEvery)
	if known {
		return take(mine)
	}
	return take(mine, fill(&b.domains, prefix+registered(addr.Domainpart()), domain, domainEvery), fill(&b.all, prefix, all, allEvery))
}

// registered returns the domain that somebody has registered to get a domain: who has one
// has as many below it as they like.
func registered(domain string) string {
	if d, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return d
	}
	return domain
}

// heal reports whether a session may be replaced now.
func (b *budget) heal(t target) bool {
	k := sessionKey(t.v, t.addr, t.id)
	if time.Since(b.healed[k]) < healEvery || !take(fill(&b.heals, t.addr.String(), healsMost, healEvery/healsMost)) {
		return false
	}
	if b.healed == nil || len(b.healed) > maxOwed {
		b.healed = map[string]time.Time{}
	}
	b.healed[k] = time.Now()
	return true
}

// isKnown reports whether the user has written to an account, or is to do so. It leaves
// nothing in memory: there are as many accounts as somebody likes. The lock is held.
func (m *Manager) isKnown(ctx context.Context, addr jid.JID) (known bool, err error) {
	if addr.Equal(m.addr) {
		return true, nil
	}
	if p := m.peers[addr.String()]; p != nil {
		return p.Known, nil
	}
	err = m.st.view(ctx, func(tx Tx) error {
		b, err := tx.Get(bucketPeer, addr.String())
		if err != nil || b == nil {
			return err
		}
		var p peer
		err = json.Unmarshal(b, &p)
		known = p.Known
		return err
	})
	return known, err
}

// mayKnow reports whether an account may know that this device is there.
func (m *Manager) mayKnow(ctx context.Context, addr jid.JID) (bool, error) {
	if m.cfg.Reveal != nil && m.cfg.Reveal(addr) {
		return true, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isKnown(ctx, addr)
}

// meets finds out whether a message is of a stranger. It is called without the lock, as
// the user's function is.
func (o *opening) meets(ctx context.Context, from jid.JID) (err error) {
	if o.known, err = o.m.mayKnow(ctx, from); err != nil {
		return err
	}
	// Who is in a room sees who else is.
	o.revealed = o.known || o.room.String() != ""
	return nil
}

// callers is a change of how many strangers there are.
type callers struct {
	more int
	gone []string
}

// loadCallers counts the strangers in the store.
func (m *Manager) loadCallers(tx Tx) error {
	m.callers = 0
	return tx.Scan(bucketCaller, "", func(string, []byte) error { m.callers++; return nil })
}

// called notes that a stranger has begun a session, and forgets those who did so long ago
// if there are too many: their sessions, their devices, and the keys that the user has not
// decided about. Nobody can replay what they have sent: see begunKey.
func (m *Manager) called(tx Tx, addr jid.JID, known, begun bool, now time.Time) (c callers, err error) {
	if known && m.callers == 0 || !known && !begun {
		return c, nil
	}
	k := addr.String()
	was, err := tx.Get(bucketCaller, k)
	if err != nil {
		return c, err
	}
	if known { // by now
		if was != nil {
			c.more, err = -1, tx.Delete(bucketCaller, k)
		}
		return c, err
	}
	if was == nil {
		c.more = 1
	}
	if err := tx.Put(bucketCaller, k, binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()))); err != nil {
		return c, err
	}
	if m.callers+c.more <= maxCallers {
		return c, nil
	}
	type caller struct {
		addr string
		at   uint64
	}
	var all []caller
	if err := tx.Scan(bucketCaller, "", func(k string, v []byte) error {
		if len(v) == 8 {
			all = append(all, caller{k, binary.BigEndian.Uint64(v)})
		}
		return nil
	}); err != nil {
		return c, err
	}
	slices.SortFunc(all, func(a, b caller) int { return cmp.Compare(a.at, b.at) })
	for _, a := range all[:max(0, len(all)-fewerCallers)] {
		if a.addr == k {
			continue
		}
		c.more--
		c.gone = append(c.gone, a.addr)
		if err := m.forgetCaller(tx, a.addr); err != nil {
			return c, err
		}
	}
	return c, nil
}

// forgetCaller deletes what is stored of a stranger, unless it is none any more.
func (m *Manager) forgetCaller(tx Tx, addr string) error {
	if err := tx.Delete(bucketCaller, addr); err != nil {
		return err
	}
	a, err := jid.Parse(addr)
	if err != nil {
		return nil
	}
	b, err := tx.Get(bucketPeer, addr)
	if err != nil {
		return err
	}
	var p peer
	if b != nil {
		if err := json.Unmarshal(b, &p); err != nil || p.Known {
			return err
		}
	}
	decided := false
	for _, d := range p.Devices {
		if err := forget(tx, a, d); err != nil {
			return err
		}
		t, ok, err := trustOf(tx, a, d.Key)
		if err != nil {
			return err
		}
		decided = decided || ok && t != Undecided
	}
	if decided || p.OptOut {
		return nil
	}
	return tx.Delete(bucketPeer, addr)
}

// count takes what a transaction has changed, when it is over. The lock is held.
func (m *Manager) count(c callers) {
	m.callers += c.more
	for _, a := range c.gone {
		delete(m.peers, a)
		for k := range m.waiting.by {
			if strings.HasPrefix(k, a+"\x00") {
				m.waiting.count -= len(m.waiting.by[k])
				delete(m.waiting.by, k)
			}
		}
	}
}
