// The gosrc.io/xmpp peer: router handlers, with its registry of extensions for
// the payloads it does not know (MAM result, muc#user).
package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"log"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gosrc.io/xmpp"
	"gosrc.io/xmpp/stanza"
)

type mamResult struct {
	stanza.MsgExtension
	XMLName xml.Name `xml:"urn:xmpp:mam:2 result"`
	ID      string   `xml:"id,attr"`
	Forward struct {
		Delay struct {
			Stamp string `xml:"stamp,attr"`
		} `xml:"urn:xmpp:delay delay"`
		Message struct {
			From string `xml:"from,attr"`
			ID   string `xml:"id,attr"`
			Body string `xml:"body"`
		} `xml:"jabber:client message"`
	} `xml:"urn:xmpp:forward:0 forwarded"`
}

type mucUser struct {
	stanza.PresExtension
	XMLName xml.Name `xml:"http://jabber.org/protocol/muc#user x"`
	Item    struct {
		Affiliation string `xml:"affiliation,attr"`
		Role        string `xml:"role,attr"`
	} `xml:"item"`
}

type mamQuery struct {
	XMLName xml.Name `xml:"urn:xmpp:mam:2 query"`
	QueryID string   `xml:"queryid,attr"`
	Set     struct {
		Max   int    `xml:"max"`
		After string `xml:"after,omitempty"`
	} `xml:"http://jabber.org/protocol/rsm set"`
}

func (*mamQuery) Namespace() string         { return "urn:xmpp:mam:2" }
func (*mamQuery) GetSet() *stanza.ResultSet { return nil }

type pingPayload struct {
	XMLName xml.Name `xml:"urn:xmpp:ping ping"`
}

func (*pingPayload) Namespace() string         { return "urn:xmpp:ping" }
func (*pingPayload) GetSet() *stanza.ResultSet { return nil }

var (
	env    = os.Getenv
	n, chk atomic.Int64
	want   int64
	done   = make(chan struct{}, 1)
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func dial(r *xmpp.Router) *xmpp.Client {
	c, err := xmpp.NewClient(&xmpp.Config{
		TransportConfiguration: xmpp.TransportConfiguration{Address: env("XB_ADDR")},
		Jid:                    env("XB_JID"), Credential: xmpp.Password(env("XB_PASS")), Insecure: true,
	}, r, func(err error) {})
	must(err)
	must(c.Connect())
	return c
}

func say(c *xmpp.Client, body string) {
	must(c.Send(stanza.Message{Attrs: stanza.Attrs{To: "ctl@localhost", Type: "chat"}, Body: body}))
}

// The router runs every handler in a goroutine of its own, so the end marker
// may be handled first: finish when all are counted.
func count(len int) {
	chk.Add(int64(len))
	if n.Add(1) == want {
		done <- struct{}{}
	}
}

func main() {
	num, _ := strconv.Atoi(env("XB_N"))
	want = int64(num)
	r := xmpp.NewRouter()
	switch w := env("XB_W"); w {
	case "W6", "W6b":
		for i := 0; i < num; i++ {
			c := dial(xmpp.NewRouter())
			if i == num-1 {
				say(c, fmt.Sprintf("DONE n=%d goroutines=%d", num, runtime.NumGoroutine()))
			}
		}
		select {}
	case "W7p", "W7s", "W7d", "W7d2":
		r.HandleFunc("message", func(xmpp.Sender, stanza.Packet) { done <- struct{}{} })
		for i := 0; i < num; i++ {
			c := dial(r)
			say(c, "GO")
			<-done
			go c.Disconnect() // waits up to 15 s for the server to close
		}
		time.Sleep(time.Second)
		return
	}
	stanza.TypeRegistry.MapExtension(stanza.PKTMessage, xml.Name{Space: "urn:xmpp:mam:2", Local: "result"}, mamResult{})
	stanza.TypeRegistry.MapExtension(stanza.PKTPresence, xml.Name{Space: "http://jabber.org/protocol/muc#user", Local: "x"}, mucUser{})
	r.HandleFunc("message", func(_ xmpp.Sender, p stanza.Packet) {
		m := p.(stanza.Message)
		var res mamResult
		switch {
		case m.Body == "END":
			if w := env("XB_W"); w == "W5" || w == "W5sm" {
				done <- struct{}{}
			}
		case env("XB_W") == "W2" && m.Get(&res):
			f := res.Forward
			count(len(res.ID) + len(f.Delay.Stamp) + len(f.Message.From) + len(f.Message.ID) + len(f.Message.Body))
		default:
			count(len(m.From) + len(m.Id) + len(m.Body))
		}
	})
	r.HandleFunc("presence", func(_ xmpp.Sender, p stanza.Packet) {
		pr := p.(stanza.Presence)
		var u mucUser
		pr.Get(&u)
		count(len(pr.From) + len(u.Item.Affiliation) + len(u.Item.Role))
	})
	c := dial(r)
	ask := func(to string, typ stanza.StanzaType, p stanza.IQPayload) stanza.IQ {
		iq, err := stanza.NewIQ(stanza.Attrs{Type: typ, To: to})
		must(err)
		iq.Payload = p
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// Client.SendIQ registers the route only after sending, and loses answers
		// that come sooner: so the route first, then Send.
		ch := r.NewIQResultRoute(ctx, iq.Id)
		must(c.Send(iq))
		select {
		case res := <-ch:
			return res
		case <-ctx.Done():
			log.Fatal("no answer to IQ")
		}
		panic("")
	}
	switch env("XB_W") {
	case "W1":
		say(c, "GO")
		<-done
	case "W2":
		say(c, "GO")
		q := &mamQuery{QueryID: "q1"}
		q.Set.Max = 250
		for {
			res := ask("bench@localhost", "set", q)
			if res.Any == nil {
				log.Fatal("no fin")
			}
			complete := false
			for _, a := range res.Any.Attrs {
				complete = complete || a.Name.Local == "complete" && a.Value == "true"
			}
			if complete {
				break
			}
			for _, s := range res.Any.Nodes {
				for _, x := range s.Nodes {
					if x.XMLName.Local == "last" {
						q.Set.After = x.Content
					}
				}
			}
		}
		<-done
	case "W3":
		must(c.Send(stanza.Presence{Attrs: stanza.Attrs{To: env("XB_ROOM") + "/bench"}, Extensions: []stanza.PresExtension{&stanza.MucPresence{}}}))
		<-done
	case "W4a", "W4b":
		say(c, "GO")
		inflight, _ := strconv.Atoi(env("XB_INFLIGHT"))
		var wg sync.WaitGroup
		for i := 0; i < inflight; i++ {
			wg.Add(1)
			go func(k int) {
				defer wg.Done()
				for ; k > 0; k-- {
					ask("localhost", "get", &pingPayload{})
				}
			}((num + i) / inflight)
		}
		wg.Wait()
		n.Store(want)
	case "W5", "W5sm":
		say(c, "GO")
		<-done
		for i := 0; i < num; i++ {
			must(c.Send(stanza.Message{Attrs: stanza.Attrs{To: "user1@localhost/Conversations.k3Xy", Type: "chat", Id: "id-" + strconv.Itoa(i)},
				Body: "her come and will this use go other hot of day he had people he who & more than"}))
		}
	}
	say(c, fmt.Sprintf("DONE n=%d chk=%d goroutines=%d %s", n.Load(), chk.Load(), runtime.NumGoroutine(), mem()))
	select {}
}

// mem reports what was allocated since the start.
func mem() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("mallocs=%d allocated=%d gcs=%d", m.Mallocs, m.TotalAlloc, m.NumGC)
}
