package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Namespaces of what has no package yet.
const (
	nsRoster   = "jabber:iq:roster"
	nsReceipts = "urn:xmpp:receipts"
	nsInfo     = "http://jabber.org/protocol/disco#info"
)

// signIn signs both in and shows what the server offers.
func (t *tour) signIn(ctx context.Context) (string, error) {
	for _, p := range []*person{t.alice, t.bob} {
		if err := p.signIn(ctx, t.config(p)); err != nil {
			return "", err
		}
		s := p.c.Stats()
		say("%s is %s, signed in with %s under TLS; the server acknowledges stanzas: %v, keeps the stream: %v",
			p.name, p.c.LocalAddr(), s.Mechanism, s.Acks, s.Resumable)
	}
	var info confab.Element
	domain := t.alice.c.LocalAddr().Domain()
	err := confab.Do(ctx, t.alice.c, stanza.IQ{Type: stanza.GetIQ, To: domain}, confab.El(nsInfo, "query"), &info)
	if err != nil {
		return "", fmt.Errorf("asking %s what it can do: %w", domain, err)
	}
	var features []string
	for f := range info.All(nsInfo, "feature") {
		features = append(features, f.Get("var"))
	}
	say("the server offers %d features, such as %s", len(features), strings.Join(features[:min(4, len(features))], ", "))
	return t.alice.c.Stats().Mechanism, nil
}

// contacts makes the two each other's contacts: a request, an acceptance, and
// the same the other way round.
func (t *tour) contacts(ctx context.Context) (string, error) {
	type request struct{ who, from *person }
	for _, r := range []request{{t.bob, t.alice}, {t.alice, t.bob}} {
		asked := make(chan jid.JID, 1)
		cancel := confab.On(r.who.c, func(_ context.Context, p *confab.Presence) {
			if p.Type == stanza.SubscribePresence {
				select {
				case asked <- p.From:
				default:
				}
			}
		})
		if done, err := subscribed(ctx, r.from, r.who); err != nil || done {
			cancel()
			if err != nil {
				return "", err
			}
			say("%s has %s as a contact already", r.from.name, r.who.name)
			continue
		}
		if err := presence(ctx, r.from, "subscribe", r.who.c.LocalAddr().Bare()); err != nil {
			return "", err
		}
		say("%s asks to be a contact of %s", r.from.name, r.who.name)
		select {
		case j := <-asked:
			if !j.Bare().Equal(r.from.c.LocalAddr().Bare()) {
				return "", fmt.Errorf("the request came from %s", j)
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%s got no contact request: %w", r.who.name, ctx.Err())
		}
		cancel()
		if err := presence(ctx, r.who, "subscribed", r.from.c.LocalAddr().Bare()); err != nil {
			return "", err
		}
		say("%s accepts", r.who.name)
		for {
			done, err := subscribed(ctx, r.from, r.who)
			if err != nil {
				return "", err
			}
			if done {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return "", fmt.Errorf("%s never became a contact of %s: %w", r.who.name, r.from.name, ctx.Err())
			}
		}
	}
	return "both ways", nil
}

func presence(ctx context.Context, p *person, typ string, to jid.JID) error {
	return p.c.SendElement(ctx, confab.El(confab.NSClient, "presence").Set("type", typ).Set("to", to.String()))
}

// subscribed reports whether a sees b's presence, as a's contact list says.
func subscribed(ctx context.Context, a, b *person) (bool, error) {
	var roster confab.Element
	if err := confab.Do(ctx, a.c, stanza.IQ{Type: stanza.GetIQ}, confab.El(nsRoster, "query"), &roster); err != nil {
		return false, fmt.Errorf("contact list of %s: %w", a.name, err)
	}
	for item := range roster.All(nsRoster, "item") {
		if item.Get("jid") == b.c.LocalAddr().Bare().String() {
			s := item.Get("subscription")
			return s == "to" || s == "both", nil
		}
	}
	return false, nil
}

// talk sends a message each way and waits for the receipts.
func (t *tour) talk(ctx context.Context) (string, error) {
	for _, d := range []struct {
		from, to *person
		text     string
	}{{t.alice, t.bob, "Hello Bob, are you there?"}, {t.bob, t.alice, "Yes! <& that came through> 😀"}} {
		took := followReceipts(d.from.c)
		sent, err := d.from.c.SendMessage(ctx, confab.Draft{
			To: d.to.c.LocalAddr(), Body: d.text,
			Extra: []any{confab.El(nsReceipts, "request")},
		})
		if err != nil {
			return "", err
		}
		m, err := d.to.next(ctx)
		if err != nil {
			return "", err
		}
		if m.Body != d.text {
			return "", fmt.Errorf("%q became %q", d.text, m.Body)
		}
		if err := sent.Wait(ctx, confab.Received); err != nil {
			return "", fmt.Errorf("no receipt: %w", err)
		}
		took()
		say("%s: %q; it is %v", d.from.name, d.text, sent.Level())
	}
	return "both ways, with receipts", nil
}

// answerReceipt tells the sender that a message has arrived (XEP-0184).
func answerReceipt(ctx context.Context, s confab.Session, m *confab.Message) {
	if m.Stanza.Child(nsReceipts, "request") == nil || m.ID == "" {
		return
	}
	_, _ = s.SendMessage(ctx, confab.Draft{To: m.From, Type: m.Type,
		Extra: []any{confab.El(nsReceipts, "received").Set("id", m.ID)}})
}

// followReceipts lets receipts raise the level of what was sent.
func followReceipts(s confab.Session) (cancel func()) {
	return confab.On(s, func(_ context.Context, m *confab.Message) {
		id := m.Stanza.Child(nsReceipts, "received").Get("id")
		if sent := s.Sent(id); sent != nil && sent.To.Bare().Equal(m.From.Bare()) {
			sent.Advance(confab.Received)
		}
	})
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
	if err := t.alice.signIn(ctx, t.config(t.alice)); err != nil {
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
