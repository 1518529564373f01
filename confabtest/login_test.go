package confabtest

import (
	"testing"
)

func TestLoginPlain(t *testing.T) {
	srv := newServer(t, Config{})
	c := online(t, srv, "romeo", "orchard")
	c.sync()
	i, ok := srv.Session("romeo@confab.test/orchard")
	if !ok || i.Mechanism != "PLAIN" || i.SASL2 || !i.Available {
		t.Fatalf("%+v", i)
	}
	d := online(t, srv, "juliet", "balcony")
	d.Send("<message to='romeo@confab.test' type='chat' id='1'><body>hi</body></message>")
	c.Expect("<message from='juliet@confab.test/balcony' to='romeo@confab.test' type='chat' id='1'><body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@confab.test' id='*'/></message>")
	c.Send("</stream:stream>")
	c.ExpectEnd()
}
