package commands_test

import (
	"strings"
	"testing"

	"github.com/confab-im/confab/commands"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// An administrator adds an account by the server's form (XEP-0133), with which one
// can sign in.
func TestAddUser(t *testing.T) {
	const node = "http://jabber.org/protocol/admin#add-user"
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		c := testclient.Up(t, testclient.Config(s, s.NamedAccount(t, "admin", "secret"), "secret"))
		list, err := commands.List(ctx, c, jid.MustParse(s.Domain))
		if err != nil || len(list) == 0 {
			s.Skip(t, "ad-hoc commands")
		}
		address := "added-" + strings.ToLower(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]) + "@" + s.Domain
		d, err := commands.Execute(ctx, c, jid.MustParse(s.Domain), node)
		require.NoError(t, err)
		st := d.Stage()
		require.Equal(t, commands.Executing, st.Status)
		require.NotNil(t, st.Form)
		assert.Equal(t, "http://jabber.org/protocol/admin", st.Form.About())
		require.Error(t, d.Submit(ctx, st.Form), "the address is required")
		st.Form.Set("accountjid", address).Set("password", "pw12345678").Set("password-verify", "pw12345678")
		require.NoError(t, d.Submit(ctx, st.Form))
		st = d.Stage()
		assert.Equal(t, commands.Completed, st.Status)
		text, failed := st.Failed()
		require.False(t, failed, text)
		testclient.Up(t, testclient.Config(s, address, "pw12345678"))
	})
}
