package chat_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/stretchr/testify/require"
)

const (
	nsCarbons = "urn:xmpp:carbons:2"
	nsForward = "urn:xmpp:forward:0"
	nsSID     = "urn:xmpp:sid:0"
)

// victim is a client on an embedded server that tests inject stanzas into.
func victim(t *testing.T, cfg chat.Config) (*person, *confabtest.Server) {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	return signIn(t, testclient.Embedded(srv, "romeo"), cfg), srv
}

func message(from, id, body string, kids ...*confab.Element) *confab.Element {
	el := confab.El(confab.NSClient, "message", kids...).Set("type", "chat").Set("from", from).Set("id", id)
	if body != "" {
		el.Add(confab.El(confab.NSClient, "body").SetText(body))
	}
	return el
}

func carbon(direction string, inner ...*confab.Element) *confab.Element {
	return confab.El(nsCarbons, direction, confab.El(nsForward, "forwarded", inner...))
}

// inject sends stanzas to the victim and waits until they were handled.
func (p *person) inject(t *testing.T, srv *confabtest.Server, els ...*confab.Element) {
	t.Helper()
	for _, el := range els {
		require.Equal(t, 1, srv.Inject(p.LocalAddr().String(), el))
	}
	end := confab.NewID()
	srv.Inject(p.LocalAddr().String(), message("fence@example.net", end, end))
	p.heard.Next(t, saying(end))
}

// TestForgedCarbons: copies are believed from the own account only (XEP-0280 §11).
func TestForgedCarbons(t *testing.T) {
	p, srv := victim(t, chat.Config{})
	own, other := p.bare().String(), "juliet@capulet.example/balcony"
	in := message(other, "x1", "Thou shall meet me tonite").Set("to", own)
	out := message(own+"/home", "x2", "I will").Set("to", other)
	for i, el := range []*confab.Element{
		message("tybalt@capulet.example/home", "1", "", carbon("received", in)),
		message("tybalt@capulet.example/home", "2", "", carbon("sent", out)),
		message(p.LocalAddr().Domain().String(), "3", "", carbon("received", in)),
		message(own+"/evil", "4", "", carbon("received", in)),
		message(own, "5", "", carbon("sent", in)),                                                // sent by somebody else
		message(own, "6", "", carbon("received", message(other, "x3", "hi").Set("to", "a@b.c"))), // received by somebody else
		message(own, "7", "", carbon("received")),
		message(own, "8", "", carbon("received", message("@", "x4", "bad address").Set("to", own))),
		message(own, "9", "", carbon("received", confab.El(confab.NSClient, "iq").Set("from", other))),
	} {
		p.inject(t, srv, el)
		require.Empty(t, p.heard.All(), i)
		require.Empty(t, p.own.All(), i)
		p.bad.Next(t, nil)
	}
	// The real thing, to see that the test can tell.
	p.inject(t, srv, message(own, "10", "", carbon("received", in)), message(own, "11", "", carbon("sent", out)))
	m := p.heard.Next(t, nil)
	require.Equal(t, confab.CarbonIn, m.Source)
	require.Equal(t, "x1", m.ID)
	require.Equal(t, confab.CarbonOut, p.own.Next(t, nil).Source)
	// A carbon in a carbon is not unwrapped twice.
	p.inject(t, srv, message(own, "12", "", carbon("received", message("mallory@capulet.example", "x9", "", carbon("received", in)).Set("to", own))))
	require.Empty(t, p.heard.All())
}

// TestCarbonExamples: the examples of XEP-0280, the attack among them.
func TestCarbonExamples(t *testing.T) {
	ex := func(n int) *confab.Element { return vectors.Elements(t, "0280", n)[0] }
	srv := confabtest.NewServer(confabtest.Config{Domain: "montague.example"})
	t.Cleanup(srv.Close)
	p := signIn(t, testclient.Embedded(srv, "romeo"), chat.Config{})
	p.inject(t, srv, ex(10), ex(11), ex(13))
	m := p.heard.Next(t, nil)
	require.Equal(t, "What man art thou that, thus bescreen'd in night, so stumblest on my counsel?", m.Text)
	require.Equal(t, "0e3141cd80894871a68e6fe6b1ec56fa", m.Thread)
	require.Equal(t, "juliet@capulet.example", m.Chat.String())
	o := p.own.Next(t, nil)
	require.Equal(t, "Neither, fair saint, if either thee dislike.", o.Text)
	require.Equal(t, "juliet@capulet.example", o.Chat.String())
	require.Len(t, p.bad.All(), 1)
	require.Empty(t, p.heard.All())
}

// TestCopies: one message is one event, whichever ways it comes.
func TestCopies(t *testing.T) {
	p, srv := victim(t, chat.Config{})
	own, other := p.bare().String(), "juliet@capulet.example/balcony"
	sid := func(by, id string) *confab.Element {
		return confab.El(nsSID, "stanza-id").Set("by", by).Set("id", id)
	}
	live := message(other, "a", "hello", sid(own, "s1"))
	p.inject(t, srv, live)
	require.Equal(t, "s1", p.heard.Next(t, nil).ServerID)
	archived := func(id, archive, body string) {
		m, err := p.DecodeMessage(message(other, id, body).Set("to", own))
		require.NoError(t, err)
		m.Source, m.By, m.ArchiveID = confab.Archive, p.bare(), archive
		_, err = p.Inject(p.ctx, confab.StageInterpret, m)
		require.NoError(t, err)
	}
	archived("a", "s1", "hello")
	p.inject(t, srv, message(own, "", "", carbon("received", live.Clone().Set("to", own+"/home"))))
	require.Empty(t, p.heard.All())
	// A bot that uses one id for all it says is still heard.
	archived("a", "s2", "hello again")
	archived("a", "s3", "hello")
	require.Equal(t, "hello again", p.heard.Next(t, nil).Text)
	require.Equal(t, "s3", p.heard.Next(t, nil).ServerID)
	// Without ids of an archive, author, id and content tell.
	p.inject(t, srv, message(other, "b", "bye"), message(other, "b", "bye"), message(other, "b", "no, wait"),
		message("mallory@capulet.example", "b", "bye"))
	require.Equal(t, "bye", p.heard.Next(t, nil).Text)
	require.Equal(t, "no, wait", p.heard.Next(t, nil).Text)
	require.Equal(t, "mallory@capulet.example", p.heard.Next(t, nil).Author)
	require.Empty(t, p.heard.All())
	// Messages without any id are never copies.
	p.inject(t, srv, message(other, "", "same"), message(other, "", "same"))
	p.heard.Next(t, saying("same"))
	p.heard.Next(t, saying("same"))
}

// TestForgedReceipts: only who got a message can say so.
func TestForgedReceipts(t *testing.T) {
	p, srv := victim(t, chat.Config{})
	srv.AddAccount("juliet", "x")
	juliet := "juliet@" + srv.Domain()
	sent, err := p.chats.With(mustParse(juliet)).Send(p.ctx, "hello")
	require.NoError(t, err)
	receipt := func(from string) *confab.Element {
		return message(from, "r"+from, "", confab.El("urn:xmpp:receipts", "received").Set("id", sent.ID),
			confab.El("urn:xmpp:chat-markers:0", "displayed").Set("id", sent.ID))
	}
	p.inject(t, srv, receipt("tybalt@capulet.example/x"))
	require.Less(t, sent.Level(), confab.Received)
	require.Nil(t, p.receipts.Next(t, nil).Sent, "it is told, but not as one about our message")
	p.inject(t, srv, receipt(juliet+"/balcony"))
	require.Equal(t, confab.Displayed, sent.Level())
	require.Same(t, sent, p.receipts.Next(t, nil).Sent)
}

// TestOddMessages: nothing that anybody sends ends the session or stops what follows.
func TestOddMessages(t *testing.T) {
	p, srv := victim(t, chat.Config{Reveal: everybody})
	own, other := p.bare().String(), "juliet@capulet.example/balcony"
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = '>'
	}
	var many []*confab.Element
	for i := range 5000 {
		many = append(many, confab.El("urn:xmpp:reactions:0", "reaction").SetText(fmt.Sprint(i)))
	}
	deep := confab.El("x", "y")
	for range 150 {
		deep = confab.El("x", "y", deep)
	}
	p.inject(t, srv,
		message(other, "1", string(long)),
		message(other, "2", "", confab.El("urn:xmpp:reactions:0", "reactions", many...).Set("id", "1")),
		message(other, "3", "deep", deep),
		message(other, string(long[:5000]), "long id"),
		message(other, "4", "", confab.El("urn:xmpp:message-correct:0", "replace")),
		message(other, "5", "x", confab.El("urn:xmpp:fallback:0", "fallback").Set("for", "urn:xmpp:reply:0")),
		message(other, "6", "x", confab.El("urn:xmpp:reply:0", "reply")),
		message(other, "7", "x", confab.El("urn:xmpp:mentions:0", "mention").Set("begin", "99999999999").Set("end", "-1")),
		message(other, "8", "", confab.El("urn:xmpp:receipts", "received")),
		message(own, "9", "", confab.El("http://jabber.org/protocol/pubsub#event", "event",
			confab.El("http://jabber.org/protocol/pubsub#event", "items", confab.El("http://jabber.org/protocol/pubsub#event", "item").Set("id", "@")).Set("node", "urn:xmpp:mds:displayed:0"))),
		message(other, "10", "", confab.El("http://jabber.org/protocol/pubsub#event", "event",
			confab.El("http://jabber.org/protocol/pubsub#event", "items", confab.El("http://jabber.org/protocol/pubsub#event", "item",
				confab.El("urn:xmpp:mds:displayed:0", "displayed", confab.El(nsSID, "stanza-id").Set("by", own).Set("id", "forged"))).Set("id", "juliet@capulet.example")).Set("node", "urn:xmpp:mds:displayed:0"))),
	)
	require.Len(t, p.reacts.Next(t, nil).Reactions, 64)
	require.Empty(t, p.places.All(), "only the own account knows how far the user has read")
	require.NotEmpty(t, p.heard.All())
}

// TestPoisonedReply: an answer does not grow with what is answered.
func TestPoisonedReply(t *testing.T) {
	p, srv := victim(t, chat.Config{})
	text := "a" + strings.Repeat("\n", 150_000) + "b"
	p.inject(t, srv, message("juliet@capulet.example/balcony", "1", text), message("juliet@capulet.example/balcony", "2", strings.Repeat("é", 100_000)))
	for range 2 {
		m := p.heard.Next(t, nil)
		d, err := chat.Compose("hm", chat.InReply(m.Ref(), m.From, m.Text), nil)
		require.NoError(t, err)
		require.Less(t, len(d.Body), 4096)
		_, err = p.chats.With(p.bare()).Reply(p.ctx, m, "hm")
		require.NoError(t, err)
	}
}

// TestFailedState: what was not sent is not thought to be said.
func TestFailedState(t *testing.T) {
	p, _ := victim(t, chat.Config{})
	v := p.chats.With(mustParse("juliet@capulet.example"))
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	for range 2 {
		require.ErrorIs(t, v.State(ctx, chat.Composing), context.Canceled)
	}
	require.NoError(t, v.State(p.ctx, chat.Composing))
	require.NoError(t, v.State(ctx, chat.Composing), "it was said")
	m := &chat.Message{Message: &confab.Message{ID: "1"}, Chat: p.bare()}
	require.Error(t, v.MarkDisplayed(p.ctx, m), "a message of another chat")
}

// TestSameIDs: a bot that uses one id for all it says costs no more than another.
func TestSameIDs(t *testing.T) {
	p, srv := victim(t, chat.Config{})
	for i := range 200 {
		p.inject(t, srv, message("bot@capulet.example/x", "1", fmt.Sprint(i)))
		require.Equal(t, fmt.Sprint(i), p.heard.Next(t, nil).Text)
	}
}

// TestPositionExamples: the event of XEP-0490, and that of somebody else.
func TestPositionExamples(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{Domain: "capulet.lit"})
	t.Cleanup(srv.Close)
	p := signIn(t, testclient.Embedded(srv, "juliet"), chat.Config{})
	el := vectors.Elements(t, "0490", 10)[0]
	p.inject(t, srv, el, el.Clone().Set("from", "romeo@montegue.lit"))
	e := p.places.Next(t, nil)
	require.Equal(t, chat.Position{Chat: mustParse("romeo@montegue.lit"), By: p.bare(), ID: "0423e3a9-d516-493d-bb06-bee0e51ab9fb"}, e)
	require.Empty(t, p.places.All())
}
