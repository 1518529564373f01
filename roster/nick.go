package roster

import (
	"context"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// NickChanged is the event for somebody, mostly a contact or the own account, that
// has published what it is called (XEP-0172 §4.5). An empty Nick takes it back. It
// comes once after each sign-in, too. Names are claims: anyone can be called
// anything.
type NickChanged struct {
	JID  jid.JID
	Nick string
}

// WatchNicks has the servers of the contacts tell when they publish a nickname, as
// [NickChanged]. It is called once, before the session runs.
func WatchNicks(s confab.Session) {
	pubsub.Notify(s, nsNick)
	pubsub.OnEvent(s, nsNick, func(_ context.Context, e *pubsub.Event) bool {
		nick, said := "", e.Kind == pubsub.Purged || e.Kind == pubsub.Deleted || len(e.Retracted) > 0
		for _, it := range e.Items {
			if it.Payload.Is(nsNick, "nick") {
				nick, said = limit(strings.TrimSpace(it.Payload.Text)), true
			}
		}
		if said {
			s.Emit(NickChanged{JID: e.From, Nick: nick})
		}
		return said
	})
}

// SetNick publishes what this account's person is called, for all contacts to see;
// "" takes it back.
func SetNick(ctx context.Context, s confab.Requester, nick string) error {
	_, err := pubsub.New(s, jid.JID{}).Publish(ctx, nsNick,
		pubsub.Item{ID: "current", Payload: confab.El(nsNick, "nick").SetText(nick)}, pubsub.Contacts())
	return err
}
