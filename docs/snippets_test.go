package docs_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// TestSnippets: each block of Go in the documents stands in a function of the tests of
// this package, or is a declaration there. So it was compiled, and most of them have run.
func TestSnippets(t *testing.T) {
	compiled := declarations(t)
	for _, name := range []string{"cookbook.md"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		blocks := goBlocks(string(text))
		require.NotEmpty(t, blocks, name)
		for _, b := range blocks {
			if !stands(b, compiled) {
				t.Errorf("%s has a snippet that is in none of the tests:\n%s", name, b)
			}
		}
	}
}

// TestSnippetsAreFound: what was changed is noticed.
func TestSnippetsAreFound(t *testing.T) {
	compiled := []string{flat("func f() {\n\tx := 1 // one\n\n\tprint(x)\n}")}
	require.True(t, stands("x := 1 // one\nprint(x)", compiled))
	require.False(t, stands("x := 2 // one\nprint(x)", compiled))
	require.False(t, stands("x := 1\nprint(x)", compiled), "comments count, too")
	require.False(t, stands("print(x)\n}\nfunc g() {", compiled))
	require.False(t, stands("", compiled), "an empty one shows nothing")
	require.Len(t, goBlocks("```go\na\n```\n\n```sh\nb\n```\n\n```go\nc\n```"), 2)
}

// declarations are the sources of all declarations of this package's tests, each of
// which compiles.
func declarations(t *testing.T) (all []string) {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
				continue
			}
			all = append(all, flat(string(source[set.Position(d.Pos()).Offset:set.Position(d.End()).Offset])))
		}
	}
	return all
}

// flat takes indentation and empty lines away, in which documents may differ.
func flat(s string) string {
	var lines []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

func goBlocks(text string) (all []string) {
	for _, m := range goBlock.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func stands(block string, compiled []string) bool {
	block = flat(block)
	for _, d := range compiled {
		if block != "\n\n" && strings.Contains(d, block) {
			return true
		}
	}
	return false
}

// heath is a room.
var heath = jid.MustParse("heath@rooms.confab.test")

// serve has a server in the process.
func serve(t *testing.T) *confabtest.Server {
	srv := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(srv.Close)
	return srv
}

// sign signs an account in, and waits until it is ready.
func sign(t *testing.T, srv *confabtest.Server, user string, setup ...func(*client.Client)) *testclient.Client {
	return testclient.Up(t, testclient.Embedded(srv, user), setup...)
}

// address is the bare address of a user.
func address(srv *confabtest.Server, user string) jid.JID {
	return jid.MustParse(user + "@" + srv.Domain())
}

// notes is where snippets show something to their user.
type notes chan string

func newNotes() notes { return make(notes, 1000) }

func (n notes) show(v ...any) { n <- strings.TrimSpace(fmt.Sprintln(v...)) }

// wait waits for a note that contains a text.
func (n notes) wait(t *testing.T, text string) string {
	t.Helper()
	ctx := testclient.Context(t)
	for {
		select {
		case s := <-n:
			if strings.Contains(s, text) {
				return s
			}
		case <-ctx.Done():
			t.Fatalf("nobody has shown %q", text)
		}
	}
}

// hears is an account that keeps what others say.
func hears(t *testing.T, srv *confabtest.Server, user string) *testclient.Seen[*chat.Message] {
	var said *testclient.Seen[*chat.Message]
	sign(t, srv, user, func(c *client.Client) {
		chat.New(c, chat.Config{Reveal: func(jid.JID) bool { return true }})
		said = testclient.Watch[*chat.Message](c)
	})
	return said
}

// says is for Seen.Next: a message with a text.
func says(text string) func(*chat.Message) bool {
	return func(m *chat.Message) bool { return m.Text == text }
}

// send sends a text.
func send(t *testing.T, c interface {
	With(jid.JID) chat.Conversation
}, to jid.JID, text string) {
	t.Helper()
	_, err := c.With(to).Send(context.WithoutCancel(t.Context()), text)
	require.NoError(t, err)
}
