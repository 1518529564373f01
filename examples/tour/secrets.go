package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/omemo"
)

// secrets has the two turn encryption on, compare fingerprints and talk; what the server
// keeps of it says nothing.
func (t *tour) secrets(ctx context.Context) (string, error) {
	alice, bob := t.alice.c.LocalAddr().Bare(), t.bob.c.LocalAddr().Bare()
	if err := t.alice.keys.SetMode(ctx, bob, omemo.Required); err != nil {
		return "", err
	}
	if err := t.bob.keys.SetMode(ctx, alice, omemo.Required); err != nil {
		return "", err
	}
	say("Alice and Bob turn encryption on")
	say("Bob's phone shows a code, %s", t.bob.keys.URI())
	if _, err := t.alice.keys.Verify(ctx, t.bob.keys.URI()); err != nil {
		return "", fmt.Errorf("scanning Bob's code: %w", err)
	}
	if err := t.alice.keys.FetchKeys(ctx, bob); err != nil {
		return "", err
	}
	ds, err := t.alice.keys.Devices(ctx, bob)
	if err != nil {
		return "", err
	}
	for _, d := range ds {
		say("Alice has scanned it; of Bob's device %d she thinks: %s", d.ID, d.Trust)
	}
	const secret = "Meet me in the orchard at nine."
	sent, err := t.alice.chats.With(bob).Send(ctx, secret)
	if err != nil {
		return "", err
	}
	m, err := t.bob.next(ctx)
	if err != nil {
		return "", err
	}
	if m.Text != secret || m.Seal == nil {
		return "", fmt.Errorf("it is %q that Bob has read, encrypted: %v", m.Text, m.Seal != nil)
	}
	say("Bob reads %q; it came encrypted with %s, from the key %s", m.Text, m.Seal.Scheme, m.Seal.Sender)
	if _, err := t.bob.chats.With(alice).Reply(ctx, m, "I will be there."); err != nil {
		return "", err
	}
	if m, err = t.alice.next(ctx); err != nil {
		return "", err
	}
	if m.Seal == nil || m.ReplyTo == nil || m.ReplyTo.ID != sent.ID {
		return "", errors.New("the answer is not encrypted, or no answer")
	}
	say("Alice reads his answer: %q", m.Text)

	// What does the server have of it?
	copies := 0
	for r, err := range t.bob.archives.Query(ctx, mam.Query{With: alice, Backwards: true, Limit: 4, Apart: true}) {
		var refused *confab.Refused
		if errors.As(err, &refused) {
			say("this server keeps no archive to look at")
			break
		}
		if err != nil {
			return "", err
		}
		xml := r.Message.Stanza.String()
		if strings.Contains(xml, "orchard") || strings.Contains(xml, "be there") {
			return "", fmt.Errorf("the server has it in clear: %s", xml)
		}
		if r.Message.Stanza.Child(omemo.NSv2, "encrypted") != nil {
			copies++
			if copies == 1 {
				say("all that the server has of it: %.260s...", xml)
			}
		}
	}
	if err := t.alice.keys.SetMode(ctx, bob, omemo.Off); err != nil {
		return "", err
	}
	if err := t.bob.keys.SetMode(ctx, alice, omemo.Off); err != nil {
		return "", err
	}
	return fmt.Sprintf("fingerprints compared, messages sealed; %d copies at the server, none of them readable", copies), nil
}
