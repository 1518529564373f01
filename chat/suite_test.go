package chat_test

import (
	"context"
	"os"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

// person is a client with chats, and what it has heard.
type person struct {
	*testclient.Client
	chats    *chat.Client
	ctx      context.Context
	heard    *testclient.Seen[*chat.Message]
	own      *testclient.Seen[chat.OwnMessage]
	edits    *testclient.Seen[chat.Edited]
	retracts *testclient.Seen[chat.Retracted]
	reacts   *testclient.Seen[chat.Reacted]
	receipts *testclient.Seen[chat.Receipt]
	shown    *testclient.Seen[chat.Displayed]
	typing   *testclient.Seen[chat.Typing]
	places   *testclient.Seen[chat.Position]
	bad      *testclient.Seen[confab.BadStanza]
}

func signIn(tb testing.TB, cfg client.Config, ccfg chat.Config) *person {
	tb.Helper()
	p := &person{ctx: testclient.Context(tb)}
	p.Client = testclient.Up(tb, cfg, func(c *client.Client) {
		p.chats = chat.New(c, ccfg)
		p.heard, p.own = testclient.Watch[*chat.Message](c), testclient.Watch[chat.OwnMessage](c)
		p.edits, p.retracts = testclient.Watch[chat.Edited](c), testclient.Watch[chat.Retracted](c)
		p.reacts, p.receipts = testclient.Watch[chat.Reacted](c), testclient.Watch[chat.Receipt](c)
		p.shown, p.typing = testclient.Watch[chat.Displayed](c), testclient.Watch[chat.Typing](c)
		p.places, p.bad = testclient.Watch[chat.Position](c), testclient.Watch[confab.BadStanza](c)
	})
	return p
}

func (p *person) bare() jid.JID { return p.LocalAddr().Bare() }

func everybody(jid.JID) bool { return true }

func saying(text string) func(*chat.Message) bool {
	return func(m *chat.Message) bool { return m.Text == text }
}

func mustParse(s string) jid.JID { return jid.MustParse(s) }
