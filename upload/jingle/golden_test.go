package jingle_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/upload/jingle"
	"github.com/stretchr/testify/require"
)

const (
	juliets = "juliet@capulet.example/yn0cl4bnw0yr3vym"
	nsFT    = "urn:xmpp:jingle:apps:file-transfer:5"
	nsJ     = "urn:xmpp:jingle:1"
)

// script signs juliet in to a scripted server.
func script(t *testing.T) (*confabtest.Transcript, *testclient.Seen[*jingle.Offer], *testclient.Seen[*jingle.Request]) {
	t.Helper()
	tr := confabtest.NewTranscript(t)
	var offers *testclient.Seen[*jingle.Offer]
	var requests *testclient.Seen[*jingle.Request]
	c := testclient.Start(t, client.Config{Address: "juliet@capulet.example", Password: "secret", Dial: tr.Dial}, func(c *client.Client) {
		_, err := jingle.New(c, jingle.Config{})
		require.NoError(t, err)
		offers, requests = testclient.Watch[*jingle.Offer](c), testclient.Watch[*jingle.Request](c)
	})
	tr.SignIn(juliets)
	require.Equal(t, "presence", tr.Next().Name.Local)
	c.WaitReady(t)
	return tr, offers, requests
}

// says sends a stanza of the examples, changed where they do not fit together.
func says(t *testing.T, tr *confabtest.Transcript, el *confab.Element) {
	t.Helper()
	b, err := el.AppendXML(nil, "")
	require.NoError(t, err)
	tr.Send(string(b))
}

// acknowledged reads the answer to what was said.
func acknowledged(t *testing.T, tr *confabtest.Transcript, el *confab.Element) {
	t.Helper()
	got := tr.Next()
	require.Equal(t, "result", got.Get("type"), got.String())
	require.Equal(t, el.Get("id"), got.Get("id"))
	require.Equal(t, el.Get("from"), got.Get("to"))
}

// next reads the next request about the session, and answers it. Juliet's server has no
// proxy.
func next(t *testing.T, tr *confabtest.Transcript) *confab.Element {
	t.Helper()
	for {
		q := tr.Next()
		if q.Get("type") == "result" {
			continue
		}
		if q.Children[0].Is(nsJ, "jingle") {
			tr.Send("<iq type='result' id='" + q.Get("id") + "' from='" + q.Get("to") + "'/>")
			return q
		}
		tr.Send("<iq type='error' id='" + q.Get("id") + "' from='" + q.Get("to") + "'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	}
}

// text is an element as it is written, without white space between its children.
func text(e *confab.Element) string {
	var strip func(*confab.Element) *confab.Element
	strip = func(e *confab.Element) *confab.Element {
		c := confab.El(e.Name.Space, e.Name.Local).SetText(strings.TrimSpace(e.Text))
		c.Attr = e.Attr
		for _, k := range e.Children {
			c.Add(strip(k))
		}
		return c
	}
	return strip(e).String()
}

// TestGolden plays the examples of XEP-0234: an offer that is accepted, and what is said of
// it.
func TestGolden(t *testing.T) {
	tr, offers, _ := script(t)
	init := vectors.Elements(t, "0234", 1)[0]
	says(t, tr, init)
	acknowledged(t, tr, init)
	o := offers.Next(t, nil)
	require.Equal(t, init.Get("from"), o.From.String())
	require.Equal(t, jingle.File{
		Name: "test.txt", Type: "text/plain", Desc: "This is a test. If this were a real file...", Size: 6144,
		Date: time.Date(1969, 7, 21, 2, 56, 15, 0, time.UTC), Hashes: map[string]string{"sha-1": "w0mcJylzCn+AfvuGdqkty2+KP48="},
	}, o.File)
	require.True(t, o.Ranges)
	done := make(chan error, 1)
	go func() { done <- o.Accept(testclient.Context(t), io.Discard) }()
	got, want := next(t, tr), vectors.Elements(t, "0234", 3)[0]
	j, w := got.Children[0], want.Children[0]
	for _, a := range []string{"action", "responder", "sid"} {
		require.Equal(t, w.Get(a), j.Get(a))
	}
	j, w = j.Child(nsJ, "content"), w.Child(nsJ, "content")
	for _, a := range []string{"creator", "name", "senders"} {
		require.Equal(t, w.Get(a), j.Get(a))
	}
	require.Equal(t, text(w.Child(nsFT, "description")), text(j.Child(nsFT, "description")))
	require.Equal(t, "vj3hs98y", j.Child("urn:xmpp:jingle:transports:s5b:1", "transport").Get("sid"))
	// Nobody is connected to without being asked to.
	require.NotNil(t, next(t, tr).Children[0].Child(nsJ, "content").Child("urn:xmpp:jingle:transports:s5b:1", "transport").Child("urn:xmpp:jingle:transports:s5b:1", "candidate-error"))

	// What is told of the hash, and the end.
	for _, number := range []int{14, 15} {
		sum := vectors.Elements(t, "0234", number)[0]
		sum.Children[0].Set("sid", "851ba2")
		says(t, tr, sum)
		acknowledged(t, tr, sum)
	}
	end := vectors.Elements(t, "0234", 9)[0]
	end.Set("from", init.Get("from")).Set("to", init.Get("to")).Children[0].Set("sid", "851ba2")
	says(t, tr, end)
	acknowledged(t, tr, end)
	require.ErrorIs(t, <-done, jingle.ErrCanceled)

	// The session is no more.
	says(t, tr, end)
	no := tr.Next()
	require.Equal(t, "error", no.Get("type"))
	require.NotNil(t, no.Child(confab.NSClient, "error").Child("urn:xmpp:jingle:errors:1", "unknown-session"))

	// A hash that is told later; the file is not wanted.
	init = vectors.Elements(t, "0234", 16)[0]
	says(t, tr, init)
	acknowledged(t, tr, init)
	o = offers.Next(t, nil)
	require.Empty(t, o.Hashes)
	require.NoError(t, o.Decline(testclient.Context(t)))
	declined := vectors.Elements(t, "0166", 21)[0].Children[0]
	require.Equal(t, text(declined.Child(nsJ, "reason")), text(next(t, tr).Children[0].Child(nsJ, "reason")))
}

// TestGoldenRequest plays the examples in which a file is asked for, and is not there.
func TestGoldenRequest(t *testing.T) {
	tr, _, requests := script(t)
	ask := vectors.Elements(t, "0234", 5)[0]
	ask.Set("from", "romeo@montague.example/dr4hcr0st3lup4c").Set("to", juliets)
	says(t, tr, ask)
	acknowledged(t, tr, ask)
	r := requests.Next(t, nil)
	require.Equal(t, map[string]string{"sha-1": "w0mcJylzCn+AfvuGdqkty2+KP48="}, r.Hashes)
	require.Equal(t, int64(-1), r.Size)
	require.NoError(t, r.Decline(testclient.Context(t)))
	reason := next(t, tr).Children[0].Child(nsJ, "reason")
	want := vectors.Elements(t, "0234", 17)[0].Children[0].Child(nsJ, "reason")
	const errorsNS = "urn:xmpp:jingle:apps:file-transfer:errors:0"
	require.Equal(t, text(want.Child(errorsNS, "file-not-available")), text(reason.Child(errorsNS, "file-not-available")))

	// More files in a session are not taken.
	ask.Children[0].Set("sid", "another")
	says(t, tr, ask)
	acknowledged(t, tr, ask)
	more := vectors.Elements(t, "0234", 6)[0]
	more.Set("to", juliets).Children[0].Set("sid", "another")
	says(t, tr, more)
	no := tr.Next()
	require.Equal(t, "error", no.Get("type"))
	require.Equal(t, more.Get("id"), no.Get("id"))
}
