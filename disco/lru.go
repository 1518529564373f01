package disco

import "container/list"

// lru keeps the values that were used last, within a number and a sum of sizes.
type lru[K comparable, V any] struct {
	m             map[K]*list.Element // of *lruEntry[K, V]
	order         list.List           // the one used last in front
	size          int
	most, maxSize int
	dropped       func(K, V) // called for what is removed or replaced, may be nil
}

type lruEntry[K comparable, V any] struct {
	key  K
	v    V
	size int
}

func newLRU[K comparable, V any](most, maxSize int, dropped func(K, V)) *lru[K, V] {
	return &lru[K, V]{m: map[K]*list.Element{}, most: most, maxSize: maxSize, dropped: dropped}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	el := l.m[k]
	if el == nil {
		return v, false
	}
	l.order.MoveToFront(el)
	return el.Value.(*lruEntry[K, V]).v, true
}

// put adds v, and removes what has not been used for longest. What is larger than
// an eighth of all is not kept.
func (l *lru[K, V]) put(k K, v V, size int) {
	l.remove(k)
	if size > l.maxSize/8 {
		return
	}
	l.m[k] = l.order.PushFront(&lruEntry[K, V]{k, v, size})
	l.size += size
	for len(l.m) > l.most || l.size > l.maxSize {
		l.remove(l.order.Back().Value.(*lruEntry[K, V]).key)
	}
}

func (l *lru[K, V]) remove(k K) {
	el := l.m[k]
	if el == nil {
		return
	}
	delete(l.m, k)
	e := l.order.Remove(el).(*lruEntry[K, V])
	l.size -= e.size
	if l.dropped != nil {
		l.dropped(e.key, e.v)
	}
}

// removeIf removes what match accepts.
func (l *lru[K, V]) removeIf(match func(K) bool) {
	for k := range l.m {
		if match(k) {
			l.remove(k)
		}
	}
}
