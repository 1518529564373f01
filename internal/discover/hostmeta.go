package discover

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
)

const (
	relWebSocket  = "urn:xmpp:alt-connections:websocket"
	maxHostMeta   = 64 << 10
	maxRedirects  = 5
	maxWebSockets = 8
)

// WebSockets returns the WebSocket endpoints that the domain's host-meta file
// names (XEP-0156), or the one of Override. The file is fetched over HTTPS
// only, by HTTP or by [Config.Transport], and only wss:// addresses are taken
// from it.
//
// An Override of another kind rules WebSocket out. The error is an *[Error]; it
// matches [ErrNoWebSocket] if there is no endpoint, for whatever reason, and
// tells the reason too.
func (c Config) WebSockets(ctx context.Context) ([]Target, error) {
	if c.Override != "" {
		targets, err := parseOverride(c.Override)
		switch {
		case err != nil:
			return nil, c.fail(err)
		case targets[0].URL == "":
			return nil, c.fail(fmt.Errorf("%w: the override is none", ErrNoWebSocket))
		}
		return targets, nil
	}
	host, err := ASCII(c.Domain)
	if err != nil {
		return nil, c.fail(err)
	}
	// A caller's HTTP and the browser have ways of their own to .onion.
	if isOnion(host) && !c.hooked() && c.HTTP == nil && runtime.GOOS != "js" {
		return nil, c.fail(ErrOnion)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}

	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	rt := c.HTTP
	if rt == nil {
		t := c.Transport()
		defer t.CloseIdleConnections()
		rt = t
	}
	client := &http.Client{Transport: rt, CheckRedirect: checkRedirect}

	// Both at once: a server without the optional JSON file may take its time to
	// say so.
	type result struct {
		targets []Target
		err     error
	}
	formats := []struct {
		path  string
		parse func([]byte) ([]Target, error)
	}{
		{"/.well-known/host-meta.json", parseJRD},
		{"/.well-known/host-meta", parseXRD},
	}
	results := make(chan result, len(formats))
	for _, f := range formats {
		go func() {
			var r result
			body, err := fetch(ctx, client, "https://"+host+f.path)
			if err == nil {
				r.targets, err = f.parse(body)
			}
			if err != nil {
				r.err = fmt.Errorf("%s: %w", f.path, err)
			}
			results <- r
		}()
	}
	// Both are waited for even if the first is good, so that no request outlives
	// the call; cancelling makes the wait short.
	var (
		targets []Target
		reasons = []error{ErrNoWebSocket}
	)
	for range formats {
		r := <-results
		if len(targets) == 0 && len(r.targets) > 0 {
			targets = r.targets
			cancel()
		}
		if r.err != nil {
			reasons = append(reasons, r.err)
		}
	}
	if len(targets) == 0 {
		return nil, c.fail(join(reasons...))
	}
	return targets, nil
}

// checkRedirect keeps the way to host-meta secure to its end: one plain hop and
// whoever sits there could send the account to a server of theirs. A browser
// follows redirects without asking; it refuses such a hop by itself on pages
// that came over HTTPS.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if req.URL.Scheme != "https" {
		return fmt.Errorf("refused a redirect to %s, which is not https", req.URL.Redacted())
	}
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	return nil
}

// fetch gets a small file.
func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHostMeta+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxHostMeta {
		return nil, fmt.Errorf("file is larger than %d bytes", maxHostMeta)
	}
	return body, nil
}

// parseJRD reads host-meta.json (RFC 6415, appendix A).
func parseJRD(body []byte) ([]Target, error) {
	// Links are decoded one by one: another protocol's odd link is not our
	// business.
	var doc struct {
		Links []json.RawMessage `json:"links"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	var targets []Target
	for _, raw := range doc.Links {
		var link struct{ Rel, Href string }
		if json.Unmarshal(raw, &link) == nil {
			targets = addLink(targets, link.Rel, link.Href)
		}
	}
	return targets, nil
}

// parseXRD reads host-meta (RFC 6415, section 3).
func parseXRD(body []byte) ([]Target, error) {
	var doc struct {
		XMLName xml.Name `xml:"XRD"`
		Links   []struct {
			Rel  string `xml:"rel,attr"`
			Href string `xml:"href,attr"`
		} `xml:"Link"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	var targets []Target
	for _, link := range doc.Links {
		targets = addLink(targets, link.Rel, link.Href)
	}
	return targets, nil
}

// addLink appends the target of a link that names a secure WebSocket endpoint.
func addLink(targets []Target, rel, href string) []Target {
	if rel != relWebSocket || len(targets) == maxWebSockets {
		return targets
	}
	t, err := webSocketTarget(href, "host-meta")
	if err != nil || slices.ContainsFunc(targets, func(o Target) bool { return o.URL == t.URL }) {
		return targets
	}
	t.Priority = uint16(len(targets))
	return append(targets, t)
}
