package mam

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/internal/rsm"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// The namespaces of archives.
const (
	NS         = "urn:xmpp:mam:2"
	NSExtended = "urn:xmpp:mam:2#extended"

	nsForward = "urn:xmpp:forward:0"
	nsDelay   = "urn:xmpp:delay"
	nsOrder   = "urn:xmpp:order-by:1"
)

// DefaultPage is the size of the pages that are asked for; servers may make them
// smaller.
const DefaultPage = 100

// maxPage bounds how many results of one page are taken.
const maxPage = 5000

// maxEmpty bounds how many pages in a row may bring nothing.
const maxEmpty = 100

// The errors of queries, beside those of the archive and of the session.
var (
	// ErrExpired says that the archive does not have a message any more that the
	// query named.
	ErrExpired = errors.New("mam: the archive does not know this id (any more)")
	// ErrUnsupported says that the archive cannot search for what the query asks; the
	// error that matches it says what that is.
	ErrUnsupported = errors.New("mam: the archive cannot do this")
)

// An Order says by what messages are ordered (XEP-0413).
type Order string

// The values of Order: by when the archive got a message, or by when it was last
// changed there.
const (
	ByCreation     Order = "creation"
	ByModification Order = "modification"
)

// A Query says which messages to read. The zero value reads all of the account's own
// archive, oldest first.
type Query struct {
	// Archive is whose archive it is: zero for the own account's, or a room.
	Archive jid.JID
	// With reads only messages with this other one.
	With jid.JID
	// Start and End bound when they were sent.
	Start, End time.Time
	// After and Before are ids of messages between which to read, themselves not
	// included.
	After, Before string
	// IDs reads just these messages, where the archive can (XEP-0313 §4.1.3).
	IDs []string
	// Text searches for words, where the archive can (XEP-0431). Few can; a store of
	// package store can search what was read.
	Text string
	// OrderBy orders by something, where the archive can (XEP-0413); "" leaves that to
	// the archive.
	OrderBy Order
	// Backwards reads the newest first. Archives that can are asked to flip their pages
	// (§4.1.5).
	Backwards bool
	// Limit ends the reading after so many; 0 stands for no limit.
	Limit int
	// Page is how many to ask for at once; 0 stands for [DefaultPage].
	Page int
	// Apart keeps what is read from the rest of the program: no events come of it.
	// It is for looking at what may have been seen already. Encrypted messages stay
	// as they are.
	Apart bool

	textField string // what the archive calls Text
}

// A Result is one message of an archive.
type Result struct {
	// ID is the id that the archive gave the message, Stamp when it got it. Some
	// archives tell that by the second; messages of one second are set a millisecond
	// apart then, so that their order is that of their stamps.
	ID    string
	Stamp time.Time
	// Message is the message, after it has passed the stages. It is nil if a stage
	// has consumed it, such as one that was seen already.
	Message *confab.Message
	// Total is how many there are in all, as the archive says, -1 if it does not.
	Total int
}

// Query reads an archive page by page, as far as the loop goes. The error, which ends
// the loop, is a [*confab.Refused] from the archive, [ErrExpired], [ErrUnsupported], or one of
// ctx or the session. It asks and waits for the dispatcher, so it is not for handlers of features
// (HandleMessage and such), but for functions given to [confab.On], or anywhere else.
func (a *Archives) Query(ctx context.Context, q Query) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		left := q.Limit
		if err := a.check(ctx, &q); err != nil {
			yield(Result{}, err)
			return
		}
		for page, err := range a.pages(ctx, q) {
			if err != nil {
				yield(Result{}, err)
				return
			}
			for _, r := range page.results {
				if !q.within(r.stamp) {
					continue
				}
				r, err := a.open(ctx, q, r, page.total)
				if err != nil {
					yield(Result{}, err)
					return
				}
				if !yield(r, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
	}
}

// raw is a result as it came.
type raw struct {
	id    string
	stamp time.Time
	el    *confab.Element
}

// page is one page, in the order of the query.
type page struct {
	results     []raw
	first, last string
	complete    bool
	index       int // of the first, -1 if not told
	total       int
}

// open makes a Message of a result and passes it through the stages.
func (a *Archives) open(ctx context.Context, q Query, r raw, total int) (Result, error) {
	res := Result{ID: r.id, Stamp: r.stamp, Total: total}
	m, err := a.s.DecodeMessage(r.el)
	if err != nil {
		a.s.Emit(confab.BadStanza{Stanza: r.el, Err: fmt.Errorf("mam: %w", err)})
		return res, nil
	}
	m.Source, m.By, m.ArchiveID, m.Stamp = confab.Archive, a.whose(q.Archive), r.id, r.stamp
	if q.Apart {
		res.Message = m
		return res, nil
	}
	res.Message, err = a.s.Inject(ctx, confab.StageDecrypt, m)
	return res, err
}

// whose is the address of an archive.
func (a *Archives) whose(archive jid.JID) jid.JID {
	if archive.String() == "" {
		return a.s.LocalAddr().Bare()
	}
	return archive.Bare()
}

// pages reads page after page.
func (a *Archives) pages(ctx context.Context, q Query) iter.Seq2[page, error] {
	return func(yield func(page, error) bool) {
		set := rsm.Set{Max: q.Page}
		if set.Max <= 0 {
			set.Max = DefaultPage
		}
		if q.Limit > 0 {
			set.Max = min(set.Max, q.Limit)
		}
		if q.Backwards {
			set.Before, set.Last = q.Before, q.Before == ""
		} else {
			set.After = q.After
		}
		bound, left := q.Before, q.Limit
		if q.Backwards {
			bound = q.After
		}
		var last spread
		var next func() (page, error)
		var mark rsm.Set // a place that was seen: from time to time a newer one
		asked, wait := 0, 1
		for empty := 0; ; empty++ {
			if next == nil {
				next = a.ahead(ctx, q, set)
			}
			p, err := next()
			next = nil
			last = last.over(p.results, q.Backwards)
			// An archive that does not know the field for the other bound goes on.
			if i := slices.IndexFunc(p.results, func(r raw) bool { return bound != "" && r.id == bound }); i >= 0 {
				p.results, p.complete = p.results[:i], true
			}
			following := rsm.Set{Max: set.Max}
			if q.Backwards {
				following.Before = p.first
			} else {
				following.After = p.last
			}
			left -= len(p.results)
			more := err == nil && !p.complete &&
				following != set && (following.Before != "" || following.After != "") // or it leads nowhere
			if len(p.results) > 0 {
				empty = 0
			}
			if more && empty >= maxEmpty {
				more, err = false, fmt.Errorf("mam: %v sends page after page with nothing on it", a.whose(q.Archive))
			}
			if more && following == mark {
				more, err = false, fmt.Errorf("mam: %v sends its pages round in a circle", a.whose(q.Archive))
			}
			if asked++; asked == wait {
				mark, asked, wait = following, 0, 2*wait
			}
			if set = following; more && (q.Limit == 0 || left > 0) {
				next = a.ahead(ctx, q, set) // while this page is handled
			}
			if !yield(p, err) || !more {
				return
			}
		}
	}
}

// ahead asks for a page, and returns what waits for it.
func (a *Archives) ahead(ctx context.Context, q Query, set rsm.Set) func() (page, error) {
	type answer struct {
		page page
		err  error
	}
	got := make(chan answer, 1)
	go func() { // it ends with the answer, with ctx or with the session
		p, err := a.page(ctx, q, set)
		got <- answer{p, err}
	}()
	return func() (page, error) {
		r := <-got
		return r.page, r.err
	}
}

// spread is the last stamp of an archive that counts in seconds, and what became of it.
type spread struct{ told, made time.Time }

// over sets the messages of one second a millisecond apart, in their order, so that who
// sorts them by time keeps it.
func (s spread) over(rs []raw, backwards bool) spread {
	if backwards {
		s = spread{} // what is in this page is older
	}
	for i := range rs {
		r := &rs[i]
		if backwards {
			r = &rs[len(rs)-1-i]
		}
		if told := r.stamp; told.Nanosecond() != 0 || !told.Equal(s.told) || s.made.Sub(told) > 900*time.Millisecond {
			s = spread{told, told}
		} else {
			s.made = s.made.Add(time.Millisecond)
			r.stamp = s.made
		}
	}
	return s
}

// page asks for one page.
func (a *Archives) page(ctx context.Context, q Query, set rsm.Set) (page, error) {
	archive := a.whose(q.Archive)
	id := confab.NewID()
	in := &incoming{from: archive}
	a.mu.Lock()
	a.queries[id] = in
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if ctx.Err() == nil {
			delete(a.queries, id)
			return
		}
		in.over, in.results = true, nil // its results may be under way
		if a.over = append(a.over, id); len(a.over) > maxOver {
			delete(a.queries, a.over[0])
			a.over = a.over[1:]
		}
	}()
	el := confab.El(NS, "query", q.form().Element(), set.Element()).Set("queryid", id)
	if q.Backwards {
		el.Add(confab.El(NS, "flip-page"))
	}
	if q.OrderBy != "" {
		el.Add(confab.El(nsOrder, "order").Set("by", string(q.OrderBy)))
	}
	iq := confab.El(confab.NSClient, "iq", el).Set("type", "set")
	if q.Archive.String() != "" {
		iq.Set("to", archive.String())
	}
	res, err := a.s.Ask(ctx, iq)
	if err != nil {
		var se stanza.Error
		named := set.After != "" || set.Before != "" || q.After != "" || q.Before != "" || len(q.IDs) > 0
		if errors.As(err, &se) && se.Condition == stanza.ItemNotFound && named {
			err = fmt.Errorf("%w: %w", ErrExpired, err)
		}
		return page{}, err
	}
	// The answer overtakes the results, which came before it.
	if err := a.s.Fence(ctx); err != nil {
		return page{}, err
	}
	fin := res.Child(NS, "fin")
	rp, _, err := rsm.Parse(fin)
	if err != nil {
		return page{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := page{results: in.results, first: rp.First, last: rp.Last, index: rp.FirstIndex, total: rp.Count,
		complete: fin.Get("complete") == "true" || fin.Get("complete") == "1"}
	n := len(p.results)
	if q.Backwards && n > 0 { // the newest first, whether the archive has flipped the page or not
		head, tail := p.results[0], p.results[n-1]
		if head.stamp.Before(tail.stamp) || head.stamp.Equal(tail.stamp) && head.id != rp.Last {
			slices.Reverse(p.results)
		}
	}
	if n > 0 { // what came counts more than what is said of it
		p.first, p.last = p.results[0].id, p.results[n-1].id
		if q.Backwards {
			p.first, p.last = p.last, p.first
		}
	}
	return p, nil
}

// within reports whether a stamp is between Start and End, but for a second, as some
// archives count in seconds. Prosody answers a Start that is later than all it has
// with the last message.
func (q Query) within(t time.Time) bool {
	return (q.Start.IsZero() || t.After(q.Start.Add(-time.Second))) && (q.End.IsZero() || t.Before(q.End.Add(time.Second)))
}

// form has what a query asks for.
func (q Query) form() *form.Form {
	f := form.New(form.Answers, NS)
	if q.With.String() != "" {
		f.Set("with", q.With.String())
	}
	const layout = "2006-01-02T15:04:05.000000Z" // XEP-0082
	if !q.Start.IsZero() {
		f.Set("start", q.Start.UTC().Format(layout))
	}
	if !q.End.IsZero() {
		f.Set("end", q.End.UTC().Format(layout))
	}
	// A page goes in one direction; the other bound is a matter of the form.
	if q.Backwards && q.After != "" {
		f.Set("after-id", q.After)
	}
	if !q.Backwards && q.Before != "" {
		f.Set("before-id", q.Before)
	}
	if len(q.IDs) > 0 {
		f.Set("ids", q.IDs...)
	}
	if q.Text != "" {
		f.Set(q.textField, q.Text)
	}
	return f
}

// incoming are the results of a page that is being read.
type incoming struct {
	from    jid.JID
	over    bool // nobody waits for them any more
	results []raw
}

// maxOver bounds the queries that nobody waits for whose results are known as such.
const maxOver = 32

// errForged is the reason of [confab.BadStanza] for results that nobody asked for.
var errForged = errors.New("mam: a result of a query that is not under way, or not from the archive that was asked")

// collect takes the results of queries out of the way of messages.
func (a *Archives) collect(_ context.Context, m *confab.Message) error {
	res := m.Stanza.Child(NS, "result")
	if res == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.queries[res.Get("queryid")]
	if in == nil || m.Source != confab.Live || !m.From.Equal(in.from) || len(in.results) >= maxPage {
		a.s.Emit(confab.BadStanza{Stanza: m.Stanza, Err: errForged})
		return confab.ErrConsumed
	}
	if in.over {
		return confab.ErrConsumed
	}
	fw := res.Child(nsForward, "forwarded")
	el := fw.Child(confab.NSClient, "message")
	stamp, err := time.Parse(time.RFC3339Nano, fw.Child(nsDelay, "delay").Get("stamp"))
	if el == nil || err != nil || stamp.UTC().Year() > 9999 || res.Get("id") == "" || len(res.Get("id")) > 1024 {
		a.s.Emit(confab.BadStanza{Stanza: m.Stanza, Err: errors.New("mam: a result without a message, an id or a stamp")})
		return confab.ErrConsumed
	}
	in.results = append(in.results, raw{res.Get("id"), stamp.UTC(), el})
	return confab.ErrConsumed
}
