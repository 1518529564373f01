package omemo_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/omemo"
	"github.com/stretchr/testify/require"
)

// trusts returns what one thinks of another's device.
func trusts(t *testing.T, p, of *person) omemo.Trust {
	t.Helper()
	ds, err := p.keys.Devices(p.ctx, of.bare())
	require.NoError(t, err)
	for _, d := range ds {
		if d.ID == of.keys.Own().ID {
			return d.Trust
		}
	}
	t.Fatalf("%s does not know device %d of %s", p.bare(), of.keys.Own().ID, of.bare())
	return 0
}

// TestTrustSpreads: one scans two codes, and all devices trust each other (XEP-0450).
func TestTrustSpreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := confabtest.NewServer(confabtest.Config{})
		defer srv.Close()
		phone := alive(t, testclient.Embedded(srv, "romeo"), omemo.Config{Mode: omemo.On})
		desk := alive(t, testclient.Embedded(srv, "romeo"), omemo.Config{Mode: omemo.On})
		juliet := alive(t, testclient.Embedded(srv, "juliet"), omemo.Config{Mode: omemo.On})
		mallory := alive(t, testclient.Embedded(srv, "mallory"), omemo.Config{Mode: omemo.On})
		ctx := phone.ctx
		all := []*person{phone, desk, juliet}
		talk := func() {
			t.Helper()
			for _, p := range all {
				for _, q := range all {
					if !p.bare().Equal(q.bare()) {
						_, err := p.chats.With(q.bare()).Send(ctx, "hello")
						require.NoError(t, err)
					}
				}
			}
			time.Sleep(5 * time.Minute)
		}
		talk()
		require.Equal(t, omemo.Blind, trusts(t, phone, juliet))

		// The phone and the desk scan each other, then the phone and Juliet do.
		for _, c := range [][2]*person{{phone, desk}, {desk, phone}, {phone, juliet}, {juliet, phone}} {
			_, err := c[0].keys.Verify(ctx, c[1].keys.URI())
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		for _, c := range [][2]*person{{phone, desk}, {desk, phone}, {phone, juliet}, {juliet, phone}, {desk, juliet}, {juliet, desk}} {
			require.Equal(t, omemo.Verified, trusts(t, c[0], c[1]), "%s of %s", c[0].bare(), c[1].bare())
		}
		desk.trusts.Next(t, func(e omemo.TrustChanged) bool {
			return e.Device.Addr.Equal(juliet.bare()) && e.Device.Trust == omemo.Verified
		})
		// A phone that is lost is distrusted everywhere.
		require.NoError(t, desk.keys.SetTrust(ctx, phone.bare(), phone.keys.Own().Key, omemo.Distrusted))
		time.Sleep(time.Minute)
		require.Equal(t, omemo.Distrusted, trusts(t, juliet, phone))
		_, err := juliet.chats.With(desk.bare()).Send(ctx, "not for the phone")
		require.NoError(t, err)
		desk.heard.Next(t, saying("not for the phone"))
		require.ErrorIs(t, phone.dark.Next(t, nil).Err, omemo.ErrNotForThisDevice)

		// Others have no say in it, verified or not.
		_, err = juliet.keys.Verify(ctx, mallory.keys.URI())
		require.NoError(t, err)
		_, err = mallory.keys.Verify(ctx, juliet.keys.URI())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.NoError(t, mallory.keys.SetTrust(ctx, desk.bare(), desk.keys.Own().Key, omemo.Distrusted))
		time.Sleep(time.Minute)
		require.Equal(t, omemo.Verified, trusts(t, juliet, desk))
		for _, p := range all {
			require.Empty(t, p.failed.All())
		}
	})
}
