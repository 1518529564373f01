package roster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/roster"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestContacts(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		phone, cfg := account(t, s, roster.Config{})
		laptop := signIn(t, cfg, roster.Config{})
		friend := jid.MustParse("Friend@" + s.Domain)
		assert.Zero(t, phone.r.Len())

		require.NoError(t, phone.r.Add(ctx, friend, "Größe & <Co>", "Friends", "東京"))
		c, ok := phone.r.Contact(friend)
		require.True(t, ok, "Add returned before the contact was there")
		assert.Equal(t, "Größe & <Co>", c.Name)
		assert.ElementsMatch(t, []string{"Friends", "東京"}, c.Groups)
		assert.Equal(t, roster.None, c.Subscription)
		assert.Equal(t, "friend@"+s.Domain, c.JID.String())
		got := laptop.added.Next(t, from(friend, ofAdded))
		assert.Equal(t, c.Name, got.Contact.Name)

		require.NoError(t, phone.r.Rename(ctx, friend, "Friend"))
		require.NoError(t, phone.r.Regroup(ctx, friend, "Work"))
		c, _ = phone.r.Contact(friend)
		assert.Equal(t, "Friend", c.Name, "the second change took back the first")
		assert.Equal(t, []string{"Work"}, c.Groups)
		assert.Equal(t, []string{"Work"}, phone.r.Groups())
		e := laptop.changed.Next(t, func(e roster.Changed) bool { return e.New.Name == "Friend" && len(e.New.Groups) == 1 })
		assert.Equal(t, "Friend", e.Old.Name)
		assert.Len(t, e.Old.Groups, 2)

		// What a caller gets is the caller's.
		c.Groups[0] = "changed"
		c, _ = phone.r.Contact(friend)
		assert.Equal(t, []string{"Work"}, c.Groups)

		require.NoError(t, laptop.r.Remove(ctx, friend))
		assert.Zero(t, laptop.r.Len())
		phone.removed.Next(t, from(friend, ofRemoved))
		assert.Zero(t, phone.r.Len())
		require.ErrorIs(t, phone.r.Rename(ctx, friend, "x"), roster.ErrNotContact)
		if err := phone.r.Remove(ctx, friend); s.Name != testbed.Ejabberd { // which does not mind
			var se stanza.Error
			require.ErrorAs(t, err, &se)
		}

		require.Error(t, phone.r.Add(ctx, friend, "x", ""))
		require.Error(t, phone.r.Add(ctx, friend, "x", "a", "a"))
		require.Error(t, phone.r.Add(ctx, jid.JID{}, "x"))
	})
}

func TestSubscribe(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		juliet, _ := account(t, s, roster.Config{})
		require.NoError(t, romeo.r.Subscribe(ctx, juliet.addr(), roster.WithNick("Romeo M."), roster.WithStatus("it is me")))
		q := juliet.requests.Next(t, nil)
		assert.True(t, q.From.Equal(romeo.addr()))
		assert.Equal(t, "Romeo M.", q.Nick)
		assert.Equal(t, "it is me", q.Status)
		assert.False(t, q.Accepted || q.Invited)
		assert.Len(t, juliet.r.Requests(), 1)
		romeo.added.Next(t, func(e roster.Added) bool { return true })
		require.Eventually(t, func() bool { c, _ := romeo.r.Contact(juliet.addr()); return c.Asked }, testclient.Patience, time.Millisecond)

		require.NoError(t, juliet.r.Accept(ctx, romeo.addr()))
		assert.Empty(t, juliet.r.Requests())
		assert.True(t, romeo.answers.Next(t, from(juliet.addr(), ofAnswer)).Accepted)
		e := romeo.changed.Next(t, from(juliet.addr(), ofChanged, becomes(roster.To)))
		assert.False(t, e.New.Asked)
		p := romeo.presence.Next(t, from(juliet.addr(), ofPresence, there))
		assert.True(t, p.JID.Equal(juliet.LocalAddr()))
		assert.False(t, p.Old.Available)

		require.NoError(t, juliet.r.Subscribe(ctx, romeo.addr()))
		romeo.requests.Next(t, from(juliet.addr(), ofRequest))
		require.NoError(t, romeo.r.Accept(ctx, juliet.addr()))
		juliet.presence.Next(t, from(romeo.addr(), ofPresence, there))
		juliet.changed.Next(t, from(romeo.addr(), ofChanged, becomes(roster.Both)))

		// Juliet hides from Romeo, Romeo no longer looks at her.
		require.NoError(t, juliet.r.Cancel(ctx, romeo.addr()))
		assert.False(t, romeo.answers.Next(t, from(juliet.addr(), ofAnswer)).Accepted)
		romeo.changed.Next(t, from(juliet.addr(), ofChanged, becomes(roster.From)))
		romeo.presence.Next(t, from(juliet.addr(), ofPresence, gone))
		require.NoError(t, juliet.r.Unsubscribe(ctx, romeo.addr()))
		juliet.changed.Next(t, from(romeo.addr(), ofChanged, becomes(roster.None)))
		juliet.presence.Next(t, from(romeo.addr(), ofPresence, gone))

		require.Error(t, romeo.r.Subscribe(ctx, romeo.addr()))
		require.Error(t, romeo.r.Subscribe(ctx, jid.JID{}))
	})
}

func TestDecline(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		juliet, _ := account(t, s, roster.Config{})
		require.NoError(t, romeo.r.Subscribe(ctx, juliet.addr()))
		juliet.requests.Next(t, from(romeo.addr(), ofRequest))
		require.NoError(t, juliet.r.Decline(ctx, romeo.addr()))
		assert.False(t, romeo.answers.Next(t, from(juliet.addr(), ofAnswer)).Accepted)
		e := romeo.changed.Next(t, from(juliet.addr(), ofChanged, func(e roster.Changed) bool { return !e.New.Asked }))
		assert.Equal(t, roster.None, e.New.Subscription)
		assert.Empty(t, juliet.r.Requests())
		assert.Zero(t, juliet.r.Len())
	})
}

func TestOfflineRequest(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		address, password := s.Account(t)
		require.NoError(t, romeo.r.Subscribe(ctx, jid.MustParse(address), roster.WithNick("Romeo")))
		romeo.added.Next(t, from(jid.MustParse(address), ofAdded))
		juliet := signIn(t, testclient.Config(s, address, password), roster.Config{})
		q := juliet.requests.Next(t, from(romeo.addr(), ofRequest))
		if s.Name != testbed.Ejabberd { // which keeps the status only
			assert.Equal(t, "Romeo", q.Nick)
		}
		require.NoError(t, juliet.r.Accept(ctx, q.From))
		romeo.presence.Next(t, from(juliet.addr(), ofPresence, there))
	})
}

func TestPolicies(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		human, _ := account(t, s, roster.Config{})
		open, _ := account(t, s, roster.Config{Policy: roster.AcceptAll})
		one, _ := account(t, s, roster.Config{Policy: roster.Mutual})
		two, _ := account(t, s, roster.Config{Policy: roster.Mutual})

		require.NoError(t, human.r.Subscribe(ctx, open.addr()))
		human.presence.Next(t, from(open.addr(), ofPresence, there))
		assert.True(t, open.requests.Next(t, nil).Accepted)

		require.NoError(t, one.r.Subscribe(ctx, two.addr()))
		one.presence.Next(t, from(two.addr(), ofPresence, there))
		two.presence.Next(t, from(one.addr(), ofPresence, there))
		require.Eventually(t, func() bool {
			a, _ := one.r.Contact(two.addr())
			b, _ := two.r.Contact(one.addr())
			return a.Subscription == roster.Both && b.Subscription == roster.Both
		}, testclient.Patience, time.Millisecond)
		// They are at rest: what comes after a round trip is not about them.
		require.NoError(t, confab.Do(ctx, one, stanza.IQ{Type: stanza.GetIQ, To: two.LocalAddr()}, confab.El("urn:xmpp:ping", "ping"), nil))
		require.NoError(t, confab.Do(ctx, two, stanza.IQ{Type: stanza.GetIQ, To: one.LocalAddr()}, confab.El("urn:xmpp:ping", "ping"), nil))
		assert.LessOrEqual(t, len(one.requests.All())+len(two.requests.All()), 2)
		assert.Empty(t, human.requests.All(), "who accepts all does not ask back")
	})
}

func TestPreApprove(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		juliet, _ := account(t, s, roster.Config{})
		err := juliet.r.PreApprove(ctx, romeo.addr())
		if err != nil {
			require.ErrorIs(t, err, roster.ErrNoPreApproval)
			s.Skip(t, "approval in advance")
		}
		c := juliet.added.Next(t, from(romeo.addr(), ofAdded)).Contact
		assert.Equal(t, s.Name != testbed.Prosody, c.Approved, "Prosody's push does not tell")
		require.NoError(t, romeo.r.Subscribe(ctx, juliet.addr()))
		romeo.presence.Next(t, from(juliet.addr(), ofPresence, there))
		juliet.changed.Next(t, from(romeo.addr(), ofChanged, becomes(roster.From)))
		assert.Empty(t, juliet.requests.All())
	})
}

// rosterReplies counts the items of the rosters that a client gets.
func rosterReplies(cfg *client.Config) chan int {
	n := make(chan int, 100)
	cfg.Wire = func(e client.WireEvent) {
		if !e.Out && strings.Contains(e.XML, "<iq") && strings.Contains(e.XML, "'result'") || strings.Contains(e.XML, `"result"`) {
			if strings.Contains(e.XML, "jabber:iq:roster") {
				n <- strings.Count(e.XML, "<item")
			}
		}
	}
	return n
}

func TestVersions(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		store := &client.MemoryStore{}
		address, password := s.Account(t)
		cfg := testclient.Config(s, address, password)
		first := signIn(t, cfg, roster.Config{Store: store})
		for _, name := range []string{"a", "b", "c"} {
			require.NoError(t, first.r.Add(ctx, jid.MustParse(name+"@"+s.Domain), name, "g"))
		}
		first.Stop(t) // writes the store

		// Nothing has changed: the server sends nothing, and all are there.
		counted := cfg
		got := rosterReplies(&counted)
		second := signIn(t, counted, roster.Config{Store: store})
		assert.Equal(t, 3, second.r.Len())
		assert.Empty(t, second.added.All())
		c, ok := second.r.Contact(jid.MustParse("b@" + s.Domain))
		assert.True(t, ok && c.Name == "b" && len(c.Groups) == 1)
		assert.Empty(t, got, "the server has sent the whole roster")
		second.Stop(t)

		// Another device changes things meanwhile.
		other := signIn(t, cfg, roster.Config{})
		require.NoError(t, other.r.Rename(ctx, jid.MustParse("a@"+s.Domain), "A"))
		require.NoError(t, other.r.Remove(ctx, jid.MustParse("b@"+s.Domain)))
		require.NoError(t, other.r.Add(ctx, jid.MustParse("d@"+s.Domain), "d"))
		third := signIn(t, cfg, roster.Config{Store: store})
		assert.Equal(t, "A", third.changed.Next(t, nil).New.Name)
		third.removed.Next(t, from(jid.MustParse("b@"+s.Domain), ofRemoved))
		third.added.Next(t, from(jid.MustParse("d@"+s.Domain), ofAdded))
		assert.Empty(t, third.added.All())
		assert.Empty(t, third.changed.All())
		assert.Equal(t, 3, third.r.Len())
	})
}

func TestPresence(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		juliet, cfg := account(t, s, roster.Config{})
		befriend(t, romeo, juliet)
		since := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
		require.NoError(t, juliet.r.SetPresence(ctx, roster.Own{Show: "away", Status: "on the balcony", Priority: 3, Idle: since}))
		e := romeo.presence.Next(t, from(juliet.addr(), ofPresence, func(e roster.PresenceChanged) bool { return e.New.Show != "" }))
		assert.Equal(t, "away", e.New.Show)
		assert.Equal(t, "on the balcony", e.New.Status)
		assert.EqualValues(t, 3, e.New.Priority)
		assert.True(t, e.New.Idle.Equal(since), e.New.Idle)
		assert.True(t, e.Old.Available && e.Old.Show == "")
		seen, ok := romeo.r.LastSeen(juliet.addr())
		assert.True(t, ok && seen.Equal(since))

		phone := signIn(t, cfg, roster.Config{})
		romeo.presence.Next(t, from(juliet.addr(), ofPresence, func(e roster.PresenceChanged) bool { return e.JID.Equal(phone.LocalAddr()) }))
		all := romeo.r.Presences(juliet.addr())
		require.Len(t, all, 2)
		assert.True(t, all[0].JID.Equal(juliet.LocalAddr()), "the higher priority is better")
		require.NoError(t, phone.r.SetPresence(ctx, roster.Own{Priority: 3}))
		romeo.presence.Next(t, from(juliet.addr(), ofPresence, func(e roster.PresenceChanged) bool { return e.New.Priority == 3 && e.New.Show == "" }))
		assert.True(t, romeo.r.Best(juliet.addr()).JID.Equal(phone.LocalAddr()), "available is better than away")
		assert.Len(t, romeo.r.Presences(phone.LocalAddr()), 1)
		juliet.presence.Next(t, from(juliet.addr(), ofPresence, func(e roster.PresenceChanged) bool { return e.JID.Equal(phone.LocalAddr()) }))

		require.NoError(t, phone.Close(ctx))
		romeo.presence.Next(t, from(juliet.addr(), ofPresence, func(e roster.PresenceChanged) bool { return e.JID.Equal(phone.LocalAddr()) && !e.New.Available }))
		require.NoError(t, juliet.r.SetPresence(ctx, roster.Own{Unavailable: true, Status: "bye"}))
		romeo.presence.Next(t, from(juliet.addr(), ofPresence, gone))
		assert.False(t, romeo.r.Best(juliet.addr()).Available)
		require.Error(t, juliet.r.SetPresence(ctx, roster.Own{Show: "busy"}))

		// To somebody who is no contact.
		stranger, _ := account(t, s, roster.Config{})
		require.NoError(t, juliet.r.SetPresence(ctx, roster.Own{}))
		require.NoError(t, juliet.r.SendPresence(ctx, stranger.LocalAddr(), roster.Own{Status: "psst"}))
		assert.Equal(t, "psst", stranger.presence.Next(t, from(juliet.addr(), ofPresence)).New.Status)
		require.Error(t, juliet.r.SendPresence(ctx, jid.JID{}, roster.Own{}))
	})
}

func TestBlocking(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		juliet, cfg := account(t, s, roster.Config{})
		phone := signIn(t, cfg, roster.Config{})
		befriend(t, romeo, juliet)
		assert.Empty(t, juliet.b.Blocked())

		require.NoError(t, juliet.b.Block(ctx, romeo.addr(), jid.MustParse("spam.example")))
		assert.True(t, juliet.b.IsBlocked(romeo.LocalAddr()))
		assert.True(t, juliet.b.IsBlocked(jid.MustParse("anyone@spam.example/x")))
		assert.False(t, juliet.b.IsBlocked(jid.MustParse("anyone@ham.example")))
		for _, d := range []*device{juliet, phone} {
			e := d.blocks.Next(t, nil)
			assert.Len(t, e.Blocked, 2)
			assert.Len(t, d.b.Blocked(), 2)
		}
		if s.Name != testbed.Ejabberd { // which does not tell who is blocked
			romeo.presence.Next(t, from(juliet.addr(), ofPresence, gone))
		}
		heard := testclient.Watch[*confab.Message](juliet)
		_, err := romeo.SendMessage(ctx, confab.Draft{To: juliet.LocalAddr(), Body: "Can you hear me now?"})
		require.NoError(t, err)
		failed := testclient.Watch[confab.SendFailed](juliet)
		_, err = juliet.SendMessage(ctx, confab.Draft{To: romeo.LocalAddr(), Body: "Go away."})
		require.NoError(t, err)
		var se stanza.Error
		require.ErrorAs(t, failed.Next(t, nil).Err, &se)
		assert.Equal(t, stanza.NotAcceptable, se.Condition)

		// A client that comes later has the list.
		tablet := signIn(t, cfg, roster.Config{})
		assert.True(t, tablet.b.IsBlocked(romeo.addr()))
		assert.Empty(t, tablet.blocks.All())

		require.NoError(t, phone.b.Unblock(ctx, romeo.addr()))
		e := juliet.blocks.Next(t, nil)
		assert.Len(t, e.Unblocked, 1)
		assert.False(t, juliet.b.IsBlocked(romeo.addr()))
		_, err = romeo.SendMessage(ctx, confab.Draft{To: juliet.LocalAddr(), Body: "And now?"})
		require.NoError(t, err)
		heard.Next(t, func(m *confab.Message) bool { return m.Body == "And now?" })
		for _, m := range heard.All() {
			assert.NotEqual(t, "Can you hear me now?", m.Body)
		}

		require.NoError(t, tablet.b.UnblockAll(ctx))
		juliet.blocks.Next(t, func(e roster.BlocklistChanged) bool { return len(e.Unblocked) == 1 })
		assert.Empty(t, juliet.b.Blocked())
		require.Error(t, juliet.b.Block(ctx))
		require.Error(t, juliet.b.Unblock(ctx), "an unblock without items would be all of them")
		require.Error(t, juliet.b.Block(ctx, jid.JID{}))
	})
}

func TestReport(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		juliet, _ := account(t, s, roster.Config{})
		spammer := jid.MustParse("spammer@" + s.Domain)
		require.Error(t, juliet.b.Report(ctx, roster.Report{JID: spammer}))
		require.Error(t, juliet.b.Report(ctx))
		require.Error(t, juliet.b.Report(ctx, roster.Report{JID: spammer, Reason: roster.Spam, Messages: []roster.StanzaID{{ID: "x"}}}))
		err := juliet.b.Report(ctx, roster.Report{JID: spammer, Reason: roster.Spam, Text: "They sell things.", Lang: "en",
			Messages: []roster.StanzaID{{By: juliet.addr(), ID: "1"}}, ToOrigin: true})
		if err != nil {
			require.ErrorIs(t, err, roster.ErrNoReporting)
			assert.False(t, juliet.b.IsBlocked(spammer), "nothing was to happen")
			s.Skip(t, "reports")
		}
		assert.True(t, juliet.b.IsBlocked(spammer))
	})
}

func TestInvite(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		store := &client.MemoryStore{}
		romeo, cfg := account(t, s, roster.Config{Store: store})
		juliet, _ := account(t, s, roster.Config{})
		i, err := romeo.r.Invite(ctx, roster.InviteOptions{Name: "Romeo"})
		require.NoError(t, err)
		// The program is started anew before anybody comes.
		romeo.Stop(t)
		romeo = signIn(t, cfg, roster.Config{Store: store})

		// Somebody guesses.
		eve, _ := account(t, s, roster.Config{})
		require.NoError(t, eve.r.Subscribe(ctx, romeo.addr(), roster.WithToken("guess")))
		q := romeo.requests.Next(t, from(eve.addr(), ofRequest))
		assert.False(t, q.Invited || q.Accepted)

		link, err := roster.ParseInvitation(i.URI())
		require.NoError(t, err)
		require.NoError(t, juliet.r.AcceptInvitation(ctx, link, roster.WithNick("Juliet")))
		q = romeo.requests.Next(t, from(juliet.addr(), ofRequest))
		assert.True(t, q.Invited && q.Accepted)
		for _, p := range [][2]*device{{romeo, juliet}, {juliet, romeo}} {
			require.Eventually(t, func() bool {
				c, _ := p[0].r.Contact(p[1].addr())
				return c.Subscription == roster.Both
			}, testclient.Patience, time.Millisecond)
		}
		c, _ := juliet.r.Contact(romeo.addr())
		assert.Equal(t, "Romeo", c.Name)

		// A token is good for one.
		require.NoError(t, eve.r.Unsubscribe(ctx, romeo.addr()))
		withdrawn := testclient.Watch[roster.Request](romeo)
		require.NoError(t, eve.r.Subscribe(ctx, romeo.addr(), roster.WithToken(i.Token), roster.WithStatus("again")))
		q = withdrawn.Next(t, from(eve.addr(), ofRequest))
		assert.False(t, q.Invited || q.Accepted)
	})
}

func TestServerInvitation(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		i, err := roster.RequestInvitation(ctx, romeo)
		var se stanza.Error
		if err != nil {
			require.ErrorAs(t, err, &se)
			s.Skip(t, "invitations (XEP-0401)")
		}
		assert.True(t, i.JID.Equal(romeo.addr()) && i.Token != "" && !i.Register, "%+v", i)
		juliet, _ := account(t, s, roster.Config{})
		require.NoError(t, juliet.r.AcceptInvitation(ctx, i))
		juliet.presence.Next(t, from(romeo.addr(), ofPresence, there))
		assert.Empty(t, romeo.requests.All(), "the server accepts by itself")
		_, err = roster.RequestAccountInvitation(ctx, romeo, roster.AccountOptions{User: "nurse"})
		require.ErrorAs(t, err, &se, "only operators may")
	})
}

func TestSearch(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		if s.Search == "" {
			s.Skip(t, "a directory of people")
		}
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		const ns = "vcard-temp"
		email := romeo.addr().Localpart() + "@mail.example"
		require.NoError(t, confab.Do(ctx, romeo, stanza.IQ{Type: stanza.SetIQ}, confab.El(ns, "vCard",
			confab.El(ns, "FN").SetText("Romeo Montague"), confab.El(ns, "NICKNAME").SetText("Romeo"),
			confab.El(ns, "N", confab.El(ns, "FAMILY").SetText("Montague"), confab.El(ns, "GIVEN").SetText("Romeo")),
			confab.El(ns, "EMAIL", confab.El(ns, "USERID").SetText(email))), nil))
		sr, err := roster.NewSearch(ctx, romeo, jid.MustParse(s.Search))
		require.NoError(t, err)
		// Prosody's directory falls over a search without the field email.
		require.Contains(t, sr.Fields, "email", "%v", sr.Fields)
		f, err := sr.Find(ctx, romeo, map[string]string{"email": email})
		require.NoError(t, err)
		if s.Name == testbed.Prosody && len(f.People) == 0 {
			s.Skip(t, "a directory that finds vCards which are kept in PEP")
		}
		require.Len(t, f.People, 1)
		assert.True(t, f.People[0].JID.Equal(romeo.addr()))
		assert.Equal(t, email, f.People[0].Fields["email"], "%v", f.People[0])
		f, err = sr.Find(ctx, romeo, map[string]string{"email": "nobody@mail.example"})
		require.NoError(t, err)
		assert.Empty(t, f.People)
		_, err = sr.Find(ctx, romeo, map[string]string{"shoe size": "44"})
		require.Error(t, err)
	})
}

func TestNick(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		juliet, cfg := account(t, s, roster.Config{})
		befriend(t, romeo, juliet)
		require.NoError(t, roster.SetNick(ctx, romeo, "Ishmael"))
		// ejabberd knows what a client wants to be told when it has signed in.
		phone := signIn(t, cfg, roster.Config{})
		assert.Equal(t, "Ishmael", phone.nicks.Next(t, from(romeo.addr(), ofNick)).Nick)
		require.NoError(t, roster.SetNick(ctx, romeo, ""))
		assert.Empty(t, phone.nicks.Next(t, from(romeo.addr(), ofNick, func(e roster.NickChanged) bool { return e.Nick != "Ishmael" })).Nick)
	})
}

func TestMoved(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s, roster.Config{})
		old, _ := account(t, s, roster.Config{})
		now, _ := account(t, s, roster.Config{})
		befriend(t, romeo, old)
		require.NoError(t, romeo.r.Add(ctx, old.addr(), "Juliet", "Capulets"))
		require.NoError(t, roster.PublishMove(ctx, old, now.addr()))

		// Eve says so, too: her request is like any other.
		eve, _ := account(t, s, roster.Config{})
		require.NoError(t, eve.r.Subscribe(ctx, romeo.addr(), roster.WithMoved(old.addr())))
		romeo.requests.Next(t, from(eve.addr(), ofRequest))
		require.Error(t, romeo.r.AcceptMove(ctx, roster.Moved{Old: old.addr(), New: eve.addr()}))

		require.NoError(t, now.r.Subscribe(ctx, romeo.addr(), roster.WithMoved(old.addr())))
		romeo.requests.Next(t, from(now.addr(), ofRequest))
		m := romeo.moved.Next(t, nil)
		assert.True(t, m.Old.Equal(old.addr()) && m.New.Equal(now.addr()))
		c, _ := romeo.r.Contact(now.addr())
		assert.Equal(t, roster.None, c.Subscription, "nothing is done silently")
		require.NoError(t, romeo.r.AcceptMove(ctx, m))
		now.requests.Next(t, from(romeo.addr(), ofRequest))
		require.NoError(t, now.r.Accept(ctx, romeo.addr()))
		require.Eventually(t, func() bool {
			c, _ := romeo.r.Contact(now.addr())
			o, _ := romeo.r.Contact(old.addr())
			return c.Subscription == roster.Both && c.Name == "Juliet" && len(c.Groups) == 1 && !o.Subscription.SeenByThem()
		}, testclient.Patience, time.Millisecond)
		assert.Empty(t, romeo.moved.All(), "eve was believed")
	})
}
