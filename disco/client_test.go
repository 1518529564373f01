package disco_test

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/caps"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

var ctx = context.Background()

// A room of five thousand, in which there are five kinds of clients, costs five
// requests, and none before somebody wants to know.
func TestBigRoom(t *testing.T) {
	const occupants, kinds = 5000, 5
	for version, c := range map[string]func(testing.TB, *confab.Element) *confab.Element{"XEP-0115": c1, "XEP-0390": c2} {
		t.Run(version, func(t *testing.T) {
			var soft [kinds]*confab.Element
			var hashes [kinds]*confab.Element
			for i := range soft {
				soft[i] = software(fmt.Sprint("Kind ", i), "a", "b", fmt.Sprint("feature", i))
				hashes[i] = c(t, soft[i])
			}
			w := newWorld(t, func(to, node string) *confab.Element {
				var i int
				_, err := fmt.Sscanf(to, "heath@rooms.shakespeare.lit/witch%d", &i)
				assert.NoError(t, err)
				return soft[i%kinds].Clone().Set("node", node)
			})
			d := disco.New(w, disco.Config{})
			for i := range occupants {
				w.presence(occupant(i), hashes[i%kinds])
			}
			w.settle()
			require.Empty(t, w.requests())
			var wg sync.WaitGroup
			for i := range occupants {
				wg.Go(func() {
					info, err := d.Info(ctx, jid.MustParse(occupant(i)))
					assert.NoError(t, err)
					assert.True(t, info.Has(fmt.Sprint("feature", i%kinds)))
				})
			}
			wg.Wait()
			assert.Len(t, w.requests(), kinds)
			for i := range occupants {
				_, ok := d.Known(jid.MustParse(occupant(i)))
				require.True(t, ok)
			}
		})
	}
}

// Who gives a wrong answer is believed about nobody but himself.
func TestPoison(t *testing.T) {
	honest := software("Honest", "a")
	lie := software("Honest", "a", "lie")
	for version, c := range map[string]*confab.Element{"XEP-0115": c1(t, honest), "XEP-0390": c2(t, honest)} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, func(to, _ string) *confab.Element {
				if to == "mallory@evil.lit/x" {
					return lie.Clone()
				}
				return honest.Clone()
			})
			d := disco.New(w, disco.Config{})
			w.presence("mallory@evil.lit/x", c)
			w.presence("alice@wonderland.lit/x", c)
			w.presence("bob@wonderland.lit/x", c)
			w.settle()
			info, err := d.Info(ctx, jid.MustParse("mallory@evil.lit/x"))
			require.NoError(t, err)
			assert.True(t, info.Has("lie"))
			for _, who := range []string{"alice", "bob"} {
				info, err := d.Info(ctx, jid.MustParse(who+"@wonderland.lit/x"))
				require.NoError(t, err)
				assert.False(t, info.Has("lie"), who)
			}
			// Mallory's own is kept for him, and the right one for all others.
			info, err = d.Info(ctx, jid.MustParse("mallory@evil.lit/x"))
			require.NoError(t, err)
			assert.True(t, info.Has("lie"))
			assert.Len(t, w.requests(), 2, "Mallory and Alice")
			// A new presence of his is a new chance.
			w.gone("mallory@evil.lit/x")
			w.settle()
			_, ok := d.Known(jid.MustParse("mallory@evil.lit/x"))
			assert.False(t, ok)
		})
	}
}

// What the hash does not cover is not remembered under it, nor what is ill-formed or
// ambiguous.
func TestIllFormed(t *testing.T) {
	const typed = `<field var='FORM_TYPE' type='hidden'><value>t</value></field>`
	twice := software("X", "a", "a")
	ambiguous := software("X", "a<b")
	noIdentity := confab.El(disco.NSInfo, "query", confab.El(disco.NSInfo, "feature").Set("var", "client/pc//X"), confab.El(disco.NSInfo, "feature").Set("var", "z"))
	forms := software("X", "a").Add(parse(t, `<x xmlns='jabber:x:data' type='result'>`+typed+`</x>`), parse(t, `<x xmlns='jabber:x:data' type='result'>`+typed+`</x>`))
	for name, tt := range map[string]struct{ says, answer *confab.Element }{
		"the same feature twice": {software("X", "a"), twice},
		"less-than in a feature": {software("X", "a", "b"), ambiguous},
		"identity as a feature":  {software("X", "z"), noIdentity},
		"the same form twice":    {software("X", "a"), forms},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(to, _ string) *confab.Element {
				if strings.HasPrefix(to, "bad") {
					return tt.answer.Clone()
				}
				return tt.says.Clone()
			})
			d := disco.New(w, disco.Config{})
			c := c1(t, tt.says)
			w.presence("bad@x/y", c)
			w.presence("good@x/y", c)
			w.settle()
			bad, err := d.Info(ctx, jid.MustParse("bad@x/y"))
			require.NoError(t, err)
			good, err := d.Info(ctx, jid.MustParse("good@x/y"))
			require.NoError(t, err)
			assert.NotEqual(t, bad, good)
			assert.Len(t, good.Identities, 1)
		})
	}
	t.Run("a form that is not hashed", func(t *testing.T) {
		says := software("X", "a")
		w := newWorld(t, func(string, string) *confab.Element {
			return says.Clone().Add(parse(t, `<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE'><value>t</value></field></x>`))
		})
		d := disco.New(w, disco.Config{})
		w.presence("bad@x/y", c1(t, says))
		w.settle()
		info, err := d.Info(ctx, jid.MustParse("bad@x/y"))
		require.NoError(t, err)
		assert.Nil(t, info.Form("t"))
	})
}

// If who is asked refuses, or leaves, another who has the hash is asked.
func TestHandOver(t *testing.T) {
	honest := software("Honest", "a")
	c := c1(t, honest)
	t.Run("refuses", func(t *testing.T) {
		w := newWorld(t, func(to, _ string) *confab.Element {
			if to == "a@x/y" {
				return refusal("service-unavailable")
			}
			return honest.Clone()
		})
		d := disco.New(w, disco.Config{})
		w.presence("a@x/y", c)
		w.presence("b@x/y", c)
		w.settle()
		info, err := d.Info(ctx, jid.MustParse("a@x/y"))
		require.NoError(t, err)
		assert.True(t, info.Has("a"))
		assert.Len(t, w.requests(), 2)
	})
	t.Run("leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(to, _ string) *confab.Element {
				if to == "a@x/y" {
					return nil
				}
				return honest.Clone()
			})
			d := disco.New(w, disco.Config{})
			w.presence("a@x/y", c)
			w.presence("b@x/y", c)
			w.settle()
			done := make(chan error, 1)
			go func() {
				_, err := d.Info(ctx, jid.MustParse("a@x/y"))
				done <- err
			}()
			synctest.Wait()
			start := time.Now()
			w.gone("a@x/y")
			require.NoError(t, <-done)
			assert.Zero(t, time.Since(start))
		})
	})
	t.Run("is silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(to, _ string) *confab.Element {
				if to == "a@x/y" {
					return nil
				}
				return honest.Clone()
			})
			d := disco.New(w, disco.Config{})
			w.presence("a@x/y", c)
			w.presence("b@x/y", c)
			w.settle()
			info, err := d.Info(ctx, jid.MustParse("a@x/y"))
			require.NoError(t, err)
			assert.True(t, info.Has("a"))
		})
	})
	t.Run("all refuse", func(t *testing.T) {
		w := newWorld(t, func(string, string) *confab.Element { return refusal("service-unavailable") })
		d := disco.New(w, disco.Config{})
		for i := range 100 {
			w.presence(occupant(i), c)
		}
		w.settle()
		for i := range 100 {
			_, err := d.Info(ctx, jid.MustParse(occupant(i)))
			var se stanza.Error
			require.ErrorAs(t, err, &se)
			assert.Equal(t, stanza.ServiceUnavailable, se.Condition)
		}
		assert.Len(t, w.requests(), 103, "three tries for the hash, then each for itself")
	})
	t.Run("the node is not known", func(t *testing.T) {
		w := newWorld(t, func(_, node string) *confab.Element {
			if node != "" {
				return refusal("item-not-found")
			}
			return honest.Clone()
		})
		d := disco.New(w, disco.Config{})
		w.presence("a@x/y", c)
		w.settle()
		_, err := d.Info(ctx, jid.MustParse("a@x/y"))
		require.NoError(t, err)
		w.presence("b@x/y", c)
		w.settle()
		_, ok := d.Known(jid.MustParse("b@x/y"))
		assert.True(t, ok)
	})
}

// One who lies does not make all others be asked one by one, even if many ask at once.
func TestPoisonRoom(t *testing.T) {
	honest := software("Honest", "a")
	c := c2(t, honest)
	w := newWorld(t, func(to, _ string) *confab.Element {
		if to == occupant(0) {
			return software("Honest", "lie")
		}
		return honest.Clone()
	})
	d := disco.New(w, disco.Config{})
	for i := range 1000 {
		w.presence(occupant(i), c)
	}
	w.settle()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			info, err := d.Info(ctx, jid.MustParse(occupant(i)))
			assert.NoError(t, err)
			if i > 0 {
				assert.Equal(t, []string{"a"}, info.Features)
			}
		})
		if i == 0 {
			wg.Wait()
		}
	}
	wg.Wait()
	assert.Len(t, w.requests(), 2)
	info, _ := d.Known(jid.MustParse(occupant(0)))
	assert.Equal(t, []string{"lie"}, info.Features)
}

// When the stream is lost, nobody waits on.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(string, string) *confab.Element { return nil })
		d := disco.New(w, disco.Config{})
		w.presence("a@x/y", c1(t, software("X", "a")))
		w.settle()
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := d.Info(ctx, jid.MustParse("a@x/y"))
				done <- err
			}()
		}
		synctest.Wait()
		w.drv.Down(nil, true)
		require.ErrorIs(t, <-done, confab.ErrLost)
		require.ErrorIs(t, <-done, confab.ErrLost)
	})
}

// Who gives up does not take those with him who wait for the same.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		honest := software("Honest", "a")
		w := newWorld(t, func(string, string) *confab.Element {
			time.Sleep(2 * time.Second)
			return honest.Clone()
		})
		d := disco.New(w, disco.Config{})
		w.presence("a@x/y", c1(t, honest))
		w.settle()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		first := make(chan error, 1)
		go func() {
			_, err := d.Info(short, jid.MustParse("a@x/y"))
			first <- err
		}()
		synctest.Wait()
		info, err := d.Info(ctx, jid.MustParse("a@x/y"))
		require.NoError(t, err)
		assert.True(t, info.Has("a"))
		require.ErrorIs(t, <-first, context.DeadlineExceeded)
	})
}

// Without a hash, or with one that cannot be checked, each entity is asked.
func TestNoHash(t *testing.T) {
	w := newWorld(t, func(to, node string) *confab.Element {
		assert.Empty(t, node)
		return software("X", to)
	})
	d := disco.New(w, disco.Config{})
	long := strings.Repeat("x", 100_000)
	for i, c := range []*confab.Element{
		caps.Element("urn:old", "1.0").Set("hash", ""),
		caps.Element("urn:other", "1.0").Set("hash", "md2"),
		caps.Element("urn:short", "AAAA"),
		caps.Element(long, "QgayPKawpkPSDYmwT/WM94uAlu0="),
		caps.Element("urn:long", long),
		caps.Element("urn:long", "QgayPKawpkPSDYmwT/WM94uAlu0=").Set("hash", long),
		caps.Element2("sha-256", long), caps.Element2("sha-1", "QgayPKawpkPSDYmwT/WM94uAlu0="), caps.Element2(long, "x"),
	} {
		for j := range 2 {
			j := jid.MustParse(fmt.Sprintf("a%d@x/%d", i, j))
			w.presence(j.String(), c)
			w.settle()
			info, err := d.Info(ctx, j)
			require.NoError(t, err)
			assert.True(t, info.Has(j.String()))
		}
	}
	assert.Len(t, w.requests(), 18)
}

// A presence without hash changes nothing; one with another does.
func TestChange(t *testing.T) {
	old, now := software("X", "old"), software("X", "new")
	var mu sync.Mutex
	cur := old
	w := newWorld(t, func(string, string) *confab.Element {
		mu.Lock()
		defer mu.Unlock()
		return cur.Clone()
	})
	d := disco.New(w, disco.Config{})
	j := jid.MustParse("a@x/y")
	has := func(feature string) {
		t.Helper()
		info, err := d.Info(ctx, j)
		require.NoError(t, err)
		assert.Equal(t, []string{feature}, info.Features)
	}
	w.presence("a@x/y", c1(t, old))
	w.settle()
	has("old")
	w.presence("a@x/y")
	w.settle()
	has("old")
	mu.Lock()
	cur = now
	mu.Unlock()
	w.presence("a@x/y", c1(t, now))
	w.settle()
	has("new")
	assert.Len(t, w.requests(), 2)
}

// When the stream is lost, so is what belonged to it; when this client leaves a room,
// so are the occupants.
func TestForget(t *testing.T) {
	soft := software("X", "a")
	w := newWorld(t, func(to, node string) *confab.Element { return soft.Clone() })
	d := disco.New(w, disco.Config{})
	c := c1(t, soft)
	w.presence("room@x/me", c)
	w.presence("room@x/other", c)
	w.presence("roommate@x/other", c)
	w.settle()
	_, err := d.Info(ctx, jid.MustParse("room@x/other"))
	require.NoError(t, err)
	leave := func(codes ...string) {
		x := confab.El("http://jabber.org/protocol/muc#user", "x")
		for _, code := range codes {
			x.Add(confab.El("http://jabber.org/protocol/muc#user", "status").Set("code", code))
		}
		w.deliver(confab.El(confab.NSClient, "presence", x).Set("from", "room@x/me").Set("type", "unavailable"))
		w.settle()
	}
	known := func(s string) bool {
		_, ok := d.Known(jid.MustParse(s))
		return ok
	}
	leave("303", "110") // only another nick
	assert.True(t, known("room@x/other"))
	leave("110")
	assert.False(t, known("room@x/other"))
	assert.True(t, known("roommate@x/other"))

	for range 2 {
		for range 3 {
			_, err = d.Server(ctx)
			require.NoError(t, err)
			_, err = d.Account(ctx)
			require.NoError(t, err)
		}
		w.drv.Down(nil, false)
		assert.True(t, known("montague.lit"))
		w.drv.Down(nil, true)
		assert.False(t, known("montague.lit"))
		assert.False(t, known("romeo@montague.lit"))
		assert.False(t, known("roommate@x/other"))
	}
	assert.Len(t, w.requests(), 5)
}

// The store outlives the program, and is not trusted.
func TestStore(t *testing.T) {
	soft := software("X & <Y>", "a", "b").Add(parse(t,
		`<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>t</value></field><field var='os'><value>A</value></field></x>`))
	for version, c := range map[string]*confab.Element{"XEP-0115": c1(t, software("X", "a")), "XEP-0390": c2(t, soft)} {
		t.Run(version, func(t *testing.T) {
			soft := soft
			if version == "XEP-0115" {
				soft = software("X", "a")
			}
			files, err := client.NewFileStore(t.TempDir() + "/store")
			require.NoError(t, err)
			store := &spy{Store: files}
			run := func(requests int) {
				t.Helper()
				w := newWorld(t, func(string, string) *confab.Element { return soft.Clone() })
				d := disco.New(w, disco.Config{Store: store})
				w.presence("a@x/y", c)
				w.settle()
				info, err := d.Info(ctx, jid.MustParse("a@x/y"))
				require.NoError(t, err)
				assert.True(t, info.Has("a"))
				if version == "XEP-0390" {
					assert.Equal(t, "A", info.Form("t").Get("os"))
				}
				assert.Len(t, w.requests(), requests)
			}
			run(1)
			run(0)
			require.Len(t, store.keys, 1)
			for key := range store.keys {
				v, err := files.Get(ctx, key)
				require.NoError(t, err)
				require.NoError(t, files.Put(ctx, key, []byte(strings.ReplaceAll(string(v), "var=\"a\"", "var=\"lie\"")+" ")))
				v = []byte(strings.ReplaceAll(string(v), "'a'", "'lie'"))
				require.NoError(t, files.Put(ctx, key, v))
			}
			run(1)
			for key := range store.keys {
				require.NoError(t, files.Put(ctx, key, []byte("garbage")))
			}
			run(1)
		})
	}
}

type spy struct {
	disco.Store
	keys map[string]bool
}

func (s *spy) Put(ctx context.Context, key string, v []byte) error {
	if s.keys == nil {
		s.keys = map[string]bool{}
	}
	s.keys[key] = true
	return s.Store.Put(ctx, key, v)
}

// However many hashes there are, a store keeps a bounded number, and a store that
// fails is reported and does no harm.
func TestStoreBounds(t *testing.T) {
	w := newWorld(t, func(to, _ string) *confab.Element { return software("X", to) })
	store := &spy{Store: &client.MemoryStore{}}
	d := disco.New(w, disco.Config{Store: store})
	for i := range 2000 {
		who := fmt.Sprintf("a%d@x/y", i)
		w.presence(who, c1(t, software("X", who)))
		w.settle()
		_, err := d.Info(ctx, jid.MustParse(who))
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(store.keys), 512)
	assert.Greater(t, len(store.keys), 256)

	w = newWorld(t, func(to, _ string) *confab.Element { return software("X", to) })
	failed := make(chan confab.HandlerError, 10)
	confab.On(w, func(_ context.Context, e confab.HandlerError) { failed <- e })
	d = disco.New(w, disco.Config{Store: broken{}})
	w.presence("a@x/y", c1(t, software("X", "a@x/y")))
	w.settle()
	info, err := d.Info(ctx, jid.MustParse("a@x/y"))
	require.NoError(t, err)
	assert.True(t, info.Has("a@x/y"))
	for range 2 {
		e := <-failed
		require.ErrorIs(t, e.Err, fs.ErrPermission)
	}
}

type broken struct{}

func (broken) Get(context.Context, string) ([]byte, error) { return nil, fs.ErrPermission }
func (broken) Put(context.Context, string, []byte) error   { return fs.ErrPermission }
func (broken) Delete(context.Context, string) error        { return fs.ErrPermission }
