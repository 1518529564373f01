package rsm_test

import (
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/rsm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestElement(t *testing.T) {
	for want, s := range map[string]rsm.Set{
		`<set xmlns='http://jabber.org/protocol/rsm'/>`:                                                      {},
		`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set>`:                                    {Max: 10},
		`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><after>peter@pixyland.org</after></set>`:   {Max: 10, After: "peter@pixyland.org"},
		`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before>peter@pixyland.org</before></set>`: {Max: 10, Before: "peter@pixyland.org"},
		`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before/></set>`:                           {Max: 10, Last: true},
		`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><index>371</index></set>`:                  {Max: 10, Index: 371},
		`<set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set>`:                                     {Count: true},
	} {
		b, err := s.Element().AppendXML(nil, "")
		require.NoError(t, err)
		assert.Equal(t, want, string(b))
	}
}

func page(first, index, last, count string) *confab.Element {
	set := confab.El(rsm.NS, "set", confab.El(rsm.NS, "first").Set("index", index).SetText(first), confab.El(rsm.NS, "last").SetText(last))
	if count != "" {
		set.Add(confab.El(rsm.NS, "count").SetText(count))
	}
	return confab.El("jabber:iq:search", "query", set)
}

func TestParse(t *testing.T) {
	p, ok, err := rsm.Parse(page("stpeter@jabber.org", "0", "peter@pixyland.org", "800"))
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, rsm.Page{First: "stpeter@jabber.org", Last: "peter@pixyland.org", FirstIndex: 0, Count: 800}, p)

	p, ok, err = rsm.Parse(page("a", "-1", "b", "99999999999999999999"))
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, rsm.Page{First: "a", Last: "b", FirstIndex: -1, Count: -1}, p)

	_, ok, err = rsm.Parse(confab.El("x", "y"))
	assert.False(t, ok)
	require.NoError(t, err)
	_, ok, _ = rsm.Parse(nil)
	assert.False(t, ok)

	_, _, err = rsm.Parse(page("a", "", strings.Repeat("b", 5000), ""))
	require.ErrorIs(t, err, rsm.ErrMalformed)
}

func TestNext(t *testing.T) {
	s := rsm.Set{Max: 2}
	next, more := s.Next(rsm.Page{First: "a", Last: "b", FirstIndex: 0, Count: 3}, 2)
	assert.True(t, more)
	assert.Equal(t, rsm.Set{Max: 2, After: "b"}, next)
	for name, p := range map[string]rsm.Page{
		"end":     {First: "c", Last: "c", FirstIndex: 2, Count: 3},
		"no last": {FirstIndex: -1, Count: -1},
		"circle":  {First: "a", Last: "b", FirstIndex: -1, Count: -1},
	} {
		_, more := next.Next(p, 1)
		assert.False(t, more, name)
	}
	_, more = s.Next(rsm.Page{First: "a", Last: "b", FirstIndex: -1, Count: -1}, 0)
	assert.False(t, more, "an empty page")
}

func FuzzParse(f *testing.F) {
	f.Add("a", "0", "b", "3")
	f.Fuzz(func(t *testing.T, first, index, last, count string) {
		p, ok, err := rsm.Parse(page(first, index, last, count))
		if !ok || p.FirstIndex < -1 || p.Count < -1 || err == nil && (len(p.First) > 4096 || len(p.Last) > 4096) {
			t.Fatalf("%+v %v %v", p, ok, err)
		}
	})
}
