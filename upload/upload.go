package upload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/disco"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const (
	nsUpload    = "urn:xmpp:http:upload:0"
	nsPurpose   = "urn:xmpp:http:upload:purpose:0"
	nsEncrypted = "urn:xmpp:esfs:0"
	nsSFS       = "urn:xmpp:sfs:0"
)

// Config has the settings of a [Client]. The zero value is good, but that a client with a
// proxy, a dialer or a private authority needs Transport.
type Config struct {
	// Transport carries what is asked by HTTP. That of client.Client.HTTPTransport goes
	// the way that the account's connection goes. Nil stands for
	// [http.DefaultTransport].
	Transport http.RoundTripper
	// Service is the upload service; zero finds one.
	Service jid.JID
	// Hosts are hosts, beside those of the service's and the account's own domains,
	// that the service may name in slots: to others no file is sent. They may be in a
	// private network.
	Hosts []string
	// AllowLoopback takes addresses on this machine, also without encryption: for
	// tests and development.
	AllowLoopback bool
	// Sealed reports whether a conversation is encrypted, so that files for it are, too:
	//
	//	Sealed: func(j jid.JID) bool { return keys.Mode(j) != omemo.Off }
	Sealed func(conversation jid.JID) bool
	// Patience is how long a transfer may stand still; 0 stands for a minute.
	Patience time.Duration
}

// A Client uploads and fetches files. Make one with [New]. Its methods may be called from
// any goroutine.
type Client struct {
	s    confab.Session
	cfg  Config
	http *http.Client
	bits offers

	mu       sync.Mutex
	services []Service // found already
}

// A Purpose says for what a file is kept (XEP-0363 §6).
type Purpose string

// The purposes.
const (
	// ForMessage is what is assumed: the file is fetched once by each device.
	ForMessage Purpose = "message"
	// ForProfile is for pictures of people.
	ForProfile Purpose = "profile"
	// ForEphemeral is for what is to be gone soon; see [ExpireBefore].
	ForEphemeral Purpose = "ephemeral"
	// ForPermanent is for what is published.
	ForPermanent Purpose = "permanent"
)

// A Service takes files (XEP-0363).
type Service struct {
	JID jid.JID
	// MaxSize is the largest file that it takes, in bytes; 0 if it does not tell.
	MaxSize int64
	// Purposes are those that it announces; ForMessage is always good.
	Purposes []Purpose
}

// Has reports whether the service knows a purpose.
func (s Service) Has(p Purpose) bool {
	return p == "" || p == ForMessage || slices.Contains(s.Purposes, p)
}

// New puts files on a session, before it runs.
func New(s confab.Session, cfg Config) *Client {
	if cfg.Patience <= 0 {
		cfg.Patience = time.Minute
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	cfg.Hosts = slices.Clone(cfg.Hosts)
	c := &Client{s: s, cfg: cfg}
	c.http = &http.Client{Transport: cfg.Transport, CheckRedirect: c.redirect}
	s.HandleDraft(confab.StageUnwrap, c.guard)
	s.OnDown(func(_ error, lost bool) {
		if lost {
			c.mu.Lock()
			c.services = nil
			c.mu.Unlock()
		}
	})
	c.serveBits()
	return c
}

// guard is the last to see a message: what is in clear here goes out in clear.
func (c *Client) guard(_ context.Context, d *confab.Draft) error {
	if d.Seal != nil {
		return nil
	}
	link, _, _ := strings.Cut(d.Body, "\n")
	if _, err := chat.ParseLink(link); err == nil {
		return ErrClear
	}
	for _, x := range d.Extra {
		if el, err := confab.ToElement(x); err == nil && el.Is(nsSFS, "file-sharing") {
			for src := range el.All(nsSFS, "sources") {
				if src.Child(nsEncrypted, "encrypted") != nil {
					return ErrClear
				}
			}
		}
	}
	return nil
}

// Services returns the upload services of the own server. They are asked for once in a
// session.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	c.mu.Lock()
	known := c.services
	c.mu.Unlock()
	if known != nil {
		return slices.Clone(known), nil
	}
	var list []Service
	if c.cfg.Service.String() != "" {
		info, err := disco.GetInfo(ctx, c.s, c.cfg.Service, "")
		if err != nil {
			return nil, err
		}
		list = append(list, parseService(c.cfg.Service, info))
	} else {
		found, err := disco.Find(ctx, c.s, nsUpload)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if slices.ContainsFunc(list, func(s Service) bool { return s.JID.Equal(f.JID) }) {
				continue // some servers list it twice
			}
			list = append(list, parseService(f.JID, f.Info))
		}
	}
	if len(list) == 0 {
		return nil, ErrNoService
	}
	c.mu.Lock()
	c.services = list
	c.mu.Unlock()
	return slices.Clone(list), nil
}

func parseService(j jid.JID, info disco.Info) Service {
	s := Service{JID: j}
	if f := info.Form(nsUpload); f != nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(f.Get("max-file-size")), 10, 64); err == nil && n > 0 {
			s.MaxSize = n
		}
	}
	for _, p := range []Purpose{ForMessage, ForProfile, ForEphemeral, ForPermanent} {
		if info.Has(nsPurpose + "#" + string(p)) {
			s.Purposes = append(s.Purposes, p)
		}
	}
	return s
}

// choose finds a service for a file.
func (c *Client) choose(ctx context.Context, size int64, p Purpose) (Service, error) {
	all, err := c.Services(ctx)
	if err != nil {
		return Service{}, err
	}
	var large *TooLargeError
	for _, s := range all {
		switch {
		case !s.Has(p):
		case s.MaxSize > 0 && size > s.MaxSize:
			if large == nil || s.MaxSize > large.Max {
				large = &TooLargeError{Size: size, Max: s.MaxSize, Service: s.JID}
			}
		default:
			return s, nil
		}
	}
	if large != nil {
		return Service{}, large
	}
	return Service{}, fmt.Errorf("%w: none keeps files for the purpose %q", ErrNoService, p)
}

// redirect decides whether to go where a server sends a download: only where the first
// address could have been.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet {
		return http.ErrUseLastResponse
	}
	if len(via) > 5 {
		return fmt.Errorf("%w: too many redirects", ErrURL)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("%w: it leads to what is not https", ErrURL)
	}
	if _, err := c.address(req.URL.String()); err != nil {
		return err
	}
	req.Header.Del("Referer")
	return nil
}

// refusal makes an error of the service one of this package.
func refusal(err error, service jid.JID, size int64) error {
	var r *confab.Refused
	if !errors.As(err, &r) {
		return err
	}
	if large := r.Element.Child(nsUpload, "file-too-large"); large != nil {
		n, _ := strconv.ParseInt(strings.TrimSpace(large.ChildText(nsUpload, "max-file-size")), 10, 64)
		return &TooLargeError{Size: size, Max: max(0, n), Service: service}
	}
	if retry := r.Element.Child(nsUpload, "retry"); retry != nil {
		if at, err := time.Parse(time.RFC3339Nano, retry.Get("stamp")); err == nil {
			return &WaitError{Until: at, Err: r}
		}
	}
	return err
}

// slot asks for a place for a file.
func (c *Client) slot(ctx context.Context, s Service, name, typ string, size int64, o *options) (*slot, error) {
	req := confab.El(nsUpload, "request").Set("filename", name).Set("size", strconv.FormatInt(size, 10)).Set("content-type", typ)
	if o.purpose != "" {
		p := confab.El(nsPurpose, string(o.purpose))
		if o.purpose == ForEphemeral {
			p.Set("expire-before", o.expire.UTC().Format(time.RFC3339))
		}
		req.Add(p)
	}
	var el confab.Element
	if err := confab.Do(ctx, c.s, stanza.IQ{Type: stanza.GetIQ, To: s.JID}, req, &el); err != nil {
		return nil, refusal(err, s.JID, size)
	}
	return c.parseSlot(s.JID, &el)
}

// slot is where a file goes, and where it can be had then.
type slot struct {
	put, get string
	host     string
	header   http.Header
}

const (
	maxHeaders     = 32
	maxHeaderBytes = 16 << 10
)

// parseSlot reads a slot and refuses what is dangerous (XEP-0363 §5, §12.2).
func (c *Client) parseSlot(service jid.JID, el *confab.Element) (*slot, error) {
	put, get := el.Child(nsUpload, "put"), el.Child(nsUpload, "get")
	if !el.Is(nsUpload, "slot") || put == nil || get == nil {
		return nil, fmt.Errorf("%w: it is malformed", ErrSlot)
	}
	sl := &slot{header: http.Header{}}
	for _, a := range [...]struct {
		in  *confab.Element
		out *string
	}{{put, &sl.put}, {get, &sl.get}} {
		raw := a.in.Get("url")
		if strings.Contains(raw, "#") {
			return nil, fmt.Errorf("%w: its address has a fragment", ErrSlot)
		}
		u, err := c.address(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSlot, err)
		}
		if !c.slotHost(service, u.Hostname()) {
			return nil, fmt.Errorf("%w: %q is a host of another domain than %s; if it is to be trusted, name it in Config.Hosts", ErrSlot, u.Hostname(), service)
		}
		*a.out = u.String()
		if a.in == put {
			sl.host = u.Host
		}
	}
	n, size := 0, 0
	for h := range put.All(nsUpload, "header") {
		name, value := h.Get("name"), strings.TrimSpace(h.Text)
		if n, size = n+1, size+len(name)+len(value); n > maxHeaders || size > maxHeaderBytes {
			return nil, fmt.Errorf("%w: it has too many headers", ErrSlot)
		}
		if bad := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }; strings.ContainsFunc(name, bad) || strings.ContainsFunc(value, bad) {
			return nil, fmt.Errorf("%w: a header has a line break or another control character", ErrSlot)
		}
		switch name = http.CanonicalHeaderKey(name); name {
		case "Authorization", "Cookie", "Expires":
			sl.header.Add(name, value)
		}
	}
	return sl, nil
}
