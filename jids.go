package confab

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"mellium.im/xmpp/jid"
)

// jidCache keeps the JIDs that were parsed last: a hundred thousand messages
// come from some sixty contacts, and parsing is most of what a short stanza
// costs. It is bounded, and safe for concurrent use.
type jidCache struct {
	mu   sync.Mutex
	cur  map[string]jid.JID
	prev map[string]jid.JID
}

const jidCacheSize = 512

// parse is jid.Parse for addresses that come again and again. The empty string
// gives the zero JID.
func (p *jidCache) parse(s string) (jid.JID, error) {
	if s == "" {
		return jid.JID{}, nil
	}
	p.mu.Lock()
	j, ok := p.cur[s]
	if !ok {
		if j, ok = p.prev[s]; ok {
			p.put(strings.Clone(s), j)
		}
	}
	p.mu.Unlock()
	if ok {
		return j, nil
	}
	j, err := parseJID(s)
	if err != nil {
		return j, err
	}
	p.mu.Lock()
	// The clone lets go of the stanza that s is a part of.
	p.put(strings.Clone(s), j)
	p.mu.Unlock()
	return j, nil
}

// parseJID is jid.Parse, but takes any resource that its server has let be. Servers know
// younger characters, or have other rules: who calls themselves by an emoji of this year
// would be heard by everybody but us.
func parseJID(s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err == nil {
		return j, nil
	}
	bare, resource, ok := strings.Cut(s, "/")
	if !ok || resource == "" || len(resource) > 1023 || !utf8.ValidString(resource) || strings.ContainsFunc(resource, unicode.IsControl) {
		return j, err
	}
	b, err := jid.Parse(bare)
	if err != nil {
		return j, err
	}
	return jid.NewUnsafe(b.Localpart(), b.Domainpart(), resource).JID, nil
}

// put adds to the newer half; when that is full the older half is forgotten.
func (p *jidCache) put(s string, j jid.JID) {
	if p.cur == nil || len(p.cur) >= jidCacheSize {
		p.prev, p.cur = p.cur, make(map[string]jid.JID, 8)
	}
	p.cur[s] = j
}

// sameJID reports whether s is the address j, in any spelling of it.
func sameJID(s string, j jid.JID) bool {
	if s == "" {
		return false
	}
	p, err := parseJID(s)
	return err == nil && p.Equal(j)
}

func isZero(j jid.JID) bool { return j.Equal(jid.JID{}) }

// appendJID appends j, escaped, without making a string of it.
func appendJID(b []byte, j jid.JID) ([]byte, error) {
	var err error
	if l := j.Localpart(); l != "" {
		if b, err = appendEscaped(b, l); err != nil {
			return b, err
		}
		b = append(b, '@')
	}
	if b, err = appendEscaped(b, j.Domainpart()); err != nil {
		return b, err
	}
	if r := j.Resourcepart(); r != "" {
		return appendEscaped(append(b, '/'), r)
	}
	return b, nil
}
