package confab

import (
	"strings"
	"sync"

	"mellium.im/xmpp/jid"
)

// recent remembers the archive ids of the messages that came last. Servers send
// some of them twice when a stream is resumed in the middle of a burst (ejabberd
// 23.01 does): the id that the own account gave a message (XEP-0359) tells. A
// sender cannot forge one, since servers that give ids take away those that
// claim to be theirs, and cannot guess one that is yet to come.
type recent struct {
	mu   sync.Mutex
	m    map[string]struct{}
	ids  []string
	next int
}

const maxRecent = 512

// again reports whether a message with this id came before, and remembers it.
func (r *recent) again(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.m[id]; ok {
		return true
	}
	if r.m == nil {
		r.m = map[string]struct{}{}
	}
	id = strings.Clone(id) // let go of the stanza
	if len(r.ids) < maxRecent {
		r.ids = append(r.ids, id)
	} else {
		delete(r.m, r.ids[r.next])
		r.ids[r.next] = id
		r.next = (r.next + 1) % maxRecent
	}
	r.m[id] = struct{}{}
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
