package vcard

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// A Profile is what somebody tells of himself.
type Profile struct {
	FullName, Nickname string
	// Birthday is a date such as "1966-08-06", or without the year "--08-06", or
	// what people write.
	Birthday string
	// Sites are addresses of web sites, Mails those of e-mail.
	Sites, Mails []string
	// City and Country are those of the first address.
	City, Country string
	// About is a text in one's own words.
	About string
	// Photo is the URI of a picture; mostly it is empty, and the picture is the
	// avatar: see [Profiles.Picture].
	Photo string

	raw *confab.Element // the card that it was read from
}

// Raw returns the card that the profile was read from, for fields that are unknown
// here: a <vcard/> of vCard4 or a <vCard/> of vcard-temp. It is nil for a profile
// that is new, and must not be changed.
func (p Profile) Raw() *confab.Element { return p.raw }

// dialect says where things are in a kind of card.
type dialect struct {
	space, root                                            string
	name, nick, birthday, site, mail, city, country, about []string
	photo                                                  []string
	mark                                                   map[string]string // what a new one needs
}

// four and temp are functions because a package has no state.
func four() dialect {
	return dialect{
		space: nsVCard4, root: "vcard",
		name: []string{"fn", "text"}, nick: []string{"nickname", "text"}, birthday: []string{"bday", "date"},
		site: []string{"url", "uri"}, mail: []string{"email", "text"},
		city: []string{"adr", "locality"}, country: []string{"adr", "country"}, about: []string{"note", "text"},
		photo: []string{"photo", "uri"},
	}
}

func temp() dialect {
	return dialect{
		space: nsTemp, root: "vCard",
		name: []string{"FN"}, nick: []string{"NICKNAME"}, birthday: []string{"BDAY"},
		site: []string{"URL"}, mail: []string{"EMAIL", "USERID"},
		city: []string{"ADR", "LOCALITY"}, country: []string{"ADR", "CTRY"}, about: []string{"DESC"},
		photo: []string{"PHOTO", "EXTVAL"},
		mark:  map[string]string{"EMAIL": "INTERNET", "ADR": "HOME"},
	}
}

// most bounds lists in cards of others.
const most = 64

// ParseProfile reads a card of either kind. It returns false for anything else.
func ParseProfile(el *confab.Element) (Profile, bool) {
	for _, d := range []dialect{four(), temp()} {
		if el.Is(d.space, d.root) {
			return d.parse(el), true
		}
	}
	return Profile{}, false
}

func (d dialect) parse(el *confab.Element) Profile {
	p := Profile{
		FullName: d.first(el, d.name), Nickname: d.first(el, d.nick), Birthday: d.first(el, d.birthday),
		Sites: d.all(el, d.site), Mails: d.all(el, d.mail),
		City: d.first(el, d.city), Country: d.first(el, d.country), About: d.first(el, d.about),
		Photo: d.first(el, d.photo), raw: el,
	}
	if p.Birthday == "" {
		for _, other := range []string{"date-time", "text"} {
			if p.Birthday == "" {
				p.Birthday = d.first(el, []string{d.birthday[0], other})
			}
		}
	}
	if p.About == "" {
		p.About = d.first(el, []string{"NOTE"}) // what some servers make of vCard4's note
	}
	return p
}

// value returns the text in an element at the end of a path.
func (d dialect) value(el *confab.Element, path []string) string {
	for _, name := range path {
		el = el.Child(d.space, name)
	}
	if el == nil {
		return ""
	}
	return strings.TrimSpace(el.Text)
}

// first returns the first value that is not empty.
func (d dialect) first(el *confab.Element, path []string) string {
	for c := range el.All(d.space, path[0]) {
		if v := d.value(c, path[1:]); v != "" {
			return v
		}
	}
	return ""
}

func (d dialect) all(el *confab.Element, path []string) []string {
	var list []string
	for c := range el.All(d.space, path[0]) {
		if v := d.value(c, path[1:]); v != "" && len(list) < most {
			list = append(list, v)
		}
	}
	return list
}

// apply returns the card el, or a new one, with the values of p. All else in it is
// kept.
func (d dialect) apply(el *confab.Element, p Profile) *confab.Element {
	if el == nil {
		el = confab.El(d.space, d.root)
	}
	el = el.Clone()
	was := d.parse(el)
	d.setOne(el, d.name, p.FullName)
	d.setOne(el, d.nick, p.Nickname)
	if was.Birthday != p.Birthday {
		d.remove(el, d.birthday[0])
		path := d.birthday
		if d.space == nsVCard4 && !date.MatchString(p.Birthday) {
			path = []string{d.birthday[0], "text"}
		}
		d.setOne(el, path, p.Birthday)
	}
	d.setList(el, d.site, p.Sites)
	d.setList(el, d.mail, p.Mails)
	d.setOne(el, d.city, p.City)
	d.setOne(el, d.country, p.Country)
	if was.About != p.About {
		d.remove(el, "NOTE")
		d.setOne(el, d.about, p.About)
	}
	if el.Child(d.space, d.photo[0]).Child(d.space, "BINVAL") == nil { // an avatar stays
		d.setOne(el, d.photo, p.Photo)
	}
	return el
}

// date is what vCard4 takes as a date (RFC 6350 §4.3.1).
var date = regexp.MustCompile(`^([0-9]{4}(-?[0-9]{2}-?[0-9]{2}|-[0-9]{2})?|--[0-9]{2}(-?[0-9]{2})?|---[0-9]{2})$`)

// setOne gives the first element of a kind a value. An empty value takes away what
// there is.
func (d dialect) setOne(el *confab.Element, path []string, v string) {
	if d.first(el, path) == v {
		return
	}
	if v == "" {
		if len(path) == 1 || len(el.Child(d.space, path[0]).Children) <= 1 {
			d.remove(el, path[0])
			return
		}
		// Other parts, such as those of an address, stay.
		for c := range el.All(d.space, path[0]) {
			d.remove(c, path[1])
		}
		return
	}
	c := el.Child(d.space, path[0])
	if c == nil {
		el.Add(d.make(path, v))
		return
	}
	for i, name := range path[1:] {
		next := c.Child(d.space, name)
		if next == nil {
			next = d.make(path[i+1:], v)
			c.Add(next)
		}
		c = next
	}
	c.Text, c.Children = v, nil
}

// setList makes the values of a kind those in list. Elements whose value stays are
// kept as they are.
func (d dialect) setList(el *confab.Element, path []string, list []string) {
	var missing []string
	for _, v := range list {
		if v != "" && !slices.Contains(missing, v) {
			missing = append(missing, v)
		}
	}
	el.Children = slices.DeleteFunc(el.Children, func(c *confab.Element) bool {
		if !c.Is(d.space, path[0]) {
			return false
		}
		i := slices.Index(missing, d.value(c, path[1:]))
		if i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		}
		return i < 0
	})
	for _, v := range missing {
		el.Add(d.make(path, v))
	}
}

func (d dialect) remove(el *confab.Element, name string) {
	el.Children = slices.DeleteFunc(el.Children, func(c *confab.Element) bool { return c.Is(d.space, name) })
}

func (d dialect) make(path []string, v string) *confab.Element {
	el := confab.El(d.space, path[0])
	if m := d.mark[path[0]]; m != "" {
		el.Add(confab.El(d.space, m))
	}
	if len(path) == 1 {
		return el.SetText(v)
	}
	return el.Add(d.make(path[1:], v))
}

// Profile reads somebody's profile, or one's own if who is zero. The error is
// [ErrNone] if there is none that we may read. A full address is that of somebody in
// a room: the room asks on our behalf.
func (p *Profiles) Profile(ctx context.Context, who jid.JID) (Profile, error) {
	if who.Resourcepart() == "" {
		items, err := p.pep(who).Latest(ctx, nodeVCard4, 1)
		if err != nil && !nothing(err) {
			return Profile{}, err
		}
		for _, it := range items {
			if it.Payload.Is(nsVCard4, "vcard") {
				return four().parse(it.Payload), nil
			}
		}
	}
	card, err := p.temp(ctx, who)
	if err != nil {
		return Profile{}, err
	}
	if card == nil || len(card.Children) == 1 && card.Children[0].Is(nsTemp, "PHOTO") {
		return Profile{}, ErrNone
	}
	return temp().parse(card), nil
}

// SetProfile publishes one's own profile for those whom access lets read it:
// [pubsub.AccessOpen] for everybody, [pubsub.AccessPresence] for contacts only,
// [pubsub.AccessWhitelist] for nobody else. Take what [Profiles.Profile] has returned
// and change it: fields that are unknown here are kept then.
//
// The profile is written as vCard4, and as vcard-temp for old clients if access is
// open. Otherwise what was told there before, but for the picture, is taken back.
func (p *Profiles) SetProfile(ctx context.Context, profile Profile, access pubsub.AccessModel) error {
	if access == "" {
		return errors.New("vcard: SetProfile needs an access model, such as pubsub.AccessOpen")
	}
	card := profile.raw
	if !card.Is(nsVCard4, "vcard") {
		card = nil
		items, err := p.pep(jid.JID{}).Latest(ctx, nodeVCard4, 1)
		if err != nil && !nothing(err) {
			return err
		}
		for _, it := range items {
			if it.Payload.Is(nsVCard4, "vcard") {
				card = it.Payload
			}
		}
	}
	// First the one that a server may make into the other.
	if err := p.setTempProfile(ctx, profile, access); err != nil {
		return err
	}
	c := pubsub.Config{Access: access, Persist: pubsub.Yes}
	_, err := p.pep(jid.JID{}).Publish(ctx, nodeVCard4, pubsub.Item{ID: "current", Payload: four().apply(card, profile)}, c)
	if errors.Is(err, pubsub.ErrUnsupported) && access == pubsub.AccessOpen {
		return nil // a server without PEP has the vcard-temp at least
	}
	return err
}

func (p *Profiles) setTempProfile(ctx context.Context, profile Profile, access pubsub.AccessModel) error {
	both, err := p.has(ctx, nsVCard4)
	if err != nil {
		return err
	}
	converts, err := p.has(ctx, nsConvert)
	if err != nil || both && converts {
		return err // the server makes one out of the other, for those who may see it
	}
	old, err := p.temp(ctx, jid.JID{})
	if err != nil {
		return err
	}
	card := old
	if access == pubsub.AccessOpen {
		if card == nil && profile.raw.Is(nsTemp, "vCard") {
			card = profile.raw
		}
		card = temp().apply(card, profile)
	} else {
		card = confab.El(nsTemp, "vCard")
		if photo := old.Child(nsTemp, "PHOTO"); photo != nil {
			card.Add(photo)
		}
		if old == nil || len(old.Children) == len(card.Children) {
			return nil
		}
	}
	return p.setTemp(ctx, card)
}

// profileEvent takes the event of a profile.
func (p *Profiles) profileEvent(_ context.Context, e *pubsub.Event) bool {
	if e.Kind != pubsub.Published {
		return true
	}
	emit := func(items []pubsub.Item) {
		for _, it := range items {
			if it.Payload.Is(nsVCard4, "vcard") {
				p.s.Emit(ProfileChanged{e.From, four().parse(it.Payload)})
				return
			}
		}
	}
	p.complete(e, emit)
	return true
}

const maxFetching = 16

// complete calls f with the items of an event, after it has fetched what is not in
// the event.
func (p *Profiles) complete(e *pubsub.Event, f func([]pubsub.Item)) {
	if e.Complete() {
		f(e.Items)
		return
	}
	// Anybody can send such events: they must not keep us busy.
	if p.fetching.Add(1) > maxFetching {
		p.fetching.Add(-1)
		return
	}
	p.s.Go(func(ctx context.Context) {
		defer p.fetching.Add(-1)
		if items, err := e.Fetch(ctx, p.s); err == nil {
			f(items)
		}
	})
}
