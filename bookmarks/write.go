package bookmarks

import (
	"context"
	"errors"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// Set writes a bookmark. It is read once more before: of one that came from this
// package, only what the caller has changed is written, so that nothing is lost that
// another device has written meanwhile; one that was made by hand replaces all that
// Bookmark has as a field. What others have added stays in both cases. If the
// bookmark is gone meanwhile it is made anew.
//
// When Set returns, Get and List know of it, and the room is about to be joined or
// left if Autojoin has changed. The old bookmarks, on servers that do not convert,
// follow later. The error is a [pubsub.ErrPrecondition] if the server keeps no node
// that is for nobody else: bookmarks have passwords, so they are not written then.
func (b *Bookmarks) Set(ctx context.Context, m Bookmark) error {
	if err := m.check(); err != nil {
		return err
	}
	if m.was != nil && !m.was.Room.Equal(m.Room) {
		m.was = nil // one that was copied for another room
	}
	if err := lock(ctx, b.writing); err != nil {
		return err
	}
	defer unlock(b.writing)
	id := m.key()
	if old := b.get(id); old != nil {
		id = old.id
	}
	it, err := b.pep.Item(ctx, NS, id)
	if err != nil && !errors.Is(err, pubsub.ErrNotFound) {
		return err
	}
	el := m.apply(it.Payload)
	return b.write(ctx, id, el, it.Payload == nil || !equal(el, it.Payload))
}

// write publishes an item, unless the server has it already, and has the list know of
// it. It is called with writing held.
func (b *Bookmarks) write(ctx context.Context, id string, el *confab.Element, publish bool) error {
	m, err := parse(id, el)
	if err != nil {
		return err
	}
	w := b.start(m.key(), el)
	if publish {
		_, err = b.pep.Publish(ctx, NS, pubsub.Item{ID: id, Payload: el}, node)
	}
	return b.finish(ctx, w, err, func() { b.put(m, true) })
}

// Remove removes the bookmark of a room. It is no error if there is none.
func (b *Bookmarks) Remove(ctx context.Context, room jid.JID) error {
	if err := checkRoom(room); err != nil {
		return err
	}
	if err := lock(ctx, b.writing); err != nil {
		return err
	}
	defer unlock(b.writing)
	key := room.String()
	id := key
	if old := b.get(key); old != nil {
		id = old.id
	}
	w := b.start(key, nil)
	err := b.pep.Retract(ctx, NS, id)
	if errors.Is(err, pubsub.ErrNotFound) {
		err = nil
	}
	return b.finish(ctx, w, err, func() { b.drop(key) })
}

func (b *Bookmarks) start(room string, el *confab.Element) *write {
	w := &write{room: room, el: el}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = w
	return w
}

// finish has the list know of what was written, if err is nil. Answers overtake
// events: if the event is there it has been taken in its place already, among those
// of other devices.
func (b *Bookmarks) finish(ctx context.Context, w *write, err error, take func()) error {
	if err == nil {
		_ = b.s.Fence(ctx) // it is written in any case
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = nil
	if err == nil && !w.seen {
		b.touch(w.room)
		take()
	}
	return err
}
