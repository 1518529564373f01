package omemo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// What this device publishes: its keys first, and then its place in the list.

const (
	republishAfter = 2 * time.Second // for keys that others use at the same time
	// An account whose other clients remove this device is told otherwise so many
	// times in a row, each time later.
	maxReturns  = 5
	returnAfter = 2 * time.Second
)

// removals counts how often the device had to be put into the list again.
type removals struct {
	mu    sync.Mutex
	count int
	told  bool
}

// announce publishes what is missing, at each sign-in.
func (m *Manager) announce(ctx context.Context) error {
	m.removals.mu.Lock()
	m.removals.count, m.removals.told = 0, false
	m.removals.mu.Unlock()
	m.mu.Lock()
	for _, p := range m.peers { // nobody has told what changed meanwhile
		p.at, p.told = time.Time{}, false
	}
	m.mu.Unlock()
	if err := m.checkID(ctx); err != nil {
		return err
	}
	if err := m.publishBundles(ctx); err != nil {
		return err
	}
	return m.publishLists(ctx)
}

// checkID draws another id as long as another device of the account has this one's,
// and this one was never announced.
func (m *Manager) checkID(ctx context.Context) error {
	m.mu.Lock()
	announced := m.self.state.Announced
	m.mu.Unlock()
	if announced {
		return nil
	}
	for range 10 {
		taken := false
		for _, v := range versions {
			list, err := m.askList(ctx, v, m.addr)
			if err != nil {
				return err
			}
			taken = taken || m.inList(list)
		}
		if !taken {
			return nil
		}
		was := m.id.Load()
		if err := m.changeSelf(ctx, m.newID); err != nil {
			m.id.Store(was)
			return err
		}
	}
	return ErrTaken
}

func (m *Manager) inList(list []listed) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(list, func(l listed) bool { return l.id == m.id.Load() })
}

// bundlesAt returns the node and the item of a device's keys.
func bundlesAt(v ratchet.Version, id uint32) (node, item string) {
	if v == ratchet.V2 {
		return nodeBundles2, itoa(id)
	}
	return nodeBundles1 + itoa(id), current
}

// publishBundles publishes the keys of this device where they are not as they should.
func (m *Manager) publishBundles(ctx context.Context) error {
	for _, v := range versions {
		if err := m.changeSelf(ctx, func(tx Tx) error { return m.refill(tx, time.Now()) }); err != nil {
			return err
		}
		m.mu.Lock()
		id := m.id.Load()
		b, err := m.self.bundle(v)
		m.mu.Unlock()
		if err != nil {
			return err
		}
		el := bundleElement(b)
		node, item := bundlesAt(v, id)
		pep := pubsub.New(m.s, jid.JID{})
		if there, err := pep.Item(ctx, node, item); err == nil && there.Payload != nil && there.Payload.String() == el.String() {
			continue
		}
		if err := m.publish(ctx, v, node, pubsub.Item{ID: item, Payload: el}, v == ratchet.V2); err != nil {
			return fmt.Errorf("omemo: publishing the keys: %w", err)
		}
	}
	m.expireLater()
	return nil
}

// expireLater deletes the prekeys that were used, when it is time.
func (m *Manager) expireLater() {
	m.mu.Lock()
	wait := time.Duration(-1)
	for _, k := range m.self.hidden {
		left := max(keepUsed-time.Since(k.at)+time.Second, time.Minute)
		if wait < 0 || left < wait {
			wait = left
		}
	}
	m.mu.Unlock()
	if wait < 0 {
		return
	}
	m.later("prekeys", wait, func(ctx context.Context) error {
		err := m.changeSelf(ctx, func(tx Tx) error { return m.refill(tx, time.Now()) })
		m.expireLater()
		return err
	})
}

// publish publishes for everybody to read. Many says that the node has an item for each
// device.
func (m *Manager) publish(ctx context.Context, v ratchet.Version, node string, it pubsub.Item, many bool) error {
	pep := pubsub.New(m.s, jid.JID{})
	cfg := pubsub.Config{Access: pubsub.AccessOpen, Persist: pubsub.Yes}
	if !many {
		_, err := pep.Publish(ctx, node, it, cfg)
		return err
	}
	// Not every server has "max", and some have a limit that they do not tell.
	var err error
	for _, n := range [...]int{pubsub.Max, 1000, 100, 10} {
		cfg.MaxItems = n
		if _, err = pep.Publish(ctx, node, it, cfg); err == nil || ctx.Err() != nil || errors.Is(err, confab.ErrLost) {
			return err
		}
	}
	cfg.MaxItems = 0
	if _, e := pep.Publish(ctx, node, it, cfg); e == nil {
		return nil
	}
	return err
}

// publishLists puts this device into the lists of the account's devices, where it is
// missing. What others have put there stays.
func (m *Manager) publishLists(ctx context.Context) error {
	for _, v := range versions {
		list, err := m.askList(ctx, v, m.addr)
		if err != nil {
			return err
		}
		want := m.entry(v)
		i := slices.IndexFunc(list, func(l listed) bool { return l.id == want.id })
		same := i >= 0 && (v == ratchet.V1 || list[i].label == want.label)
		if !same {
			if i >= 0 {
				list[i] = want
			} else {
				list = append(list, want)
			}
			el := listElement(v, list)
			if err := m.publish(ctx, v, devicesNode(v), pubsub.Item{ID: current, Payload: el}, false); err != nil {
				return fmt.Errorf("omemo: publishing the list of devices: %w", err)
			}
		}
		if err := m.setList(ctx, v, m.addr, list); err != nil {
			return err
		}
	}
	return m.changeSelf(ctx, func(tx Tx) error {
		if m.self.state.Announced {
			return nil
		}
		m.self.state.Announced = true
		return m.putState(tx)
	})
}

// entry is this device as it is in a list.
func (m *Manager) entry(v ratchet.Version) listed {
	l := listed{id: m.id.Load()}
	if v == ratchet.V2 && m.cfg.Label != "" {
		l.label = m.cfg.Label
		l.labelSig = base64.StdEncoding.EncodeToString(m.self.identity.Sign([]byte(m.cfg.Label)))
	}
	return l
}

// wasRemoved puts this device into the list again, later each time, and not for ever:
// there are clients that remove what they do not know.
func (m *Manager) wasRemoved() {
	m.mu.Lock()
	announced := m.self.state.Announced
	m.mu.Unlock()
	if !announced {
		return
	}
	r := &m.removals
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count >= maxReturns {
		if !r.told {
			r.told = true
			m.s.Emit(Failed{ErrRemoved})
		}
		return
	}
	wait := returnAfter << r.count
	wait += rand.N(wait / 2) // two devices that do the same should not do it at once
	m.later("return", wait, func(ctx context.Context) error {
		r.mu.Lock()
		r.count++
		r.mu.Unlock()
		return m.publishLists(ctx)
	})
}

// RemoveDevice takes another device of the user's out of the lists, such as one that is
// lost: nobody encrypts for it any more. If it is still there, it comes back.
func (m *Manager) RemoveDevice(ctx context.Context, id uint32) error {
	if id == m.id.Load() {
		return errors.New("omemo: this device cannot remove itself; delete its store")
	}
	for _, v := range versions {
		list, err := m.askList(ctx, v, m.addr)
		if err != nil {
			return err
		}
		n := len(list)
		list = slices.DeleteFunc(list, func(l listed) bool { return l.id == id })
		if len(list) == n {
			continue
		}
		if err := m.publish(ctx, v, devicesNode(v), pubsub.Item{ID: current, Payload: listElement(v, list)}, false); err != nil {
			return err
		}
		if err := m.setList(ctx, v, m.addr, list); err != nil {
			return err
		}
		node, item := bundlesAt(v, id)
		pep := pubsub.New(m.s, jid.JID{})
		if v == ratchet.V2 {
			err = pep.Retract(ctx, node, item)
		} else {
			err = pep.Delete(ctx, node, "")
		}
		if err != nil && !errors.Is(err, pubsub.ErrNotFound) {
			return err
		}
	}
	return nil
}

// A target is a device that a message is for.
type target struct {
	addr jid.JID
	id   uint32
	v    ratchet.Version

	bundle *ratchet.Bundle
	err    error
}

// fetchBundles asks for the keys of devices, all at once, and verifies them. What cannot
// be had is told in the targets.
func (m *Manager) fetchBundles(ctx context.Context, ts []target) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, fetchesAtOnce)
	for i := range ts {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t := &ts[i]
			t.bundle, t.err = m.fetchBundle(ctx, t.v, t.addr, t.id)
		})
	}
	wg.Wait()
}

func (m *Manager) fetchBundle(ctx context.Context, v ratchet.Version, addr jid.JID, id uint32) (*ratchet.Bundle, error) {
	node, item := bundlesAt(v, id)
	service := pubsub.New(m.s, addr)
	var it pubsub.Item
	var err error
	if v == ratchet.V2 {
		it, err = service.Item(ctx, node, item)
	} else {
		var items []pubsub.Item
		if items, err = service.Latest(ctx, node, 1); err == nil {
			if len(items) == 0 {
				err = pubsub.ErrNotFound
			} else {
				it, _ = newest(items)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	b, err := parseBundle(v, it.Payload)
	if err == nil {
		err = b.Verify()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if len(b.PreKeys) == 0 {
		return nil, fmt.Errorf("%w: no prekeys", ErrBundle)
	}
	return b, nil
}

// republish publishes the keys of this device again, soon.
func (m *Manager) republish() {
	m.later("republish", republishAfter, m.publishBundles)
}
