package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

// historyTables keep events as they came: a row for each. What a conversation looks like
// is for a chat.Timeline to say, from the rows that are needed. What is counted and
// searched is kept beside it: the places up to which was read, which messages are gone,
// the texts.
const historyTables = `
CREATE TABLE conversations (
	c INTEGER PRIMARY KEY, account TEXT NOT NULL, chat TEXT NOT NULL,
	last_ms INTEGER NOT NULL DEFAULT 0,
	read_ms INTEGER NOT NULL DEFAULT 0, read_id TEXT NOT NULL DEFAULT '',
	seen_ms INTEGER NOT NULL DEFAULT 0, seen_id TEXT NOT NULL DEFAULT '',
	UNIQUE (account, chat));
CREATE INDEX conversations_by_time ON conversations (account, last_ms);
CREATE TABLE messages (
	n INTEGER PRIMARY KEY, c INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
	kind INTEGER NOT NULL, ms INTEGER NOT NULL, id TEXT NOT NULL, server TEXT NOT NULL,
	author TEXT NOT NULL, self INTEGER NOT NULL, target TEXT NOT NULL, gone INTEGER NOT NULL DEFAULT 0,
	text TEXT NOT NULL, xml TEXT NOT NULL, meta TEXT NOT NULL);
CREATE UNIQUE INDEX messages_once ON messages (c, server) WHERE server <> '';
CREATE INDEX messages_by_time ON messages (c, kind, ms, id, self, gone);
CREATE INDEX messages_by_target ON messages (c, target) WHERE target <> '';
CREATE TABLE names (c INTEGER NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE, PRIMARY KEY (c, name, n)) WITHOUT ROWID;
CREATE INDEX names_by_message ON names (n);
CREATE VIRTUAL TABLE texts USING fts5 (text, content = 'messages', content_rowid = 'n', tokenize = 'unicode61 remove_diacritics 2');
`

// kind is what an event is. The numbers are in files.
type kind int

const (
	message kind = iota + 1
	edit
	retraction
	reaction
	receipt
	displayed
)

func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func unmicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// maxName bounds the ids by which messages are known.
const maxName = 1024

// meta is what is known of a message beside its stanza.
type meta struct {
	Source    confab.Source `json:",omitzero"`
	By        string        `json:",omitempty"`
	Stamp     int64         `json:",omitempty"` // microseconds since 1970, 0 if there is none
	Received  int64         `json:",omitempty"`
	ArchiveID string        `json:",omitempty"`
	ServerID  string        `json:",omitempty"`
	Seal      *confab.Seal  `json:",omitempty"`
	From      string        `json:",omitempty"` // of who has received or displayed it
	Tombstone bool          `json:",omitempty"`
	Moderator string        `json:",omitempty"`
	Reason    string        `json:",omitempty"`
}

// row is an event on its way into the file.
type row struct {
	kind           kind
	chat           jid.JID
	msg            *chat.Message // nil for receipts and what was displayed
	author, target string
	self           bool
	meta           meta
}

func rowOf(event any) (r row, ok bool) {
	switch e := chat.Event(event).(type) {
	case *chat.Message:
		r = row{kind: message, msg: e}
	case chat.OwnMessage:
		r = row{kind: message, msg: e.Message}
	case chat.Edited:
		r = row{kind: edit, msg: e.Message, target: e.Replaces}
	case chat.Retracted:
		r = row{kind: retraction, msg: e.Message, target: e.ID}
		r.meta.Moderator, r.meta.Reason = e.By, e.Reason
	case chat.Reacted:
		r = row{kind: reaction, msg: e.Message, target: e.ReactsTo}
	case chat.Receipt:
		r = row{kind: receipt, chat: e.Chat, author: e.From.String(), target: e.ID}
		r.meta.From = e.From.String()
	case chat.Displayed:
		r = row{kind: displayed, chat: e.Chat, author: e.From.String(), self: e.Self, target: e.ID}
		r.meta.From = e.From.String()
	default:
		return r, false
	}
	if m := r.msg; m != nil {
		r.chat, r.author, r.self = m.Chat, m.Author, m.Self
		r.meta.Source, r.meta.Stamp, r.meta.Received = m.Source, micro(m.Stamp), micro(m.Received)
		r.meta.ArchiveID, r.meta.ServerID, r.meta.Seal = m.ArchiveID, m.ServerID, m.Seal
		if m.By.String() != "" {
			r.meta.By = m.By.String()
		}
	}
	return r, len(r.target) <= maxName && (r.kind == message || r.target != "")
}

// names are the ids of a message. What is said about a message names one of them, or of
// its corrections.
func (r *row) names() (names []string) {
	if r.msg == nil {
		return nil
	}
	for _, id := range [...]string{r.msg.ID, r.msg.OriginID(), r.msg.ServerID} {
		if id != "" && len(id) <= maxName && !slices.Contains(names, id) {
			names = append(names, id)
		}
	}
	return names
}

// add puts one event into the file, unless it is there.
func (h *History) add(ctx context.Context, c conn, event any) error {
	r, ok := rowOf(event)
	if !ok {
		return nil
	}
	v, err := h.conversation(ctx, c, r.chat, true)
	if err != nil {
		return err
	}
	if r.msg == nil {
		return h.tick(ctx, c, v, &r)
	}
	m := r.msg
	body, err := m.Stanza.AppendXML(nil, "")
	if err != nil {
		return nil // what cannot be written cannot have been read
	}
	if r.kind == retraction {
		author := r.author
		if r.meta.Moderator != "" {
			author = ""
		}
		found, err := h.erase(ctx, c, v, r.target, author)
		if err != nil {
			return err
		}
		if !found && m.Retracted { // the archive has nothing but the tombstone
			r.kind, r.target, r.meta.Tombstone = message, "", true
		}
	}
	at, text := m.Place(), ""
	if r.kind == message || r.kind == edit {
		if text = m.Text; m.Subject != "" {
			text = m.Subject + "\n" + text
		}
	}
	if have, err := h.has(ctx, c, v, &r, text); have || err != nil {
		return err
	}
	b, err := json.Marshal(r.meta)
	if err != nil {
		return err
	}
	res, err := c.ExecContext(ctx, `INSERT INTO messages (c, kind, ms, id, server, author, self, target, gone, text, xml, meta)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		v.c, r.kind, at.Milli, at.ID, m.ServerID, r.author, r.self, r.target, r.meta.Tombstone, text, string(body), string(b))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	n, err := res.LastInsertId()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	names := r.names()
	for _, name := range names {
		if err := exec(ctx, c, "INSERT INTO names (c, name, n) VALUES (?, ?, ?)", v.c, name, n); err != nil {
			return err
		}
	}
	if text != "" && !r.meta.Tombstone {
		if err := exec(ctx, c, "INSERT INTO texts (rowid, text) VALUES (?, ?)", n, text); err != nil {
			return err
		}
	}
	switch r.kind {
	case message:
		if err := exec(ctx, c, "UPDATE conversations SET last_ms = max(last_ms, ?) WHERE c = ?", at.Milli, v.c); err != nil {
			return err
		}
		if r.self {
			if err := v.read(ctx, c, at, true); err != nil { // who answers has read
				return err
			}
		}
		return h.settle(ctx, c, v, place{n: n, at: at, author: r.author, self: r.self}, names)
	case edit:
		of, err := h.named(ctx, c, v, r.target, r.author)
		names = slices.DeleteFunc(names, func(name string) bool { return name == r.target }) // it has that one
		for _, p := range of {
			err = errors.Join(err, h.settle(ctx, c, v, p, slices.Clone(names)))
		}
		return err
	}
	return nil
}

// has reports whether a message is there that came without the id of the archive, or is
// there with it and comes without: the same words of the same author under the same id.
func (h *History) has(ctx context.Context, c conn, v conversation, r *row, text string) (bool, error) {
	id := r.msg.Ref()
	if id == "" || len(id) > maxName {
		return false, nil
	}
	var n int64
	var server string
	err := c.QueryRowContext(ctx, `SELECT m.n, m.server FROM (SELECT n FROM names WHERE c = ? AND name = ? ORDER BY n DESC LIMIT ?) x JOIN messages m ON m.n = x.n
		WHERE m.kind = ? AND m.author = ? AND m.target = ? AND m.text = ? AND m.id = ? AND m.ms BETWEEN ? AND ? LIMIT 1`,
		v.c, id, maxSame, r.kind, r.author, r.target, text, id, r.msg.Place().Milli-sameWithin, r.msg.Place().Milli+sameWithin).Scan(&n, &server)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("store: %w", err)
	case server != "" && r.msg.ServerID != "":
		return server == r.msg.ServerID, nil
	case server == "" && r.msg.ServerID != "" && len(r.msg.ServerID) <= maxName:
		if err := exec(ctx, c, "UPDATE OR IGNORE messages SET server = ? WHERE n = ?", r.msg.ServerID, n); err != nil {
			return false, err
		}
		return true, exec(ctx, c, "INSERT OR IGNORE INTO names (c, name, n) VALUES (?, ?, ?)", v.c, r.msg.ServerID, n)
	}
	return true, nil
}

// sameWithin is how far apart, in milliseconds, the clocks of this machine and of a
// server may be for a message to be the same.
const sameWithin = 24 * 60 * 60 * 1000

// place is a message in its conversation.
type place struct {
	n      int64
	at     chat.Place
	author string
	self   bool
	gone   bool
}

// Bounds of corrections of corrections, of the ids that a message has by them, of the
// messages with one id that are looked at, and of the events about one: others choose
// ids, and are to make nothing slow by them.
const (
	maxHops  = 32
	maxNames = 32
	maxSame  = 100
	maxAbout = 100
)

// named returns the messages that have an id, themselves or by a correction, of this
// author if one is given: the one that the archive calls so first.
func (h *History) named(ctx context.Context, c conn, v conversation, id, author string) (found []place, err error) {
	type edited struct{ target, author string }
	next := []edited{{id, author}}
	own := 0 // of found, those that have the id themselves
	var rest []place
	for i := 0; i < len(next) && i < maxHops; i++ {
		e, before, further := next[i], len(found), len(next)
		rows, err := c.QueryContext(ctx, `SELECT m.n, m.ms, m.id, m.author, m.self, m.gone, m.kind, m.target FROM (SELECT n FROM names WHERE c = ? AND name = ? ORDER BY n LIMIT ?) x
			JOIN messages m ON m.n = x.n WHERE m.kind IN (?, ?) ORDER BY m.server <> ?, m.ms, m.id`, v.c, e.target, maxSame, message, edit, e.target)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		_, err = scan(rows, func(p *place) error {
			var k kind
			var target string
			if err := rows.Scan(&p.n, &p.at.Milli, &p.at.ID, &p.author, &p.self, &p.gone, &k, &target); err != nil {
				return err
			}
			switch {
			case e.author != "" && p.author != e.author:
			case k == message:
				found = append(found, *p)
			default:
				if of := (edited{target, p.author}); len(next) < maxHops && !slices.Contains(next, of) {
					next = append(next, of)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if i == 0 {
			own = len(found)
		} else if len(found) > before { // a correction is of the first that has the id
			rest = append(rest, found[before+1:]...)
			found, next = found[:before+1], next[:further]
		}
	}
	slices.SortStableFunc(found[own:], func(a, b place) int { return a.at.Compare(b.at) })
	return append(found, rest...), nil
}

// settle is for a message that has got names, of its own or of a correction: what came
// before and is about one of them counts now.
func (h *History) settle(ctx context.Context, c conn, v conversation, p place, names []string) error {
	type about struct {
		n                    int64
		kind                 kind
		author, target, meta string
		self                 bool
	}
	for begin, hops := 0, 0; begin < len(names) && hops < maxHops; hops++ {
		args := []any{v.c, retraction, displayed, edit, p.author}
		for _, name := range names[begin:] {
			args = append(args, name)
		}
		rows, err := c.QueryContext(ctx, "SELECT n, kind, author, self, target, meta FROM messages WHERE c = ? AND (kind IN (?, ?) OR kind = ? AND author = ?) AND target IN (?"+
			strings.Repeat(", ?", len(args)-6)+") LIMIT ?", append(args, maxAbout)...)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		all, err := scan(rows, func(a *about) error { return rows.Scan(&a.n, &a.kind, &a.author, &a.self, &a.target, &a.meta) })
		if err != nil {
			return err
		}
		begin = len(names)
		edits := []any{maxNames}
		for _, a := range all {
			switch {
			case a.kind == retraction && (a.author == p.author || moderated(a.meta)):
				_, err = h.erase(ctx, c, v, a.target, by(a.author, a.meta))
			case a.kind == displayed && a.self != p.self:
				err = v.read(ctx, c, p.at, a.self)
			case a.kind == edit:
				edits = append(edits, a.n)
			}
			if err != nil {
				return err
			}
		}
		if len(edits) == 1 || begin >= maxNames {
			return nil
		}
		rows, err = c.QueryContext(ctx, "SELECT DISTINCT name FROM names WHERE n IN (?2"+strings.Repeat(", ?", len(edits)-2)+") LIMIT ?1", edits...)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		more, err := scan(rows, func(s *string) error { return rows.Scan(s) })
		if err != nil {
			return err
		}
		for _, name := range more {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return nil
}

func moderated(metaJSON string) bool {
	var m meta
	return json.Unmarshal([]byte(metaJSON), &m) == nil && m.Moderator != ""
}

// by returns whose messages a retraction is about: "" stands for everybody's.
func by(author, metaJSON string) string {
	if moderated(metaJSON) {
		return ""
	}
	return author
}

// tick keeps a receipt, or that something was displayed.
func (h *History) tick(ctx context.Context, c conn, v conversation, r *row) error {
	var one int
	err := c.QueryRowContext(ctx, "SELECT 1 FROM messages WHERE c = ? AND target = ? AND kind = ? AND self = ? LIMIT 1", v.c, r.target, r.kind, r.self).Scan(&one)
	if err == nil {
		return nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("store: %w", err)
	}
	b, err := json.Marshal(r.meta)
	if err != nil {
		return err
	}
	if err := exec(ctx, c, `INSERT INTO messages (c, kind, ms, id, server, author, self, target, text, xml, meta) VALUES (?, ?, 0, '', '', ?, ?, ?, '', '', ?)`,
		v.c, r.kind, r.author, r.self, r.target, string(b)); err != nil {
		return err
	}
	if r.kind != displayed {
		return nil
	}
	of, err := h.named(ctx, c, v, r.target, "")
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(of, func(p place) bool { return p.self != r.self }); i >= 0 {
		return v.read(ctx, c, of[i].at, r.self)
	}
	return nil
}

// erase is for a retraction: what it takes back is counted and found no more. Of several
// messages with one id that is the first.
func (h *History) erase(ctx context.Context, c conn, v conversation, target, author string) (found bool, err error) {
	of, err := h.named(ctx, c, v, target, author)
	for i, p := range of {
		switch {
		case err != nil:
			return false, err
		case i == 0 && !p.gone:
			err = h.gone(ctx, c, p.n)
		case i > 0 && p.gone:
			err = h.restore(ctx, c, v, p)
		}
	}
	return len(of) > 0, err
}

func (h *History) gone(ctx context.Context, c conn, n int64) error {
	if err := exec(ctx, c, "INSERT INTO texts (texts, rowid, text) SELECT 'delete', n, text FROM messages WHERE n = ? AND gone = 0 AND text <> ''", n); err != nil {
		return err
	}
	return exec(ctx, c, "UPDATE messages SET gone = 1 WHERE n = ?", n)
}

// restore is for a message that was taken for one that was taken back, until an earlier
// one with the same id came, unless it was taken back as well.
func (h *History) restore(ctx context.Context, c conn, v conversation, p place) error {
	var m string
	if err := c.QueryRowContext(ctx, "SELECT meta FROM messages WHERE n = ?", p.n).Scan(&m); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	var own meta
	if json.Unmarshal([]byte(m), &own) != nil || own.Tombstone {
		return nil
	}
	type about struct{ author, target, meta string }
	rows, err := c.QueryContext(ctx, `SELECT author, target, meta FROM messages WHERE c = ?1 AND kind = ?2 AND target IN (SELECT name FROM names WHERE n = ?3
		UNION SELECT e.name FROM names x JOIN messages m ON m.c = ?1 AND m.target = x.name AND m.kind = ?4 AND m.author = ?5 JOIN names e ON e.n = m.n WHERE x.n = ?3) LIMIT ?6`,
		v.c, retraction, p.n, edit, p.author, maxAbout)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	all, err := scan(rows, func(a *about) error { return rows.Scan(&a.author, &a.target, &a.meta) })
	if err != nil {
		return err
	}
	for _, a := range all {
		of, err := h.named(ctx, c, v, a.target, by(a.author, a.meta))
		if err != nil || len(of) > 0 && of[0].n == p.n {
			return err
		}
	}
	if err := exec(ctx, c, "INSERT INTO texts (rowid, text) SELECT n, text FROM messages WHERE n = ? AND gone = 1 AND text <> ''", p.n); err != nil {
		return err
	}
	return exec(ctx, c, "UPDATE messages SET gone = 0 WHERE n = ?", p.n)
}

// event makes an event of a row again.
func (h *History) event(ch jid.JID, k kind, author string, self bool, target, text, body, metaJSON string) (any, error) {
	var m meta
	if err := json.Unmarshal([]byte(metaJSON), &m); err != nil {
		return nil, fmt.Errorf("store: a message is damaged: %w", err)
	}
	if k == receipt || k == displayed {
		from, err := jid.Parse(m.From)
		if err != nil {
			return nil, fmt.Errorf("store: a message is damaged: %w", err)
		}
		if k == receipt {
			return chat.Receipt{Chat: ch, From: from, ID: target}, nil
		}
		return chat.Displayed{Chat: ch, From: from, Self: self, ID: target}, nil
	}
	el, err := confab.ReadElement(xml.NewDecoder(bytes.NewReader([]byte(body))))
	var msg *confab.Message
	if err == nil {
		msg, err = confab.ParseMessage(el, h.self)
	}
	if err != nil { // what others have sent is stranger than this decoder takes: its text is left
		msg, err = confab.ParseMessage(confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText(text)), h.self)
	}
	if err != nil {
		return nil, fmt.Errorf("store: a message is damaged: %w", err)
	}
	msg.Source, msg.Stamp, msg.Received, msg.ArchiveID, msg.Seal, msg.By = m.Source, unmicro(m.Stamp), unmicro(m.Received), m.ArchiveID, m.Seal, jid.JID{}
	if m.By != "" {
		if msg.By, err = jid.Parse(m.By); err != nil {
			return nil, fmt.Errorf("store: a message is damaged: %w", err)
		}
	}
	cm := &chat.Message{Message: msg, Content: chat.Parse(msg), Chat: ch, Author: author, Self: self, ServerID: m.ServerID}
	switch {
	case k == edit:
		cm.Replaces = target
		return chat.Edited{Message: cm}, nil
	case k == retraction:
		cm.Reason = m.Reason
		return chat.Retracted{Message: cm, ID: target, By: m.Moderator}, nil
	case m.Tombstone:
		cm.Retracted, cm.Reason = true, m.Reason
		return chat.Retracted{Message: cm, ID: cm.Ref(), By: m.Moderator}, nil
	case k == reaction:
		cm.ReactsTo = target
		return chat.Reacted{Message: cm}, nil
	case self:
		return chat.OwnMessage{Message: cm}, nil
	}
	return cm, nil
}

func exec(ctx context.Context, c conn, query string, args ...any) error {
	if _, err := c.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
