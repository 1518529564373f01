package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/pubsub"
	"github.com/confab-im/confab/vcard"
)

// contacts makes the two each other's contacts: a request, an acceptance, and
// the same the other way round.
func (t *tour) contacts(ctx context.Context) (string, error) {
	for _, r := range []struct{ from, to *person }{{t.alice, t.bob}, {t.bob, t.alice}} {
		from, to := r.from.c.LocalAddr().Bare(), r.to.c.LocalAddr().Bare()
		if c, _ := r.from.roster.Contact(to); c.Subscription.SeesThem() {
			say("%s has %s as a contact already", r.from.name, r.to.name)
			continue
		}
		if err := r.from.roster.Subscribe(ctx, to); err != nil {
			return "", err
		}
		say("%s asks to be a contact of %s", r.from.name, r.to.name)
		select {
		case q := <-r.to.requests:
			if !q.From.Equal(from) {
				return "", fmt.Errorf("the request came from %s", q.From)
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%s got no contact request: %w", r.to.name, ctx.Err())
		}
		if err := r.to.roster.Accept(ctx, from); err != nil {
			return "", err
		}
		say("%s accepts", r.to.name)
	}
	for _, r := range []struct{ a, b *person }{{t.alice, t.bob}, {t.bob, t.alice}} {
		b := r.b.c.LocalAddr()
		err := await(ctx, r.a.name+" never saw "+r.b.name, func() bool { return r.a.roster.Best(b.Bare()).Available })
		if err != nil {
			return "", err
		}
		say("%s sees that %s is there", r.a.name, r.b.name)
	}
	return "both ways", nil
}

// talk sends a message each way, corrects it, and reacts to it.
func (t *tour) talk(ctx context.Context) (string, error) {
	for _, d := range []struct {
		from, to    *person
		text, fixed string
	}{
		{t.alice, t.bob, "Hello Bob, are yuo there?", "Hello Bob, are you there?"},
		{t.bob, t.alice, "Yes! <& that came trough> 😀", "Yes! <& that came through> 😀"},
	} {
		v := d.from.chats.With(d.to.c.LocalAddr().Bare())
		if err := v.State(ctx, chat.Composing); err != nil {
			return "", err
		}
		sent, err := v.Send(ctx, d.text)
		if err != nil {
			return "", err
		}
		m, err := d.to.next(ctx)
		if err != nil {
			return "", err
		}
		if m.Text != d.text {
			return "", fmt.Errorf("%q became %q", d.text, m.Text)
		}
		if err := sent.Wait(ctx, confab.Received); err != nil {
			return "", fmt.Errorf("no receipt: %w", err)
		}
		say("%s: %q; it is %v", d.from.name, d.text, sent.Level())
		back := d.to.chats.With(d.from.c.LocalAddr().Bare())
		if err := back.MarkDisplayed(ctx, m); err != nil {
			return "", err
		}
		if err := sent.Wait(ctx, confab.Displayed); err != nil {
			return "", fmt.Errorf("not read: %w", err)
		}
		if _, err := v.Edit(ctx, sent.ID, d.fixed); err != nil {
			return "", err
		}
		if _, err := back.React(ctx, m.Ref(), "👍"); err != nil {
			return "", err
		}
		for _, p := range []*person{d.from, d.to} {
			err := await(ctx, p.name+" does not see the correction and the reaction", func() bool {
				e, ok := p.view.Entry(sent.ID)
				return ok && e.Current.Text == d.fixed && len(e.Reactions) == 1
			})
			if err != nil {
				return "", err
			}
		}
		say("%s has read it; both see it corrected: %q, with a 👍", d.to.name, d.fixed)
	}
	return "both ways: received, read, corrected, reacted to", nil
}

// profiles shows what Bob tells of himself.
func (t *tour) profiles(ctx context.Context) (string, error) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		return "", err
	}
	p := vcard.Profile{FullName: "Bob Builder", Nickname: "Bob", City: "Sunflower Valley", About: "Can we fix it?"}
	if err := t.bob.cards.SetProfile(ctx, p, pubsub.AccessPresence); err != nil {
		return "", fmt.Errorf("publishing the profile: %w", err)
	}
	if _, err := t.bob.cards.SetAvatar(ctx, picture.Bytes(), pubsub.AccessPresence); err != nil {
		return "", fmt.Errorf("publishing the picture: %w", err)
	}
	say("Bob publishes a profile and a picture, for his contacts")
	bob := t.bob.c.LocalAddr().Bare()
	got, err := t.alice.cards.Profile(ctx, bob)
	if err != nil {
		return "", fmt.Errorf("reading the profile: %w", err)
	}
	if got.FullName != p.FullName {
		return "", fmt.Errorf("the name became %q", got.FullName)
	}
	pic, err := t.alice.cards.Picture(ctx, bob)
	if err != nil {
		return "", fmt.Errorf("looking at the picture: %w", err)
	}
	if !bytes.Equal(pic.Data, picture.Bytes()) {
		return "", errors.New("the picture is another one")
	}
	c := vcard.Color(bob.String())
	say("Alice reads: %s, of %s; a picture of %d bytes; every client shows Bob in the colour #%02x%02x%02x",
		got.FullName, got.City, len(pic.Data), c.R, c.G, c.B)
	return "a name, a picture, a colour", nil
}
