package upload_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// web is a web server as the transport sees it.
type web func(*http.Request) (*http.Response, error)

func (w web) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w(r)
	if r.Body != nil {
		_ = r.Body.Close()
	}
	if res != nil {
		res.Request = r
	}
	return res, err
}

func reply(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// script signs romeo in to a scripted server.
func script(t *testing.T, w web) (*confabtest.Transcript, *upload.Client) {
	t.Helper()
	tr := confabtest.NewTranscript(t)
	var files *upload.Client
	c := testclient.Start(t, client.Config{Address: "romeo@montague.tld", Password: "secret", Dial: tr.Dial}, func(c *client.Client) {
		files = upload.New(c, upload.Config{Transport: w})
	})
	tr.SignIn("romeo@montague.tld/garden")
	require.Equal(t, "presence", tr.Next().Name.Local)
	c.WaitReady(t)
	return tr, files
}

// asks reads a request, which must be that of an example, and answers with another.
func asks(t *testing.T, tr *confabtest.Transcript, number, answer int) {
	t.Helper()
	want := vectors.Elements(t, "0363", number)[0]
	got := tr.Next()
	require.Equal(t, want.Get("type"), got.Get("type"))
	require.Equal(t, want.Get("to"), got.Get("to"))
	requireSame(t, want.Children[0], got.Children[0])
	replies(t, tr, got, answer)
}

func replies(t *testing.T, tr *confabtest.Transcript, to *confab.Element, answer int) {
	t.Helper()
	b, err := vectors.Elements(t, "0363", answer)[0].Clone().Set("id", to.Get("id")).AppendXML(nil, "")
	require.NoError(t, err)
	tr.Send(string(b))
}

// requireSame compares but for white space.
func requireSame(t *testing.T, want, got *confab.Element) {
	t.Helper()
	var strip func(*confab.Element) *confab.Element
	strip = func(e *confab.Element) *confab.Element {
		c := confab.El(e.Name.Space, e.Name.Local).SetText(strings.TrimSpace(e.Text))
		for _, a := range e.Attr {
			if a.Name.Local != "xmlns" && a.Name.Space == "" {
				c.Set(a.Name.Local, a.Value)
			}
		}
		for _, k := range e.Children {
			if k.Name.Space != "http://jabber.org/protocol/rsm" { // items are asked for in pages
				c.Add(strip(k))
			}
		}
		return c
	}
	a, b := strip(want), strip(got)
	for _, x := range a.Attr {
		require.Equal(t, x.Value, b.Get(x.Name.Local), x.Name.Local)
	}
	require.Equal(t, len(a.Attr), len(b.Attr))
	require.Equal(t, a.Children, b.Children)
}

// discover plays examples 1 to 4, between what confab asks besides.
func discover(t *testing.T, tr *confabtest.Transcript) {
	t.Helper()
	asks(t, tr, 1, 2)
	for range 3 { // the server, the upload service and the rooms, in any order
		q := tr.Next()
		switch q.Get("to") {
		case "upload.montague.tld":
			requireSame(t, vectors.Elements(t, "0363", 3)[0].Children[0], q.Children[0])
			replies(t, tr, q, 4)
		default:
			tr.Send("<iq type='error' id='" + q.Get("id") + "' from='" + q.Get("to") + "'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
		}
	}
}

// TestGolden plays the examples of XEP-0363: a service is found, a slot asked for and
// filled with the headers that the service wants.
func TestGolden(t *testing.T) {
	var put *http.Request
	var sent []byte
	tr, files := script(t, func(r *http.Request) (*http.Response, error) {
		put = r
		sent, _ = io.ReadAll(r.Body)
		return reply(201, ""), nil
	})
	ctx := testclient.Context(t)
	type result struct {
		f   chat.File
		err error
	}
	run := func(src upload.Source, opts ...upload.Option) chan result {
		done := make(chan result, 1)
		go func() {
			f, err := files.Upload(ctx, src, opts...)
			done <- result{f, err}
		}()
		return done
	}
	data := random(23456)
	photo := upload.FromBytes("très cool.jpg", data)
	done := run(photo)
	discover(t, tr)
	asks(t, tr, 5, 6)
	got := <-done
	require.NoError(t, got.err)
	require.Equal(t, "https://download.montague.tld/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/tr%C3%A8s%20cool.jpg", got.f.Sources[0].URL)
	require.Equal(t, data, sent)
	require.Equal(t, "https://upload.montague.tld/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/tr%C3%A8s%20cool.jpg", put.URL.String())
	require.Equal(t, http.MethodPut, put.Method)
	require.Equal(t, int64(23456), put.ContentLength)
	require.Equal(t, http.Header{
		"Authorization": {"Basic Base64String=="}, "Cookie": {"foo=bar; user=romeo"}, "Content-Type": {"image/jpeg"},
	}, put.Header)

	// The errors.
	done = run(photo)
	asks(t, tr, 5, 11)
	var large *upload.TooLargeError
	require.ErrorAs(t, (<-done).err, &large)
	require.Equal(t, int64(20000), large.Max)
	done = run(photo)
	asks(t, tr, 5, 12)
	var wait *upload.WaitError
	err := (<-done).err
	require.ErrorAs(t, err, &wait)
	require.True(t, wait.Until.Equal(time.Date(2017, 12, 3, 23, 42, 5, 0, time.UTC)))
	var se stanza.Error
	require.ErrorAs(t, err, &se)
	require.Equal(t, stanza.ResourceConstraint, se.Condition)
	done = run(photo)
	asks(t, tr, 5, 13)
	err = (<-done).err
	require.ErrorAs(t, err, &se)
	require.Equal(t, stanza.Forbidden, se.Condition)

	// Nobody who has told no purposes is asked for one.
	done = run(upload.FromBytes("avatar.jpg", random(100)), upload.For(upload.ForProfile))
	require.ErrorIs(t, (<-done).err, upload.ErrNoService)
}

// TestGoldenPurposes plays the examples with purposes.
func TestGoldenPurposes(t *testing.T) {
	tr, files := script(t, func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return reply(201, ""), nil
	})
	ctx := testclient.Context(t)
	done := make(chan error, 1)
	go func() {
		_, err := files.Services(ctx)
		done <- err
	}()
	asks(t, tr, 1, 2)
	for range 3 {
		q := tr.Next()
		info := vectors.Elements(t, "0363", 4)[0].Children[0].Clone()
		if q.Get("to") == "upload.montague.tld" {
			for _, p := range []string{"message", "profile", "ephemeral", "permanent"} {
				info.Add(confab.El("http://jabber.org/protocol/disco#info", "feature").Set("var", "urn:xmpp:http:upload:purpose:0#"+p))
			}
		} else {
			info.Children = nil
		}
		b, err := info.AppendXML(nil, "")
		require.NoError(t, err)
		tr.Send("<iq type='result' id='" + q.Get("id") + "' from='" + q.Get("to") + "'>" + string(b) + "</iq>")
	}
	require.NoError(t, <-done)
	for _, c := range []struct {
		number, size int
		name         string
		opt          upload.Option
	}{
		{8, 100, "avatar.jpg", upload.For(upload.ForProfile)},
		{9, 100, "eiffel-tower-status-picture.jpg", upload.ExpireBefore(time.Date(2025, 9, 10, 23, 8, 25, 0, time.UTC))},
		{10, 42000, "pubsub-blog-picture.jpg", upload.For(upload.ForPermanent)},
	} {
		go func() {
			_, err := files.Upload(ctx, upload.FromBytes(c.name, make([]byte, c.size)), c.opt)
			done <- err
		}()
		asks(t, tr, c.number, 6)
		require.NoError(t, <-done)
	}
}

// TestBits plays the examples of XEP-0231, as who has the data and as who wants it.
func TestBits(t *testing.T) {
	ctx := testclient.Context(t)
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	lady := signIn(t, testclient.Embedded(srv, "ladymacbeth"), upload.Config{})
	doctor := signIn(t, testclient.Embedded(srv, "doctor"), upload.Config{})
	const uri = "cid:sha1+8f35fef110ffc5df08d579a50083ff9308fb6242@bob.xmpp.org"
	spot, err := upload.ParseBits(vectors.Elements(t, "0231", 4)[0], uri)
	if err == nil {
		require.Equal(t, "image/png", spot.Type)
		require.Equal(t, 24*time.Hour, spot.MaxAge)
	} else {
		require.ErrorIs(t, err, upload.ErrCorrupt) // of the example the hash is made up
	}
	_, err = doctor.files.Bits(ctx, lady.LocalAddr(), uri)
	var se stanza.Error
	require.ErrorAs(t, err, &se)
	require.Equal(t, stanza.ItemNotFound, se.Condition)

	want := upload.Bits{Type: "image/png", Data: random(5000), MaxAge: time.Hour}
	given, err := lady.files.Offer(want)
	require.NoError(t, err)
	got, err := doctor.files.Bits(ctx, lady.LocalAddr(), given)
	require.NoError(t, err)
	require.Equal(t, want, got)
	th, err := doctor.files.Thumbnail(ctx, chat.Thumbnail{URI: given}, lady.LocalAddr())
	require.NoError(t, err)
	require.Equal(t, want.Data, th.Data)
	lady.files.Withdraw(given)
	_, err = doctor.files.Bits(ctx, lady.LocalAddr(), given)
	require.ErrorAs(t, err, &se)
	_, err = lady.files.Offer(upload.Bits{Data: random(upload.MaxBits + 1)})
	require.Error(t, err)

	// Somebody gives other data than was asked for.
	cid := strings.TrimPrefix(given, "cid:")
	answers := []string{
		"<data xmlns='urn:xmpp:bob' cid='" + cid + "' type='image/png'>AAAA</data>",
		"<data xmlns='urn:xmpp:bob' cid='sha1+0000000000000000000000000000000000000000@bob.xmpp.org'>AAAA</data>",
		"<data xmlns='urn:xmpp:bob' cid='" + cid + "'>!</data>",
		"<data xmlns='urn:xmpp:bob' cid='" + cid + "'/>",
		"<other xmlns='urn:xmpp:bob'/>",
	}
	n := 0
	srv.Component("liar.test", func(e *confab.Element) {
		el, err := confab.ReadElement(decoder("<iq xmlns='jabber:client' type='result' id='" + e.Get("id") + "' from='liar.test' to='" + e.Get("from") + "'>" + answers[n] + "</iq>"))
		if err == nil {
			err = srv.Send(el)
		}
		if err != nil {
			panic(err)
		}
		n++
	})
	for range answers {
		_, err := doctor.files.Bits(ctx, jid.MustParse("liar.test"), given)
		require.ErrorIs(t, err, upload.ErrCorrupt)
	}
	for _, bad := range []string{"", "cid:", "cid:md5+00@bob.xmpp.org", "cid:sha1+00@bob.xmpp.org", "cid:sha1+" + strings.Repeat("0", 40) + "@example.org"} {
		_, err := doctor.files.Bits(ctx, lady.LocalAddr(), bad)
		require.Error(t, err)
		require.False(t, errors.As(err, new(*confab.Refused)), "nobody is asked")
	}
}
