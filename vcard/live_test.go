package vcard_test

import (
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/confab-im/confab/vcard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

var self = jid.JID{}

func sameProfile(t *testing.T, want, got vcard.Profile) {
	t.Helper()
	type flat struct {
		Name, Nick, Birthday, City, Country, About, Photo string
		Sites, Mails                                      []string
	}
	of := func(p vcard.Profile) flat {
		return flat{p.FullName, p.Nickname, p.Birthday, p.City, p.Country, p.About, p.Photo, p.Sites, p.Mails}
	}
	assert.Equal(t, of(want), of(got))
}

func TestProfile(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		juliet, romeo := newUser(t, s, vcard.Config{}), newUser(t, s, vcard.Config{})
		_, err := juliet.Profile(ctx, self)
		require.ErrorIs(t, err, vcard.ErrNone)
		_, err = juliet.Profile(ctx, romeo.bare())
		require.ErrorIs(t, err, vcard.ErrNone)
		_, err = juliet.Access(ctx)
		require.ErrorIs(t, err, vcard.ErrNone)

		p := vcard.Profile{
			FullName: "Juliet Capulet", Nickname: "Jule", Birthday: "1476-06-09",
			Sites: []string{"https://capulet.lit/", "https://verona.lit/juliet"}, Mails: []string{"juliet@capulet.lit"},
			City: "Verona", Country: "Italy", About: "<3 & größe",
		}
		require.NoError(t, juliet.SetProfile(ctx, p, pubsub.AccessOpen))
		got, err := juliet.Profile(ctx, self)
		require.NoError(t, err)
		sameProfile(t, p, got)
		access, err := juliet.Access(ctx)
		require.NoError(t, err)
		assert.Equal(t, pubsub.AccessOpen, access)

		got, err = romeo.Profile(ctx, juliet.bare())
		require.NoError(t, err)
		sameProfile(t, p, got)

		// Old clients see it, too.
		var old confab.Element
		require.NoError(t, confab.Do(ctx, romeo, stanza.IQ{Type: stanza.GetIQ, To: juliet.bare()}, confab.El("vcard-temp", "vCard"), &old))
		legacy, ok := vcard.ParseProfile(&old)
		require.True(t, ok)
		require.NotEmpty(t, legacy.Sites)
		legacy.Sites = p.Sites // ejabberd keeps the last one only
		sameProfile(t, p, legacy)

		// Unknown fields stay, others change.
		card := got.Raw().Clone().Add(confab.El("urn:ietf:params:xml:ns:vcard-4.0", "tz",
			confab.El("urn:ietf:params:xml:ns:vcard-4.0", "text").SetText("Europe/Rome")))
		_, err = pubsub.New(juliet, self).Publish(ctx, "urn:xmpp:vcard4", pubsub.Item{ID: "current", Payload: card}, pubsub.Config{})
		require.NoError(t, err)
		p, err = juliet.Profile(ctx, self)
		require.NoError(t, err)
		p.Nickname, p.City, p.Sites = "", "Mantua", p.Sites[1:]
		require.NoError(t, juliet.SetProfile(ctx, p, pubsub.AccessOpen))
		got, err = romeo.Profile(ctx, juliet.bare())
		require.NoError(t, err)
		sameProfile(t, p, got)
		assert.NotNil(t, got.Raw().Child("urn:ietf:params:xml:ns:vcard-4.0", "tz"))

		// For contacts only: strangers see nothing any more, in neither card.
		require.NoError(t, juliet.SetProfile(ctx, p, pubsub.AccessPresence))
		_, err = romeo.Profile(ctx, juliet.bare())
		require.ErrorIs(t, err, vcard.ErrNone)
		befriend(t, juliet, romeo)
		got, err = romeo.Profile(ctx, juliet.bare())
		require.NoError(t, err)
		sameProfile(t, p, got)
	})
}

func TestProfileChanged(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		juliet := newUser(t, s, vcard.Config{NotifyProfiles: true})
		require.NoError(t, juliet.SetProfile(ctx, vcard.Profile{FullName: "Juliet"}, pubsub.AccessPresence))
		e := juliet.profiles.Next(t, func(e vcard.ProfileChanged) bool { return e.Profile.FullName == "Juliet" })
		assert.Equal(t, juliet.bare(), e.JID)
	})
}

func TestAvatar(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) { testAvatar(t, s) })
}

func testAvatar(t *testing.T, s *testbed.Server) {
	ctx := testclient.Context(t)
	juliet, romeo := newUser(t, s, vcard.Config{}), newUser(t, s, vcard.Config{})
	stranger := newUser(t, s, vcard.Config{})
	befriend(t, romeo, juliet)
	_, err := romeo.Picture(ctx, juliet.bare())
	require.ErrorIs(t, err, vcard.ErrNone)

	for i, kind := range []string{"image/png", "image/jpeg", "image/gif", "image/webp"} {
		data := picture(t, kind, 64, 48, uint8(i))
		a, err := juliet.SetAvatar(ctx, data, pubsub.AccessOpen)
		require.NoError(t, err)
		assert.Equal(t, kind, a.Type)
		e := romeo.avatars.Next(t, func(e vcard.AvatarChanged) bool { return e.Avatar != nil && e.Avatar.ID == a.ID })
		assert.Equal(t, juliet.bare(), e.JID)
		pic, err := romeo.FetchAvatar(ctx, e.JID, *e.Avatar)
		require.NoError(t, err)
		assert.Equal(t, data, pic.Data)
		assert.Equal(t, kind, pic.Type)
		assert.Equal(t, [2]int{64, 48}, [2]int{pic.Width, pic.Height})

		pic, err = stranger.Picture(ctx, juliet.bare())
		require.NoError(t, err)
		assert.Equal(t, data, pic.Data)
		var card confab.Element
		require.NoError(t, confab.Do(ctx, stranger, stanza.IQ{Type: stanza.GetIQ, To: juliet.bare()}, confab.El("vcard-temp", "vCard"), &card))
		assert.NotNil(t, card.Child("vcard-temp", "PHOTO"), "the vCard has it, too")
	}
	// It is no part of the profile, and stays when that is written.
	require.NoError(t, juliet.SetProfile(ctx, vcard.Profile{FullName: "Juliet"}, pubsub.AccessOpen))
	_, err = romeo.Picture(ctx, juliet.bare())
	require.NoError(t, err)

	require.NoError(t, juliet.DisableAvatar(ctx))
	gone := romeo.avatars.Next(t, func(e vcard.AvatarChanged) bool { return e.Avatar == nil })
	assert.Equal(t, juliet.bare(), gone.JID)
	_, err = romeo.Avatar(ctx, juliet.bare())
	require.ErrorIs(t, err, vcard.ErrNone)
	require.NoError(t, juliet.RemoveAvatar(ctx))

	// A picture that is for contacts only.
	b, err := juliet.SetAvatar(ctx, picture(t, "image/png", 10, 10, 77), pubsub.AccessPresence)
	require.NoError(t, err)
	romeo.avatars.Next(t, func(e vcard.AvatarChanged) bool { return e.Avatar != nil && e.Avatar.ID == b.ID })
	pic, err := romeo.Picture(ctx, juliet.bare())
	require.NoError(t, err)
	assert.Equal(t, b.ID, pic.ID)
	if _, err = stranger.Avatar(ctx, juliet.bare()); s.Name != testbed.Ejabberd { // which puts it into the vCard
		require.ErrorIs(t, err, vcard.ErrNone)
	}
	// Who signs in later hears of it at once.
	later := withCards(t, testclient.Config(s, romeo.bare().String(), passwordOf(t, s, romeo)), vcard.Config{})
	later.avatars.Next(t, func(e vcard.AvatarChanged) bool { return e.Avatar != nil && e.Avatar.ID == b.ID })
}

// passwordOf gives an account another password.
func passwordOf(t *testing.T, s *testbed.Server, u *user) string {
	t.Helper()
	s.NamedAccount(t, u.bare().Localpart(), "another secret")
	return "another secret"
}

// The vCard is what there is without conversion; presence tells of it.
func TestVCardAvatar(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{Without: confabtest.AvatarConversion})
	t.Cleanup(srv.Close)
	ctx := testclient.Context(t)
	juliet := withCards(t, testclient.Embedded(srv, "juliet"), vcard.Config{})
	romeo := withCards(t, testclient.Embedded(srv, "romeo"), vcard.Config{})
	srv.Subscribe("juliet", "romeo")

	// What other clients have put into the vCard stays.
	require.NoError(t, confab.Do(ctx, juliet, stanza.IQ{Type: stanza.SetIQ},
		confab.El("vcard-temp", "vCard", confab.El("vcard-temp", "ROLE").SetText("lover")), nil))
	data := picture(t, "image/png", 20, 20, 1)
	a, err := juliet.SetAvatar(ctx, data, pubsub.AccessOpen)
	require.NoError(t, err)
	require.NoError(t, juliet.SetProfile(ctx, vcard.Profile{FullName: "Juliet"}, pubsub.AccessOpen))
	read := func() *confab.Element {
		var card confab.Element
		require.NoError(t, confab.Do(ctx, romeo, stanza.IQ{Type: stanza.GetIQ, To: juliet.bare()}, confab.El("vcard-temp", "vCard"), &card))
		return &card
	}
	card := read()
	assert.Equal(t, "lover", card.ChildText("vcard-temp", "ROLE"))
	assert.Equal(t, "Juliet", card.ChildText("vcard-temp", "FN"))
	assert.NotEmpty(t, card.Child("vcard-temp", "PHOTO").ChildText("vcard-temp", "BINVAL"))
	romeo.avatars.Next(t, func(e vcard.AvatarChanged) bool { return e.Avatar != nil && e.Avatar.ID == a.ID })

	// A profile that is for contacts leaves the picture only.
	require.NoError(t, juliet.SetProfile(ctx, vcard.Profile{FullName: "Juliet"}, pubsub.AccessPresence))
	card = read()
	assert.Len(t, card.Children, 1)
	require.NoError(t, juliet.RemoveAvatar(ctx))
	_, err = romeo.Picture(ctx, juliet.bare())
	require.ErrorIs(t, err, vcard.ErrNone)
	romeo.avatars.Next(t, func(e vcard.AvatarChanged) bool { return e.Avatar == nil })

	// Another client of hers knows vCards only.
	photo := confab.El("vcard-temp", "PHOTO", confab.El("vcard-temp", "BINVAL").SetText(base64Lines(data)))
	require.NoError(t, confab.Do(ctx, juliet, stanza.IQ{Type: stanza.SetIQ}, confab.El("vcard-temp", "vCard", photo), nil))
	tell := func() {
		x, err := juliet.PresenceHash(ctx)
		require.NoError(t, err)
		require.NoError(t, juliet.SendElement(ctx, confab.El(confab.NSClient, "presence", x)))
	}
	tell()
	e := romeo.avatars.Next(t, func(e vcard.AvatarChanged) bool { return e.Avatar != nil })
	assert.Equal(t, a.ID, e.Avatar.ID)
	pic, err := romeo.FetchAvatar(ctx, e.JID, *e.Avatar)
	require.NoError(t, err)
	assert.Equal(t, data, pic.Data)
	assert.Equal(t, "image/png", pic.Type)
	pic, err = romeo.Picture(ctx, juliet.bare())
	require.NoError(t, err)
	assert.Equal(t, a.ID, pic.ID)
	wrong := *e.Avatar
	wrong.ID = "0000000000000000000000000000000000000000"
	_, err = romeo.FetchAvatar(ctx, e.JID, wrong)
	require.ErrorIs(t, err, vcard.ErrNone)
	require.NoError(t, juliet.RemoveAvatar(ctx))
	tell()
	assert.Nil(t, romeo.avatars.Next(t, nil).Avatar)
}

// An old server has no PEP at all.
func TestWithoutPEP(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{Without: confabtest.PubSub})
	t.Cleanup(srv.Close)
	ctx := testclient.Context(t)
	juliet := withCards(t, testclient.Embedded(srv, "juliet"), vcard.Config{})
	romeo := withCards(t, testclient.Embedded(srv, "romeo"), vcard.Config{})
	_, err := romeo.Profile(ctx, juliet.bare())
	require.ErrorIs(t, err, vcard.ErrNone)
	_, err = juliet.Picture(ctx, self)
	require.ErrorIs(t, err, vcard.ErrNone)
	p := vcard.Profile{FullName: "Juliet", About: "me"}
	require.NoError(t, juliet.SetProfile(ctx, p, pubsub.AccessOpen))
	require.Error(t, juliet.SetProfile(ctx, p, pubsub.AccessPresence), "it cannot be kept from strangers")
	require.NoError(t, juliet.SetProfile(ctx, p, pubsub.AccessOpen))
	got, err := romeo.Profile(ctx, juliet.bare())
	require.NoError(t, err)
	sameProfile(t, p, got)
	data := picture(t, "image/jpeg", 9, 9, 1)
	_, err = juliet.SetAvatar(ctx, data, pubsub.AccessPresence)
	require.Error(t, err)
	_, err = juliet.SetAvatar(ctx, data, pubsub.AccessOpen)
	require.NoError(t, err)
	pic, err := romeo.Picture(ctx, juliet.bare())
	require.NoError(t, err)
	assert.Equal(t, data, pic.Data)
	require.NoError(t, juliet.RemoveAvatar(ctx))
	_, err = romeo.Avatar(ctx, juliet.bare())
	require.ErrorIs(t, err, vcard.ErrNone)
	got, err = romeo.Profile(ctx, juliet.bare())
	require.NoError(t, err)
	sameProfile(t, p, got)
	for _, bad := range []func() error{
		func() error { _, err := juliet.SetAvatar(ctx, data, ""); return err },
		func() error { _, err := juliet.SetAvatar(ctx, []byte("no picture"), pubsub.AccessOpen); return err },
		func() error { return juliet.SetProfile(ctx, p, "") },
		func() error { _, err := juliet.FetchAvatar(ctx, self, vcard.Avatar{}); return err },
	} {
		require.Error(t, bad())
	}
}
