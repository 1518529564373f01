package upload_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"image"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/upload"
	"github.com/stretchr/testify/require"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestShare sends files of several sizes and names from one to another, in clear and
// encrypted.
func TestShare(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		b, pw2 := s.Account(t)
		romeo := signIn(t, testclient.Config(s, a, pw), upload.Config{})
		juliet := signIn(t, testclient.Config(s, b, pw2), upload.Config{})
		list, err := romeo.files.Services(romeo.ctx)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, s.Upload, list[0].JID.String())
		require.Greater(t, list[0].MaxSize, int64(1<<20))

		for _, c := range []struct {
			name string
			data []byte
		}{
			{"a.txt", []byte("a")}, {"très cool.jpg", random(1000)}, {"data.bin", random(64<<10 + 1)}, {"large.bin", random(3 << 20)},
		} {
			src := upload.FromBytes(c.name, c.data)
			last, total := int64(0), int64(0)
			_, f, err := romeo.files.Share(romeo.ctx, romeo.chats.With(juliet.bare()), src, upload.Progress(func(done, of int64) { last, total = done, of }))
			require.NoError(t, err)
			require.Equal(t, int64(len(c.data)), last)
			require.Equal(t, last, total)
			m := juliet.heard.Next(t, withFile)
			require.Len(t, m.Files, 1)
			got := m.Files[0]
			require.Equal(t, "", m.Text)
			require.Equal(t, m.URL, got.Sources[0].URL)
			require.Equal(t, c.name, got.Name)
			require.Equal(t, f.Type, got.Type)
			require.Equal(t, int64(len(c.data)), got.Size)
			require.Equal(t, sha(c.data), got.Hashes["sha-256"])
			path := filepath.Join(t.TempDir(), "got")
			require.NoError(t, juliet.files.Save(juliet.ctx, got, path))
			saved, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(c.data, saved), c.name)

			// Encrypted: there is no way to send the key in clear.
			f, err = romeo.files.Upload(romeo.ctx, src, upload.Encrypted())
			require.NoError(t, err)
			_, err = romeo.chats.With(juliet.bare()).Send(romeo.ctx, "", chat.WithFile(f))
			require.ErrorIs(t, err, upload.ErrClear)
			link, err := f.Sources[0].Link()
			require.NoError(t, err)
			_, err = romeo.chats.With(juliet.bare()).Send(romeo.ctx, link)
			require.ErrorIs(t, err, upload.ErrClear)
			onlyLink, err := chat.ParseLink(link)
			require.NoError(t, err)
			for _, f := range []chat.File{f, {Sources: []chat.FileSource{onlyLink}}} {
				require.NoError(t, juliet.files.Save(juliet.ctx, f, path))
				saved, err = os.ReadFile(path)
				require.NoError(t, err)
				require.True(t, bytes.Equal(c.data, saved), c.name)
				got, err := juliet.files.Fetch(juliet.ctx, f)
				require.NoError(t, err)
				require.True(t, bytes.Equal(c.data, got), c.name)
			}
			// What is on the server is something else.
			raw, err := juliet.files.Fetch(juliet.ctx, chat.File{Sources: []chat.FileSource{{URL: f.Sources[0].URL}}})
			require.NoError(t, err)
			require.Len(t, raw, len(c.data)+16)
			require.NotEqual(t, c.data, raw[:len(c.data)])
		}
	})
}

// TestLimits asks for what the service does not give.
func TestLimits(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		romeo := signIn(t, testclient.Config(s, a, pw), upload.Config{})
		list, err := romeo.files.Services(romeo.ctx)
		require.NoError(t, err)
		huge := upload.FromBytes("huge", []byte("x"))
		huge.Size = list[0].MaxSize + 1
		_, err = romeo.files.Upload(romeo.ctx, huge)
		var large *upload.TooLargeError
		require.ErrorAs(t, err, &large)
		require.Equal(t, list[0].MaxSize, large.Max)
		// With encryption it is a little larger.
		huge.Size = list[0].MaxSize - 15
		_, err = romeo.files.Upload(romeo.ctx, huge, upload.Encrypted())
		require.ErrorAs(t, err, &large)

		_, err = romeo.files.Upload(romeo.ctx, upload.FromBytes("none", nil))
		require.ErrorContains(t, err, "at least one byte")
		short := upload.FromBytes("short", random(1000))
		short.Size = 1001
		_, err = romeo.files.Upload(romeo.ctx, short)
		require.ErrorIs(t, err, upload.ErrChanged)
		short.Size = 999
		_, err = romeo.files.Upload(romeo.ctx, short)
		require.ErrorIs(t, err, upload.ErrChanged)

		f, err := romeo.files.Upload(romeo.ctx, upload.FromBytes("data.bin", random(5000)))
		require.NoError(t, err)
		dir := t.TempDir()
		path := filepath.Join(dir, "x")
		require.ErrorIs(t, romeo.files.Save(romeo.ctx, f, path, upload.Limit(4999)), upload.ErrLimit)
		lying := f
		lying.Size = 0
		require.ErrorIs(t, romeo.files.Save(romeo.ctx, lying, path, upload.Limit(4999)), upload.ErrLimit)
		require.ErrorIs(t, romeo.files.Save(romeo.ctx, f, path, upload.Types("image/")), upload.ErrType)
		lying = f
		lying.Size = 4999
		require.ErrorIs(t, romeo.files.Save(romeo.ctx, lying, path), upload.ErrCorrupt)
		lying = f
		lying.Hashes = map[string]string{"sha-256": sha([]byte("another"))}
		require.ErrorIs(t, romeo.files.Save(romeo.ctx, lying, path), upload.ErrCorrupt)
		gone := f
		gone.Sources = []chat.FileSource{{URL: f.Sources[0].URL[:strings.LastIndexByte(strings.TrimSuffix(f.Sources[0].URL, "/data.bin"), '/')] + "/nothing/data.bin"}}
		var status *upload.StatusError
		require.ErrorAs(t, romeo.files.Save(romeo.ctx, gone, path), &status)
		require.Equal(t, http.StatusNotFound, status.Code)
		empty(t, dir)
		// The second source counts when the first is gone.
		gone.Sources = append(gone.Sources, f.Sources...)
		require.NoError(t, romeo.files.Save(romeo.ctx, gone, path, upload.Limit(5000)))
	})
}

// empty checks that a failed call has left nothing.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestPurposes asks for slots of every purpose that the service knows.
func TestPurposes(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		romeo := signIn(t, testclient.Config(s, a, pw), upload.Config{})
		list, err := romeo.files.Services(romeo.ctx)
		require.NoError(t, err)
		for _, p := range []upload.Purpose{upload.ForMessage, upload.ForProfile, upload.ForPermanent} {
			f, err := romeo.files.Upload(romeo.ctx, upload.FromBytes("x.txt", []byte("hello")), upload.For(p))
			if !list[0].Has(p) {
				require.ErrorIs(t, err, upload.ErrNoService)
				continue
			}
			require.NoError(t, err)
			_, err = romeo.files.Fetch(romeo.ctx, f)
			require.NoError(t, err)
		}
		_, err = romeo.files.Upload(romeo.ctx, upload.FromBytes("x.txt", []byte("hello")), upload.For(upload.ForEphemeral))
		require.ErrorContains(t, err, "ExpireBefore")
		if !list[0].Has(upload.ForEphemeral) {
			s.Skip(t, "purposes of uploads (XEP-0363 1.2)")
		}
		f, err := romeo.files.Upload(romeo.ctx, upload.FromBytes("x.txt", []byte("hello")), upload.ExpireBefore(time.Now().Add(-time.Hour)))
		require.NoError(t, err)
		_, err = romeo.files.Fetch(romeo.ctx, f)
		var status *upload.StatusError
		require.ErrorAs(t, err, &status)
	})
}

// TestPicture sends a picture with its size and a thumbnail, and what was spoken.
func TestPicture(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		romeo := signIn(t, testclient.Config(s, a, pw), upload.Config{})
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 640, 320))))
		_, _, err := romeo.files.Share(romeo.ctx, romeo.chats.With(romeo.bare()), upload.FromBytes("p.png", b.Bytes()), upload.WithThumbnail(),
			upload.Describe(func(f *chat.File) { f.Desc = "A picture" }))
		require.NoError(t, err)
		f := romeo.next(t)
		require.Equal(t, "image/png", f.Type)
		require.Equal(t, chat.Inline, f.Disposition)
		require.Equal(t, "A picture", f.Desc)
		require.Equal(t, [2]int{640, 320}, [2]int{f.Width, f.Height})
		require.Len(t, f.Thumbnails, 1)
		require.Equal(t, [2]int{96, 48}, [2]int{f.Thumbnails[0].Width, f.Thumbnails[0].Height})
		th, err := romeo.files.Thumbnail(romeo.ctx, f.Thumbnails[0], romeo.LocalAddr())
		require.NoError(t, err)
		m, kind, err := image.Decode(bytes.NewReader(th.Data))
		require.NoError(t, err)
		require.Equal(t, "jpeg", kind)
		require.Equal(t, 96, m.Bounds().Dx())
		got, err := romeo.files.Fetch(romeo.ctx, f, upload.Types("image/"))
		require.NoError(t, err)
		require.Equal(t, b.Bytes(), got)

		_, _, err = romeo.files.Share(romeo.ctx, romeo.chats.With(romeo.bare()), upload.FromBytes("v.wav", wav(8000, 12000)))
		require.NoError(t, err)
		f = romeo.next(t)
		require.True(t, f.Voice())
		require.Equal(t, 1500*time.Millisecond, f.Length)
	})
}
