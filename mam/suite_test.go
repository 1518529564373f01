package mam_test

import (
	"os"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

type reader struct {
	*testclient.Client
	archives *mam.Archives
	msgs     *testclient.Seen[*confab.Message]
	bad      *testclient.Seen[confab.BadStanza]
	progress *testclient.Seen[mam.Progress]
	gaps     *testclient.Seen[mam.Gap]
	rooms    *muc.Client
	own      *testclient.Seen[muc.OwnMessage]
}

func signIn(tb testing.TB, cfg client.Config, mcfg mam.Config) *reader {
	tb.Helper()
	r := &reader{}
	r.Client = testclient.Up(tb, cfg, func(c *client.Client) {
		r.archives = mam.New(c, mcfg)
		r.msgs, r.bad = testclient.Watch[*confab.Message](c), testclient.Watch[confab.BadStanza](c)
		r.rooms, r.own = muc.New(c, muc.Config{}), testclient.Watch[muc.OwnMessage](c)
		r.progress, r.gaps = testclient.Watch[mam.Progress](c), testclient.Watch[mam.Gap](c)
	})
	return r
}
