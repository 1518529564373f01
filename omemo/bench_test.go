package omemo

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// countingStore counts the transactions that change something.
type countingStore struct {
	Store
	commits int
}

func (s *countingStore) Update(ctx context.Context, f func(Tx) error) error {
	s.commits++
	return s.Store.Update(ctx, f)
}

// sender is a Manager without a session, which knows some devices and has sessions with
// them.
func sender(tb testing.TB, store Store, devices int) (*Manager, []jid.JID) {
	m := &Manager{cfg: Config{Store: store}, addr: romeo, peers: map[string]*peer{}, modes: map[string]Mode{}, jobs: map[string]bool{}, slots: make(chan struct{}, 1)}
	m.st = scoped{store, "x/"}
	require.NoError(tb, m.load(context.Background()))
	other, err := ratchet.NewIdentity(rand.Reader)
	require.NoError(tb, err)
	k, err := ratchet.NewPreKey(rand.Reader, 1)
	require.NoError(tb, err)
	bundle := ratchet.NewBundle(ratchet.V2, other, k, []*ratchet.PreKey{k})
	rec := ratchet.NewRecord(ratchet.V2)
	require.NoError(tb, rec.Start(rand.Reader, m.self.identity, 1, bundle, 1))
	addrs := []jid.JID{romeo}
	require.NoError(tb, m.st.update(context.Background(), func(tx Tx) error {
		for i := range (devices + 9) / 10 { // ten each
			addr := jid.MustParse(fmt.Sprintf("user%d@capulet.example", i))
			addrs = append(addrs, addr)
			p := &peer{at: time.Now(), told: true}
			for j := range min(10, devices-10*i) {
				p.Devices = append(p.Devices, &device{ID: uint32(j + 1), V2: true, Key: other.Key()})
				if err := putRecord(tx, ratchet.V2, addr, uint32(j+1), rec); err != nil {
					return err
				}
			}
			m.peers[addr.String()] = p
			if err := setTrust(tx, addr, other.Key(), Blind); err != nil {
				return err
			}
			if err := m.putPeer(tx, addr, p); err != nil {
				return err
			}
		}
		m.peers[romeo.String()] = &peer{at: time.Now(), told: true}
		return nil
	}))
	return m, addrs
}

func someContent(tb testing.TB) *content {
	e := envelope{content: []*confab.Element{confab.El(confab.NSClient, "body").SetText("hello")}, from: romeo}
	b, err := e.marshal()
	require.NoError(tb, err)
	return &content{sce: b, text: "hello", hasText: true}
}

// TestOneCommit: a message for many devices is one transaction.
func TestOneCommit(t *testing.T) {
	store := &countingStore{Store: &MemoryStore{}}
	m, addrs := sender(t, store, 1000)
	store.commits = 0
	s, err := m.encrypt(context.Background(), garden, jid.JID{}, addrs, someContent(t), "id")
	require.NoError(t, err)
	require.Equal(t, 1, store.commits)
	n := 0
	for l := range s.v2.Child(NSv2, "header").All(NSv2, "keys") {
		n += len(l.Children)
	}
	require.Equal(t, 1000, n)
}

// BenchmarkDevices encrypts one message for a thousand devices, beside a thousand
// messages for one, each with its transaction.
func BenchmarkDevices(b *testing.B) {
	for _, kind := range []string{"memory", "file"} {
		b.Run(kind, func(b *testing.B) {
			open := func() Store {
				if kind == "memory" {
					return &MemoryStore{}
				}
				s, err := OpenFileStore(filepath.Join(b.TempDir(), "keys"))
				require.NoError(b, err)
				b.Cleanup(func() { _ = s.Close() })
				return s
			}
			many, addrs := sender(b, open(), 1000)
			one, first := sender(b, open(), 1)
			c := someContent(b)
			singles := 1000
			if kind == "file" {
				singles = 20 // each is flushed to the disk
			}
			var mine, base time.Duration
			for i := 0; b.Loop(); i++ {
				t := time.Now()
				for j := range singles {
					_, err := one.encrypt(context.Background(), garden, jid.JID{}, first, c, fmt.Sprint("s", i, j))
					require.NoError(b, err)
				}
				base += time.Since(t) * 1000 / time.Duration(singles)
				t = time.Now()
				_, err := many.encrypt(context.Background(), garden, jid.JID{}, addrs, c, fmt.Sprint("m", i))
				require.NoError(b, err)
				mine += time.Since(t)
			}
			b.ReportMetric(float64(mine)/float64(base), "x-singles")
			b.ReportMetric(float64(mine.Microseconds())/float64(b.N), "µs/1000")
		})
	}
}
