package muc_test

import (
	"context"
	"encoding/xml"
	"os"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

// person is a client with rooms, and what it has heard.
type person struct {
	*testclient.Client
	rooms    *muc.Client
	ctx      context.Context
	states   *testclient.Seen[muc.State]
	changes  *testclient.Seen[muc.Change]
	heard    *testclient.Seen[*muc.Message]
	own      *testclient.Seen[muc.OwnMessage]
	private  *testclient.Seen[muc.PrivateMessage]
	edits    *testclient.Seen[muc.Edited]
	retracts *testclient.Seen[muc.Retracted]
	reacts   *testclient.Seen[muc.Reacted]
	subjects *testclient.Seen[muc.Subject]
	invites  *testclient.Seen[muc.Invitation]
	declined *testclient.Seen[muc.Declined]
	voice    *testclient.Seen[muc.VoiceRequest]
	confs    *testclient.Seen[muc.Reconfigured]
	typing   *testclient.Seen[muc.Typing]
	named    *testclient.Seen[muc.Mentioned]
	listed   *testclient.Seen[muc.Listed]
}

func signIn(tb testing.TB, cfg client.Config, mcfg muc.Config, setup ...func(*client.Client)) *person {
	tb.Helper()
	p := &person{ctx: testclient.Context(tb)}
	p.Client = testclient.Up(tb, cfg, append([]func(*client.Client){func(c *client.Client) { p.watch(c, mcfg) }}, setup...)...)
	return p
}

func (p *person) watch(c *client.Client, cfg muc.Config) {
	p.rooms = muc.New(c, cfg)
	p.states, p.changes = testclient.Watch[muc.State](c), testclient.Watch[muc.Change](c)
	p.heard, p.own, p.private = testclient.Watch[*muc.Message](c), testclient.Watch[muc.OwnMessage](c), testclient.Watch[muc.PrivateMessage](c)
	p.edits, p.retracts, p.reacts = testclient.Watch[muc.Edited](c), testclient.Watch[muc.Retracted](c), testclient.Watch[muc.Reacted](c)
	p.subjects, p.invites, p.declined = testclient.Watch[muc.Subject](c), testclient.Watch[muc.Invitation](c), testclient.Watch[muc.Declined](c)
	p.voice, p.confs, p.typing = testclient.Watch[muc.VoiceRequest](c), testclient.Watch[muc.Reconfigured](c), testclient.Watch[muc.Typing](c)
	p.named, p.listed = testclient.Watch[muc.Mentioned](c), testclient.Watch[muc.Listed](c)
}

func (p *person) bare() jid.JID { return p.LocalAddr().Bare() }

func (p *person) join(tb testing.TB, room jid.JID, nick string, opts ...muc.JoinOption) *muc.Room {
	tb.Helper()
	r, err := p.rooms.Join(p.ctx, room, nick, opts...)
	require.NoError(tb, err)
	return r
}

func someone(tb testing.TB, s *testbed.Server) *person {
	tb.Helper()
	a, pw := s.Account(tb)
	return clientOf(tb, s, a, pw)
}

func newRoom(s *testbed.Server) jid.JID {
	return jid.MustParse("r" + confab.NewID()[:10] + "@" + s.Rooms)
}

func change(k muc.ChangeKind, nick string) func(muc.Change) bool {
	return func(c muc.Change) bool { return c.Kind == k && c.Occupant.Nick == nick }
}

func saying(text string) func(*muc.Message) bool {
	return func(m *muc.Message) bool { return m.Text == text }
}

func status(s muc.Status) func(muc.State) bool {
	return func(e muc.State) bool { return e.Status == s }
}

func clientOf(tb testing.TB, s *testbed.Server, address, password string) *person {
	tb.Helper()
	return signIn(tb, testclient.Config(s, address, password), muc.Config{})
}

func mustRead(tb testing.TB, s string) *confab.Element {
	tb.Helper()
	el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
	require.NoError(tb, err)
	return el
}
