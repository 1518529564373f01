package store_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
)

// under gives a message an id that its author uses for others, too.
func under(id string, m *chat.Message, replaces string) any {
	el := confab.El(confab.NSClient, "message").Set("id", id).Set("type", "chat").Set("from", m.Author)
	el.Children = m.Stanza.Children
	m.Stanza, m.ID = el, id
	if replaces == "" {
		return m
	}
	return chat.Edited{Message: m}
}

// TestFlood: who corrects one message again and again, under ids that lead in circles or
// to each other, does not make it take ever longer.
func TestFlood(t *testing.T) {
	replace := func(id string) *confab.Element {
		return confab.El("urn:xmpp:message-correct:0", "replace").Set("id", id)
	}
	for _, kind := range []string{"itself", "two", "later"} {
		t.Run(kind, func(t *testing.T) {
			ctx := testclient.Context(t)
			h := open(t, filepath.Join(t.TempDir(), "x.db")).History(romeo)
			require.NoError(t, h.Add(ctx, said(juliet, "X", 1, "first")))
			var events []any
			for i := range 400 {
				id, of := "X", "X"
				switch {
				case kind == "two":
					id, of = [2]string{"X", "Y"}[i%2], [2]string{"Y", "X"}[i%2]
				case kind == "later" && i < 300:
					id, of = fmt.Sprint("e", i), "Z"
				case kind == "later":
					id = "Z"
				}
				events = append(events, under(id, said(juliet, fmt.Sprint("s", i), 10+i, fmt.Sprint("version ", i), replace(of)), of))
			}
			require.NoError(t, h.Add(ctx, events...))
			es, err := h.Entries(ctx, juliet, store.Page{})
			require.NoError(t, err)
			require.Len(t, es, 1)
			if kind == "itself" {
				require.Equal(t, "version 399", es[0].Current.Text)
			}
		})
	}
}
