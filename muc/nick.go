package muc

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"mellium.im/xmpp/jid"
)

// at returns the address that the user wants to have in the room.
func (r *Room) at(nick string) (jid.JID, error) {
	if nick == "" {
		return jid.JID{}, errors.New("muc: a nickname is needed")
	}
	a, err := r.jid.WithResource(nick)
	if err != nil {
		return a, fmt.Errorf("muc: the nickname %q: %w", nick, err)
	}
	return a, nil
}

// of returns the address of somebody who is there, or may be. Which nicknames can be is
// for the room to say: it may know younger characters than we do, or other rules.
func (r *Room) of(nick string) (jid.JID, error) {
	a, err := r.at(nick)
	if err == nil || nick == "" || len(nick) > 1023 || !utf8.ValidString(nick) {
		return a, err
	}
	return jid.NewUnsafe(r.jid.Localpart(), r.jid.Domainpart(), nick).JID, nil
}

// sameNick reports whether a nickname is what a server with the older rules (RFC 6122,
// resourceprep) makes of another: Prosody and ejabberd turn "ﬁsh" into "fish", and do not
// say so.
func sameNick(a, b string) bool { return a == b || prepared(a) == prepared(b) }

func prepared(nick string) string {
	return norm.NFKC.String(strings.Map(func(c rune) rune {
		switch {
		case c == 0xAD, c == 0x34F, c == 0x1806, c >= 0x180B && c <= 0x180D, c >= 0x200B && c <= 0x200D,
			c == 0x2060, c >= 0xFE00 && c <= 0xFE0F, c == 0xFEFF: // RFC 3454, table B.1
			return -1
		}
		return c
	}, nick))
}
