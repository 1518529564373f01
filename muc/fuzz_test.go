package muc

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// FuzzPresence: no presence makes the reader panic or keep more than it should.
func FuzzPresence(f *testing.F) {
	for _, s := range []string{
		"<presence xmlns='jabber:client' from='a@b/c'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator' jid='x@y/z' nick='n'><actor nick='m'/><reason>r</reason></item><status code='110'/><destroy jid='q@w'/></x></presence>",
		"<presence xmlns='jabber:client' from='a@b/c'><hats xmlns='urn:xmpp:hats:0'><hat uri='u' title='t'/></hats><occupant-id xmlns='urn:xmpp:occupant-id:0' id='i'/><x xmlns='vcard-temp:x:update'><photo>0123456789012345678901234567890123456789</photo></x></presence>",
	} {
		f.Add(s)
	}
	from := jid.MustParse("heath@rooms.example/witch")
	f.Fuzz(func(t *testing.T, s string) {
		el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
		if err != nil {
			return
		}
		u := readUserX(el)
		o := readOccupant(&confab.Presence{From: from, Stanza: el}, &u, abilities{ids: true, hats: true})
		if len(u.codes) > maxCodes || len(o.Hats) > maxHats || len(o.OccupantID) > maxID || o.Nick != "witch" || o.Role == "" || o.Affiliation == "" {
			t.Errorf("%+v %+v", u, o)
		}
	})
}

// FuzzHasWord: the word is found where it stands by itself, and looking for it ends.
func FuzzHasWord(f *testing.F) {
	f.Add("hello witch!", "witch")
	f.Add("witches", "witch")
	f.Fuzz(func(t *testing.T, text, word string) {
		if word == "" {
			return
		}
		if hasWord(text, word) && !strings.Contains(text, word) {
			t.Errorf("%q is not in %q", word, text)
		}
		if !strings.Contains(text, word) {
			return
		}
		if text == word && !hasWord(text, word) {
			t.Errorf("%q is in %q", word, text)
		}
	})
}
