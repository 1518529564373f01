package confabtest

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/confab-im/confab"
)

// failure is a SASL failure.
type failure struct{ condition, text string }

func (f *failure) element(ns string) *confab.Element {
	e := confab.El(ns, "failure", confab.El(nsSASL, f.condition))
	if f.text != "" {
		e.Add(confab.El(ns, "text").SetText(f.text))
	}
	return e
}

func failed(condition, text string) *failure { return &failure{condition, text} }

// mechanism is the server's side of one. Step takes what the client says, nil if
// nothing, and returns what to say, whether that is the end, and a failure. At
// the end, what was returned comes with the success.
type mechanism interface {
	step(resp []byte) (say []byte, done bool, f *failure)
	// user is who signed in, once done.
	user() (name string)
}

// exchange is an attempt to sign in.
type exchange struct {
	name string
	mechanism
	request *confab.Element // of SASL2
}

// newMechanism returns the mechanism that the client wants.
func (c *Conn) newMechanism(name string) (mechanism, *failure) {
	if !c.mayAuth() {
		return nil, failed("encryption-required", "")
	}
	offered := c.mechanisms()
	ok := false
	for _, m := range offered {
		ok = ok || m == name
	}
	if !ok {
		return nil, failed("invalid-mechanism", "")
	}
	switch name {
	case "PLAIN":
		return &plain{c: c}, nil
	case "ANONYMOUS":
		return &anonymous{}, nil
	case "EXTERNAL":
		return &external{c: c}, nil
	case "OAUTHBEARER":
		return &bearer{c: c}, nil
	}
	if m := newSCRAM(c, name, offered); m != nil {
		return m, nil
	}
	return nil, failed("invalid-mechanism", "")
}

// login takes note of a success. The lock is held.
func (c *Conn) login(x *exchange) *failure {
	s := c.srv
	a := addr{x.user(), c.host, ""}
	acc := s.accounts[a]
	if x.name == "ANONYMOUS" {
		a.local = strings.ToLower(newID())
		acc = s.newAccount(a, "")
		acc.temporary = true
	}
	if acc == nil {
		return failed("not-authorized", "")
	}
	c.user, c.mechanism, c.sasl = acc, x.name, nil
	s.stats.Logins[x.name]++
	return nil
}

// authFailed answers a failed attempt, and ends the stream if there were too many.
func (c *Conn) authFailed(ns string, f *failure) error {
	c.sasl = nil
	c.write(f.element(ns))
	c.srv.lock()
	c.srv.stats.Failures++
	c.srv.unlock()
	if c.failures++; c.failures >= c.srv.cfg.MaxAttempts && f.condition != "aborted" {
		return c.streamError("policy-violation", "too many attempts to sign in")
	}
	return nil
}

// sasl1 is the profile of RFC 6120 §6.
func (c *Conn) sasl1(e *confab.Element) error {
	if c.user != nil {
		return c.streamError("not-authorized", "already signed in")
	}
	var (
		resp []byte
		f    *failure
	)
	switch e.Name.Local {
	case "auth":
		m, f := c.newMechanism(e.Get("mechanism"))
		if f != nil {
			return c.authFailed(nsSASL, f)
		}
		c.sasl = &exchange{name: e.Get("mechanism"), mechanism: m}
		switch text := strings.TrimSpace(e.Text); text {
		case "":
		case "=":
			resp = []byte{}
		default:
			if resp, f = fromBase64(text); f != nil {
				return c.authFailed(nsSASL, f)
			}
		}
	case "response":
		if c.sasl == nil || c.sasl.request != nil {
			return c.authFailed(nsSASL, failed("malformed-request", "there is no exchange under way"))
		}
		text := strings.TrimSpace(e.Text)
		if text == "=" {
			text = ""
		}
		if resp, f = fromBase64(text); f != nil {
			return c.authFailed(nsSASL, f)
		}
	case "abort":
		return c.authFailed(nsSASL, failed("aborted", ""))
	default:
		return c.streamError("unsupported-stanza-type", "")
	}
	say, done, f := c.sasl.step(resp)
	switch {
	case f != nil:
		return c.authFailed(nsSASL, f)
	case !done:
		c.write(confab.El(nsSASL, "challenge").SetText(base64.StdEncoding.EncodeToString(say)))
		return nil
	}
	c.srv.lock()
	f = c.login(c.sasl)
	c.srv.unlock()
	if f != nil {
		return c.authFailed(nsSASL, f)
	}
	c.write(confab.El(nsSASL, "success").SetText(base64.StdEncoding.EncodeToString(say)))
	c.fresh = true
	return nil
}

func fromBase64(s string) ([]byte, *failure) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return nil, failed("incorrect-encoding", "")
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// authzid checks what the client wants to act as: nothing but itself.
func (c *Conn) authzid(id, user string) *failure {
	if id == "" {
		return nil
	}
	if a, err := parseAddr(id); err == nil && (a == addr{user, c.host, ""} || a == addr{"", user, ""}) {
		return nil
	}
	return failed("invalid-authzid", "")
}

// userName prepares the name of a user.
func (c *Conn) userName(s string) (string, *failure) {
	a, err := parseAddr(s + "@" + c.host)
	if err != nil || a.local == "" {
		return "", failed("not-authorized", "")
	}
	return a.local, nil
}

// plain is PLAIN (RFC 4616).
type plain struct {
	c    *Conn
	name string
}

func (p *plain) user() string { return p.name }

func (p *plain) step(resp []byte) ([]byte, bool, *failure) {
	if resp == nil {
		return []byte{}, false, nil
	}
	parts := bytes.Split(resp, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return nil, false, failed("malformed-request", "")
	}
	user, f := p.c.userName(string(parts[1]))
	if f != nil {
		return nil, false, f
	}
	s := p.c.srv
	s.lock()
	acc := s.accounts[addr{user, p.c.host, ""}]
	ok := acc != nil && !acc.temporary && prepare(acc.password) == prepare(string(parts[2]))
	s.unlock()
	if !ok {
		return nil, false, failed("not-authorized", "")
	}
	p.name = user
	return nil, true, p.c.authzid(string(parts[0]), user)
}

// anonymous is ANONYMOUS (RFC 4505).
type anonymous struct{}

func (anonymous) user() string { return "" }

func (anonymous) step(resp []byte) ([]byte, bool, *failure) {
	if resp == nil {
		return []byte{}, false, nil
	}
	return nil, true, nil
}

// external is EXTERNAL with a client certificate (XEP-0178).
type external struct{ c *Conn }

func (x *external) user() string { return x.c.certUser() }

func (x *external) step(resp []byte) ([]byte, bool, *failure) {
	if resp == nil {
		return []byte{}, false, nil
	}
	return nil, true, x.c.authzid(string(resp), x.c.certUser())
}

// bearer is OAUTHBEARER (RFC 7628).
type bearer struct {
	c       *Conn
	name    string
	refused bool
}

func (b *bearer) user() string { return b.name }

func (b *bearer) step(resp []byte) ([]byte, bool, *failure) {
	if b.refused {
		return nil, false, failed("not-authorized", "")
	}
	if resp == nil {
		return []byte{}, false, nil
	}
	gs2, rest, ok := strings.Cut(string(resp), "\x01")
	parts := strings.Split(gs2, ",")
	if !ok || len(parts) != 3 || parts[0] != "n" && parts[0] != "y" || parts[2] != "" || !strings.HasSuffix(rest, "\x01\x01") {
		return nil, false, failed("malformed-request", "")
	}
	var user, token string
	if id, ok := strings.CutPrefix(parts[1], "a="); ok {
		name, ok := saslName(id)
		if !ok {
			return nil, false, failed("malformed-request", "")
		}
		name, _, _ = strings.Cut(name, "@")
		var f *failure
		if user, f = b.c.userName(name); f != nil {
			return nil, false, f
		}
	}
	for kv := range strings.SplitSeq(strings.TrimSuffix(rest, "\x01\x01"), "\x01") {
		if v, ok := strings.CutPrefix(kv, "auth="); ok {
			if scheme, t, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "bearer") {
				token = strings.TrimSpace(t)
			}
		}
	}
	name, ok := b.c.srv.cfg.CheckToken(user, token)
	if user != "" {
		name = user
	}
	if !ok || token == "" {
		b.refused = true
		return []byte(`{"status":"invalid_token"}`), false, nil
	}
	b.name = name
	return nil, true, nil
}
