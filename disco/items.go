package disco

import (
	"context"
	"errors"
	"iter"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/rsm"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// An Item is something that belongs to an entity: a service of a server, a room of
// a service, a node (XEP-0030 §4).
type Item struct {
	JID        jid.JID
	Node, Name string
}

// Max is how many items [Items] yields before it gives up with [ErrTooMuch], unless
// [Limit] says otherwise.
const Max = 20000

const pageSize = 250

// An ItemsOption is an option of [Items].
type ItemsOption func(*itemsOptions)

type itemsOptions struct {
	limit int
	most  int
	size  int
}

// Limit ends the list after n items, without an error.
func Limit(n int) ItemsOption { return func(o *itemsOptions) { o.limit = n } }

// PageSize asks for pages of n items where the list comes in pages; the default is
// 250.
func PageSize(n int) ItemsOption { return func(o *itemsOptions) { o.size = n } }

// Items asks for the items of an entity, or of a node of it if node is not empty. A
// long list comes in pages (XEP-0059), each asked for when it is needed. Items that
// make no sense, such as one with an address that cannot be, are left out. An error
// is the last that is yielded.
//
//	for room, err := range disco.Items(ctx, c, service, "") { ... }
func Items(ctx context.Context, s confab.Requester, to jid.JID, node string, opts ...ItemsOption) iter.Seq2[Item, error] {
	o := itemsOptions{most: Max, size: pageSize}
	for _, f := range opts {
		f(&o)
	}
	return func(yield func(Item, error) bool) {
		set := rsm.Set{Max: o.size}
		if o.limit > 0 {
			o.most = o.limit + 1 // which is never yielded
			set.Max = min(set.Max, o.limit)
		}
		paged, n, page := true, 0, 0
		for {
			q := confab.El(NSItems, "query").Set("node", node)
			if paged {
				q.Add(set.Element())
			}
			var answer confab.Element
			if err := ask(ctx, s, to, q, &answer); err != nil {
				if c := condition(err); paged && page == 0 && (c == stanza.BadRequest || c == stanza.FeatureNotImplemented) {
					paged = false // it does not know pages, and minds
					continue
				}
				yield(Item{}, err)
				return
			}
			if !answer.Is(NSItems, "query") {
				yield(Item{}, errors.New("disco: this is not an answer to disco#items"))
				return
			}
			got := 0
			for el := range answer.All(NSItems, "item") {
				got++
				it, ok := parseItem(el)
				if !ok {
					continue
				}
				if n++; n > o.most {
					yield(Item{}, ErrTooMuch)
					return
				}
				if !yield(it, nil) || n == o.limit {
					return
				}
			}
			p, ok, err := rsm.Parse(&answer)
			if err != nil {
				yield(Item{}, err)
				return
			}
			// Pages that hold nothing but nonsense count, too.
			if page++; page > Max/10 {
				yield(Item{}, ErrTooMuch)
				return
			}
			more := false
			if set, more = set.Next(p, got); !ok || !more {
				return
			}
		}
	}
}

func parseItem(el *confab.Element) (Item, bool) {
	j, err := jid.Parse(el.Get("jid"))
	if err != nil {
		return Item{}, false
	}
	return Item{JID: j, Node: el.Get("node"), Name: el.Get("name")}, true
}
