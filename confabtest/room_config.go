package confabtest

import (
	"crypto/sha1" // what avatars are named by
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
)

// roomFields are the settings of a room, without "muc#roomconfig_".
var roomFields = []struct {
	name    string
	typ     form.FieldType
	options []string
	def     string
}{
	{"roomname", form.TextSingle, nil, ""}, {"roomdesc", form.TextSingle, nil, ""}, {"lang", form.TextSingle, nil, "en"},
	{"persistentroom", form.Boolean, nil, "0"}, {"publicroom", form.Boolean, nil, "1"},
	{"membersonly", form.Boolean, nil, "0"}, {"moderatedroom", form.Boolean, nil, "0"},
	{"passwordprotectedroom", form.Boolean, nil, "0"}, {"roomsecret", form.TextPrivate, nil, ""},
	{"whois", form.ListSingle, []string{"moderators", "anyone"}, "moderators"},
	{"changesubject", form.Boolean, nil, "0"}, {"allowinvites", form.Boolean, nil, "0"},
	{"historylength", form.TextSingle, nil, "20"}, {"maxusers", form.TextSingle, nil, ""},
	{"enablelogging", form.Boolean, nil, "0"},
}

const roomPrefix = "muc#roomconfig_"

func roomDefaults() map[string][]string {
	cfg := map[string][]string{}
	for _, d := range roomFields {
		cfg[d.name] = []string{d.def}
	}
	return cfg
}

func (r *room) get(name string) string {
	if v := r.cfg[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (r *room) is(name string) bool { return isTrue(r.get(name)) }

// iq answers a request to the room itself.
func (r *room) iq(q *request) {
	owner := r.affiliation(q.from) == "owner"
	switch {
	case q.typ == "get" && q.payload.Is(nsInfo, "query"):
		q.result(r.info())
	case q.typ == "get" && q.payload.Is(nsItems, "query"):
		a := confab.El(nsItems, "query")
		if r.of(q.from) != nil || r.is("publicroom") && !r.is("membersonly") {
			for _, o := range r.all() {
				a.Add(confab.El(nsItems, "item").Set("jid", r.at(o.nick).String()))
			}
		}
		q.result(a)
	case q.typ == "get" && q.payload.Is(nsPing, "ping"):
		q.result(nil)
	case q.payload.Is(nsMUCAdmin, "query"):
		r.adminIQ(q)
	case q.payload.Is(nsMUCOwner, "query") && !owner:
		q.fail("auth", "forbidden", "")
	case q.payload.Is(nsMUCOwner, "query"):
		r.ownerIQ(q)
	case q.payload.Is(nsRegister, "query"):
		r.registerIQ(q)
	case q.payload.Name.Space == nsMAM && r.rs.srv.cfg.has(Archives):
		r.archiveIQ(q)
	case q.typ == "set" && q.payload.Is(nsModerate, "moderate"):
		r.moderate(q)
	case q.typ == "get" && q.payload.Is(nsVCard, "vCard"):
		if r.card == nil {
			q.fail("cancel", "item-not-found", "")
			return
		}
		q.result(r.card)
	case q.typ == "set" && q.payload.Is(nsVCard, "vCard"):
		if !owner {
			q.fail("auth", "forbidden", "")
			return
		}
		r.card = q.payload
		q.result(nil)
		r.changed("104")
	default:
		q.fail("cancel", "service-unavailable", "")
	}
}

// avatar returns the hash of the room's picture (XEP-0486).
func (r *room) avatar() string {
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(r.card.Child(nsVCard, "PHOTO").ChildText(nsVCard, "BINVAL")), ""))
	if err != nil || len(data) == 0 {
		return ""
	}
	sum := sha1.Sum(data)
	return hex.EncodeToString(sum[:])
}

func (r *room) info() *confab.Element {
	pick := func(name, yes, no string) string {
		if r.is(name) {
			return "muc_" + yes
		}
		return "muc_" + no
	}
	who := "muc_semianonymous"
	if r.get("whois") == "anyone" {
		who = "muc_nonanonymous"
	}
	lock := "muc_unsecured"
	if r.get("roomsecret") != "" {
		lock = "muc_passwordprotected"
	}
	features := []string{
		nsInfo, nsItems, nsMUC, nsVersions, nsMUCSelfPing, nsOccupant, nsSID, nsModerate, nsHats, nsPing, nsRegister, nsVCard,
		pick("persistentroom", "persistent", "temporary"), pick("publicroom", "public", "hidden"),
		pick("membersonly", "membersonly", "open"), pick("moderatedroom", "moderated", "unmoderated"), who, lock,
	}
	if r.rs.srv.cfg.has(Archives) {
		features = append(features, nsMAM, nsMAMExt)
	}
	q := info("conference", "text", r.get("roomname"), features)
	f := form.New(form.Result, nsMUC+"#roominfo")
	f.Set("muc#roominfo_description", r.get("roomdesc")).Set("muc#roominfo_lang", r.get("lang")).
		Set("muc#roominfo_occupants", strconv.Itoa(len(r.occupants))).
		Set("muc#roominfo_subject", r.subject.ChildText(nsClient, "subject"))
	if h := r.avatar(); h != "" {
		f.Set("muc#roominfo_avatarhash", h)
	}
	return q.Add(f.Element())
}

func (r *room) ownerIQ(q *request) {
	if q.typ == "get" {
		f := form.New(form.Questions, nsMUC+"#roomconfig")
		f.Title = "Configuration for " + r.addr.String()
		for _, d := range roomFields {
			fd := form.Field{Var: roomPrefix + d.name, Type: d.typ, Values: r.cfg[d.name]}
			for _, o := range d.options {
				fd.Options = append(fd.Options, form.Option{Value: o})
			}
			f.Fields = append(f.Fields, fd)
		}
		q.result(confab.El(nsMUCOwner, "query", f.Element()))
		return
	}
	if d := q.payload.Child(nsMUCOwner, "destroy"); d != nil {
		q.result(nil)
		x := confab.El(nsMUCUser, "destroy").Set("jid", d.Get("jid"))
		if reason := d.ChildText(nsMUCOwner, "reason"); reason != "" {
			x.Add(confab.El(nsMUCUser, "reason").SetText(reason))
		}
		r.empty(x)
		delete(r.rs.rooms, r.addr.local)
		return
	}
	f := form.Find(q.payload, "")
	switch {
	case f == nil:
		q.fail("modify", "bad-request", "")
	case f.Type == form.Cancelled:
		q.result(nil)
		if r.locked {
			r.empty(confab.El(nsMUCUser, "destroy"))
			delete(r.rs.rooms, r.addr.local)
		}
	default:
		r.configure(q, f)
	}
}

// configure takes a form; an empty one accepts what is.
func (r *room) configure(q *request, f *form.Form) {
	before, fresh := map[string]string{}, map[string][]string{}
	for _, d := range roomFields {
		before[d.name] = r.get(d.name)
		fd := f.Field(roomPrefix + d.name)
		if fd == nil {
			continue
		}
		v := ""
		if len(fd.Values) > 0 {
			v = fd.Values[0]
		}
		if d.options != nil && !slices.Contains(d.options, v) {
			q.fail("modify", "not-acceptable", d.name)
			return
		}
		fresh[d.name] = []string{v}
	}
	if p := fresh["passwordprotectedroom"]; p != nil && !isTrue(p[0]) {
		fresh["roomsecret"] = []string{""}
	}
	for name, v := range fresh {
		r.cfg[name] = v
	}
	was := r.locked
	r.locked = false
	q.result(nil)
	var codes []string
	other := false
	for _, d := range roomFields {
		switch now := r.get(d.name); {
		case now == before[d.name] || isTrue(now) == isTrue(before[d.name]) && d.typ == form.Boolean:
		case d.name == "whois" && now == "anyone":
			codes = append(codes, "172")
		case d.name == "whois":
			codes = append(codes, "173")
		case d.name == "enablelogging" && isTrue(now):
			codes = append(codes, "170")
		case d.name == "enablelogging":
			codes = append(codes, "171")
		default:
			other = true
		}
	}
	if other {
		codes = append(codes, "104")
	}
	if len(codes) > 0 && !was {
		r.changed(codes...)
	}
	for _, o := range r.all() {
		if r.is("membersonly") && r.affiliation(o.bare) == "none" {
			r.leave(o, nil, "322")
		}
	}
}

// changed tells everybody that something about the room is not as it was.
func (r *room) changed(codes ...string) {
	r.everybody(el("message", "groupchat", newID(), r.addr, addr{}, status(confab.El(nsMUCUser, "x"), codes...)))
}

// registerIQ gives an account a nickname of its own (XEP-0045 §7.10).
func (r *room) registerIQ(q *request) {
	const about = nsMUC + "#register"
	a := q.from.bare()
	if q.typ == "get" {
		answer := confab.El(nsRegister, "query")
		if n := r.nicks[a]; n != "" {
			q.result(answer.Add(confab.El(nsRegister, "registered"), confab.El(nsRegister, "username").SetText(n)))
			return
		}
		f := form.New(form.Questions, about)
		f.Fields = append(f.Fields, form.Field{Var: "muc#register_roomnick", Type: form.TextSingle, Label: "Nickname", Required: true})
		q.result(answer.Add(f.Element()))
		return
	}
	if q.payload.Child(nsRegister, "remove") != nil {
		delete(r.nicks, a)
		q.result(nil)
		return
	}
	nick := form.Find(q.payload, about).Get("muc#register_roomnick")
	switch {
	case nick == "":
		q.fail("modify", "bad-request", "")
	case r.reserved(nick, a):
		q.fail("cancel", "conflict", "")
	case r.affiliation(a) == "none" && r.is("membersonly"):
		q.fail("auth", "not-allowed", "")
	default:
		r.nicks[a] = nick
		if r.affiliation(a) == "none" {
			r.setAffiliation(a, "member", "", confab.El(nsMUCUser, "item"))
		}
		q.result(nil)
	}
}
