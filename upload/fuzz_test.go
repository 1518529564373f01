package upload

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"mellium.im/xmpp/jid"
)

// session is one that is asked for nothing but its address.
type session struct{ confab.Session }

func (session) LocalAddr() jid.JID { return jid.MustParse("a@example.org/x") }

// FuzzAddress takes addresses that others have chosen, for downloads and in slots.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"https://files.example.org/x#key", "http://localhost/x", "https://[::1]:80/", "https://a@b/", "https://0x7f.1/", "https:x", "https://%zz/", "https://EXAMPLE.org./x", "https://[fe80::1%25eth0]/"} {
		f.Add(s)
	}
	c := &Client{s: session{}}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := c.address(s)
		if err != nil {
			if i := strings.IndexByte(s, '#'); i >= 0 && len(s)-i > 12 && strings.Contains(err.Error(), s[i:]) {
				t.Fatalf("%v tells the fragment", err)
			}
			return
		}
		if u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q became %q", s, u)
		}
		if _, err := c.address(u.String()); err != nil {
			t.Fatalf("%q is good, %q is not: %v", s, u, err)
		}
		header := confab.El(nsUpload, "header").Set("name", "Cookie").SetText(s)
		slot := confab.El(nsUpload, "slot", confab.El(nsUpload, "put", header).Set("url", s), confab.El(nsUpload, "get").Set("url", s))
		sl, err := c.parseSlot(jid.MustParse("upload.example.org"), slot)
		if err != nil {
			return
		}
		if !related(u.Hostname(), "example.org") || strings.ContainsAny(sl.header.Get("Cookie"), "\r\n\x00") {
			t.Fatalf("%q is taken: %+v", s, sl)
		}
		if _, err := http.NewRequest(http.MethodPut, sl.put, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzSound reads what is told of sounds.
func FuzzSound(f *testing.F) {
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x10\x00\x00\x00"))
	f.Add(opus(96000))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := soundLength(b, int64(len(b)), func() []byte { return b })
		if d < 0 || d > maxSound {
			t.Fatal(d)
		}
		_, _ = picture(bytes.NewReader(b))
	})
}

// FuzzSink takes files in pieces: whatever comes is either refused or all right.
func FuzzSink(f *testing.F) {
	f.Add([]byte("hello"), uint8(0), int64(5), uint16(2))
	f.Add(make([]byte, 100), uint8(1), int64(84), uint16(7))
	f.Add(make([]byte, 64), uint8(3), int64(60), uint16(16))
	ciphers := []struct {
		name    string
		key, iv int
	}{{"", 0, 0}, {chat.AES128GCM, 16, 12}, {chat.AES256GCM, 32, 16}, {chat.AES256CBC, 32, 16}}
	f.Fuzz(func(t *testing.T, raw []byte, which uint8, size int64, step uint16) {
		c := ciphers[int(which)%len(ciphers)]
		s := chat.FileSource{Cipher: c.name, Key: make([]byte, c.key), IV: make([]byte, c.iv)}
		file := chat.File{Size: max(0, size%1000), Hashes: map[string]string{"sha-256": strings.Repeat("A", 43) + "="}}
		var out bytes.Buffer
		k, err := newSink(&out, file, s, &options{limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		err = k.announce(int64(len(raw)))
		for p := raw; len(p) > 0 && err == nil; {
			n := min(len(p), int(step)+1)
			err = k.write(bytes.Clone(p[:n]))
			p = p[n:]
		}
		if err == nil {
			err = k.finish()
		}
		if err == nil {
			t.Fatal("a file whose hash is nothing but zeros was found")
		}
		if int64(out.Len()) != k.written || k.written > 500+16 {
			t.Fatal(out.Len(), k.written)
		}
	})
}

var _ io.Closer = (*body)(nil)
