package upload_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
)

func decoder(s string) *xml.Decoder {
	return xml.NewDecoder(strings.NewReader(s))
}

// alone is a client on an embedded server whose web is w.
func alone(t *testing.T, w web, cfg upload.Config) (*confabtest.Server, *person) {
	t.Helper()
	srv := confabtest.NewServer(confabtest.Config{Without: confabtest.Uploads})
	t.Cleanup(srv.Close)
	cfg.Transport = w
	return srv, signIn(t, testclient.Embedded(srv, "romeo"), cfg)
}

// TestSlots has the service answer with slots that must not be used.
func TestSlots(t *testing.T) {
	var slot atomic.Value
	var puts atomic.Int32
	srv, p := alone(t, func(r *http.Request) (*http.Response, error) {
		puts.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		for name := range r.Header {
			switch name {
			case "Authorization", "Cookie", "Expires", "Content-Type":
			default:
				t.Errorf("the header %s was sent", name)
			}
		}
		return reply(201, ""), nil
	}, upload.Config{Hosts: []string{"files.trusted.example"}})
	srv.Component("upload.confab.test", func(e *confab.Element) {
		var payload string
		switch {
		case e.Children[0].Is("http://jabber.org/protocol/disco#info", "query"):
			payload = "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='store' type='file'/><feature var='urn:xmpp:http:upload:0'/></query>"
		default:
			payload = slot.Load().(string)
		}
		el, err := confab.ReadElement(decoder("<iq xmlns='jabber:client' type='result' id='" + e.Get("id") + "' from='upload.confab.test' to='" + e.Get("from") + "'>" + payload + "</iq>"))
		if err == nil {
			err = srv.Send(el)
		}
		if err != nil {
			t.Error(err)
		}
	})
	make := func(put, get, headers string) string {
		return "<slot xmlns='urn:xmpp:http:upload:0'><put url='" + put + "'>" + headers + "</put><get url='" + get + "'/></slot>"
	}
	const good = "https://upload.confab.test/x/y.bin"
	try := func(s string) error {
		slot.Store(s)
		_, err := p.files.Upload(p.ctx, upload.FromBytes("y.bin", random(10)))
		return err
	}
	for _, s := range []string{
		make(good, good, ""),
		make(good, "https://other.confab.test/y", ""),
		make("https://files.trusted.example/x", good, ""),
		make(good, good, "<header name='authoriZation'> Basic x\n </header><header name='X-Evil'>1</header><header name='Host'>evil</header><header name='Content-Length'>1</header>"),
	} {
		require.NoError(t, try(s), s)
	}
	n := puts.Load()
	require.Equal(t, int32(4), n)
	many := strings.Repeat("<header name='Cookie'>a</header>", 33)
	for _, s := range []string{
		make("http://upload.confab.test/x", good, ""),
		make(good, "http://upload.confab.test/x", ""),
		make("https://evil.example/x", good, ""),
		make(good, "https://evil.example/x", ""),
		make("https://upload.confab.test.evil.example/x", good, ""),
		make("https://evilconfab.test/x", good, ""),
		make("https://user@upload.confab.test/x", good, ""),
		make("https://upload.confab.test@evil.example/x", good, ""),
		make("https://10.0.0.1/x", good, ""), make("https://169.254.169.254/x", good, ""), make("https://0x7f000001/x", good, ""), make("https://2130706433/x", good, ""),
		make("https://[fe80::1]/x", good, ""), make("https://[::ffff:10.0.0.1]/x", good, ""),
		make(good+"#fragment", good, ""), make("https:upload.confab.test/x", good, ""), make("", good, ""), make("/x", good, ""),
		make("https://upload.confab.test/a&#10;b", good, ""), make("file:///etc/passwd", good, ""), make("ftp://upload.confab.test/x", good, ""),
		make("https://upload.confab.test/"+strings.Repeat("a", 9000), good, ""),
		make(good, good, "<header name='Authorization'>a&#13;&#10;X-Evil: 1</header>"),
		make(good, good, "<header name='Cookie'>a&#10;b</header>"),
		make(good, good, "<header name='Cookie&#10;X'>a</header>"),
		make(good, good, "<header name='Cookie'>a&#127;b</header>"),
		make(good, good, "<header name='Cookie'>"+strings.Repeat("a", 17<<10)+"</header>"),
		make(good, good, many),
		"<slot xmlns='urn:xmpp:http:upload:0'/>", "<slot xmlns='urn:xmpp:http:upload:0'><put url='" + good + "'/></slot>", "<other xmlns='x'/>",
	} {
		require.ErrorIs(t, try(s), upload.ErrSlot, s)
	}
	require.Equal(t, n, puts.Load(), "nothing was sent")
}

// TestRetry has the first attempt fail: there is a second, with a new slot, and no third.
func TestRetry(t *testing.T) {
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	var puts []string
	var answer func(n int, r *http.Request) (*http.Response, error)
	p := signIn(t, testclient.Embedded(srv, "romeo"), upload.Config{Patience: 200 * time.Millisecond, Transport: web(func(r *http.Request) (*http.Response, error) {
		puts = append(puts, r.URL.Path)
		return answer(len(puts), r)
	})})
	data := random(200_000)
	up := func(ctx context.Context) error {
		puts = nil
		_, err := p.files.Upload(ctx, upload.FromBytes("x", data))
		return err
	}
	all := func(r *http.Request) (*http.Response, error) {
		b, err := io.ReadAll(r.Body)
		if err == nil && !bytes.Equal(b, data) {
			err = errors.New("other data")
		}
		return reply(201, ""), err
	}
	for name, first := range map[string]func(r *http.Request) (*http.Response, error){
		"cut": func(r *http.Request) (*http.Response, error) {
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			return nil, io.ErrUnexpectedEOF
		},
		"forbidden":   func(*http.Request) (*http.Response, error) { return reply(403, ""), nil },
		"unavailable": func(*http.Request) (*http.Response, error) { return reply(503, ""), nil },
		"early":       func(*http.Request) (*http.Response, error) { return reply(201, ""), nil },
		"stalled": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	} {
		answer = func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return first(r)
			}
			return all(r)
		}
		require.NoError(t, up(p.ctx), name)
		require.Len(t, puts, 2, name)
		require.NotEqual(t, puts[0], puts[1], name)
		answer = func(_ int, r *http.Request) (*http.Response, error) { return first(r) }
		require.Error(t, up(p.ctx), name)
		require.Len(t, puts, 2, name)
	}
	// A redirect is not followed: it would take the headers with it.
	answer = func(int, *http.Request) (*http.Response, error) {
		res := reply(307, "")
		res.Header.Set("Location", "https://evil.example/")
		return res, nil
	}
	var status *upload.StatusError
	require.ErrorAs(t, up(p.ctx), &status)
	require.Equal(t, 307, status.Code)
	// What is too large stays so, and who gives up has no second try.
	answer = func(int, *http.Request) (*http.Response, error) { return reply(413, ""), nil }
	require.ErrorAs(t, up(p.ctx), &status)
	require.Len(t, puts, 1)
	ctx, cancel := context.WithCancel(p.ctx)
	answer = func(_ int, r *http.Request) (*http.Response, error) {
		cancel()
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	require.ErrorIs(t, up(ctx), context.Canceled)
	require.Len(t, puts, 1)
}

// sealedFile uploads data, encrypted, to a server in memory, and returns what is there.
func sealedFile(t *testing.T, data []byte) (f chat.File, raw []byte) {
	t.Helper()
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	p := signIn(t, testclient.Embedded(srv, "romeo"), upload.Config{})
	f, err := p.files.Upload(p.ctx, upload.FromBytes("x.bin", data), upload.Encrypted())
	require.NoError(t, err)
	raw, err = p.files.Fetch(p.ctx, chat.File{Sources: []chat.FileSource{{URL: f.Sources[0].URL}}})
	require.NoError(t, err)
	require.Len(t, raw, len(data)+16)
	return f, raw
}

// TestFlippedBits flips every bit of a small encrypted file, and some of a large one: none
// is taken, with a hash or without, and nothing is left.
func TestFlippedBits(t *testing.T) {
	small, rawSmall := sealedFile(t, random(100))
	large, rawLarge := sealedFile(t, random(1<<20))
	var raw []byte
	_, p := alone(t, func(*http.Request) (*http.Response, error) { return reply(200, string(raw)), nil }, upload.Config{})
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	check := func(f chat.File, what string) {
		for _, f := range []chat.File{f, {Sources: f.Sources}} { // as from an aesgcm link
			require.ErrorIs(t, p.files.Save(p.ctx, f, path), upload.ErrCorrupt, what)
			b, err := p.files.Fetch(p.ctx, f)
			require.ErrorIs(t, err, upload.ErrCorrupt, what)
			require.Nil(t, b)
		}
	}
	for bit := range 8 * len(rawSmall) {
		raw = bytes.Clone(rawSmall)
		raw[bit/8] ^= 1 << (bit % 8)
		check(small, fmt.Sprint("bit ", bit))
	}
	for n := range len(rawSmall) {
		raw = rawSmall[:n]
		if n != 100 {
			check(small, fmt.Sprint("cut to ", n))
			continue
		}
		// With a hash the tag is not needed (XEP-0448 §5), without it is.
		_, err := p.files.Fetch(p.ctx, small)
		require.NoError(t, err)
		require.ErrorIs(t, p.files.Save(p.ctx, chat.File{Sources: small.Sources}, path), upload.ErrCorrupt)
		for bit := range 8 * n {
			raw = bytes.Clone(rawSmall[:n])
			raw[bit/8] ^= 1 << (bit % 8)
			check(small, fmt.Sprint("no tag, bit ", bit))
		}
	}
	raw = append(bytes.Clone(rawSmall), 0)
	check(small, "longer")
	for _, i := range []int{0, 15, 16, 65535, 65536, 65551, 65552, 1<<20 - 1, 1 << 20, 1<<20 + 15} {
		raw = bytes.Clone(rawLarge)
		raw[i] ^= 0x80
		check(large, fmt.Sprint("byte ", i))
	}
	empty(t, dir)
	raw = rawLarge
	require.NoError(t, p.files.Save(p.ctx, large, path))
	raw = rawSmall
	wrong := small
	wrong.Sources = append([]chat.FileSource(nil), small.Sources...)
	wrong.Sources[0].Key = random(32)
	check(wrong, "another key")
}

// TestSecrets looks for keys and addresses in what is printed.
func TestSecrets(t *testing.T) {
	f, _ := sealedFile(t, random(100))
	s := f.Sources[0]
	var fail func(*http.Request) (*http.Response, error)
	_, p := alone(t, func(r *http.Request) (*http.Response, error) {
		require.Empty(t, r.URL.Fragment)
		return fail(r)
	}, upload.Config{})
	link, err := s.Link()
	require.NoError(t, err)
	secrets := []string{hex.EncodeToString(s.Key), string(s.Key), fmt.Sprint([]byte(s.Key)), hex.EncodeToString(s.IV)}
	unspoken := func(what, text string) {
		for _, secret := range secrets {
			require.NotContains(t, text, secret, what)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "file", f, "source", s, "key", s.Key)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "file", f, "source", s, "key", s.Key)
	b, err := json.Marshal(f)
	require.NoError(t, err)
	unspoken("logs", log.String()+string(b))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		unspoken(verb, fmt.Sprintf(verb, f)+fmt.Sprintf(verb, &s)+fmt.Sprintf(verb, s.Key))
	}
	for name, ff := range map[string]func(*http.Request) (*http.Response, error){
		"refused": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"status":  func(*http.Request) (*http.Response, error) { return reply(404, ""), nil },
		"empty":   func(*http.Request) (*http.Response, error) { return reply(200, ""), nil },
		"talks": func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("cannot get %s", r.URL)
		},
		"redirect": func(*http.Request) (*http.Response, error) {
			res := reply(302, "")
			res.Header.Set("Location", "http://evil.example/#"+secrets[0])
			return res, nil
		},
	} {
		fail = ff
		// A source by hand, whose address has the key in it.
		for _, src := range []chat.FileSource{s, {URL: link}, {URL: strings.Replace(link, "aesgcm", "https", 1)}, {URL: "https://\x7f/#" + secrets[0]}} {
			err := p.files.Save(p.ctx, chat.File{Size: 100, Sources: []chat.FileSource{src}}, filepath.Join(t.TempDir(), "x"))
			require.Error(t, err, name)
			text := fmt.Sprintf("%v %+v %#v", err, err, err)
			for e := err; e != nil; e = errors.Unwrap(e) {
				text += e.Error()
			}
			unspoken(name, text)
			require.NotContains(t, err.Error(), "/x.bin")
		}
	}
	_, err = chat.ParseLink(link + "0")
	require.Error(t, err)
	unspoken("link", err.Error())
}

// TestRedirects follows a download only to where it could have begun.
func TestRedirects(t *testing.T) {
	var to string
	_, p := alone(t, func(r *http.Request) (*http.Response, error) {
		require.Empty(t, r.Header.Get("Referer"))
		if r.URL.Host == "end.example" {
			require.Equal(t, "https", r.URL.Scheme)
			return reply(200, "hello"), nil
		}
		require.Equal(t, "files.example", r.URL.Host, "this was asked")
		res := reply(302, "")
		res.Header.Set("Location", to)
		return res, nil
	}, upload.Config{})
	f := chat.File{Sources: []chat.FileSource{{URL: "https://files.example/x"}}}
	to = "https://end.example/"
	b, err := p.files.Fetch(p.ctx, f)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
	for _, to = range []string{"http://end.example/", "https://10.1.1.1/", "https://files.example/loop", "file:///etc/passwd", "https://[fd00::1]/", "http://127.0.0.1/", "https://10.1.1.１/", "https://100.64.0.1/"} {
		_, err := p.files.Fetch(p.ctx, f)
		require.Error(t, err, to)
	}
}
