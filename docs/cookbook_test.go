package docs_test

import (
	"context"
	"encoding/xml"
	"errors"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"github.com/confab-im/confab/omemo"
	"github.com/confab-im/confab/store"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// snippets are the functions whose insides stand in the documents.
var snippets = [...]any{connected, arrived, outlives, missed, answers, asks, sealed, corrects, meets, refused}

func connected(ctx context.Context) error {
	c, err := client.New(client.Config{Address: "bot@example.org", Password: os.Getenv("BOT_PASSWORD")})
	if err != nil {
		return err
	}
	confab.On(c, func(ctx context.Context, r confab.Ready) {
		if r.Fresh {
			log.Print("signed in")
		} else {
			log.Print("the stream goes on where it broke")
		}
	})
	return c.Run(ctx)
}

func arrived(ctx context.Context, c *client.Client, to jid.JID) error {
	sent, err := c.SendMessage(ctx, confab.Draft{To: to, Body: "Did you get this?"})
	if err != nil {
		return err // nothing was sent
	}
	return sent.Wait(ctx, confab.Acked)
}

func outlives(ctx context.Context, c *client.Client, db *store.DB, to jid.JID) error {
	archives := mam.New(c, mam.Config{Store: db})
	out := db.Outbox(c, archives)
	chats := chat.New(out, chat.Config{})
	_, err := chats.With(to).Send(ctx, "This arrives, if need be after the next start.")
	return err
}

func missed(ctx context.Context, c *client.Client, db *store.DB, with jid.JID) error {
	chat.New(c, chat.Config{})
	mam.New(c, mam.Config{Store: db})
	history := db.History(c.LocalAddr())
	history.Follow(c)

	page, err := history.Entries(ctx, with, store.Page{Limit: 20})
	for _, e := range page {
		log.Printf("%s: %s", e.Message.Author, e.Current.Text)
	}
	return err
}

func answers(c *client.Client) {
	confab.On(c, func(ctx context.Context, m *confab.Message) {
		if m.Source != confab.Live || m.Body != "!ping" {
			return
		}
		if _, err := c.SendMessage(ctx, confab.Draft{To: m.From, Body: "pong"}); err != nil {
			log.Print(err)
		}
	})
}

type weather struct {
	XMLName xml.Name `xml:"urn:example:weather weather"`
	City    string   `xml:"city,attr,omitempty"`
	Degrees int      `xml:"degrees,omitempty"`
}

func asks(ctx context.Context, c *client.Client, station jid.JID) (int, error) {
	var w weather
	err := confab.Do(ctx, c, stanza.IQ{Type: stanza.GetIQ, To: station}, weather{City: "Verona"}, &w)
	if errors.Is(err, stanza.Error{Condition: stanza.ItemNotFound}) {
		log.Print("there is no such city")
	}
	return w.Degrees, err
}

func sealed(ctx context.Context, c *client.Client, db *store.DB, chats *chat.Client, juliet jid.JID) error {
	keys, err := omemo.New(c, omemo.Config{Store: db.Keys()})
	if err != nil {
		return err
	}
	if err := keys.SetMode(ctx, juliet, omemo.Required); err != nil {
		return err
	}
	_, err = chats.With(juliet).Send(ctx, "for your eyes only")
	return err
}

func corrects(ctx context.Context, c *client.Client, chats *chat.Client, juliet jid.JID) error {
	view := chat.NewTimeline(juliet, 0)
	view.Follow(c, func(context.Context) { log.Print(len(view.Entries()), " messages") })

	v := chats.With(juliet)
	sent, err := v.Send(ctx, "Buy a lader")
	if err != nil {
		return err
	}
	_, err = v.Edit(ctx, sent.ID, "Buy a ladder")
	return err
}

func meets(ctx context.Context, rooms *muc.Client, heath jid.JID) error {
	room, err := rooms.Join(ctx, heath, "bot", muc.NickFallback())
	if err != nil {
		return err
	}
	sent, err := room.Send(ctx, "When shall we three meet again?")
	if err != nil {
		return err
	}
	return sent.Wait(ctx, confab.Reflected)
}

func refused(ctx context.Context, rooms *muc.Client, c *client.Client, heath jid.JID) error {
	d, err := muc.GetDetails(ctx, c, heath)
	if errors.Is(err, muc.ErrNoRoom) {
		_, err = rooms.Join(ctx, heath, "bot", muc.Create(muc.PublicChannel("A heath")))
		return err
	}
	log.Print(d.Name, ": ", d.Occupants, " are there")
	return err
}

// TestSnippets: what stands in the documents is what was compiled.
func TestSnippets(t *testing.T) {
	flat := func(s string) string {
		var lines []string
		for l := range strings.Lines(s) {
			if l = strings.TrimSpace(l); l != "" {
				lines = append(lines, l)
			}
		}
		return "\n" + strings.Join(lines, "\n") + "\n"
	}
	source, err := os.ReadFile("cookbook_test.go")
	require.NoError(t, err)
	compiled := flat(string(source))
	files, err := filepath.Glob("*.md")
	require.NoError(t, err)
	n := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, block := range regexp.MustCompile("(?s)\n```go\n(.*?)\n```").FindAllStringSubmatch(string(text), -1) {
			require.Contains(t, compiled, flat(block[1]), name)
			n++
		}
	}
	require.Equal(t, len(snippets), n, "each snippet stands in a document")
}
