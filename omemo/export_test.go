package omemo

import "context"

// SetDeviceID gives a device another id before its session runs.
func (m *Manager) SetDeviceID(id uint32) error {
	return m.changeSelf(context.Background(), func(tx Tx) error {
		m.id.Store(id)
		return m.putIdentity(tx, id)
	})
}
