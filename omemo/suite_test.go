package omemo_test

import (
	"context"
	"os"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) {
	if os.Getenv("CONFAB_OMEMO_CHILD") != "" {
		child() // see TestKill
	}
	os.Exit(testbed.Run(m))
}

// person is a client with chats and keys, and what it has heard.
type person struct {
	*testclient.Client
	chats *chat.Client
	keys  *omemo.Manager
	ctx   context.Context

	heard    *testclient.Seen[*chat.Message]
	own      *testclient.Seen[chat.OwnMessage]
	edits    *testclient.Seen[chat.Edited]
	retracts *testclient.Seen[chat.Retracted]
	reacts   *testclient.Seen[chat.Reacted]
	dark     *testclient.Seen[omemo.Undecryptable]
	rejected *testclient.Seen[omemo.Rejected]
	news     *testclient.Seen[omemo.NewKey]
	skipped  *testclient.Seen[omemo.Skipped]
	failed   *testclient.Seen[omemo.Failed]
	trusts   *testclient.Seen[omemo.TrustChanged]
	lists    *testclient.Seen[omemo.DevicesChanged]
}

func signIn(tb testing.TB, cfg client.Config, ocfg omemo.Config, setup ...func(*client.Client)) *person {
	tb.Helper()
	p := &person{ctx: testclient.Context(tb)}
	if ocfg.Store == nil {
		ocfg.Store = &omemo.MemoryStore{}
	}
	p.Client = testclient.Up(tb, cfg, append([]func(*client.Client){func(c *client.Client) {
		var err error
		p.chats = chat.New(c, chat.Config{Reveal: func(jid.JID) bool { return true }})
		if ocfg.Reveal == nil {
			ocfg.Reveal = func(jid.JID) bool { return true }
		}
		p.keys, err = omemo.New(c, ocfg)
		require.NoError(tb, err)
		p.heard, p.own = testclient.Watch[*chat.Message](c), testclient.Watch[chat.OwnMessage](c)
		p.edits, p.retracts = testclient.Watch[chat.Edited](c), testclient.Watch[chat.Retracted](c)
		p.reacts = testclient.Watch[chat.Reacted](c)
		p.dark, p.rejected = testclient.Watch[omemo.Undecryptable](c), testclient.Watch[omemo.Rejected](c)
		p.news, p.skipped = testclient.Watch[omemo.NewKey](c), testclient.Watch[omemo.Skipped](c)
		p.failed, p.trusts = testclient.Watch[omemo.Failed](c), testclient.Watch[omemo.TrustChanged](c)
		p.lists = testclient.Watch[omemo.DevicesChanged](c)
	}}, setup...)...)
	return p
}

func (p *person) bare() jid.JID { return p.LocalAddr().Bare() }

func saying(text string) func(*chat.Message) bool {
	return func(m *chat.Message) bool { return m.Text == text }
}

func ownSaying(text string) func(chat.OwnMessage) bool {
	return func(m chat.OwnMessage) bool { return m.Text == text }
}

// sealed checks that a message came encrypted.
func sealed(t *testing.T, m *confab.Message, scheme string) {
	t.Helper()
	require.NotNil(t, m.Seal, "it came in clear")
	require.Equal(t, scheme, m.Seal.Scheme)
	require.True(t, m.Seal.Trusted)
}
