// Package rsm is result set management (XEP-0059): the pages in which long lists
// are read.
package rsm

import (
	"errors"
	"strconv"

	"github.com/confab-im/confab"
)

// NS is the namespace of result set management, which is also the feature that
// says that an entity understands it.
const NS = "http://jabber.org/protocol/rsm"

// maxID bounds the ids that are believed: they are sent back to ask for the next
// page.
const maxID = 4096

// ErrMalformed is returned for pages whose ids are unreasonably long.
var ErrMalformed = errors.New("rsm: the ids of the page are too long")

// A Set asks for one page. The zero value leaves its size to who is asked.
type Set struct {
	// Max is how many to return at most; 0 leaves it to who is asked.
	Max int
	// After and Before are the ids that the page follows or precedes.
	After, Before string
	// Last asks for the last page (an empty <before/>, §2.5).
	Last bool
	// Index is the position of the first to return (§2.6); 0 leaves it out.
	Index int
	// Count asks for nothing but how many there are (§2.7).
	Count bool
}

// Element returns the <set/> of a request.
func (s Set) Element() *confab.Element {
	el := confab.El(NS, "set")
	add := func(name, text string) { el.Add(confab.El(NS, name).SetText(text)) }
	switch {
	case s.Count:
		add("max", "0")
	case s.Max > 0:
		add("max", strconv.Itoa(s.Max))
	}
	if s.After != "" {
		add("after", s.After)
	}
	switch {
	case s.Before != "":
		add("before", s.Before)
	case s.Last:
		add("before", "")
	}
	if s.Index > 0 {
		add("index", strconv.Itoa(s.Index))
	}
	return el
}

// A Page is what an answer says of the page that it carries.
type Page struct {
	// First and Last are the ids of the first and the last on the page, "" if it is
	// empty.
	First, Last string
	// FirstIndex is the position of the first in the whole, and Count the number of
	// all, each -1 if not told. Both may be approximate.
	FirstIndex, Count int
}

// Parse reads the <set/> among the children of el; ok is false if there is none,
// which means that the answer is not a page but the whole. Numbers that are none
// count as not told.
func Parse(el *confab.Element) (p Page, ok bool, err error) {
	p = Page{FirstIndex: -1, Count: -1}
	set := el.Child(NS, "set")
	if set == nil {
		return p, false, nil
	}
	if f := set.Child(NS, "first"); f != nil {
		p.First, p.FirstIndex = f.Text, number(f.Get("index"))
	}
	p.Last, p.Count = set.ChildText(NS, "last"), number(set.ChildText(NS, "count"))
	if len(p.First) > maxID || len(p.Last) > maxID {
		return p, true, ErrMalformed
	}
	return p, true, nil
}

// Next returns the request for the page that follows p, which held n and was the
// answer to s. More is false at the end, and when the answer leads nowhere.
func (s Set) Next(p Page, n int) (next Set, more bool) {
	switch {
	case n <= 0, p.Last == "", p.Last == s.After:
		return s, false
	case p.FirstIndex >= 0 && p.Count >= 0 && p.FirstIndex+n >= p.Count:
		return s, false
	}
	return Set{Max: s.Max, After: p.Last}, true
}

// number reads a number that cannot be negative; anything else is -1.
func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}
