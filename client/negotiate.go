package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/login"
	"mellium.im/xmpp/jid"
)

// session is a stream that is signed in and bound.
type session struct {
	t        transport
	features *confab.Element // the last ones
	addr     jid.JID
	resumed  bool
	serverH  uint32 // with resumed: what the server has
	// enabled is what the server said of stream management, if it came with the
	// sign-in; enabling says that we have yet to ask for it.
	enabled   *confab.Element
	mechanism string
	sasl2     bool
	fast      bool            // signed in with a token
	resume    string          // the stream that was asked to be resumed
	lost      *confab.Element // <failed/> of a resumption that was tried
}

// negotiate signs in over a transport that is encrypted, and resumes the last
// stream or binds a resource.
func (c *Client) negotiate(ctx context.Context, t transport) (*session, error) {
	s := &session{t: t}
	h, err := t.open(c.account.Bare(), c.account.Domain())
	if err != nil {
		return nil, err
	}
	_ = h
	if s.features, err = nextFeatures(t); err != nil {
		return nil, err
	}
	if a := s.features.Child(nsSASL2, "authentication"); a != nil {
		return s, c.signIn2(ctx, s, a)
	}
	m := s.features.Child(nsSASL, "mechanisms")
	if m == nil {
		return nil, &AuthError{Err: errors.New("the server offers no sign-in")}
	}
	if err := c.signIn(ctx, s, m); err != nil {
		return nil, err
	}
	if _, err = t.open(c.account.Bare(), c.account.Domain()); err != nil {
		return nil, err
	}
	if s.features, err = nextFeatures(t); err != nil {
		return nil, err
	}
	return s, c.bind(s)
}

// offer reads the mechanisms of a SASL profile, and the channel bindings, which
// count for both.
func offer(list, features *confab.Element) login.Offer {
	var o login.Offer
	for m := range list.All(list.Name.Space, "mechanism") {
		o.Mechanisms = append(o.Mechanisms, strings.TrimSpace(m.Text))
	}
	if cb := features.Child(nsCB, "sasl-channel-binding"); cb != nil {
		o.Bindings = []string{}
		for b := range cb.All(nsCB, "channel-binding") {
			o.Bindings = append(o.Bindings, b.Get("type"))
		}
	}
	for m := range list.Child(nsSASL2, "inline").Child(nsFast, "fast").All(nsFast, "mechanism") {
		o.Fast = append(o.Fast, strings.TrimSpace(m.Text))
	}
	return o
}

// credentials gathers what may be used to sign in now.
func (c *Client) credentials(ctx context.Context) (login.Credentials, error) {
	cr := login.Credentials{
		User:      c.account.Localpart(),
		Password:  c.cfg.Password,
		External:  c.cfg.Certificate != nil,
		Anonymous: c.cfg.Anonymous,
		NoPlain:   c.cfg.AllowPlain == PlainNever || c.known.Strong,
	}
	if c.cfg.OAuthToken != nil {
		var err error
		if cr.OAuth, err = c.cfg.OAuthToken(ctx); err != nil {
			return cr, fmt.Errorf("client: Config.OAuthToken: %w", err)
		}
	}
	return cr, nil
}

// signIn is the profile of RFC 6120 §6.
func (c *Client) signIn(ctx context.Context, s *session, list *confab.Element) error {
	o := offer(list, s.features)
	cr, err := c.credentials(ctx)
	if err != nil {
		return err
	}
	x, err := login.Choose(o, cr, s.t.tlsState(), c.keys)
	if err != nil {
		return &AuthError{Offered: o.Mechanisms, Err: err}
	}
	fail := func(err error) error {
		return &AuthError{Mechanism: x.Mechanism, Offered: o.Mechanisms, Err: err}
	}
	first, err := x.Start()
	if err != nil {
		return fail(err)
	}
	auth := confab.El(nsSASL, "auth").Set("mechanism", x.Mechanism).SetText(encode(first))
	if err := s.t.send(auth); err != nil {
		return err
	}
	if _, err := converse(s.t, nsSASL, x, o); err != nil {
		return err
	}
	s.mechanism = x.Mechanism
	return c.signedIn(ctx, x.Mechanism)
}

// converse answers challenges, in either profile of SASL, until the server says
// <success/>, which it returns, proven.
func converse(t transport, space string, x *login.Exchange, o login.Offer) (*confab.Element, error) {
	fail := func(err error) error {
		return &AuthError{Mechanism: x.Mechanism, Offered: o.Mechanisms, Err: err}
	}
	for {
		el, _, err := t.next()
		if err != nil {
			return nil, err
		}
		switch {
		case el.Is(space, "challenge"):
			data, err := decode(el.Text)
			if err != nil {
				return nil, fail(err)
			}
			resp, err := x.Next(data)
			if err != nil {
				_ = t.send(confab.El(space, "abort"))
				return nil, fail(err)
			}
			if err := t.send(confab.El(space, "response").SetText(encodeResponse(resp))); err != nil {
				return nil, err
			}
		case el.Is(space, "success"):
			text := el.Text
			if space == nsSASL2 {
				text = el.ChildText(nsSASL2, "additional-data")
			}
			data, err := decode(text)
			if err == nil {
				err = x.Success(data)
			}
			if err != nil {
				return nil, fail(err)
			}
			return el, nil
		case el.Is(space, "failure"):
			return nil, authFailure(el, x.Mechanism, o.Mechanisms)
		case el.Is(nsSASL2, "continue"):
			return nil, fail(errors.New("the server wants further steps (XEP-0388 §2.6.3) that confab does not know: " + tasks(el)))
		case el.Is(nsStream, "error"):
			return nil, streamError(el)
		default:
			return nil, fail(fmt.Errorf("unexpected <%s>", el.Name.Local))
		}
	}
}

// signedIn remembers that the account has seen better than PLAIN.
func (c *Client) signedIn(ctx context.Context, mechanism string) error {
	if c.known.Strong || !strings.HasPrefix(mechanism, "SCRAM-") && mechanism != "EXTERNAL" {
		return nil
	}
	c.known.Strong = true
	return c.remember(ctx)
}

func authFailure(el *confab.Element, mechanism string, offered []string) *AuthError {
	e := &AuthError{Mechanism: mechanism, Offered: offered, Condition: "not-authorized"}
	for _, c := range el.Children {
		switch {
		case c.Name.Local == "text":
			e.Text = c.Text
		case c.Name.Space == nsSASL:
			e.Condition = c.Name.Local
		}
	}
	return e
}

// encode makes base64; the empty message is "=" (RFC 6120 §6.4.2).
func encode(b []byte) string {
	if b == nil {
		return ""
	}
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// encodeResponse makes the text of a response, which has no way to be absent.
func encodeResponse(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if s == "=" || s == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, login.ErrChallenge
	}
	return b, nil
}

// bind resumes the last stream (XEP-0198 §5) or, failing that, binds a resource
// (RFC 6120 §7).
func (c *Client) bind(s *session) error {
	if s.features.Child(nsSM, "sm") != nil && c.sm.resumable() {
		req := c.sm.resume()
		s.resume = req.Get("previd")
		if err := s.t.send(req); err != nil {
			return err
		}
		el, _, err := s.t.next()
		if err != nil {
			return err
		}
		if done, err := c.resumption(s, el); done || err != nil {
			return err
		}
	}
	return c.bindResource(s)
}

// resumption reads the answer to <resume/>.
func (c *Client) resumption(s *session, el *confab.Element) (done bool, err error) {
	switch {
	case el.Is(nsSM, "resumed"):
		h, err := strconv.ParseUint(el.Get("h"), 10, 32)
		if err != nil || s.resume == "" || el.Get("previd") != s.resume {
			return false, fmt.Errorf("client: the server resumed another stream: %s", el)
		}
		s.resumed, s.serverH, s.addr = true, uint32(h), c.LocalAddr()
		return true, nil
	case el.Is(nsSM, "failed"):
		s.lost = el
		return false, nil
	case el.Is(nsStream, "error"):
		return false, streamError(el)
	}
	return false, fmt.Errorf("client: <resume/> was answered with <%s xmlns=%q>", el.Name.Local, el.Name.Space)
}

func (c *Client) bindResource(s *session) error {
	if s.features.Child(nsBind, "bind") == nil {
		return errors.New("client: the server offers to bind no resource")
	}
	b := confab.El(nsBind, "bind")
	if r := c.account.Resourcepart(); r != "" {
		b.Add(confab.El(nsBind, "resource").SetText(r))
	}
	id := confab.NewID()
	if err := s.t.send(confab.El(confab.NSClient, "iq", b).Set("type", "set").Set("id", id)); err != nil {
		return err
	}
	for {
		el, _, err := s.t.next()
		if err != nil {
			return err
		}
		if el.Is(nsStream, "error") {
			return streamError(el)
		}
		if !el.Is(confab.NSClient, "iq") || el.Get("id") != id {
			continue // nothing can be meant for us yet
		}
		if el.Get("type") == "error" {
			return &BindError{*confab.StanzaError(el)}
		}
		return c.bound(s, el.Child(nsBind, "bind").ChildText(nsBind, "jid"))
	}
}

// bound takes the address that the server gave us. It must be of the account.
func (c *Client) bound(s *session, addr string) error {
	j, err := jid.Parse(strings.TrimSpace(addr))
	if err != nil {
		return &BindError{fmt.Errorf("the server gave the address %q: %w", addr, err)}
	}
	if j.Resourcepart() == "" || !c.cfg.Anonymous && !j.Bare().Equal(c.account.Bare()) {
		return &BindError{fmt.Errorf("the server gave the address %q to %s", addr, c.account.Bare())}
	}
	s.addr = j
	return nil
}
