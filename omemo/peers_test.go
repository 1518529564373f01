package omemo

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/stretchr/testify/require"
)

// TestForgets: who writes from ever new devices does not fill the store.
func TestForgets(t *testing.T) {
	store := &MemoryStore{}
	m, _ := sender(t, store, 1)
	var verified ratchet.IdentityKey
	for i := range 3 * maxDevices {
		id, err := ratchet.NewIdentity(rand.Reader)
		require.NoError(t, err)
		rec := ratchet.NewRecord(ratchet.V2)
		_, err = m.changePeer(context.Background(), juliet, func(tx Tx, p *peer) (bool, error) {
			if err := putRecord(tx, ratchet.V2, juliet, uint32(i+1), rec); err != nil {
				return false, err
			}
			var news []any
			_, changed, err := m.note(tx, juliet, p, uint32(i+1), id.Key(), &news)
			if i == 0 {
				verified = id.Key()
				return changed, setTrust(tx, juliet, verified, Verified)
			}
			return changed, err
		})
		require.NoError(t, err)
	}
	sessions, keys := 0, 0
	require.NoError(t, m.st.view(context.Background(), func(tx Tx) error {
		p, err := m.peer(tx, juliet)
		require.NoError(t, err)
		require.LessOrEqual(t, len(p.Devices), 2*maxDevices)
		if err := tx.Scan(bucketSession, juliet.String(), func(string, []byte) error { sessions++; return nil }); err != nil {
			return err
		}
		trust, known, err := trustOf(tx, juliet, verified)
		require.True(t, known)
		require.Equal(t, Verified, trust)
		if err != nil {
			return err
		}
		return tx.Scan(bucketTrust, juliet.String(), func(string, []byte) error { keys++; return nil })
	}))
	require.LessOrEqual(t, sessions, 2*maxDevices)
	require.LessOrEqual(t, keys, 2*maxDevices+1)
	// Those that are in a list stay.
	p := &peer{}
	var list []listed
	for i := range maxDevices {
		list = append(list, listed{id: uint32(i + 1)})
	}
	changed, _ := p.set(ratchet.V2, list)
	require.True(t, changed)
	changed, _ = p.set(ratchet.V2, list)
	require.False(t, changed)
	for i := range 1000 {
		p.add(uint32(10_000 + i))
	}
	for _, l := range list {
		require.NotNil(t, p.device(l.id))
	}
	changed, _ = p.set(ratchet.V2, nil)
	require.True(t, changed)
	require.False(t, p.stale() && p.told)
	p.at, p.told = time.Now(), true
	require.False(t, p.stale())
}
