package bookmarks_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// A room whose server is down when one signs in is joined when it is back, and one that
// was removed meanwhile is not.
func TestJoinAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		err     error
		again   bool // it is tried again
		removed bool
	}{
		{name: "down", err: stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound}, again: true},
		{name: "full", err: stanza.Error{Type: stanza.Wait, Condition: stanza.Conflict}, again: true},
		{name: "late", err: context.DeadlineExceeded, again: true},
		{name: "removed", err: context.DeadlineExceeded, removed: true},
		{name: "banned", err: stanza.Error{Type: stanza.Auth, Condition: stanza.Forbidden}},
		{name: "odd", err: errors.New("no")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := confabtest.NewServer(confabtest.Config{})
				defer srv.Close()
				var down atomic.Bool
				down.Store(true)
				d, setup := prepare(t, func(context.Context, bookmarks.Bookmark) error {
					if down.Load() {
						return c.err
					}
					return nil
				})
				d.Client = testclient.Up(t, testclient.Embedded(srv, "juliet"), setup)
				defer d.Stop(t)
				require.NoError(t, d.Set(t.Context(), bookmarks.Bookmark{Room: play, Autojoin: true}))
				d.failed.Next(t, nil)
				if c.removed {
					require.NoError(t, d.Remove(t.Context(), play))
				}
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				tries := len(d.failed.All()) // beside the first
				down.Store(false)
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if !c.again {
					assert.Zero(t, tries)
					return
				}
				assert.Greater(t, tries, 24)
				assert.Less(t, tries, 100, "not ever faster")
				assert.Len(t, d.failed.All(), tries, "it was joined")
			})
		})
	}
}
