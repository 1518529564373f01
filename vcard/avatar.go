package vcard

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// An Avatar describes a picture of somebody.
type Avatar struct {
	// ID is the SHA-1 of the data, as 40 hexadecimal digits. A picture that is
	// known by its ID need not be fetched again.
	ID string
	// Type is the MIME type, Bytes the size of the data, Width and Height the size
	// in pixels; empty or 0 if not told. They are claims until the data are there.
	Type                 string
	Bytes, Width, Height int
	// URL is where the data are if they are not kept by the account's server. They
	// are not fetched by this package: to fetch it tells its owner who we are.
	URL string

	vcard bool // it was learned from presence, or from the vCard
}

// AvatarChanged is the event for another picture of somebody, or for the one that he
// has already when we first hear of it.
type AvatarChanged struct {
	// JID is a bare address, or the full one of somebody in a room.
	JID jid.JID
	// Avatar is the picture; nil if there is none any more.
	Avatar *Avatar
	// Others are the same picture in other formats or sizes, of PEP only.
	Others []Avatar
}

// ParseMetadata reads the <metadata/> of XEP-0084: the picture, nil if there is
// none, and others in other formats. The best is one that is kept by the server, and
// among those the one that the item, of this id, is named after. What makes no sense
// is passed over.
func ParseMetadata(el *confab.Element, item string) (best *Avatar, others []Avatar) {
	if !el.Is(nsMetadata, "metadata") {
		return nil, nil
	}
	n := 0
	var all []Avatar
	for c := range el.All(nsMetadata, "info") {
		if n++; n > most {
			break
		}
		a := Avatar{ID: strings.ToLower(c.Get("id")), Type: c.Get("type"), URL: c.Get("url"),
			Bytes: number(c.Get("bytes")), Width: number(c.Get("width")), Height: number(c.Get("height"))}
		if !isHash(a.ID) || a.Type != "" && !strings.HasPrefix(a.Type, "image/") {
			continue
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		return nil, nil
	}
	rank := func(a Avatar) int {
		switch {
		case a.URL == "" && a.ID == item:
			return 0
		case a.URL == "":
			return 1
		}
		return 2
	}
	i := 0
	for j := range all {
		if rank(all[j]) < rank(all[i]) {
			i = j
		}
	}
	a := all[i]
	return &a, slices.Delete(all, i, i+1)
}

func isHash(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// number reads a number that cannot be negative; anything else is 0.
func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// metadata takes the event of a picture (XEP-0084).
func (p *Profiles) metadata(_ context.Context, e *pubsub.Event) bool {
	switch e.Kind {
	case pubsub.Published:
		p.complete(e, func(items []pubsub.Item) {
			if len(items) == 0 {
				return
			}
			it := items[len(items)-1]
			if it.Payload.Is(nsMetadata, "metadata") {
				best, others := ParseMetadata(it.Payload, it.ID)
				p.changed(AvatarChanged{e.From, best, others}, true)
			}
		})
	case pubsub.Retracted, pubsub.Purged, pubsub.Deleted:
		p.changed(AvatarChanged{JID: e.From}, true)
	}
	return true
}

// presence looks at the hash in presence (XEP-0153 §4.3). No <photo/> says
// nothing, an empty one that there is none.
func (p *Profiles) presence(_ context.Context, pr *confab.Presence) error {
	if pr.Type != "" {
		return nil
	}
	photo := pr.Stanza.Child(nsUpdate, "x").Child(nsUpdate, "photo")
	if photo == nil {
		return nil
	}
	who := pr.From.Bare()
	if pr.Stanza.Child(nsMUCUser, "x") != nil {
		who = pr.From
	}
	ev := AvatarChanged{JID: who}
	if id := strings.ToLower(strings.TrimSpace(photo.Text)); id != "" {
		if !isHash(id) {
			return nil
		}
		ev.Avatar = &Avatar{ID: id, vcard: true}
	}
	p.changed(ev, false)
	return nil
}

// changed emits the event if it is news. What PEP says of somebody goes before what
// presence says.
func (p *Profiles) changed(e AvatarChanged, pep bool) {
	id := ""
	if e.Avatar != nil {
		id = e.Avatar.ID
	}
	p.mu.Lock()
	old, heard := p.known.get(e.JID.String())
	news := (pep || !old.pep) && (!heard || old.id != id)
	// A first word of no picture is no news, and is not worth remembering.
	if !heard && id == "" {
		news = false
	}
	if news || pep && heard {
		p.known.put(e.JID.String(), knownAvatar{id, pep && id != ""})
	}
	p.mu.Unlock()
	if news {
		p.s.Emit(e)
	}
}

type knownAvatar struct {
	id  string
	pep bool
}

// seen remembers the pictures of those that were heard of last.
type seen struct{ cur, old map[string]knownAvatar }

const maxSeen = 8192

func (s *seen) get(k string) (knownAvatar, bool) {
	if v, ok := s.cur[k]; ok {
		return v, true
	}
	v, ok := s.old[k]
	return v, ok
}

func (s *seen) put(k string, v knownAvatar) {
	if s.cur == nil || len(s.cur) >= maxSeen {
		s.cur, s.old = map[string]knownAvatar{}, s.cur
	}
	s.cur[k] = v
}

// Avatar returns the picture that somebody has, without its data; who is zero for
// oneself. The error is [ErrNone] if there is none. A full address is that of
// somebody in a room. Where there is only a vCard, the data come along and are
// thrown away: see [Profiles.Picture].
func (p *Profiles) Avatar(ctx context.Context, who jid.JID) (Avatar, error) {
	a, err := p.published(ctx, who)
	if err == nil || !errors.Is(err, ErrNone) {
		return a, err
	}
	pic, err := p.photo(ctx, who)
	return pic.Avatar, err
}

// published returns the picture that was published by PEP.
func (p *Profiles) published(ctx context.Context, who jid.JID) (Avatar, error) {
	if who.Resourcepart() != "" {
		return Avatar{}, ErrNone
	}
	items, err := p.pep(who).Latest(ctx, nsMetadata, 1)
	if nothing(err) {
		return Avatar{}, ErrNone
	}
	if err != nil {
		return Avatar{}, err
	}
	if len(items) > 0 && items[0].Payload != nil {
		if best, _ := ParseMetadata(items[0].Payload, items[0].ID); best != nil {
			return *best, nil
		}
	}
	return Avatar{}, ErrNone
}

// Picture returns the picture that somebody has, with its data: that of PEP, else
// that in the vCard. Who is zero for oneself, and full for somebody in a room.
func (p *Profiles) Picture(ctx context.Context, who jid.JID) (Picture, error) {
	a, err := p.published(ctx, who)
	if errors.Is(err, ErrNone) {
		return p.photo(ctx, who)
	}
	if err != nil {
		return Picture{}, err
	}
	return p.FetchAvatar(ctx, who, a)
}

// FetchAvatar returns the data of a picture of somebody that an event or
// [Profiles.Avatar] has told of. The error is [ErrNone] if it is gone meanwhile, and
// [ErrPicture] if it is not what was told, or over the limits of [Config].
func (p *Profiles) FetchAvatar(ctx context.Context, who jid.JID, a Avatar) (Picture, error) {
	switch {
	case !isHash(a.ID):
		return Picture{}, fmt.Errorf("vcard: %q is not the id of a picture", a.ID)
	case a.URL != "":
		return Picture{}, fmt.Errorf("%w: it is not at the server but at %s", ErrNone, a.URL)
	case a.Bytes > p.cfg.MaxBytes || a.Width > 0 && a.Height > p.cfg.MaxPixels/a.Width:
		return Picture{}, fmt.Errorf("%w: it is too big", ErrPicture)
	}
	if !a.vcard && who.Resourcepart() == "" {
		it, err := p.pep(who).Item(ctx, nsData, a.ID)
		switch {
		case err == nil && it.Payload.Is(nsData, "data"):
			return p.cfg.decodeAs(it.Payload.Text, a)
		case err != nil && !nothing(err):
			return Picture{}, err
		}
	}
	pic, err := p.photo(ctx, who)
	if err == nil && pic.ID != a.ID {
		return Picture{}, fmt.Errorf("%w: it is another one by now", ErrNone)
	}
	return pic, err
}

// photo returns the picture in somebody's vCard.
func (p *Profiles) photo(ctx context.Context, who jid.JID) (Picture, error) {
	card, err := p.temp(ctx, who)
	if err != nil {
		return Picture{}, err
	}
	data := card.Child(nsTemp, "PHOTO").Child(nsTemp, "BINVAL")
	if data == nil || strings.TrimSpace(data.Text) == "" {
		return Picture{}, ErrNone
	}
	pic, err := p.cfg.decode(data.Text)
	pic.vcard = true
	return pic, err
}

// SetAvatar publishes a picture of oneself, a PNG, JPEG, GIF or WebP, for those whom
// access lets see it: [pubsub.AccessOpen] for everybody, rooms included, or
// [pubsub.AccessPresence] for contacts only. XEP-0084 asks for PNG; others are
// understood by most clients. It is written to the vCard, too, if everybody may see
// it and the server does not do that itself (XEP-0398). Some servers that do, such as
// ejabberd, show everybody in the vCard what is meant for contacts.
func (p *Profiles) SetAvatar(ctx context.Context, data []byte, access pubsub.AccessModel) (Avatar, error) {
	if access == "" {
		return Avatar{}, errors.New("vcard: SetAvatar needs an access model, such as pubsub.AccessOpen")
	}
	a, err := p.cfg.check(data)
	if err != nil {
		return Avatar{}, err
	}
	text := base64.StdEncoding.EncodeToString(data)
	c := pubsub.Config{Access: access, Persist: pubsub.Yes}
	pep := p.pep(jid.JID{})
	info := confab.El(nsMetadata, "info").Set("bytes", strconv.Itoa(a.Bytes)).Set("id", a.ID).Set("type", a.Type).
		Set("width", strconv.Itoa(a.Width)).Set("height", strconv.Itoa(a.Height))
	_, err = pep.Publish(ctx, nsData, pubsub.Item{ID: a.ID, Payload: confab.El(nsData, "data").SetText(text)}, c)
	if err == nil {
		_, err = pep.Publish(ctx, nsMetadata, pubsub.Item{ID: a.ID, Payload: confab.El(nsMetadata, "metadata", info)}, c)
	}
	if err != nil && (!errors.Is(err, pubsub.ErrUnsupported) || access != pubsub.AccessOpen) {
		return Avatar{}, err // a server without PEP has the vCard at least
	}
	if converts, err := p.has(ctx, nsConvert); err != nil || converts {
		return a, err
	}
	var photo *confab.Element
	if access == pubsub.AccessOpen {
		photo = confab.El(nsTemp, "PHOTO", confab.El(nsTemp, "TYPE").SetText(a.Type), confab.El(nsTemp, "BINVAL").SetText(text))
	}
	return a, p.setPhoto(ctx, photo)
}

// setPhoto puts a picture into the own vCard, or takes it out if photo is nil.
func (p *Profiles) setPhoto(ctx context.Context, photo *confab.Element) error {
	card, err := p.temp(ctx, jid.JID{})
	if err != nil {
		return err
	}
	if photo == nil && card.Child(nsTemp, "PHOTO") == nil {
		return nil
	}
	if card == nil {
		card = confab.El(nsTemp, "vCard")
	}
	card = card.Clone()
	temp().remove(card, "PHOTO")
	if photo != nil {
		card.Add(photo)
	}
	return p.setTemp(ctx, card)
}

// DisableAvatar says that one has no picture for now (XEP-0084 §4.5). The data stay
// at the server, so that the metadata can be published again without them.
func (p *Profiles) DisableAvatar(ctx context.Context) error {
	pep := p.pep(jid.JID{})
	// The node stays as open as it is.
	_, err := pep.Publish(ctx, nsMetadata, pubsub.Item{Payload: confab.El(nsMetadata, "metadata")}, pubsub.Config{})
	if err != nil && !errors.Is(err, pubsub.ErrUnsupported) {
		return err
	}
	return p.setPhoto(ctx, nil) // even where the server converts: ejabberd leaves it there
}

// RemoveAvatar is DisableAvatar that deletes the data as well.
func (p *Profiles) RemoveAvatar(ctx context.Context) error {
	if err := p.DisableAvatar(ctx); err != nil {
		return err
	}
	err := p.pep(jid.JID{}).Purge(ctx, nsData)
	if errors.Is(err, pubsub.ErrNotFound) || errors.Is(err, pubsub.ErrUnsupported) {
		return nil
	}
	return err
}

// PresenceHash returns what one's own presence has to carry so that others, and
// rooms, learn of the picture in the vCard (XEP-0153 §4.1). It is nil where the server
// adds that itself (XEP-0398); else it belongs into roster.Own.Extra, when one signs in
// and again after the picture has changed.
func (p *Profiles) PresenceHash(ctx context.Context) (*confab.Element, error) {
	if converts, err := p.has(ctx, nsConvert); err != nil || converts {
		return nil, err
	}
	pic, err := p.photo(ctx, jid.JID{})
	if err != nil && !errors.Is(err, ErrNone) {
		return nil, err
	}
	return confab.El(nsUpdate, "x", confab.El(nsUpdate, "photo").SetText(pic.ID)), nil
}
