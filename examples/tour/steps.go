package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"mellium.im/xmpp/jid"
)

// signIn signs both in and shows what the server offers.
func (t *tour) signIn(ctx context.Context) (string, error) {
	for _, p := range []*person{t.alice, t.bob} {
		if err := t.signInOne(ctx, p); err != nil {
			return "", err
		}
		s := p.c.Stats()
		say("%s is %s, signed in with %s under TLS; the server acknowledges stanzas: %v, keeps the stream: %v",
			p.name, p.c.LocalAddr(), s.Mechanism, s.Acks, s.Resumable)
	}
	domain := t.alice.c.LocalAddr().Domain()
	info, err := disco.GetInfo(ctx, t.alice.c, domain, "")
	if err != nil {
		return "", fmt.Errorf("asking %s what it can do: %w", domain, err)
	}
	say("the server offers %d features, such as %s", len(info.Features), strings.Join(info.Features[:min(4, len(info.Features))], ", "))
	return t.alice.c.Stats().Mechanism, nil
}

func (t *tour) signInOne(ctx context.Context, p *person) error {
	peer := t.alice
	if p == t.alice {
		peer = t.bob
	}
	j, err := jid.Parse(peer.address)
	if err != nil {
		return err
	}
	return p.signIn(ctx, t.config(p), j.Bare())
}

// cut sends many messages and breaks the network in the middle.
func (t *tour) cut(ctx context.Context) (string, error) {
	say("Alice sends %d messages; the network breaks three times on the way", t.messages)
	to := t.bob.c.LocalAddr()
	errs := make(chan error, 1)
	// Servers have their troubles with a flood that is cut: Prosody 13.0 goes on
	// parsing in the middle of a stanza, ejabberd 23.01 changes the order of what
	// comes while a stream is being resumed. A conversation, where one message
	// follows the other, goes well with both.
	window := t.messages
	if t.srv == nil {
		window = 1
	}
	var bobHas atomic.Int64
	go func() {
		for i := range t.messages {
			switch i {
			case t.messages / 4, t.messages * 3 / 4:
				t.alice.net.cut()
			case t.messages / 2:
				t.bob.net.cut()
			}
			if _, err := t.alice.c.SendMessage(ctx, confab.Draft{To: to, Body: fmt.Sprintf("number %d", i)}); err != nil {
				errs <- err
				return
			}
			if i%20 == 19 && window > 1 {
				time.Sleep(5 * time.Millisecond) // so that the cuts come in the middle
			}
			for int64(i+1-window) >= bobHas.Load() && ctx.Err() == nil {
				time.Sleep(200 * time.Microsecond)
			}
		}
		errs <- nil
	}()
	for i := range t.messages {
		m, err := t.bob.next(ctx)
		if err != nil {
			return "", fmt.Errorf("after %d of %d: %w", i, t.messages, err)
		}
		if want := fmt.Sprintf("number %d", i); m.Body != want {
			return "", fmt.Errorf("expected %q, got %q", want, m.Body)
		}
		bobHas.Add(1)
	}
	if err := <-errs; err != nil {
		return "", err
	}
	// Nothing may come twice: the next message is the one that is sent now.
	if _, err := t.alice.c.SendMessage(ctx, confab.Draft{To: to, Body: "the end"}); err != nil {
		return "", err
	}
	m, err := t.bob.next(ctx)
	if err != nil {
		return "", err
	}
	if m.Body != "the end" {
		return "", fmt.Errorf("a message came twice: %q", m.Body)
	}
	n := t.alice.c.Stats().Resumptions + t.bob.c.Stats().Resumptions
	if n == 0 {
		return "", errors.New("no stream was resumed")
	}
	say("Bob has all %d, in order, none twice; %d streams were resumed", t.messages, n)
	return fmt.Sprintf("%d messages, %d resumptions, none lost, none doubled", t.messages, n), nil
}

// restart signs Alice out and in again, as after a restart of her program: what
// is left is what the store has kept.
func (t *tour) restart(ctx context.Context) (string, error) {
	if err := t.off(ctx, t.alice); err != nil {
		return "", err
	}
	if err := t.signInOne(ctx, t.alice); err != nil {
		return "", err
	}
	s := t.alice.c.Stats()
	if !s.Token {
		say("Alice is back, with %s: this server gives no tokens (XEP-0484)", s.Mechanism)
		return "no tokens on this server; " + s.Mechanism, nil
	}
	say("Alice is back, with a token (%s): the password was not needed", s.Mechanism)
	return s.Mechanism, nil
}

// off signs a person off and waits until the client has ended.
func (t *tour) off(ctx context.Context, p *person) error {
	if err := p.c.Close(ctx); err != nil {
		return fmt.Errorf("%s: signing off: %w", p.name, err)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.stop()
	p.stop = nil
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

func (t *tour) signOff(ctx context.Context) (string, error) {
	for _, p := range []*person{t.alice, t.bob} {
		if err := t.off(ctx, p); err != nil {
			return "", err
		}
		say("%s signed off", p.name)
	}
	return "all delivered", nil
}
