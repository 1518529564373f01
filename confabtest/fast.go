package confabtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/confab-im/confab"
)

// fastToken is a token of FAST (XEP-0484).
type fastToken struct {
	mechanism, secret string
	expiry            time.Time
}

// tokenSlots are the tokens of one client, as XEP-0484 §4.1 has them.
type tokenSlots struct{ current, fresh *fastToken }

func (c *Conn) mayFast() bool {
	return c.srv.cfg.has(FAST) && c.srv.cfg.has(SASL2) && c.host == c.srv.cfg.Domain
}

func (c *Conn) fastMechanisms() []string {
	var list []string
	if c.srv.cfg.has(ChannelBinding) && c.ws == nil {
		if c.tlsState != nil {
			list = append(list, "HT-SHA-256-EXPR")
		}
		if c.secure {
			list = append(list, "HT-SHA-256-ENDP")
		}
	}
	return append(list, "HT-SHA-256-NONE")
}

// hashedToken is HT-SHA-256-* (draft-schmaus-kitten-sasl-ht).
type hashedToken struct {
	c     *Conn
	name  string
	data  []byte // of the channel binding
	agent string
	used  *fastToken
	who   string
}

func (c *Conn) newHashedToken(e *confab.Element) (mechanism, *failure) {
	name := e.Get("mechanism")
	agent := e.Child(nsSASL2, "user-agent").Get("id")
	switch {
	case !c.mayAuth():
		return nil, failed("encryption-required", "")
	case !c.mayFast() || !slices.Contains(c.fastMechanisms(), name):
		return nil, failed("invalid-mechanism", "")
	case e.Child(nsFast, "fast") == nil:
		return nil, failed("malformed-request", "there is no <fast/>")
	case c.header.Get("from") == "" || agent == "":
		return nil, failed("malformed-request", "FAST needs from in the stream header and the id of the user agent")
	}
	m := &hashedToken{c: c, name: name, agent: agent}
	switch strings.TrimPrefix(name, "HT-SHA-256-") {
	case "EXPR":
		m.data, _ = c.bindingData("tls-exporter")
	case "ENDP":
		m.data, _ = c.bindingData("tls-server-end-point")
	}
	return m, nil
}

func (m *hashedToken) user() string { return m.who }

func (m *hashedToken) step(resp []byte) ([]byte, bool, *failure) {
	user, hash, ok := bytes.Cut(resp, []byte{0})
	if !ok {
		return nil, false, failed("malformed-request", "")
	}
	name, f := m.c.userName(string(user))
	if f != nil {
		return nil, false, f
	}
	a := addr{name, m.c.host, ""}
	if from, err := parseAddr(m.c.header.Get("from")); err != nil || from.bare() != a {
		return nil, false, failed("not-authorized", "the stream is from somebody else")
	}
	s := m.c.srv
	s.lock()
	defer s.unlock()
	acc := s.accounts[a]
	if acc == nil || acc.tokens[m.agent] == nil {
		return nil, false, failed("not-authorized", "")
	}
	slots := acc.tokens[m.agent]
	for _, t := range []*fastToken{slots.fresh, slots.current} {
		if t == nil || t.mechanism != m.name ||
			!hmac.Equal(hash, sum(sha256.New, []byte(t.secret), "Initiator"+string(m.data))) {
			continue
		}
		if !time.Now().Before(t.expiry) {
			return nil, false, failed("credentials-expired", "")
		}
		if t == slots.fresh {
			slots.current, slots.fresh = t, nil
		}
		m.used, m.who = t, name
		return sum(sha256.New, []byte(t.secret), "Responder"+string(m.data)), true, nil
	}
	return nil, false, failed("not-authorized", "")
}

// issueToken makes the token that was asked for or is due, or nil. The lock is
// held.
func (c *Conn) issueToken(x *exchange) *confab.Element {
	if !c.mayFast() || c.agent == "" || c.user.temporary {
		return nil
	}
	cfg := &c.srv.cfg
	mechanism := ""
	if m, ok := x.mechanism.(*hashedToken); ok {
		slots := c.user.tokens[c.agent]
		switch {
		case isTrue(x.request.Child(nsFast, "fast").Get("invalidate")):
			slots.current = nil
		case time.Until(m.used.expiry) < cfg.TokenRotation:
			mechanism = m.name
		}
	}
	if r := x.request.Child(nsFast, "request-token"); r != nil {
		mechanism = r.Get("mechanism")
	}
	if !slices.Contains(c.fastMechanisms(), mechanism) || c.header.Get("from") == "" {
		return nil
	}
	t := &fastToken{mechanism: mechanism, secret: newID() + newID(), expiry: time.Now().Add(cfg.TokenLifetime)}
	slots := c.user.tokens[c.agent]
	if slots == nil {
		slots = &tokenSlots{}
		c.user.tokens[c.agent] = slots
	}
	slots.fresh = t
	return confab.El(nsFast, "token").Set("token", t.secret).Set("expiry", t.expiry.UTC().Format(time.RFC3339))
}

// ExpireTokens makes all tokens of an account (FAST) be expired, and returns how
// many there were.
func (s *Server) ExpireTokens(user string) int {
	s.lock()
	defer s.unlock()
	n := 0
	if acc := s.accounts[addr{user, s.cfg.Domain, ""}]; acc != nil {
		for _, slots := range acc.tokens {
			for _, t := range []*fastToken{slots.current, slots.fresh} {
				if t != nil {
					t.expiry = time.Unix(0, 0)
					n++
				}
			}
		}
	}
	return n
}
