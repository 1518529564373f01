package muc_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

const nsVersions = "urn:xmpp:muc:affiliations:1"

// asks counts the lists that a client asks for.
type asks struct{ lists atomic.Int64 }

func (a *asks) wire(t *testing.T) func(client.WireEvent) {
	return func(e client.WireEvent) {
		if !e.Out || !strings.HasPrefix(string(e.XML), "<iq") && !strings.HasPrefix(string(e.XML), "<presence") {
			return
		}
		el := mustRead(t, string(e.XML))
		if el.Child(muc.NS+"#admin", "query") != nil {
			a.lists.Add(1)
		}
	}
}

func addresses(all []jid.JID) []string {
	var s []string
	for _, a := range all {
		s = append(s, a.String())
	}
	slices.Sort(s)
	return s
}

func whose(js ...jid.JID) []string {
	var bare []jid.JID
	for _, j := range js {
		bare = append(bare, j.Bare())
	}
	return addresses(bare)
}

// TestVersions: in a private room that keeps its occupants informed of its lists, nobody
// asks for them (XEP-0463), and what was changed while somebody was away is known when
// they are back.
func TestVersions(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		room, a := newRoom(s), someone(t, s)
		ra := a.join(t, room, "alice", muc.Create(muc.PrivateGroup("coven")))
		if !ra.Info().Info.Has(nsVersions) {
			s.Skip(t, "versions of the lists of rooms (XEP-0463)")
		}
		carol, dave, erin := jid.MustParse("carol@example.org"), jid.MustParse("dave@example.org"), jid.MustParse("erin@example.org")
		address, pw := s.Account(t)
		n := &asks{}
		cfg := testclient.Config(s, address, pw)
		cfg.Wire = n.wire(t)
		b := signIn(t, cfg, muc.Config{})
		for _, who := range []jid.JID{b.bare(), carol} {
			require.NoError(t, ra.SetAffiliation(a.ctx, who, muc.Member, ""))
		}
		b.join(t, room, "bob")
		b.states.Next(t, status(muc.Joined))
		members := func(want ...jid.JID) {
			t.Helper()
			got, err := b.rooms.Members(b.ctx, room)
			require.NoError(t, err)
			assert.Equal(t, whose(want...), addresses(got))
			assert.Zero(t, n.lists.Load(), "the lists were asked for")
		}
		members(a.bare(), b.bare(), carol)

		// While he is there.
		require.NoError(t, ra.SetAffiliation(a.ctx, dave, muc.Admin, "knows the song"))
		l := b.listed.Next(t, nil)
		assert.Equal(t, dave.String(), l.JID.String())
		assert.Equal(t, muc.Admin, l.Affiliation)
		assert.Equal(t, "knows the song", l.Reason)
		assert.Equal(t, "alice", l.By)
		members(a.bare(), b.bare(), carol, dave)
		require.NoError(t, ra.SetAffiliation(a.ctx, carol, muc.NoAffiliation, ""))
		b.listed.Next(t, nil)
		members(a.bare(), b.bare(), dave)
		require.NoError(t, ra.SetAffiliation(a.ctx, b.bare(), muc.Admin, ""))
		b.changes.Next(t, change(muc.Changed, "bob"))
		members(a.bare(), b.bare(), dave)
		// Who changes a list sees it at once.
		rb := b.rooms.Room(room)
		require.NoError(t, rb.SetAffiliation(b.ctx, erin, muc.Member, ""))
		n.lists.Store(0)
		members(a.bare(), b.bare(), dave, erin)
		require.NoError(t, rb.SetAffiliation(b.ctx, erin, muc.Outcast, ""))
		n.lists.Store(0)
		members(a.bare(), b.bare(), dave)

		// While he is away.
		require.NoError(t, rb.Leave(b.ctx))
		require.NoError(t, ra.SetAffiliation(a.ctx, dave, muc.NoAffiliation, ""))
		require.NoError(t, ra.SetAffiliation(a.ctx, carol, muc.Member, ""))
		b.join(t, room, "bob")
		members(a.bare(), b.bare(), carol)
	})
}

// TestVersionsAfterLoss: who enters again asks for what has changed only, and who cannot
// be told that gets all.
func TestVersionsAfterLoss(t *testing.T) {
	for name, changes := range map[string]int{"changes": 3, "too many": 300} {
		t.Run(name, func(t *testing.T) {
			srv := confabtest.NewServer(confabtest.Config{})
			t.Cleanup(srv.Close)
			room := jid.MustParse(heath)
			a := signIn(t, testclient.Embedded(srv, "alice"), muc.Config{})
			ra := a.join(t, room, "alice", muc.Create(muc.PrivateGroup("heath")))
			n, out, in := &asks{}, make(chan *confab.Element, 10), make(chan *confab.Element, 10)
			cfg := testclient.Embedded(srv, "bob")
			count := n.wire(t)
			cfg.Wire = func(e client.WireEvent) {
				count(e)
				switch s := string(e.XML); {
				case !strings.Contains(s, "<mav "):
				case e.Out:
					out <- mustRead(t, s)
				case strings.HasPrefix(s, "<message"):
					in <- mustRead(t, s)
				}
			}
			b := signIn(t, cfg, muc.Config{})
			require.NoError(t, ra.SetAffiliation(a.ctx, b.bare(), muc.Member, ""))
			rb := b.join(t, room, "bob")
			b.states.Next(t, status(muc.Joined))
			want := []jid.JID{a.bare(), b.bare()}
			require.True(t, srv.Room(heath).Forget("bob"))
			for i := range changes {
				who := jid.MustParse("m" + confab.NewID()[:10] + "@example.org")
				require.NoError(t, ra.SetAffiliation(a.ctx, who, muc.Member, ""))
				if i == 0 {
					require.NoError(t, ra.SetAffiliation(a.ctx, who, muc.NoAffiliation, ""))
					continue
				}
				want = append(want, who)
			}
			assert.Empty(t, (<-out).Child(muc.NS, "x").Child(nsVersions, "mav").Get("since"))
			assert.Empty(t, (<-in).Child(nsUser, "x").Child(nsVersions, "mav").Get("since"))
			_, err := rb.Send(b.ctx, "am I there?") // refused: it looks, and enters again
			require.NoError(t, err)
			b.states.Next(t, status(muc.Joined))
			got, err := b.rooms.Members(b.ctx, room)
			require.NoError(t, err)
			assert.Equal(t, whose(want...), addresses(got))
			assert.Zero(t, n.lists.Load())
			assert.NotEmpty(t, (<-out).Child(muc.NS, "x").Child(nsVersions, "mav").Get("since"))
			told := (<-in).Child(nsUser, "x")
			if changes < 100 {
				assert.NotEmpty(t, told.Child(nsVersions, "mav").Get("since"))
				assert.Len(t, slices.Collect(told.All(nsUser, "item")), changes)
			} else {
				assert.Empty(t, told.Child(nsVersions, "mav").Get("since"))
			}
		})
	}
}

// mav returns what a room says of its lists, from an example of XEP-0463. Its namespaces
// are names in the document.
func mav(t *testing.T, n int) *confab.Element {
	t.Helper()
	for _, e := range vectors.Examples(t, "0463") {
		if e.Number == n {
			e.XML = strings.Replace(e.XML, "<x xmlns=''", "<x xmlns='"+nsUser+"'", 1)
			e.XML = strings.Replace(e.XML, "<mav xmlns=''", "<mav xmlns='"+nsVersions+"'", 1)
			els, err := e.Elements()
			require.NoError(t, err)
			return els[0]
		}
	}
	t.Fatal("no such example")
	return nil
}

// TestListsBelieved: the lists are believed from the room itself, as long as each change
// follows on the one before.
func TestListsBelieved(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	room := jid.MustParse(heath)
	a := signIn(t, testclient.Embedded(srv, "alice"), muc.Config{})
	ra := a.join(t, room, "alice", muc.Create(muc.PrivateGroup("heath")))
	n := &asks{}
	cfg := testclient.Embedded(srv, "bob")
	cfg.Wire = n.wire(t)
	p := signIn(t, cfg, muc.Config{})
	require.NoError(t, ra.SetAffiliation(a.ctx, p.bare(), muc.Member, ""))
	p.join(t, room, "bob")
	p.states.Next(t, status(muc.Joined))

	here := func(e *confab.Element) *confab.Element {
		return e.Set("from", heath).Set("to", p.LocalAddr().String())
	}
	step := func(since, until string, items ...*confab.Element) *confab.Element {
		el := confab.El(nsUser, "x", confab.El(nsVersions, "mav").Set("since", since).Set("until", until))
		return here(confab.El(confab.NSClient, "message", el.Add(items...)))
	}
	is := func(who, aff string) *confab.Element { return item("none", aff).Set("jid", who) }
	// asked reports whether the lists are asked for again, because they are not in step.
	asked := func() bool {
		t.Helper()
		before := n.lists.Load()
		_, err := p.rooms.Members(p.ctx, room)
		require.NoError(t, err)
		if n.lists.Load() == before {
			return false
		}
		p.inject(t, srv, here(confab.El(confab.NSClient, "message", confab.El(nsUser, "x")))) // forget that it was asked
		return true
	}
	has := func(who string) bool {
		got, err := p.rooms.Members(p.ctx, room)
		require.NoError(t, err)
		return slices.Contains(addresses(got), who)
	}
	all := func() {
		p.inject(t, srv, step("", "v1", is(p.bare().String(), "member"), is(a.bare().String(), "owner")))
	}

	require.False(t, asked())
	all()
	require.False(t, asked())
	// The examples: no affiliation at all, and somebody who is taken off the list.
	p.inject(t, srv, here(mav(t, 5)))
	require.False(t, asked())
	p.inject(t, srv, step("ruz41312vw", "9pacabr2q1", is("peter@commons.example/mobile", "member")))
	require.True(t, has("peter@commons.example"))
	p.inject(t, srv, here(mav(t, 7)))
	require.False(t, has("peter@commons.example"))
	require.False(t, asked())

	good := is("trent@confab.test", "member")
	for name, el := range map[string]*confab.Element{
		"an occupant":      step("v1", "v2", is("mallory@evil.test", "owner")).Set("from", heath+"/mallory"),
		"in a groupchat":   step("v1", "v2", is("mallory@evil.test", "owner")).Set("from", heath+"/mallory").Set("type", "groupchat"),
		"another room":     step("v1", "v2", is("mallory@evil.test", "owner")).Set("from", "heath@rooms.evil.test"),
		"delayed":          step("v1", "v2", is("mallory@evil.test", "owner")).Add(confab.El(nsDelay, "delay").Set("stamp", "2020-01-01T00:00:00Z")),
		"not in the lists": step("v1", "v2", is("mallory@evil.test", "outcast")),
	} {
		all()
		p.inject(t, srv, el)
		assert.False(t, has("mallory@evil.test"), name)
		assert.False(t, asked(), name)
	}
	for name, el := range map[string]*confab.Element{
		"a hole":          step("v2", "v3", good),
		"no version":      step("v1", "", good),
		"long version":    step("v1", strings.Repeat("v", 5000), good),
		"bad address":     step("v1", "v2", is("@@/@", "member")),
		"nobody":          step("v1", "v2", item("none", "member")),
		"twice":           step("v1", "v2", good).Add(confab.El(nsUser, "x")),
		"presence, hole":  presence(heath+"/alice", "", x(item("moderator", "owner").Set("jid", a.bare().String())).Add(confab.El(nsVersions, "mav").Set("since", "v7").Set("until", "v8"))),
		"stated, other":   presence(heath+"/alice", "", x(item("moderator", "owner").Set("jid", a.bare().String())).Add(confab.El(nsVersions, "mav").Set("until", "v8"))),
		"says no version": presence(heath+"/alice", "", x(item("moderator", "admin").Set("jid", a.bare().String()))),
	} {
		all()
		require.False(t, asked(), name)
		p.inject(t, srv, el)
		assert.True(t, asked(), name)
		p.inject(t, srv, step("v2", "v3", good))
		assert.True(t, asked(), "what follows on something unknown: "+name)
	}
	// A room that was not asked to keep the user informed.
	open := jid.MustParse("open@rooms.confab.test")
	a.join(t, open, "alice", muc.Create(func(s *muc.Settings) { s.NonAnonymous = true }))
	p.join(t, open, "bob")
	p.states.Next(t, status(muc.Joined))
	p.inject(t, srv, step("", "v1", is("mallory@evil.test", "owner")).Set("from", open.String()))
	got, err := p.rooms.Members(p.ctx, open)
	require.NoError(t, err)
	assert.NotContains(t, addresses(got), "mallory@evil.test")
	// Told twice, in the presence of two clients of one account.
	all()
	twice := presence(heath+"/alice", "", x(item("moderator", "admin").Set("jid", a.bare().String())).Add(confab.El(nsVersions, "mav").Set("since", "v1").Set("until", "v2")))
	p.inject(t, srv, twice, twice)
	assert.False(t, asked())
	// A room that lets the user in without a version has not kept the lists in step.
	all()
	var mute atomic.Bool
	mute.Store(true)
	for _, c := range srv.Conns() {
		c.Tamper(func(e *confab.Element) []*confab.Element {
			if u := e.Child(nsUser, "x"); mute.Load() && u.Child(nsVersions, "mav") != nil {
				if e.Name.Local == "message" {
					return nil
				}
				e = e.Clone()
				u = e.Child(nsUser, "x")
				u.Children = slices.DeleteFunc(u.Children, func(c *confab.Element) bool { return c.Is(nsVersions, "mav") })
			}
			return []*confab.Element{e}
		})
	}
	require.Equal(t, 1, srv.Inject(p.LocalAddr().String(), presence(heath+"/bob", "unavailable", x(item("none", "member"), "110", "333"))))
	p.states.Next(t, status(muc.Joined))
	require.True(t, asked())
	mute.Store(false)
	// More than anybody has room for.
	for i := range 25 {
		el := step("", "v1")
		if i > 0 {
			el = step("v1", "v1")
		}
		for range 400 {
			el.Child(nsUser, "x").Add(is(strings.Repeat("a", 900)+confab.NewID()+"@"+strings.Repeat("b.", 90)+"test", "member"))
		}
		p.inject(t, srv, el)
	}
	assert.True(t, asked())
}
