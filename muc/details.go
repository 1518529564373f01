package muc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/rsm"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Details are what a room says of itself to everybody (XEP-0045 §6.4).
type Details struct {
	Name, Description, Subject, Lang string
	// Occupants is how many are there; -1 if the room does not tell.
	Occupants int
	// What it is like: see [Settings].
	Persistent, Public, MembersOnly, Moderated, NonAnonymous, Password bool
	// OccupantIDs and StanzaIDs say that the room knows its occupants and messages by
	// ids that can be believed, SelfPing that it answers for those who are there
	// (XEP-0410), Moderation that messages can be taken back (XEP-0425).
	OccupantIDs, StanzaIDs, SelfPing, Moderation bool
	// Avatar is the SHA-1 of the picture (XEP-0486), SlowMode how long an occupant
	// has to wait between two messages (XEP-0500).
	Avatar   string
	SlowMode time.Duration
	// PerHour is how many messages are said in an hour (XEP-0502); -1 if the room does
	// not tell.
	PerHour float64
	// Info is the whole answer.
	Info disco.Info
}

// GetDetails asks a room what it is, without entering it: for a badge with the number
// of its occupants, or before an attempt to enter. The error wraps [ErrNoRoom] if there
// is none.
func GetDetails(ctx context.Context, s confab.Requester, room jid.JID) (Details, error) {
	info, err := disco.GetInfo(ctx, s, room.Bare(), "")
	var se stanza.Error
	if errors.As(err, &se) && (se.Condition == stanza.ItemNotFound || se.Condition == stanza.Gone) {
		err = &Error{Room: room.Bare(), Kind: ErrNoRoom, Cause: se}
	}
	if err != nil {
		return Details{}, err
	}
	if _, ok := info.Identity("conference", ""); !ok {
		return Details{}, fmt.Errorf("muc: %s is not a room", room)
	}
	return detailsOf(info), nil
}

func detailsOf(i disco.Info) Details {
	can := abilitiesOf(i)
	d := Details{
		Occupants: -1, PerHour: -1, Info: i,
		Persistent: i.Has("muc_persistent"), Public: i.Has("muc_public"), MembersOnly: i.Has("muc_membersonly"),
		Moderated: i.Has("muc_moderated"), NonAnonymous: i.Has("muc_nonanonymous"), Password: i.Has("muc_passwordprotected"),
		OccupantIDs: can.ids, StanzaIDs: can.sids, SelfPing: i.Has(NS + "#self-ping-optimization"),
		Moderation: can.moderates || i.Has(nsModerate0),
	}
	if id, ok := i.Identity("conference", ""); ok {
		d.Name = id.Name
	}
	f := i.Form(nsRoomInfo)
	if f == nil {
		return d
	}
	get := func(name string) string { return f.Get("muc#roominfo_" + name) }
	d.Description, d.Lang, d.Avatar = get("description"), get("lang"), get("avatarhash")
	d.Subject = f.Text("muc#roominfo_subject")
	if n, err := strconv.Atoi(get("occupants")); err == nil && n >= 0 {
		d.Occupants = n
	}
	if n, err := strconv.Atoi(get("slow_mode_duration")); err == nil && n > 0 && n < 1<<30 {
		d.SlowMode = time.Duration(n) * time.Second
	}
	if n, err := strconv.ParseFloat(f.Get("{urn:xmpp:muc-activity}message-activity"), 64); err == nil && n >= 0 && n < 1e9 {
		d.PerHour = n
	}
	if name := f.Get(prefix + "roomname"); name != "" && d.Name == "" {
		d.Name = name
	}
	return d
}

// PublicRooms lists the rooms of a service that can be found, page by page: their
// addresses and names (XEP-0045 §6.3).
func PublicRooms(ctx context.Context, s confab.Requester, service jid.JID, opts ...disco.ItemsOption) iter.Seq2[disco.Item, error] {
	return func(yield func(disco.Item, error) bool) {
		for it, err := range disco.Items(ctx, s, service, "", opts...) {
			if err == nil && (it.JID.Localpart() == "" || it.JID.Resourcepart() != "") {
				continue
			}
			if !yield(it, err) {
				return
			}
		}
	}
}

// A Found is a room that a search has found.
type Found struct {
	JID               jid.JID
	Name, Description string
	Lang              string
	Users             int
	Open              bool // to everybody
}

// Search looks for public rooms everywhere, with a service such as
// search.jabber.network (XEP-0433). Limit bounds how many are returned; 0 leaves it to
// the service. Without any words all rooms are meant.
func Search(ctx context.Context, s confab.Requester, service jid.JID, words string, limit int) ([]Found, error) {
	params := func() *form.Form { return form.New(form.Answers, nsSearch+":search-params") }
	all, err := search(ctx, s, service, nsSearch+":search", params().Set("key", "{"+nsSearch+":order}nusers"), words, limit)
	var se stanza.Error
	if errors.As(err, &se) && se.Condition == stanza.FeatureNotImplemented { // perhaps only the order
		all, err = search(ctx, s, service, nsSearch+":search", params(), words, limit)
	}
	if errors.As(err, &se) && (se.Condition == stanza.ServiceUnavailable || se.Condition == stanza.FeatureNotImplemented) {
		return search(ctx, s, service, nsSearchOld, form.New(form.Answers, nsSearchOld+"#params"), words, limit)
	}
	return all, err
}

func search(ctx context.Context, s confab.Requester, service jid.JID, ns string, f *form.Form, words string, limit int) ([]Found, error) {
	if words == "" {
		f.SetBool("all", true)
	} else {
		f.Set("q", words).SetBool("sinname", true).SetBool("sindescription", true).SetBool("sinaddr", true)
	}
	q := confab.El(ns, "search", rsm.Set{Max: limit}.Element(), f.Element())
	var res confab.Element
	if err := confab.Do(ctx, s, stanza.IQ{Type: stanza.GetIQ, To: service}, q, &res); err != nil {
		return nil, fmt.Errorf("muc: search: %w", err)
	}
	var all []Found
	for it := range res.All(ns, "item") {
		j, err := jid.Parse(it.Get("address"))
		if err != nil || j.Localpart() == "" {
			continue
		}
		n, _ := strconv.Atoi(it.ChildText(ns, "nusers"))
		all = append(all, Found{
			JID: j.Bare(), Name: it.ChildText(ns, "name"), Description: it.ChildText(ns, "description"),
			Lang: it.ChildText(ns, "language"), Users: max(n, 0), Open: it.Child(ns, "is-open") != nil,
		})
		if limit > 0 && len(all) == limit || len(all) == 10_000 {
			break
		}
	}
	return all, nil
}

// Avatar asks for a room's picture (XEP-0486), of a media type such as image/png. There
// is no error if it has none.
func Avatar(ctx context.Context, s confab.Requester, room jid.JID) (mediaType string, data []byte, err error) {
	var card confab.Element
	err = confab.Do(ctx, s, stanza.IQ{Type: stanza.GetIQ, To: room.Bare()}, confab.El(nsVCard, "vCard"), &card)
	var se stanza.Error
	switch {
	case errors.As(err, &se) && se.Condition == stanza.ItemNotFound:
		return "", nil, nil
	case err != nil:
		return "", nil, fmt.Errorf("muc: %s: %w", room, err)
	}
	photo := card.Child(nsVCard, "PHOTO")
	data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(photo.ChildText(nsVCard, "BINVAL")), ""))
	if err != nil {
		return "", nil, fmt.Errorf("muc: the picture of %s: %w", room, err)
	}
	return photo.ChildText(nsVCard, "TYPE"), data, nil
}

// SetAvatar gives the room a picture, or takes it away if data is empty. Only owners
// may.
func (r *Room) SetAvatar(ctx context.Context, mediaType string, data []byte) error {
	card := confab.El(nsVCard, "vCard")
	if len(data) > 0 {
		card.Add(confab.El(nsVCard, "PHOTO", confab.El(nsVCard, "TYPE").SetText(mediaType),
			confab.El(nsVCard, "BINVAL").SetText(base64.StdEncoding.EncodeToString(data))))
	}
	return r.do(ctx, stanza.SetIQ, card, nil)
}
