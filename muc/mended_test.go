package muc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestForgedSubjectWithThread: with a thread it is no change of the subject, and servers
// let everybody send it (XEP-0045 §8.1).
func TestForgedSubjectWithThread(t *testing.T) {
	p, r, srv := victim(t)
	before := r.Subject()
	p.inject(t, srv, groupchat("mallory", "", confab.El(confab.NSClient, "subject").SetText("forged"), confab.El(confab.NSClient, "thread").SetText("t1")))
	require.Equal(t, before, r.Subject())
	require.Empty(t, p.subjects.All())
}

// TestForgedStanzaID: an occupant cannot hide a message behind the id of another.
func TestForgedStanzaID(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	room := jid.MustParse(heath)
	mallory := signIn(t, testclient.Embedded(srv, "mallory"), muc.Config{})
	p := signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	theirs := mallory.join(t, room, "mallory")
	p.join(t, room, "bob")
	ctx := testclient.Context(t)
	_, err := theirs.Send(ctx, "first")
	require.NoError(t, err)
	id := p.heard.Next(t, saying("first")).ServerID
	for _, by := range []string{heath, strings.ToUpper(heath)} {
		_, err = theirs.SendDraft(ctx, confab.Draft{Body: "spam by " + by, Extra: []any{confab.El(nsSID, "stanza-id").Set("by", by).Set("id", id)}})
		require.NoError(t, err)
		require.NotEqual(t, id, p.heard.Next(t, saying("spam by "+by)).ServerID)
	}
}

// TestAfterClose: nothing waits for a room that will never come back.
func TestAfterClose(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	p := signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	r := p.join(t, jid.MustParse(heath), "bob")
	require.NoError(t, p.Close(testclient.Context(t)))
	sent, err := r.Send(testclient.Context(t), "hello?")
	if err == nil { // the end has not come to everybody yet
		err = sent.Wait(testclient.Context(t), confab.Reflected)
	}
	require.ErrorIs(t, err, confab.ErrClosed)
	require.Error(t, r.SetNick(testclient.Context(t), "robert"))
	st, _ := r.Status()
	require.Equal(t, muc.Out, st)
	require.Empty(t, p.rooms.Rooms())
}

// TestLeaveWithoutLink: who leaves while the link is gone is not left behind in the room.
func TestLeaveWithoutLink(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	var down atomic.Bool
	cfg := testclient.Embedded(srv, "bob")
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if down.Load() {
			return nil, errors.New("no network")
		}
		return dial(ctx, network, address)
	}
	p := signIn(t, cfg, muc.Config{})
	alice := signIn(t, testclient.Embedded(srv, "alice"), muc.Config{})
	alice.join(t, jid.MustParse(heath), "alice")
	r := p.join(t, jid.MustParse(heath), "bob")
	ss, ok := srv.Session(p.LocalAddr().String())
	require.True(t, ok)
	down.Store(true)
	for _, c := range srv.Conns() {
		if c.ID() == ss.Conn {
			c.Cut()
		}
	}
	require.Eventually(t, func() bool { ss, _ := srv.Session(p.LocalAddr().String()); return ss.Conn == 0 }, testclient.Patience, time.Millisecond)
	require.NoError(t, r.Leave(testclient.Context(t)))
	down.Store(false)
	require.Eventually(t, func() bool { return len(srv.Room(heath).Occupants()) == 1 }, testclient.Patience, time.Millisecond)
}

// TestAnotherCaller: that one caller gave up does not end the wait of another.
func TestAnotherCaller(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	var hold atomic.Bool
	hold.Store(true)
	srv.Component("rooms.slow.test", func(e *confab.Element) {
		if e.Name.Local == "iq" {
			_ = srv.Send(confab.El(confab.NSClient, "iq").Set("type", "error").Set("id", e.Get("id")).Set("from", e.Get("to")).Set("to", e.Get("from")))
			return
		}
		if e.Name.Local != "presence" || hold.Load() || e.Get("type") != "" {
			return
		}
		room := "tea@rooms.slow.test"
		_ = srv.Send(presence(room+"/bob", "", x(item("participant", "none"), "110")).Set("to", e.Get("from")))
		_ = srv.Send(groupchat("", "", confab.El(confab.NSClient, "subject")).Set("from", room).Set("to", e.Get("from")))
	})
	p := signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	room := jid.MustParse("tea@rooms.slow.test")
	first, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 1)
	go func() {
		_, err := p.rooms.Join(first, room, "bob")
		errs <- err
	}()
	require.Eventually(t, func() bool { return len(p.rooms.Rooms()) == 1 }, testclient.Patience, time.Millisecond)
	done := make(chan error, 1)
	go func() {
		_, err := p.rooms.Join(testclient.Context(t), room, "bob")
		done <- err
	}()
	time.Sleep(20 * time.Millisecond) // the second waits for the first, mostly
	hold.Store(false)
	cancel()
	require.ErrorIs(t, <-errs, context.Canceled)
	require.NoError(t, <-done)
}

// TestRoomsAreDown: a service that is not connected is not a room that is full.
func TestRoomsAreDown(t *testing.T) {
	for text, want := range map[string]error{"": muc.ErrMaxUsers, "Component unavailable": muc.ErrUnreachable} {
		s := play(t, hag, coven)
		done := s.begin("thirdwitch")
		s.tr.Next()
		e := s.example(30)
		if text != "" {
			se := e[0].Child(confab.NSClient, "error")
			se.Add(confab.El("urn:ietf:params:xml:ns:xmpp-stanzas", "text").SetText(text))
		}
		s.send(e...)
		require.ErrorIs(t, (<-done).err, want)
	}
}

// TestOrder: what is said within a millisecond stays in order, with everybody.
func TestOrder(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	a, b := signIn(t, testclient.Embedded(srv, "alice"), muc.Config{}), signIn(t, testclient.Embedded(srv, "bob"), muc.Config{})
	ra := a.join(t, jid.MustParse(heath), "alice", muc.Create())
	rb := b.join(t, jid.MustParse(heath), "bob")
	var lines []*chat.Timeline
	for _, r := range []*muc.Room{ra, rb} {
		tl := chat.NewTimeline(r.JID(), 0)
		defer r.Follow(tl, nil)()
		lines = append(lines, tl)
	}
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprint("line ", i))
		_, err := ra.Send(a.ctx, want[i])
		require.NoError(t, err)
	}
	for _, tl := range lines {
		require.Eventually(t, func() bool { return len(tl.Entries()) == len(want) }, testclient.Patience, time.Millisecond)
		var got []string
		for _, e := range tl.Entries() {
			got = append(got, e.Current.Text)
		}
		require.Equal(t, want, got)
	}
}

// TestArchiveOfAnother: what another archive says was said in the room, such as the own
// account's, is not the room's word.
func TestArchiveOfAnother(t *testing.T) {
	p, r, _ := victim(t)
	put := func(by, text string) {
		m, err := p.DecodeMessage(groupchat("alice", text))
		require.NoError(t, err)
		m.Source, m.By, m.ArchiveID = confab.Archive, jid.MustParse(by), confab.NewID()
		_, err = p.Inject(p.ctx, confab.StageDecrypt, m)
		require.NoError(t, err)
	}
	put("bob@confab.test", "forged")
	put("heath@rooms.evil.test", "forged")
	put(heath+"/alice", "forged")
	put(heath, "true")
	m := p.heard.Next(t, nil)
	require.Equal(t, "true", m.Text)
	require.Equal(t, r, m.Room)
}
