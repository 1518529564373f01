package mam_test

import (
	"context"
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
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// place puts a cursor into a store, as an earlier run has left it.
func place(t *testing.T, self jid.JID, id string, stamp time.Time) *client.MemoryStore {
	t.Helper()
	st := &client.MemoryStore{}
	b := fmt.Sprintf(`{"Cursor":{"ID":%q,"Stamp":%q}}`, id, stamp.UTC().Format(time.RFC3339Nano))
	require.NoError(t, st.Put(t.Context(), self.Bare().String()+"/mam", []byte(b)))
	return st
}

func (r *reader) archived() (got []string) {
	for _, m := range r.msgs.All() {
		if m.Source == confab.Archive {
			got = append(got, m.Body)
		}
	}
	return got
}

// embedded are Bob, and the configuration for Alice, on a server of their own.
func embedded(t *testing.T) (srv *confabtest.Server, bob *reader, alice client.Config, to jid.JID) {
	srv = confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	bob = signIn(t, testclient.Embedded(srv, "bob"), mam.Config{NoFollow: true})
	alice = testclient.Embedded(srv, "alice")
	alice.NoPresence = true // what the server has kept for her does not come
	return srv, bob, alice, jid.MustParse(alice.Address).Bare()
}

// TestGapByTime: a gap begins at a time, or at a message that the archive has lost: what
// is older was handled, and is not read again.
func TestGapByTime(t *testing.T) {
	for _, id := range []string{"", "lost"} {
		t.Run("after "+id, func(t *testing.T) {
			_, bob, alice, to := embedded(t)
			say(t, bob, to, numbered(0, 10)...)
			now := time.Now()
			// The archive is asked by the second, and what is of the same second may come.
			time.Sleep(time.Until(now.Truncate(time.Second).Add(time.Second)))
			st := place(t, to, id, time.Now())
			say(t, bob, to, numbered(10, 30)...)
			r := signIn(t, alice, mam.Config{Store: st, Limit: 5, Wait: time.Minute})
			g := r.gaps.Next(t, nil)
			require.Equal(t, id, g.After.ID)
			require.NoError(t, r.archives.Fill(testclient.Context(t), g))
			r.msgs.Next(t, func(m *confab.Message) bool { return m.Body == "number 24" && m.Source == confab.Archive })
			require.Equal(t, append(numbered(25, 30), numbered(10, 24)...), r.archived())
			require.Eventually(t, func() bool {
				gaps, err := r.archives.Gaps(t.Context(), jid.JID{})
				return err == nil && len(gaps) == 0
			}, testclient.Patience, time.Millisecond)
		})
	}
}

// TestGapByHalf: a program ends while it fills a gap. The next one finds what is left.
func TestGapByHalf(t *testing.T) {
	_, bob, alice, to := embedded(t)
	say(t, bob, to, "first")
	st := place(t, to, "", time.Now().Add(-time.Hour))
	say(t, bob, to, numbered(0, 500)...)
	r := signIn(t, alice, mam.Config{Store: st, Limit: 5, Wait: time.Minute})
	g := r.gaps.Next(t, nil)
	seen := map[string]int{}
	ctx, cancel := context.WithCancel(testclient.Context(t))
	confab.On(r, func(_ context.Context, p mam.Progress) {
		if p.Read >= 200 {
			cancel()
		}
	})
	require.Error(t, r.archives.Fill(ctx, g))
	require.Eventually(t, func() bool {
		gaps, err := r.archives.Gaps(t.Context(), jid.JID{})
		return err == nil && len(gaps) == 1 && gaps[0].After != g.After
	}, testclient.Patience, time.Millisecond)
	r.Stop(t)
	for _, b := range r.archived() {
		seen[b]++
	}
	require.Less(t, len(seen), 500)
	r = signIn(t, alice, mam.Config{Store: st, Limit: 5, Wait: time.Minute})
	gaps, err := r.archives.Gaps(t.Context(), jid.JID{})
	require.NoError(t, err)
	require.Len(t, gaps, 1)
	require.NoError(t, r.archives.Fill(testclient.Context(t), gaps[0]))
	r.msgs.Next(t, func(m *confab.Message) bool {
		seen[m.Body]++
		return m.Body == "number 494"
	})
	for _, b := range r.archived() {
		seen[b]++
	}
	seen["number 494"] = 1
	require.Len(t, seen, 501)
	require.Error(t, r.archives.Fill(testclient.Context(t), mam.Gap{Before: mam.Place{ID: "made up"}}))
}

// TestTotal: progress counts what is missing, not the whole archive.
func TestTotal(t *testing.T) {
	_, bob, alice, to := embedded(t)
	alice.NoPresence = false
	say(t, bob, to, numbered(0, 100)...)
	st := &client.MemoryStore{}
	first := signIn(t, alice, mam.Config{Store: st})
	say(t, bob, to, "live")
	noted(t, first, st, to)
	first.Stop(t)
	say(t, bob, to, numbered(100, 105)...)
	second := signIn(t, alice, mam.Config{Store: st, Wait: time.Minute})
	p := second.progress.Next(t, nil)
	require.Equal(t, mam.Progress{Archive: p.Archive, Read: 5, Total: 5}, p)
}

// TestFirst: the first time only so much is read, in order.
func TestFirst(t *testing.T) {
	_, bob, alice, to := embedded(t)
	say(t, bob, to, numbered(0, 700)...)
	for _, c := range []struct {
		cfg  mam.Config
		from int
	}{
		{mam.Config{First: 20}, 680}, {mam.Config{First: 600}, 100}, {mam.Config{First: 5000}, 0},
		{mam.Config{FirstAge: time.Hour}, 0}, {mam.Config{FirstAge: time.Hour, First: 3}, 697},
	} {
		c.cfg.Wait = time.Minute
		r := signIn(t, alice, c.cfg)
		r.progress.Next(t, func(p mam.Progress) bool { return p.Done })
		r.Stop(t)
		require.Equal(t, numbered(c.from, 700), r.archived(), c.cfg)
	}
}

// TestArguments: what makes no sense, and what the archive would pass over, is refused.
func TestArguments(t *testing.T) {
	srv, bob, alice, to := embedded(t)
	say(t, bob, to, "Buy a ladder", "and a rope")
	r := signIn(t, alice, mam.Config{NoFollow: true})
	fails := func(q mam.Query) error {
		t.Helper()
		for _, err := range r.archives.Query(testclient.Context(t), q) {
			require.Error(t, err)
			return err
		}
		t.Fatal("nothing was refused")
		return nil
	}
	now := time.Now()
	for _, q := range []mam.Query{
		{Limit: -1}, {Page: -1}, {Start: now, End: now.Add(-time.Hour)}, {IDs: make([]string, 1)},
		{IDs: make([]string, 2000)}, {OrderBy: "size"},
	} {
		require.NotErrorIs(t, fails(q), mam.ErrUnsupported)
	}
	got, ids := read(t, r, mam.Query{Text: "LADDER"})
	require.Equal(t, []string{"Buy a ladder"}, got)
	got, _ = read(t, r, mam.Query{Text: "pineapple"})
	require.Empty(t, got)
	got, _ = read(t, r, mam.Query{IDs: ids})
	require.Equal(t, []string{"Buy a ladder"}, got)
	got, _ = read(t, r, mam.Query{OrderBy: mam.ByCreation})
	require.Len(t, got, 2)
	require.ErrorIs(t, fails(mam.Query{IDs: []string{"unknown"}}), mam.ErrExpired)

	// An archive of the first hour can do none of this.
	srv.HandleIQ(mam.NS, "query", func(*confab.Element) *confab.Element { return confab.El(mam.NS, "query") })
	srv.HandleIQ("http://jabber.org/protocol/disco#info", "query", func(*confab.Element) *confab.Element {
		return confab.El("http://jabber.org/protocol/disco#info", "query")
	})
	for _, q := range []mam.Query{{Text: "x"}, {IDs: []string{"x"}}, {OrderBy: mam.ByModification}} {
		require.ErrorIs(t, fails(q), mam.ErrUnsupported)
	}
}

// archive answers the queries of a client with the pages of a test.
type archive struct {
	*confabtest.Transcript
	*reader
	t     *testing.T
	stamp string
}

func playArchive(t *testing.T) *archive {
	a := &archive{Transcript: confabtest.NewTranscript(t), reader: &reader{}, t: t, stamp: "2010-07-10T23:08:25Z"}
	a.Client = testclient.Start(t, client.Config{Address: "juliet@capulet.lit/chamber", Password: "x", Dial: a.Dial, NoPresence: true}, func(c *client.Client) {
		a.archives = mam.New(c, mam.Config{NoFollow: true})
		a.msgs, a.bad = testclient.Watch[*confab.Message](c), testclient.Watch[confab.BadStanza](c)
	})
	a.SignIn("juliet@capulet.lit/chamber")
	a.WaitReady(t)
	return a
}

// query reads beside the test, which gets the ids.
func (a *archive) query(q mam.Query) chan any {
	out := make(chan any, 1000)
	go func() {
		defer close(out)
		for r, err := range a.archives.Query(testclient.Context(a.t), q) {
			if err != nil {
				out <- err
				return
			}
			out <- r.ID
		}
	}()
	return out
}

// page answers the next request with results, a "!" among which cannot be used, and <fin/>.
func (a *archive) page(fin string, ids ...string) *confab.Element {
	a.t.Helper()
	iq := a.Next()
	q := iq.Child(mam.NS, "query")
	require.NotNil(a.t, q, iq.String())
	for _, id := range ids {
		stamp, as := a.stamp, id
		if i := strings.Index(id, "@"); i >= 0 {
			as, stamp = id[:i], "2010-07-10T23:08:"+id[i+1:]+"Z"
		}
		if id == "!" {
			stamp = "never"
		}
		a.Send("<message from='juliet@capulet.lit'><result xmlns='urn:xmpp:mam:2' queryid='" + q.Get("queryid") + "' id='" + as + "'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='" + stamp +
			"'/><message xmlns='jabber:client' type='chat' from='romeo@montague.lit' to='juliet@capulet.lit'><body>" + as + "</body></message></forwarded></result></message>")
	}
	a.Send("<iq type='result' id='" + iq.Get("id") + "'><fin xmlns='urn:xmpp:mam:2' " + fin + "</fin></iq>")
	return q
}

func all(out chan any) (got []any) {
	for v := range out {
		got = append(got, v)
	}
	return got
}

const rsmSet = "<set xmlns='http://jabber.org/protocol/rsm'>"

// TestPages: pages that bring nothing of use are no end, nor go on for ever; flipped or
// not, newest first is newest first; the other bound holds where the archive does not
// know it.
func TestPages(t *testing.T) {
	a := playArchive(t)
	out := a.query(mam.Query{})
	a.page(">"+rsmSet+"<first>0</first><last>1</last></set>", "!", "!")
	q := a.page(">"+rsmSet+"<first>2</first><last>3</last></set>", "2", "!")
	require.Equal(t, "1", q.Child("http://jabber.org/protocol/rsm", "set").ChildText("http://jabber.org/protocol/rsm", "after"))
	q = a.page(" complete='true'>", "4")
	require.Equal(t, "2", q.Child("http://jabber.org/protocol/rsm", "set").ChildText("http://jabber.org/protocol/rsm", "after"))
	require.Equal(t, []any{"2", "4"}, all(out))

	out = a.query(mam.Query{})
	for i := range 101 {
		a.page(fmt.Sprintf(">%s<first>%d</first><last>%d</last></set>", rsmSet, i, i))
	}
	got := all(out)
	require.Len(t, got, 1)
	require.ErrorContains(t, got[0].(error), "nothing on it")

	out = a.query(mam.Query{})
	for _, ids := range [][]string{{"0", "1"}, {"2", "3"}, {"4", "5"}, {"6", "7"}, {"4", "5"}} {
		a.page(">", ids...)
	}
	got = all(out)
	require.Len(t, got, 9)
	require.ErrorContains(t, got[8].(error), "in a circle")

	for _, c := range []struct {
		rsm string
		ids []string
	}{
		{"<first>a</first><last>c</last>", []string{"a", "b", "c"}},
		{"<first>a</first><last>c</last>", []string{"c", "b", "a"}},
		{"<first>a</first><last>c</last>", []string{"c@27", "b@26", "a@25"}},
		{"<first>c</first><last>a</last>", []string{"c@27", "b@26", "a@25"}}, // flipped all of it
		{"<first>a</first><last>c</last>", []string{"a@25", "b@26", "c@27"}},
	} {
		out = a.query(mam.Query{Backwards: true})
		q = a.page(">"+rsmSet+c.rsm+"</set>", c.ids...)
		require.NotNil(t, q.Child(mam.NS, "flip-page"))
		q = a.page(" complete='true'>")
		require.Equal(t, "a", q.Child("http://jabber.org/protocol/rsm", "set").ChildText("http://jabber.org/protocol/rsm", "before"))
		require.Equal(t, []any{"c", "b", "a"}, all(out), c)
	}
	out = a.query(mam.Query{After: "a", Before: "c"})
	a.page(">", "b", "c", "d")
	require.Equal(t, []any{"b"}, all(out))
	out = a.query(mam.Query{After: "a", Backwards: true})
	a.page(">", "b", "a", "z")
	require.Equal(t, []any{"z"}, all(out), "the page is not flipped: z is the newest, and then a")
}

// TestRefusals: that a room is not there is another thing than that it has lost an id.
func TestRefusals(t *testing.T) {
	a := playArchive(t)
	for _, c := range []struct {
		q       mam.Query
		expired bool
	}{{mam.Query{}, false}, {mam.Query{After: "x"}, true}, {mam.Query{Backwards: true, Before: "x"}, true}, {mam.Query{Before: "x"}, true}} {
		out := a.query(c.q)
		a.Send("<iq type='error' id='" + a.Next().Get("id") + "'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
		got := all(out)
		require.Len(t, got, 1)
		if c.expired {
			require.ErrorIs(t, got[0].(error), mam.ErrExpired)
		} else {
			require.NotErrorIs(t, got[0].(error), mam.ErrExpired)
		}
	}
}

// TestExamples: the XEP's own queries and answers.
func TestExamples(t *testing.T) {
	const rsm = "http://jabber.org/protocol/rsm"
	form := func(q *confab.Element) map[string]string {
		m := map[string]string{}
		for f := range q.Child("jabber:x:data", "x").All("jabber:x:data", "field") {
			m[f.Get("var")] = f.ChildText("jabber:x:data", "value")
		}
		return m
	}
	date := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		require.NoError(t, err)
		return at
	}
	queries := 0
	for _, e := range vectors.Examples(t, "0313") {
		els, err := e.Elements()
		if err != nil || len(els) == 0 || els[0].Get("type") != "set" || els[0].Child(mam.NS, "query") == nil {
			continue
		}
		want := els[0].Child(mam.NS, "query")
		if want.Get("node") != "" {
			continue // of pubsub
		}
		known := true
		for name := range form(want) {
			known = known && slices.Contains([]string{"FORM_TYPE", "with", "start", "end", "after-id", "before-id", "ids"}, name)
		}
		if !known {
			continue // of another XEP, and to leave out messages of rooms
		}
		queries++
		q := mam.Query{}
		for name, v := range form(want) {
			switch name {
			case "with":
				q.With = jid.MustParse(v)
			case "start":
				q.Start = date(v)
			case "end":
				q.End = date(v)
			case "after-id":
				q.After = v
			case "before-id":
				q.Before = v
			case "ids":
				q.IDs = []string{v}
			}
		}
		set := want.Child(rsm, "set")
		if n := set.ChildText(rsm, "max"); n != "" {
			_, err := fmt.Sscan(n, &q.Page)
			require.NoError(t, err)
		}
		if v := set.ChildText(rsm, "after"); v != "" {
			q.After = v
		}
		if set.Child(rsm, "before") != nil || want.Child(mam.NS, "flip-page") != nil {
			q.Backwards, q.Before = true, set.ChildText(rsm, "before")
		}
		a := playArchive(t)
		if !q.Start.IsZero() {
			a.stamp = q.Start.Add(time.Second).Format(time.RFC3339)
		}
		out := a.query(q)
		if len(q.IDs) > 0 { // it asks first what the archive can: with the XEP's own form
			ask := a.Next()
			require.Equal(t, "get", ask.Get("type"))
			answer := vectors.Elements(t, "0313", 15)[0].Set("id", ask.Get("id"))
			a.Send(answer.String())
		}
		got := a.page(" complete='true'>", "28482-98726-73623")
		require.Equal(t, []any{"28482-98726-73623"}, all(out), e.Caption)
		if to := els[0].Get("to"); to == "" {
			wantForm, gotForm := form(want), form(got)
			for k, v := range wantForm {
				if k == "start" || k == "end" {
					require.True(t, date(v).Equal(date(gotForm[k])), e.Caption)
				} else if k != "after-id" || !strings.Contains(set.String(), "after") {
					require.Contains(t, []string{gotForm[k], got.Child(rsm, "set").ChildText(rsm, "after"), got.Child(rsm, "set").ChildText(rsm, "before")}, v, e.Caption)
				}
			}
		}
		require.Equal(t, want.Child(mam.NS, "flip-page") != nil && q.Backwards, want.Child(mam.NS, "flip-page") != nil && got.Child(mam.NS, "flip-page") != nil)
		a.Stop(t)
	}
	require.Greater(t, queries, 5)
	// What is in an answer.
	for _, el := range slices.Concat(vectors.Elements(t, "0413", 6)) {
		require.Equal(t, string(mam.ByCreation), el.Child(mam.NS, "query").Child("urn:xmpp:order-by:1", "order").Get("by"))
	}
}

// TestSlixmpp: a reader that others have written finds the same ids in the same order, in
// the archive of an account and in that of a room.
func TestSlixmpp(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		address, pw := s.Account(t)
		b, pw2 := s.Account(t)
		alice := signIn(t, testclient.Config(s, address, pw), mam.Config{NoFollow: true})
		bob := signIn(t, testclient.Config(s, b, pw2), mam.Config{NoFollow: true})
		self := alice.LocalAddr().Bare()
		say(t, bob, self, numbered(0, 120)...)
		say(t, alice, bob.LocalAddr().Bare(), numbered(120, 130)...)
		alice.msgs.Next(t, func(m *confab.Message) bool { return m.Body == "number 119" })
		slix := testclient.StartSlixmpp(t, s, address, pw)
		bodies, ids := read(t, alice, mam.Query{Page: 33})
		require.Equal(t, numbered(0, 130), bodies)
		same := func(archive string, ids []string) {
			t.Helper()
			slix.Do("read", archive)
			var theirs []string
			for _, id := range slix.Expect("ids")["ids"].([]any) {
				theirs = append(theirs, id.(string))
			}
			require.Equal(t, ids, theirs)
		}
		same("", ids)
		if s.Rooms == "" {
			s.Skip(t, "rooms")
		}
		room := jid.MustParse("history" + strings.ToLower(confab.NewID()) + "@" + s.Rooms)
		a, b2 := bob.join(t, room), alice.join(t, room)
		for _, n := range numbered(0, 60) {
			_, err := a.Send(testclient.Context(t), n)
			require.NoError(t, err)
			bob.own.Next(t, func(m muc.OwnMessage) bool { return m.Text == n })
		}
		if !b2.Info().Info.Has(mam.NS) {
			s.Skip(t, "archives of rooms")
		}
		_, ids = readBodies(t, alice, mam.Query{Archive: room, Page: 17, Apart: true})
		require.Len(t, ids, 60)
		same(room.String(), ids)
	})
}

// readBodies is read for an archive that keeps more than what was said.
func readBodies(t *testing.T, r *reader, q mam.Query) (bodies, ids []string) {
	t.Helper()
	bodies, ids = read(t, r, q)
	for i := len(ids) - 1; i >= 0; i-- {
		if bodies[i] == "" {
			bodies, ids = slices.Delete(bodies, i, i+1), slices.Delete(ids, i, i+1)
		}
	}
	return bodies, ids
}

func (r *reader) join(t *testing.T, room jid.JID) *muc.Room {
	t.Helper()
	in, err := r.rooms.Join(testclient.Context(t), room, r.LocalAddr().Localpart(), muc.Create(muc.PublicChannel("History")))
	require.NoError(t, err)
	return in
}
