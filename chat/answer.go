package chat

import (
	"container/list"
	"context"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

// maxAnswers bounds the receipts that wait to be sent; who sends faster than that
// gets none for the rest.
const maxAnswers = 1000

// answer sends a receipt for a message that asks for one (XEP-0184), if its author
// may know.
func (c *Client) answer(m *Message) {
	if !m.WantsReceipt || m.ID == "" || m.Self || c.cfg.NoReceipts || !m.said() {
		return
	}
	if m.Source != confab.Live && m.Source != confab.Offline || !c.mayKnow(m.Chat) {
		return
	}
	d := confab.Draft{To: m.From, Type: m.Type, ID: c.ids.Next(), Extra: []any{
		confab.El(nsReceipts, "received").Set("id", m.ID), confab.El(nsHints, string(Store)),
	}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) == maxAnswers {
		return
	}
	c.answers = append(c.answers, d)
	if !c.sending {
		c.sending = true
		c.s.Go(c.sendAnswers)
	}
}

// sendAnswers sends the receipts that wait. Sending can block, which the dispatcher
// must not.
func (c *Client) sendAnswers(ctx context.Context) {
	for {
		c.mu.Lock()
		ds := c.answers
		c.answers = nil
		if len(ds) == 0 || ctx.Err() != nil {
			c.sending = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, d := range ds {
			_, _ = c.s.SendMessage(ctx, d) // fails only when the session ends
		}
	}
}

func (c *Client) mayKnow(bare jid.JID) bool {
	if bare.Equal(c.s.LocalAddr().Bare()) {
		return true
	}
	if c.cfg.Reveal != nil {
		return c.cfg.Reveal(bare)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrote.has(bare.String())
}

// recently is a set of strings that forgets the oldest.
type recently struct {
	order *list.List
	at    map[string]*list.Element
}

const maxRecent = 4096

func newRecently() *recently { return &recently{list.New(), map[string]*list.Element{}} }

func (r *recently) add(s string) {
	if e := r.at[s]; e != nil {
		r.order.MoveToBack(e)
		return
	}
	r.at[s] = r.order.PushBack(s)
	if r.order.Len() > maxRecent {
		delete(r.at, r.order.Remove(r.order.Front()).(string))
	}
}

func (r *recently) has(s string) bool { return r.at[s] != nil }

func (r *recently) drop(s string) {
	if e := r.at[s]; e != nil {
		delete(r.at, r.order.Remove(e).(string))
	}
}
