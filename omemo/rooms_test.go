package omemo_test

import (
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// occupant is a person who is in rooms.
type occupant struct {
	*person
	rooms    *muc.Client
	room     *muc.Room
	said     *testclient.Seen[*muc.Message]
	ownSaid  *testclient.Seen[muc.OwnMessage]
	privates *testclient.Seen[muc.PrivateMessage]
}

func signInToRooms(tb testing.TB, cfg client.Config, ocfg omemo.Config) *occupant {
	tb.Helper()
	o, lazy := &occupant{}, &lazyRooms{}
	ocfg.Rooms = lazy
	o.person = signIn(tb, cfg, ocfg, func(c *client.Client) {
		o.rooms = muc.New(c, muc.Config{})
		lazy.Client = o.rooms
		o.said, o.ownSaid = testclient.Watch[*muc.Message](c), testclient.Watch[muc.OwnMessage](c)
		o.privates = testclient.Watch[muc.PrivateMessage](c)
	})
	return o
}

// lazyRooms lets the helper that makes the manager be given rooms that are made later.
type lazyRooms struct{ *muc.Client }

func saidText(text string) func(*muc.Message) bool {
	return func(m *muc.Message) bool { return m.Text == text }
}

// TestRoom: people talk in a private room, one of them with python-omemo, one of them
// with two devices, and one who is not there.
func TestRoom(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		for speaks, ns := range map[string]string{"old": omemo.NSv1, "both": omemo.NSv2} {
			t.Run(speaks, func(t *testing.T) {
				accounts := map[string]client.Config{}
				for _, n := range []string{"alice", "bob", "carol"} {
					a, pw := s.Account(t)
					accounts[n] = testclient.Config(s, a, pw)
				}
				p, ppw := s.Account(t)
				ocfg := omemo.Config{}
				alice := signInToRooms(t, accounts["alice"], ocfg)
				bob := signInToRooms(t, accounts["bob"], ocfg)
				carol := signInToRooms(t, accounts["carol"], ocfg) // a member who does not come
				peer := startPeer(t, s, p, ppw, speaks)
				ctx := alice.ctx
				address := jid.MustParse(confab.NewID() + "@" + s.Rooms)
				var err error
				alice.room, err = alice.rooms.Join(ctx, address, "alice", muc.Create(muc.PrivateGroup("tea")))
				require.NoError(t, err)
				for _, a := range []string{bob.bare().String(), carol.bare().String(), p} {
					require.NoError(t, alice.room.SetAffiliation(ctx, jid.MustParse(a), muc.Member, ""))
				}
				bob.room, err = bob.rooms.Join(ctx, address, "bob")
				require.NoError(t, err)
				peer.Do("join", address.String(), "python")
				peer.Expect("joined")
				for _, o := range []*occupant{alice, bob} {
					require.NoError(t, o.keys.SetMode(ctx, address, omemo.Required))
				}
				sent, err := alice.room.Send(ctx, "hello, all")
				require.NoError(t, err)
				require.NoError(t, sent.Wait(ctx, confab.Reflected))
				sealed(t, bob.said.Next(t, saidText("hello, all")).Message.Message, omemo.NSv2)
				own := alice.ownSaid.Next(t, nil)
				require.Equal(t, "hello, all", own.Text)
				require.NotNil(t, own.Seal)
				got := peer.Expect("message")
				require.Equal(t, "hello, all", got["body"])
				require.Equal(t, ns, got["ns"])
				peer.Do("say", address.String(), "py-1", "hello from python")
				for _, o := range []*occupant{alice, bob} {
					sealed(t, o.said.Next(t, saidText("hello from python")).Message.Message, ns)
				}
				m := func() *muc.Message {
					_, err := bob.room.Send(ctx, "how are you?")
					require.NoError(t, err)
					return alice.said.Next(t, saidText("how are you?"))
				}()
				require.Equal(t, "how are you?", peer.Expect("message")["body"])
				if m.Ref() != "" {
					_, err = alice.room.Reply(ctx, m, "fine")
				} else {
					_, err = alice.room.Send(ctx, "fine")
				}
				require.NoError(t, err)
				sealed(t, bob.said.Next(t, saidText("fine")).Message.Message, omemo.NSv2)
				// To one alone.
				_, err = alice.room.SendPrivate(ctx, "bob", "a secret")
				require.NoError(t, err)
				pm := bob.privates.Next(t, nil)
				require.Equal(t, "a secret", pm.Text)
				require.NotNil(t, pm.Seal)
				// Carol can read what comes to her, though she was not there.
				ds, err := alice.keys.Devices(ctx, carol.bare())
				require.NoError(t, err)
				require.Len(t, ds, 1)
				require.False(t, ds[0].Key.IsZero(), "nothing was encrypted for the member who was not there")
				for _, o := range []*occupant{alice, bob} {
					require.Empty(t, o.dark.All())
					require.Empty(t, o.rejected.All())
					require.Empty(t, o.skipped.All())
				}
			})
		}
	})
}

// TestRoomOfThirty: two members have a device that has published no keys, two have
// devices with one id; everybody else reads everything.
func TestRoomOfThirty(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	const n = 30
	var all []*occupant
	address := jid.MustParse("group@rooms.confab.test")
	for i := range n {
		cfg := testclient.Embedded(srv, fmt.Sprintf("user%d", i))
		o := &occupant{}
		lazy := &lazyRooms{}
		switch i {
		case 1, 2: // no OMEMO, but a list that claims a device
			o.person = &person{ctx: testclient.Context(t)}
			o.Client = testclient.Up(t, cfg, func(c *client.Client) {
				o.rooms = muc.New(c, muc.Config{})
				lazy.Client = o.rooms
			})
			_, err := pubsub.New(o, jid.JID{}).Publish(o.ctx, omemo.NSv2+":devices", pubsub.Item{ID: "current",
				Payload: confab.El(omemo.NSv2, "devices", confab.El(omemo.NSv2, "device").Set("id", "4711"))}, pubsub.Open())
			require.NoError(t, err)
		default:
			store := &omemo.MemoryStore{}
			if i == 3 || i == 4 {
				probe, err := client.New(cfg)
				require.NoError(t, err)
				m, err := omemo.New(probe, omemo.Config{Store: store})
				require.NoError(t, err)
				require.NoError(t, m.SetDeviceID(12345))
			}
			o.person = signIn(t, cfg, omemo.Config{Rooms: lazy, Mode: omemo.On, Store: store}, func(c *client.Client) {
				o.rooms = muc.New(c, muc.Config{})
				lazy.Client = o.rooms
				o.said, o.ownSaid = testclient.Watch[*muc.Message](c), testclient.Watch[muc.OwnMessage](c)
			})
		}
		var err error
		var opts []muc.JoinOption
		if i == 0 {
			opts = append(opts, muc.Create(muc.PrivateGroup("thirty")))
		} else {
			require.NoError(t, all[0].room.SetAffiliation(o.ctx, o.LocalAddr(), muc.Member, ""))
		}
		o.room, err = o.rooms.Join(o.ctx, address, fmt.Sprintf("user%d", i), opts...)
		require.NoError(t, err)
		all = append(all, o)
	}
	for i, from := range []int{0, 3, 4, 0, 3} {
		text := fmt.Sprintf("message %d", i)
		_, err := all[from].room.Send(all[from].ctx, text)
		require.NoError(t, err)
		for j, o := range all {
			switch j {
			case 1, 2:
			case from:
				require.Equal(t, text, o.ownSaid.Next(t, nil).Text)
			default:
				sealed(t, o.said.Next(t, saidText(text)).Message.Message, omemo.NSv2)
			}
		}
		// Who could not be reached is told, and held up nobody.
		sk := all[from].skipped.Next(t, nil)
		require.Len(t, sk.Failures, 2)
		for _, f := range sk.Failures {
			require.ErrorIs(t, f.Err, omemo.ErrBundle)
			require.Equal(t, uint32(4711), f.Device)
		}
	}
	for j, o := range all {
		if j != 1 && j != 2 {
			require.Empty(t, o.dark.All())
		}
	}
}

// TestPrivateCopy: what somebody in a room says to one device alone is copied to another,
// which is not in the room and has to know the sender by the key.
func TestPrivateCopy(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	cfg := omemo.Config{Mode: omemo.On}
	romeo := signInToRooms(t, testclient.Embedded(srv, "romeo"), cfg)
	phone := signInToRooms(t, testclient.Embedded(srv, "romeo"), cfg)
	juliet := signInToRooms(t, testclient.Embedded(srv, "juliet"), cfg)
	stranger := signInToRooms(t, testclient.Embedded(srv, "stranger"), cfg)
	ctx := romeo.ctx
	address := jid.MustParse("garden@rooms.confab.test")
	var err error
	romeo.room, err = romeo.rooms.Join(ctx, address, "romeo", muc.Create(muc.PrivateGroup("garden")))
	require.NoError(t, err)
	for nick, o := range map[string]*occupant{"juliet": juliet, "stranger": stranger} {
		require.NoError(t, romeo.room.SetAffiliation(ctx, o.bare(), muc.Member, ""))
		o.room, err = o.rooms.Join(ctx, address, nick)
		require.NoError(t, err)
	}
	_, err = juliet.chats.With(romeo.bare()).Send(ctx, "hello") // the phone knows her key now
	require.NoError(t, err)
	phone.heard.Next(t, saying("hello"))
	_, err = juliet.room.SendPrivate(ctx, "romeo", "a secret")
	require.NoError(t, err)
	require.Equal(t, "a secret", romeo.privates.Next(t, nil).Text)
	var copied *confab.Message
	watch := testclient.Watch[*confab.Message](phone)
	_, err = juliet.room.SendPrivate(ctx, "romeo", "another")
	require.NoError(t, err)
	copied = watch.Next(t, func(m *confab.Message) bool { return m.Body == "another" })
	require.NotNil(t, copied.Seal)
	require.Equal(t, juliet.keys.Own().Key.Fingerprint(), copied.Seal.Sender)
	require.Empty(t, phone.dark.All())
	// Of a stranger the phone cannot tell who it is, and takes no key for the room's.
	_, err = stranger.room.SendPrivate(ctx, "romeo", "who am I?")
	require.NoError(t, err)
	require.Equal(t, "who am I?", romeo.privates.Next(t, func(m muc.PrivateMessage) bool { return m.Nick == "stranger" }).Text)
	u := phone.dark.Next(t, nil)
	require.ErrorIs(t, u.Err, omemo.ErrUnknownSender)
	ds, err := phone.keys.Devices(ctx, address)
	require.NoError(t, err)
	require.Empty(t, ds)
}
