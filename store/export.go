package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

// Exported is one line of an export.
type Exported struct {
	Chat     string    `json:"chat"`
	Author   string    `json:"author"`
	Self     bool      `json:"self,omitempty"`
	Time     time.Time `json:"time"`
	ID       string    `json:"id,omitempty"`
	ServerID string    `json:"server_id,omitempty"`
	// Text is the text that counts, and XML the stanza that has it, decrypted if it
	// was encrypted. Both are empty for what was taken back.
	Text      string              `json:"text,omitempty"`
	Subject   string              `json:"subject,omitempty"`
	Edits     int                 `json:"edits,omitempty"`
	Retracted bool                `json:"retracted,omitempty"`
	Reactions map[string][]string `json:"reactions,omitempty"`
	Encrypted string              `json:"encrypted,omitempty"` // the scheme
	XML       string              `json:"xml,omitempty"`
}

// Export writes all messages of the account, conversation after conversation and oldest
// first, each as a line of JSON: an [Exported]. Progress, which may be nil, is told how
// many of how many are written.
func (h *History) Export(ctx context.Context, w io.Writer, progress func(done, total int)) error {
	var chats []jid.JID
	total, done := 0, 0
	err := h.view(ctx, func(c conn) error {
		if err := c.QueryRowContext(ctx, "SELECT count(*) FROM messages m JOIN conversations v ON v.c = m.c WHERE v.account = ? AND m.kind = ?", h.account, message).Scan(&total); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		rows, err := c.QueryContext(ctx, "SELECT chat FROM conversations WHERE account = ? ORDER BY chat", h.account)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		chats, err = scan(rows, func(j *jid.JID) error {
			var s string
			if err := rows.Scan(&s); err != nil {
				return err
			}
			*j, err = jid.Parse(s)
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, ch := range chats {
		for p := (Page{After: chat.Place{Milli: -1 << 62}, Limit: 500}); ; {
			es, err := h.Entries(ctx, ch, p)
			if err != nil {
				return err
			}
			if len(es) == 0 {
				break
			}
			for _, e := range es {
				if err := enc.Encode(exported(e)); err != nil {
					return err
				}
			}
			if done += len(es); progress != nil {
				progress(done, max(done, total))
			}
			p.After = es[len(es)-1].Message.Place()
		}
	}
	return nil
}

func exported(e chat.Entry) Exported {
	m := e.Message
	at := m.When()
	if y := at.Year(); y < 0 || y > 9999 { // JSON has no such years
		at = time.Time{}
	}
	x := Exported{Chat: m.Chat.String(), Author: m.Author, Self: m.Self, Time: at, ID: m.ID, ServerID: m.ServerID,
		Edits: e.Edits, Retracted: e.Retracted, Reactions: e.Reactions}
	if e.Retracted {
		return x
	}
	x.Text, x.Subject, x.XML = e.Current.Text, e.Current.Subject, e.Current.Stanza.String()
	if e.Current.Seal != nil {
		x.Encrypted = e.Current.Seal.Scheme
	}
	return x
}
