package confabtest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"mellium.im/xmpp/jid"
)

// run runs a client until the test ends.
func run(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return c
}

func TestTranscript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := confabtest.NewTranscript(t)
		c := run(t, client.Config{Address: "romeo@example.net/orchard", Password: "secret", Dial: tr.Dial, Server: "example.net:5222"})
		tr.SignInManaged("romeo@example.net/orchard", "sm1")
		tr.Expect(`<presence>...</presence>`)
		tr.Send(`<message from='juliet@example.com/balcony' to='romeo@example.net/orchard' type='chat' id='m1'><body>x</body></message>
			<r xmlns='urn:xmpp:sm:3'/>`)
		for _, s := range []string{"one", "two"} {
			if _, err := c.SendMessage(context.Background(), confab.Draft{To: jid.MustParse("juliet@example.com"), Body: s}); err != nil {
				t.Error(err)
			}
		}
		// Acks and messages are in no particular order to each other.
		seen := map[string]bool{}
		for len(seen) < 3 {
			e := tr.Next()
			switch {
			case e.Is("urn:xmpp:sm:3", "a"):
				seen["a"] = true
			case e.Name.Local == "message":
				seen[e.ChildText(confab.NSClient, "body")] = true
			}
		}
		tr.Cut()
		tr.Resume("romeo@example.net/orchard", "sm1", 1, 1) // the server has the presence only
		for _, s := range []string{"one", "two"} {
			tr.Set("body", s)
			e := tr.Next()
			for e.Name.Local != "message" {
				e = tr.Next()
			}
			if e.ChildText(confab.NSClient, "body") != s {
				t.Errorf("%s: %s", s, e)
			}
		}
	})
}

// recorder notes how a Transcript fails.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper()        {}
func (r *recorder) Cleanup(func()) {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestTranscriptDiff shows what is said when something else comes than expected.
func TestTranscriptDiff(t *testing.T) {
	for _, c := range []struct{ want, got, failure string }{
		{`<iq type="get" id='${i}'>  <q xmlns='urn:q'/>  </iq>`, `<iq id='7' type='get'><p:q xmlns:p='urn:q'/></iq>`, ""},
		{`<message><body>*</body></message>`, `<message><body>any</body></message>`, ""},
		{`<message a='${x}' b='${x}'/>`, `<message a='1' b='1'/>`, ""},
		{`<message a='${x}' b='${x}'/>`, `<message a='1' b='2'/>`, `at /message: b: expected "1", got "2"`},
		{`<message>...</message>`, `<message>a<b/>c</message>`, ""},
		{`<message/>`, `<presence/>`, "at /message: expected <message xmlns='jabber:client'>, got <presence xmlns='jabber:client'>"},
		{`<message to='a'/>`, `<message/>`, "at /message: the attribute to is missing"},
		{`<message/>`, `<message to='a'/>`, "at /message: unexpected attribute to='a'"},
		{`<message><body>a</body></message>`, `<message><body>b</body></message>`, `at /message/body: text: expected "a", got "b"`},
		{`<message><body/><x xmlns='urn:x'/></message>`, `<message><body/></message>`, "at /message: <x xmlns='urn:x'> is missing"},
		{`<message/>`, `<message><x xmlns='urn:x'/></message>`, "at /message: unexpected <x xmlns='urn:x'>"},
		{`<message>a<b/> c</message>`, `<message>a<b/> d</message>`, `at /message: text after <b>: expected " c", got " d"`},
	} {
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			tr := confabtest.NewTranscript(r)
			nc, err := tr.Dial(context.Background(), "tcp", "")
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			_, _ = nc.Write([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x'>" + c.got))
			tr.ExpectHeader("x")
			tr.Expect(c.want)
		}()
		<-done
		if c.failure == "" && r.failure != "" || !strings.Contains(r.failure, c.failure) {
			t.Errorf("%s: %s: want %q, got %q", c.want, c.got, c.failure, r.failure)
		}
	}
}

func TestTranscriptExpectations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := confabtest.NewTranscript(t)
		go func() {
			time.Sleep(3 * time.Second)
			nc, err := tr.Dial(context.Background(), "tcp", "")
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = nc.Write([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x'>"))
			time.Sleep(time.Hour)
			_, _ = nc.Write([]byte("<presence/></stream:stream>"))
		}()
		tr.ExpectHeader("x")
		tr.ExpectNothing(59 * time.Minute)
		time.Sleep(time.Minute)
		tr.Expect("<presence/>")
		tr.ExpectEnd()
	})
}
