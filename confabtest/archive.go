package confabtest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confab-im/confab"
)

const (
	nsMAM      = "urn:xmpp:mam:2"
	nsMAMExt   = "urn:xmpp:mam:2#extended"
	nsForward0 = "urn:xmpp:forward:0"
	nsFullText = "urn:xmpp:fulltext:0"
	nsOrderBy  = "urn:xmpp:order-by:1"
)

// archiveFeature is XEP-0313: an archive for each account.
func archiveFeature(s *Server) {
	if !s.cfg.has(Archives) {
		return
	}
	s.hooks.accountInfo = append(s.hooks.accountInfo, nsMAM, nsMAMExt, nsFullText, nsOrderBy+"@"+nsMAM)
	// After the ids are given: an archive keeps messages under them.
	s.hooks.message = append(s.hooks.message, func(a *account, e *confab.Element, sent bool) *confab.Element {
		if id := stanzaID(e, a.addr); id != "" && archivable(e) {
			other := e.Get("from")
			if sent {
				other = e.Get("to")
			}
			if j, err := parseAddr(other); err == nil {
				state[archive](a).add(id, j, e)
			}
		}
		return e
	})
	s.handleIQ(nsMAM, "query", nil, func(r *request) {
		if !r.own() {
			r.fail("auth", "forbidden", "")
			return
		}
		state[archive](r.acc).answer(r)
	})
	s.handleIQ(nsMAM, "metadata", nil, func(r *request) {
		if !r.own() || r.typ != "get" {
			r.fail("auth", "forbidden", "")
			return
		}
		r.result(state[archive](r.acc).metadata())
	})
	s.handleIQ(nsMAM, "prefs", nil, func(r *request) {
		prefs := state[archivePrefs](r.acc)
		switch {
		case !r.own():
			r.fail("auth", "forbidden", "")
			return
		case r.typ == "set":
			prefs.el = r.payload
		case prefs.el == nil:
			prefs.el = confab.El(nsMAM, "prefs", confab.El(nsMAM, "always"), confab.El(nsMAM, "never")).Set("default", "always")
		}
		r.result(prefs.el)
	})
}

type archivePrefs struct{ el *confab.Element }

// archivable reports whether a message is worth keeping.
func archivable(e *confab.Element) bool {
	switch {
	case e.Get("type") == "error", e.Get("type") == "headline",
		e.Child(nsHints, "no-store") != nil, e.Child(nsHints, "no-permanent-store") != nil:
		return false
	}
	return e.Child(nsClient, "body") != nil || e.Child(nsHints, "store") != nil || e.Child("eu.siacs.conversations.axolotl", "encrypted") != nil ||
		e.Child("urn:xmpp:omemo:2", "encrypted") != nil
}

func stanzaID(e *confab.Element, by addr) string {
	for c := range e.All(nsSID, "stanza-id") {
		if c.Get("by") == by.String() {
			return c.Get("id")
		}
	}
	return ""
}

// archive keeps messages in the order in which they came.
type archive struct{ kept []keptMessage }

type keptMessage struct {
	id    string
	at    time.Time
	other addr // with whom
	e     *confab.Element
}

func (a *archive) add(id string, other addr, e *confab.Element) {
	c := with(e)
	c.Children = drop(e, func(k *confab.Element) bool { return k.Is(nsSID, "stanza-id") && k.Get("id") == id })
	a.kept = append(a.kept, keptMessage{id, now(), other, c})
}

// replace puts something else in the place of a message.
func (a *archive) replace(id string, e *confab.Element) {
	if i := slices.IndexFunc(a.kept, func(k keptMessage) bool { return k.id == id }); i >= 0 {
		a.kept[i].e = e
	}
}

// textField is the name of the field for words to search (XEP-0431).
const textField = "{" + nsFullText + "}fulltext"

// limits of a page.
const (
	archivePage    = 50
	archiveMaxPage = 250
)

// answer answers a query, with a message for each result (XEP-0313 §4).
func (a *archive) answer(r *request) {
	if r.typ == "get" {
		form := confab.El(nsForm, "x", field("FORM_TYPE", "hidden", nsMAM)).Set("type", "form")
		for _, f := range [...][2]string{{"with", "jid-single"}, {"start", "text-single"}, {"end", "text-single"},
			{"before-id", "text-single"}, {"after-id", "text-single"}, {"ids", "list-multi"}, {textField, "text-single"}} {
			form.Add(confab.El(nsForm, "field").Set("var", f[0]).Set("type", f[1]))
		}
		r.result(confab.El(nsMAM, "query", form))
		return
	}
	list, condition := a.matching(r.payload.Child(nsForm, "x"))
	if condition != "" {
		r.fail("cancel", condition, "")
		return
	}
	page, first, complete, ok := pageOf(list, r.payload.Child(nsRSM, "set"))
	if !ok {
		r.fail("cancel", "item-not-found", "")
		return
	}
	fin := confab.El(nsRSM, "set")
	if len(page) > 0 {
		fin.Add(confab.El(nsRSM, "first").SetText(page[0].id).Set("index", strconv.Itoa(first)),
			confab.El(nsRSM, "last").SetText(page[len(page)-1].id))
	}
	fin.Add(confab.El(nsRSM, "count").SetText(strconv.Itoa(len(list))))
	if r.payload.Child(nsMAM, "flip-page") != nil {
		page = slices.Clone(page)
		slices.Reverse(page)
	}
	for _, k := range page {
		res := confab.El(nsMAM, "result", confab.El(nsForward0, "forwarded",
			confab.El("urn:xmpp:delay", "delay").Set("stamp", k.at.UTC().Format("2006-01-02T15:04:05.000000Z")), k.e)).
			Set("queryid", r.payload.Get("queryid")).Set("id", k.id)
		m := confab.El(nsClient, "message", res).Set("to", r.e.Get("from"))
		if to := r.e.Get("to"); to != "" {
			m.Set("from", to)
		} else if r.acc != nil {
			m.Set("from", r.acc.addr.String())
		}
		r.send(m)
	}
	el := confab.El(nsMAM, "fin", fin)
	if complete {
		el.Set("complete", "true")
	}
	r.result(el)
}

func field(name, typ, value string) *confab.Element {
	return confab.El(nsForm, "field", confab.El(nsForm, "value").SetText(value)).Set("var", name).Set("type", typ)
}

// matching returns the messages that a form asks for, or an error's condition.
func (a *archive) matching(form *confab.Element) (list []keptMessage, condition string) {
	list = a.kept
	at := func(id string) int { return slices.IndexFunc(list, func(k keptMessage) bool { return k.id == id }) }
	for f := range form.All(nsForm, "field") {
		var values []string
		for v := range f.All(nsForm, "value") {
			values = append(values, v.Text)
		}
		if len(values) == 0 {
			continue
		}
		var keep func(k keptMessage) bool
		switch f.Get("var") {
		case "with":
			j, err := parseAddr(values[0])
			if err != nil {
				return nil, "bad-request"
			}
			keep = func(k keptMessage) bool { return k.other == j || j.resource == "" && k.other.bare() == j }
		case "start", "end":
			t, err := time.Parse(time.RFC3339Nano, values[0])
			if err != nil {
				return nil, "bad-request"
			}
			start := f.Get("var") == "start"
			keep = func(k keptMessage) bool { return start && !k.at.Before(t) || !start && !k.at.After(t) }
		case "after-id", "before-id":
			i := at(values[0])
			if i < 0 {
				return nil, "item-not-found"
			}
			if f.Get("var") == "after-id" {
				list = list[i+1:]
			} else {
				list = list[:i]
			}
			continue
		case "ids":
			for _, id := range values {
				if at(id) < 0 {
					return nil, "item-not-found"
				}
			}
			keep = func(k keptMessage) bool { return slices.Contains(values, k.id) }
		case textField:
			words := strings.Fields(strings.ToLower(values[0]))
			keep = func(k keptMessage) bool {
				body := strings.ToLower(k.e.ChildText(nsClient, "body"))
				return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(body, w) })
			}
		default:
			continue
		}
		var kept []keptMessage
		for _, k := range list {
			if keep(k) {
				kept = append(kept, k)
			}
		}
		list = kept
	}
	return list, ""
}

// pageOf cuts a page out of a list (XEP-0059).
func pageOf(list []keptMessage, set *confab.Element) (page []keptMessage, first int, complete, ok bool) {
	n := archivePage
	if m := set.Child(nsRSM, "max"); m != nil {
		n, _ = strconv.Atoi(m.Text)
		n = min(max(n, 0), archiveMaxPage)
	}
	at := func(id string) int { return slices.IndexFunc(list, func(k keptMessage) bool { return k.id == id }) }
	from, to := 0, len(list)
	if a := set.Child(nsRSM, "after"); a != nil {
		i := at(a.Text)
		if i < 0 {
			return nil, 0, false, false
		}
		from = i + 1
	}
	if b := set.Child(nsRSM, "before"); b != nil {
		if b.Text != "" {
			if to = at(b.Text); to < 0 {
				return nil, 0, false, false
			}
		}
		first = max(from, to-n)
		return list[first:max(first, to)], first, first == from, true
	}
	last := min(from+n, to)
	return list[from:last], from, last == to, true
}

func (a *archive) metadata() *confab.Element {
	el := confab.El(nsMAM, "metadata")
	if n := len(a.kept); n > 0 {
		for i, name := range map[int]string{0: "start", n - 1: "end"} {
			k := a.kept[i]
			el.Add(confab.El(nsMAM, name).Set("id", k.id).Set("timestamp", k.at.UTC().Format(time.RFC3339)))
		}
		if n == 1 {
			el.Add(confab.El(nsMAM, "start").Set("id", a.kept[0].id).Set("timestamp", a.kept[0].at.UTC().Format(time.RFC3339)))
		}
	}
	return el
}
