// The mellium.im/xmpp peer: mux handlers that decode into structs, its muc,
// history and ping packages. VARIANT=handler uses the echo bot's way (one
// xmpp.HandlerFunc) instead of the mux.
package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/history"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/muc"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/stanza"
)

type messageBody struct {
	stanza.Message
	Body string `xml:"body"`
}

type mucPresence struct {
	stanza.Presence
	Item struct {
		Affiliation string `xml:"affiliation,attr"`
		Role        string `xml:"role,attr"`
	} `xml:"http://jabber.org/protocol/muc#user x>item"`
}

type mamMessage struct {
	stanza.Message
	Result struct {
		ID      string `xml:"id,attr"`
		QueryID string `xml:"queryid,attr"`
		Forward struct {
			Delay struct {
				Stamp string `xml:"stamp,attr"`
			} `xml:"urn:xmpp:delay delay"`
			Message messageBody `xml:"jabber:client message"`
		} `xml:"urn:xmpp:forward:0 forwarded"`
	} `xml:"urn:xmpp:mam:2 result"`
}

var (
	env    = os.Getenv
	ctx    = context.Background()
	me     = jid.MustParse(env("XB_JID"))
	ctl    = jid.MustParse("ctl@localhost")
	n, chk int
	done   = make(chan struct{})
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func dial() (*xmpp.Session, net.Conn) {
	conn, err := net.Dial("tcp", env("XB_ADDR"))
	must(err)
	// Secure is claimed, or mellium would not authenticate on a plain socket.
	s, err := xmpp.NewSession(ctx, me.Domain(), me, conn, xmpp.Secure, xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
		return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
			xmpp.SASL("", env("XB_PASS"), sasl.ScramSha1, sasl.Plain), xmpp.BindResource(),
		}}
	}))
	must(err)
	return s, conn
}

func say(s *xmpp.Session, body string) {
	must(s.Encode(ctx, messageBody{stanza.Message{To: ctl, Type: stanza.ChatMessage}, body}))
}

func count(from jid.JID, id, body string) {
	if body == "END" {
		close(done)
		return
	}
	n++
	chk += len(from.String()) + len(id) + len(body)
}

func onMessage(_ stanza.Message, t xmlstream.TokenReadEncoder) error {
	var m messageBody
	if err := xml.NewTokenDecoder(t).Decode(&m); err != nil && err != io.EOF {
		return err
	}
	count(m.From, m.ID, m.Body)
	return nil
}

func main() {
	num, _ := strconv.Atoi(env("XB_N"))
	if p := env("PPROF"); p != "" {
		f, err := os.Create(p)
		must(err)
		must(pprof.StartCPUProfile(f))
	}
	switch w := env("XB_W"); w {
	case "W6", "W6b":
		for i := 0; i < num; i++ {
			s, _ := dial()
			go s.Serve(nil)
			if i == num-1 {
				say(s, fmt.Sprintf("DONE n=%d goroutines=%d", num, runtime.NumGoroutine()))
			}
		}
		select {}
	case "W7p", "W7s", "W7d", "W7d2":
		for i := 0; i < num; i++ {
			done = make(chan struct{})
			s, conn := dial()
			go s.Serve(mux.New(stanza.NSClient, mux.MessageFunc(stanza.ChatMessage, xml.Name{Local: "body"}, onMessage)))
			say(s, "GO")
			<-done
			s.Close()
			conn.Close()
		}
		return
	}
	s, _ := dial()
	body := xml.Name{Local: "body"}
	opts := []mux.Option{mux.MessageFunc(stanza.ChatMessage, body, onMessage)}
	switch env("XB_W") {
	case "W2":
		// Not history.NewHandler(inner): v0.23.0 hands inner a stream that lacks
		// the <message> start.
		opts = append(opts, mux.MessageFunc(stanza.NormalMessage, xml.Name{Space: history.NS, Local: "result"}, func(_ stanza.Message, t xmlstream.TokenReadEncoder) error {
			var m mamMessage
			if err := xml.NewTokenDecoder(t).Decode(&m); err != nil && err != io.EOF {
				return err
			}
			n++
			f := m.Result.Forward
			chk += len(m.Result.ID) + len(f.Delay.Stamp) + len(f.Message.From.String()) + len(f.Message.ID) + len(f.Message.Body)
			return nil
		}))
	case "W3":
		// Not muc.HandleClient: it tells the user nothing about occupants.
		opts = append(opts, mux.MessageFunc(stanza.GroupChatMessage, body, onMessage), mux.PresenceFunc(stanza.AvailablePresence,
			xml.Name{Space: muc.NSUser, Local: "x"}, func(_ stanza.Presence, t xmlstream.TokenReadEncoder) error {
				var p mucPresence
				if err := xml.NewTokenDecoder(t).Decode(&p); err != nil && err != io.EOF {
					return err
				}
				n++
				chk += len(p.From.String()) + len(p.Item.Affiliation) + len(p.Item.Role)
				return nil
			}))
	}
	var h xmpp.Handler = mux.New(stanza.NSClient, opts...)
	if env("VARIANT") == "handler" {
		h = xmpp.HandlerFunc(func(t xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			if start.Name.Local != "message" {
				return nil
			}
			var m messageBody
			if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), t)).Decode(&m); err != nil && err != io.EOF {
				return err
			}
			count(m.From, m.ID, m.Body)
			return nil
		})
	}
	served := make(chan error, 1)
	go func() {
		err := s.Serve(h)
		log.Printf("serve: %v", err)
		served <- err
	}()
	switch env("XB_W") {
	case "W1":
		say(s, "GO")
		<-done
	case "W2":
		say(s, "GO")
		for q := (history.Query{ID: "q1", Limit: 250}); ; {
			res, err := history.Fetch(ctx, q, me.Bare(), s)
			must(err)
			if res.Complete {
				break
			}
			q.PageID = res.Set.Last
		}
	case "W3":
		must(s.Send(ctx, stanza.Presence{To: jid.MustParse(env("XB_ROOM") + "/bench")}.Wrap(
			xmlstream.Wrap(nil, xml.StartElement{Name: xml.Name{Space: muc.NS, Local: "x"}}))))
		<-done
	case "W4a", "W4b":
		say(s, "GO")
		inflight, _ := strconv.Atoi(env("XB_INFLIGHT"))
		var wg sync.WaitGroup
		for i := 0; i < inflight; i++ {
			wg.Add(1)
			go func(k int) {
				defer wg.Done()
				for ; k > 0; k-- {
					must(ping.Send(ctx, s, me.Domain()))
				}
			}((num + i) / inflight)
		}
		wg.Wait()
		n = num
	case "W5", "W5sm":
		say(s, "GO")
		<-done
		to := jid.MustParse("user1@localhost/Conversations.k3Xy")
		for i := 0; i < num; i++ {
			must(s.Encode(ctx, messageBody{stanza.Message{To: to, Type: stanza.ChatMessage, ID: "id-" + strconv.Itoa(i)},
				"her come and will this use go other hot of day he had people he who & more than"}))
		}
		n = num
	}
	if env("PPROF") != "" {
		pprof.StopCPUProfile()
	}
	say(s, fmt.Sprintf("DONE n=%d chk=%d goroutines=%d %s", n, chk, runtime.NumGoroutine(), mem()))
	must(<-served)
}

// mem reports what was allocated since the start.
func mem() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("mallocs=%d allocated=%d gcs=%d", m.Mallocs, m.TotalAlloc, m.NumGC)
}
