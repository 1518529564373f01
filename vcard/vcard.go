package vcard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const (
	nsVCard4   = "urn:ietf:params:xml:ns:vcard-4.0"
	nsTemp     = "vcard-temp"
	nsUpdate   = "vcard-temp:x:update"
	nsData     = "urn:xmpp:avatar:data"
	nsMetadata = "urn:xmpp:avatar:metadata"
	nsConvert  = "urn:xmpp:pep-vcard-conversion:0"
	nsInfo     = "http://jabber.org/protocol/disco#info"
	nsMUCUser  = "http://jabber.org/protocol/muc#user"

	nodeVCard4 = "urn:xmpp:vcard4"
)

// ErrNone says that somebody has no profile, or no picture, or none for us.
var ErrNone = errors.New("vcard: there is none, or not for us")

// Config are the settings of [Profiles].
type Config struct {
	// MaxBytes and MaxPixels bound pictures, those that come in and those that are
	// published; 0 stands for 1 MiB and 16 million pixels.
	MaxBytes, MaxPixels int
	// NotifyProfiles asks for the event [ProfileChanged]. Servers then send the
	// profile of each contact at each sign-in.
	NotifyProfiles bool
}

// Profiles reads and writes profiles and pictures. Its methods may be called from
// any goroutine.
type Profiles struct {
	s   confab.Session
	cfg Config

	fetching atomic.Int32 // requests for what events leave out

	mu       sync.Mutex
	features map[string]bool // of the own account, nil if not yet asked
	known    seen
}

// ProfileChanged is the event for a profile that was published, or that was there
// already when the session began. It comes only if Config.NotifyProfiles is set.
type ProfileChanged struct {
	JID     jid.JID
	Profile Profile
}

// New puts profiles and pictures on a session, before it runs.
func New(s confab.Session, cfg Config) *Profiles {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 1 << 20
	}
	if cfg.MaxPixels <= 0 {
		cfg.MaxPixels = 16_000_000
	}
	p := &Profiles{s: s, cfg: cfg}
	pubsub.Notify(s, nsMetadata)
	pubsub.OnEvent(s, nsMetadata, p.metadata)
	s.HandlePresence(p.presence)
	if cfg.NotifyProfiles {
		pubsub.Notify(s, nodeVCard4)
		pubsub.OnEvent(s, nodeVCard4, p.profileEvent)
	}
	s.OnDown(func(_ error, lost bool) {
		if lost {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.features = nil // the server may be another one next time
		}
	})
	return p
}

// pep returns the nodes of an account; zero is the own.
func (p *Profiles) pep(who jid.JID) pubsub.Service { return pubsub.New(p.s, who) }

// has reports whether the own account announces a feature.
func (p *Profiles) has(ctx context.Context, feature string) (bool, error) {
	p.mu.Lock()
	known := p.features
	p.mu.Unlock()
	if known == nil {
		var q confab.Element
		iq := stanza.IQ{Type: stanza.GetIQ, To: p.s.LocalAddr().Bare()}
		if err := confab.Do(ctx, p.s, iq, confab.El(nsInfo, "query"), &q); err != nil {
			return false, err
		}
		known = map[string]bool{}
		for f := range q.All(nsInfo, "feature") {
			known[f.Get("var")] = true
		}
		p.mu.Lock()
		p.features = known
		p.mu.Unlock()
	}
	return known[feature], nil
}

// temp reads a vcard-temp. It is nil if there is none.
func (p *Profiles) temp(ctx context.Context, who jid.JID) (*confab.Element, error) {
	var card confab.Element
	err := confab.Do(ctx, p.s, stanza.IQ{Type: stanza.GetIQ, To: who}, confab.El(nsTemp, "vCard"), &card)
	var se stanza.Error
	switch {
	case errors.As(err, &se):
		switch se.Condition {
		case stanza.ItemNotFound, stanza.ServiceUnavailable, stanza.FeatureNotImplemented, stanza.Forbidden, stanza.NotAuthorized, stanza.NotAllowed:
			return nil, nil
		}
		return nil, err
	case err != nil:
		return nil, err
	case !card.Is(nsTemp, "vCard") || len(card.Children) == 0:
		return nil, nil
	}
	return &card, nil
}

// setTemp writes the own vcard-temp.
func (p *Profiles) setTemp(ctx context.Context, card *confab.Element) error {
	return confab.Do(ctx, p.s, stanza.IQ{Type: stanza.SetIQ}, card, nil)
}

// nothing reports whether an error says that an account has nothing for us in a
// node, so that it is worth looking elsewhere.
func nothing(err error) bool {
	return errors.Is(err, pubsub.ErrNotFound) || errors.Is(err, pubsub.ErrUnsupported) ||
		errors.Is(err, stanza.Error{Condition: stanza.ServiceUnavailable}) || errors.Is(err, stanza.Error{Condition: stanza.NotAllowed}) ||
		errors.Is(err, stanza.Error{Condition: stanza.BadRequest})
}

// Access returns who may read the own profile (vCard4).
func (p *Profiles) Access(ctx context.Context) (pubsub.AccessModel, error) {
	cfg, err := p.pep(jid.JID{}).Config(ctx, nodeVCard4)
	if errors.Is(err, pubsub.ErrNotFound) {
		return "", ErrNone
	}
	return cfg.Access, err
}
