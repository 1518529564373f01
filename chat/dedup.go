package chat

import (
	"container/list"
	"hash/maphash"
)

// remembered is how many messages are remembered to know copies of them by.
const remembered = 20_000

// maxSame is how many messages of one author are remembered that have the same id.
const maxSame = 32

// dedup knows messages that were seen: one may come live, as a carbon, from an
// archive, and once more after a resumption. The id that the own archive gave a
// message settles it. Otherwise copies have the same author, id and content: ids
// alone say little, as some bots use one for all they send.
type dedup struct {
	seed   maphash.Seed
	order  *list.List // of *seenMessage, oldest first
	server map[string]*list.Element
	ids    map[[2]string][]*list.Element // by author and id
}

type seenMessage struct {
	author, id, server string
	content            uint64
}

func newDedup() *dedup {
	return &dedup{seed: maphash.MakeSeed(), order: list.New(),
		server: map[string]*list.Element{}, ids: map[[2]string][]*list.Element{}}
}

// copyOf reports whether the message was seen before, and remembers it.
func (d *dedup) copyOf(author, id, server, content string) bool {
	if server != "" && d.server[server] != nil {
		return true
	}
	sum := maphash.String(d.seed, content)
	k := [2]string{author, id}
	if id != "" {
		for _, e := range d.ids[k] {
			s := e.Value.(*seenMessage)
			if s.content != sum || s.server != "" && server != "" {
				continue
			}
			if server != "" {
				s.server = server
				d.server[server] = e
			}
			return true
		}
	}
	if id == "" && server == "" {
		return false // nothing to know it by
	}
	if same := d.ids[k]; id != "" && len(same) >= maxSame {
		d.forget(same[0]) // some bots use one id for all they send
	}
	e := d.order.PushBack(&seenMessage{author, id, server, sum})
	if server != "" {
		d.server[server] = e
	}
	if id != "" {
		d.ids[k] = append(d.ids[k], e)
	}
	if d.order.Len() > remembered {
		d.forget(d.order.Front())
	}
	return false
}

func (d *dedup) forget(e *list.Element) {
	s := d.order.Remove(e).(*seenMessage)
	if s.server != "" {
		delete(d.server, s.server)
	}
	if s.id == "" {
		return
	}
	k := [2]string{s.author, s.id}
	left := d.ids[k]
	for i := range left {
		if left[i] == e {
			left = append(left[:i:i], left[i+1:]...)
			break
		}
	}
	if len(left) == 0 {
		delete(d.ids, k)
	} else {
		d.ids[k] = left
	}
}
