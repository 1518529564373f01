package confabtest

import (
	"crypto/sha1" // what XEP-0084 is made of
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/confab-im/confab"
)

const (
	nsVCard      = "vcard-temp"
	nsVCardHash  = "vcard-temp:x:update"
	nsAvatarData = "urn:xmpp:avatar:data"
	nsAvatarMeta = "urn:xmpp:avatar:metadata"
)

// vcard is what an account has told of itself.
type vcard struct{ card *confab.Element }

// vcardFeature is vcard-temp (XEP-0054) and the conversion of avatars between PEP and
// it (XEP-0398): the picture of PEP is put into the vCard when somebody asks.
func vcardFeature(s *Server) {
	s.hooks.serverInfo = append(s.hooks.serverInfo, nsVCard)
	s.hooks.accountInfo = append(s.hooks.accountInfo, nsVCard)
	s.handleIQ(nsVCard, "vCard", nil, vcardIQ)
	if s.converts() {
		s.hooks.accountInfo = append(s.hooks.accountInfo, "urn:xmpp:pep-vcard-conversion:0")
		s.hooks.outgoing = append(s.hooks.outgoing, addAvatarHash)
	}
}

func (s *Server) converts() bool { return s.cfg.has(PubSub | AvatarConversion) }

func vcardIQ(r *request) {
	own := state[vcard](r.acc)
	if r.typ == "get" {
		card := confab.El(nsVCard, "vCard")
		if own.card != nil {
			card = with(own.card)
		}
		if r.s.converts() {
			card.Children = drop(card, func(k *confab.Element) bool { return k.Is(nsVCard, "PHOTO") })
			if photo := r.acc.avatar(r.from); photo != nil {
				card.Add(photo)
			}
		}
		if len(card.Children) == 0 && !r.own() {
			r.fail("cancel", "item-not-found", "")
			return
		}
		r.result(card)
		return
	}
	if !r.own() {
		r.fail("auth", "forbidden", "")
		return
	}
	own.card = r.payload
	r.result(nil)
	if r.s.converts() {
		r.acc.publishAvatar(r.payload.Child(nsVCard, "PHOTO"))
	}
}

// avatarInfo returns the <info/> of the picture that an account has published, or
// nil.
func (a *account) avatarInfo() *confab.Element {
	n := a.pep().nodes[nsAvatarMeta]
	if n == nil || len(n.items) == 0 {
		return nil
	}
	return n.items[len(n.items)-1].payload.Child(nsAvatarMeta, "info")
}

// avatar returns the published picture for a vCard, if somebody may see it.
func (a *account) avatar(who addr) *confab.Element {
	p := a.pep()
	info, meta, data := a.avatarInfo(), p.nodes[nsAvatarMeta], p.nodes[nsAvatarData]
	if info == nil || data == nil || !p.reads(meta, who) || !p.reads(data, who) {
		return nil
	}
	i := data.item(info.Get("id"))
	if i < 0 {
		return nil
	}
	return confab.El(nsVCard, "PHOTO", confab.El(nsVCard, "TYPE").SetText(info.Get("type")),
		confab.El(nsVCard, "BINVAL").SetText(data.items[i].payload.Text))
}

// publishAvatar publishes the picture of a vCard.
func (a *account) publishAvatar(photo *confab.Element) {
	p := a.pep()
	node := func(name string) *pubsubNode {
		if n := p.nodes[name]; n != nil {
			return n
		}
		return p.create(name, a.addr, map[string][]string{"access_model": {"open"}})
	}
	text := photo.Child(nsVCard, "BINVAL")
	if text == nil {
		if a.avatarInfo() != nil {
			p.publish(node(nsAvatarMeta), pubsubItem{id: newID(), payload: confab.El(nsAvatarMeta, "metadata"), at: now()})
		}
		return
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text.Text), ""))
	if err != nil {
		return
	}
	sum := sha1.Sum(data)
	id := hex.EncodeToString(sum[:])
	if info := a.avatarInfo(); info.Get("id") == id {
		return
	}
	p.publish(node(nsAvatarData), pubsubItem{id: id, payload: confab.El(nsAvatarData, "data").SetText(text.Text), at: now()})
	p.publish(node(nsAvatarMeta), pubsubItem{id: id, at: now(), payload: confab.El(nsAvatarMeta, "metadata",
		confab.El(nsAvatarMeta, "info").Set("id", id).Set("type", photo.ChildText(nsVCard, "TYPE")).Set("bytes", strconv.Itoa(len(data))))})
}

// addAvatarHash puts the hash of the picture into presence (XEP-0398 §4), of
// accounts that have ever had one.
func addAvatarHash(ss *session, e *confab.Element) *confab.Element {
	if e.Get("type") != "" || ss.acc.pep().nodes[nsAvatarMeta] == nil || e.Child(nsVCardHash, "x").Child(nsVCardHash, "photo") != nil {
		return e
	}
	e = with(e)
	e.Children = drop(e, func(k *confab.Element) bool { return k.Is(nsVCardHash, "x") })
	return e.Add(confab.El(nsVCardHash, "x", confab.El(nsVCardHash, "photo").SetText(ss.acc.avatarInfo().Get("id"))))
}
