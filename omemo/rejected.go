package omemo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// What was refused is told once, though archives give it again, also to the next run of
// the program.

const (
	bucketRejected = "rejected"
	keptRejected   = 1000
)

// rejected knows what was told of lately.
type rejected struct {
	known map[string]bool
	order []string // the oldest first, once there are so many
	next  uint32   // its place in the store
	fresh []rejection
}

// A rejection is to be stored, at its place.
type rejection struct {
	slot uint32
	hash string
}

// archived names a message by what its archive calls it; "" if nothing does.
func archived(msg *confab.Message, archive jid.JID) string {
	id := msg.ArchiveID
	if msg.Source != confab.Archive || !msg.By.Equal(archive) {
		id = msg.StanzaID(archive)
	}
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(archive.String() + "\x00" + id))
	return hex.EncodeToString(sum[:16])
}

// toldRejected reports whether the user was told of a message that is refused, and notes
// that it is done now.
func (m *Manager) toldRejected(msg *confab.Message, conv jid.JID) bool {
	archive := m.addr
	if msg.Type == stanza.GroupChatMessage {
		archive = conv
	}
	h := archived(msg, archive)
	if h == "" {
		return false
	}
	m.mu.Lock()
	r := &m.rejected
	if r.known[h] {
		m.mu.Unlock()
		return true
	}
	r.add(h)
	r.fresh = append(r.fresh, rejection{r.next, h})
	r.next = (r.next + 1) % keptRejected
	m.mu.Unlock()
	m.flushSoon()
	return false
}

func (r *rejected) add(h string) {
	if r.known == nil {
		r.known = map[string]bool{}
	}
	if len(r.order) >= keptRejected {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
	r.known[h] = true
	r.order = append(r.order, h)
}

// flush stores what is new; when the transaction is over, it is no more.
func (r *rejected) flush(tx Tx) error {
	for _, f := range r.fresh {
		if err := tx.Put(bucketRejected, itoa(f.slot), []byte(f.hash)); err != nil {
			return err
		}
	}
	if len(r.fresh) == 0 {
		return nil
	}
	return tx.Put(bucketRejected, "next", binary.BigEndian.AppendUint32(nil, r.next))
}

// load reads what earlier runs have told.
func (r *rejected) load(tx Tx) error {
	*r = rejected{}
	b, err := tx.Get(bucketRejected, "next")
	if err != nil {
		return err
	}
	if len(b) == 4 {
		r.next = binary.BigEndian.Uint32(b) % keptRejected
	}
	var all []string
	for i := range uint32(keptRejected) {
		b, err := tx.Get(bucketRejected, itoa((r.next+i)%keptRejected))
		if err != nil {
			return err
		}
		if b != nil {
			all = append(all, string(b))
		}
	}
	for _, h := range slices.Compact(all) {
		r.add(h)
	}
	return nil
}

// tidy does what can wait, in a transaction of its own: it deletes what was handled and
// stores what was told. The lock is held.
func (m *Manager) tidy(ctx context.Context) {
	if len(m.plain.gone) == 0 && len(m.rejected.fresh) == 0 {
		return
	}
	if m.st.update(ctx, func(tx Tx) error {
		if err := m.plain.flush(tx); err != nil {
			return err
		}
		return m.rejected.flush(tx)
	}) == nil {
		m.plain.gone, m.rejected.fresh = nil, nil
	}
}
