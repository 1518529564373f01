package omemo

import (
	"context"
	"time"

	"mellium.im/xmpp/jid"
)

// SetDeviceID gives a device another id before its session runs.
func (m *Manager) SetDeviceID(id uint32) error {
	return m.changeSelf(context.Background(), func(tx Tx) error {
		m.id.Store(id)
		return m.putIdentity(tx, id)
	})
}

// OnlyV1 makes a manager believe that the devices of an account speak version 1 only.
func (m *Manager) OnlyV1(addr jid.JID) error {
	_, err := m.changePeer(context.Background(), addr.Bare(), func(_ Tx, p *peer) (bool, error) {
		for _, d := range p.Devices {
			d.V2 = false
		}
		p.at, p.told = time.Now(), true
		return true, nil
	})
	return err
}
