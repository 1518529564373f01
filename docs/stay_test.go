package docs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Pitfall 1.
func stay(ctx context.Context, cfg client.Config, show func(...any)) error {
	c, err := client.New(cfg)
	if err != nil {
		return err // something is wrong with cfg
	}
	confab.On(c, func(_ context.Context, r confab.Ready) { show("here, as", r.Addr) })
	confab.On(c, func(_ context.Context, s confab.Suspended) { show("no link, but nothing is lost:", s.Err) })
	confab.On(c, func(_ context.Context, l confab.Lost) { show("signing in anew:", l.Err) })
	confab.On(c, func(_ context.Context, r client.Retry) { show("next try in", r.After, "because", r.Err) })
	return c.Run(ctx)
}

func TestStay(t *testing.T) {
	srv, n := serve(t), newNotes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- stay(ctx, testclient.Embedded(srv, "bot"), n.show) }()
	n.wait(t, "here, as bot@")
	srv.CutAll()
	n.wait(t, "no link")
	n.wait(t, "here, as bot@")
	srv.Crash()
	n.wait(t, "next try in")
	srv.Continue()
	n.wait(t, "signing in anew")
	n.wait(t, "here, as bot@")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Error(t, stay(t.Context(), client.Config{}, n.show))
}

// Pitfall 2.
func watchful(cfg *client.Config) {
	cfg.Keepalive = 30 * time.Second // silent for so long: the server is asked for a sign of life
	cfg.Patience = 10 * time.Second  // no answer for so long: a new link is made
}

func wake(c *client.Client) {
	c.Alive() // the network has changed, or the machine woke up: find out now
}

func TestWatchful(t *testing.T) {
	for _, asleep := range []time.Duration{0, 41 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			srv := serve(t)
			cfg := testclient.Embedded(srv, "bot")
			watchful(&cfg)
			var down *testclient.Seen[confab.Suspended]
			c := testclient.Up(t, cfg, func(c *client.Client) { down = testclient.Watch[confab.Suspended](c) })
			time.Sleep(time.Second)
			for _, conn := range srv.Conns() {
				conn.Mute(true)
			}
			if asleep == 0 {
				wake(c.Client)
				time.Sleep(11 * time.Second)
			}
			time.Sleep(asleep)
			synctest.Wait()
			require.Len(t, down.All(), 1)
		})
	}
}

// Pitfall 3.
func outlives(c *client.Client, db *store.DB) *chat.Client {
	archives := mam.New(c, mam.Config{Store: db})
	out := db.Outbox(c, archives)
	chats := chat.New(out, chat.Config{}) // sends by way of out
	return chats
}

func signOff(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.Close(ctx) // what waits goes out first; then Run returns nil
}

func TestOutlives(t *testing.T) {
	srv := serve(t)
	juliet := hears(t, srv, "juliet")
	db := openStore(t)
	for _, run := range []string{"first", "second"} {
		cfg := testclient.Embedded(srv, "romeo")
		c, err := client.New(cfg)
		require.NoError(t, err)
		chats := outlives(c, db)
		if run == "first" {
			send(t, chats, address(srv, "juliet"), "tomorrow")
			require.NoError(t, c.Close(t.Context())) // the program ends, without ever signing in
			continue
		}
		done := make(chan error, 1)
		go func() { done <- c.Run(t.Context()) }()
		juliet.Next(t, says("tomorrow"))
		require.NoError(t, signOff(testclient.Context(t), c))
		require.NoError(t, <-done)
	}
}

func openStore(t *testing.T) *store.DB {
	db, err := store.Open(filepath.Join(t.TempDir(), "bot.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// Pitfall 4.
func arrived(ctx context.Context, chats *chat.Client, juliet jid.JID) error {
	sent, err := chats.With(juliet).Send(ctx, "Did you get this?")
	if err != nil {
		return err // it will not be sent
	}
	if err := sent.Wait(ctx, confab.Acked); err != nil {
		return err // the server did not say that it has it
	}
	return sent.Wait(ctx, confab.Received) // her client has it, and says so
}

func failed(c *client.Client, show func(...any)) {
	confab.On(c, func(_ context.Context, f confab.SendFailed) { show("not delivered to", f.To, "because", f.Err) })
}

func TestArrived(t *testing.T) {
	srv, n := serve(t), newNotes()
	hears(t, srv, "juliet")
	var chats *chat.Client
	sign(t, srv, "romeo", func(c *client.Client) {
		chats = chat.New(c, chat.Config{})
		failed(c, n.show)
	})
	ctx := testclient.Context(t)
	require.NoError(t, arrived(ctx, chats, address(srv, "juliet")))
	require.Error(t, arrived(ctx, chats, jid.MustParse("nobody@elsewhere.test")))
	n.wait(t, "not delivered to nobody@elsewhere.test")
}

// Pitfall 5.
func kept(c *client.Client, show func(...any)) *muc.Client {
	rooms := muc.New(c, muc.Config{PingAfter: 5 * time.Minute}) // silent for so long: are we still there?
	confab.On(c, func(_ context.Context, s muc.State) {
		switch s.Status {
		case muc.Joined:
			show("in", s.Room, "with", len(s.Room.Occupants()))
		case muc.Out:
			show("out of", s.Room, "for good:", s.Err) // thrown out, for instance
		default:
			show(s.Room, s.Status, s.Err) // it is being mended
		}
	})
	return rooms
}

func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, n := serve(t), newNotes()
		var rooms *muc.Client
		sign(t, srv, "bot", func(c *client.Client) { rooms = kept(c, n.show) })
		room, err := rooms.Join(testclient.Context(t), heath, "bot")
		require.NoError(t, err)
		n.wait(t, "in heath@")
		srv.Room(heath.String()).Forget("bot") // without a word
		time.Sleep(6 * time.Minute)
		n.wait(t, "heath@rooms.confab.test Rejoining")
		n.wait(t, "in heath@")
		require.NoError(t, room.Leave(t.Context()))
		n.wait(t, "out of heath@")
	})
}

// Pitfall 6.
func follows(c *client.Client, db *store.DB, limit int) {
	archives := mam.New(c, mam.Config{Store: db, Limit: limit}) // more than that leaves a gap
	muc.New(c, muc.Config{Archives: archives})                  // rooms, too
	chat.New(c, chat.Config{})
	db.History(c.LocalAddr()).Follow(c)
	confab.On(c, func(ctx context.Context, g mam.Gap) {
		if err := archives.Fill(ctx, g); err != nil { // or later, when somebody looks there
			log.Print(err)
		}
	})
}

func reads(ctx context.Context, db *store.DB, c *client.Client, juliet jid.JID, show func(...any)) error {
	page, err := db.History(c.LocalAddr()).Entries(ctx, juliet, store.Page{Limit: 50})
	for _, e := range page {
		show(e.Message.When(), e.Message.Author, e.Current.Text)
	}
	return err
}

func TestFollows(t *testing.T) {
	srv, n, db := serve(t), newNotes(), openStore(t)
	setup := func(c *client.Client) { follows(c, db, 2) }
	sign(t, srv, "romeo", setup).Stop(t)
	var juliet *chat.Client
	sign(t, srv, "juliet", func(c *client.Client) { juliet = chat.New(c, chat.Config{}) })
	for i := range 9 {
		send(t, juliet, address(srv, "romeo"), fmt.Sprint("line ", i))
	}
	c := sign(t, srv, "romeo", setup)
	require.True(t, testclient.Eventually(func() bool {
		page, err := db.History(c.LocalAddr()).Entries(t.Context(), address(srv, "juliet"), store.Page{})
		return err == nil && len(page) == 9
	}))
	require.NoError(t, reads(t.Context(), db, c.Client, address(srv, "juliet"), n.show))
	for i := range 9 {
		n.wait(t, fmt.Sprint("juliet@confab.test line ", i))
	}
}

// Pitfall 7.
func sees(c *client.Client, show func(...any)) {
	confab.On(c, func(_ context.Context, m *chat.Message) { show(m.Chat, "says", m.Text) })
	confab.On(c, func(_ context.Context, m chat.OwnMessage) { show("I say to", m.Chat, m.Text) }) // here, or on the phone
}

func TestSees(t *testing.T) {
	srv, n := serve(t), newNotes()
	hears(t, srv, "juliet")
	var phone *chat.Client
	sign(t, srv, "romeo", func(c *client.Client) {
		chat.New(c, chat.Config{})
		sees(c, n.show)
	})
	sign(t, srv, "romeo", func(c *client.Client) { phone = chat.New(c, chat.Config{}) })
	send(t, phone, address(srv, "juliet"), "once")
	send(t, phone, address(srv, "juliet"), "and again")
	n.wait(t, "I say to juliet@confab.test once")
	require.Equal(t, "I say to juliet@confab.test and again", n.wait(t, ""), "once, and nothing between")
}

// Pitfall 8.
func asksBack(c *client.Client, chats *chat.Client) {
	confab.On(c, func(ctx context.Context, m *chat.Message) {
		info, err := disco.GetInfo(ctx, c, m.From, "") // may take a while
		if err != nil {
			log.Print(err)
			return
		}
		answer := fmt.Sprint("Your client can do ", len(info.Features), " things.")
		if _, err := chats.With(m.Chat).Send(ctx, answer); err != nil {
			log.Print(err)
		}
	})
}

func TestAsksBack(t *testing.T) {
	srv := serve(t)
	sign(t, srv, "bot", func(c *client.Client) { asksBack(c, chat.New(c, chat.Config{})) })
	var chats *chat.Client
	var said *testclient.Seen[*chat.Message]
	sign(t, srv, "juliet", func(c *client.Client) {
		chats = chat.New(c, chat.Config{})
		said = testclient.Watch[*chat.Message](c)
	})
	send(t, chats, address(srv, "bot"), "What can I do?")
	require.Regexp(t, `^Your client can do \d\d things.$`, said.Next(t, nil).Text)
}

// Pitfall 9.
func patient(ctx context.Context, c *client.Client, j jid.JID) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := disco.GetInfo(ctx, c, j, "")
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", nil
	case errors.Is(err, confab.ErrLost):
		return "the link was lost: it was asked, or not", nil
	case errors.Is(err, stanza.Error{Condition: stanza.ServiceUnavailable}):
		return "not there, or not telling us", nil
	}
	return fmt.Sprint(info.Identities), err
}

func TestPatient(t *testing.T) {
	srv := serve(t)
	c := sign(t, srv, "bot")
	said, err := patient(t.Context(), c.Client, jid.MustParse(srv.Domain()))
	require.NoError(t, err)
	require.Contains(t, said, "server")
	said, err = patient(t.Context(), c.Client, jid.MustParse("nobody@"+srv.Domain()+"/nowhere"))
	require.NoError(t, err)
	require.Equal(t, "not there, or not telling us", said)
}

// Pitfall 10.
func notices(c *client.Client, show func(...any)) {
	confab.On(c, func(_ context.Context, b confab.BadStanza) { show("dropped:", b.Err) })
	confab.On(c, func(_ context.Context, h confab.HandlerError) { show("a handler failed:", h.Err) })
}

func TestNotices(t *testing.T) {
	srv, n := serve(t), newNotes()
	c := sign(t, srv, "bot", func(c *client.Client) {
		notices(c, n.show)
		confab.On(c, func(context.Context, *confab.Message) { panic("oh") })
	})
	srv.InjectRaw(c.LocalAddr().String(), `<message from='no@address@at@all'><body>?</body></message>`)
	n.wait(t, "dropped:")
	_, err := c.SendMessage(t.Context(), confab.Draft{To: c.LocalAddr(), Body: "to myself"})
	require.NoError(t, err)
	n.wait(t, "a handler failed:")
	require.True(t, c.Stats().Connected)
}

// Pitfall 11.
func bounded(cfg *client.Config) {
	cfg.QueueBytes = 2 << 20    // read and not handled yet: beyond it, who sends has to wait
	cfg.OutboxBytes = 512 << 10 // not confirmed yet: beyond it, Send waits
	cfg.MaxStanza = 256 << 10   // larger ones are skipped, and told as BadStanza
}

func watch(c *client.Client, show func(...any)) {
	s := c.Stats()
	show(s.Backlog, "bytes to handle,", s.Outbox, "to send")
}

func TestBounded(t *testing.T) {
	srv, n := serve(t), newNotes()
	cfg := testclient.Embedded(srv, "bot")
	bounded(&cfg)
	c := testclient.Up(t, cfg)
	watch(c.Client, n.show)
	n.wait(t, "bytes to handle,")
}

// Pitfall 12.
func atOnce(c *client.Client, chats *chat.Client, juliet jid.JID) {
	for i := range 10 {
		c.Go(func(ctx context.Context) { // ctx ends with the session, and Run waits for us
			if _, err := chats.With(juliet).Send(ctx, fmt.Sprint("part ", i)); err != nil {
				log.Print(err)
			}
		})
	}
}

func TestAtOnce(t *testing.T) {
	srv := serve(t)
	juliet := hears(t, srv, "juliet")
	var chats *chat.Client
	c := sign(t, srv, "romeo", func(c *client.Client) { chats = chat.New(c, chat.Config{}) })
	atOnce(c.Client, chats, address(srv, "juliet"))
	for i := range 10 {
		juliet.Next(t, says(fmt.Sprint("part ", i)))
	}
}

// Pitfall 13.
func givesUp(ctx context.Context, c *client.Client, show func(...any)) error {
	err := c.Run(ctx)
	var auth *client.AuthError
	var stream *client.StreamError
	switch {
	case errors.As(err, &auth):
		show("the server does not let us in:", auth.Condition, auth.Text)
	case errors.As(err, &stream) && stream.Condition == "conflict":
		show("another program has taken our resource")
	}
	return err
}

func TestGivesUp(t *testing.T) {
	srv, n := serve(t), newNotes()
	cfg := testclient.Embedded(srv, "bot")
	cfg.Password = "wrong"
	c, err := client.New(cfg)
	require.NoError(t, err)
	require.Error(t, givesUp(t.Context(), c, n.show))
	n.wait(t, "does not let us in: not-authorized")

	c, err = client.New(testclient.Embedded(srv, "bot"))
	require.NoError(t, err)
	// What is being written while the stream ends may fail before the reason was read: then
	// the client comes back, and is told again.
	confab.On(c, func(context.Context, confab.Ready) {
		for _, conn := range srv.Conns() {
			conn.EndStream("conflict", "")
		}
	})
	require.Error(t, givesUp(testclient.Context(t), c, n.show))
	n.wait(t, "has taken our resource")
}
