package mam

import (
	"testing"

	"github.com/confab-im/confab"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// deaf is a session that notes what is told.
type deaf struct {
	confab.Session
	told []any
}

func (s *deaf) Emit(e any) { s.told = append(s.told, e) }

// TestAbandoned: results of a query that nobody waits for any more go nowhere, and are
// not told as forged; those of no query are.
func TestAbandoned(t *testing.T) {
	s := &deaf{}
	a := &Archives{s: s, queries: map[string]*incoming{}}
	own := jid.MustParse("romeo@confab.test")
	result := func(id string) error {
		el := confab.El(confab.NSClient, "message", confab.El(NS, "result",
			confab.El(nsForward, "forwarded", confab.El(nsDelay, "delay").Set("stamp", "2026-01-01T00:00:00Z"), confab.El(confab.NSClient, "message")),
		).Set("queryid", id).Set("id", "1"))
		return a.collect(t.Context(), &confab.Message{From: own, Source: confab.Live, Stanza: el})
	}
	wanted, over := &incoming{from: own}, &incoming{from: own, over: true}
	a.queries["wanted"], a.queries["over"] = wanted, over
	for _, id := range []string{"wanted", "over", "none"} {
		require.ErrorIs(t, result(id), confab.ErrConsumed)
	}
	require.Len(t, wanted.results, 1)
	require.Empty(t, over.results, "nobody would read them")
	require.Len(t, s.told, 1)
	require.ErrorIs(t, s.told[0].(confab.BadStanza).Err, errForged)
}
