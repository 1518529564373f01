package register

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"mellium.im/xmpp/jid"
)

// A Provider is a public server, as a list such as that of providers.xmpp.net tells.
type Provider struct {
	JID jid.JID
	// Category is how well it is fit for newcomers: "A" is best, then "B" and so on.
	Category string
	// InBand says that accounts are made on the stream, Captcha and Email that a
	// picture is to be read, or an address to be given, for that.
	InBand, Captcha, Email bool
	// RegistrationPages and Websites are web pages by language.
	RegistrationPages, Websites map[string]string
	// Countries are where its servers stand, as two letters.
	Countries []string
	Free      bool // of charge
	// MaxFile is the size of the largest file that is taken, in megabytes, and
	// ArchiveDays how long messages are kept; 0 stands for no limit, -1 for not told.
	MaxFile, ArchiveDays int
	Since                string // as the list says, mostly a date
}

// Limits of a list.
const (
	maxList    = 16 << 20 // bytes
	maxEntries = 10_000
)

// ReadProviders reads a list of providers, in JSON. Entries that make no sense are passed
// over, unknown fields too. To choose among them, filter the slice: by InBand, by country.
func ReadProviders(r io.Reader) ([]Provider, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err != nil {
		return nil, fmt.Errorf("register: the list of providers: %w", err)
	}
	if len(b) > maxList {
		return nil, errors.New("register: the list of providers is too large")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.Join(errors.New("register: the list of providers is no list"), err)
	}
	var all []Provider
	for n := 0; d.More(); n++ {
		if n == maxEntries {
			return nil, fmt.Errorf("register: the list of providers has more than %d entries", maxEntries)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("register: the list of providers: %w", err)
		}
		if p, ok := parseProvider(raw); ok {
			all = append(all, p)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("register: the list of providers: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("register: the list of providers goes on behind its end")
	}
	return all, nil
}

// parseProvider reads an entry. What is of another type than it was is not told.
func parseProvider(entry json.RawMessage) (Provider, bool) {
	var e struct {
		JID       json.RawMessage `json:"jid"`
		Category  json.RawMessage `json:"category"`
		InBand    json.RawMessage `json:"inBandRegistration"`
		Captcha   json.RawMessage `json:"inBandRegistrationCaptchaRequired"`
		Email     json.RawMessage `json:"inBandRegistrationEmailAddressRequired"`
		Pages     json.RawMessage `json:"registrationWebPage"`
		Websites  json.RawMessage `json:"website"`
		Countries json.RawMessage `json:"serverLocations"`
		Free      json.RawMessage `json:"freeOfCharge"`
		MaxFile   json.RawMessage `json:"maximumHttpFileUploadFileSize"`
		Archive   json.RawMessage `json:"maximumMessageArchiveManagementStorageTime"`
		Since     json.RawMessage `json:"since"`
	}
	if json.Unmarshal(entry, &e) != nil {
		return Provider{}, false
	}
	addr := told(e.JID, "")
	j, err := jid.Parse(addr)
	if err != nil || j.Localpart() != "" || j.Resourcepart() != "" || addr == "" {
		return Provider{}, false
	}
	p := Provider{
		JID: j, Category: told(e.Category, ""), InBand: told(e.InBand, false), Captcha: told(e.Captcha, false), Email: told(e.Email, false),
		RegistrationPages: pages(e.Pages), Websites: pages(e.Websites), Countries: told[[]string](e.Countries, nil), Free: told(e.Free, false),
		MaxFile: max(-1, told(e.MaxFile, -1)), ArchiveDays: max(-1, told(e.Archive, -1)), Since: told(e.Since, ""),
	}
	for i, c := range p.Countries {
		p.Countries[i] = strings.ToUpper(c)
	}
	return p, true
}

// told reads a value, or returns what stands for none.
func told[T any](raw json.RawMessage, none T) T {
	v := none
	if json.Unmarshal(raw, &v) != nil {
		return none
	}
	return v
}

// pages reads addresses by language, those of web pages.
func pages(raw json.RawMessage) map[string]string {
	m := told[map[string]string](raw, nil)
	for lang, page := range m {
		if m[lang] = webAddress(page); m[lang] == "" {
			delete(m, lang)
		}
	}
	return m
}

var errAway = errors.New("register: the list of providers was redirected away from https")

// FetchProviders reads the list at a URL, which must be https, as must be all that it is
// redirected to.
func FetchProviders(ctx context.Context, c *http.Client, url string) ([]Provider, error) {
	if !strings.HasPrefix(strings.ToLower(url), "https://") {
		return nil, fmt.Errorf("register: the list of providers has to come by https, not from %q", url)
	}
	if c == nil {
		c = http.DefaultClient
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	own := *c
	own.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		switch {
		case req.URL.Scheme != "https":
			return errAway
		case c.CheckRedirect != nil:
			return c.CheckRedirect(req, via)
		case len(via) >= 10:
			return errors.New("register: the list of providers is redirected again and again")
		}
		return nil
	}
	res, err := own.Do(req)
	if err != nil {
		return nil, fmt.Errorf("register: the list of providers: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("register: the list of providers: %s", res.Status)
	}
	return ReadProviders(res.Body)
}
