package register

import (
	"context"
	"crypto/sha1" // what XEP-0231 names data by
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// NS is the namespace of registration.
const NS = "jabber:iq:register"

const (
	nsOOB     = "jabber:x:oob"
	nsBits    = "urn:xmpp:bob"
	nsForms   = "jabber:x:data"
	nsFeature = "http://jabber.org/features/iq-register"
	nsInvited = "urn:xmpp:ibr-token:0"
	nsPreauth = "urn:xmpp:pars:0"
)

// A Stream is a stream to a server on which nobody is signed in: a client.Guest is one.
type Stream interface {
	// Ask sends a request and returns the answer.
	Ask(ctx context.Context, iq *confab.Element) (*confab.Element, error)
	// Server is the domain, Features what it offers.
	Server() jid.JID
	Features() *confab.Element
}

// The errors of registration. They wrap what the server has said.
var (
	// ErrConflict says that the name is taken.
	ErrConflict = errors.New("register: there is such an account: choose another name")
	// ErrNotAllowed says that the server makes no accounts, or not for this one.
	ErrNotAllowed = errors.New("register: the server does not allow it")
	// ErrCaptcha says that the answer to a question or a picture was wrong. Fetch the
	// form again.
	ErrCaptcha = errors.New("register: the answer to the picture or the question was wrong: fetch the form again")
	// ErrNotAcceptable says that the server does not take the values, such as a
	// password that is too short, or a name that looks like another one. The wrapped
	// error may say why.
	ErrNotAcceptable = errors.New("register: the server does not accept what was filled in")
	// ErrTooOften says to try again later.
	ErrTooOften = errors.New("register: the server makes no more accounts for now: try again later")
	// ErrToken says that an invitation is used up, or was never one.
	ErrToken = errors.New("register: the invitation is not valid (any more)")
)

// A Form is what a server wants to know of who wants an account. The fields of an old
// form (XEP-0077 §3.1.1) are fields like others: username, password, email and so on.
type Form struct {
	*form.Form
	// Registered says that there is an account: the form is for changing it.
	Registered bool
	// Redirect is a web page on which accounts are made, if the server does it there: an
	// http or https address, on any host.
	Redirect string
	// Captchas are the fields whose answer shows that somebody is no machine.
	Captchas []Captcha

	legacy bool
}

// A Captcha is a field of a form with something to look at (XEP-0158), or a question.
// Its answer is set like that of any field.
type Captcha struct {
	// Var is the name of the field, Question what is asked.
	Var, Question string
	Required      bool
	Media         []Media
}

// Media is a picture, sound or film: its data, or else where it is.
type Media struct {
	Type string // such as image/png
	Data []byte
	URL  string // http or https, on any host
}

// Limits of what is looked at in one form.
const (
	maxMedia    = 1 << 20 // bytes of data
	maxAsked    = 16      // questions for data that is not in the form
	maxPlaces   = 16      // media of one field
	maxCaptchas = 64
)

// legacyFields are those of old forms, and how they look.
var legacyFields = []struct {
	name, label string
	typ         form.FieldType
}{
	{"username", "Username", form.TextSingle}, {"nick", "Nickname", form.TextSingle}, {"password", "Password", form.TextPrivate},
	{"name", "Full name", form.TextSingle}, {"first", "First name", form.TextSingle}, {"last", "Last name", form.TextSingle},
	{"email", "Email address", form.TextSingle}, {"address", "Street", form.TextSingle}, {"city", "City", form.TextSingle},
	{"state", "State", form.TextSingle}, {"zip", "Postal code", form.TextSingle}, {"phone", "Telephone", form.TextSingle},
	{"url", "Web page", form.TextSingle}, {"date", "Date", form.TextSingle}, {"misc", "Other", form.TextSingle}, {"text", "Text", form.TextSingle},
}

// Offered reports whether a server says that it makes accounts, and whether it does for
// who has an invitation.
func Offered(s Stream) (register, invited bool) {
	f := s.Features()
	return f.Child(nsFeature, "register") != nil, f.Child(nsInvited, "register") != nil
}

// Fetch asks what the server wants to know. The error is [ErrNotAllowed] if it makes no
// accounts.
func Fetch(ctx context.Context, s Stream) (*Form, error) {
	res, err := s.Ask(ctx, request(s, "get", confab.El(NS, "query")))
	if err != nil {
		return nil, explain(err, false)
	}
	q := res.Child(NS, "query")
	if q == nil {
		return nil, errors.New("register: the server's answer has no form")
	}
	f := &Form{Registered: q.Child(NS, "registered") != nil, Redirect: webAddress(q.Child(nsOOB, "x").ChildText(nsOOB, "url"))}
	if x := q.Child(nsForms, "x"); x != nil {
		if f.Form, err = form.Parse(x); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
		return f, f.captchas(ctx, s, res)
	}
	f.legacy = true
	f.Form = form.New(form.Questions, "")
	if text := strings.TrimSpace(q.ChildText(NS, "instructions")); text != "" {
		f.Instructions = []string{text}
	}
	for _, l := range legacyFields {
		if c := q.Child(NS, l.name); c != nil {
			fd := form.Field{Var: l.name, Label: l.label, Type: l.typ, Required: true}
			if c.Text != "" {
				fd.Values = []string{c.Text}
			}
			f.Fields = append(f.Fields, fd)
		}
	}
	if len(f.Fields) == 0 && f.Redirect == "" {
		return nil, errors.New("register: the server's form has no field")
	}
	return f, nil
}

// webAddress returns an address that somebody else has chosen if it is one of a web page,
// which can be shown and opened: "" stands for any other, such as javascript: and file:.
func webAddress(raw string) string {
	raw = strings.TrimSpace(raw)
	u, err := url.Parse(raw)
	if err != nil || len(raw) > maxURL || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return ""
	}
	return raw
}

// maxURL bounds addresses, in bytes.
const maxURL = 8192

func request(s Stream, typ string, payload *confab.Element) *confab.Element {
	return confab.El(confab.NSClient, "iq", payload).Set("type", typ).Set("to", s.Server().String())
}

// captchas finds what is to be looked at, and fetches what is not in the answer.
func (f *Form) captchas(ctx context.Context, s Stream, res *confab.Element) error {
	data := map[string]Media{}
	left := maxMedia
	take := func(el *confab.Element) {
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(el.Text), ""))
		if cid := el.Get("cid"); err == nil && len(b) > 0 && len(b) <= left && matches(cid, b) {
			left -= len(b)
			data[cid] = Media{Type: el.Get("type"), Data: b}
		}
	}
	for _, in := range []*confab.Element{res, res.Child(NS, "query")} {
		for d := range in.All(nsBits, "data") {
			take(d)
		}
	}
	asked := map[string]bool{}
	for i := range f.Fields {
		fd := &f.Fields[i]
		var uris []form.MediaURI
		for _, m := range fd.Media {
			uris = append(uris, m.URIs...)
		}
		if len(uris) == 0 && !isQuestion(fd.Var) || fd.Var == fieldWork {
			continue
		}
		if len(f.Captchas) == maxCaptchas {
			return fmt.Errorf("register: the form has more than %d questions to keep machines out", maxCaptchas)
		}
		c := Captcha{Var: fd.Var, Question: fd.Label, Required: fd.Required}
		for _, u := range uris[:min(len(uris), maxPlaces)] {
			uri := strings.TrimSpace(u.URI)
			cid, inside := strings.CutPrefix(uri, "cid:")
			if !inside {
				if uri = webAddress(uri); uri != "" {
					c.Media = append(c.Media, Media{Type: u.Type, URL: uri})
				}
				continue
			}
			if _, ok := data[cid]; !ok && !asked[cid] && len(asked) < maxAsked {
				asked[cid] = true
				res, err := s.Ask(ctx, request(s, "get", confab.El(nsBits, "data").Set("cid", cid)))
				var se stanza.Error
				if err != nil && !errors.As(err, &se) {
					return err
				}
				if d := res.Child(nsBits, "data"); d != nil && d.Get("cid") == cid {
					take(d)
				}
			}
			if m, ok := data[cid]; ok {
				if m.Type == "" {
					m.Type = u.Type
				}
				c.Media = append(c.Media, m)
			}
		}
		f.Captchas = append(f.Captchas, c)
	}
	return nil
}

// questions are the fields that XEP-0158 §4 knows.
var questions = [...]string{"audio_recog", "ocr", "picture_q", "picture_recog", "qa", "speech_q", "speech_recog", "video_q", "video_recog", fieldWork}

func isQuestion(name string) bool { return slices.Contains(questions[:], name) }

// matches reports whether data has the hash that its name says. Hashes of other kinds
// than SHA-1, which nobody makes, are not believed.
func matches(cid string, b []byte) bool {
	sum := sha1.Sum(b)
	return strings.EqualFold(cid, "sha1+"+hex.EncodeToString(sum[:])+"@bob.xmpp.org")
}

// Submit sends a form that was filled in, and returns the address of the new account. A
// required field that is empty is a [*form.FieldError]; nothing is sent then. Other errors
// are [ErrConflict] and so on.
func Submit(ctx context.Context, s Stream, f *Form) (jid.JID, error) {
	if f == nil || f.Form == nil {
		return jid.JID{}, errors.New("register: no form: see Fetch")
	}
	if f.Redirect != "" && len(f.Fields) == 0 {
		return jid.JID{}, fmt.Errorf("%w here, but on %s", ErrNotAllowed, f.Redirect)
	}
	user := f.Get("username")
	addr, err := jid.New(user, s.Server().Domainpart(), "")
	if err != nil || user == "" {
		return jid.JID{}, &form.FieldError{Var: "username", Err: errors.Join(errors.New("it cannot be the name of an account"), err)}
	}
	a, err := f.Form.Submit()
	if err != nil {
		return jid.JID{}, fmt.Errorf("register: %w", err)
	}
	q := confab.El(NS, "query")
	if f.legacy {
		for _, fd := range f.Fields {
			q.Add(confab.El(NS, fd.Var).SetText(f.Get(fd.Var)))
		}
	} else {
		if err := f.enough(); err != nil {
			return jid.JID{}, err
		}
		// A question that was left open is not answered wrongly.
		a.Fields = slices.DeleteFunc(a.Fields, func(fd form.Field) bool { return isQuestion(fd.Var) && a.Get(fd.Var) == "" })
		q.Add(a.Element())
	}
	if _, err := s.Ask(ctx, request(s, "set", q)); err != nil {
		return jid.JID{}, explain(err, len(f.Captchas) > 0)
	}
	return addr, nil
}

// explain finds the error of this package for one of the server.
func explain(err error, captcha bool) error {
	var se stanza.Error
	if !errors.As(err, &se) {
		return err
	}
	text := ""
	for _, t := range se.Text {
		text += strings.ToLower(t)
	}
	reason := ErrNotAcceptable
	switch {
	case captcha && (strings.Contains(text, "captcha") || se.Condition == stanza.NotAcceptable && text == ""):
		reason = ErrCaptcha
	case se.Condition == stanza.Conflict:
		reason = ErrConflict
	case strings.Contains(text, "invitation"): // Prosody says not-acceptable
		reason = ErrNotAllowed
	case se.Type == stanza.Wait || se.Condition == stanza.ResourceConstraint || se.Condition == stanza.PolicyViolation:
		reason = ErrTooOften
	case se.Condition == stanza.NotAllowed, se.Condition == stanza.Forbidden, se.Condition == stanza.NotAuthorized,
		se.Condition == stanza.ServiceUnavailable, se.Condition == stanza.FeatureNotImplemented, se.Condition == stanza.RegistrationRequired:
		reason = ErrNotAllowed
	}
	return fmt.Errorf("%w: %w", reason, err)
}
