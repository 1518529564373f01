package bookmarks_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

var (
	play    = jid.MustParse("theplay@conference.shakespeare.lit")
	orchard = jid.MustParse("orchard@conference.shakespeare.lit")
	coven   = jid.MustParse("coven@chat.shakespeare.lit")
)

// device is a client with bookmarks.
type device struct {
	*testclient.Client
	*bookmarks.Bookmarks
	added   *testclient.Seen[bookmarks.Added]
	changed *testclient.Seen[bookmarks.Changed]
	removed *testclient.Seen[bookmarks.Removed]
	failed  *testclient.Seen[bookmarks.JoinFailed]
	errs    *testclient.Seen[confab.HandlerError]
	acts    *testclient.Seen[act]
}

// act is what the functions of the configuration were called for.
type act string

// prepare returns a device whose hooks tell what they are called for, and what puts it
// on a client. A nil join joins at once.
func prepare(t testing.TB, join func(context.Context, bookmarks.Bookmark) error) (*device, func(*client.Client)) {
	d := &device{}
	return d, func(c *client.Client) {
		d.added = testclient.Watch[bookmarks.Added](c)
		d.changed = testclient.Watch[bookmarks.Changed](c)
		d.removed = testclient.Watch[bookmarks.Removed](c)
		d.failed = testclient.Watch[bookmarks.JoinFailed](c)
		d.errs = testclient.Watch[confab.HandlerError](c)
		d.acts = testclient.Watch[act](c)
		var err error
		d.Bookmarks, err = bookmarks.New(c, bookmarks.Config{
			Join: func(ctx context.Context, m bookmarks.Bookmark) error {
				c.Emit(act("join " + m.Room.String()))
				if join != nil {
					return join(ctx, m)
				}
				return nil
			},
			Leave: func(_ context.Context, m bookmarks.Bookmark) { c.Emit(act("leave " + m.Room.String())) },
		})
		require.NoError(t, err)
	}
}

func signIn(t testing.TB, cfg client.Config) *device {
	t.Helper()
	d, setup := prepare(t, nil)
	d.Client = testclient.Up(t, cfg, setup)
	return d
}

func (d *device) pep() pubsub.Service { return pubsub.New(d.Client, jid.JID{}) }

func (d *device) rooms() (rooms []string) {
	for _, m := range d.List() {
		rooms = append(rooms, m.Room.String())
	}
	return rooms
}

func (d *device) awaitAdded(t testing.TB, room jid.JID) bookmarks.Bookmark {
	t.Helper()
	return d.added.Next(t, func(e bookmarks.Added) bool { return e.Bookmark.Room.Equal(room) }).Bookmark
}

func (d *device) awaitAct(t testing.TB, what string, room jid.JID) {
	t.Helper()
	d.acts.Next(t, func(a act) bool { return a == act(what+" "+room.String()) })
}

// config is an account of a server.
func config(t testing.TB, s *testbed.Server) client.Config {
	t.Helper()
	address, password := s.Account(t)
	return testclient.Config(s, address, password)
}

// embedded is an account of an embedded server, which does not convert old bookmarks.
func embedded(t testing.TB, cfg confabtest.Config) (*confabtest.Server, client.Config) {
	t.Helper()
	srv := confabtest.NewServer(cfg)
	t.Cleanup(srv.Close)
	return srv, testclient.Embedded(srv, "juliet")
}

// plain is a client without bookmarks, such as an old one.
func plain(t testing.TB, cfg client.Config) *testclient.Client {
	t.Helper()
	return testclient.Up(t, cfg)
}

// old returns the old bookmarks in private storage.
func old(t testing.TB, c confab.Requester) *confab.Element {
	t.Helper()
	var q confab.Element
	err := confab.Do(testclient.Context(t), c, stanza.IQ{Type: stanza.GetIQ},
		confab.El("jabber:iq:private", "query", confab.El("storage:bookmarks", "storage")), &q)
	var se stanza.Error
	if errors.As(err, &se) && se.Condition == stanza.ItemNotFound {
		return confab.El("storage:bookmarks", "storage")
	}
	require.NoError(t, err)
	return q.Child("storage:bookmarks", "storage")
}

func setOld(t testing.TB, c confab.Requester, entries ...*confab.Element) {
	t.Helper()
	require.NoError(t, confab.Do(testclient.Context(t), c, stanza.IQ{Type: stanza.SetIQ},
		confab.El("jabber:iq:private", "query", confab.El("storage:bookmarks", "storage", entries...)), nil))
}

func oldEntry(room jid.JID, name string, kids ...*confab.Element) *confab.Element {
	return confab.El("storage:bookmarks", "conference", kids...).Set("jid", room.String()).Set("name", name)
}

func oldRooms(st *confab.Element) (rooms []string) {
	for c := range st.All("storage:bookmarks", "conference") {
		rooms = append(rooms, c.Get("jid"))
	}
	slices.Sort(rooms)
	return rooms
}

func strs(js ...jid.JID) (list []string) {
	for _, j := range js {
		list = append(list, j.String())
	}
	slices.Sort(list)
	return list
}
