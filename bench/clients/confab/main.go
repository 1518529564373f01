// The confab client: its public API, with defaults, as a program would use it.
//
// confab does not sign in without encryption, and the harness speaks plain TCP
// to all clients. So the connection given to it claims to be encrypted. That is
// for measuring only: nothing else should ever do this.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/mam"
	"github.com/confab-im/confab/muc"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const (
	nsMUC = "http://jabber.org/protocol/muc"
)

var (
	env    = os.Getenv
	ctx    = context.Background()
	ctl    = jid.MustParse("ctl@localhost")
	domain = jid.MustParse("localhost")
	n, chk int
	ended  = make(chan struct{}, 1)
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// claimed is a plain connection that says it is encrypted.
type claimed struct{ net.Conn }

func (claimed) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13}
}

// store is shared by the clients of W7, which all are of one account: what it
// keeps is for those who sign in again.
var store client.Store

// start signs a client in, and returns when it is ready.
func start(setup func(*client.Client)) (c *client.Client, done chan error) {
	c, err := client.New(client.Config{
		Address: env("XB_JID"), Password: env("XB_PASS"), Server: "xmpp://" + env("XB_ADDR"), Store: store,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, address)
			return claimed{conn}, err
		},
	})
	must(err)
	ready := make(chan struct{})
	var once sync.Once
	confab.On(c, func(context.Context, confab.Ready) { once.Do(func() { close(ready) }) })
	if setup != nil {
		setup(c)
	}
	done = make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		log.Fatal(err)
	}
	return c, done
}

func say(c *client.Client, body string) {
	_, err := c.SendMessage(ctx, confab.Draft{To: ctl, Body: body})
	must(err)
}

func onMessage(_ context.Context, m *confab.Message) {
	if m.Body == "END" {
		ended <- struct{}{}
		return
	}
	n++
	chk += len(m.From.String()) + len(m.ID) + len(m.Body)
}

func onPresence(_ context.Context, p *confab.Presence) {
	if item := p.Stanza.Child(nsMUC+"#user", "x").Child(nsMUC+"#user", "item"); item != nil {
		n++
		chk += len(p.From.String()) + len(item.Get("affiliation")) + len(item.Get("role"))
	}
}

// pings sends k pings, so many at once.
func pings(c *client.Client, k, inflight int) {
	var wg sync.WaitGroup
	for i := range inflight {
		wg.Go(func() {
			for range (k + i) / inflight {
				must(confab.Do(ctx, c, stanza.IQ{Type: stanza.GetIQ, To: domain}, confab.El("urn:xmpp:ping", "ping"), nil))
			}
		})
	}
	wg.Wait()
}

// archive reads all pages.
func archive(archives *mam.Archives) {
	for r, err := range archives.Query(ctx, mam.Query{Page: 250}) {
		must(err)
		n++
		m := r.Message
		chk += len(r.ID) + len(r.Stamp.Format("2006-01-02T15:04:05.000000Z")) + len(m.From.String()) + len(m.ID) + len(m.Body)
	}
}

func main() {
	num, _ := strconv.Atoi(env("XB_N"))
	work := env("XB_W")
	stop := profile()
	switch {
	case strings.HasPrefix(work, "W6"):
		keep := make([]*client.Client, num)
		for i := range keep {
			keep[i], _ = start(nil)
		}
		say(keep[num-1], fmt.Sprintf("DONE n=%d goroutines=%d", num, runtime.NumGoroutine()))
		stop()
		select {}
	case strings.HasPrefix(work, "W7"):
		store = &client.MemoryStore{}
		for range num {
			c, done := start(func(c *client.Client) { confab.On(c, onMessage) })
			say(c, "GO")
			<-ended
			must(c.Close(ctx))
			must(<-done)
		}
		stop()
		return
	}
	var rooms *muc.Client
	var archives *mam.Archives
	c, done := start(func(c *client.Client) {
		if work == "W3" {
			rooms = muc.New(c, muc.Config{})
			confab.On(c, func(ctx context.Context, m *muc.Message) { onMessage(ctx, m.Message.Message) })
		} else {
			confab.On(c, onMessage)
		}
		confab.On(c, onPresence)
		if work == "W2" {
			archives = mam.New(c, mam.Config{NoFollow: true})
		}
	})
	if work != "W3" {
		say(c, "GO")
	}
	switch work {
	case "W1":
		<-ended
	case "W2":
		archive(archives)
	case "W3":
		// The replay has no subject, for which Join waits: it is not what is waited for.
		go func() { _, _ = rooms.Join(ctx, jid.MustParse(env("XB_ROOM")), "bench") }()
		<-ended
	case "W4a", "W4b":
		inflight, _ := strconv.Atoi(env("XB_INFLIGHT"))
		pings(c, num, inflight)
		n = num
	case "W5", "W5sm":
		<-ended
		to := jid.MustParse("user1@localhost/Conversations.k3Xy")
		for i := range num {
			_, err := c.SendMessage(ctx, confab.Draft{To: to, ID: "id-" + strconv.Itoa(i),
				Body: "her come and will this use go other hot of day he had people he who & more than"})
			must(err)
		}
		n = num
	}
	stop()
	say(c, fmt.Sprintf("DONE n=%d chk=%d goroutines=%d %s", n, chk, runtime.NumGoroutine(), mem()))
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// profile writes a profile of the processor to the file that PPROF names.
func profile() (stop func()) {
	name := env("PPROF")
	if name == "" {
		return func() {}
	}
	f, err := os.Create(name)
	must(err)
	must(pprof.StartCPUProfile(f))
	term := make(chan os.Signal, 1) // in W5 the end of the work is a signal
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		pprof.StopCPUProfile()
		os.Exit(0)
	}()
	return func() {
		if !strings.HasPrefix(env("XB_W"), "W5") {
			pprof.StopCPUProfile()
		}
	}
}

// mem reports what was allocated since the start.
func mem() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("mallocs=%d allocated=%d gcs=%d", m.Mallocs, m.TotalAlloc, m.NumGC)
}
