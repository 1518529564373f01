package confabtest

import (
	"bytes"
	"crypto/sha1" // what XEP-0231 names data by
	"encoding/base64"
	"encoding/hex"
	"image"
	"image/png"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
)

// registerFeature is in-band registration (XEP-0077) for those who are signed in.
func registerFeature(s *Server) {
	if !s.cfg.has(Registration) {
		return
	}
	s.hooks.serverInfo = append(s.hooks.serverInfo, nsRegister)
	h := func(r *request) {
		if r.ss == nil || r.acc != nil && !r.own() {
			r.fail("auth", "forbidden", "")
			return
		}
		changeAccount(r)
	}
	s.handleIQ(nsRegister, "query", h, h)
}

func changeAccount(r *request) {
	acc := r.ss.acc
	switch {
	case acc.temporary:
		r.fail("cancel", "not-allowed", "")
	case r.typ == "get":
		r.result(confab.El(nsRegister, "query", confab.El(nsRegister, "registered"),
			confab.El(nsRegister, "username").SetText(acc.addr.local), confab.El(nsRegister, "password")))
	case r.payload.Child(nsRegister, "remove") != nil:
		if len(r.payload.Children) != 1 {
			r.fail("modify", "bad-request", "")
			return
		}
		r.result(nil)
		r.s.removeAccount(acc)
	default:
		a, err := parseAddr(r.payload.ChildText(nsRegister, "username") + "@" + acc.addr.domain)
		password := r.payload.ChildText(nsRegister, "password")
		switch {
		case err != nil || password == "":
			r.fail("modify", "bad-request", "")
		case a != acc.addr:
			r.fail("cancel", "not-allowed", "")
		default:
			acc.password = password
			clear(acc.tokens)
			r.result(nil)
		}
	}
}

// register makes an account for somebody who is not signed in. The lock is held.
func (c *Conn) register(e *confab.Element) {
	q := e.Child(nsRegister, "query")
	reply := func(typ string, kids ...*confab.Element) {
		c.write(confab.El(nsClient, "iq", kids...).Set("type", typ).Set("id", e.Get("id")).Set("from", c.host))
	}
	fail := func(typ, condition string) { reply("error", q, stanzaError(typ, condition, "")) }
	switch typ := e.Get("type"); {
	case typ == "get" && c.host == c.srv.cfg.CaptchaDomain:
		reply("result", c.newCaptcha()...)
	case typ == "get":
		reply("result", confab.El(nsRegister, "query",
			confab.El(nsRegister, "instructions").SetText("Choose a name and a password."),
			confab.El(nsRegister, "username"), confab.El(nsRegister, "password")))
	case typ == "set":
		user, password := q.ChildText(nsRegister, "username"), q.ChildText(nsRegister, "password")
		if c.host == c.srv.cfg.CaptchaDomain {
			f := form.Find(q, nsRegister)
			user, password = f.Get("username"), f.Get("password")
			if !c.solved(f) {
				reply("error", q, stanzaError("modify", "not-acceptable", "The CAPTCHA was not solved"))
				return
			}
		}
		a, err := parseAddr(user + "@" + c.host)
		switch {
		case user == "" || password == "" || err != nil || a.local == "" || a.resource != "":
			fail("modify", "not-acceptable")
		case c.srv.accounts[a] != nil:
			fail("cancel", "conflict")
		default:
			c.srv.newAccount(a, password)
			reply("result")
		}
	default:
		fail("modify", "bad-request")
	}
}

// captcha is a picture that somebody is shown, and what it says.
type captcha struct{ id, answer string }

// newCaptcha makes the form for who wants an account, with its picture beside it.
func (c *Conn) newCaptcha() []*confab.Element {
	c.captcha = captcha{newID(), newID()[:8]}
	var pic bytes.Buffer
	if err := png.Encode(&pic, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		panic("confabtest: " + err.Error()) // there is no disk that could be full
	}
	pic.WriteString("answer=" + c.captcha.answer)
	sum := sha1.Sum(pic.Bytes())
	cid := "sha1+" + hex.EncodeToString(sum[:]) + "@bob.xmpp.org"
	f := form.New(form.Questions, nsRegister)
	f.Fields = append(f.Fields,
		form.Field{Var: "username", Type: form.TextSingle, Label: "User", Required: true},
		form.Field{Var: "password", Type: form.TextPrivate, Label: "Password", Required: true},
		form.Field{Var: "challenge", Type: form.Hidden, Values: []string{c.captcha.id}},
		form.Field{
			Var: "ocr", Type: form.TextSingle, Label: "Enter the text you see", Required: true,
			Media: []form.Media{{URIs: []form.MediaURI{{Type: "image/png", URI: "cid:" + cid}}}},
		})
	return []*confab.Element{
		confab.El(nsRegister, "query", confab.El(nsRegister, "instructions").SetText("Fill in the form."), f.Element()),
		confab.El(nsBits, "data").Set("cid", cid).Set("type", "image/png").SetText(base64.StdEncoding.EncodeToString(pic.Bytes())),
	}
}

// solved reports whether a form has the answer to the picture that was shown last. There
// is one attempt.
func (c *Conn) solved(f *form.Form) bool {
	was := c.captcha
	c.captcha = captcha{}
	return was.id != "" && f.Get("challenge") == was.id && f.Get("ocr") == was.answer
}
