// Command send sends one message, for scripts: what it reads, or a file.
//
//	echo "The backup is done." | PASSWORD=... send -from bot@example.org admin@example.org
//	PASSWORD=... send -from bot@example.org -file plot.png admin@example.org
//	PASSWORD=... send -from bot@example.org -keys bot.keys admin@example.org < secret
//	PASSWORD=... send -from bot@example.org -nick bot -room tea@chat.example < news
//
// With -keys it encrypts with OMEMO; the file has the keys of this device and is made at
// the first time. It ends when the server, or the room, has the message.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/upload"
	"mellium.im/xmpp/jid"
)

// letter is what is to be sent.
type letter struct {
	to         jid.JID
	room       bool
	nick       string // in the room
	text, file string
	keys       string // the file of the keys, "" not to encrypt
	local      bool   // the server is on this machine
}

func main() {
	from := flag.String("from", "", "the account to send from")
	var l letter
	flag.BoolVar(&l.room, "room", false, "the address is that of a room")
	flag.StringVar(&l.nick, "nick", "send", "the nickname there")
	flag.StringVar(&l.file, "file", "", "send this file instead of what is read")
	flag.StringVar(&l.keys, "keys", "", "encrypt, with the keys in this file")
	flag.BoolVar(&l.local, "local", false, "send files to a server on this machine")
	flag.Parse()
	var err error
	if l.to, err = jid.Parse(flag.Arg(0)); err != nil || flag.NArg() != 1 {
		log.Fatal("usage: PASSWORD=... send -from bot@example.org [flags] admin@example.org")
	}
	if l.file == "" {
		text, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<16))
		if err != nil {
			log.Fatal(err)
		}
		l.text = strings.TrimRight(string(text), "\n")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := send(ctx, client.Config{Address: *from, Password: os.Getenv("PASSWORD")}, l); err != nil {
		log.Fatal(err)
	}
}

// send signs in, sends one letter, and signs off when it has arrived.
func send(ctx context.Context, cfg client.Config, l letter) error {
	if l.text == "" && l.file == "" {
		return errors.New("there is nothing to send")
	}
	cfg.NoPresence = !l.room && l.keys == ""
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	rooms, chats := muc.New(c, muc.Config{}), chat.New(c, chat.Config{})
	sealed := func(jid.JID) bool { return l.keys != "" }
	files := upload.New(c, upload.Config{Transport: c.HTTPTransport(), Sealed: sealed, AllowLoopback: l.local})
	var keys *omemo.Manager
	if l.keys != "" {
		store, err := omemo.OpenFileStore(l.keys)
		if err != nil {
			return err
		}
		defer store.Close()
		if keys, err = omemo.New(c, omemo.Config{Store: store, Rooms: rooms}); err != nil {
			return err
		}
	}
	ready := make(chan struct{}, 1)
	confab.On(c, func(context.Context, confab.Ready) {
		select {
		case ready <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(c.Run(ctx)) // without the right password, say, nothing is waited for
	}()
	defer func() { cancel(nil); <-ended }()
	select {
	case <-ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if keys != nil {
		if err := keys.SetMode(ctx, l.to, omemo.On); err != nil {
			return err
		}
	}
	if err := l.deliver(ctx, chats, rooms, files); err != nil {
		return fmt.Errorf("sending to %s: %w", l.to, err)
	}
	return c.Close(ctx)
}

func (l *letter) deliver(ctx context.Context, chats *chat.Client, rooms *muc.Client, files *upload.Client) error {
	var to upload.Conversation = chats.With(l.to)
	level := confab.Acked
	if l.room {
		room, err := rooms.Join(ctx, l.to, l.nick, muc.NickFallback(), muc.NoHistory(), muc.MustExist())
		if err != nil {
			return err
		}
		to, level = room, confab.Reflected
	}
	var sent *confab.Sent
	var err error
	if l.file != "" {
		var src upload.Source
		if src, err = upload.FromFile(l.file); err == nil {
			sent, _, err = files.Share(ctx, to, src)
		}
	} else {
		sent, err = to.Send(ctx, l.text)
	}
	if err != nil {
		return err
	}
	return sent.Wait(ctx, level)
}
