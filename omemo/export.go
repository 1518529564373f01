package omemo

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
)

// exported is what Export writes: who the device is, and whom it trusts.
type exported struct {
	Version            int
	Account            string
	ID                 uint32
	Seed               []byte
	NextID, NextSigned uint32
	Trust              map[string]Trust
}

// exportVersion is the version of what Export writes.
const exportVersion = 1

// skipIDs are left out when a device is restored: it has perhaps published them since.
const skipIDs = 10_000

// Export returns the identity of a device and what it thinks of others' keys, to be kept
// in a safe place: it is secret. Sessions are not in it, for a session that is used twice
// is broken: those of a restored device begin anew, and what was encrypted for it before
// cannot be read. The session of the account must not run.
func Export(ctx context.Context, s Store, account jid.JID) ([]byte, error) {
	st := scoped{s, account.Bare().String() + "/omemo/"}
	x := exported{Version: exportVersion, Account: account.Bare().String(), Trust: map[string]Trust{}}
	err := st.view(ctx, func(tx Tx) error {
		b, err := tx.Get(bucketSelf, keyIdentity)
		if err != nil {
			return err
		}
		if len(b) != 36 {
			return fmt.Errorf("omemo: the store has no device of %s", x.Account)
		}
		x.ID, x.Seed = binary.BigEndian.Uint32(b), b[4:]
		if b, err = tx.Get(bucketSelf, keyState); err != nil {
			return err
		}
		var state selfState
		if err := json.Unmarshal(b, &state); err != nil {
			return err
		}
		x.NextID, x.NextSigned = state.NextID, state.NextSigned
		return tx.Scan(bucketTrust, "", func(k string, v []byte) error {
			if len(v) > 0 {
				x.Trust[k] = Trust(v[0])
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(x)
}

// Import makes the device of an export in a store that has none for the account. The
// device that it was exported from must not be used any more.
func Import(ctx context.Context, s Store, account jid.JID, data []byte) error {
	var x exported
	if err := json.Unmarshal(data, &x); err != nil {
		return fmt.Errorf("omemo: no export: %w", err)
	}
	if x.Version != exportVersion {
		return fmt.Errorf("omemo: an export of version %d, which this library does not know", x.Version)
	}
	if x.Account != account.Bare().String() {
		return fmt.Errorf("omemo: an export of %s", x.Account)
	}
	if x.ID == 0 || x.ID >= 1<<31 {
		return errors.New("omemo: the export has no device")
	}
	id, err := ratchet.IdentityFromSeed(x.Seed)
	if err != nil {
		return err
	}
	m := &Manager{self: self{identity: id, state: selfState{
		NextID: later(x.NextID), NextSigned: later(x.NextSigned), Announced: true,
	}}}
	return scoped{s, x.Account + "/omemo/"}.update(ctx, func(tx Tx) error {
		b, err := tx.Get(bucketSelf, keyIdentity)
		if err != nil {
			return err
		}
		if b != nil {
			return fmt.Errorf("omemo: the store has a device of %s", x.Account)
		}
		if err := m.putIdentity(tx, x.ID); err != nil {
			return err
		}
		if err := m.putState(tx); err != nil {
			return err
		}
		for k, t := range x.Trust {
			if t > Distrusted {
				continue
			}
			if err := tx.Put(bucketTrust, k, []byte{byte(t)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// later is an id that was not used since the export.
func later(id uint32) uint32 {
	if id+skipIDs > ratchet.MaxPreKeyID {
		return 1
	}
	return id + skipIDs
}
