package client_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/stretchr/testify/require"
)

// TestHTTPTransport goes through the account's dialer and trusts its authority: over
// TLS, and over connections that are encrypted already.
func TestHTTPTransport(t *testing.T) {
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	defer web.Close()
	var dials atomic.Int32
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		require.Equal(t, "example.com:443", address) // for which the certificate is
		return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
	}
	get := func(cfg client.Config, url string) (string, error) {
		cfg.Address, cfg.Password = "a@example.org", "pw"
		c, err := client.New(cfg)
		require.NoError(t, err)
		tr := c.HTTPTransport()
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get(url)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return string(b), err
	}
	roots := web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	host, err := get(client.Config{Dial: dial, TLS: &tls.Config{RootCAs: roots, ServerName: "somebody.else"}}, "https://example.com/")
	require.NoError(t, err)
	require.Equal(t, "example.com", host)
	require.Equal(t, int32(1), dials.Load())
	_, err = get(client.Config{Dial: dial}, "https://example.com/")
	require.ErrorContains(t, err, "certificate")

	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	_, err = get(client.Config{Dial: srv.Dial}, "https://upload.confab.test/upload/nothing")
	require.NoError(t, err)
}
