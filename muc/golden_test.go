package muc_test

import (
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// script is a client that talks to a Transcript.
type script struct {
	*person
	t    *testing.T
	tr   *confabtest.Transcript
	room jid.JID
}

func play(t *testing.T, address, room string) *script {
	s := &script{person: &person{ctx: testclient.Context(t)}, t: t, tr: confabtest.NewTranscript(t), room: jid.MustParse(room)}
	s.Client = testclient.Start(t, client.Config{Address: address, Password: "x", Dial: s.tr.Dial, NoPresence: true},
		func(c *client.Client) { s.watch(c, muc.Config{}) })
	s.tr.SignIn(address)
	s.WaitReady(t)
	return s
}

// example returns the stanzas of an example of XEP-0045 that are for the client.
func (s *script) example(n int) []*confab.Element {
	s.t.Helper()
	var mine []*confab.Element
	for _, el := range vectors.Elements(s.t, "0045", n) {
		if to := el.Get("to"); to == s.LocalAddr().String() || to == s.LocalAddr().Bare().String() || to == "" {
			mine = append(mine, el)
		}
	}
	require.NotEmpty(s.t, mine, n)
	return mine
}

func (s *script) send(els ...*confab.Element) {
	s.t.Helper()
	for _, el := range els {
		s.tr.Send(el.String())
	}
}

// answer answers the client's next request.
func (s *script) answer(payload ...*confab.Element) *confab.Element {
	s.t.Helper()
	q := s.tr.Next()
	require.Equal(s.t, "iq", q.Name.Local, q.String())
	s.send(confab.El(confab.NSClient, "iq", payload...).Set("type", "result").Set("id", q.Get("id")).Set("from", q.Get("to")).Set("to", s.LocalAddr().String()))
	return q
}

type joined struct {
	room *muc.Room
	err  error
}

// join has the client enter, up to where the room answers.
func (s *script) begin(nick string, opts ...muc.JoinOption) chan joined {
	s.t.Helper()
	done := make(chan joined, 1)
	go func() {
		r, err := s.rooms.Join(s.ctx, s.room, nick, opts...)
		done <- joined{r, err}
	}()
	s.answer(vectors.Elements(s.t, "0045", 9)[0].Children...)
	return done
}

func (s *script) enter(nick string) *muc.Room {
	s.t.Helper()
	done := s.begin(nick)
	s.tr.Next()
	s.send(s.example(24)...)
	s.send(vectors.Elements(s.t, "0045", 40)[0].Set("to", s.LocalAddr().String()))
	j := <-done
	require.NoError(s.t, j.err)
	s.states.Next(s.t, nil)
	return j.room
}

const hag, coven = "hag66@shakespeare.lit/pda", "coven@chat.shakespeare.lit"

// TestGoldenJoin is §7.2 of XEP-0045.
func TestGoldenJoin(t *testing.T) {
	s := play(t, hag, coven)
	done := s.begin("thirdwitch", muc.Password("cauldronburn"), muc.HistoryMax(20))
	p := s.tr.Next()
	want := vectors.Elements(t, "0045", 26)[0]
	assert.Equal(t, want.Get("to"), p.Get("to"))
	x := p.Child(muc.NS, "x")
	assert.Equal(t, "cauldronburn", x.ChildText(muc.NS, "password"))
	assert.Equal(t, "20", x.Child(muc.NS, "history").Get("maxstanzas"))
	assert.NotNil(t, p.Child("http://jabber.org/protocol/caps", "c"), "the room's occupants learn what we can do")
	s.send(s.example(20)...)
	s.send(s.example(24)...)
	s.send(vectors.Elements(t, "0045", 34)[0].Set("to", hag))
	s.send(vectors.Elements(t, "0045", 40)[0].Set("to", hag))
	j := <-done
	require.NoError(t, j.err)
	r := j.room
	assert.Equal(t, "thirdwitch", r.Nick())
	var who []string
	for _, o := range r.Occupants() {
		who = append(who, o.Nick+" "+string(o.Affiliation)+" "+string(o.Role))
	}
	assert.Equal(t, []string{"firstwitch owner moderator", "secondwitch admin moderator", "thirdwitch member participant"}, who)
	assert.Equal(t, "Fire Burn and Cauldron Bubble!", r.Subject().Text)
	assert.Equal(t, "secondwitch", r.Subject().Nick)
	h := s.heard.Next(t, nil)
	assert.Equal(t, confab.RoomHistory, h.Source)
	assert.Equal(t, time.Date(2002, 10, 13, 23, 58, 37, 0, time.UTC), h.Stamp)
	d := r.Info()
	assert.Equal(t, "A Dark Cave", d.Name)
	assert.True(t, d.Password && d.NonAnonymous && !d.MembersOnly && !d.Persistent && d.Occupants == -1)
	assert.Empty(t, s.changes.All())
}

// TestGoldenRefusals are the reasons of §7.2 for which a room cannot be entered.
func TestGoldenRefusals(t *testing.T) {
	for n, want := range map[int]error{25: muc.ErrPassword, 27: muc.ErrMembersOnly, 29: muc.ErrNickTaken, 30: muc.ErrMaxUsers, 31: muc.ErrRoomLocked} {
		s := play(t, hag, coven)
		done := s.begin("thirdwitch")
		s.tr.Next()
		s.send(s.example(n)...)
		j := <-done
		require.ErrorIs(t, j.err, want)
		assert.Empty(t, s.states.All())
		assert.Empty(t, s.rooms.Rooms())
	}
	// With other nicknames to try.
	s := play(t, hag, coven)
	done := s.begin("thirdwitch", muc.NickFallback())
	s.tr.Next()
	s.send(s.example(29)...)
	assert.Equal(t, coven+"/thirdwitch_", s.tr.Next().Get("to"))
	s.send(s.example(24)[0].Set("from", coven+"/thirdwitch_"), groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", coven))
	j := <-done
	require.NoError(t, j.err)
	assert.Equal(t, "thirdwitch_", j.room.Nick())
}

// TestGoldenNick is §7.6.
func TestGoldenNick(t *testing.T) {
	s := play(t, hag, coven)
	r := s.enter("thirdwitch")
	done := make(chan error, 1)
	change := func(nick string) { go func() { done <- r.SetNick(s.ctx, nick) }() }
	change("oldhag")
	assert.Equal(t, s.exampleTo(49), s.tr.Next().Get("to"))
	s.send(s.example(52)[0].Set("from", coven+"/oldhag"))
	require.ErrorIs(t, <-done, muc.ErrNickTaken)
	change("oldhag")
	s.tr.Next()
	s.send(s.example(50)...)
	require.NoError(t, <-done)
	c := s.changes.Next(t, nil)
	assert.True(t, c.Self && c.Kind == muc.Renamed && c.Before.Nick == "thirdwitch" && c.Occupant.Nick == "oldhag")
	assert.Equal(t, "oldhag", r.Nick())
	s.answer() // a room with one occupant is asked whether it is still there
	change("OldHag2")
	s.tr.Next()
	s.send(s.example(51)[0].Set("from", coven+"/newhag"))
	require.NoError(t, <-done)
	assert.Equal(t, "newhag", r.Nick())
	s.answer()
	assert.Len(t, r.Occupants(), 1)
}

func (s *script) exampleTo(n int) string { return vectors.Elements(s.t, "0045", n)[0].Get("to") }

// TestGoldenMessages: what is written is what the XEPs show.
func TestGoldenMessages(t *testing.T) {
	s := play(t, hag, coven)
	r := s.enter("thirdwitch")
	_, err := r.Send(s.ctx, "Harpier cries: 'tis time, 'tis time.")
	require.NoError(t, err)
	s.tr.Expect(`<message to='coven@chat.shakespeare.lit' type='groupchat' id='${id}'><body>Harpier cries: 'tis time, 'tis time.</body>
		<origin-id xmlns='urn:xmpp:sid:0' id='${id}'/></message>`) // example 44
	_, err = r.SendPrivate(s.ctx, "firstwitch", "I'll give thee a wind.")
	require.NoError(t, err)
	s.tr.Expect(`<message to='coven@chat.shakespeare.lit/firstwitch' type='chat' id='${pm}'><body>I'll give thee a wind.</body>
		<x xmlns='http://jabber.org/protocol/muc#user'/><origin-id xmlns='urn:xmpp:sid:0' id='${pm}'/></message>`) // example 46
	_, err = r.SetSubject(s.ctx, "Fire Burn and Cauldron Bubble!")
	require.NoError(t, err)
	s.tr.Expect(`<message to='coven@chat.shakespeare.lit' type='groupchat' id='*'><subject>Fire Burn and Cauldron Bubble!</subject></message>`) // example 84
	require.NoError(t, r.Invite(s.ctx, jid.MustParse("hecate@shakespeare.lit"), "Hey Hecate"))
	s.tr.Expect(`<message to='coven@chat.shakespeare.lit' type='normal' id='*'><x xmlns='http://jabber.org/protocol/muc#user'>
		<invite to='hecate@shakespeare.lit'><reason>Hey Hecate</reason></invite></x></message>`) // example 56
	require.NoError(t, s.rooms.Decline(s.ctx, muc.Invitation{Room: s.room, From: jid.MustParse("crone1@shakespeare.lit")}, "Sorry"))
	s.tr.Expect(`<message to='coven@chat.shakespeare.lit' type='normal' id='*'><x xmlns='http://jabber.org/protocol/muc#user'>
		<decline to='crone1@shakespeare.lit'><reason>Sorry</reason></decline></x></message>`) // example 58
	s.send(vectors.Elements(t, "0045", 57)[0].Set("to", hag))
	inv := s.invites.Next(t, nil)
	assert.Equal(t, "Hey Hecate, this is the place for all good witches!", inv.Reason)
	assert.Equal(t, "cauldronburn", inv.Password)
	assert.Equal(t, "crone1@shakespeare.lit/desktop", inv.From.String())
	s.send(vectors.Elements(t, "0045", 64)[1].Set("from", "other@chat.shakespeare.lit"))
	inv = s.invites.Next(t, nil)
	assert.True(t, inv.Continue)
	assert.Equal(t, "e0ffe42b28561960c6b12b944a092794b9683a38", inv.Thread)
	s.send(vectors.Elements(t, "0045", 59)[0].Set("to", hag))
	assert.Equal(t, "Sorry, I'm too busy right now.", s.declined.Next(t, nil).Reason)
	s.send(vectors.Elements(t, "0249", 1)[0].Set("to", hag))
	inv = s.invites.Next(t, nil)
	assert.True(t, inv.Direct)
	assert.Equal(t, "darkcave@macbeth.shakespeare.lit", inv.Room.String())
	s.send(vectors.Elements(t, "0045", 108)[0].Set("to", hag))
	v := s.voice.Next(t, nil)
	assert.Equal(t, "thirdwitch", v.Nick)
	require.NoError(t, r.AnswerVoice(s.ctx, v, true))
	el := s.tr.Next()
	assert.Equal(t, coven, el.Get("to"))
	s.send(vectors.Elements(t, "0045", 171)[0].Set("to", hag))
	assert.Equal(t, []int{170}, s.confs.Next(t, nil).Codes)
	s.answer(vectors.Elements(t, "0045", 9)[0].Children...) // what has changed?
}

// TestGoldenAdmin are requests of §§8 to 10, and of XEP-0425.
func TestGoldenAdmin(t *testing.T) {
	s := play(t, hag, coven)
	r := s.enter("thirdwitch")
	ask := func(f func() error) *confab.Element {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- f() }()
		q := s.answer()
		require.NoError(t, <-done)
		return q.Children[0]
	}
	same := func(n int, got *confab.Element) {
		t.Helper()
		assert.Equal(t, vectors.Elements(t, "0045", n)[0].Children[0].Child(got.Name.Space, "").Attr, got.Children[0].Attr, n)
	}
	same(89, ask(func() error { return r.Kick(s.ctx, "pistol", "Avaunt, you cullion!") }))
	same(94, ask(func() error { return r.SetRole(s.ctx, "thirdwitch", muc.Participant, "") }))
	got := ask(func() error { return r.Ban(s.ctx, jid.MustParse("earlofcambridge@shakespeare.lit/x"), "Treason") })
	assert.Equal(t, "earlofcambridge@shakespeare.lit outcast Treason", got.Children[0].Get("jid")+" "+got.Children[0].Get("affiliation")+" "+got.Children[0].ChildText(got.Name.Space, "reason"))
	got = ask(func() error { return r.Configure(s.ctx) })
	assert.Equal(t, "submit", got.Children[0].Get("type"), "example 155")
	mod := vectors.Elements(t, "0425", 4)[0].Children[0]
	got = ask(func() error { return r.Moderate(s.ctx, mod.Get("id"), mod.ChildText(nsModerate, "reason")) })
	assert.Equal(t, mod.Attr, got.Attr)
	assert.NotNil(t, got.Child(nsRetract, "retract"))

	// The form of example 157: what is not known is sent back as it was.
	done := make(chan error, 1)
	go func() {
		done <- r.Configure(s.ctx, func(st *muc.Settings) {
			st.Name, st.Description, st.AnyoneSetsSubject, st.MaxUsers, st.Public = "A Dark Cave", "The place for all good witches!", true, 10, false
			st.Password = "cauldronburn"
			st.NonAnonymous = true
			assert.Equal(t, 50, st.HistoryLength)
		})
	}()
	s.answer(vectors.Elements(t, "0045", 157)[0].Children...)
	sent := s.answer().Children[0].Children[0]
	require.NoError(t, <-done)
	values := map[string][]string{}
	for f := range sent.All("jabber:x:data", "field") {
		for v := range f.All("jabber:x:data", "value") {
			values[f.Get("var")] = append(values[f.Get("var")], v.Text)
		}
	}
	for name, want := range map[string][]string{
		"FORM_TYPE": {"http://jabber.org/protocol/muc#roomconfig"}, "muc#roomconfig_roomname": {"A Dark Cave"},
		"muc#roomconfig_changesubject": {"1"}, "muc#roomconfig_maxusers": {"10"}, "muc#roomconfig_publicroom": {"0"},
		"muc#roomconfig_passwordprotectedroom": {"1"}, "muc#roomconfig_roomsecret": {"cauldronburn"}, "muc#roomconfig_whois": {"anyone"},
		"muc#roomconfig_presencebroadcast": {"moderator", "participant", "visitor"}, "muc#maxhistoryfetch": {"50"},
	} {
		assert.Equal(t, want, values[name], name)
	}
	s.tr.Send(`<message type='groupchat' id='retraction-id-1' from='` + coven + `' to='` + hag + `'>
		<retract id='stanza-id-1' xmlns='urn:xmpp:message-retract:1'><moderated by='` + coven + `/macbeth' xmlns='urn:xmpp:message-moderate:1'>
		<occupant-id xmlns='urn:xmpp:occupant-id:0' id='dd72603deec90a38ba552f7c68cbcc61bca202cd'/></moderated><reason>Inappropriate</reason></retract></message>`) // XEP-0425, example 5
	rt := s.retracts.Next(t, nil)
	assert.Equal(t, "stanza-id-1", rt.ID)
	assert.Equal(t, coven+"/macbeth", rt.By)
	assert.Equal(t, "Inappropriate", rt.Reason)
	fwd := vectors.Elements(t, "0452", 3)[0].Set("to", hag)
	inner := fwd.Children[0].Children[0].Children[1] // the XEP forgets the namespace of the message in it
	inner.Name.Space = confab.NSClient
	inner.Children[0].Name.Space = confab.NSClient
	s.send(fwd)
	assert.Contains(t, s.named.Next(t, nil).Message.Text, "Thrice the brinded cat")
}

// TestGoldenEnds are the ways in which one is not in a room any more.
func TestGoldenEnds(t *testing.T) {
	for _, c := range []struct {
		n    int
		addr string
		nick string
		room string
		want error
	}{
		{113, "earlofcambridge@shakespeare.lit/stabber", "cambridge", "southampton@chat.shakespeare.lit", muc.ErrBanned},
		{202, hag, "thirdwitch", "heath@chat.shakespeare.lit", muc.ErrDestroyed},
	} {
		s := play(t, c.addr, c.room)
		done := s.begin(c.nick)
		s.tr.Next()
		s.send(presence(c.room+"/"+c.nick, "", x(item("participant", "none"), "110")), groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", c.room))
		require.NoError(t, (<-done).err)
		s.states.Next(t, status(muc.Joined))
		s.send(s.example(c.n)...)
		e := s.states.Next(t, nil)
		require.ErrorIs(t, e.Err, c.want)
		var me *muc.Error
		require.ErrorAs(t, e.Err, &me)
		switch c.n {
		case 113:
			assert.Equal(t, "Treason", me.Reason)
			assert.Equal(t, "The ♚", me.By)
		case 202:
			assert.Equal(t, "Macbeth doth come.", me.Reason)
			assert.Equal(t, coven, me.Alternate.String())
		}
	}
	for n, addr := range map[int]string{205: "pistol@shakespeare.lit/harfleur", 207: "pistol@shakespeare.lit/client"} {
		room := "harfleur@chat.shakespeare.lit"
		s := play(t, addr, room)
		done := s.begin("pistol")
		s.tr.Next()
		s.send(presence(room+"/pistol", "", x(item("participant", "none"), "110")), groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", room))
		require.NoError(t, (<-done).err)
		s.states.Next(t, status(muc.Joined))
		s.send(s.example(n)...)
		require.ErrorIs(t, s.states.Next(t, status(muc.Suspect)).Err, muc.ErrForgotten)
		s.answer() // what can the room do?
		p := s.tr.Next()
		assert.Equal(t, room+"/pistol", p.Get("to"))
		assert.NotEmpty(t, p.Child(muc.NS, "x").Child(muc.NS, "history").Get("seconds"), "only what was missed")
	}
}

// TestGoldenCompanions: hats, ids of occupants and slow mode, as their XEPs show them, and
// only where the room announces them.
func TestGoldenCompanions(t *testing.T) {
	for _, announced := range []bool{true, false} {
		s := play(t, hag, coven)
		done := make(chan joined, 1)
		go func() {
			r, err := s.rooms.Join(s.ctx, s.room, "firstwitch")
			done <- joined{r, err}
		}()
		info := vectors.Elements(t, "0500", 2)[0].Children[0]
		if announced {
			info.Add(vectors.Elements(t, "0421", 2)[0].Children[0].Children...)
			info.Add(vectors.Elements(t, "0317", 2)[0].Children[0].Child("http://jabber.org/protocol/disco#info", "feature"))
		}
		s.answer(info)
		s.tr.Next()
		s.send(presence(coven+"/firstwitch", "", x(item("participant", "member"), "110")).Set("to", hag),
			groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", coven).Set("to", hag))
		j := <-done
		require.NoError(t, j.err)
		assert.Equal(t, 20*time.Second, j.room.Info().SlowMode)

		const id = "dd72603deec90a38ba552f7c68cbcc61bca202cd"
		s.send(vectors.Elements(t, "0421", 4)[0].Set("to", hag), vectors.Elements(t, "0421", 6)[0].Set("to", hag))
		o := s.changes.Next(t, change(muc.Entered, "thirdwitch")).Occupant
		m := s.heard.Next(t, nil)
		assert.Equal(t, "Harpier cries: 'tis time, 'tis time.", m.Text)
		s.send(vectors.Elements(t, "0317", 3)[0].Set("from", coven+"/Harry").Set("to", hag))
		harry := s.changes.Next(t, change(muc.Entered, "Harry")).Occupant
		assert.Equal(t, muc.Owner, harry.Affiliation)
		if !announced {
			assert.Empty(t, o.OccupantID+m.OccupantID)
			assert.Empty(t, harry.Hats)
			continue
		}
		assert.Equal(t, []string{id, id}, []string{o.OccupantID, m.OccupantID})
		assert.Equal(t, []muc.Hat{{URI: "http://schemas.example.com/hats#host", Title: "Host"},
			{URI: "http://schemas.example.com/hats#presenter", Title: "Presenter"}}, harry.Hats)
	}
}
