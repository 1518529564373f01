package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/login"
)

// signIn2 is XEP-0388: sign-in, resumption or a new resource (XEP-0386), stream
// management and a token for the next time (XEP-0484) in one exchange.
func (c *Client) signIn2(ctx context.Context, s *session, list *confab.Element) error {
	o := offer(list, s.features)
	cr, err := c.credentials(ctx)
	if err != nil {
		return err
	}
	inline := list.Child(nsSASL2, "inline")
	if t := c.known.Token; t != nil && slices.Contains(o.Fast, t.Mechanism) && time.Now().Before(t.Expiry) {
		cr.Token, cr.TokenMechanism = t.Token, t.Mechanism
		err := c.authenticate(ctx, s, o, cr, inline)
		var ae *AuthError
		if !errors.As(err, &ae) || !strings.HasPrefix(ae.Mechanism, "HT-") || !ae.Permanent() {
			return err
		}
		// The token is no good any more; the password may be.
		c.cfg.Log.Info("client: token refused, using the other credentials", "err", err)
		c.known.Token = nil
		if err := c.remember(ctx); err != nil {
			return err
		}
		cr.Token = ""
		if ae.Err != nil {
			return err // the stream is in no state to go on
		}
	}
	return c.authenticate(ctx, s, o, cr, inline)
}

func (c *Client) authenticate(ctx context.Context, s *session, o login.Offer, cr login.Credentials, inline *confab.Element) error {
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
	auth, err := c.authenticateElement(ctx, s, x.Mechanism, o, inline)
	if err != nil {
		return err
	}
	if first != nil {
		auth.Children = append([]*confab.Element{confab.El(nsSASL2, "initial-response").SetText(encode(first))}, auth.Children...)
	}
	if err := s.t.send(auth); err != nil {
		return err
	}
	el, err := converse(s.t, nsSASL2, x, o)
	if err != nil {
		return err
	}
	s.mechanism, s.sasl2 = x.Mechanism, true
	s.fast = strings.HasPrefix(x.Mechanism, "HT-")
	return c.succeeded(ctx, s, el, o)
}

func tasks(el *confab.Element) string {
	var names []string
	for t := range el.Child(nsSASL2, "tasks").All(nsSASL2, "task") {
		names = append(names, t.Text)
	}
	return strings.Join(names, " ")
}

// authenticateElement makes the request with all that can be had along with it.
func (c *Client) authenticateElement(ctx context.Context, s *session, mechanism string, o login.Offer, inline *confab.Element) (*confab.Element, error) {
	auth := confab.El(nsSASL2, "authenticate").Set("mechanism", mechanism)
	if c.known.Agent == "" {
		c.known.Agent = newUUID()
		if err := c.remember(ctx); err != nil {
			return nil, err
		}
	}
	auth.Add(confab.El(nsSASL2, "user-agent",
		confab.El(nsSASL2, "software").SetText(c.cfg.Software.Name)).Set("id", c.known.Agent))
	if inline.Child(nsSM, "sm") != nil && c.sm.resumable() {
		req := c.sm.resume()
		s.resume = req.Get("previd")
		auth.Add(req)
	}
	if b := inline.Child(nsBind2, "bind"); b != nil {
		tag := c.account.Resourcepart()
		if tag == "" {
			tag = c.cfg.Software.Name
		}
		req := confab.El(nsBind2, "bind", confab.El(nsBind2, "tag").SetText(tag))
		for f := range b.Child(nsBind2, "inline").All(nsBind2, "feature") {
			if f.Get("var") == nsSM {
				req.Add(confab.El(nsSM, "enable").Set("resume", "true"))
			}
		}
		auth.Add(req)
	}
	if strings.HasPrefix(mechanism, "HT-") {
		auth.Add(confab.El(nsFast, "fast"))
	} else if m := login.TokenMechanism(o, s.t.tlsState()); m != "" && !c.cfg.Anonymous {
		auth.Add(confab.El(nsFast, "request-token").Set("mechanism", m))
	}
	return auth, nil
}

// succeeded takes what came with <success/>.
func (c *Client) succeeded(ctx context.Context, s *session, el *confab.Element, o login.Offer) error {
	if t := el.Child(nsFast, "token"); t.Get("token") != "" {
		// Stored before anything else happens: the server may forget the old
		// one as soon as this one is used.
		expiry, err := time.Parse(time.RFC3339, t.Get("expiry"))
		if err != nil {
			expiry = time.Now().Add(24 * time.Hour)
		}
		m := s.mechanism
		if !s.fast {
			m = login.TokenMechanism(o, s.t.tlsState())
		}
		c.known.Token = &token{Mechanism: m, Token: t.Get("token"), Expiry: expiry}
		if err := c.remember(ctx); err != nil {
			return err
		}
	}
	if err := c.signedIn(ctx, s.mechanism); err != nil {
		return err
	}
	if r := el.Child(nsSM, "resumed"); r != nil {
		_, err := c.resumption(s, r)
		return err
	}
	s.lost = el.Child(nsSM, "failed")
	if b := el.Child(nsBind2, "bound"); b != nil {
		s.enabled = b.Child(nsSM, "enabled")
		return c.bound(s, el.ChildText(nsSASL2, "authorization-identifier"))
	}
	// No Bind 2: the features that follow have the old way.
	var err error
	if s.features, err = nextFeatures(s.t); err != nil {
		return err
	}
	if s.lost != nil {
		return c.bindResource(s)
	}
	return c.bind(s)
}
