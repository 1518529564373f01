package register_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/confab-im/confab/register"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

const list = `[
 {"jid": "example.org", "category": "A", "inBandRegistration": true, "inBandRegistrationCaptchaRequired": true, "registrationWebPage": {"en": "https://example.org/register"},
  "website": {"de": "https://example.org/de"}, "serverLocations": ["de", "fr"], "freeOfCharge": true, "maximumHttpFileUploadFileSize": 100,
  "maximumMessageArchiveManagementStorageTime": 0, "since": "2018-05-30", "busFactor": 2, "unknown": [{}]},
 {"jid": "example.net", "inBandRegistration": "yes", "registrationWebPage": [], "serverLocations": "de", "since": 2019},
 {"jid": "user@example.com"}, {"jid": 7}, {}, {"jid": ""}
]`

func TestProviders(t *testing.T) {
	all, err := register.ReadProviders(strings.NewReader(list))
	require.NoError(t, err)
	require.Equal(t, []register.Provider{
		{JID: jid.MustParse("example.org"), Category: "A", InBand: true, Captcha: true, RegistrationPages: map[string]string{"en": "https://example.org/register"},
			Websites: map[string]string{"de": "https://example.org/de"}, Countries: []string{"DE", "FR"}, Free: true, MaxFile: 100, Since: "2018-05-30"},
		{JID: jid.MustParse("example.net"), MaxFile: -1, ArchiveDays: -1},
	}, all)
	for _, bad := range []string{"", "{}", "[", `"x"`, "[1", "[1,]", "[1] x", "[]]", "null", `[{"jid": "a.example"}`} {
		_, err := register.ReadProviders(strings.NewReader(bad))
		require.Error(t, err, bad)
	}
	_, err = register.ReadProviders(strings.NewReader("[" + strings.Repeat(" ", 17<<20) + "]"))
	require.Error(t, err)

	// What makes no sense is passed over, whatever it is, and takes nothing else with it.
	all, err = register.ReadProviders(strings.NewReader(`["x", 1, null, [], [{}], {"jid": ["a"]}, {"jid": "a@@"},
		{"jid": "example.org", "serverLocations": ["de", 5], "maximumHttpFileUploadFileSize": -7, "maximumMessageArchiveManagementStorageTime": null, "since": {},
		 "website": {"en": "javascript:alert(1)", "de": " https://example.org/ ", "fr": "file:///etc/passwd", "it": "https://example.org@evil.example/"},
		 "registrationWebPage": {"en": "https://example.org/", "de": 5}}]`))
	require.NoError(t, err)
	require.Equal(t, []register.Provider{
		{JID: jid.MustParse("example.org"), MaxFile: -1, ArchiveDays: -1, Websites: map[string]string{"de": "https://example.org/"}},
	}, all)
	_, err = register.ReadProviders(strings.NewReader("[{}" + strings.Repeat(",{}", 10_000) + "]"))
	require.ErrorContains(t, err, "more than")

	var srv *httptest.Server
	clear := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("this was asked in clear: ", r.URL)
		http.Redirect(w, r, srv.URL+"/list", http.StatusFound)
	}))
	defer clear.Close()
	srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/list":
			_, _ = w.Write([]byte(list))
		case "/away":
			http.Redirect(w, r, clear.URL+"/back", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	all, err = register.FetchProviders(t.Context(), srv.Client(), srv.URL+"/list")
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, url := range []string{srv.URL + "/none", srv.URL + "/away", srv.URL + "/loop", clear.URL + "/list", ":"} {
		_, err := register.FetchProviders(t.Context(), srv.Client(), url)
		require.Error(t, err, url)
	}
	// What the program's own client says of redirects holds, too.
	own := srv.Client()
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	_, err = register.FetchProviders(t.Context(), own, srv.URL+"/loop")
	require.ErrorContains(t, err, "302")
}

func FuzzProviders(f *testing.F) {
	f.Add(list)
	f.Fuzz(func(t *testing.T, s string) {
		all, err := register.ReadProviders(strings.NewReader(s))
		for _, p := range all {
			if err != nil || p.JID.Domainpart() == "" {
				t.Fatal(p, err)
			}
		}
	})
}
