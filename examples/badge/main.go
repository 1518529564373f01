// Command badge serves a picture with the number of people in a chat room, for a web
// page. It asks the room, and does not enter it.
//
//	PASSWORD=... badge -address bot@example.org -listen 127.0.0.1:8080 room@chat.example ...
//
// The picture of a room is at http://127.0.0.1:8080/room@chat.example.svg. Only the
// rooms that are named on the command line are asked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"html"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/muc"
	"mellium.im/xmpp/jid"
)

func main() {
	address := flag.String("address", "", "the account to ask with")
	listen := flag.String("listen", "127.0.0.1:8080", "where to serve the pictures")
	fresh := flag.Duration("fresh", 30*time.Second, "how long a number is good")
	flag.Parse()
	c, err := client.New(client.Config{Address: *address, Password: os.Getenv("PASSWORD"), NoPresence: true})
	if err != nil {
		log.Fatal(err)
	}
	b, err := newBadges(c, *fresh, flag.Args()...)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	srv := &http.Server{Addr: *listen, Handler: b, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Print(err)
			stop()
		}
	}()
	err = c.Run(ctx)
	_ = srv.Close()
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// badges serves the picture of each room.
type badges struct {
	s     confab.Requester
	fresh time.Duration
	rooms map[string]*badge
}

// badge is what is known of a room.
type badge struct {
	room jid.JID
	mu   sync.Mutex // also held while the room is asked: one question at a time
	at   time.Time
	svg  string
}

func newBadges(s confab.Requester, fresh time.Duration, rooms ...string) (*badges, error) {
	if len(rooms) == 0 {
		return nil, errors.New("badge: name the rooms to serve")
	}
	b := &badges{s: s, fresh: fresh, rooms: map[string]*badge{}}
	for _, r := range rooms {
		j, err := jid.Parse(r)
		if err != nil || j.Localpart() == "" {
			return nil, fmt.Errorf("badge: %q is no address of a room", r)
		}
		b.rooms["/"+j.Bare().String()+".svg"] = &badge{room: j.Bare()}
	}
	return b, nil
}

// ServeHTTP implements [http.Handler].
func (b *badges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	room := b.rooms[r.URL.Path]
	if room == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Cache-Control", fmt.Sprintf("max-age=%d", int(b.fresh.Seconds())))
	_, _ = w.Write([]byte(room.picture(r.Context(), b.s, b.fresh)))
}

func (b *badge) picture(ctx context.Context, s confab.Requester, fresh time.Duration) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at) < fresh {
		return b.svg
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	name, count := b.room.Localpart(), "?"
	d, err := muc.GetDetails(ctx, s, b.room)
	switch {
	case err != nil:
		log.Printf("%s: %v", b.room, err)
	case d.Occupants >= 0:
		count = fmt.Sprint(d.Occupants, " online")
	}
	if err == nil && d.Name != "" {
		name = d.Name
	}
	b.svg, b.at = draw(name, count), time.Now()
	return b.svg
}

// draw makes the picture. Names of rooms are what anybody likes: they are escaped.
func draw(label, value string) string {
	if rs := []rune(label); len(rs) > 40 {
		label = string(rs[:40]) + "…"
	}
	left, right := 10+7*utf8.RuneCountInString(label), 10+7*utf8.RuneCountInString(value)
	label, value = html.EscapeString(strings.ToValidUTF8(label, "?")), html.EscapeString(value)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="20" role="img" aria-label="%s: %s">`+
		`<rect width="%d" height="20" fill="#555"/><rect x="%d" width="%d" height="20" fill="#27b"/>`+
		`<g fill="#fff" font-family="Verdana,sans-serif" font-size="11"><text x="5" y="14">%s</text><text x="%d" y="14">%s</text></g></svg>`,
		left+right, label, value, left, left, right, label, left+5, value)
}
