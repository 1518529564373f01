package omemo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// What is known of the devices of others, and of the user's own.

const bucketPeer = "peer"

// A list is believed for staleAfter of somebody whose events do not reach us, because
// they are no contact, and for toldFor of others.
const (
	staleAfter = 2 * time.Minute
	toldFor    = day
)

// A peer is an account and its devices, as it is stored.
type peer struct {
	Devices []*device `json:",omitempty"`
	OptOut  bool      `json:",omitempty"`
	// Known says that the user has written to them, or is to do so: they may know that
	// this device is there.
	Known bool `json:",omitempty"`
	// at is when both lists were last asked for, since the sign-in, and told says that
	// events come.
	at   time.Time
	told bool
}

// stale reports whether the lists have to be asked for.
func (p *peer) stale() bool {
	if p.told {
		return time.Since(p.at) > toldFor
	}
	return time.Since(p.at) > staleAfter
}

// A device of an account.
type device struct {
	ID uint32
	// V1 and V2 say in which lists it is. A device in none is gone, or not yet
	// there; what it sends can still be read.
	V1, V2   bool                `json:",omitempty"`
	Key      ratchet.IdentityKey // the last that was seen; zero if none was
	First    ratchet.IdentityKey `json:",omitzero"` // the one before all others, if there were others
	Label    string              `json:",omitempty"`
	LabelSig string              `json:",omitempty"`
}

func (d *device) in(v ratchet.Version) *bool {
	if v == ratchet.V2 {
		return &d.V2
	}
	return &d.V1
}

// version returns the version in which a device is written to: the newer one.
func (d *device) version() (ratchet.Version, bool) {
	switch {
	case d.V2:
		return ratchet.V2, true
	case d.V1:
		return ratchet.V1, true
	}
	return 0, false
}

// had reports whether a key was the device's own before another took its place.
func (d *device) had(k ratchet.IdentityKey) bool { return !d.First.IsZero() && d.First.Same(k) }

// remember keeps the first key of a device, before it gets another.
func (d *device) remember() {
	if d.First.IsZero() {
		d.First = d.Key
	}
}

func (p *peer) device(id uint32) *device {
	for _, d := range p.Devices {
		if d.ID == id {
			return d
		}
	}
	return nil
}

// add returns the device with an id, a new one if there was none. Of those that are in
// no list only so many are kept: gone is one that is not any more.
func (p *peer) add(id uint32) (d, gone *device) {
	if d := p.device(id); d != nil {
		return d, nil
	}
	if len(p.Devices) >= 2*maxDevices {
		if i := slices.IndexFunc(p.Devices, func(d *device) bool { return !d.V1 && !d.V2 }); i >= 0 {
			gone = p.Devices[i]
			p.Devices = slices.Delete(p.Devices, i, i+1)
		}
	}
	d = &device{ID: id}
	p.Devices = append(p.Devices, d)
	return d, gone
}

// forget deletes what is stored of a device that is not kept any more, but for what the
// user has decided about its key.
func forget(tx Tx, addr jid.JID, d *device) error {
	for _, v := range versions {
		if err := tx.Delete(bucketSession, sessionKey(v, addr, d.ID)); err != nil {
			return err
		}
	}
	for _, k := range [...]ratchet.IdentityKey{d.Key, d.First} {
		if k.IsZero() {
			continue
		}
		if t, _, err := trustOf(tx, addr, k); err != nil {
			return err
		} else if t == Verified || t == Distrusted {
			continue
		}
		if err := forgetPending(tx, addr, k); err != nil {
			return err
		}
		if err := tx.Delete(bucketTrust, trustKey(addr, k)); err != nil {
			return err
		}
	}
	return nil
}

// forgetKey deletes what is stored of the key of a device that gets another one, unless the
// user has decided about it, or it is the first, or that of another device, too.
func forgetKey(tx Tx, addr jid.JID, p *peer, d *device) error {
	if d.Key.IsZero() || d.had(d.Key) || slices.ContainsFunc(p.Devices, func(o *device) bool {
		return o != d && (o.Key.Same(d.Key) || o.had(d.Key))
	}) {
		return nil
	}
	v, err := tx.Get(bucketTrust, trustKey(addr, d.Key))
	if err != nil || v == nil {
		return err
	}
	if _, _, at, err := parseDecision(v); err != nil || !at.IsZero() {
		return err
	}
	if err := forgetPending(tx, addr, d.Key); err != nil {
		return err
	}
	return tx.Delete(bucketTrust, trustKey(addr, d.Key))
}

// set takes a list, and reports whether it says something new, and which devices are not
// kept any more.
func (p *peer) set(v ratchet.Version, list []listed) (changed bool, gone []*device) {
	for _, d := range p.Devices {
		if in := d.in(v); *in && !slices.ContainsFunc(list, func(l listed) bool { return l.id == d.ID }) {
			*in, changed = false, true
		}
	}
	for _, l := range list {
		d, g := p.add(l.id)
		if g != nil {
			gone = append(gone, g)
		}
		if in := d.in(v); !*in {
			*in, changed = true, true
		}
		if v == ratchet.V2 && (d.Label != l.label || d.LabelSig != l.labelSig) {
			d.Label, d.LabelSig, changed = l.label, l.labelSig, true
		}
	}
	return changed, gone
}

// peer returns what is known of an account. The lock is held, until what was returned
// is not used any more.
func (m *Manager) peer(tx Tx, addr jid.JID) (*peer, error) {
	k := addr.String()
	if p := m.peers[k]; p != nil {
		return p, nil
	}
	b, err := tx.Get(bucketPeer, k)
	if err != nil {
		return nil, err
	}
	p := &peer{}
	if b != nil {
		if err := json.Unmarshal(b, p); err != nil {
			return nil, fmt.Errorf("omemo: what is stored of %s: %w", addr, err)
		}
	}
	if len(m.peers) >= maxPeers {
		clear(m.peers) // it is a cache: all is in the store, but when it was fetched
		m.allPeers = false
	}
	m.peers[k] = p
	return p, nil
}

// maxPeers bounds the accounts that are kept in memory.
const maxPeers = 10_000

// maxStrangers bounds the accounts of whom nothing was known before they have sent a list,
// in one run of the program.
const maxStrangers = 2000

// loadPeers has all accounts in memory, as many as it takes. The lock is held.
func (m *Manager) loadPeers() error {
	if m.allPeers {
		return nil
	}
	m.allPeers = true
	return m.st.view(context.Background(), func(tx Tx) error {
		return tx.Scan(bucketPeer, "", func(k string, v []byte) error {
			if m.peers[k] != nil || len(m.peers) >= maxPeers {
				return nil
			}
			p := &peer{}
			if err := json.Unmarshal(v, p); err != nil {
				return fmt.Errorf("omemo: what is stored of %s: %w", k, err)
			}
			m.peers[k] = p
			return nil
		})
	})
}

func (m *Manager) putPeer(tx Tx, addr jid.JID, p *peer) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return tx.Put(bucketPeer, addr.String(), b)
}

// forgetPeer drops from memory what a transaction that failed may have changed.
func (m *Manager) forgetPeer(addr jid.JID) { delete(m.peers, addr.String()) }

// changePeer changes what is known of an account, if f says so.
func (m *Manager) changePeer(ctx context.Context, addr jid.JID, f func(tx Tx, p *peer) (changed bool, err error)) (changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err = m.st.update(ctx, func(tx Tx) error {
		p, err := m.peer(tx, addr)
		if err != nil {
			return err
		}
		if changed, err = f(tx, p); err != nil || !changed {
			return err
		}
		return m.putPeer(tx, addr, p)
	})
	if err != nil {
		m.forgetPeer(addr)
	}
	return changed, err
}

// follow takes the lists that others, and the own account, publish.
func (m *Manager) follow() {
	pubsub.Notify(m.s, nodeDevices2, nodeDevices1)
	for _, v := range versions {
		pubsub.OnEvent(m.s, devicesNode(v), func(ctx context.Context, e *pubsub.Event) bool {
			m.listEvent(ctx, v, e)
			return true
		})
	}
}

func devicesNode(v ratchet.Version) string {
	if v == ratchet.V2 {
		return nodeDevices2
	}
	return nodeDevices1
}

func (m *Manager) listEvent(ctx context.Context, v ratchet.Version, e *pubsub.Event) {
	var list []listed
	switch e.Kind {
	case pubsub.Published:
		it, ok := newest(e.Items)
		if !ok {
			return
		}
		if it.Payload == nil { // a service that sends no payloads
			from := e.From
			if ok, err := m.mayKnow(ctx, from.Bare()); err != nil || !ok {
				return // it is asked for when there is something to send
			}
			m.later("list "+v.String()+" "+from.String(), 0, func(ctx context.Context) error { return m.fetchList(ctx, v, from) })
			return
		}
		if list, ok = parseList(v, it.Payload); !ok {
			return
		}
	case pubsub.Retracted:
		if !slices.Contains(e.Retracted, current) {
			return
		}
	case pubsub.Purged, pubsub.Deleted:
	default:
		return
	}
	if ok, err := m.admits(ctx, e.From.Bare()); err == nil && !ok {
		return // it is asked for when there is something to send
	}
	if err := m.setList(ctx, v, e.From, list); err != nil {
		m.s.Emit(Failed{err})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[e.From.Bare().String()]; p != nil {
		p.told = true
	}
}

// admits reports whether the list of an account is taken that was not asked for. A server
// has as many accounts as it likes.
func (m *Manager) admits(ctx context.Context, addr jid.JID) (ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers[addr.String()] != nil {
		return true, nil
	}
	err = m.st.view(ctx, func(tx Tx) error {
		b, err := tx.Get(bucketPeer, addr.String())
		ok = b != nil
		return err
	})
	if err == nil && !ok && m.strangers < maxStrangers {
		m.strangers++
		ok = true
	}
	return ok, err
}

// newest returns the item of a list: the one named "current", or the last.
func newest(items []pubsub.Item) (pubsub.Item, bool) {
	for _, it := range items {
		if it.ID == current {
			return it, true
		}
	}
	if len(items) == 0 {
		return pubsub.Item{}, false
	}
	return items[len(items)-1], true
}

// setList takes the list of an account that it has published itself.
func (m *Manager) setList(ctx context.Context, v ratchet.Version, addr jid.JID, list []listed) error {
	addr = addr.Bare()
	changed, err := m.changePeer(ctx, addr, func(tx Tx, p *peer) (bool, error) {
		changed, gone := p.set(v, list)
		for _, d := range gone {
			if err := forget(tx, addr, d); err != nil {
				return changed, err
			}
		}
		return changed, nil
	})
	if err != nil {
		return err
	}
	own := addr.Equal(m.own())
	if changed {
		m.s.Emit(DevicesChanged{addr})
	}
	if own && !slices.ContainsFunc(list, func(l listed) bool { return l.id == m.id.Load() }) {
		m.wasRemoved()
	}
	return nil
}

// fetchList asks for one list of an account.
func (m *Manager) fetchList(ctx context.Context, v ratchet.Version, addr jid.JID) error {
	list, err := m.askList(ctx, v, addr)
	if err != nil {
		return err
	}
	return m.setList(ctx, v, addr, list)
}

// askList returns what an account has published; an empty list if nothing.
func (m *Manager) askList(ctx context.Context, v ratchet.Version, addr jid.JID) ([]listed, error) {
	items, err := pubsub.New(m.s, addr).Latest(ctx, devicesNode(v), 1)
	if errors.Is(err, pubsub.ErrNotFound) || errors.Is(err, pubsub.ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("omemo: the devices of %s: %w", addr, err)
	}
	it, ok := newest(items)
	if !ok {
		return nil, nil
	}
	list, _ := parseList(v, it.Payload)
	return list, nil
}

// Refresh asks for the devices of an account anew. It is not needed for contacts, of
// whose changes the server tells, nor before sending, which looks by itself.
func (m *Manager) Refresh(ctx context.Context, addr jid.JID) error {
	addr = addr.Bare()
	var wg sync.WaitGroup
	var errs [len(versions)]error
	for i, v := range versions {
		wg.Go(func() { errs[i] = m.fetchList(ctx, v, addr) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[addr.String()]; p != nil {
		p.at = time.Now()
	}
	return nil
}

// ensure asks for the devices of those of whom nothing is known, or nothing new. What
// cannot be had is told by account.
func (m *Manager) ensure(ctx context.Context, addrs []jid.JID) map[string]error {
	var wanted []jid.JID
	m.mu.Lock()
	_ = m.st.view(ctx, func(tx Tx) error {
		for _, a := range addrs {
			p, err := m.peer(tx, a)
			if err != nil || p.stale() {
				wanted = append(wanted, a)
			}
		}
		return nil
	})
	m.mu.Unlock()
	errs := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, fetchesAtOnce)
	for _, a := range wanted {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := m.Refresh(ctx, a); err != nil {
				mu.Lock()
				errs[a.String()] = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errs
}

// fetchesAtOnce bounds the requests for lists and keys that are under way for one
// message.
const fetchesAtOnce = 16
