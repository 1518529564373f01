package register

import (
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

// maxList bounds a list, in bytes.
const maxList = 16 << 20

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
	var entries []map[string]json.RawMessage
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, fmt.Errorf("register: the list of providers: %w", err)
	}
	var all []Provider
	for _, e := range entries {
		p := Provider{MaxFile: -1, ArchiveDays: -1}
		var addr string
		for name, v := range map[string]any{
			"jid": &addr, "category": &p.Category, "inBandRegistration": &p.InBand, "inBandRegistrationCaptchaRequired": &p.Captcha,
			"inBandRegistrationEmailAddressRequired": &p.Email, "registrationWebPage": &p.RegistrationPages, "website": &p.Websites,
			"serverLocations": &p.Countries, "freeOfCharge": &p.Free, "maximumHttpFileUploadFileSize": &p.MaxFile,
			"maximumMessageArchiveManagementStorageTime": &p.ArchiveDays, "since": &p.Since,
		} {
			if raw, ok := e[name]; ok {
				_ = json.Unmarshal(raw, v) // what is of another type than it was is not told
			}
		}
		j, err := jid.Parse(addr)
		if err != nil || j.Localpart() != "" || j.Resourcepart() != "" || addr == "" {
			continue
		}
		p.JID = j
		for i, c := range p.Countries {
			p.Countries[i] = strings.ToUpper(c)
		}
		all = append(all, p)
	}
	return all, nil
}

// FetchProviders reads the list at a URL, which must be https.
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
	res, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("register: the list of providers: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("register: the list of providers: %s", res.Status)
	}
	if res.Request != nil && res.Request.URL.Scheme != "https" {
		return nil, errors.New("register: the list of providers was redirected away from https")
	}
	return ReadProviders(res.Body)
}
