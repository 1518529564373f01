package upload_test

import (
	"context"
	"os"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) {
	if os.Getenv("CONFAB_GIB_CHILD") != "" {
		os.Exit(gibChild())
	}
	os.Exit(testbed.Run(m))
}

// person is a client with chats and files, and what it has heard.
type person struct {
	*testclient.Client
	chats *chat.Client
	files *upload.Client
	ctx   context.Context
	heard *testclient.Seen[*chat.Message]
	own   *testclient.Seen[chat.OwnMessage]
	fails *testclient.Seen[confab.HandlerError]
}

func signIn(tb testing.TB, cfg client.Config, ucfg upload.Config, more ...func(*client.Client)) *person {
	tb.Helper()
	p := &person{ctx: testclient.Context(tb)}
	p.Client = testclient.Up(tb, cfg, func(c *client.Client) {
		p.chats = chat.New(c, chat.Config{})
		if ucfg.Transport == nil {
			tr := c.HTTPTransport()
			tb.Cleanup(tr.CloseIdleConnections)
			ucfg.Transport = tr
		}
		ucfg.AllowLoopback = true
		p.files = upload.New(c, ucfg)
		p.heard = testclient.Watch[*chat.Message](c)
		p.own = testclient.Watch[chat.OwnMessage](c)
		p.fails = testclient.Watch[confab.HandlerError](c)
		for _, f := range more {
			f(c)
		}
	})
	return p
}

func (p *person) bare() jid.JID { return p.LocalAddr().Bare() }

func withFile(m *chat.Message) bool { return len(m.Files) > 0 }

// next is the next file that the user has shared, as others see it.
func (p *person) next(tb testing.TB) chat.File {
	tb.Helper()
	return p.own.Next(tb, func(m chat.OwnMessage) bool { return len(m.Files) > 0 }).Files[0]
}
