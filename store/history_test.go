package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

var romeo, juliet = jid.MustParse("romeo@example.net"), jid.MustParse("juliet@example.com")

// said makes an event as the chat package does, for Romeo's side of the chat with Juliet.
// The stanza says all, as one that came over the network does.
func said(from jid.JID, id string, at int, body string, more ...*confab.Element) *chat.Message {
	el := confab.El(confab.NSClient, "message", more...).Set("id", id).Set("type", "chat").Set("from", from.String())
	if body != "" {
		el.Add(confab.El(confab.NSClient, "body").SetText(body))
	}
	msg, err := confab.ParseMessage(el, romeo)
	if err != nil {
		panic(err)
	}
	msg.Source, msg.By, msg.Stamp = confab.Archive, romeo, time.Unix(int64(1e9+at), 0).UTC()
	msg.ArchiveID = "a" + id
	m := &chat.Message{Message: msg, Content: chat.Parse(msg), Chat: juliet, Author: from.String(), Self: from.Equal(romeo), ServerID: "a" + id}
	return m
}

func own(m *chat.Message) any {
	if m.Self {
		return chat.OwnMessage{Message: m}
	}
	return m
}

func edited(from jid.JID, id string, at int, body, replaces string) any {
	return chat.Edited{Message: said(from, id, at, body, confab.El("urn:xmpp:message-correct:0", "replace").Set("id", replaces))}
}

func retracted(from jid.JID, id string, at int, what string) any {
	return chat.Retracted{Message: said(from, id, at, "", confab.El("urn:xmpp:message-retract:1", "retract").Set("id", what)), ID: what}
}

func reacted(from jid.JID, id string, at int, what string, emoji ...string) any {
	el := confab.El("urn:xmpp:reactions:0", "reactions").Set("id", what)
	for _, e := range emoji {
		el.Add(confab.El("urn:xmpp:reactions:0", "reaction").SetText(e))
	}
	return chat.Reacted{Message: said(from, id, at, "", el)}
}

// lines shows entries.
func lines(es []chat.Entry) (all []string) {
	for _, e := range es {
		text := e.Current.Text
		if e.Retracted {
			text = "-"
		}
		all = append(all, fmt.Sprintf("%s %s: %s %d %v %v%v", e.Message.ID, e.Message.Author, text, e.Edits, e.Reactions, e.Received, e.Displayed))
	}
	return all
}

// kindOf returns 0 for messages.
func kindOf(event any) int {
	switch event.(type) {
	case *chat.Message, chat.OwnMessage:
		return 0
	}
	return 1
}

func messageIn(event any) *chat.Message {
	switch e := event.(type) {
	case *chat.Message:
		return e
	case chat.OwnMessage:
		return e.Message
	case chat.Edited:
		return e.Message
	case chat.Retracted:
		return e.Message
	case chat.Reacted:
		return e.Message
	}
	return nil
}

// TestAsTimeline: what a History shows is what a Timeline shows that has heard all of it,
// whatever the order, the batches and the repetitions in which it came, and after each
// restart.
func TestAsTimeline(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var events []any
		who := func() jid.JID { return []jid.JID{romeo, juliet}[rnd.IntN(2)] }
		some := func() string { return fmt.Sprint("m", rnd.IntN(40)) }
		for i := range 120 {
			at, id := 10+i*10, fmt.Sprint("m", i)
			switch n := rnd.IntN(10); {
			case n < 4 || i < 5:
				if seed%2 == 1 && rnd.IntN(3) == 0 {
					id = some() // that another one may have
				}
				events = append(events, own(said(who(), id, at, fmt.Sprint("text of ", id, " no", i))))
			case n < 6:
				events = append(events, edited(who(), id, at, fmt.Sprint("correction by ", id, " no", i), some()))
			case n == 6:
				events = append(events, retracted(who(), id, at, some()))
			case n == 7:
				events = append(events, reacted(who(), id, at, some(), []string{"a", "b"}[:rnd.IntN(3)]...))
			case n == 8 || seed%2 == 1: // what was displayed once cannot be undone by an earlier message
				events = append(events, chat.Receipt{Chat: juliet, From: juliet, ID: some()})
			default:
				self := rnd.IntN(2) == 0
				e := chat.Displayed{Chat: juliet, From: juliet, Self: self, ID: some()}
				if self {
					e.From = romeo
				}
				events = append(events, e)
			}
			if m := messageIn(events[len(events)-1]); m != nil {
				m.ArchiveID = fmt.Sprint("a", i) // which is unique in any case
				m.ServerID = m.ArchiveID
			}
		}
		want := chat.NewTimeline(juliet, 0)
		readTo := chat.Place{} // who answers has read, which a Timeline leaves to the user
		// Where messages share an id it is not the order of arrival that counts: what is said
		// about the id is about the first of all that have it.
		for _, e := range events {
			if kindOf(e) == 0 {
				want.Apply(e)
			}
		}
		for _, e := range events {
			if kindOf(e) != 0 {
				want.Apply(e)
			}
			if o, ok := e.(chat.OwnMessage); ok && o.Place().Compare(readTo) > 0 {
				readTo = o.Place()
			}
		}
		want.SetShown(chat.Place{}, readTo)

		path := filepath.Join(t.TempDir(), "x.db")
		db := open(t, path)
		rnd.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		for len(events) > 0 {
			n := min(1+rnd.IntN(20), len(events))
			require.NoError(t, db.History(romeo).Add(ctx, events[:n]...))
			if rnd.IntN(3) == 0 { // once more
				require.NoError(t, db.History(romeo).Add(ctx, events[:n]...))
			}
			events = events[n:]
			if rnd.IntN(4) == 0 {
				require.NoError(t, db.Close())
				db = open(t, path)
			}
		}
		h := db.History(romeo)
		es, err := h.Entries(ctx, juliet, store.Page{Limit: 1000})
		require.NoError(t, err)
		require.Equal(t, lines(want.Entries()), lines(es), "seed %d", seed)

		// Page by page it is the same, in both directions.
		var forth, back []string
		for p := (store.Page{After: chat.Place{Milli: 1}, Limit: 7}); ; {
			es, err := h.Entries(ctx, juliet, p)
			require.NoError(t, err)
			if len(es) == 0 {
				break
			}
			forth = append(forth, lines(es)...)
			p.After = es[len(es)-1].Message.Place()
		}
		for p := (store.Page{Limit: 7}); ; {
			es, err := h.Entries(ctx, juliet, p)
			require.NoError(t, err)
			if len(es) == 0 {
				break
			}
			back = append(lines(es), back...)
			p.Before = es[0].Message.Place()
		}
		require.Equal(t, lines(want.Entries()), forth)
		require.Equal(t, lines(want.Entries()), back)

		unread := 0
		for _, e := range want.Entries() {
			if !e.Message.Self && !e.Displayed && !e.Retracted {
				unread++
			}
		}
		list, err := h.Conversations(ctx, 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, unread, list[0].Unread, "seed %d", seed)
		require.Equal(t, lines(want.Entries())[len(want.Entries())-1:], lines([]chat.Entry{list[0].Last}))
		for _, e := range want.Entries() {
			words := strings.ReplaceAll(e.Current.Text, "-", " ")
			found, err := h.Search(ctx, store.Search{Text: words, Limit: 1000})
			require.NoError(t, err)
			has := false
			for _, f := range found {
				require.False(t, f.Retracted)
				has = has || f.Message.ServerID == e.Message.ServerID
			}
			require.Equal(t, !e.Retracted, has, "seed %d: %s", seed, e.Message.ID)
		}
	}
}

// TestPosition: what another device has read counts as read, whichever comes first.
func TestPosition(t *testing.T) {
	ctx := t.Context()
	events := []any{said(juliet, "1", 10, "one"), said(juliet, "2", 20, "two"), said(juliet, "3", 30, "three"), chat.Position{Chat: juliet, By: romeo, ID: "a2"}}
	for first := range events {
		h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
		timeline := chat.NewTimeline(juliet, 0)
		for i := range events {
			e := events[(first+i)%len(events)]
			require.NoError(t, h.Add(ctx, e))
			timeline.Apply(e)
		}
		list, err := h.Conversations(ctx, 0)
		require.NoError(t, err)
		require.Equal(t, 1, list[0].Unread)
		es, err := h.Entries(ctx, juliet, store.Page{})
		require.NoError(t, err)
		for _, es := range [][]chat.Entry{es, timeline.Entries()} {
			require.Equal(t, []bool{true, true, false}, []bool{es[0].Displayed, es[1].Displayed, es[2].Displayed})
		}
	}
	// One that is set to nothing, or to what is not there, changes nothing.
	h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
	require.NoError(t, h.Add(ctx, events[0], chat.Position{Chat: juliet, By: romeo}, chat.Position{Chat: juliet, By: romeo, ID: "gone"}))
	list, err := h.Conversations(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, 1, list[0].Unread)
}

func TestSearch(t *testing.T) {
	ctx := context.Background()
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	h := db.History(romeo)
	nurse := said(jid.MustParse("nurse@example.com"), "n1", 50, "the ladder is in the garden")
	nurse.Chat = jid.MustParse("nurse@example.com")
	require.NoError(t, h.Add(ctx, own(said(romeo, "1", 10, "Buy a LADDER")), said(juliet, "2", 20, "Où est l'échelle?"), said(juliet, "3", 30, "the garden wall is high"),
		edited(juliet, "4", 40, "the orchard wall is high", "3"), nurse))
	find := func(s store.Search) (ids []string) {
		t.Helper()
		es, err := h.Search(ctx, s)
		require.NoError(t, err)
		for _, e := range es {
			ids = append(ids, e.Message.ID)
		}
		return ids
	}
	require.Equal(t, []string{"n1", "1"}, find(store.Search{Text: "ladder"}), "the newest first")
	require.Equal(t, []string{"1"}, find(store.Search{Text: "ladder", Chat: juliet}))
	require.Equal(t, []string{"1"}, find(store.Search{Text: "lad", Before: nurse.Place()}), "a word that is begun")
	require.Equal(t, []string{"n1"}, find(store.Search{Text: "lad", Limit: 1}))
	require.Equal(t, []string{"2"}, find(store.Search{Text: "echelle"}), "without accents")
	require.Equal(t, []string{"n1"}, find(store.Search{Text: "garden"}), "not what was corrected away")
	require.Equal(t, []string{"3"}, find(store.Search{Text: "orchard"}), "but what it says now")
	require.Equal(t, []string{"3"}, find(store.Search{Text: "HIGH wall"}))
	require.Empty(t, find(store.Search{Text: "high ladder"}))
	for _, s := range []string{`"`, `" OR "`, "a AND NOT b", "text: x", "NEAR(a b)", "*", "^a", "ladder*", `'; DROP TABLE messages; --`, "a\x00b", strings.Repeat("x ", 2000)} {
		_, err := h.Search(ctx, store.Search{Text: s})
		if !strings.ContainsFunc(s, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }) {
			require.Error(t, err, s)
		} else {
			require.NoError(t, err, s)
		}
	}
	require.Empty(t, find(store.Search{Text: "NOT ladder"}), "words are words")
	require.NoError(t, h.Add(ctx, retracted(romeo, "5", 60, "1")))
	require.Equal(t, []string{"n1"}, find(store.Search{Text: "ladder"}))
	// Another account of the file sees nothing of it.
	es, err := db.History(juliet).Search(ctx, store.Search{Text: "ladder"})
	require.NoError(t, err)
	require.Empty(t, es)
	require.NoError(t, h.Delete(ctx, nurse.Chat))
	require.Empty(t, find(store.Search{Text: "ladder"}))
	require.Equal(t, []string{"3"}, find(store.Search{Text: "orchard"}))
	list, err := h.Conversations(ctx, 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestUnread(t *testing.T) {
	ctx := context.Background()
	h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
	unread := func() int {
		t.Helper()
		list, err := h.Conversations(ctx, 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0].Unread
	}
	first, second := said(juliet, "1", 1, "one"), said(juliet, "2", 2, "two")
	require.NoError(t, h.Add(ctx, first, second, said(juliet, "3", 3, "three")))
	require.Equal(t, 3, unread())
	require.NoError(t, h.MarkRead(ctx, juliet, first.Place()))
	require.Equal(t, 2, unread())
	require.NoError(t, h.MarkRead(ctx, juliet, chat.Place{}), "nothing is unread again")
	require.NoError(t, h.Add(ctx, retracted(juliet, "4", 4, "3")))
	require.Equal(t, 1, unread())
	require.NoError(t, h.Add(ctx, chat.Displayed{Chat: juliet, From: romeo, Self: true, ID: "5"}), "of what is to come")
	require.Equal(t, 1, unread())
	require.NoError(t, h.Add(ctx, said(juliet, "5", 5, "five"), said(juliet, "6", 6, "six")))
	require.Equal(t, 1, unread())
	require.NoError(t, h.Add(ctx, chat.Displayed{Chat: juliet, From: juliet, ID: "6"}), "she says that she has seen her own")
	require.Equal(t, 1, unread())
	require.NoError(t, h.Add(ctx, own(said(romeo, "7", 7, "an answer"))))
	require.Equal(t, 0, unread())
	require.NoError(t, h.MarkRead(ctx, jid.MustParse("nobody@example.com"), first.Place()))
}

// TestOnceStored: a message that came live and comes out of the archive again is one, and
// two that are alike are two.
func TestOnceStored(t *testing.T) {
	ctx := context.Background()
	h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
	live := func(m *chat.Message, server string) *chat.Message {
		m.Source, m.Stamp, m.Received, m.ArchiveID, m.ServerID = confab.Live, time.Time{}, m.Stamp.Add(3*time.Second), "", server
		return m
	}
	count := func() int {
		t.Helper()
		es, err := h.Entries(ctx, juliet, store.Page{})
		require.NoError(t, err)
		return len(es)
	}
	require.NoError(t, h.Add(ctx, live(said(juliet, "1", 1, "hi"), ""), said(juliet, "1", 1, "hi"), said(juliet, "1", 1, "hi")))
	require.Equal(t, 1, count(), "without the id of the archive, then with it")
	require.NoError(t, h.Add(ctx, live(said(juliet, "1", 1, "hi"), "")))
	require.Equal(t, 1, count())
	require.NoError(t, h.Add(ctx, live(said(juliet, "2", 2, "hi"), "a2"), said(juliet, "2", 2, "hi")))
	require.Equal(t, 2, count())
	other := said(juliet, "2", 3, "hi")
	other.ServerID, other.ArchiveID = "another", "another"
	require.NoError(t, h.Add(ctx, other))
	require.Equal(t, 3, count(), "she uses an id twice")
	require.NoError(t, h.Add(ctx, live(said(juliet, "2", 4, "different"), "")))
	require.Equal(t, 4, count())
	require.NoError(t, h.Add(ctx, live(said(romeo, "2", 4, "hi"), "")))
	require.Equal(t, 5, count(), "of somebody else")
}

// TestUpdate: one transaction has a message, a step of its ratchet and the place in the
// archive, or nothing of it.
func TestUpdate(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "x.db")
	db := open(t, path)
	no := errors.New("no")
	step := func(id string, err error) error {
		return db.Update(ctx, func(tx *store.Tx) error {
			require.NoError(t, tx.Add(romeo, said(juliet, id, 1, "secret "+id)))
			require.NoError(t, tx.Keys().Put("sessions", "juliet", []byte(id)))
			require.NoError(t, tx.Put("cursor", []byte(id)))
			got, e := tx.Get("cursor")
			require.NoError(t, e)
			require.Equal(t, id, string(got))
			return err
		})
	}
	state := func() string {
		es, err := db.History(romeo).Entries(ctx, juliet, store.Page{})
		require.NoError(t, err)
		var key []byte
		require.NoError(t, db.Keys().View(ctx, func(tx omemo.Tx) error { key, err = tx.Get("sessions", "juliet"); return err }))
		cursor, _ := db.Get(ctx, "cursor")
		return fmt.Sprint(lines(es), string(key), string(cursor))
	}
	require.NoError(t, step("1", nil))
	want := state()
	require.ErrorIs(t, step("2", no), no)
	require.Equal(t, want, state())
	require.NoError(t, db.Close())
	db = open(t, path)
	require.Equal(t, want, state())
	require.NoError(t, step("3", nil))
	require.NotEqual(t, want, state())
}

func TestExport(t *testing.T) {
	ctx := context.Background()
	h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
	var events []any
	for i := range 1200 {
		events = append(events, own(said(romeo, fmt.Sprint(i), i, fmt.Sprint("number ", i, " <&>"))))
	}
	sealed := said(juliet, "s", 5000, "secret")
	sealed.Seal = &confab.Seal{Scheme: "urn:xmpp:omemo:2", Sender: "abc", Trusted: true}
	require.NoError(t, h.Add(ctx, append(events, edited(romeo, "e", 1300, "corrected", "7"), retracted(romeo, "r", 1301, "8"), sealed)...))
	var out bytes.Buffer
	var done, total int
	require.NoError(t, h.Export(ctx, &out, func(d, n int) { done, total = d, n }))
	require.Equal(t, []int{1201, 1201}, []int{done, total})
	n := 0
	for line := range strings.Lines(out.String()) {
		var x store.Exported
		require.NoError(t, json.Unmarshal([]byte(line), &x))
		switch n {
		case 7:
			require.Equal(t, "corrected", x.Text)
			require.Equal(t, 1, x.Edits)
		case 8:
			require.True(t, x.Retracted)
			require.Empty(t, x.Text+x.XML)
		case 1200:
			require.Equal(t, "urn:xmpp:omemo:2", x.Encrypted)
			require.Contains(t, x.XML, "<body>secret</body>")
		default:
			require.Equal(t, fmt.Sprint("number ", n, " <&>"), x.Text)
		}
		n++
	}
	require.Equal(t, 1201, n)
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	require.Error(t, h.Export(ctx, &out, nil))
}

func jidOf(i int) jid.JID { return jid.MustParse(fmt.Sprintf("contact%d@example.com", i)) }
