package docs_test

import (
	"context"
	"encoding/xml"
	"errors"
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/pubsub"
	"github.com/confab-im/confab/register"
	"github.com/confab-im/confab/roster"
	"github.com/confab-im/confab/store"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Pitfall 21.
func TestPing(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	sign := func(user string, setup func(*client.Client)) *client.Client {
		c, err := client.New(client.Config{Address: srv.AddAccount(user, "pw"), Password: "pw", Dial: srv.Dial})
		require.NoError(t, err)
		ready := make(chan struct{}, 1)
		confab.On(c, func(context.Context, confab.Ready) { ready <- struct{}{} })
		setup(c)
		go c.Run(t.Context())
		<-ready // before that, what is sent to it may be kept for later
		return c
	}
	answers := make(chan string, 1)
	me := sign("me", func(c *client.Client) {
		confab.On(c, func(_ context.Context, m *confab.Message) { answers <- m.Body })
	})
	bot := sign("bot", pings) // what is to be tested

	_, err := me.SendMessage(t.Context(), confab.Draft{To: bot.LocalAddr(), Body: "!ping"})
	require.NoError(t, err)
	require.Equal(t, "pong", <-answers)
}

// Pitfall 24.
func pings(c *client.Client) {
	chats := chat.New(c, chat.Config{})
	confab.On(c, func(ctx context.Context, m *chat.Message) {
		if m.Source != confab.Live {
			return // out of an archive, or said while we were away
		}
		if m.Text == "!ping" {
			if _, err := chats.With(m.Chat).Send(ctx, "pong"); err != nil {
				log.Print(err)
			}
		}
	})
}

func TestPast(t *testing.T) {
	srv := serve(t)
	var chats *chat.Client
	var said *testclient.Seen[*chat.Message]
	sign(t, srv, "me", func(c *client.Client) {
		chats = chat.New(c, chat.Config{})
		said = testclient.Watch[*chat.Message](c)
	})
	bot := jid.MustParse(srv.AddAccount("bot", "secret"))
	send(t, chats, bot, "!ping")
	require.NoError(t, srv.Wait(testclient.Context(t), func() bool { return len(srv.Offline("bot")) == 1 }))
	sign(t, srv, "bot", pings)
	require.NoError(t, srv.Wait(testclient.Context(t), func() bool { return len(srv.Offline("bot")) == 0 }))
	send(t, chats, bot, "!ping")
	said.Next(t, says("pong"))
	require.Empty(t, said.Take(), "one answer")
}

// Pitfall 22.
func befriends(c *client.Client) (*roster.Roster, *chat.Client, error) {
	contacts, err := roster.New(c, roster.Config{Policy: roster.Mutual}) // who asks becomes a contact
	if err != nil {
		return nil, nil, err
	}
	chats := chat.New(c, chat.Config{Reveal: contacts.Sees}) // contacts get receipts
	return contacts, chats, nil
}

func busy(ctx context.Context, contacts *roster.Roster) error {
	return contacts.SetPresence(ctx, roster.Own{Show: "dnd", Status: "Working"}) // also after the next sign-in
}

func people(c *client.Client, show func(...any)) (*roster.Roster, error) {
	contacts, err := roster.New(c, roster.Config{})
	if err != nil {
		return nil, err
	}
	confab.On(c, func(_ context.Context, p roster.PresenceChanged) { show(p.JID, p.New.Available, p.New.Status) })
	confab.On(c, func(ctx context.Context, r roster.Request) {
		if err := contacts.Accept(ctx, r.From); err != nil { // or Decline; a program for people asks them first
			log.Print(err)
		}
	})
	return contacts, nil
}

func TestContacts(t *testing.T) {
	srv, n := serve(t), newNotes()
	var contacts *roster.Roster
	bot := sign(t, srv, "bot", func(c *client.Client) {
		var err error
		contacts, _, err = befriends(c)
		require.NoError(t, err)
	})
	var romeos *roster.Roster
	sign(t, srv, "romeo", func(c *client.Client) {
		var err error
		romeos, err = people(c, n.show)
		require.NoError(t, err)
	})
	ctx := testclient.Context(t)
	require.NoError(t, romeos.Subscribe(ctx, bot.LocalAddr().Bare()))
	n.wait(t, bot.LocalAddr().String()+" true")
	require.NoError(t, busy(ctx, contacts))
	n.wait(t, "true Working")
	require.True(t, testclient.Eventually(func() bool { return contacts.Sees(address(srv, "romeo")) && romeos.Sees(bot.LocalAddr().Bare()) }))
}

// Pitfall 23.
func meets(ctx context.Context, rooms *muc.Client, heath jid.JID) error {
	room, err := rooms.Join(ctx, heath, "bot", muc.NickFallback())
	switch {
	case errors.Is(err, muc.ErrMembersOnly), errors.Is(err, muc.ErrBanned):
		return err // only they can change that
	case errors.Is(err, muc.ErrPassword):
		return err // try again with muc.Password("...")
	case err != nil:
		return err
	}
	log.Print(len(room.Occupants()), " are there, it is about ", room.Subject().Text)
	sent, err := room.Send(ctx, "When shall we three meet again?")
	if err != nil {
		return err
	}
	return sent.Wait(ctx, confab.Reflected) // all have it
}

func founds(ctx context.Context, rooms *muc.Client, witches jid.JID) error {
	_, err := rooms.Join(ctx, witches, "bot", muc.Create(muc.PrivateGroup("Witches")))
	return err
}

func TestMeets(t *testing.T) {
	srv := serve(t)
	ctx := testclient.Context(t)
	var rooms, others *muc.Client
	sign(t, srv, "bot", func(c *client.Client) { rooms = muc.New(c, muc.Config{}) })
	require.NoError(t, meets(ctx, rooms, heath))
	witches := jid.MustParse("witches@rooms.confab.test")
	require.NoError(t, founds(ctx, rooms, witches))
	sign(t, srv, "macbeth", func(c *client.Client) { others = muc.New(c, muc.Config{}) })
	require.NoError(t, meets(ctx, others, heath), "under another nickname")
	require.ErrorIs(t, meets(ctx, others, witches), muc.ErrMembersOnly)
}

// Pitfall 25.
type weather struct {
	XMLName xml.Name `xml:"urn:example:weather weather"`
	City    string   `xml:"city,attr,omitempty"`
	Degrees int      `xml:"degrees,omitempty"`
}

func forecast(ctx context.Context, chats *chat.Client, juliet jid.JID) error {
	_, err := chats.With(juliet).Send(ctx, "It will be hot.", chat.With(weather{City: "Verona", Degrees: 31}))
	return err
}

func hot(c *client.Client, show func(...any)) {
	confab.On(c, func(_ context.Context, m *chat.Message) {
		if el := m.Stanza.Child("urn:example:weather", "weather"); el != nil {
			var w weather
			if err := el.Decode(&w); err == nil {
				show(w.City, w.Degrees)
			}
		}
	})
}

func station(c *client.Client) error {
	kind := xml.Name{Space: "urn:example:weather", Local: "weather"}
	return c.HandleIQ(stanza.GetIQ, kind, func(_ context.Context, q *confab.IQ) (any, error) {
		var w weather
		if err := q.Payload.Decode(&w); err != nil || w.City != "Verona" {
			return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
		}
		w.Degrees = 31
		return w, nil
	})
}

func asks(ctx context.Context, c *client.Client, station jid.JID) (int, error) {
	var w weather
	err := confab.Do(ctx, c, stanza.IQ{Type: stanza.GetIQ, To: station}, weather{City: "Verona"}, &w)
	return w.Degrees, err
}

func TestWeather(t *testing.T) {
	srv, n := serve(t), newNotes()
	ctx := testclient.Context(t)
	romeo := sign(t, srv, "romeo", func(c *client.Client) {
		chat.New(c, chat.Config{})
		hot(c, n.show)
		require.NoError(t, station(c))
	})
	var chats *chat.Client
	c := sign(t, srv, "juliet", func(c *client.Client) { chats = chat.New(c, chat.Config{}) })
	require.NoError(t, forecast(ctx, chats, romeo.LocalAddr().Bare()))
	n.wait(t, "Verona 31")
	degrees, err := asks(ctx, c.Client, romeo.LocalAddr())
	require.NoError(t, err)
	require.Equal(t, 31, degrees)
}

// Pitfall 26.
func files(c *client.Client) *upload.Client {
	files := upload.New(c, upload.Config{Transport: c.HTTPTransport()})
	return files
}

func shares(ctx context.Context, files *upload.Client, chats *chat.Client, juliet jid.JID, path string, show func(...any)) error {
	src, err := upload.FromFile(path)
	if err != nil {
		return err
	}
	progress := upload.Progress(func(done, total int64) { show(done, "of", total) })
	_, _, err = files.Share(ctx, chats.With(juliet), src, upload.WithThumbnail(), progress)
	return err
}

func saves(c *client.Client, files *upload.Client, folder string, show func(...any)) {
	confab.On(c, func(ctx context.Context, m *chat.Message) {
		for _, f := range m.Files {
			path := filepath.Join(folder, f.Name) // a name that is safe, but may be there already
			err := files.Save(ctx, f, path, upload.Limit(20<<20), upload.Types("image/"))
			show(path, err)
		}
	})
}

func TestShares(t *testing.T) {
	srv, n := serve(t), newNotes()
	ctx, folder := testclient.Context(t), t.TempDir()
	sign(t, srv, "juliet", func(c *client.Client) {
		chat.New(c, chat.Config{})
		saves(c, files(c), folder, n.show)
	})
	var up *upload.Client
	var chats *chat.Client
	sign(t, srv, "romeo", func(c *client.Client) { up, chats = files(c), chat.New(c, chat.Config{}) })
	path := filepath.Join(t.TempDir(), "dot.gif")
	dot := "GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
	require.NoError(t, os.WriteFile(path, []byte(dot), 0o600))
	require.NoError(t, shares(ctx, up, chats, address(srv, "juliet"), path, n.show))
	require.Equal(t, filepath.Join(folder, "dot.gif")+" <nil>", n.wait(t, folder))
	got, err := os.ReadFile(filepath.Join(folder, "dot.gif"))
	require.NoError(t, err)
	require.Equal(t, dot, string(got))
}

// Pitfall 27.
func crowd(c *client.Client, db *store.DB) *disco.Client {
	caps := disco.New(c, disco.Config{Store: db}) // one, for the whole program
	return caps
}

func canCall(ctx context.Context, caps *disco.Client, room *muc.Room, nick string) (bool, error) {
	occupant, err := room.JID().WithResource(nick)
	if err != nil {
		return false, err
	}
	info, err := caps.Info(ctx, occupant) // asks once for each kind of client, and only now
	return info.Has("urn:xmpp:jingle:apps:rtp:audio"), err
}

func TestCrowd(t *testing.T) {
	srv, db := serve(t), openStore(t)
	ctx := testclient.Context(t)
	var caps *disco.Client
	var rooms *muc.Client
	c := sign(t, srv, "bot", func(c *client.Client) { caps, rooms = crowd(c, db), muc.New(c, muc.Config{}) })
	room, err := rooms.Join(ctx, heath, "bot")
	require.NoError(t, err)
	for _, user := range []string{"first", "second", "third"} {
		var others *muc.Client
		sign(t, srv, user, func(c *client.Client) { others = muc.New(c, muc.Config{}) })
		_, err := others.Join(ctx, heath, user)
		require.NoError(t, err)
	}
	require.True(t, testclient.Eventually(func() bool { return len(room.Occupants()) == 4 }))
	before := c.Stats().StanzasOut
	for _, o := range room.Occupants() {
		can, err := canCall(ctx, caps, room, o.Nick)
		require.NoError(t, err)
		require.False(t, can)
	}
	require.LessOrEqual(t, c.Stats().StanzasOut-before, int64(2))
}

// Pitfall 28.
func moods(c *client.Client, show func(...any)) {
	pubsub.Notify(c, "urn:example:mood") // before Run: the first presence asks for it
	pubsub.Events(c, func(e *pubsub.Event) bool { return e.Node == "urn:example:mood" })
	confab.On(c, func(ctx context.Context, e *pubsub.Event) {
		items, err := e.Fetch(ctx, c) // asks only if the event came without
		for _, item := range items {
			show(e.From, item.Payload.Text)
		}
		if err != nil {
			log.Print(err)
		}
	})
}

func inLove(ctx context.Context, c *client.Client) error {
	mood := confab.El("urn:example:mood", "mood").SetText("in love")
	pep := pubsub.New(c, jid.JID{}) // the account's own
	_, err := pep.Publish(ctx, "urn:example:mood", pubsub.Item{ID: "current", Payload: mood}, pubsub.Contacts())
	return err
}

func TestMoods(t *testing.T) {
	srv, n := serve(t), newNotes()
	for _, user := range []string{"romeo", "juliet"} {
		srv.AddAccount(user, "secret")
	}
	srv.Subscribe("romeo", "juliet")
	sign(t, srv, "juliet", func(c *client.Client) { moods(c, n.show) })
	romeo := sign(t, srv, "romeo")
	require.NoError(t, inLove(testclient.Context(t), romeo.Client))
	n.wait(t, "romeo@confab.test in love")
}

// Pitfall 29.
func registers(ctx context.Context, cfg client.Config, user, password string, solve func(register.Captcha) string) (jid.JID, error) {
	g, err := client.OpenGuest(ctx, cfg) // cfg.Address is the server's domain
	if err != nil {
		return jid.JID{}, err
	}
	defer g.Close()
	f, err := register.Fetch(ctx, g)
	if err != nil {
		return jid.JID{}, err
	}
	f.Set("username", user).Set("password", password)
	for _, captcha := range f.Captchas {
		f.Set(captcha.Var, solve(captcha)) // a person looks at captcha.Media
	}
	return register.Submit(ctx, g, f)
}

func TestRegisters(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{CaptchaDomain: "picture.test"})
	t.Cleanup(srv.Close)
	asked := 0
	for _, domain := range []string{srv.Domain(), "picture.test"} {
		cfg := client.Config{Address: domain, Dial: srv.Dial}
		_, err := registers(testclient.Context(t), cfg, "romeo", "secret", func(c register.Captcha) string {
			asked++
			return "wrong"
		})
		if domain == srv.Domain() {
			require.NoError(t, err)
		} else {
			require.Error(t, err)
		}
	}
	require.NotZero(t, asked)
}

// Pitfall 30.
func webSocket(cfg *client.Config) {
	cfg.WebSocket = true // the address is in the domain's host-meta file; or: cfg.Server = "wss://example.org/ws"
}

func TestWebSocket(t *testing.T) {
	srv := serve(t)
	require.NoError(t, srv.Start())
	cfg := client.Config{Address: srv.AddAccount("bot", "secret"), Password: "secret"}
	elsewhere(&cfg, srv.WebSocketURL(), srv.CA())
	webSocket(&cfg)
	c := testclient.Up(t, cfg)
	require.Eventually(t, func() bool { return c.Stats().Connected }, time.Minute, time.Millisecond)
}

func corrects(ctx context.Context, c *client.Client, chats *chat.Client, juliet jid.JID, show func(...any)) error {
	view := chat.NewTimeline(juliet, 0)
	view.Follow(c, func(context.Context) {
		for _, e := range view.Entries() {
			show(e.Current.Text, e.Edits, e.Reactions, e.Received, e.Displayed)
		}
	})
	with := chats.With(juliet)
	sent, err := with.Send(ctx, "Buy a lader")
	if err != nil {
		return err
	}
	_, err = with.Edit(ctx, sent.ID, "Buy a ladder")
	return err
}

func refused(ctx context.Context, c *client.Client, rooms *muc.Client, heath jid.JID) error {
	d, err := muc.GetDetails(ctx, c, heath)
	if errors.Is(err, muc.ErrNoRoom) {
		_, err = rooms.Join(ctx, heath, "bot", muc.Create(muc.PublicChannel("A heath")))
		return err
	}
	var r *confab.Refused
	if errors.As(err, &r) {
		log.Print("refused: ", r.Err.Condition)
	}
	log.Print(d.Name, ": ", d.Occupants, " are there")
	return err
}

func TestBesides(t *testing.T) {
	srv, n := serve(t), newNotes()
	hears(t, srv, "juliet")
	var chats *chat.Client
	var rooms *muc.Client
	c := sign(t, srv, "bot", func(c *client.Client) {
		chats, rooms = chat.New(c, chat.Config{}), muc.New(c, muc.Config{})
	})
	ctx := testclient.Context(t)
	require.NoError(t, corrects(ctx, c.Client, chats, address(srv, "juliet"), n.show))
	n.wait(t, "Buy a ladder 1")
	require.NoError(t, refused(ctx, c.Client, rooms, heath))
	require.NotNil(t, rooms.Room(heath), "it was made")
	require.NoError(t, refused(ctx, c.Client, rooms, heath))
}
