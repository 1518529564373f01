// The github.com/xmppo/go-xmpp peer: a loop over Recv.
package main

import (
	"encoding/xml"
	"fmt"
	"log"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/xmppo/go-xmpp"
)

var env = os.Getenv

func must(_ any, err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func dial() *xmpp.Client {
	c, err := xmpp.Options{Host: env("XB_ADDR"), User: env("XB_JID"), Password: env("XB_PASS"),
		NoTLS: true, InsecureAllowUnencryptedAuth: true}.NewClient()
	must(nil, err)
	return c
}

func say(c *xmpp.Client, body string) {
	_, err := c.Send(xmpp.Chat{Remote: "ctl@localhost", Type: "chat", Text: body})
	must(nil, err)
}

type forwarded struct {
	Delay struct {
		Stamp string `xml:"stamp,attr"`
	} `xml:"urn:xmpp:delay delay"`
	Message struct {
		From string `xml:"from,attr"`
		ID   string `xml:"id,attr"`
		Body string `xml:"body"`
	} `xml:"jabber:client message"`
}

type fin struct {
	Complete bool `xml:"complete,attr"`
	Set      struct {
		Last string `xml:"last"`
	} `xml:"http://jabber.org/protocol/rsm set"`
}

func main() {
	num, _ := strconv.Atoi(env("XB_N"))
	n, chk := 0, 0
	switch env("XB_W") {
	case "W6", "W6b":
		for i := 0; i < num; i++ {
			c := dial()
			go c.Recv()
			if i == num-1 {
				say(c, fmt.Sprintf("DONE n=%d goroutines=%d", num, runtime.NumGoroutine()))
			}
		}
		select {}
	case "W7p", "W7s", "W7d", "W7d2":
		for i := 0; i < num; i++ {
			c := dial()
			say(c, "GO")
			must(c.Recv())
			c.Close()
		}
		return
	}
	c := dial()
	next := func() any {
		v, err := c.Recv()
		must(nil, err)
		return v
	}
	switch env("XB_W") {
	case "W1", "W3":
		if env("XB_W") == "W1" {
			say(c, "GO")
		} else {
			must(c.JoinMUCNoHistory(env("XB_ROOM"), "bench"))
		}
		for end := false; !end; {
			switch v := next().(type) {
			case xmpp.Chat:
				if end = v.Text == "END"; !end {
					n++
					chk += len(v.Remote) + len(v.OriginID) + len(v.Text) // Chat has no id; origin-id is the same here
				}
			case xmpp.Presence:
				n++
				chk += len(v.From) + len(v.Affiliation) + len(v.Role)
			}
		}
	case "W2":
		say(c, "GO")
		after := ""
		for complete := false; !complete; {
			must(c.RawInformation(c.JID(), "bench@localhost", "q", "set",
				"<query xmlns='urn:xmpp:mam:2' queryid='q1'><set xmlns='http://jabber.org/protocol/rsm'><max>250</max>"+after+"</set></query>"))
		page:
			for {
				switch v := next().(type) {
				case xmpp.Chat:
					for _, e := range v.OtherElem {
						if e.XMLName.Local != "result" {
							continue
						}
						var f forwarded
						must(nil, xml.Unmarshal([]byte(e.InnerXML), &f))
						for _, a := range e.Attr {
							if a.Name.Local == "id" {
								chk += len(a.Value)
							}
						}
						n++
						chk += len(f.Delay.Stamp) + len(f.Message.From) + len(f.Message.ID) + len(f.Message.Body)
					}
				case xmpp.IQ:
					var f fin
					// IQ.Query is the marshalled payload.
					must(nil, xml.Unmarshal(v.Query, &f))
					complete = strings.Contains(string(v.Query), `complete="true"`) || f.Complete
					after = "<after>" + f.Set.Last + "</after>"
					break page
				}
			}
		}
	case "W4a", "W4b":
		say(c, "GO")
		inflight, _ := strconv.Atoi(env("XB_INFLIGHT"))
		sent := 0
		for ; sent < inflight; sent++ {
			must(nil, c.PingC2S("", ""))
		}
		for n < num {
			next()
			n++
			if sent < num {
				must(nil, c.PingC2S("", ""))
				sent++
			}
		}
	case "W5", "W5sm":
		say(c, "GO")
		next()
		for i := 0; i < num; i++ {
			must(c.Send(xmpp.Chat{Remote: "user1@localhost/Conversations.k3Xy", Type: "chat",
				Text: "her come and will this use go other hot of day he had people he who & more than"}))
		}
	}
	say(c, fmt.Sprintf("DONE n=%d chk=%d goroutines=%d %s", n, chk, runtime.NumGoroutine(), mem()))
	select {}
}

// mem reports what was allocated since the start.
func mem() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("mallocs=%d allocated=%d gcs=%d", m.Mallocs, m.TotalAlloc, m.NumGC)
}
