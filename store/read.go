package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

// DefaultLimit is how many are returned at most where nothing else is said.
const DefaultLimit = 50

// maxEvents bounds the corrections, reactions and ticks of one page that are looked at: the
// newest.
const maxEvents = 5000

// A Conversation is what a list of chats shows of one.
type Conversation struct {
	Chat jid.JID
	// Last is the newest message.
	Last chat.Entry
	// Unread is how many messages of others are newer than what the user has read, not
	// counting those that were taken back.
	Unread int
}

// conversation is one as the file has it.
type conversation struct {
	c          int64
	chat       jid.JID
	user, seen chat.Place // how far the user, and the other one, have read
}

// conversation returns that with chat, c 0 if there is none and none is to be made.
func (h *History) conversation(ctx context.Context, c conn, ch jid.JID, create bool) (v conversation, err error) {
	v.chat = ch
	for range 2 {
		err = c.QueryRowContext(ctx, "SELECT c, read_ms, read_id, seen_ms, seen_id FROM conversations WHERE account = ? AND chat = ?", h.account, ch.String()).
			Scan(&v.c, &v.user.Milli, &v.user.ID, &v.seen.Milli, &v.seen.ID)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return v, fmt.Errorf("store: %w", err)
		}
		if !create {
			return v, nil
		}
		if err := exec(ctx, c, "INSERT INTO conversations (account, chat) VALUES (?, ?)", h.account, ch.String()); err != nil {
			return v, err
		}
	}
	return v, errors.New("store: the conversation is not there")
}

// read says that the user, or the other one, has read up to a place.
func (v conversation) read(ctx context.Context, c conn, at chat.Place, user bool) error {
	if user {
		return exec(ctx, c, "UPDATE conversations SET read_ms = ?, read_id = ? WHERE c = ? AND (read_ms, read_id) < (?, ?)", at.Milli, at.ID, v.c, at.Milli, at.ID)
	}
	return exec(ctx, c, "UPDATE conversations SET seen_ms = ?, seen_id = ? WHERE c = ? AND (seen_ms, seen_id) < (?, ?)", at.Milli, at.ID, v.c, at.Milli, at.ID)
}

// view runs f on the file, with everything in it.
func (h *History) view(ctx context.Context, f func(conn) error) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.closed {
		return errClosed
	}
	if err := h.d.flush(ctx); err != nil {
		return err
	}
	return f(h.d.db)
}

// Conversations returns those with the newest messages, the newest first: at most limit,
// or [DefaultLimit] if that is 0.
func (h *History) Conversations(ctx context.Context, limit int) (all []Conversation, err error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	err = h.view(ctx, func(c conn) error {
		rows, err := c.QueryContext(ctx, `SELECT c, chat, read_ms, read_id, seen_ms, seen_id FROM conversations
			WHERE account = ? AND last_ms > 0 ORDER BY last_ms DESC, chat LIMIT ?`, h.account, limit)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		vs, err := scan(rows, func(v *conversation) error {
			var addr string
			if err := rows.Scan(&v.c, &addr, &v.user.Milli, &v.user.ID, &v.seen.Milli, &v.seen.ID); err != nil {
				return err
			}
			v.chat, err = jid.Parse(addr)
			return err
		})
		if err != nil {
			return err
		}
		for _, v := range vs {
			es, err := h.page(ctx, c, v, Page{Limit: 1})
			if err != nil {
				return err
			}
			if len(es) == 0 {
				continue
			}
			k := Conversation{Chat: v.chat, Last: es[0]}
			if err := c.QueryRowContext(ctx, "SELECT count(*) FROM messages WHERE c = ? AND kind = ? AND (ms, id) > (?, ?) AND self = 0 AND gone = 0",
				v.c, message, v.user.Milli, v.user.ID).Scan(&k.Unread); err != nil {
				return fmt.Errorf("store: %w", err)
			}
			all = append(all, k)
		}
		return nil
	})
	return all, err
}

// A Page says which messages of a conversation to return: the newest that come before a
// place, or the oldest that come after one. The zero value are the newest of all.
type Page struct {
	Before, After chat.Place
	// Limit is how many to return, or a few more where several stand at one place; 0
	// stands for [DefaultLimit].
	Limit int
}

// Entries returns a page of a conversation, oldest first, as a [chat.Timeline] of all of
// it would show it. The places of what it returns, Entry.Message.Place(), lead to the
// pages before and after. What was taken back still has its text, which the program
// hides: see Entry.Retracted.
func (h *History) Entries(ctx context.Context, ch jid.JID, p Page) (es []chat.Entry, err error) {
	err = h.view(ctx, func(c conn) error {
		v, err := h.conversation(ctx, c, ch.Bare(), false)
		if err != nil || v.c == 0 {
			return err
		}
		es, err = h.page(ctx, c, v, p)
		return err
	})
	return es, err
}

const columns = "n, kind, author, self, target, text, xml, meta"

func (h *History) page(ctx context.Context, c conn, v conversation, p Page) ([]chat.Entry, error) {
	if p.Limit <= 0 {
		p.Limit = DefaultLimit
	}
	where, args := "c = ? AND kind = ?", []any{v.c, message}
	order := "DESC"
	if p.After != (chat.Place{}) {
		where, args = where+" AND (ms, id) > (?, ?)", append(args, p.After.Milli, p.After.ID)
		order = "ASC"
	}
	if p.Before != (chat.Place{}) {
		where, args = where+" AND (ms, id) < (?, ?)", append(args, p.Before.Milli, p.Before.ID)
	}
	// Those that stand where the last one does come with it: a page that begins there
	// would leave them out.
	query := "SELECT " + columns + " FROM messages WHERE " + where
	var last chat.Place
	err := c.QueryRowContext(ctx, "SELECT ms, id FROM messages WHERE "+where+" ORDER BY ms "+order+", id "+order+" LIMIT 1 OFFSET ?", append(slices.Clip(args), p.Limit-1)...).Scan(&last.Milli, &last.ID)
	switch {
	case err == nil && order == "ASC":
		query, args = query+" AND (ms, id) <= (?, ?)", append(args, last.Milli, last.ID)
	case err == nil:
		query, args = query+" AND (ms, id) >= (?, ?)", append(args, last.Milli, last.ID)
	case !errors.Is(err, sql.ErrNoRows):
		return nil, fmt.Errorf("store: %w", err)
	}
	es, _, err := h.load(ctx, c, v, query+" ORDER BY ms "+order+", id "+order+" LIMIT ?", append(args, p.Limit+maxTies)...)
	return es, err
}

// maxTies bounds the messages that stand at one place.
const maxTies = 1000

// Bounds of the other messages with ids of those of a page that are looked at, and of
// their XML: less than a Timeline holds, so that they displace nothing.
const (
	maxRivals = 300
	maxRival  = 64 << 10
)

// load shows the messages that a query finds, with all that is about them. Rows tells
// which row each text comes from. Others with the same ids are looked at, too: what is
// said about an id is about one of them.
func (h *History) load(ctx context.Context, c conn, v conversation, query string, args ...any) (es []chat.Entry, rows map[*chat.Message]int64, err error) {
	type stored struct {
		n     int64
		kind  kind
		event any
	}
	rows = map[*chat.Message]int64{}
	read := func(query string, args ...any) ([]stored, error) {
		rs, err := c.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		return scan(rs, func(s *stored) error {
			var author, target, text, body, meta string
			var self bool
			if err := rs.Scan(&s.n, &s.kind, &author, &self, &target, &text, &body, &meta); err != nil {
				return err
			}
			var err error
			s.event, err = h.event(v.chat, s.kind, author, self, target, text, body, meta)
			return err
		})
	}
	found, err := read(query, args...)
	if err != nil {
		return nil, nil, err
	}
	events := slices.Clone(found)
	known := map[string]bool{}
	wanted, all := map[int64]bool{}, map[int64]bool{}
	left := maxRivals
	for _, s := range found {
		wanted[s.n], all[s.n] = true, true
	}
	for more := found; len(more) > 0 && len(events) < maxEvents; {
		var names []any
		for _, s := range more {
			r, _ := rowOf(s.event)
			if r.kind == reaction {
				continue
			}
			of := r.names()
			if r.kind == edit {
				of = append(of, r.target)
			}
			for _, name := range of {
				if !known[name] {
					known[name] = true
					names = append(names, name)
				}
			}
		}
		more = nil
		add := func(list []stored) {
			for _, s := range list {
				if !all[s.n] {
					all[s.n] = true
					more = append(more, s)
				}
			}
		}
		for part := range slices.Chunk(names, 500) {
			about, err := read("SELECT "+columns+" FROM messages WHERE c = ? AND kind <> ? AND target IN (?"+strings.Repeat(", ?", len(part)-1)+") ORDER BY n DESC LIMIT ?",
				slices.Concat([]any{v.c, message}, part, []any{maxEvents})...)
			if err != nil {
				return nil, nil, err
			}
			slices.Reverse(about)
			add(about)
			ids, err := h.others(ctx, c, v, part, all)
			if err != nil {
				return nil, nil, err
			}
			if len(ids) == 0 || left == 0 {
				continue
			}
			// First those that the archive calls so, then the oldest, as a Timeline has it.
			rivals, err := read("SELECT "+columns+" FROM messages WHERE kind IN (?, ?) AND n IN (?"+strings.Repeat(", ?", len(ids)-1)+") AND length(xml) <= ? ORDER BY server IN (?"+strings.Repeat(", ?", len(part)-1)+") DESC, ms, id LIMIT ?",
				slices.Concat([]any{message, edit}, ids, []any{maxRival}, part, []any{left})...)
			if err != nil {
				return nil, nil, err
			}
			left -= len(rivals)
			add(rivals)
		}
		events = append(events, more...)
	}
	// What is said about an id waits until all who have it are known.
	slices.SortStableFunc(events, func(a, b stored) int { return cmp.Compare(min(a.kind, edit), min(b.kind, edit)) })
	t := chat.NewTimeline(v.chat, max(len(events), 1))
	t.SetShown(v.seen, v.user)
	for _, s := range events {
		if m := messageOf(s.event); m != nil {
			rows[m] = s.n
		}
		t.Apply(s.event)
	}
	return slices.DeleteFunc(t.Entries(), func(e chat.Entry) bool { return !wanted[rows[e.Message]] }), rows, nil
}

// others returns who has one of these names beside those that are known.
func (h *History) others(ctx context.Context, c conn, v conversation, names []any, known map[int64]bool) (ids []any, err error) {
	rows, err := c.QueryContext(ctx, "SELECT DISTINCT n FROM names WHERE c = ? AND name IN (?"+strings.Repeat(", ?", len(names)-1)+") ORDER BY n LIMIT ?",
		slices.Concat([]any{v.c}, names, []any{len(known) + maxEvents})...)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	all, err := scan(rows, func(n *int64) error { return rows.Scan(n) })
	for _, n := range all {
		if !known[n] {
			ids = append(ids, n)
		}
	}
	return ids, err
}

// A Search says what to look for.
type Search struct {
	// Text are words, all of which must be there: in any case, with or without
	// accents, the last one perhaps only begun. What is neither letter nor number sets
	// words apart; with no word it is an error. Where a language sets none apart, such as
	// Chinese, a word is found where a run of letters begins.
	Text string
	// Chat is where to look; everywhere if it is zero.
	Chat jid.JID
	// Before leaves newer texts out. To go on, it is where the text of the last that was
	// found stands: Entry.Current.Place().
	Before chat.Place
	Limit  int // as that of a Page
}

// Search returns messages that have the words in the text that counts, the newest text
// first: not what was taken back, nor what was corrected away.
func (h *History) Search(ctx context.Context, s Search) (es []chat.Entry, err error) {
	match := matchOf(s.Text)
	if match == "" {
		return nil, errors.New("store: Search.Text has no word")
	}
	if s.Limit <= 0 {
		s.Limit = DefaultLimit
	}
	err = h.view(ctx, func(c conn) error {
		where, args := "texts MATCH ? AND v.account = ? AND m.gone = 0", []any{match, h.account}
		if s.Chat.String() != "" {
			where, args = where+" AND v.chat = ?", append(args, s.Chat.Bare().String())
		}
		find := func(where string, args []any, at chat.Place, limit int) ([]hit, error) {
			if at != (chat.Place{}) {
				args = append(slices.Clip(args), at.Milli, at.ID)
			}
			rows, err := c.QueryContext(ctx, `SELECT m.n, m.kind, m.ms, m.id, m.author, m.target, v.c, v.chat, v.read_ms, v.read_id, v.seen_ms, v.seen_id
				FROM texts JOIN messages m ON m.n = texts.rowid JOIN conversations v ON v.c = m.c WHERE `+where+` ORDER BY m.ms DESC, m.id DESC LIMIT ?`, append(slices.Clip(args), limit)...)
			if err != nil {
				return nil, fmt.Errorf("store: %w", err)
			}
			return scan(rows, func(x *hit) error { return x.scan(rows) })
		}
		before, last := s.Before, chat.Place{}
		seen := map[int64]bool{}
		for len(es) < s.Limit {
			w := where
			if before != (chat.Place{}) {
				w += " AND (m.ms, m.id) < (?, ?)"
			}
			hits, err := find(w, args, before, s.Limit)
			if err != nil {
				return err
			}
			n := len(hits)
			if n == s.Limit { // and all that stand where the last does
				before = hits[n-1].at
				i := slices.IndexFunc(hits, func(x hit) bool { return x.at == before })
				same, err := find(where+" AND (m.ms, m.id) = (?, ?)", args, before, maxTies)
				if err != nil {
					return err
				}
				hits = append(hits[:i], same...)
			}
			for _, x := range hits {
				if len(es) >= s.Limit && x.at != last {
					break
				}
				e, err := h.shown(ctx, c, x, seen)
				if err != nil {
					return err
				}
				if e != nil {
					es, last = append(es, *e), x.at
				}
			}
			if n < s.Limit {
				break
			}
		}
		return nil
	})
	return es, err
}

// hit is a text that has the words.
type hit struct {
	n              int64
	kind           kind
	at             chat.Place
	author, target string
	v              conversation
}

func (x *hit) scan(rows *sql.Rows) error {
	var addr string
	err := rows.Scan(&x.n, &x.kind, &x.at.Milli, &x.at.ID, &x.author, &x.target, &x.v.c, &addr, &x.v.user.Milli, &x.v.user.ID, &x.v.seen.Milli, &x.v.seen.ID)
	if err == nil {
		x.v.chat, err = jid.Parse(addr)
	}
	return err
}

// shown returns the message that shows the text of a hit, nil if none does.
func (h *History) shown(ctx context.Context, c conn, x hit, seen map[int64]bool) (*chat.Entry, error) {
	of := []any{x.n}
	if x.kind == edit {
		places, err := h.named(ctx, c, x.v, x.target, x.author)
		if err != nil || len(places) == 0 {
			return nil, err
		}
		of = nil
		for _, p := range places {
			of = append(of, p.n)
		}
	}
	es, rows, err := h.load(ctx, c, x.v, "SELECT "+columns+" FROM messages WHERE n IN (?"+strings.Repeat(", ?", len(of)-1)+")", of...)
	if err != nil {
		return nil, err
	}
	for i := range es {
		e := &es[i]
		if !e.Retracted && rows[e.Current] == x.n && !seen[rows[e.Message]] {
			seen[rows[e.Message]] = true
			return e, nil
		}
	}
	return nil, nil
}

// matchOf makes a query of words: nothing in them is for the search engine.
func matchOf(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) })
	for i, w := range words {
		words[i] = `"` + w + `"`
	}
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, " ") + "*"
}

// MarkRead says that the user has read a conversation up to a message, here. To tell the
// other one and the user's other devices is for chat.Conversation.MarkDisplayed.
func (h *History) MarkRead(ctx context.Context, ch jid.JID, upTo chat.Place) error {
	return h.d.Update(ctx, func(tx *Tx) error {
		v, err := h.conversation(ctx, tx.tx, ch.Bare(), false)
		if err != nil || v.c == 0 {
			return err
		}
		return v.read(ctx, tx.tx, upTo, true)
	})
}

// Delete removes a conversation from the file. An archive that is followed does not bring
// back what was read. It does not wipe the disk: words may be left in the file until
// something else takes their place.
func (h *History) Delete(ctx context.Context, ch jid.JID) error {
	return h.d.Update(ctx, func(tx *Tx) error {
		v, err := h.conversation(ctx, tx.tx, ch.Bare(), false)
		if err != nil || v.c == 0 {
			return err
		}
		if err := exec(ctx, tx.tx, "INSERT INTO texts (texts, rowid, text) SELECT 'delete', n, text FROM messages WHERE c = ? AND gone = 0 AND text <> ''", v.c); err != nil {
			return err
		}
		return exec(ctx, tx.tx, "DELETE FROM conversations WHERE c = ?", v.c)
	})
}

// scan reads all rows, so that the next query can begin.
func scan[T any](rows *sql.Rows, read func(*T) error) (all []T, err error) {
	for rows.Next() {
		var v T
		if err = read(&v); err != nil {
			break
		}
		all = append(all, v)
	}
	if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return all, nil
}
