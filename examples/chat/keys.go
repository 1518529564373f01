package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/confab-im/confab/omemo"
	"mellium.im/xmpp/jid"
)

var keyCommands = []command{
	{"omemo", "on|off|required", "encrypt what is said here", (*app).setMode},
	{"keys", "[ADDRESS]", "fingerprints of devices, theirs and yours", (*app).listKeys},
	{"trust", "N", "the key with this number in /keys is theirs: you have compared it", func(a *app, ctx context.Context, here jid.JID, arg string) error {
		return a.setTrust(ctx, here, arg, omemo.Verified)
	}},
	{"distrust", "N", "it is not", func(a *app, ctx context.Context, here jid.JID, arg string) error {
		return a.setTrust(ctx, here, arg, omemo.Distrusted)
	}},
	{"verify", "XMPP:...", "verify the keys in a code that was scanned", func(a *app, ctx context.Context, here jid.JID, arg string) error {
		j, err := a.keys.Verify(ctx, arg)
		if err == nil {
			a.say(here, "Verified: %s", j)
		}
		return err
	}},
}

func (a *app) setMode(ctx context.Context, here jid.JID, arg string) error {
	if here.Equal(jid.JID{}) {
		return errNoChat
	}
	modes := map[string]omemo.Mode{"on": omemo.On, "off": omemo.Off, "required": omemo.Required}
	mode, ok := modes[arg]
	if !ok {
		return errors.New("on, off or required?")
	}
	if err := a.keys.SetMode(ctx, here, mode); err != nil {
		return err
	}
	a.say(here, "OMEMO is %s here.", arg)
	return nil
}

// listKeys shows fingerprints. It remembers what it has shown: /trust is about the keys
// that the user saw, whatever a server says meanwhile.
func (a *app) listKeys(ctx context.Context, here jid.JID, arg string) error {
	of := []jid.JID{here}
	if arg != "" {
		err := withAddress(arg, func(j jid.JID) error { of[0] = j; return nil })
		if err != nil {
			return err
		}
	} else if room := a.rooms.Room(here); room != nil {
		var err error
		if of, err = a.rooms.Members(ctx, here); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(of, a.self.Equal) {
		of = append(of, a.self)
	}
	var b strings.Builder
	var all []omemo.Device
	for _, j := range of {
		if j.Equal(jid.JID{}) {
			continue
		}
		if err := a.keys.FetchKeys(ctx, j); err != nil {
			fmt.Fprintf(&b, "%s: %s\n", j, safeLine(err.Error(), 200))
		}
		ds, err := a.keys.Devices(ctx, j)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if d.Key.IsZero() {
				continue
			}
			all = append(all, d)
			what := strings.ToLower(d.Trust.String())
			if d.Self {
				what = "this device"
			}
			if d.Label != "" {
				what += ", " + safeName(d.Label)
			}
			fmt.Fprintf(&b, "%d. %s (%s)\n   %s\n", len(all), j, what, d.Key.Fingerprint())
		}
	}
	a.mu.Lock()
	a.listed = all
	a.mu.Unlock()
	a.note(here, fmt.Sprintf("%sKeys: %d. Yours as a link: %s", b.String(), len(all), cmp.Or(a.keys.URI(), "-")))
	return nil
}

func (a *app) setTrust(ctx context.Context, here jid.JID, arg string, t omemo.Trust) error {
	n, err := strconv.Atoi(arg)
	a.mu.Lock()
	listed := a.listed
	a.mu.Unlock()
	if err != nil || n < 1 || n > len(listed) {
		return errors.New("which one? /keys shows them, with numbers")
	}
	d := listed[n-1]
	if d.Self {
		return errors.New("that is this device")
	}
	if err := a.keys.SetTrust(ctx, d.Addr, d.Key, t); err != nil {
		return err
	}
	a.say(here, "Key %d of %s is %s now.", n, d.Addr, strings.ToLower(t.String()))
	return nil
}
