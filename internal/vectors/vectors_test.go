package vectors

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestElements(t *testing.T) {
	els := Elements(t, "0308", 4)
	require.Len(t, els, 1)
	require.True(t, els[0].Is("jabber:client", "message"))
	require.Equal(t, "bad1", els[0].Child("urn:xmpp:message-correct:0", "replace").Get("id"))
}

func TestNotWellFormed(t *testing.T) {
	for _, s := range []string{"<a>", "<a/></stream><stream>", "</a>", "<a></b>"} {
		_, err := Example{XML: s}.Elements()
		require.Error(t, err, s)
	}
}
