package confabtest

import (
	"slices"
	"strings"

	"github.com/confab-im/confab"
)

// accept takes the client's stream header and says what can be done.
func (c *Conn) accept(h *confab.Element) error {
	s := c.srv
	c.header = h
	switch {
	case c.ws != nil && !h.Is(nsFraming, "open"), c.ws == nil && h.Name.Space != nsStream:
		c.host = s.cfg.Domain
		return c.streamError("invalid-namespace", "")
	case c.ws == nil && h.Name.Local != "stream":
		c.host = s.cfg.Domain
		return c.streamError("bad-format", "")
	}
	to, err := parseAddr(h.Get("to"))
	c.host = to.String()
	switch {
	case err != nil || !s.hosts[c.host]:
		c.host = s.cfg.Domain
		return c.streamError("host-unknown", "")
	case !strings.HasPrefix(h.Get("version"), "1."):
		return c.streamError("unsupported-version", "")
	}
	c.sendHeader()
	s.lock()
	defer s.unlock()
	c.write(c.features())
	return nil
}

// mayAuth reports whether the connection is as safe as signing in demands.
func (c *Conn) mayAuth() bool { return c.secure || !c.srv.cfg.has(StartTLS) }

// features lists what can be done next. The lock is held.
func (c *Conn) features() *confab.Element {
	cfg := &c.srv.cfg
	f := confab.El(nsStream, "features")
	switch {
	case !c.mayAuth():
		return f.Add(confab.El(nsTLS, "starttls", confab.El(nsTLS, "required")))
	case c.user == nil:
		c.authFeatures(f)
		if cfg.has(Registration) && c.host == cfg.Domain {
			f.Add(confab.El("http://jabber.org/features/iq-register", "register"))
		}
		return f
	case c.sess == nil:
		f.Add(confab.El(nsBind, "bind", confab.El(nsBind, "required")))
		f.Add(confab.El(nsSession, "session", confab.El(nsSession, "optional")))
	}
	if cfg.has(StreamManagement) && (c.sess == nil || !c.sess.sm.on) {
		f.Add(confab.El(nsSM, "sm"))
	}
	if cfg.has(ClientState) {
		f.Add(confab.El(nsCSI, "csi"))
	}
	for _, hook := range c.srv.hooks.features {
		hook(c, f)
	}
	return f
}

// authFeatures lists the ways to sign in.
func (c *Conn) authFeatures(f *confab.Element) {
	cfg := &c.srv.cfg
	bindings := c.bindings()
	mechanisms := func(e *confab.Element) *confab.Element {
		for _, m := range c.mechanisms() {
			e.Add(confab.El(e.Name.Space, "mechanism").SetText(m))
		}
		return e
	}
	if cfg.has(SASL1) {
		f.Add(mechanisms(confab.El(nsSASL, "mechanisms")))
	}
	if cfg.has(SASL2) {
		a := mechanisms(confab.El(nsSASL2, "authentication"))
		inline := confab.El(nsSASL2, "inline")
		if cfg.has(Bind2) {
			in := confab.El(nsBind2, "inline")
			for _, x := range []struct {
				f  Feature
				ns string
			}{{Carbons, nsCarbons}, {ClientState, nsCSI}, {StreamManagement, nsSM}} {
				if cfg.has(x.f) {
					in.Add(confab.El(nsBind2, "feature").Set("var", x.ns))
				}
			}
			inline.Add(confab.El(nsBind2, "bind", in))
		}
		if cfg.has(StreamManagement) && cfg.has(Resumption) {
			inline.Add(confab.El(nsSM, "sm"))
		}
		if c.mayFast() {
			fast := confab.El(nsFast, "fast")
			for _, m := range c.fastMechanisms() {
				fast.Add(confab.El(nsFast, "mechanism").SetText(m))
			}
			inline.Add(fast)
		}
		f.Add(a.Add(inline))
	}
	if len(bindings) > 0 {
		cb := confab.El(nsCB, "sasl-channel-binding")
		for _, b := range bindings {
			cb.Add(confab.El(nsCB, "channel-binding").Set("type", b))
		}
		f.Add(cb)
	}
}

// handle handles an element from the client.
func (c *Conn) handle(e *confab.Element) error {
	cut := false
	if isStanza(e) && c.gate.last() {
		c.q.seal()
		cut = true
	}
	err := c.dispatch(e)
	if cut && err == nil {
		err = errCut
	}
	return err
}

func (c *Conn) dispatch(e *confab.Element) error {
	switch e.Name.Space {
	case nsTLS:
		return c.startTLS(e)
	case nsSASL:
		if c.srv.cfg.has(SASL1) {
			return c.sasl1(e)
		}
	case nsSASL2:
		if c.srv.cfg.has(SASL2) {
			return c.sasl2Element(e)
		}
	case nsSM:
		if c.srv.cfg.has(StreamManagement) {
			return c.managed(e)
		}
	case nsCSI:
		if c.srv.cfg.has(ClientState) {
			return c.clientState(e)
		}
	case nsStream:
		if e.Name.Local == "error" {
			return c.closeStream()
		}
	case nsClient:
		if isStanza(e) {
			return c.stanza(e)
		}
	}
	return c.streamError("unsupported-stanza-type", "")
}

// closeStream ends the stream from our side.
func (c *Conn) closeStream() error {
	c.srv.lock()
	defer c.srv.unlock()
	c.sendEnd()
	c.q.finish()
	return errStream
}

func (c *Conn) startTLS(e *confab.Element) error {
	if e.Name.Local != "starttls" || c.secure || c.ws != nil || !c.srv.cfg.has(StartTLS) {
		c.write(confab.El(nsTLS, "failure"))
		c.sendEnd()
		c.q.finish()
		return errStream
	}
	if c.reader.Buffered() > 0 {
		// Commands that were slipped in before the encryption (CVE-2011-0411).
		return c.streamError("policy-violation", "something followed <starttls/>")
	}
	c.write(confab.El(nsTLS, "proceed"))
	if !c.q.flush() {
		return errCut
	}
	if err := c.handshake(); err != nil {
		return err
	}
	c.fresh = true
	return nil
}

// stanza takes a stanza of the client.
func (c *Conn) stanza(e *confab.Element) error {
	s := c.srv
	if c.user == nil {
		if e.Name.Local == "iq" && c.mayAuth() && s.cfg.has(Registration) && c.host != s.cfg.AnonymousDomain {
			if e.Child(nsRegister, "query") != nil {
				s.lock()
				defer s.unlock()
				c.register(e)
				return nil
			}
		}
		return c.streamError("not-authorized", "")
	}
	s.lock()
	ss := c.sess
	if ss == nil {
		done := c.bind(e)
		s.unlock()
		if !done {
			return c.streamError("not-authorized", "a resource has to be bound first")
		}
		return nil
	}
	if ss.conn != c {
		s.unlock()
		return errCut // replaced
	}
	if from := e.Get("from"); from != "" {
		if a, err := parseAddr(from); err != nil || a != ss.addr && a != ss.addr.bare() {
			s.unlock()
			return c.streamError("invalid-from", "")
		}
	}
	ss.sm.in++
	f := s.take(ss, e)
	s.unlock()
	if f != nil {
		f() // a function of the user's, which must not find the lock held
	}
	return nil
}

// bind is RFC 6120 §7. It reports whether e was the request for it. The lock is
// held.
func (c *Conn) bind(e *confab.Element) bool {
	b := e.Child(nsBind, "bind")
	if e.Name.Local != "iq" || e.Get("type") != "set" || b == nil {
		return false
	}
	fail := func(typ, condition string) {
		c.write(confab.El(nsClient, "iq", stanzaError(typ, condition, "")).Set("type", "error").Set("id", e.Get("id")))
	}
	resource := strings.TrimSpace(b.ChildText(nsBind, "resource"))
	if resource == "" {
		resource = newID()
	}
	a := c.user.addr
	a.resource = resource
	a, err := parseAddr(a.String())
	switch {
	case err != nil:
		fail("modify", "bad-request")
		return true
	case c.srv.accounts[c.user.addr] != c.user:
		fail("cancel", "not-allowed")
		return true
	}
	c.newSession(a)
	c.write(confab.El(nsClient, "iq", confab.El(nsBind, "bind", confab.El(nsBind, "jid").SetText(a.String()))).
		Set("type", "result").Set("id", e.Get("id")))
	return true
}

// clientState is XEP-0352.
func (c *Conn) clientState(e *confab.Element) error {
	c.srv.lock()
	defer c.srv.unlock()
	if ss := c.sess; ss != nil && ss.conn == c {
		switch e.Name.Local {
		case "active":
			ss.setInactive(false)
		case "inactive":
			ss.setInactive(true)
		}
	}
	return nil
}

// mechanisms returns the names of those that are offered here.
func (c *Conn) mechanisms() []string {
	cfg := &c.srv.cfg
	var list []string
	for _, m := range cfg.Mechanisms {
		switch {
		case c.host == cfg.AnonymousDomain && cfg.AnonymousDomain != "":
			continue
		case strings.HasSuffix(m, "-PLUS") && len(c.bindings()) == 0,
			m == "EXTERNAL" && c.certUser() == "",
			m == "OAUTHBEARER" && cfg.CheckToken == nil:
			continue
		}
		list = append(list, m)
	}
	if c.host == cfg.AnonymousDomain {
		list = append(list, "ANONYMOUS")
	}
	return list
}

// bindings returns the types of channel binding that are possible here.
func (c *Conn) bindings() []string {
	if !c.srv.cfg.has(ChannelBinding) || c.ws != nil || c.host != c.srv.cfg.Domain {
		return nil
	}
	plus := slices.ContainsFunc(c.srv.cfg.Mechanisms, func(m string) bool { return strings.HasSuffix(m, "-PLUS") })
	switch {
	case !plus || !c.secure:
		return nil
	case c.tlsState != nil:
		return []string{"tls-exporter", "tls-server-end-point"}
	}
	return []string{"tls-server-end-point"} // as Dial has it
}

// bindingData returns what a type of channel binding binds to.
func (c *Conn) bindingData(typ string) ([]byte, bool) {
	switch {
	case typ == "tls-server-end-point" && c.secure:
		return c.srv.certs().end, true
	case typ == "tls-exporter" && c.tlsState != nil:
		b, err := c.tlsState.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		return b, err == nil
	}
	return nil, false
}

// certUser returns the user that the client's certificate is for, or "".
func (c *Conn) certUser() string {
	if c.tlsState == nil || len(c.tlsState.VerifiedChains) == 0 {
		return ""
	}
	for _, name := range xmppAddrs(c.tlsState.PeerCertificates[0]) {
		if a, err := parseAddr(name); err == nil && a.domain == c.host && a.resource == "" {
			return a.local
		}
	}
	return ""
}
