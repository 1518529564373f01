package docs_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"crypto/tls"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/roster"
	"github.com/confab-im/confab/store"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// Pitfall 14.
func encrypts(c *client.Client, db *store.DB, contacts *roster.Roster, rooms *muc.Client) (*omemo.Manager, error) {
	keys, err := omemo.New(c, omemo.Config{Store: db.Keys(), Rooms: rooms, Reveal: contacts.Sees})
	return keys, err
}

func sealed(ctx context.Context, keys *omemo.Manager, chats *chat.Client, juliet jid.JID) error {
	if err := keys.SetMode(ctx, juliet, omemo.Required); err != nil {
		return err
	}
	_, err := chats.With(juliet).Send(ctx, "for your eyes only") // encrypted, or an error
	return err
}

// Pitfall 15.
func tellsKeys(c *client.Client, show func(...any)) {
	confab.On(c, func(_ context.Context, k omemo.NewKey) {
		show(k.Device.Addr, "has another key:", k.Device.Key.Fingerprint(), k.Device.Trust)
	})
	confab.On(c, func(_ context.Context, u omemo.Undecryptable) {
		if !u.Waiting { // else it comes by itself, as a message
			show("a message of", u.From, "cannot be read:", u.Err)
		}
	})
}

func verifies(ctx context.Context, keys *omemo.Manager, scanned string, show func(...any)) error {
	show("our code:", keys.URI())
	who, err := keys.Verify(ctx, scanned) // the code of the other one
	show(who, "is verified")
	return err
}

func TestSealed(t *testing.T) {
	srv, n := serve(t), newNotes()
	var chats *chat.Client
	var keys, hers *omemo.Manager
	setup := func(user string, keys **omemo.Manager, chats **chat.Client) *testclient.Client {
		return sign(t, srv, user, func(c *client.Client) {
			*chats = chat.New(c, chat.Config{})
			contacts, err := roster.New(c, roster.Config{})
			require.NoError(t, err)
			*keys, err = encrypts(c, openStore(t), contacts, muc.New(c, muc.Config{}))
			require.NoError(t, err)
			tellsKeys(c, n.show)
		})
	}
	setup("romeo", &keys, &chats)
	ctx := testclient.Context(t)
	require.ErrorIs(t, sealed(ctx, keys, chats, jid.MustParse(srv.AddAccount("nurse", "pw"))), omemo.ErrNoDevices)
	var other *chat.Client
	juliet := setup("juliet", &hers, &other)
	said := testclient.Watch[*chat.Message](juliet)
	require.NoError(t, sealed(ctx, keys, chats, address(srv, "juliet")))
	require.NotNil(t, said.Next(t, says("for your eyes only")).Seal)
	n.wait(t, "has another key:")
	require.NoError(t, verifies(ctx, keys, hers.URI(), n.show))
	n.wait(t, "juliet@confab.test is verified")
}

// Pitfall 16.
func obeys(c *client.Client, owner jid.JID, do func(command string)) {
	confab.On(c, func(_ context.Context, m *chat.Message) {
		if m.Source == confab.Live && m.Chat.Equal(owner) { // servers vouch for addresses, and for nothing else
			do(m.Text)
		}
	})
	confab.On(c, func(_ context.Context, m *muc.Message) {
		o, _ := m.Room.Occupant(m.Nick) // who has this nickname now ...
		same := m.OccupantID != "" && m.OccupantID == o.OccupantID
		if m.Source == confab.Live && same && o.JID.Bare().Equal(owner) { // ... has said this, and is the owner
			do(m.Text)
		}
	})
}

func TestObeys(t *testing.T) {
	srv, n := serve(t), newNotes()
	bot := jid.MustParse(srv.AddAccount("bot", "secret"))
	var rooms *muc.Client
	sign(t, srv, "bot", func(c *client.Client) {
		chat.New(c, chat.Config{})
		rooms = muc.New(c, muc.Config{})
		obeys(c, address(srv, "romeo"), func(command string) { n.show(command) })
	})
	ctx := testclient.Context(t)
	_, err := rooms.Join(ctx, heath, "bot", muc.Create(func(s *muc.Settings) { s.NonAnonymous = true }))
	require.NoError(t, err)
	for _, user := range []string{"tybalt", "romeo"} {
		var chats *chat.Client
		var rooms *muc.Client
		sign(t, srv, user, func(c *client.Client) { chats, rooms = chat.New(c, chat.Config{}), muc.New(c, muc.Config{}) })
		send(t, chats, bot, user+" in a chat")
		room, err := rooms.Join(ctx, heath, user)
		require.NoError(t, err)
		_, err = room.Send(ctx, user+" in the room")
		require.NoError(t, err)
	}
	for _, where := range []string{" in a chat", " in the room"} {
		require.Equal(t, "romeo"+where, n.wait(t, where))
	}
}

// Pitfall 17.
func elsewhere(cfg *client.Config, server string, authority *x509.CertPool) {
	cfg.Server = server                       // such as "xmpps://xmpp.internal:5223", instead of what DNS says
	cfg.TLS = &tls.Config{RootCAs: authority} // the certificate is still for the domain of cfg.Address
}

func tried(c *client.Client, show func(...any)) {
	confab.On(c, func(_ context.Context, r client.Retry) {
		var failed *client.ConnectError
		if errors.As(r.Err, &failed) {
			for _, a := range failed.Attempts {
				show("tried", a.Target, a.Addr, a.Err)
			}
		}
	})
}

func TestElsewhere(t *testing.T) {
	srv, n := serve(t), newNotes()
	require.NoError(t, srv.Start())
	cfg := client.Config{Address: srv.AddAccount("bot", "secret"), Password: "secret", BackoffMin: time.Millisecond}
	elsewhere(&cfg, "xmpps://"+srv.DirectAddr(), srv.CA())
	testclient.Up(t, cfg).Stop(t)

	cfg.Server = "xmpp://127.0.0.1:1"
	testclient.Start(t, cfg, func(c *client.Client) { tried(c, n.show) })
	n.wait(t, "tried 127.0.0.1:1")
}

// Pitfall 18.
func strict(cfg *client.Config, db *store.DB) {
	cfg.AllowPlain = client.PlainNever // the password itself never leaves
	cfg.Store = db                     // what the account can do, and tokens, which spare the password
}

func whyNot(err error) string {
	var auth *client.AuthError
	if errors.As(err, &auth) {
		return fmt.Sprintf("%s of %v: %s %s %v", auth.Mechanism, auth.Offered, auth.Condition, auth.Text, auth.Err)
	}
	return ""
}

func TestStrict(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{Mechanisms: []string{"PLAIN"}})
	t.Cleanup(srv.Close)
	cfg := testclient.Embedded(srv, "bot")
	testclient.Up(t, cfg).Stop(t)
	strict(&cfg, openStore(t))
	c, err := client.New(cfg)
	require.NoError(t, err)
	require.Contains(t, whyNot(c.Run(testclient.Context(t))), "of [PLAIN]")
}

// Pitfall 19.
func onion(cfg client.Config) (*client.Client, *upload.Client, error) {
	cfg.Proxy = &url.URL{Scheme: "socks5", Host: "127.0.0.1:9050"} // Tor; names are looked up at its far end
	c, err := client.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	files := upload.New(c, upload.Config{Transport: c.HTTPTransport()}) // files go the same way
	return c, files, nil
}

func TestOnion(t *testing.T) {
	_, _, err := onion(client.Config{Address: "bot@example.onion", Password: "secret"})
	require.NoError(t, err)
	_, err = client.New(client.Config{Address: "bot@example.onion", Password: "secret", Proxy: &url.URL{Scheme: "ftp"}})
	require.Error(t, err)
}

// Pitfall 20.
func tells(cfg *client.Config, w io.Writer) {
	logger := slog.New(slog.NewTextHandler(w, nil))
	cfg.Log = logger                                                                         // what becomes of the connection
	cfg.Wire = func(e client.WireEvent) { logger.Info("wire", "sent", e.Out, "xml", e.XML) } // secrets are cut out
}

func TestTells(t *testing.T) {
	srv := serve(t)
	cfg := testclient.Embedded(srv, "bot")
	cfg.Password = "a long password"
	srv.AddAccount("bot", cfg.Password)
	var b bytes.Buffer
	tells(&cfg, &b)
	testclient.Up(t, cfg).Stop(t)
	require.Contains(t, b.String(), "<authenticate")
	require.NotContains(t, b.String(), cfg.Password)
}
