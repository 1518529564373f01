package bookmarks

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

// NS is the namespace of bookmarks and the name of the node where they are.
const NS = "urn:xmpp:bookmarks:1"

const (
	nsPinned = "urn:xmpp:bookmarks-pinning:0"
	// notifySpaces is how the namespaces of notification settings begin.
	notifySpaces = "urn:xmpp:notification-settings:"
)

// Bounds for what a server sends.
const (
	maxText       = 4 << 10 // of a name, a nickname, a password
	maxExtensions = 8 << 10 // what is kept in memory of one bookmark's extensions
)

// A Bookmark is a room that the user has kept. Its elements are shared: they must not
// be changed, only replaced.
type Bookmark struct {
	// Room is the address of the room, without a resource.
	Room jid.JID
	// Name is what the user calls the room; mostly empty.
	Name string
	// Nick is the nickname for this room, "" for the one that the user always has.
	Nick string
	// Password lets one in. It is kept by the server in clear.
	Password string
	// Autojoin says to be in the room whenever one is online.
	Autojoin bool
	// Pinned says that it is important (XEP-0469).
	Pinned bool
	// Notify says what of the room to tell the user at once (XEP-0492).
	Notify chat.Notify
	// Extensions are what clients have added beside these, in namespaces of their own
	// (XEP-0402 §2). Those of a bookmark that are unreasonably large are left out here,
	// but kept on the server.
	Extensions []*confab.Element

	id, room string    // of the item: its id, and Room as it should be there
	was      *Bookmark // what a copy that was handed out was made from
}

// Extension returns the first extension of this namespace and name, or nil.
func (m Bookmark) Extension(space, local string) *confab.Element {
	for _, x := range m.Extensions {
		if x.Is(space, local) {
			return x
		}
	}
	return nil
}

// copy returns a Bookmark for the user, who may change it.
func (m *Bookmark) copy() Bookmark {
	c := *m
	c.Notify.For = slices.Clone(m.Notify.For)
	c.Extensions = slices.Clone(m.Extensions)
	c.was, c.room = m, "" // Room may be changed
	return c
}

// key is what the bookmark is found under.
func (m *Bookmark) key() string {
	if m.room != "" {
		return m.room
	}
	return m.Room.String()
}

// same reports whether two bookmarks say the same.
func (m *Bookmark) same(o *Bookmark) bool {
	return m.Name == o.Name && m.Nick == o.Nick && m.Password == o.Password && m.Autojoin == o.Autojoin &&
		m.Pinned == o.Pinned && sameNotify(m.Notify, o.Notify) && slices.EqualFunc(m.Extensions, o.Extensions, equal)
}

func sameNotify(a, b chat.Notify) bool { return a.Level == b.Level && slices.Equal(a.For, b.For) }

// roomOf reads the address of a room, as it is in an item's id.
func roomOf(id string) (jid.JID, error) {
	j, err := jid.Parse(id)
	if err == nil && j.Resourcepart() != "" {
		err = errors.New("it has a resource")
	}
	if err != nil {
		return jid.JID{}, fmt.Errorf("bookmarks: %q is not the address of a room: %w", id, err)
	}
	return j, nil
}

// parse reads an item.
func parse(id string, el *confab.Element) (*Bookmark, error) {
	if len(id) > 3*maxText {
		return nil, errors.New("bookmarks: the id of an item is too long")
	}
	if !el.Is(NS, "conference") {
		return nil, fmt.Errorf("bookmarks: the item %q is not a bookmark", id)
	}
	room, err := roomOf(id)
	if err != nil {
		return nil, err
	}
	m := &Bookmark{Room: room, id: id, room: room.String(), Autojoin: isTrue(el.Get("autojoin")),
		Name: el.Get("name"), Nick: el.ChildText(NS, "nick"), Password: el.ChildText(NS, "password")}
	if max(len(m.Name), len(m.Nick), len(m.Password)) > maxText {
		return nil, fmt.Errorf("bookmarks: the texts of the bookmark %q are too long", id)
	}
	ext := el.Child(NS, "extensions")
	if ext == nil {
		return m, nil
	}
	m.Pinned = ext.Child(nsPinned, "pinned") != nil
	if weight(ext, maxExtensions) > maxExtensions {
		// What stays must not hold on to the whole stanza.
		m.Name, m.Nick, m.Password, m.id = strings.Clone(m.Name), strings.Clone(m.Nick), strings.Clone(m.Password), strings.Clone(id)
		return m, nil
	}
	m.Notify, _ = chat.ParseNotify(ext)
	for _, x := range ext.Children {
		if !isField(x.Name) {
			m.Extensions = append(m.Extensions, x)
		}
	}
	return m, nil
}

func isTrue(s string) bool { return s == "true" || s == "1" }

// isField reports whether an extension is one that [Bookmark] has as a field.
func isField(n xml.Name) bool {
	return n.Space == nsPinned && n.Local == "pinned" || isNotify(n)
}

func isNotify(n xml.Name) bool {
	return n.Local == "notify" && strings.HasPrefix(n.Space, notifySpaces)
}

// weight is about what an element takes in memory. It does not count far beyond most.
func weight(e *confab.Element, most int) int {
	n := 120 + len(e.Text) + len(e.Tail) + len(e.Name.Local) + len(e.Name.Space)
	for _, a := range e.Attr {
		n += 64 + len(a.Name.Local) + len(a.Value)
	}
	for _, c := range e.Children {
		if n > most {
			break
		}
		n += weight(c, most-n)
	}
	return n
}

// check refuses what cannot be written.
func (m *Bookmark) check() error {
	if err := checkRoom(m.Room); err != nil {
		return err
	}
	if m.Nick != "" {
		if _, err := m.Room.WithResource(m.Nick); err != nil {
			return fmt.Errorf("bookmarks: %q cannot be a nickname: %w", m.Nick, err)
		}
	}
	if max(len(m.Name), len(m.Nick), len(m.Password)) > maxText {
		return fmt.Errorf("bookmarks: a text of the bookmark is longer than %d bytes", maxText)
	}
	if !levelOK(m.Notify.Level) {
		return fmt.Errorf("bookmarks: there is no notification level %q", m.Notify.Level)
	}
	for _, f := range m.Notify.For {
		if f.Category == "" || f.Level == "" || !levelOK(f.Level) {
			return fmt.Errorf("bookmarks: notification settings for a kind of client need a category and a level, not %q and %q", f.Category, f.Level)
		}
	}
	for _, x := range m.Extensions {
		switch {
		case x == nil || x.Name.Space == "" || x.Name.Space == NS:
			return errors.New("bookmarks: an extension needs a namespace of its own")
		case isField(x.Name):
			return fmt.Errorf("bookmarks: <%s/> is a field of Bookmark, not an extension", x.Name.Local)
		}
	}
	// What cannot be XML is found out now, not after half of the work.
	if _, err := m.apply(nil).AppendXML(nil, ""); err != nil {
		return fmt.Errorf("bookmarks: %w", err)
	}
	return nil
}

func levelOK(l chat.NotifyLevel) bool {
	switch l {
	case "", chat.NotifyAlways, chat.NotifyOnMention, chat.NotifyNever:
		return true
	}
	return false
}

func checkRoom(room jid.JID) error {
	if room.Domainpart() == "" || room.Resourcepart() != "" {
		return fmt.Errorf("bookmarks: %q is not the address of a room, without a resource", room)
	}
	return nil
}

// apply writes what the user wants into the item as it is now, base, or into a new one
// if that is nil. Of a bookmark that was handed out, only what was changed since is
// written. All that is unknown stays.
func (m *Bookmark) apply(base *confab.Element) *confab.Element {
	el, was := base.Clone(), m.was
	if !el.Is(NS, "conference") {
		el, was = confab.El(NS, "conference"), nil
	}
	if was == nil || was.Name != m.Name {
		el.Set("name", m.Name)
	}
	if was == nil || was.Autojoin != m.Autojoin {
		setBool(el, "autojoin", m.Autojoin)
	}
	if was == nil || was.Password != m.Password {
		setChild(el, "password", m.Password)
	}
	if was == nil || was.Nick != m.Nick {
		setChild(el, "nick", m.Nick)
	}
	ext := el.Child(NS, "extensions")
	if ext == nil {
		ext = confab.El(NS, "extensions")
		el.Add(ext)
	}
	m.applyExtensions(ext, was)
	if len(ext.Children) == 0 && len(ext.Attr) == 0 {
		remove(el, func(n xml.Name) bool { return n == ext.Name })
	}
	return el
}

func (m *Bookmark) applyExtensions(ext *confab.Element, was *Bookmark) {
	if was == nil || was.Pinned != m.Pinned {
		if !m.Pinned {
			remove(ext, func(n xml.Name) bool { return n.Space == nsPinned && n.Local == "pinned" })
		} else if ext.Child(nsPinned, "pinned") == nil {
			ext.Add(confab.El(nsPinned, "pinned"))
		}
	}
	if now, _ := chat.ParseNotify(ext); (was == nil || !sameNotify(was.Notify, m.Notify)) && !sameNotify(now, m.Notify) {
		now.Level, now.For = m.Notify.Level, m.Notify.For
		remove(ext, isNotify)
		if n := now.Element(); len(n.Children) > 0 {
			ext.Add(n)
		}
	}
	// Extensions of one name go together.
	names := map[xml.Name]bool{}
	var old []*confab.Element
	if was != nil {
		old = was.Extensions
	}
	for _, x := range slices.Concat(m.Extensions, old) {
		if names[x.Name] || isField(x.Name) {
			continue
		}
		names[x.Name] = true
		want := named(m.Extensions, x.Name)
		if was != nil && slices.EqualFunc(want, named(old, x.Name), equal) {
			continue
		}
		remove(ext, func(n xml.Name) bool { return n == x.Name })
		for _, w := range want {
			w = w.Clone()
			w.Tail = ""
			ext.Add(w)
		}
	}
}

func named(list []*confab.Element, name xml.Name) (some []*confab.Element) {
	for _, x := range list {
		if x.Name == name {
			some = append(some, x)
		}
	}
	return some
}

func remove(el *confab.Element, which func(xml.Name) bool) {
	el.Children = slices.DeleteFunc(el.Children, func(c *confab.Element) bool { return which(c.Name) })
}

// setBool sets an attribute that is false if it is not there. One that says so already
// stays as it is written.
func setBool(el *confab.Element, name string, on bool) {
	switch {
	case isTrue(el.Get(name)) == on:
	case on:
		el.Set(name, "true")
	default:
		el.Set(name, "")
	}
}

// setChild sets the text of a child in the namespace of el, or removes it.
func setChild(el *confab.Element, local, text string) {
	space := el.Name.Space
	switch c := el.Child(space, local); {
	case text == "":
		remove(el, func(n xml.Name) bool { return n.Space == space && n.Local == local })
	case c != nil:
		c.Text, c.Children = text, nil
	default:
		c = confab.El(space, local).SetText(text)
		el.Children = append([]*confab.Element{c}, el.Children...)
	}
}

// equal compares elements as servers keep them: the order of attributes and white
// space between elements do not count.
func equal(a, b *confab.Element) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Name != b.Name || len(a.Attr) != len(b.Attr) || !equalText(a.Text, b.Text) || len(a.Children) != len(b.Children) {
		return false
	}
	for _, x := range a.Attr {
		if v, ok := b.Lookup(x.Name.Space, x.Name.Local); !ok || v != x.Value {
			return false
		}
	}
	for i, c := range a.Children {
		if !equal(c, b.Children[i]) || !equalText(c.Tail, b.Children[i].Tail) {
			return false
		}
	}
	return true
}

func equalText(a, b string) bool {
	return a == b || strings.TrimSpace(a) == "" && strings.TrimSpace(b) == ""
}
