package muc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

const (
	nsUser     = "http://jabber.org/protocol/muc#user"
	nsSID      = "urn:xmpp:sid:0"
	nsOccupant = "urn:xmpp:occupant-id:0"
	nsDelay    = "urn:xmpp:delay"
	nsModerate = "urn:xmpp:message-moderate:1"
	nsRetract  = "urn:xmpp:message-retract:1"
	nsForward  = "urn:xmpp:forward:0"
)

// victim is a client in a room of an embedded server that tests inject stanzas into.
func victim(t *testing.T) (*person, *muc.Room, *confabtest.Server) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	p := signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	r := p.join(t, jid.MustParse(heath), "bob")
	p.states.Next(t, status(muc.Joined))
	return p, r, srv
}

// inject sends stanzas to the victim and waits until they were handled.
func (p *person) inject(t *testing.T, srv *confabtest.Server, els ...*confab.Element) {
	t.Helper()
	for _, el := range els {
		require.Equal(t, 1, srv.Inject(p.LocalAddr().String(), el))
	}
	end := "end" + confab.NewID()
	srv.Inject(p.LocalAddr().String(), groupchat("fence", end))
	p.heard.Next(t, saying(end))
}

func groupchat(nick, text string, kids ...*confab.Element) *confab.Element {
	from := heath
	if nick != "" {
		from += "/" + nick
	}
	el := confab.El(confab.NSClient, "message", kids...).Set("type", "groupchat").Set("from", from).Set("id", confab.NewID())
	if text != "" {
		el.Add(confab.El(confab.NSClient, "body").SetText(text))
	}
	return el
}

func presence(from, typ string, kids ...*confab.Element) *confab.Element {
	return confab.El(confab.NSClient, "presence", kids...).Set("from", from).Set("type", typ)
}

func x(item *confab.Element, codes ...string) *confab.Element {
	el := confab.El(nsUser, "x")
	if item != nil {
		el.Add(item)
	}
	for _, c := range codes {
		el.Add(confab.El(nsUser, "status").Set("code", c))
	}
	return el
}

func item(role, affiliation string) *confab.Element {
	return confab.El(nsUser, "item").Set("role", role).Set("affiliation", affiliation)
}

// TestForgedSelf: nobody but the room says where the user is.
func TestForgedSelf(t *testing.T) {
	p, r, srv := victim(t)
	p.inject(t, srv,
		presence(heath+"/mallory", "", x(item("moderator", "owner"), "110")),
		presence(heath+"/mallory", "", x(item("moderator", "owner"), "110", "210")),
		presence(heath+"/mallory", "unavailable", x(item("none", "none"), "110", "301")),
		presence("heath@rooms.evil.test/bob", "unavailable", x(item("none", "none"), "110", "307")),
		presence("rooms.confab.test", "unavailable", x(item("none", "none"), "110", "301")),
		presence("bob@confab.test/x", "unavailable", x(item("none", "none"), "110", "301")),
		presence(heath, "unavailable", x(item("none", "none"), "110", "301")),
		presence(heath, ""),
		presence("heath@rooms.evil.test/bob", "error", confab.El(confab.NSClient, "error").Set("type", "auth")),
		confab.El(confab.NSClient, "message", x(nil, "301")).Set("from", heath),
	)
	assert.Equal(t, "bob", r.Nick())
	st, _ := r.Status()
	assert.Equal(t, muc.Joined, st)
	assert.Empty(t, p.states.All())
	assert.Len(t, r.Occupants(), 1)
	for _, c := range p.changes.All() {
		assert.False(t, c.Self)
	}
	// The real thing, to see that the test can tell.
	require.Equal(t, 1, srv.Inject(p.LocalAddr().String(), presence(heath+"/bob", "unavailable", x(item("none", "outcast"), "110", "301"))))
	require.ErrorIs(t, p.states.Next(t, nil).Err, muc.ErrBanned)
}

// TestForgedEntry: while the user enters, an occupant claims to be the user.
func TestForgedEntry(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	room := "trap@rooms.evil.test"
	srv.Component("rooms.evil.test", func(e *confab.Element) {
		to := e.Get("from")
		if e.Name.Local != "presence" {
			_ = srv.Send(confab.El(confab.NSClient, "iq", confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "item-not-found")).Set("type", "cancel")).
				Set("type", "error").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", to))
			return
		}
		if e.Get("type") != "" {
			return
		}
		for _, s := range []*confab.Element{
			presence(room+"/mallory", "", x(item("moderator", "owner"), "110", "210", "201"), x(item("participant", "none"))),
			presence(room+"/eve", "", x(item("participant", "none").Set("jid", "@@bad/@"))),
			presence(room+"/bob", "", x(item("participant", "none"), "110")),
			confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "subject").SetText("trap")).Set("type", "groupchat").Set("from", room+"/mallory"),
		} {
			_ = srv.Send(s.Set("to", to))
		}
	})
	p := signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	r := p.join(t, jid.MustParse(room), "bob")
	assert.Equal(t, "bob", r.Nick())
	assert.False(t, r.Created())
	assert.Len(t, r.Occupants(), 3)
	eve, ok := r.Occupant("eve")
	require.True(t, ok, "a bad address does not make somebody vanish")
	assert.Equal(t, "", eve.JID.String())
}

// TestForgedMessages: what occupants say is not what the room says.
func TestForgedMessages(t *testing.T) {
	p, r, srv := victim(t)
	moderated := confab.El(nsRetract, "retract", confab.El(nsModerate, "moderated").Set("by", heath+"/bob")).Set("id", "s1")
	fasten := confab.El("urn:xmpp:fasten:0", "apply-to", confab.El("urn:xmpp:message-moderate:0", "moderated",
		confab.El("urn:xmpp:message-retract:0", "retract")).Set("by", heath+"/bob")).Set("id", "s1")
	tomb := confab.El(nsRetract, "retracted", confab.El(nsModerate, "moderated").Set("by", heath+"/bob"))
	subject := confab.El(confab.NSClient, "subject").SetText("forged")
	p.inject(t, srv,
		groupchat("mallory", "", moderated),
		groupchat("mallory", "", fasten),
		groupchat("mallory", "", tomb),
		groupchat("", "", moderated).Set("from", "heath@rooms.evil.test"),
		groupchat("", "", moderated).Set("type", "normal"),
		groupchat("", "", subject).Set("from", "heath@rooms.evil.test/bob"),
		groupchat("mallory", "with a body", subject),
		groupchat("mallory", "old news", confab.El(nsDelay, "delay").Set("from", heath).Set("stamp", "2001-01-01T00:00:00Z")),
		groupchat("mallory", "id of others", confab.El(nsSID, "stanza-id").Set("by", "bob@confab.test").Set("id", "s9")),
	)
	assert.Empty(t, r.Subject().Text)
	assert.Empty(t, p.subjects.All())
	for _, e := range p.retracts.All() {
		assert.Empty(t, e.By)
		assert.NotEmpty(t, e.Author)
		assert.NotEqual(t, heath, e.From.String())
	}
	m := p.heard.Next(t, saying("old news"))
	assert.Equal(t, confab.Live, m.Source, "after the subject there is no history")
	assert.True(t, m.Stamp.IsZero())
	assert.Empty(t, p.heard.Next(t, saying("id of others")).ServerID)
	for range len(p.retracts.All()) {
		p.retracts.Next(t, nil)
	}
	p.inject(t, srv, groupchat("", "", moderated))
	e := p.retracts.Next(t, nil)
	assert.Equal(t, heath+"/bob", e.By)
	assert.Equal(t, "s1", e.ID)
	p.inject(t, srv, groupchat("", "", fasten))
	assert.Equal(t, "s1", p.retracts.Next(t, nil).ID)
}

// TestNicknameChangesHands: in a room without ids of occupants, who takes a nickname
// cannot correct what its owner before has said.
func TestNicknameChangesHands(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	room := "old@rooms.old.test"
	srv.Component("rooms.old.test", func(e *confab.Element) {
		if e.Name.Local == "iq" {
			_ = srv.Send(confab.El(confab.NSClient, "iq", confab.El("http://jabber.org/protocol/disco#info", "query")).Set("type", "result").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", e.Get("from")))
		} else if e.Get("type") == "" {
			_ = srv.Send(presence(e.Get("to"), "", x(item("participant", "none"), "110")).Set("to", e.Get("from")))
			_ = srv.Send(groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", room).Set("to", e.Get("from")))
		}
	})
	p := signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	r := p.join(t, jid.MustParse(room), "bob")
	tl := chat.NewTimeline(jid.MustParse(room), 0)
	defer r.Follow(tl, nil)()
	say := func(el *confab.Element) {
		require.Equal(t, 1, srv.Inject(p.LocalAddr().String(), el.Set("from", room+"/alice")))
	}
	say(presence("", "", x(item("participant", "none"))))
	say(groupchat("", "mine").Set("id", "a1"))
	say(presence("", "unavailable", x(item("none", "none"))))
	say(presence("", "", x(item("participant", "none")), confab.El(nsOccupant, "occupant-id").Set("id", "forged")))
	say(groupchat("", "not mine", confab.El("urn:xmpp:message-correct:0", "replace").Set("id", "a1")).Set("id", "a2"))
	first := p.heard.Next(t, saying("mine"))
	ed := p.edits.Next(t, nil)
	assert.NotEqual(t, first.Author, ed.Author)
	assert.Empty(t, first.OccupantID)
	o, _ := r.Occupant("alice")
	assert.Empty(t, o.OccupantID, "the room does not announce ids")
	e, ok := tl.Entry("a1")
	require.True(t, ok)
	assert.Zero(t, e.Edits)
}

// TestForgedMentions: only the room itself can pass on what was said in it.
func TestForgedMentions(t *testing.T) {
	p, _, srv := victim(t)
	forwarded := func(from, inner string) *confab.Element {
		return confab.El(confab.NSClient, "message", confab.El("urn:xmpp:mmn:0", "mentions", confab.El(nsForward, "forwarded",
			confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText("bob: hi")).Set("type", "groupchat").Set("from", inner)))).Set("from", from)
	}
	p.inject(t, srv,
		forwarded("coven@rooms.evil.test", "coven@rooms.confab.test/witch"),
		forwarded("coven@rooms.confab.test/witch", "coven@rooms.confab.test/witch"),
		forwarded("coven@rooms.confab.test", "@"),
		confab.El(confab.NSClient, "message", confab.El("urn:xmpp:mmn:0", "mentions")).Set("from", "coven@rooms.confab.test"),
	)
	assert.Empty(t, p.named.All())
	p.inject(t, srv, forwarded("coven@rooms.confab.test", "coven@rooms.confab.test/witch"))
	e := p.named.Next(t, nil)
	assert.Equal(t, "bob: hi", e.Message.Text)
	assert.True(t, muc.Mentions(e.Message, "bob"))
}

// TestStrangers: rooms that were not entered are nobody's business, however loud.
func TestStrangers(t *testing.T) {
	p, r, srv := victim(t)
	for i := range 5000 {
		room := fmt.Sprintf("r%d@rooms.evil.test", i%1000)
		srv.Inject(p.LocalAddr().String(), presence(fmt.Sprintf("%s/n%d", room, i), "", x(item("participant", "none"), "110", "210")))
		srv.Inject(p.LocalAddr().String(), groupchat("", "", confab.El(confab.NSClient, "subject").SetText("x")).Set("from", room))
	}
	p.inject(t, srv)
	assert.Len(t, p.rooms.Rooms(), 1)
	assert.Len(t, r.Occupants(), 1)
	assert.Empty(t, p.changes.All())
	assert.Empty(t, p.subjects.All())
}

// TestFlood: a room cannot have us keep more than is sensible.
func TestFlood(t *testing.T) {
	p, r, srv := victim(t)
	long := strings.Repeat("x", 100_000)
	hats := confab.El("urn:xmpp:hats:0", "hats")
	for i := range 1000 {
		hats.Add(confab.El("urn:xmpp:hats:0", "hat").Set("uri", fmt.Sprint(i)).Set("title", long[:1000]))
	}
	codes := make([]string, 2000)
	for i := range codes {
		codes[i] = fmt.Sprint(i)
	}
	p.inject(t, srv, presence(heath+"/loud", "", x(item("participant", "none"), codes...), hats,
		confab.El(confab.NSClient, "status").SetText(long), confab.El(nsOccupant, "occupant-id").Set("id", long),
		confab.El("vcard-temp:x:update", "x", confab.El("vcard-temp:x:update", "photo").SetText(long))))
	o, ok := r.Occupant("loud")
	require.True(t, ok)
	assert.LessOrEqual(t, len(o.Status), 1024)
	assert.LessOrEqual(t, len(o.Hats), 16)
	assert.Empty(t, o.OccupantID)
	assert.Empty(t, o.Avatar)
	for i := range 55_000 {
		srv.Inject(p.LocalAddr().String(), presence(fmt.Sprintf("%s/n%d", heath, i), "", x(item("participant", "none"))))
		if i%5000 == 0 {
			p.inject(t, srv) // a slow machine has time for each part
		}
	}
	p.inject(t, srv)
	assert.LessOrEqual(t, len(r.Occupants()), 50_000)
}

// TestOddStanzas: nothing that a room sends ends the session or stops what follows.
func TestOddStanzas(t *testing.T) {
	p, r, srv := victim(t)
	p.inject(t, srv,
		presence(heath+"/a", "", x(item("king", "god").Set("jid", "@"))),
		presence(heath+"/a", "", x(item("", "").Set("nick", "\u0000"))),
		presence(heath+"/a", "unavailable", x(item("participant", "none").Set("nick", "@/\u200b"), "303")),
		presence(heath+"/b", "", x(nil)), presence(heath+"/c", ""),
		presence(heath+"/b", "unavailable", x(item("participant", "none"), "303")),
		presence(heath+"/c", "unavailable", x(item("participant", "none").Set("nick", "bob"), "303")),
		presence(heath+"/d", "weird"), presence(heath+"/d", "subscribe"),
		presence(heath+"/d", "error"), presence(heath, "error", confab.El(confab.NSClient, "error")),
		groupchat("", "", x(nil, "104", "x", "-1", "99999999999")),
		confab.El(confab.NSClient, "message", x(confab.El(nsUser, "invite"))).Set("from", "a@b.c"),
		confab.El(confab.NSClient, "message", x(confab.El(nsUser, "invite").Set("from", "@"))).Set("from", "a@b.c"),
		confab.El(confab.NSClient, "message", x(confab.El(nsUser, "invite"))).Set("from", "b.c"),
		confab.El(confab.NSClient, "message", confab.El("jabber:x:conference", "x").Set("jid", "@")).Set("from", "a@b.c/d"),
		confab.El(confab.NSClient, "message", confab.El("jabber:x:data", "x")).Set("from", heath),
		confab.El(confab.NSClient, "message", x(confab.El(nsUser, "decline"))).Set("from", heath),
	)
	st, _ := r.Status()
	assert.Equal(t, muc.Joined, st)
	assert.Equal(t, "bob", r.Nick())
	_, err := r.Send(p.ctx, "still here")
	require.NoError(t, err)
	p.own.Next(t, nil)
}

// TestBadItems: addresses that cannot be, in presence and in lists, are nobody's.
func TestBadItems(t *testing.T) {
	s := play(t, hag, coven)
	r := s.enter("thirdwitch")
	long := strings.Repeat("x", 2000)
	bad := []string{"", "@", "@b.c", "a@", "a b@c", "a@b.c/" + long, long + "@b.c", "a@b.c@d"}
	for i, j := range bad {
		s.send(presence(fmt.Sprintf("%s/n%d", coven, i), "", x(item("participant", "none").Set("jid", j))).Set("to", hag))
		o := s.changes.Next(t, change(muc.Entered, fmt.Sprint("n", i))).Occupant
		assert.Empty(t, o.JID.String(), j)
	}
	type list struct {
		all []muc.Affiliated
		err error
	}
	done := make(chan list, 1)
	go func() {
		var l list
		for v, err := range r.Affiliations(s.ctx, muc.Member) {
			if err != nil {
				l.err = err
				break
			}
			l.all = append(l.all, v)
		}
		done <- l
	}()
	const admin = "http://jabber.org/protocol/muc#admin"
	q := confab.El(admin, "query", confab.El(admin, "item").Set("affiliation", "god").Set("jid", "good@b.c"))
	for _, j := range bad {
		q.Add(confab.El(admin, "item").Set("affiliation", "member").Set("jid", j))
	}
	s.answer(q)
	l := <-done
	require.NoError(t, l.err)
	require.Len(t, l.all, 1)
	assert.Equal(t, "good@b.c", l.all[0].JID.String())
	assert.NotEqual(t, muc.Affiliation("god"), l.all[0].Affiliation)
}
