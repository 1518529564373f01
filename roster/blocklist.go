package roster

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// A Blocklist is the list of those from whom an account takes nothing, and to whom
// it sends nothing (XEP-0191). The server keeps it, for all clients of the account,
// and does the blocking. Its methods may be called from any goroutine.
type Blocklist struct {
	s confab.Session

	loads sync.Mutex // held while the list is being loaded

	mu        sync.Mutex // guards what follows
	blocked   map[string]jid.JID
	loaded    bool
	absent    bool // the server knows no blocking
	loading   bool
	held      []blockPush
	reloading bool // a goroutine is about to load
	reporting bool // the server takes reports, as far as known
}

// blockPush is a change that the server has told of.
type blockPush struct {
	jids  []jid.JID
	block bool // else unblock; without jids all
}

// BlocklistChanged is the event for a list that is not what it was, whichever
// client of the account has changed it. What was changed while nobody listened is
// told after the next sign-in; only the first list comes without an event.
type BlocklistChanged struct{ Blocked, Unblocked []jid.JID }

// ErrNoBlocking is returned if the server knows no blocking.
var ErrNoBlocking = errors.New("roster: this server knows no blocking (urn:xmpp:blocking)")

// NewBlocklist makes the blocklist of a session. It must be called before the
// session runs; the list is complete when the user hears [confab.Ready]. The error
// is [confab.ErrTaken] if the session has one already.
func NewBlocklist(s confab.Session) (*Blocklist, error) {
	b := &Blocklist{s: s, blocked: map[string]jid.JID{}}
	for _, name := range []string{"block", "unblock"} {
		if err := s.HandleIQ(stanza.SetIQ, xml.Name{Space: nsBlocking, Local: name}, b.push); err != nil {
			return nil, err
		}
	}
	s.OnUp(b.up)
	onDropped(s, nsBlocking, b.reload)
	return b, nil
}

// up loads the list on a fresh stream, which also has the server push changes.
func (b *Blocklist) up(ctx context.Context, fresh bool) error {
	if !fresh {
		return nil
	}
	b.mu.Lock()
	b.reporting = false
	b.mu.Unlock()
	return b.load(ctx)
}

// reload loads the list anew, unless that is under way.
func (b *Blocklist) reload() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reloading {
		return
	}
	b.reloading = true
	b.s.Go(func(ctx context.Context) {
		if err := b.load(ctx); err != nil && ctx.Err() == nil {
			b.s.Emit(confab.HandlerError{Err: err})
		}
	})
}

func (b *Blocklist) load(ctx context.Context) error {
	b.loads.Lock()
	defer b.loads.Unlock()
	b.mu.Lock()
	b.loading, b.held, b.reloading = true, nil, false
	b.mu.Unlock()
	res, err := b.s.Ask(ctx, confab.El(confab.NSClient, "iq", confab.El(nsBlocking, "blocklist")).Set("type", "get"))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loading = false
	held := b.held
	b.held = nil
	var se stanza.Error
	if errors.As(err, &se) {
		switch se.Condition {
		case stanza.ServiceUnavailable, stanza.FeatureNotImplemented:
			b.absent = true
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("roster: loading the blocklist: %w", err)
	}
	b.absent = false
	all := map[string]jid.JID{}
	blockPush{jids: b.parse(res.Child(nsBlocking, "blocklist")), block: true}.to(all)
	for _, p := range held {
		p.to(all)
	}
	var e BlocklistChanged
	for k, j := range b.blocked {
		if _, still := all[k]; !still {
			e.Unblocked = append(e.Unblocked, j)
		}
	}
	for k, j := range all {
		if _, was := b.blocked[k]; !was {
			e.Blocked = append(e.Blocked, j)
		}
	}
	first := !b.loaded
	b.blocked, b.loaded = all, true
	if !first {
		b.tell(e)
	}
	return nil
}

// parse reads the items of a list, passing over those that make no sense.
func (b *Blocklist) parse(el *confab.Element) []jid.JID {
	var all []jid.JID
	for it := range el.All(nsBlocking, "item") {
		j, err := jid.Parse(it.Get("jid"))
		if err != nil {
			b.s.Emit(confab.BadStanza{Stanza: it, Err: fmt.Errorf("roster: blocked jid=%q: %w", it.Get("jid"), err)})
			continue
		}
		all = append(all, j)
	}
	return all
}

// tell emits an event unless it says nothing. The lock is held.
func (b *Blocklist) tell(e BlocklistChanged) {
	if len(e.Blocked)+len(e.Unblocked) == 0 {
		return
	}
	for _, l := range [][]jid.JID{e.Blocked, e.Unblocked} {
		slices.SortFunc(l, func(x, y jid.JID) int { return cmp.Compare(x.String(), y.String()) })
	}
	b.s.Emit(e)
}

// push takes a change that the server tells of (XEP-0191 §3.3).
func (b *Blocklist) push(_ context.Context, q *confab.IQ) (any, error) {
	if self := b.s.LocalAddr().Bare(); !q.From.Equal(self) {
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
	}
	p := blockPush{jids: b.parse(q.Payload), block: q.Payload.Name.Local == "block"}
	// Only an unblock without any items means all of them: not one whose items made
	// no sense.
	if len(p.jids) == 0 && (p.block || len(q.Payload.Children) > 0) {
		b.s.Emit(confab.BadStanza{Stanza: q.Stanza, Err: errors.New("roster: a push of the blocklist without items")})
		return nil, stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apply(p)
	return nil, nil
}

// to carries out a change in a list, and returns what is different then.
func (p blockPush) to(list map[string]jid.JID) (e BlocklistChanged) {
	if !p.block && len(p.jids) == 0 {
		for _, j := range list {
			e.Unblocked = append(e.Unblocked, j)
		}
		clear(list)
	}
	for _, j := range p.jids {
		k := j.String()
		switch _, is := list[k]; {
		case p.block && !is:
			list[k] = j
			e.Blocked = append(e.Blocked, j)
		case !p.block && is:
			delete(list, k)
			e.Unblocked = append(e.Unblocked, j)
		}
	}
	return e
}

// apply carries out a change. If the list is being loaded, it is one of what the
// answer may not know. The lock is held.
func (b *Blocklist) apply(p blockPush) {
	if b.loading {
		b.held = append(b.held, p)
	}
	b.tell(p.to(b.blocked))
}

// Blocked returns what is blocked, sorted: full and bare addresses, domains.
func (b *Blocklist) Blocked() []jid.JID {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]jid.JID, 0, len(b.blocked))
	for _, j := range b.blocked {
		all = append(all, j)
	}
	slices.SortFunc(all, func(x, y jid.JID) int { return cmp.Compare(x.String(), y.String()) })
	return all
}

// IsBlocked reports whether an address is blocked: itself, its bare address or its
// domain (XEP-0191 §3.1).
func (b *Blocklist) IsBlocked(j jid.JID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.blocked) == 0 {
		return false
	}
	for _, k := range [...]jid.JID{j, j.Bare(), j.Domain()} {
		if _, is := b.blocked[k.String()]; is {
			return true
		}
	}
	if r := j.Resourcepart(); r != "" {
		_, is := b.blocked[j.Domainpart()+"/"+r]
		return is
	}
	return false
}

// Block blocks addresses: full ones, bare ones or domains. Contacts who are blocked
// see this account go.
func (b *Blocklist) Block(ctx context.Context, jids ...jid.JID) error {
	return b.change(ctx, "block", jids)
}

// Unblock lifts the block of addresses.
func (b *Blocklist) Unblock(ctx context.Context, jids ...jid.JID) error {
	return b.change(ctx, "unblock", jids)
}

// UnblockAll lifts all blocks.
func (b *Blocklist) UnblockAll(ctx context.Context) error {
	return b.send(ctx, confab.El(nsBlocking, "unblock"), blockPush{})
}

func (b *Blocklist) change(ctx context.Context, name string, jids []jid.JID) error {
	el := confab.El(nsBlocking, name)
	if err := check(jids); err != nil {
		return err
	}
	for _, j := range jids {
		el.Add(confab.El(nsBlocking, "item").Set("jid", j.String()))
	}
	return b.send(ctx, el, blockPush{jids: slices.Clone(jids), block: name == "block"})
}

func check(jids []jid.JID) error {
	if len(jids) == 0 {
		return errors.New("roster: whom? At least one address is needed")
	}
	for _, j := range jids {
		if j.Equal(jid.JID{}) {
			return errors.New("roster: an address is empty")
		}
	}
	return nil
}

// send asks for a change and carries it out here, too, before the push comes.
func (b *Blocklist) send(ctx context.Context, el *confab.Element, p blockPush) error {
	b.mu.Lock()
	absent := b.absent
	b.mu.Unlock()
	if absent {
		return ErrNoBlocking
	}
	if _, err := b.s.Ask(ctx, confab.El(confab.NSClient, "iq", el).Set("type", "set")); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apply(p)
	return nil
}
