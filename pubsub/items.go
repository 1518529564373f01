package pubsub

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/rsm"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// pageSize is how many items or nodes are asked for at once.
const pageSize = 50

// Most is how many items of a node, or nodes of a service, are read in one go: a
// service that never comes to an end is not followed for ever.
const Most = 100_000

var errMost = fmt.Errorf("pubsub: the service does not come to an end after %d", Most)

// Items reads all items of a node, page by page where the service has pages
// (XEP-0060 §6.5, XEP-0059), in the order in which the service gives them. An error
// comes last, and ends the loop; so does having read [Most] items.
func (s Service) Items(ctx context.Context, node string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if err := need(node); err != nil {
			yield(Item{}, err)
			return
		}
		set := rsm.Set{Max: pageSize}
		for read := 0; ; {
			if read >= Most {
				yield(Item{}, errMost)
				return
			}
			res, err := s.pubsub(ctx, stanza.GetIQ, NS, child("items", "node", node), set.Element())
			if err != nil {
				yield(Item{}, err)
				return
			}
			n := 0
			for _, it := range parseItems(res.Child(NS, "items")) {
				n++
				if !yield(it, nil) {
					return
				}
			}
			p, paged, err := rsm.Parse(res)
			if err != nil {
				yield(Item{}, err)
				return
			}
			var more bool
			if set, more = set.Next(p, n); !paged || !more {
				return
			}
			read += n
		}
	}
}

// Latest returns the n items that were published last, in the order in which the
// service gives them (XEP-0060 §6.5.7). It is less than n if there are no more, and
// an error matching [ErrNotFound] if there is no such node.
func (s Service) Latest(ctx context.Context, node string, n int) ([]Item, error) {
	if err := need(node); err != nil {
		return nil, err
	}
	if n <= 0 {
		return nil, fmt.Errorf("pubsub: the number of items must be positive, not %d", n)
	}
	items, err := s.items(ctx, child("items", "node", node, "max_items", strconv.Itoa(n)))
	// Not all services know max_items; those that do not give the newest last.
	return items[max(0, len(items)-n):], err
}

// ItemsByID returns those of the items that exist (XEP-0060 §6.5.8).
func (s Service) ItemsByID(ctx context.Context, node string, ids ...string) ([]Item, error) {
	if err := need(node, ids...); err != nil || len(ids) == 0 {
		return nil, err
	}
	el := child("items", "node", node)
	for _, id := range ids {
		el.Add(child("item", "id", id))
	}
	items, err := s.items(ctx, el)
	return slices.DeleteFunc(items, func(it Item) bool { return !slices.Contains(ids, it.ID) }), err
}

// Item returns the item with this id, or an error matching [ErrNotFound].
func (s Service) Item(ctx context.Context, node, id string) (Item, error) {
	items, err := s.ItemsByID(ctx, node, id)
	if err != nil {
		return Item{}, err
	}
	if len(items) > 0 {
		return items[0], nil
	}
	return Item{}, fmt.Errorf("%w: %s in %s", ErrNotFound, id, node)
}

func (s Service) items(ctx context.Context, ask *confab.Element) ([]Item, error) {
	res, err := s.pubsub(ctx, stanza.GetIQ, NS, ask)
	if err != nil {
		return nil, err
	}
	return parseItems(res.Child(NS, "items")), nil
}

// parseItems reads the items in el, in the namespace that el has.
func parseItems(el *confab.Element) []Item {
	if el == nil {
		return nil
	}
	var items []Item
	for c := range el.All(el.Name.Space, "item") {
		items = append(items, parseItem(c))
	}
	return items
}

func parseItem(el *confab.Element) Item {
	it := Item{ID: el.Get("id")}
	if len(el.Children) > 0 {
		it.Payload = el.Children[0]
	}
	if p := el.Get("publisher"); p != "" {
		it.Publisher, _ = jid.Parse(p)
	}
	return it
}

// A Node is one that a service lists.
type Node struct {
	// Service is where the node is: not always the service that was asked.
	Service jid.JID
	// Node is its name, and Title what people read, which may be empty.
	Node, Title string
}

// Nodes lists the nodes that one may see, page by page where the service has pages
// (XEP-0060 §5.2).
func (s Service) Nodes(ctx context.Context) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		set := rsm.Set{Max: pageSize}
		for read := 0; ; {
			if read >= Most {
				yield(Node{}, errMost)
				return
			}
			res, err := s.ask(ctx, stanza.GetIQ, confab.El(nsItems, "query", set.Element()))
			if err != nil {
				yield(Node{}, err)
				return
			}
			q, n := res.Child(nsItems, "query"), 0
			for c := range q.All(nsItems, "item") {
				n++
				at, err := jid.Parse(c.Get("jid"))
				if err != nil || c.Get("node") == "" {
					continue
				}
				if !yield(Node{Service: at, Node: c.Get("node"), Title: c.Get("name")}, nil) {
					return
				}
			}
			p, paged, err := rsm.Parse(q)
			if err != nil {
				yield(Node{}, err)
				return
			}
			var more bool
			if set, more = set.Next(p, n); !paged || !more {
				return
			}
			read += n
		}
	}
}
