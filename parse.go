package confab

import (
	"errors"

	"mellium.im/xmpp/jid"
)

// ParseMessage makes a Message of a stanza that was kept, such as one in a database: self
// is the full JID, or the bare one, of whose message it was. [Session.DecodeMessage] is
// for those of a session.
func ParseMessage(el *Element, self jid.JID) (*Message, error) {
	if !el.Is(NSClient, "message") {
		return nil, errors.New("confab: not a message")
	}
	var p jidCache
	return p.decodeMessage(el, self)
}
