package muc_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// reply answers the client's next request with a stanza of a XEP, and returns the request.
func (s *script) reply(el *confab.Element) *confab.Element {
	s.t.Helper()
	q := s.tr.Next()
	require.Equal(s.t, "iq", q.Name.Local, q.String())
	s.send(el.Clone().Set("id", q.Get("id")).Set("from", q.Get("to")).Set("to", s.LocalAddr().String()))
	return q
}

// TestGoldenSelfPing is XEP-0410.
func TestGoldenSelfPing(t *testing.T) {
	const juliet, room = "juliet@capulet.lit/client", "characters@chat.shakespeare.lit"
	s := play(t, juliet, room)
	done := make(chan joined, 1)
	go func() {
		r, err := s.rooms.Join(s.ctx, s.room, "JuliC")
		done <- joined{r, err}
	}()
	s.reply(vectors.Elements(t, "0410", 4)[0])
	s.tr.Next()
	subject := groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", room)
	self := presence(room+"/JuliC", "", x(item("participant", "none"), "110"))
	s.send(self, subject)
	r := (<-done).room
	assert.True(t, r.Info().SelfPing)
	s.states.Next(t, status(muc.Joined))

	// A ping that the room reflects to this client is answered, whoever has asked.
	reflected := vectors.Elements(t, "0410", 3)[0].Set("to", juliet)
	s.send(reflected)
	got := s.tr.Next()
	assert.Equal(t, "result c0ffee-s2c1 "+room+"/JuliC", got.Get("type")+" "+got.Get("id")+" "+got.Get("to"))

	// A refused message makes the client ask, and the answer is that it is not there.
	s.send(confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "error", confab.El(confab.NSStanzas, "not-acceptable")).Set("type", "cancel")).
		Set("type", "error").Set("id", "m1").Set("from", room))
	want := vectors.Elements(t, "0410", 1)[0]
	q := s.reply(vectors.Elements(t, "0410", 2)[0])
	assert.Equal(t, want.Get("to")+want.Get("type"), q.Get("to")+q.Get("type"))
	assert.Equal(t, want.Children[0].Name, q.Children[0].Name)
	require.ErrorIs(t, s.states.Next(t, nil).Err, muc.ErrForgotten)
	s.reply(vectors.Elements(t, "0410", 4)[0])
	assert.Equal(t, room+"/JuliC", s.tr.Next().Get("to"))
	s.send(self, subject)
	s.states.Next(t, status(muc.Joined))
}

// TestGoldenSearch is XEP-0433. Its examples have lost their namespaces.
func TestGoldenSearch(t *testing.T) {
	const ns = "urn:xmpp:channel-search:0"
	s := play(t, "client@user.example/x", "x@y")
	service := jid.MustParse("search.service.example")
	type found struct {
		rooms []muc.Found
		err   error
	}
	ask := func() chan found {
		done := make(chan found, 1)
		go func() {
			f, err := muc.Search(s.ctx, s, service, "xmpp.org", 5)
			done <- found{f, err}
		}()
		return done
	}
	values := func(el *confab.Element) map[string]string {
		v := map[string]string{}
		for f := range el.Child("jabber:x:data", "x").All("jabber:x:data", "field") {
			v[f.Get("var")] = f.ChildText("jabber:x:data", "value")
		}
		return v
	}
	want := vectors.Elements(t, "0433", 4)[0]
	const rsm = "http://jabber.org/protocol/rsm"
	done := ask()
	q := s.tr.Next()
	assert.Equal(t, want.Get("to")+want.Get("type"), q.Get("to")+q.Get("type"))
	search := q.Child(ns+":search", "search")
	require.NotNil(t, search, q.String())
	shown := want.Children[0]
	assert.Equal(t, shown.Child(rsm, "set").ChildText(rsm, "max"), search.Child(rsm, "set").ChildText(rsm, "max"))
	got, theirs := values(search), values(shown)
	assert.Equal(t, theirs["q"], got["q"])
	assert.Equal(t, ns+":search-params", got["FORM_TYPE"])
	assert.Equal(t, strings.Replace("{}nusers", "{}", "{"+ns+":order}", 1), got["key"])
	offered := values(vectors.Elements(t, "0433", 3)[0].Children[0])
	for name := range got {
		assert.Contains(t, offered, name, "the service has such a field")
	}
	s.send(confab.El(confab.NSClient, "iq", confab.El(ns+":search", "result")).Set("type", "result").Set("id", q.Get("id")).Set("from", service.String()).Set("to", s.LocalAddr().String()))
	assert.NoError(t, (<-done).err)

	// The reasons not to answer.
	for n, condition := range map[int]stanza.Condition{7: stanza.BadRequest, 8: stanza.ResourceConstraint, 9: stanza.NotAllowed, 10: stanza.NotAllowed, 11: stanza.BadRequest} {
		done := ask()
		s.reply(vectors.Elements(t, "0433", n)[0])
		var se stanza.Error
		require.ErrorAs(t, (<-done).err, &se, n)
		assert.Equal(t, condition, se.Condition, n)
	}
	// A service that cannot sort like that is asked without an order, and one that does not
	// know the XEP the old way.
	done = ask()
	s.reply(vectors.Elements(t, "0433", 6)[0])
	q = s.answer(confab.El(ns+":search", "result"))
	assert.Equal(t, map[string]string{"FORM_TYPE": ns + ":search-params", "q": "xmpp.org", "sinname": "1", "sindescription": "1", "sinaddr": "1"}, values(q.Children[0]))
	assert.NoError(t, (<-done).err)
	done = ask()
	s.reply(vectors.Elements(t, "0433", 6)[0])
	s.reply(vectors.Elements(t, "0433", 6)[0])
	assert.Equal(t, "https://xmlns.zombofant.net/muclumbus/search/1.0", s.answer(confab.El("https://xmlns.zombofant.net/muclumbus/search/1.0", "result")).Children[0].Name.Space)
	assert.NoError(t, (<-done).err)
}

// TestGoldenAvatar is XEP-0486.
func TestGoldenAvatar(t *testing.T) {
	const romeo, garden = "romeo@montague.example.net/garden", "garden@chat.shakespeare.example.org"
	s := play(t, romeo, garden)
	done := s.begin("romeo")
	s.tr.Next()
	s.send(presence(garden+"/romeo", "", x(item("moderator", "owner"), "110")), groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", garden))
	r := (<-done).room

	set := vectors.Elements(t, "0486", 3)[0]
	photo := set.Children[0].Child("vcard-temp", "PHOTO")
	data, err := base64.StdEncoding.DecodeString(photo.ChildText("vcard-temp", "BINVAL"))
	require.NoError(t, err)
	errs := make(chan error, 1)
	put := func(data []byte) {
		go func() { errs <- r.SetAvatar(s.ctx, photo.ChildText("vcard-temp", "TYPE"), data) }()
	}
	put(data)
	q := s.reply(vectors.Elements(t, "0486", 4)[0])
	require.NoError(t, <-errs)
	compact := func(el *confab.Element) string {
		return strings.Join(strings.Fields(strings.ReplaceAll(el.String(), "&#10;", " ")), " ")
	}
	assert.Equal(t, strings.ReplaceAll(compact(set.Children[0]), "> <", "><"), compact(q.Children[0]))
	for n, want := range map[int]stanza.Condition{5: stanza.ServiceUnavailable, 6: stanza.Forbidden} {
		put(data)
		s.reply(vectors.Elements(t, "0486", n)[0])
		var se stanza.Error
		require.ErrorAs(t, <-errs, &se)
		assert.Equal(t, want, se.Condition)
	}
	put(nil)
	q = s.reply(vectors.Elements(t, "0486", 4)[0])
	require.NoError(t, <-errs)
	assert.Equal(t, compact(vectors.Elements(t, "0486", 8)[0].Children[0]), compact(q.Children[0]))

	// Everybody hears of it, and may ask; of several pictures the first is taken.
	s.send(vectors.Elements(t, "0486", 7)[0])
	assert.Equal(t, []int{104}, s.confs.Next(t, nil).Codes)
	var info *confab.Element
	for _, e := range vectors.Examples(t, "0486") {
		if e.Number == 14 {
			e.XML = strings.ReplaceAll(e.XML, "...", "")
			els, err := e.Elements()
			require.NoError(t, err)
			info = els[0]
		}
	}
	s.reply(info)
	require.Eventually(t, func() bool { return r.Info().Avatar == "a31c4bd04de69663cfd7f424a8453f4674da37ff" }, 10e9, 1e6)
	assert.Equal(t, "The Garden", r.Info().Name)
	go func() {
		typ, got, err := muc.Avatar(s.ctx, s, r.JID())
		assert.Equal(t, "image/svg+xml", typ)
		assert.Equal(t, data, got)
		errs <- err
	}()
	q = s.answer(vectors.Elements(t, "0486", 13)[0].Children[0])
	require.NoError(t, <-errs)
	assert.Equal(t, vectors.Elements(t, "0486", 11)[0].Children[0].Name, q.Children[0].Name)
	// The room's own presence, with the hash, is nobody's.
	s.send(vectors.Elements(t, "0486", 15)[0], groupchat("romeo", "end").Set("from", garden+"/romeo"))
	s.own.Next(t, nil)
	assert.Len(t, r.Occupants(), 1)
}
