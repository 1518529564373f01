package confab

import (
	"hash/maphash"
	"sync"

	"mellium.im/xmpp/jid"
)

// recent remembers the archive ids of the messages that came last. Servers send
// some of them twice when a stream is resumed in the middle of a burst (ejabberd
// 23.01 does): the id that the own account gave a message (XEP-0359) tells. A
// sender cannot forge one, since servers that give ids take away those that
// claim to be theirs, and cannot guess one that is yet to come.
type recent struct {
	mu       sync.Mutex
	seed     maphash.Seed
	cur, old map[uint64]struct{} // hashes; when cur is full, it becomes old
}

// maxRecent is how many are remembered at least. That two of them have one hash
// is less likely than that the memory errs.
const maxRecent = 512

// again reports whether a message with this id came before, and remembers it.
func (r *recent) again(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur == nil {
		r.seed, r.cur = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	h := maphash.String(r.seed, id)
	if _, ok := r.cur[h]; ok {
		return true
	}
	if _, ok := r.old[h]; ok {
		return true
	}
	if len(r.cur) >= maxRecent {
		clear(r.old)
		r.cur, r.old = r.old, r.cur
		if r.cur == nil {
			r.cur = map[uint64]struct{}{}
		}
	}
	r.cur[h] = struct{}{}
	return false
}

// archiveID returns the id that the own account gave a message, or "".
func (p *jidCache) archiveID(el *Element, self jid.JID) string {
	for _, c := range el.Children {
		if c.Name.Local != "stanza-id" || c.Name.Space != nsSID {
			continue
		}
		if by, err := p.parse(c.Get("by")); err == nil && by.Equal(self.Bare()) {
			return c.Get("id")
		}
	}
	return ""
}
