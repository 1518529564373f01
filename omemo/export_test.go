package omemo

import "context"

// SetDeviceID gives a device another id before its session runs.
func (m *Manager) SetDeviceID(id uint32) error {
	return m.changeSelf(context.Background(), func(tx Tx) error {
		m.self.id = id
		return m.putIdentity(tx)
	})
}
