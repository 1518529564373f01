package confabtest_test

import (
	"context"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestBlockingEnforced(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	ctx := context.Background()
	up := func(user string) (*client.Client, chan *confab.Message, chan error) {
		heard, failed := make(chan *confab.Message, 10), make(chan error, 10)
		c := run(t, client.Config{Address: srv.AddAccount(user, "secret"), Password: "secret", Dial: srv.Dial})
		confab.On(c, func(_ context.Context, m *confab.Message) { heard <- m })
		confab.On(c, func(_ context.Context, e confab.SendFailed) { failed <- e.Err })
		require.NoError(t, srv.Wait(ctx, func() bool { s, ok := srv.Session(user + "@" + srv.Domain()); return ok && s.Available }))
		return c, heard, failed
	}
	romeo, heardByRomeo, romeoFailed := up("romeo")
	juliet, heardByJuliet, julietFailed := up("juliet")
	ask := func(typ stanza.IQType, el *confab.Element) error {
		return confab.Do(ctx, juliet, stanza.IQ{Type: typ}, el, nil)
	}
	const ns = "urn:xmpp:blocking"
	block := func(j string, kids ...*confab.Element) *confab.Element {
		return confab.El(ns, "block", confab.El(ns, "item", kids...).Set("jid", j))
	}
	var se stanza.Error
	require.ErrorAs(t, ask(stanza.SetIQ, confab.El(ns, "block")), &se)
	assert.Equal(t, stanza.BadRequest, se.Condition)
	require.ErrorAs(t, ask(stanza.SetIQ, block("@@")), &se)
	assert.Equal(t, stanza.JIDMalformed, se.Condition)
	require.ErrorAs(t, confab.Do(ctx, romeo, stanza.IQ{Type: stanza.GetIQ, To: juliet.LocalAddr().Bare()}, confab.El(ns, "blocklist"), nil), &se)

	report := confab.El("urn:xmpp:reporting:1", "report").Set("reason", "urn:xmpp:reporting:spam")
	for _, target := range []string{romeo.LocalAddr().String(), "romeo@confab.test", "confab.test", "confab.test/" + romeo.LocalAddr().Resourcepart()} {
		require.NoError(t, ask(stanza.SetIQ, block(target, report)))
		assert.Equal(t, []string{target}, srv.Blocked("juliet"))
		_, err := romeo.SendMessage(ctx, confab.Draft{To: juliet.LocalAddr(), Body: "blocked"})
		require.NoError(t, err)
		require.ErrorAs(t, <-romeoFailed, &se)
		assert.Equal(t, stanza.ServiceUnavailable, se.Condition, target)
		_, err = juliet.SendMessage(ctx, confab.Draft{To: romeo.LocalAddr(), Body: "blocked"})
		require.NoError(t, err)
		require.ErrorAs(t, <-julietFailed, &se)
		assert.Equal(t, stanza.NotAcceptable, se.Condition, target)
		require.NoError(t, ask(stanza.SetIQ, confab.El(ns, "unblock")))
		assert.Empty(t, srv.Blocked("juliet"))
	}
	assert.Len(t, srv.Reports("juliet"), 4)
	assert.Nil(t, srv.Reports("nobody"))
	_, err := romeo.SendMessage(ctx, confab.Draft{To: jid.MustParse("juliet@confab.test"), Body: "heard"})
	require.NoError(t, err)
	assert.Equal(t, "heard", (<-heardByJuliet).Body)
	assert.Empty(t, heardByRomeo)
}
