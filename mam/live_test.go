package mam_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// say sends messages and waits until the server has them.
func say(t *testing.T, from *reader, to jid.JID, bodies ...string) {
	t.Helper()
	ctx := testclient.Context(t)
	var last *confab.Sent
	for _, b := range bodies {
		var err error
		last, err = from.SendMessage(ctx, confab.Draft{To: to, Body: b})
		require.NoError(t, err)
	}
	require.NoError(t, last.Wait(ctx, confab.Acked))
}

func numbered(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint("number ", i))
	}
	return all
}

// read returns the bodies and ids of what a query finds.
func read(t *testing.T, r *reader, q mam.Query) (bodies, ids []string) {
	t.Helper()
	for res, err := range r.archives.Query(testclient.Context(t), q) {
		require.NoError(t, err)
		require.Equal(t, confab.Archive, res.Message.Source)
		require.Equal(t, res.ID, res.Message.ArchiveID)
		require.False(t, res.Message.Stamp.IsZero())
		bodies, ids = append(bodies, res.Message.Body), append(ids, res.ID)
	}
	return bodies, ids
}

func TestQuery(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		c, pw3 := s.Account(t)
		alice := signIn(t, testclient.Config(s, a, pw), mam.Config{NoFollow: true})
		bob := signIn(t, testclient.Config(s, b, pw2), mam.Config{NoFollow: true})
		carol := signIn(t, testclient.Config(s, c, pw3), mam.Config{NoFollow: true})
		self := alice.LocalAddr().Bare()
		none, _ := read(t, alice, mam.Query{})
		require.Empty(t, none)
		say(t, bob, self, numbered(0, 10)...)
		for _, n := range numbered(0, 10) {
			alice.msgs.Next(t, func(m *confab.Message) bool { return m.Body == n })
		}
		say(t, alice, bob.LocalAddr().Bare(), numbered(10, 20)...)
		say(t, carol, self, "from Carol")
		alice.msgs.Next(t, func(m *confab.Message) bool { return m.Body == "from Carol" })

		all := append(numbered(0, 20), "from Carol")
		got, ids := read(t, alice, mam.Query{Page: 7})
		require.Equal(t, all, got)
		again, _ := read(t, alice, mam.Query{})
		require.Equal(t, all, again, "what was read can be read again")
		slices.Reverse(all)
		back, _ := read(t, alice, mam.Query{Page: 4, Backwards: true})
		require.Equal(t, all, back)
		slices.Reverse(all)
		with, _ := read(t, alice, mam.Query{With: bob.LocalAddr().Bare(), Page: 3})
		require.Equal(t, all[:20], with)
		after, _ := read(t, alice, mam.Query{After: ids[4], Limit: 5, Page: 2})
		require.Equal(t, all[5:10], after)
		before, _ := read(t, alice, mam.Query{Before: ids[5], Backwards: true, Limit: 3})
		require.Equal(t, []string{all[4], all[3], all[2]}, before)
		later, _ := read(t, alice, mam.Query{Start: time.Now().Add(time.Hour)})
		require.Empty(t, later)
		earlier, _ := read(t, alice, mam.Query{End: time.Now().Add(time.Hour), Apart: true})
		require.Equal(t, all, earlier)

		// Stopping early is fine, and what nobody knows is an error.
		for range alice.archives.Query(testclient.Context(t), mam.Query{Page: 2}) {
			break
		}
		for _, err := range alice.archives.Query(testclient.Context(t), mam.Query{After: "nobody-knows-this"}) {
			if s.Name != testbed.Ejabberd { // which finds nothing, or all
				require.ErrorIs(t, err, mam.ErrExpired)
			}
		}
		// Nobody reads the archive of another. ejabberd gives one's own instead.
		for r, err := range bob.archives.Query(testclient.Context(t), mam.Query{Archive: self, Apart: true}) {
			var se stanza.Error
			if !errors.As(err, &se) {
				require.NotEqual(t, "from Carol", r.Message.Body)
			}
		}
		require.Empty(t, alice.bad.All())
	})
}

func TestPreferences(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		alice := signIn(t, testclient.Config(s, a, pw), mam.Config{NoFollow: true})
		ctx := testclient.Context(t)
		_, err := alice.archives.SetPreferences(ctx, mam.Preferences{})
		require.Error(t, err)
		romeo := jid.MustParse("romeo@montague.lit")
		want := mam.Preferences{Default: mam.Contacts, Always: []jid.JID{romeo}}
		got, err := alice.archives.SetPreferences(ctx, want)
		require.NoError(t, err)
		require.Equal(t, want, got)
		got, err = alice.archives.Preferences(ctx)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestMetadata(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		alice := signIn(t, testclient.Config(s, a, pw), mam.Config{NoFollow: true})
		ctx := testclient.Context(t)
		m, err := alice.archives.Metadata(ctx, jid.JID{})
		if err != nil {
			s.Skip(t, "metadata of archives")
		}
		require.Empty(t, m.First)
		say(t, alice, alice.LocalAddr().Bare(), "one", "two")
		_, ids := read(t, alice, mam.Query{})
		m, err = alice.archives.Metadata(ctx, jid.JID{})
		require.NoError(t, err)
		require.Equal(t, []string{ids[0], ids[len(ids)-1]}, []string{m.First, m.Last})
	})
}

// noted waits until the message "live" has come and its place in the archive is kept.
func noted(t *testing.T, r *reader, store *client.MemoryStore, self jid.JID) {
	t.Helper()
	live := r.msgs.Next(t, func(m *confab.Message) bool { return m.Body == "live" })
	// The place in the archive moves when the message was handled.
	id := live.StanzaID(self)
	if live.Source == confab.Archive {
		id = live.ArchiveID
	}
	require.NotEmpty(t, id)
	require.Eventually(t, func() bool {
		b, _ := store.Get(t.Context(), self.String()+"/mam")
		return strings.Contains(string(b), id)
	}, testclient.Patience, time.Millisecond)
}

// TestCatchUp: what was said while nobody was there is read at the next sign-in, once
// and in order, and what is said then follows.
func TestCatchUp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		bob := signIn(t, testclient.Config(s, b, pw2), mam.Config{NoFollow: true})
		self := jid.MustParse(a)
		store := &client.MemoryStore{}
		cfg := mam.Config{Store: store}
		say(t, bob, self, "long ago")
		first := signIn(t, testclient.Config(s, a, pw), cfg)
		say(t, bob, self, "live")
		noted(t, first, store, self)
		first.Stop(t)
		say(t, bob, self, numbered(0, 25)...)
		second := signIn(t, testclient.Config(s, a, pw), cfg)
		say(t, bob, self, "the end")
		second.msgs.Next(t, func(m *confab.Message) bool { return m.Body == "the end" })
		var got []string
		for _, m := range second.msgs.All() {
			got = append(got, m.Body)
		}
		require.Equal(t, numbered(0, 25), got, "each once, in order, also where the server has kept them for delivery")
		require.True(t, second.progress.Next(t, func(p mam.Progress) bool { return p.Done }).Done)
	})
}

// TestGap: a limit leaves a gap, which can be filled later.
func TestGap(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		bob := signIn(t, testclient.Config(s, b, pw2), mam.Config{NoFollow: true})
		self := jid.MustParse(a)
		store := &client.MemoryStore{}
		say(t, bob, self, "before")
		first := signIn(t, testclient.Config(s, a, pw), mam.Config{Store: store})
		say(t, bob, self, "live")
		noted(t, first, store, self)
		first.Stop(t)
		time.Sleep(1100 * time.Millisecond) // Prosody's archive counts in seconds
		say(t, bob, self, numbered(0, 20)...)
		second := signIn(t, testclient.Config(s, a, pw), mam.Config{Store: store, Limit: 5})
		g := second.gaps.Next(t, nil)
		archived := func() (got []string) {
			for _, m := range second.msgs.All() {
				if m.Source == confab.Archive {
					got = append(got, m.Body)
				}
			}
			return got
		}
		second.msgs.Next(t, func(m *confab.Message) bool { return m.Body == "number 19" && m.Source == confab.Archive })
		require.Equal(t, numbered(15, 19), archived())
		ctx := testclient.Context(t)
		known, err := second.archives.Gaps(ctx, jid.JID{})
		require.NoError(t, err)
		require.Equal(t, []mam.Gap{g}, known)
		require.NoError(t, second.archives.Fill(ctx, g))
		second.msgs.Next(t, func(m *confab.Message) bool { return m.Body == "number 14" && m.Source == confab.Archive })
		require.Equal(t, append(numbered(15, 19), numbered(0, 14)...), archived())
		require.Eventually(t, func() bool {
			known, err = second.archives.Gaps(ctx, jid.JID{})
			return err == nil && len(known) == 0
		}, testclient.Patience, time.Millisecond)
		require.Error(t, second.archives.Fill(ctx, g), "it is filled")
	})
}

// TestForgedResults: only the archive that was asked is believed.
func TestForgedResults(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	r := signIn(t, testclient.Embedded(srv, "romeo"), mam.Config{NoFollow: true})
	own := r.LocalAddr().Bare().String()
	result := func(from, query string) *confab.Element {
		inner := confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText("forged")).Set("from", "juliet@capulet.lit").Set("to", own)
		return confab.El(confab.NSClient, "message", confab.El(mam.NS, "result", confab.El("urn:xmpp:forward:0", "forwarded",
			confab.El("urn:xmpp:delay", "delay").Set("stamp", "2010-07-10T23:08:25Z"), inner)).Set("queryid", query).Set("id", "x")).Set("from", from)
	}
	// While a query is under way, whose id the attacker has guessed.
	srv.HandleIQ(mam.NS, "query", func(iq *confab.Element) *confab.Element {
		id := iq.Child(mam.NS, "query").Get("queryid")
		for _, from := range []string{"mallory@evil.lit", own + "/evil", "confab.test"} {
			srv.Inject(r.LocalAddr().String(), result(from, id))
		}
		srv.Inject(r.LocalAddr().String(), result(own, "another"))
		srv.Inject(r.LocalAddr().String(), result(own, id))
		srv.Inject(r.LocalAddr().String(), confab.El(confab.NSClient, "message", confab.El(mam.NS, "result").Set("queryid", id)).Set("from", own))
		return confab.El(mam.NS, "fin").Set("complete", "true")
	})
	got, _ := read(t, r, mam.Query{})
	require.Equal(t, []string{"forged"}, got, "the one of the archive itself")
	for range 5 {
		r.bad.Next(t, nil)
	}
	require.Empty(t, r.msgs.All())
	ctx, cancel := context.WithCancel(testclient.Context(t))
	cancel()
	for _, err := range r.archives.Query(ctx, mam.Query{}) {
		require.ErrorIs(t, err, context.Canceled)
	}
}
