package confabtest_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const nsUpload = "urn:xmpp:http:upload:0"

// TestUploadService fills slots rightly and wrongly, over TLS and in memory.
func TestUploadService(t *testing.T) {
	for _, started := range []bool{false, true} {
		srv := confabtest.NewServer(confabtest.Config{MaxFile: 1000})
		defer srv.Close()
		cfg := client.Config{Address: srv.AddAccount("romeo", "pw"), Password: "pw"}
		if started {
			require.NoError(t, srv.Start())
			cfg.Server, cfg.TLS = srv.Addr(), &tls.Config{RootCAs: srv.CA()}
		} else {
			cfg.Dial = srv.Dial
		}
		c, err := client.New(cfg)
		require.NoError(t, err)
		ready := make(chan struct{}, 10)
		confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go func() { _ = c.Run(ctx) }()
		<-ready
		tr := c.HTTPTransport()
		defer tr.CloseIdleConnections()
		slot := func(size string) (put *confab.Element, get string, err error) {
			req := confab.El(nsUpload, "request").Set("filename", "a b.txt").Set("size", size).Set("content-type", "text/plain")
			var el confab.Element
			err = confab.Do(ctx, c, stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse("upload.confab.test")}, req, &el)
			put = el.Child(nsUpload, "put")
			return put, el.Child(nsUpload, "get").Get("url"), err
		}
		do := func(method, url, token, body string) (int, string) {
			req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("Authorization", token)
			req.Header.Set("Content-Type", "text/plain")
			res, err := (&http.Client{Transport: tr}).Do(req)
			require.NoError(t, err)
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			return res.StatusCode, string(b)
		}
		status := func(n int, _ string) int { return n }
		put, get, err := slot("5")
		require.NoError(t, err)
		token := put.Child(nsUpload, "header").Text
		require.Equal(t, 404, status(do("GET", get, "", "")))
		require.Equal(t, 403, status(do("PUT", get, "Bearer x", "hello")))
		require.Equal(t, 400, status(do("PUT", get, token, "hell")))
		require.Equal(t, 405, status(do("DELETE", get, token, "")))
		require.Equal(t, 201, status(do("PUT", get, token, "hello")))
		require.Equal(t, 409, status(do("PUT", get, token, "HELLO")))
		n, body := do("GET", get, "", "")
		require.Equal(t, 200, n)
		require.Equal(t, "hello", body)
		require.Equal(t, 404, status(do("GET", get+"x", "", "")))
		_, _, err = slot("1001")
		var refused *confab.Refused
		require.ErrorAs(t, err, &refused)
		require.True(t, refused.Tells(nsUpload, "file-too-large"))
		for _, bad := range []string{"", "0", "-1", "x"} {
			_, _, err = slot(bad)
			require.ErrorAs(t, err, &refused)
		}
		if !started { // the server in memory comes back
			srv.Stop()
			srv.Continue()
			<-ready
			tr.CloseIdleConnections()
			require.Equal(t, 200, status(do("GET", get, "", "")))
		}
	}
}
