package bookmarks

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
)

// An item that can be read can be written: nothing changes if nothing was changed, and
// what was changed is what is read then, with all else in place.
func FuzzItem(f *testing.F) {
	f.Add("theplay@conference.shakespeare.lit", `<conference xmlns='urn:xmpp:bookmarks:1' name='The Play' autojoin='true' x='y'><nick>JC</nick><password>p</password>
		<extensions><state xmlns='http://myclient.example/bookmark/state' minimized='true'/><pinned xmlns='urn:xmpp:bookmarks-pinning:0'/>
		<notify xmlns='urn:xmpp:notification-settings:1'><never identity-category="client" identity-type="pc"/><always><advanced/></always></notify></extensions></conference>`)
	f.Add("a@b", `<conference xmlns='urn:xmpp:bookmarks:1'/>`)
	f.Add("a@b", `<conference xmlns='urn:xmpp:bookmarks:1'><extensions/><extensions><a xmlns='a'/></extensions><nick/><nick>a<b/></nick></conference>`)
	f.Add("a@b", `<conference xmlns='urn:xmpp:bookmarks:1'><extensions><notify xmlns='urn:xmpp:notification-settings:0'><never/></notify><pinned xmlns='urn:xmpp:bookmarks-pinning:0'/><pinned xmlns='urn:xmpp:bookmarks-pinning:0'/></extensions></conference>`)
	f.Add("A@B/c", `<conference xmlns='urn:xmpp:bookmarks:1'/>`)
	f.Fuzz(func(t *testing.T, id, s string) {
		el, ok := read(s)
		if !ok {
			return
		}
		m, err := parse(id, el)
		if err != nil {
			return
		}
		if m.Room.Resourcepart() != "" || m.key() == "" {
			t.Fatalf("%q has become the room %q", id, m.Room)
		}
		c := m.copy()
		if got := c.apply(el); !emptyExtensions(el) && !equal(got, el) {
			t.Fatalf("nothing was changed, but\n%s\nhas become\n%s", el, got)
		}
		c.Name, c.Nick, c.Password, c.Autojoin, c.Pinned = "n", "i", "p", !m.Autojoin, !m.Pinned
		c.Notify.Level = chat.NotifyAlways
		c.Extensions = append(c.Extensions, confab.El("urn:x", "mine"))
		got, err := parse(id, c.apply(el))
		if err != nil {
			t.Fatal(err)
		}
		if weight(c.apply(el).Child(NS, "extensions"), maxExtensions) > maxExtensions {
			return
		}
		if got.Name != "n" || got.Nick != "i" || got.Password != "p" || got.Autojoin == m.Autojoin || got.Pinned == m.Pinned ||
			got.Notify.Level != chat.NotifyAlways || len(got.Extensions) != len(m.Extensions)+1 {
			t.Fatalf("%+v from %s", got, el)
		}
		for _, x := range el.Children { // what was beside is still there
			if x.Name.Space != NS && !among(c.apply(el).Children, x) {
				t.Fatalf("%s is lost", x)
			}
		}
	})
}

func among(list []*confab.Element, x *confab.Element) bool {
	for _, y := range list {
		if equal(x, y) {
			return true
		}
	}
	return false
}

// The old storage can be brought up to date however it looks, and what is up to date
// stays as it is.
func FuzzOld(f *testing.F) {
	f.Add(`<storage xmlns='storage:bookmarks'><url name='x' url='http://x'/><conference jid='council@conference.underhill.org' name='C' autojoin='1'><nick>Puck</nick></conference>
		<conference jid='a@b/nick'/><conference jid='@'/><conference/><conference jid='old@x'><merged xmlns='https://github.com/confab-im/confab/bookmarks'/></conference></storage>`)
	f.Fuzz(func(t *testing.T, s string) {
		st, ok := read(s)
		if !ok {
			return
		}
		list := map[string]*Bookmark{}
		for _, c := range st.Children {
			room, ok := oldRoom(c)
			if !ok || !c.Is(nsOld, "conference") || marked(c) {
				continue
			}
			if m, err := parse(room.String(), fromOld(c)); err == nil {
				list[room.String()] = m
			}
		}
		once := collate(st, list, nil)
		if twice := collate(once, list, nil); !equal(once, twice) {
			t.Fatalf("%s\nis not\n%s", once, twice)
		}
		there := map[string]bool{}
		for c := range once.All(nsOld, "conference") {
			if room, ok := oldRoom(c); ok {
				there[room.String()] = true
			}
		}
		for key := range list {
			if !there[key] {
				t.Fatalf("%s is lost", key)
			}
		}
	})
}

// read reads an element as it can come from a stream.
func read(s string) (*confab.Element, bool) {
	el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
	if err != nil {
		return nil, false
	}
	_, err = el.AppendXML(nil, "")
	return el, err == nil
}

// emptyExtensions reports whether an item has extensions that say nothing, which are
// not written.
func emptyExtensions(el *confab.Element) bool {
	x := el.Child(NS, "extensions")
	return x != nil && len(x.Children) == 0
}
