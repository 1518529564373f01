package vcard_test

import (
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/pubsub"
	"github.com/confab-im/confab/vcard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// script signs a user in to a scripted server.
func script(t *testing.T, address string) (*confabtest.Transcript, *user) {
	t.Helper()
	tr := confabtest.NewTranscript(t)
	full := jid.MustParse(address)
	u := &user{}
	u.Client = testclient.Start(t, client.Config{Address: full.Bare().String(), Password: "secret", Dial: tr.Dial}, func(c *client.Client) {
		u.Profiles = vcard.New(c, vcard.Config{})
		u.avatars = testclient.Watch[vcard.AvatarChanged](c)
	})
	tr.SignIn(address)
	require.Equal(t, "presence", tr.Next().Name.Local)
	u.WaitReady(t)
	return tr, u
}

func text(t *testing.T, el *confab.Element) string {
	t.Helper()
	b, err := el.AppendXML(nil, "")
	require.NoError(t, err)
	return string(b)
}

// answer is an example that answers the last request.
func answer(t *testing.T, xep string, number int) string {
	return text(t, vectors.Elements(t, xep, number)[0].Clone().Set("id", "${id}"))
}

// run has f ask while the script answers, request by request.
func run[T any](tr *confabtest.Transcript, f func() (T, error), steps ...func()) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	for _, s := range steps {
		s()
	}
	r := <-done
	return r.v, r.err
}

func step(tr *confabtest.Transcript, want, answer string) func() {
	return func() {
		tr.Set("id", tr.Expect(want).Get("id"))
		tr.Send(answer)
	}
}

func TestExampleVCard4(t *testing.T) {
	ctx := testclient.Context(t)
	tr, u := script(t, "samizzi@cisco.com/foo")
	p, err := run(tr, func() (vcard.Profile, error) { return u.Profile(ctx, jid.MustParse("stpeter@jabber.org")) },
		step(tr, `<iq type='get' id='*' to='stpeter@jabber.org'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4' max_items='1'/></pubsub></iq>`,
			answer(t, "0292", 2)))
	require.NoError(t, err)
	assert.Equal(t, "Peter Saint-Andre", p.FullName)
	assert.Equal(t, "stpeter", p.Nickname)
	assert.Equal(t, "1966-08-06", p.Birthday)
	assert.Equal(t, "Denver", p.City)
	assert.Equal(t, "USA", p.Country)
	assert.Equal(t, []string{"https://stpeter.im/"}, p.Sites)
	assert.Contains(t, p.About, "More information about me")
	assert.Equal(t, "https://stpeter.im/images/stpeter_oscon.jpg", p.Photo)
	assert.NotEmpty(t, p.Raw().Child("urn:ietf:params:xml:ns:vcard-4.0", "geo"))
}

func TestExampleVCardTemp(t *testing.T) {
	ctx := testclient.Context(t)
	tr, u := script(t, "stpeter@jabber.org/roundabout")
	none := `<iq type='error' id='${id}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
	pep := `<iq type='get' id='*'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4' max_items='1'/></pubsub></iq>`
	ask := text(t, vectors.Elements(t, "0054", 1)[0].Clone().Set("id", "*").Set("from", ""))
	own := func() (vcard.Profile, error) { return u.Profile(ctx, jid.JID{}) }
	p, err := run(tr, own, step(tr, pep, none), step(tr, ask, answer(t, "0054", 2)))
	require.NoError(t, err)
	assert.Equal(t, "Peter Saint-Andre", p.FullName)
	assert.Equal(t, "stpeter", p.Nickname)
	assert.Equal(t, "1966-08-06", p.Birthday)
	assert.Equal(t, []string{"stpeter@jabber.org"}, p.Mails)
	assert.Equal(t, []string{"http://www.xmpp.org/xsf/people/stpeter.shtml"}, p.Sites)
	assert.Equal(t, "Denver", p.City)
	assert.Equal(t, "USA", p.Country)
	for _, n := range []int{3, 4} {
		_, err = run(tr, own, step(tr, pep, none), step(tr, ask, answer(t, "0054", n)))
		require.ErrorIs(t, err, vcard.ErrNone)
	}
}

func TestExampleAvatar(t *testing.T) {
	ctx := testclient.Context(t)
	tr, u := script(t, "romeo@montague.lit/home")
	juliet := jid.MustParse("juliet@capulet.lit")
	event := func(number int) string { return text(t, vectors.Elements(t, "0084", number)[0]) }

	tr.Send(event(5))
	e := u.avatars.Next(t, nil)
	assert.Equal(t, juliet, e.JID)
	assert.Equal(t, vcard.Avatar{ID: "111f4b3c50d7b0df729d299bc6f8e9ef9066971f", Type: "image/png", Bytes: 12345, Width: 64, Height: 64}, *e.Avatar)

	// Its hash is wrong in the XEP.
	_, err := run(tr, func() (vcard.Picture, error) { return u.FetchAvatar(ctx, e.JID, *e.Avatar) },
		step(tr, text(t, confab.El(confab.NSClient, "iq", confab.El(pubsub.NS, "pubsub", confab.El(pubsub.NS, "items",
			confab.El(pubsub.NS, "item").Set("id", e.Avatar.ID)).Set("node", "urn:xmpp:avatar:data"))).
			Set("type", "get").Set("id", "*").Set("to", "juliet@capulet.lit")), answer(t, "0084", 7)))
	require.ErrorIs(t, err, vcard.ErrPicture)

	tr.Send(event(9))
	assert.Nil(t, u.avatars.Next(t, nil).Avatar)

	// Several formats: the one at the server is best.
	item := vectors.Elements(t, "0084", 10)[0].Child(pubsub.NS, "pubsub").Child(pubsub.NS, "publish").Child(pubsub.NS, "item")
	best, others := vcard.ParseMetadata(item.Children[0], item.Get("id"))
	require.NotNil(t, best)
	assert.Equal(t, "111f4b3c50d7b0df729d299bc6f8e9ef9066971f", best.ID)
	require.Len(t, others, 3)
	assert.Equal(t, "http://avatars.example.org/happy.gif", others[1].URL)
}

func TestExamplePresence(t *testing.T) {
	tr, u := script(t, "romeo@montague.net/orchard")
	// Not ready, none, and one: only the last is news.
	for _, n := range []int{6, 7} {
		tr.Send(text(t, vectors.Elements(t, "0153", n)[0].Clone().Set("from", "juliet@capulet.com/balcony")))
	}
	tr.Send(text(t, vectors.Elements(t, "0153", 3)[0]))
	e := u.avatars.Next(t, nil)
	assert.Equal(t, "juliet@capulet.com", e.JID.String())
	assert.Equal(t, "01b87fcd030b72895ff8e88db57ec525450f000d", e.Avatar.ID)
	// Somebody in a room is known by the room's address.
	tr.Send(`<presence from='room@muc.lit/nick'><x xmlns='vcard-temp:x:update'><photo>01b87fcd030b72895ff8e88db57ec525450f000d</photo></x><x xmlns='http://jabber.org/protocol/muc#user'/></presence>`)
	assert.Equal(t, "room@muc.lit/nick", u.avatars.Next(t, nil).JID.String())
	// Again, broken, and not ready: no news. None: news.
	for _, photo := range []string{"<photo>01b87fcd030b72895ff8e88db57ec525450f000d</photo>", "<photo>../../etc/passwd</photo>", ""} {
		tr.Send("<presence from='juliet@capulet.com/balcony'><x xmlns='vcard-temp:x:update'>" + photo + "</x></presence>")
	}
	tr.Send("<presence from='juliet@capulet.com/balcony'><x xmlns='vcard-temp:x:update'><photo/></x></presence>")
	assert.Nil(t, u.avatars.Next(t, nil).Avatar)
	assert.Empty(t, u.avatars.All())
}

// Metadata comes from the account that it is about.
func TestForgedAvatar(t *testing.T) {
	tr, u := script(t, "romeo@montague.lit/home")
	event := func(from, id string) string {
		return "<message type='headline' from='" + from + "'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:avatar:metadata'>" +
			"<item id='" + id + "'><metadata xmlns='urn:xmpp:avatar:metadata'><info id='" + id + "' bytes='1' type='image/png'/></metadata></item></items></event></message>"
	}
	const id = "111f4b3c50d7b0df729d299bc6f8e9ef9066971f"
	tr.Send(event("mallory@evil.lit/juliet@capulet.lit", id))
	tr.Send(event("juliet@capulet.lit/balcony", id))
	tr.Send(event("nurse@capulet.lit", "no hash"))
	tr.Send(event("tybalt@capulet.lit", id))
	tr.Send(event("tybalt@capulet.lit", id))
	assert.Equal(t, "tybalt@capulet.lit", u.avatars.Next(t, nil).JID.String())
	tr.Send(event("benvolio@montague.lit", id))
	assert.Equal(t, "benvolio@montague.lit", u.avatars.Next(t, nil).JID.String())
	assert.Empty(t, u.avatars.All())
}

// Events without payload, which anybody can send, do not make us ask without end.
func TestFloodOfEvents(t *testing.T) {
	tr, u := script(t, "romeo@montague.lit/home")
	for i := range 200 {
		tr.Send(fmt.Sprintf("<message type='headline' from='mallory%d@evil.lit'><event xmlns='http://jabber.org/protocol/pubsub#event'>"+
			"<items node='urn:xmpp:avatar:metadata'><item id='x'/></items></event></message>", i))
	}
	tr.Send("<iq type='get' id='end' from='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
	asked := 0
	for {
		e := tr.Next()
		if e.Get("id") == "end" && e.Get("type") == "result" {
			break
		}
		asked++
	}
	assert.LessOrEqual(t, asked, 16)
	assert.Empty(t, u.avatars.All())
}
