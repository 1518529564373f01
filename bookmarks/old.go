package bookmarks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const (
	nsOld      = "storage:bookmarks"
	nsPrivate  = "jabber:iq:private"
	compat     = NS + "#compat"
	compatPEP  = NS + "#compat-pep"
	conversion = "urn:xmpp:bookmarks-conversion:0"

	// nsMerged marks, in the old storage, the rooms that were taken over or written
	// from here. What is marked and no new bookmark was removed since; what is not
	// marked was added by an old client. Old clients that write the storage anew drop
	// the marks, and nothing is lost by that.
	nsMerged = "https://github.com/confab-im/confab/bookmarks"
)

// maxOld is how large the old storage may become. Servers end the stream of who sends
// stanzas that are too large, many of them above 64 KiB.
const maxOld = 60 << 10

// errTooLarge is told to the user as a [confab.HandlerError].
var errTooLarge = errors.New("bookmarks: they are too many for the one piece in which old clients want them")

// A store is a place where old bookmarks are: one storage element (XEP-0048).
type store interface {
	// read returns the storage, or nil if there is none and none is wanted.
	read(ctx context.Context) (*confab.Element, error)
	write(ctx context.Context, el *confab.Element) error
}

// syncOld looks once more at the list after a sign-in, merges what old clients have
// added, and brings their storage up to date.
func (b *Bookmarks) syncOld(ctx context.Context) error {
	stores, err := b.oldStores(ctx)
	if err != nil {
		return fmt.Errorf("bookmarks: whether the server converts them: %w", err)
	}
	b.mu.Lock()
	check := b.check
	b.check = false
	b.mu.Unlock()
	if check {
		// What other devices did between the list and the own presence was told to
		// nobody. The answer from the account came after the question for the
		// capabilities that ask for events, so the server knows them by now.
		_ = b.s.Fence(ctx)
		if err := b.Refresh(ctx); err != nil {
			return err
		}
	}
	b.mu.Lock()
	ready := b.loaded && b.whole // else it is not known what is new
	removed := maps.Clone(b.removed)
	b.mu.Unlock()
	if ready {
		for _, st := range stores {
			err := b.sync(ctx, st, removed)
			if errors.As(err, new(stanza.Error)) {
				// ejabberd refuses one of two devices that write at the same time.
				err = b.sync(ctx, st, removed)
			}
			if err != nil {
				return fmt.Errorf("bookmarks: those of old clients: %w", err)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for key := range removed {
		delete(b.removed, key)
	}
	return nil
}

// oldStores returns the places that the server does not keep in step itself.
func (b *Bookmarks) oldStores(ctx context.Context) ([]store, error) {
	b.mu.Lock()
	stores, known := b.stores, b.known
	b.mu.Unlock()
	if known {
		return stores, nil
	}
	info, err := disco.GetInfo(ctx, b.s, b.s.LocalAddr().Bare(), "")
	var se stanza.Error
	if err != nil && !errors.As(err, &se) {
		return nil, err
	}
	private, pep := !info.Has(compat), !info.Has(compatPEP)
	if info.Has(conversion) {
		// The two old places are one (XEP-0411): if either is taken care of both are.
		private, pep = private && pep, false
	}
	if private {
		stores = append(stores, privateStore{b.s})
	}
	if pep {
		stores = append(stores, &nodeStore{pep: b.pep})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stores, b.known = stores, b.ready
	return stores, nil
}

// sync merges one storage. Two devices that do it at the same time write the same.
func (b *Bookmarks) sync(ctx context.Context, st store, removed map[string]bool) error {
	old, err := st.read(ctx)
	if err != nil || old == nil {
		return err
	}
	if err := b.merge(ctx, old, removed); err != nil {
		return err
	}
	b.mu.Lock()
	list := maps.Clone(b.list)
	b.mu.Unlock()
	want := collate(old, list, removed)
	if equal(old, want) {
		return nil
	}
	if data, err := want.AppendXML(nil, ""); err != nil || len(data) > maxOld {
		return cmp.Or(err, errTooLarge)
	}
	return st.write(ctx, want)
}

// merge makes bookmarks of the rooms that old clients have added.
func (b *Bookmarks) merge(ctx context.Context, old *confab.Element, removed map[string]bool) error {
	var fresh, ids []string // fresh are not marked, ids all that are not known
	from := map[string]*confab.Element{}
	b.mu.Lock()
	for c := range old.All(nsOld, "conference") {
		room, ok := oldRoom(c)
		if !ok {
			continue
		}
		key := room.String()
		if b.list[key] != nil || removed[key] || from[key] != nil || len(b.list)+len(ids) >= Max {
			continue
		}
		from[key] = c
		ids = append(ids, key)
		if !marked(c) {
			fresh = append(fresh, key)
		}
	}
	b.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	// The server is asked again: what another device has done a moment ago comes first.
	found, err := b.byID(ctx, ids)
	if err != nil {
		return err
	}
	b.mu.Lock()
	for _, key := range ids {
		if m := found[key]; m != nil && !b.removed[key] && b.list[key] == nil {
			b.put(m, true)
		}
	}
	b.mu.Unlock()
	for _, key := range fresh {
		if _, ok := found[key]; ok {
			continue
		}
		if err := b.adopt(ctx, key, fromOld(from[key])); err != nil {
			return err
		}
	}
	return nil
}

// adopt publishes a bookmark that is not there yet.
func (b *Bookmarks) adopt(ctx context.Context, key string, el *confab.Element) error {
	if _, err := parse(key, el); err != nil {
		return nil // too long, for instance: it stays where it is
	}
	if err := lock(ctx, b.writing); err != nil {
		return err
	}
	defer unlock(b.writing)
	b.mu.Lock()
	skip := b.list[key] != nil || b.removed[key]
	b.mu.Unlock()
	if skip {
		return nil
	}
	return b.write(ctx, key, el, true)
}

// oldRoom returns the room of an entry of the old storage.
func oldRoom(c *confab.Element) (jid.JID, bool) {
	if len(c.Get("jid")) > 3*maxText {
		return jid.JID{}, false
	}
	j, err := jid.Parse(c.Get("jid"))
	return j.Bare(), err == nil
}

func marked(c *confab.Element) bool { return c.Child(nsMerged, "merged") != nil }

// fromOld makes a new item of an old entry.
func fromOld(c *confab.Element) *confab.Element {
	el := confab.El(NS, "conference").Set("name", c.Get("name"))
	setBool(el, "autojoin", isTrue(c.Get("autojoin")))
	setChild(el, "password", c.ChildText(nsOld, "password"))
	nick := c.ChildText(nsOld, "nick")
	if j, err := jid.Parse(c.Get("jid")); err == nil && nick == "" {
		nick = j.Resourcepart() // as some wrote it
	}
	setChild(el, "nick", nick)
	ext := confab.El(NS, "extensions")
	for _, x := range c.Children {
		if x.Name.Space != nsOld && x.Name.Space != nsMerged {
			x = x.Clone()
			x.Tail = ""
			ext.Add(x)
		}
	}
	if len(ext.Children) > 0 {
		el.Add(ext)
	}
	return el
}

// collate makes the old storage say what the bookmarks say. What is no room, or not
// understood, stays.
func collate(old *confab.Element, list map[string]*Bookmark, removed map[string]bool) *confab.Element {
	want := old.Clone()
	want.Children = nil
	there := map[string]bool{}
	for _, c := range old.Clone().Children {
		room, ok := oldRoom(c)
		if !ok || !c.Is(nsOld, "conference") {
			want.Add(c)
			continue
		}
		key := room.String()
		switch m := list[key]; {
		case m != nil:
			there[key] = true
			toOld(c, m)
			want.Add(c)
		case !removed[key] && !marked(c):
			want.Add(c)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(list)) {
		if !there[key] {
			c := confab.El(nsOld, "conference").Set("jid", key)
			toOld(c, list[key])
			want.Add(c)
		}
	}
	return want
}

func toOld(c *confab.Element, m *Bookmark) {
	c.Set("name", m.Name)
	setBool(c, "autojoin", m.Autojoin)
	if c.ChildText(nsOld, "password") != m.Password {
		setChild(c, "password", m.Password)
	}
	if c.ChildText(nsOld, "nick") != m.Nick {
		setChild(c, "nick", m.Nick)
	}
	if !marked(c) {
		c.Add(confab.El(nsMerged, "merged"))
	}
}

// privateStore is private XML storage (XEP-0049).
type privateStore struct{ s confab.Session }

func (p privateStore) read(ctx context.Context) (*confab.Element, error) {
	var q confab.Element
	err := confab.Do(ctx, p.s, stanza.IQ{Type: stanza.GetIQ}, confab.El(nsPrivate, "query", confab.El(nsOld, "storage")), &q)
	var se stanza.Error
	switch {
	case errors.As(err, &se):
		switch se.Condition {
		case stanza.ServiceUnavailable, stanza.FeatureNotImplemented, stanza.NotAllowed, stanza.Forbidden:
			return nil, nil // there is no such storage
		case stanza.ItemNotFound:
			return confab.El(nsOld, "storage"), nil
		}
		return nil, err
	case err != nil:
		return nil, err
	}
	if el := q.Child(nsOld, "storage"); el != nil {
		return el, nil
	}
	return confab.El(nsOld, "storage"), nil
}

func (p privateStore) write(ctx context.Context, el *confab.Element) error {
	return confab.Do(ctx, p.s, stanza.IQ{Type: stanza.SetIQ}, confab.El(nsPrivate, "query", el), nil)
}

// nodeStore is the one item of a node (XEP-0048 §3). It is kept in step where it is,
// but not made: hardly any client ever used it.
type nodeStore struct {
	pep pubsub.Service
	id  string
}

func (n *nodeStore) read(ctx context.Context) (*confab.Element, error) {
	items, err := n.pep.Latest(ctx, nsOld, 1)
	if errors.Is(err, pubsub.ErrNotFound) || errors.Is(err, pubsub.ErrUnsupported) {
		return nil, nil
	}
	if err != nil || len(items) == 0 || !items[0].Payload.Is(nsOld, "storage") {
		return nil, err
	}
	n.id = items[0].ID
	return items[0].Payload, nil
}

func (n *nodeStore) write(ctx context.Context, el *confab.Element) error {
	_, err := n.pep.Publish(ctx, nsOld, pubsub.Item{ID: n.id, Payload: el}, pubsub.Private())
	return err
}
