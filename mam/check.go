package mam

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// textFields are what archives call a search for words: as XEP-0431 says, and as
// ejabberd did before.
var textFields = [...]string{"{urn:xmpp:fulltext:0}fulltext", "withtext"}

// maxIDs bounds how many messages can be asked for by id at once.
const maxIDs = 1000

// check refuses what makes no sense, and what the archive would pass over: it would
// answer with everything.
func (a *Archives) check(ctx context.Context, q *Query) error {
	switch {
	case q.Limit < 0 || q.Page < 0:
		return errors.New("mam: Query.Limit and Query.Page cannot be negative")
	case !q.Start.IsZero() && !q.End.IsZero() && q.End.Before(q.Start):
		return errors.New("mam: Query.End is before Query.Start")
	case len(q.IDs) > maxIDs:
		return fmt.Errorf("mam: Query.IDs has more than %d ids: ask in parts", maxIDs)
	case slices.Contains(q.IDs, ""):
		return errors.New("mam: an id in Query.IDs is empty")
	case q.OrderBy != "" && q.OrderBy != ByCreation && q.OrderBy != ByModification:
		return fmt.Errorf("mam: Query.OrderBy cannot be %q", q.OrderBy)
	}
	if len(q.IDs) > 0 || q.Text != "" {
		has, err := a.fields(ctx, q.Archive)
		if err != nil {
			return err
		}
		if len(q.IDs) > 0 && !slices.Contains(has, "ids") {
			return fmt.Errorf("%w: ask for messages by their ids", ErrUnsupported)
		}
		if q.Text != "" {
			i := slices.IndexFunc(textFields[:], func(f string) bool { return slices.Contains(has, f) })
			if i < 0 {
				return fmt.Errorf("%w: search for words; read it into a store, which can", ErrUnsupported)
			}
			q.textField = textFields[i]
		}
	}
	if q.OrderBy != "" {
		var info confab.Element
		if err := confab.Do(ctx, a.s, stanza.IQ{Type: stanza.GetIQ, To: a.whose(q.Archive)}, confab.El(nsDisco, "query"), &info); err != nil {
			return err
		}
		for f := range info.All(nsDisco, "feature") {
			if f.Get("var") == nsOrder+"@"+NS {
				return nil
			}
		}
		return fmt.Errorf("%w: order by %s", ErrUnsupported, q.OrderBy)
	}
	return nil
}

const nsDisco = "http://jabber.org/protocol/disco#info"

// fields asks an archive what one can look for (XEP-0313 §4.1.6).
func (a *Archives) fields(ctx context.Context, archive jid.JID) (names []string, err error) {
	var el confab.Element
	if err := confab.Do(ctx, a.s, stanza.IQ{Type: stanza.GetIQ, To: archive}, confab.El(NS, "query"), &el); err != nil {
		return nil, err
	}
	f := form.Find(&el, NS)
	if f == nil {
		return nil, nil
	}
	for _, field := range f.Fields {
		names = append(names, field.Var)
	}
	return names, nil
}
