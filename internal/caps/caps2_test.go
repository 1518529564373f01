package caps_test

import (
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/caps"
	"github.com/confab-im/confab/internal/stream"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The two answers of XEP-0390 §4.5, and the hashes that it gives for them.
func TestHashVectors(t *testing.T) {
	for number, want := range map[int][2]string{
		1: {"kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=", "79mdYAfU9rEdTOcWDO7UEAt6E56SUzk/g6TnqUeuD9Q="},
		2: {"u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=", "XpUJzLAc93258sMECZ3FJpebkzuyNXDzRNwQog8eycg="},
	} {
		q := vectors.Elements(t, "0390", number)[0]
		for i, algo := range []string{"sha-256", "sha3-256"} {
			got, err := caps.Hash(q, algo, "")
			require.NoError(t, err)
			assert.Equal(t, want[i], got, "%d %s", number, algo)
		}
	}
}

func hash2(t *testing.T, inner, lang string) (string, error) {
	t.Helper()
	q, err := stream.Parse([]byte("<query xmlns='"+caps.NSInfo+"'>"+inner+"</query>"), stream.Limits{})
	require.NoError(t, err)
	return caps.Hash(q, caps.Default, lang)
}

func TestHash(t *testing.T) {
	same := func(a, b string) {
		t.Helper()
		x, err := hash2(t, a, "")
		require.NoError(t, err)
		y, err := hash2(t, b, "")
		require.NoError(t, err)
		assert.Equal(t, x, y)
	}
	same(`<feature var='b'/><feature var='a'/>`, `<feature var='a'/><feature var='b'/>`)
	const typed = `<field var='FORM_TYPE' type='hidden'><value>t</value></field>`
	same(`<x xmlns='jabber:x:data'>`+typed+`<field var='a'><value>2</value><value>1</value></field></x>`,
		`<x xmlns='jabber:x:data'><title>no matter</title><field var='a'><value>1</value><value>2</value></field>`+typed+`</x>`)

	// What XEP-0115 cannot tell apart is different here.
	a, err := hash2(t, `<feature var='a'/><feature var='b'/>`, "")
	require.NoError(t, err)
	b, err := hash2(t, `<feature var='a&lt;b'/>`, "")
	require.NoError(t, err)
	assert.NotEqual(t, a, b)

	// A language that is inherited counts where there is none.
	inherited, err := hash2(t, `<identity category='a' type='b'/>`, "de")
	require.NoError(t, err)
	own, err := hash2(t, `<identity category='a' type='b' xml:lang='de'/>`, "en")
	require.NoError(t, err)
	assert.Equal(t, own, inherited)

	for name, in := range map[string]string{
		"another element": `<other/>`, "of another namespace": `<feature xmlns='urn:x' var='a'/>`,
		"table": `<x xmlns='jabber:x:data'>` + typed + `<reported/></x>`, "item": `<x xmlns='jabber:x:data'>` + typed + `<item/></x>`,
		"form without type": `<x xmlns='jabber:x:data'/>`, "two types": `<x xmlns='jabber:x:data'>` + typed + typed + `</x>`,
		"type not hidden": `<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='text-single'><value>t</value></field></x>`,
	} {
		_, err := hash2(t, in, "")
		assert.ErrorIs(t, err, caps.ErrNoHash, name)
	}
	_, err = caps.Hash(nil, caps.Default, "")
	require.ErrorIs(t, err, caps.ErrNoHash)
	for _, algo := range []string{"", "md5", "sha-1", "SHA-256"} {
		_, err := caps.Hash(confab.El(caps.NSInfo, "query"), algo, "")
		assert.ErrorIs(t, err, caps.ErrAlgorithm, algo)
	}
}

func TestSizes(t *testing.T) {
	for _, algo := range []string{"sha-1", "sha-256", "sha-512", "sha3-256", "sha3-512"} {
		v, err := caps.VerWith(confab.El(caps.NSInfo, "query"), algo)
		require.NoError(t, err)
		assert.Len(t, v, (caps.Size(algo)+2)/3*4, algo)
	}
	_, err := caps.VerWith(confab.El(caps.NSInfo, "query"), "md2")
	require.ErrorIs(t, err, caps.ErrAlgorithm)
	assert.Equal(t, "urn:xmpp:caps#sha-256.x=", caps.Node("sha-256", "x="))
	assert.Equal(t, "<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>x=</hash></c>", caps.Element2("sha-256", "x=").String())
}
