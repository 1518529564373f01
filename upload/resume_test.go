package upload_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
)

// cutter cuts answers after some bytes, and keeps what was asked for.
type cutter struct {
	http.RoundTripper
	after  int64
	cuts   int // how many are left
	ranges []string
	whole  bool // the server knows no ranges
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		c.ranges = append(c.ranges, r.Header.Get("Range"))
		if c.whole {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
		}
	}
	res, err := c.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == http.MethodGet && c.cuts > 0 {
		c.cuts--
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(res.Body, c.after), iotest.ErrReader(errors.New("cut"))), res.Body}
	}
	return res, err
}

// TestResume cuts downloads: they go on where they were, in one call and from one to the
// next, on servers that know ranges and on those that do not.
func TestResume(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		cut := &cutter{after: 700_001}
		p := signIn(t, testclient.Config(s, a, pw), upload.Config{Transport: cut}, func(c *client.Client) {
			tr := c.HTTPTransport()
			t.Cleanup(tr.CloseIdleConnections)
			cut.RoundTripper = tr
		})
		data := random(3 << 20)
		for _, opts := range [][]upload.Option{nil, {upload.Encrypted()}} {
			f, err := p.files.Upload(p.ctx, upload.FromBytes("x.bin", data), opts...)
			require.NoError(t, err)
			link := chat.File{Sources: f.Sources}
			for _, whole := range []bool{false, true} {
				for _, f := range []chat.File{f, link} {
					dir := t.TempDir()
					path := filepath.Join(dir, "x")
					cut.ranges, cut.cuts, cut.whole = nil, 2, whole
					require.NoError(t, p.files.Save(p.ctx, f, path))
					got, err := os.ReadFile(path)
					require.NoError(t, err)
					require.True(t, bytes.Equal(data, got))
					require.Len(t, cut.ranges, 3)
					require.Equal(t, "", cut.ranges[0])

					// A call that fails leaves what has come, if it was asked to, and
					// the next one goes on.
					require.NoError(t, os.Remove(path))
					cut.ranges, cut.cuts = nil, 1
					ctx, stop := context.WithCancel(p.ctx)
					err = p.files.Save(ctx, f, path, upload.Resumable(), upload.Progress(func(done, _ int64) {
						if done > 500_000 {
							stop()
						}
					}))
					require.ErrorIs(t, err, context.Canceled)
					if f.Hashes == nil && len(opts) == 0 {
						empty(t, dir) // nothing would tell whether the rest fits
						continue
					}
					info, err := os.Stat(path + ".part")
					require.NoError(t, err)
					require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
					require.NoError(t, p.files.Save(p.ctx, f, path, upload.Resumable()))
					got, err = os.ReadFile(path)
					require.NoError(t, err)
					require.True(t, bytes.Equal(data, got))
					require.NotEqual(t, "", cut.ranges[len(cut.ranges)-1])

					// What was kept is of another file.
					require.NoError(t, os.Remove(path))
					require.NoError(t, os.WriteFile(path+".part", random(1<<20), 0o600))
					require.NoError(t, p.files.Save(p.ctx, f, path, upload.Resumable()))
					got, err = os.ReadFile(path)
					require.NoError(t, err)
					require.True(t, bytes.Equal(data, got))
					left, err := os.ReadDir(dir)
					require.NoError(t, err)
					require.Len(t, left, 1)
				}
			}
		}
	})
}

// TestStubborn has a server that always cuts, and one that sends other parts than asked
// for.
func TestStubborn(t *testing.T) {
	data := random(100_000)
	n := 0
	var with func(res *http.Response)
	_, p := alone(t, func(r *http.Request) (*http.Response, error) {
		n++
		res := reply(200, string(data))
		with(res)
		return res, nil
	}, upload.Config{})
	f := chat.File{Size: int64(len(data)), Hashes: map[string]string{"sha-256": sha(data)}, Sources: []chat.FileSource{{URL: "https://files.example/x"}}}
	with = func(res *http.Response) { res.Body = io.NopCloser(iotest.ErrReader(errors.New("cut"))) }
	_, err := p.files.Fetch(p.ctx, f)
	require.ErrorContains(t, err, "cut")
	require.Equal(t, 4, n)
	for name, w := range map[string]func(*http.Response){
		"gzip": func(res *http.Response) { res.Header.Set("Content-Encoding", "gzip") },
		"part": func(res *http.Response) { res.StatusCode = 206 },
		"longer": func(res *http.Response) {
			res.ContentLength = -1
			res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data), strings.NewReader("x")))
		},
		"announce": func(res *http.Response) { res.ContentLength++ },
		"endless":  func(res *http.Response) { res.ContentLength = -1; res.Body = io.NopCloser(endless{}) },
	} {
		with = w
		_, err = p.files.Fetch(p.ctx, f)
		require.Error(t, err, name)
	}
	with = func(res *http.Response) { res.ContentLength = -1; res.Body = io.NopCloser(endless{}) }
	dir := t.TempDir()
	unknown := chat.File{Sources: f.Sources}
	require.ErrorIs(t, p.files.Save(p.ctx, unknown, filepath.Join(dir, "x"), upload.Limit(1<<20)), upload.ErrLimit)
	_, err = p.files.Fetch(p.ctx, unknown)
	require.ErrorIs(t, err, upload.ErrLimit)
	empty(t, dir)
	// A picture that is none.
	with = func(res *http.Response) {
		*res = *reply(200, "<html><script>alert(1)</script></html>")
		res.Header.Set("Content-Type", "image/png")
	}
	_, err = p.files.Fetch(p.ctx, unknown, upload.Types("image/"))
	require.ErrorIs(t, err, upload.ErrType)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestCiphers fetches files that others have encrypted in each of the ways of XEP-0448,
// made here with the standard library.
func TestCiphers(t *testing.T) {
	var raw []byte
	_, p := alone(t, func(*http.Request) (*http.Response, error) { return reply(200, string(raw)), nil }, upload.Config{})
	for _, n := range []int{1, 15, 16, 17, 1000, 65536, 65537, 200_000} {
		data := random(n)
		f := chat.File{Size: int64(n), Hashes: map[string]string{"sha-256": sha(data)}}
		source := func(cipher string, key, iv []byte) chat.File {
			f.Sources = []chat.FileSource{{URL: "https://files.example/x", Cipher: cipher, Key: key, IV: iv}}
			return f
		}
		good := func(f chat.File) {
			t.Helper()
			got, err := p.files.Fetch(p.ctx, f)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
		}
		for _, c := range []struct {
			name    string
			key, iv int
		}{{chat.AES128GCM, 16, 12}, {chat.AES256GCM, 32, 12}, {chat.AES256GCM, 32, 16}} {
			key, iv := random(c.key), random(c.iv)
			block, err := aes.NewCipher(key)
			require.NoError(t, err)
			aead, err := cipher.NewGCMWithNonceSize(block, c.iv)
			require.NoError(t, err)
			f := source(c.name, key, iv)
			raw = aead.Seal(nil, iv, data, nil)
			good(f)
			raw = raw[:n] // without the tag
			good(f)
			raw = aead.Seal(nil, iv, append(bytes.Clone(data), make([]byte, 100)...), nil) // hiding the size
			good(f)
		}
		key, iv := random(32), random(16)
		block, err := aes.NewCipher(key)
		require.NoError(t, err)
		pad := 16 - n%16
		raw = append(bytes.Clone(data), bytes.Repeat([]byte{byte(pad)}, pad)...)
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(raw, raw)
		f = source(chat.AES256CBC, key, iv)
		good(f)
		raw[0] ^= 1
		_, err = p.files.Fetch(p.ctx, f)
		require.ErrorIs(t, err, upload.ErrCorrupt)
		f.Hashes = map[string]string{"md5": "x"}
		_, err = p.files.Fetch(p.ctx, f)
		require.ErrorContains(t, err, "needs a hash")
	}
}

// TestAnew has a server that knows no ranges break off a little later each time: that is
// no way to have a download go on for ever.
func TestAnew(t *testing.T) {
	data := string(random(2 << 20))
	asked := 0
	_, p := alone(t, func(*http.Request) (*http.Response, error) {
		asked++
		res := reply(200, data)
		if asked < 40 {
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(data[:asked]), iotest.ErrReader(errors.New("cut"))))
		}
		return res, nil
	}, upload.Config{})
	for _, f := range []chat.File{{}, {Hashes: map[string]string{"sha-256": sha([]byte(data))}}} {
		asked = 0
		f.Sources = []chat.FileSource{{URL: "https://files.example/x"}}
		_, err := p.files.Fetch(p.ctx, f)
		require.Error(t, err)
		require.Less(t, asked, 12)
	}
}

// TestParts has downloads without a hash break off: what comes then has to be the rest of
// the same file, as far as the server tells.
func TestParts(t *testing.T) {
	data := random(100_000)
	const half = 50_000
	var asked []*http.Request
	var first, rest func() *http.Response
	_, p := alone(t, func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r)
		if len(asked) == 1 {
			return first(), nil
		}
		return rest(), nil
	}, upload.Config{})
	cut := func(tag string) func() *http.Response {
		return func() *http.Response {
			res := reply(200, string(data))
			res.Header.Set("ETag", tag)
			res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data[:half]), iotest.ErrReader(errors.New("cut"))))
			return res
		}
	}
	part := func(header string, b []byte) func() *http.Response {
		return func() *http.Response {
			res := reply(206, string(b))
			res.Header.Set("Content-Range", header)
			return res
		}
	}
	f := chat.File{Sources: []chat.FileSource{{URL: "https://files.example/x"}}}
	fetch := func() ([]byte, error) {
		asked = nil
		return p.files.Fetch(p.ctx, f)
	}
	first, rest = cut(`"a"`), part("bytes 50000-99999/100000", data[half:])
	b, err := fetch()
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, b))
	require.Equal(t, []string{"bytes=50000-", `"a"`}, []string{asked[1].Header.Get("Range"), asked[1].Header.Get("If-Range")})
	for _, header := range []string{
		"bytes 40000-99999/100000", "bytes 0-99999/100000", "bytes 50000-89999/100000", "bytes 50000-100000/100000", "bytes 50000-100009/100010",
		"bytes 50000-99999/*", "bytes */100000", "50000-99999/100000", "", "bytes 50000-9223372036854775807/-9223372036854775808",
	} {
		rest = part(header, data[half:])
		_, err := fetch()
		require.ErrorIs(t, err, upload.ErrCorrupt, header)
	}
	// Without a strong tag it may be another file: all of it is asked for again.
	for _, tag := range []string{"", `W/"a"`} {
		first, rest = cut(tag), func() *http.Response { return reply(200, string(data)) }
		b, err := fetch()
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, b))
		require.Len(t, asked, 2)
		require.Equal(t, []string{"", ""}, []string{asked[1].Header.Get("Range"), asked[1].Header.Get("If-Range")}, tag)
	}
	// Less comes than was announced, and that is all.
	first = func() *http.Response {
		res := reply(200, string(data[:half]))
		res.ContentLength = int64(len(data))
		return res
	}
	rest = first
	_, err = fetch()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	// What is too large is not asked for, or not read.
	f.Size = 9 << 20
	_, err = fetch()
	require.ErrorIs(t, err, upload.ErrLimit)
	require.Empty(t, asked)
	f.Size = 0
	first = func() *http.Response {
		res := reply(200, "")
		res.ContentLength = 9 << 20
		res.Body = io.NopCloser(iotest.ErrReader(errors.New("this was read")))
		return res
	}
	_, err = fetch()
	require.ErrorIs(t, err, upload.ErrLimit)
	// Of a wrong file nothing is kept to go on with.
	dir := t.TempDir()
	f.Hashes = map[string]string{"sha-256": sha(data)}
	first = func() *http.Response { return reply(200, string(random(100_000))) }
	rest = first
	require.ErrorIs(t, p.files.Save(p.ctx, f, filepath.Join(dir, "x"), upload.Resumable()), upload.ErrCorrupt)
	empty(t, dir)
}
