package vcard_test

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/vcard"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

// user is an account with profiles.
type user struct {
	*testclient.Client
	*vcard.Profiles
	avatars  *testclient.Seen[vcard.AvatarChanged]
	profiles *testclient.Seen[vcard.ProfileChanged]
	presence *testclient.Seen[*confab.Presence]
}

func newUser(t *testing.T, s *testbed.Server, vc vcard.Config) *user {
	t.Helper()
	address, password := s.Account(t)
	return withCards(t, testclient.Config(s, address, password), vc)
}

func withCards(t *testing.T, cfg client.Config, vc vcard.Config) *user {
	t.Helper()
	u := &user{}
	u.Client = testclient.Up(t, cfg, func(c *client.Client) {
		u.Profiles = vcard.New(c, vc)
		u.avatars = testclient.Watch[vcard.AvatarChanged](c)
		u.profiles = testclient.Watch[vcard.ProfileChanged](c)
		u.presence = testclient.Watch[*confab.Presence](c)
	})
	return u
}

func (u *user) bare() jid.JID { return u.LocalAddr().Bare() }

// befriend lets two accounts see each other's presence.
func befriend(t *testing.T, a, b *user) {
	t.Helper()
	ctx := testclient.Context(t)
	send := func(from, to *user, typ string) {
		require.NoError(t, from.SendElement(ctx, confab.El(confab.NSClient, "presence").Set("to", to.bare().String()).Set("type", typ)))
	}
	// A request to subscribe is held back for clients that are not yet there, so it
	// is waited for by its effect.
	from := func(u *user, typ string) func(*confab.Presence) bool {
		return func(p *confab.Presence) bool { return p.From.Bare().Equal(u.bare()) && string(p.Type) == typ }
	}
	send(a, b, "subscribe")
	b.presence.Next(t, from(a, "subscribe"))
	send(b, a, "subscribed")
	a.presence.Next(t, from(b, ""))
	send(b, a, "subscribe")
	a.presence.Next(t, from(b, "subscribe"))
	send(a, b, "subscribed")
	b.presence.Next(t, from(a, ""))
}

// picture makes a picture of this size, whose content depends on shade.
func picture(t testing.TB, kind string, width, height int, shade uint8) []byte {
	t.Helper()
	img := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.Gray{shade}, color.White})
	var b bytes.Buffer
	var err error
	switch kind {
	case "image/png":
		err = png.Encode(&b, img)
	case "image/jpeg":
		err = jpeg.Encode(&b, img, nil)
	case "image/gif":
		err = gif.Encode(&b, img, nil)
	case "image/webp":
		b.WriteString("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f")
		bits := uint32(width-1) | uint32(height-1)<<14
		b.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24), shade, 0, 0, 0, 0})
	}
	require.NoError(t, err)
	return b.Bytes()
}
