package confabtest

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/confab-im/confab"
)

// sasl2Element is the profile of XEP-0388.
func (c *Conn) sasl2Element(e *confab.Element) error {
	if c.user != nil {
		return c.streamError("policy-violation", "already signed in")
	}
	var (
		resp []byte
		f    *failure
	)
	switch e.Name.Local {
	case "authenticate":
		name := e.Get("mechanism")
		var m mechanism
		if strings.HasPrefix(name, "HT-") {
			m, f = c.newHashedToken(e)
		} else {
			m, f = c.newMechanism(name)
		}
		if f != nil {
			return c.authFailed(nsSASL2, f)
		}
		c.sasl = &exchange{name: name, mechanism: m, request: e}
		c.agent = e.Child(nsSASL2, "user-agent").Get("id")
		if ir := e.Child(nsSASL2, "initial-response"); ir != nil {
			text := strings.TrimSpace(ir.Text)
			if text == "=" {
				text = ""
			}
			if resp, f = fromBase64(text); f != nil {
				return c.authFailed(nsSASL2, f)
			}
		}
	case "response":
		if c.sasl == nil || c.sasl.request == nil {
			return c.authFailed(nsSASL2, failed("malformed-request", "there is no exchange under way"))
		}
		text := strings.TrimSpace(e.Text)
		if text == "=" {
			text = ""
		}
		if resp, f = fromBase64(text); f != nil {
			return c.authFailed(nsSASL2, f)
		}
	case "abort":
		return c.authFailed(nsSASL2, failed("aborted", ""))
	default:
		return c.streamError("unsupported-stanza-type", "")
	}
	say, done, f := c.sasl.step(resp)
	switch {
	case f != nil:
		return c.authFailed(nsSASL2, f)
	case !done:
		c.write(confab.El(nsSASL2, "challenge").SetText(base64.StdEncoding.EncodeToString(say)))
		return nil
	}
	x := c.sasl
	c.srv.lock()
	if f = c.login(x); f != nil {
		c.srv.unlock()
		return c.authFailed(nsSASL2, f)
	}
	defer c.srv.unlock()
	c.sasl2 = true
	return c.succeed(x, say)
}

// succeed does what was asked for along with the sign-in. The lock is held.
func (c *Conn) succeed(x *exchange, say []byte) error {
	cfg, req := &c.srv.cfg, x.request
	success := confab.El(nsSASL2, "success")
	if len(say) > 0 {
		success.Add(confab.El(nsSASL2, "additional-data").SetText(base64.StdEncoding.EncodeToString(say)))
	}
	id := confab.El(nsSASL2, "authorization-identifier")
	success.Add(id)
	resumed := false
	if r := req.Child(nsSM, "resume"); r != nil && cfg.has(StreamManagement) {
		answer, ok := c.resume(r)
		if answer == nil {
			return errStream
		}
		success.Add(answer)
		resumed = ok
	}
	if b := req.Child(nsBind2, "bind"); b != nil && cfg.has(Bind2) && !resumed {
		bound := confab.El(nsBind2, "bound")
		c.bind2(b, bound)
		success.Add(bound)
	}
	id.SetText(c.user.addr.String())
	if c.sess != nil {
		id.SetText(c.sess.addr.String())
	}
	if t := c.issueToken(x); t != nil {
		success.Add(t)
	}
	c.write(success)
	if resumed { // then no features follow (XEP-0198 §9.2)
		c.sess.resend()
	} else {
		c.write(c.features())
	}
	return nil
}

// bind2 is XEP-0386. The lock is held.
func (c *Conn) bind2(req, bound *confab.Element) {
	s := c.srv
	tag := strings.TrimSpace(req.ChildText(nsBind2, "tag"))
	key := newID()
	if c.agent != "" {
		// The same for the same client, and telling nothing of it.
		key = base64.RawURLEncoding.EncodeToString(sum(sha256.New, s.seed[:], c.user.addr.String()+"\x00"+c.agent+"\x00"+tag)[:9])
	}
	a := c.user.addr
	a.resource = key
	if tag != "" {
		a.resource = tag + "/" + key
	}
	if p, err := parseAddr(a.String()); err == nil {
		a = p
	} else {
		a.resource = key
	}
	if c.agent != "" {
		for _, old := range c.user.sessions {
			if old.agent == c.agent {
				old.replace()
			}
		}
	}
	ss := c.newSession(a)
	for _, f := range req.Children {
		switch {
		case f.Is(nsSM, "enable") && s.cfg.has(StreamManagement):
			bound.Add(ss.enable(f))
		case f.Is(nsCarbons, "enable") && s.cfg.has(Carbons):
			ss.carbons = true
		case f.Is(nsCSI, "inactive") && s.cfg.has(ClientState):
			ss.inactive = true
		}
	}
}
