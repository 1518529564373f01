package disco

import (
	"context"
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestLRU(t *testing.T) {
	var dropped []string
	l := newLRU[int](3, 80, func(_ int, s string) { dropped = append(dropped, s) })
	for i := range 3 {
		l.put(i, fmt.Sprint(i), 10)
	}
	_, ok := l.get(0)
	require.True(t, ok)
	l.put(3, "3", 10)
	assert.Equal(t, []string{"1"}, dropped, "the one that was not used for longest")
	l.put(3, "3b", 5)
	assert.Equal(t, []string{"1", "3"}, dropped)
	assert.Equal(t, 25, l.size)
	l.put(4, "too large", 11)
	_, ok = l.get(4)
	assert.False(t, ok)
	l.removeIf(func(int) bool { return true })
	assert.Zero(t, l.size)
	assert.Empty(t, l.m)
	assert.Zero(t, l.order.Len())

	l = newLRU[int, string](1000, 80, nil)
	for i := range 100 {
		l.put(i, "x", 9)
	}
	assert.Len(t, l.m, 8)
	l.remove(5000)
}

// A flood of presences, each with a hash of its own, leaves a bounded number.
func TestFlood(t *testing.T) {
	c := New(confab.Attach(nil), Config{})
	for i := range maxEntities + 5000 {
		from := jid.MustParse(fmt.Sprintf("a%d@x/y", i))
		p := confab.El(confab.NSClient, "presence", confab.El("http://jabber.org/protocol/caps", "c").
			Set("node", "n").Set("hash", "odd").Set("ver", fmt.Sprint(i)))
		require.NoError(t, c.presence(context.Background(), &confab.Presence{From: from, Stanza: p}))
	}
	assert.Len(t, c.entities.m, maxEntities)
	assert.Len(t, c.hashes, maxEntities)
	c.down(nil, true)
	assert.Empty(t, c.entities.m)
	assert.Empty(t, c.hashes)
	assert.Empty(t, c.flights)
}
