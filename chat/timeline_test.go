package chat_test

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

var romeo, juliet = jid.MustParse("romeo@example.net"), jid.MustParse("juliet@example.com")

// said makes an event as the Client does, for Romeo's side of the chat with Juliet.
func said(from jid.JID, id string, at int, c chat.Content) *chat.Message {
	el := confab.El(confab.NSClient, "message").Set("id", id)
	m := &chat.Message{Message: &confab.Message{From: from, ID: id, Stanza: el, Stamp: time.Unix(int64(1e9+at), 0)}, Content: c}
	m.Chat, m.Author, m.Self = juliet, from.String(), from.Equal(romeo)
	return m
}

func retracted(from jid.JID, id string, at int) chat.Retracted {
	return chat.Retracted{Message: said(from, fmt.Sprint("r", at), at, chat.Content{Retracts: id}), ID: id}
}

// texts shows a Timeline as lines.
func texts(t *chat.Timeline) []string {
	var all []string
	for _, e := range t.Entries() {
		s := e.Current.Text
		if e.Retracted {
			s = "-"
		}
		all = append(all, fmt.Sprintf("%s: %s %v %v%v", e.Message.Author[:1], s, e.Reactions, e.Received, e.Displayed))
	}
	return all
}

// TestAnyOrder: the order of arrival does not matter.
func TestAnyOrder(t *testing.T) {
	events := []any{
		chat.OwnMessage{Message: said(romeo, "1", 1, chat.Content{Text: "one"})},
		said(juliet, "2", 2, chat.Content{Text: "two"}),
		chat.Edited{Message: said(romeo, "3", 3, chat.Content{Text: "One", Replaces: "1"})},
		chat.Edited{Message: said(romeo, "4", 4, chat.Content{Text: "ONE", Replaces: "1"})},
		chat.Reacted{Message: said(juliet, "5", 5, chat.Content{ReactsTo: "1", Reactions: []string{"a"}})},
		chat.Reacted{Message: said(juliet, "6", 6, chat.Content{ReactsTo: "3", Reactions: []string{"b", "c"}})}, // of an edit
		chat.Reacted{Message: said(romeo, "7", 7, chat.Content{ReactsTo: "2", Reactions: []string{"d"}})},
		chat.Reacted{Message: said(romeo, "8", 8, chat.Content{ReactsTo: "2"})},
		said(juliet, "9", 9, chat.Content{Text: "nine"}),
		retracted(juliet, "9", 10),
		// Not hers to change.
		chat.Edited{Message: said(juliet, "11", 11, chat.Content{Text: "forged", Replaces: "1"})},
		retracted(juliet, "1", 12),
		chat.Receipt{Chat: juliet, From: juliet, ID: "1"},
		chat.Displayed{Chat: juliet, From: juliet, ID: "1"},
		chat.OwnMessage{Message: said(romeo, "13", 13, chat.Content{Text: "unseen"})},
		chat.Displayed{Chat: juliet, From: romeo, Self: true, ID: "2"},
		said(juliet, "14", 14, chat.Content{Text: "unread"}),
		chat.Edited{Message: said(juliet, "15", 15, chat.Content{Text: "Unread", Replaces: "14"})},
	}
	want := []string{
		"r: ONE map[juliet@example.com:[b c]] truetrue", "j: two map[] falsetrue", "j: - map[] falsefalse",
		"r: unseen map[] falsefalse", "j: Unread map[] falsefalse",
	}
	for seed := range int64(500) {
		rnd := rand.New(rand.NewSource(seed))
		rnd.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		tl := chat.NewTimeline(juliet, 0)
		for _, e := range events {
			tl.Apply(e)
		}
		require.Equal(t, want, texts(tl), "seed %d", seed)
	}
	e, ok := chat.NewTimeline(juliet, 0).Entry("1")
	require.False(t, ok, e)
}

// TestModeratorRetracts: what a moderator takes back needs not be theirs.
func TestModeratorRetracts(t *testing.T) {
	tl := chat.NewTimeline(juliet, 0)
	m := said(juliet, "1", 1, chat.Content{Text: "spam"})
	m.ServerID = "s1"
	require.True(t, tl.Apply(m))
	r := retracted(romeo, "s1", 2)
	require.False(t, tl.Apply(r))
	r.By = "romeo"
	require.True(t, tl.Apply(r))
	e, ok := tl.Entry("s1")
	require.True(t, ok)
	require.True(t, e.Retracted)
	require.Equal(t, "romeo", e.By)
}

// TestBounds: nobody can make a Timeline grow without end.
func TestBounds(t *testing.T) {
	tl := chat.NewTimeline(juliet, 10)
	for i := range 1000 {
		tl.Apply(said(juliet, fmt.Sprint(i), i, chat.Content{Text: fmt.Sprint(i)}))
		tl.Apply(chat.Edited{Message: said(juliet, fmt.Sprint("x", i), i, chat.Content{Replaces: fmt.Sprint("none", i)})})
	}
	es := tl.Entries()
	require.Len(t, es, 10)
	require.Equal(t, "990", es[0].Message.Text)
	_, ok := tl.Entry("5")
	require.False(t, ok)
	require.False(t, tl.Apply(said(juliet, "old", 1, chat.Content{Text: "old"})), "older than all that is kept")
	require.False(t, tl.Apply(said(juliet, "990", 1, chat.Content{})), "and other events are not for it")
	require.False(t, tl.Apply("something"))
}

// TestEditFlood: edits without end leave nothing behind.
func TestEditFlood(t *testing.T) {
	tl := chat.NewTimeline(juliet, 10)
	tl.Apply(said(juliet, "m", 1, chat.Content{Text: "first"}))
	for i := range 5000 {
		tl.Apply(chat.Edited{Message: said(juliet, fmt.Sprint("e", i), 2+i, chat.Content{Text: fmt.Sprint(i), Replaces: "m"})})
	}
	e, ok := tl.Entry("m")
	require.True(t, ok)
	require.Equal(t, "4999", e.Current.Text)
	require.Equal(t, 5000, e.Edits)
	_, ok = tl.Entry("e10")
	require.False(t, ok, "an old edit is still known")
	_, ok = tl.Entry("e4999")
	require.True(t, ok)
}

// TestTakeOver: nobody can take the id of another's message over by giving it to an
// edit of their own.
func TestTakeOver(t *testing.T) {
	for _, first := range []bool{true, false} {
		tl := chat.NewTimeline(juliet, 0)
		mine := chat.OwnMessage{Message: said(romeo, "x", 5, chat.Content{Text: "mine"})}
		forged := chat.Edited{Message: said(juliet, "x", 6, chat.Content{Text: "hers", Replaces: "a"})}
		tl.Apply(said(juliet, "a", 1, chat.Content{Text: "old"}))
		if first {
			tl.Apply(forged)
		}
		tl.Apply(mine)
		tl.Apply(forged)
		tl.Apply(chat.Receipt{Chat: juliet, From: juliet, ID: "x"})
		e, ok := tl.Entry("x")
		require.True(t, ok)
		require.Equal(t, "mine", e.Message.Text)
		require.True(t, e.Received)
	}
}

// TestOddEvents: what is empty is passed over.
func TestOddEvents(t *testing.T) {
	tl := chat.NewTimeline(juliet, 0)
	for _, e := range []any{nil, (*chat.Message)(nil), &chat.Message{}, chat.OwnMessage{}, chat.Edited{}, chat.Retracted{}, chat.Reacted{},
		chat.Receipt{}, chat.Displayed{}, chat.Edited{Message: &chat.Message{Chat: juliet}}} {
		require.False(t, tl.Apply(e))
	}
	require.False(t, chat.NewTimeline(jid.JID{}, 0).Apply(chat.Receipt{}))
}

// TestLargeMessages: large messages push older ones out.
func TestLargeMessages(t *testing.T) {
	tl := chat.NewTimeline(juliet, 0)
	for i := range 100 {
		m := said(juliet, fmt.Sprint(i), i, chat.Content{Text: "large"})
		m.Stanza.Add(confab.El("x", "y").SetText(string(make([]byte, 1<<20))))
		tl.Apply(m)
		tl.Apply(chat.Edited{Message: said(juliet, fmt.Sprint("e", i), i, chat.Content{Text: "larger", Replaces: fmt.Sprint(i)})})
	}
	require.Len(t, tl.Entries(), 31)
}
