// Command notifier mails you when somebody has named you in one of your rooms while you
// were not there. Let it run now and then, such as by cron:
//
//	PASSWORD=... SMTP_PASSWORD=... notifier -address juliet@example.org -state notifier.json \
//	    -smtp mail.example.org:587 -from bot@example.org -to juliet@example.org
//
// It reads the archives of the rooms that are bookmarked, and what rooms have passed on
// themselves (XEP-0452), since the time before. It enters no room, and nobody sees it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/bookmarks"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"mellium.im/xmpp/jid"
)

func main() {
	address := flag.String("address", "", "your account")
	state := flag.String("state", "notifier.json", "where it keeps how far it has read")
	var post mailer
	flag.StringVar(&post.server, "smtp", "", "the mail server, with its port")
	flag.StringVar(&post.from, "from", "", "the sender of the mail, who signs in with $SMTP_PASSWORD if it is set")
	flag.StringVar(&post.to, "to", "", "whom to mail")
	flag.Parse()
	if pw := os.Getenv("SMTP_PASSWORD"); pw != "" {
		host, _, _ := net.SplitHostPort(post.server)
		post.auth = smtp.PlainAuth("", post.from, pw, host)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, client.Config{Address: *address, Password: os.Getenv("PASSWORD")}, *state, post.send); err != nil {
		log.Fatal(err)
	}
}

// run looks once, and mails what it finds. How far it has read is kept when the mail is
// on its way, so that nothing is missed; a mail may come twice.
func run(ctx context.Context, cfg client.Config, state string, send func(text string) error) error {
	read, err := load(state)
	if err != nil {
		return err
	}
	cfg.NoPresence = true // nobody sees it, and other clients get what is live
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	muc.New(c, muc.Config{})
	archives := mam.New(c, mam.Config{NoFollow: true})
	marks, err := bookmarks.New(c, bookmarks.Config{})
	if err != nil {
		return err
	}
	found := make(chan string, most)
	confab.On(c, func(_ context.Context, m muc.Mentioned) { put(found, m.Message) })
	ready := make(chan struct{}, 1)
	confab.On(c, func(context.Context, confab.Ready) {
		select {
		case ready <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(c.Run(ctx))
	}()
	defer func() { cancel(nil); <-ended }()
	select {
	case <-ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := look(ctx, c, archives, jid.JID{}, "", read, found); err != nil {
		return err
	}
	for _, b := range marks.List() {
		nick := b.Nick
		if nick == "" {
			nick = c.LocalAddr().Localpart()
		}
		if err := look(ctx, c, archives, b.Room, nick, read, found); err != nil {
			log.Printf("%s: %v", b.Room, err) // it may have no archive, or none for us
		}
	}
	if err := c.Fence(ctx); err != nil { // the events of what was read are told
		return err
	}
	var text strings.Builder
	for len(found) > 0 {
		text.WriteString(<-found)
	}
	if text.Len() > 0 {
		if err := send(text.String()); err != nil {
			return fmt.Errorf("mailing: %w", err)
		}
	}
	return save(state, read)
}

// most is how many messages one mail has at most; enough to make anybody look.
const most = 100

// look reads an archive from where it was left. The first time it begins with now. What
// rooms have passed on is in the own archive and comes as events; in a room's archive
// the nickname is looked for.
func look(ctx context.Context, c *client.Client, archives *mam.Archives, archive jid.JID, nick string, read map[string]string, found chan string) error {
	key := archive.String()
	q := mam.Query{Archive: archive, After: read[key], Apart: nick != ""}
	if q.After == "" {
		q = mam.Query{Archive: archive, Backwards: true, Limit: 1, Apart: true}
	}
	first := q.After == ""
	for r, err := range archives.Query(ctx, q) {
		if errors.Is(err, mam.ErrExpired) { // the archive has forgotten the place: begin anew
			delete(read, key)
			return look(ctx, c, archives, archive, nick, read, found)
		}
		if err != nil {
			return err
		}
		read[key] = r.ID
		if first || nick == "" || r.Message == nil {
			continue
		}
		m := &muc.Message{Nick: r.Message.From.Resourcepart()}
		m.Message = chat.Message{Message: r.Message, Content: chat.Parse(r.Message), Chat: archive}
		if m.Nick != nick && muc.Mentions(m, nick) {
			put(found, m)
		}
	}
	return nil
}

func put(found chan string, m *muc.Message) {
	line := fmt.Sprintf("%s, %s in %s:\n%s\n\n", m.When().Local().Format(time.DateTime), m.Nick, m.Chat, m.Text)
	select {
	case found <- line:
	default: // there is enough
	}
}

func load(file string) (map[string]string, error) {
	read := map[string]string{}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return read, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &read)
	}
	return read, err
}

func save(file string, read map[string]string) error {
	data, err := json.Marshal(read)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

type mailer struct {
	server, from, to string
	auth             smtp.Auth
}

func (m mailer) send(text string) error {
	if strings.ContainsAny(m.from+m.to, "\r\n") {
		return errors.New("these are no addresses")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: You were mentioned\r\nDate: %s\r\n", m.from, m.to, time.Now().Format(time.RFC1123Z))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return smtp.SendMail(m.server, m.auth, m.from, []string{m.to}, []byte(b.String()))
}
