package chat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// files reads a message as it comes, encrypted or not.
func files(t *testing.T, el *confab.Element, sealed bool) chat.Content {
	t.Helper()
	return chat.Parse(messageOf(t, el, sealed))
}

func messageOf(t *testing.T, el *confab.Element, sealed bool) *confab.Message {
	t.Helper()
	body := el.Child(confab.NSClient, "body")
	m := &confab.Message{Stanza: el, HasBody: body != nil, Body: el.ChildText(confab.NSClient, "body")}
	if sealed {
		m.Seal = &confab.Seal{}
	}
	return m
}

// TestSharedExamples reads the examples of XEP-0447 and XEP-0448.
func TestSharedExamples(t *testing.T) {
	find := func(xep, caption string) *confab.Element {
		for _, e := range vectors.Examples(t, xep) {
			if strings.TrimSpace(e.Caption) == caption {
				els, err := e.Elements()
				require.NoError(t, err)
				return els[0]
			}
		}
		t.Fatalf("XEP-%s has no example %q", xep, caption)
		return nil
	}
	c := files(t, find("0447", "Sharing summit.jpg with juliet@shakespeare.lit"), false)
	require.Len(t, c.Files, 1)
	f := c.Files[0]
	require.Equal(t, chat.File{
		Disposition: chat.Inline, Name: "summit.jpg", Type: "image/jpeg", Desc: "Photo from the summit.", Size: 3032449,
		Width: 4096, Height: 2160,
		Hashes: map[string]string{"sha3-256": "2XarmwTlNxDAMkvymloX3S5+VbylNrJt/l5QyPa+YoU=", "id-blake2b256": "2AfMGH8O7UNPTvUVAM9aK13mpCY="},
		Thumbnails: []chat.Thumbnail{{
			URI: "cid:sha1+ffd7c8d28e9c5e82afea41f97108c6b4@bob.xmpp.org", Type: "image/png", Width: 128, Height: 96,
		}},
		Sources: []chat.FileSource{{URL: "https://download.montague.lit/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/summit.jpg"}},
	}, f)

	c = files(t, find("0448", "Sharing summit.jpg with juliet@shakespeare.lit using encryption"), true)
	f = c.Files[0]
	require.Equal(t, [2]int{4096, 2160}, [2]int{f.Width, f.Height})
	s := f.Sources[0]
	require.Equal(t, "https://download.montague.lit/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/encrypted.jpg", s.URL)
	require.Equal(t, chat.AES256GCM, s.Cipher)
	require.Len(t, s.Key, 32)
	require.Len(t, s.IV, 12)
	require.Equal(t, "BgKI2gp2kNCRsARNvhFmw5kFf9BBo2pTbV2D8XHTMWI=", s.Hashes["sha3-256"])
}

// TestFileRoundTrip sends all that can be said of a file, and reads it.
func TestFileRoundTrip(t *testing.T) {
	f := chat.File{
		ID: "a", Disposition: chat.Attachment, Name: "a b.ogg", Type: "audio/ogg", Desc: "Hear <this>", Size: 1234,
		Date: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC), Width: 1, Height: 2, Length: 1500 * time.Millisecond,
		Hashes:     map[string]string{"sha-256": "AAAA"},
		Thumbnails: []chat.Thumbnail{{URI: "cid:x", Type: "image/png", Width: 3, Height: 4}},
		Sources: []chat.FileSource{
			{URL: "https://example.org/x"},
			{URL: "https://example.org/y", Cipher: chat.AES256GCM, Key: make([]byte, 32), IV: make([]byte, 12), Hashes: map[string]string{}},
			{URL: "https://example.org/z", Cipher: chat.AES256CBC, Key: make([]byte, 32), IV: make([]byte, 16), Hashes: map[string]string{"sha-256": "BBBB"}},
		},
	}
	compose := func(f chat.File) *confab.Element {
		d, err := chat.Compose("", chat.WithFile(f))
		require.NoError(t, err)
		d.To = jid.MustParse("a@example.org")
		el, err := d.Element()
		require.NoError(t, err)
		return el
	}
	el := compose(f)
	c := files(t, el, true)
	require.Equal(t, []chat.File{f}, c.Files)
	require.Equal(t, "https://example.org/x", c.URL)
	require.Equal(t, "https://example.org/x", el.ChildText(confab.NSClient, "body"))
	require.Equal(t, "", c.Text)

	// An older client reads the link, of an encrypted file only what was encrypted.
	f.Sources = f.Sources[1:2]
	el = compose(f)
	require.Nil(t, el.Child("jabber:x:oob", "x"))
	link := el.ChildText(confab.NSClient, "body")
	require.Equal(t, "aesgcm://example.org/y#"+strings.Repeat("0", 88), link)
	only := confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText(link))
	require.Empty(t, files(t, only, false).Files)
	c = files(t, only, true)
	require.Len(t, c.Files, 1)
	require.Equal(t, f.Sources[0].Key, c.Files[0].Sources[0].Key)
	only.Child(confab.NSClient, "body").SetText(link + "\ndata:image/jpeg,/9j/4AAQ")
	require.Len(t, files(t, only, true).Files[0].Thumbnails, 1)
	for _, bad := range []string{"see " + link, link + " ", link + "\nhello", link + "\n\ndata:image/jpeg,x", link + "\ndata:text/html,x"} {
		only.Child(confab.NSClient, "body").SetText(bad)
		require.Empty(t, files(t, only, true).Files, bad)
	}

	for _, bad := range []chat.File{
		{}, {Sources: []chat.FileSource{{URL: "http://example.org/"}}}, {Sources: []chat.FileSource{{URL: "https://example.org/#x"}}},
		{Sources: []chat.FileSource{{URL: "https://example.org/", Key: make([]byte, 32)}}},
		{Sources: []chat.FileSource{{URL: "https://example.org/", Cipher: "rot13"}}},
		{Sources: []chat.FileSource{{URL: "https://example.org/", Cipher: chat.AES256GCM, Key: make([]byte, 31), IV: make([]byte, 12)}}},
		{Sources: f.Sources}, {Disposition: "hidden", Sources: f.Sources[:0]},
	} {
		_, err := chat.Compose("", chat.WithFile(bad))
		require.Error(t, err)
	}
	_, err := chat.Compose("words", chat.WithFile(f))
	require.ErrorContains(t, err, "File.Desc")
}

// TestFileNames has senders name files so that they would go elsewhere.
func TestFileNames(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "a.txt", "/etc/passwd": "passwd", `..\..\x.exe`: "x.exe", "..": "", ".": "", ".bashrc": "bashrc", "a/": "",
		"con\x07.txt": "_con.txt", "photo\u202egnp.exe": "photognp.exe", " x ": "x", "a:b": "ab", "x.": "x",
		// Devices of Windows.
		"CON": "_CON", "nul.tar.gz": "_nul.tar.gz", "Com1 .txt": "_Com1 .txt", "LPT¹": "_LPT¹", "conin$": "_conin$", "COM10": "COM10", "COM": "COM", "console": "console", "auxiliary.c": "auxiliary.c",
		"x/aux": "_aux", strings.Repeat("y", 300) + "con." + strings.Repeat("x", 250): "_con." + strings.Repeat("x", 250),
		// What is cut off does not make another kind of name.
		"x." + strings.Repeat("a", 253): strings.Repeat("a", 253), "xx .. " + strings.Repeat("a", 250): strings.Repeat("a", 250),
		strings.Repeat("ä", 200) + ".jpg": strings.Repeat("ä", 125) + ".jpg",
	} {
		el := confab.El(confab.NSClient, "message", confab.El("urn:xmpp:sfs:0", "file-sharing",
			confab.El("urn:xmpp:file:metadata:0", "file", confab.El("urn:xmpp:file:metadata:0", "name").SetText(in))))
		c := files(t, el, false)
		require.Len(t, c.Files, 1)
		require.Equal(t, want, c.Files[0].Name, in)
	}
}

// FuzzLink reads links to encrypted files; what is one can be written again.
func FuzzLink(f *testing.F) {
	f.Add("aesgcm://download.montague.tld/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/tr%C3%A8s%20cool.jpg#8c3d050e9386ec173861778f68e9af38a97aaf82faa4063b4d0878a61261534410c8a84331eaac851759f587")
	f.Add("aesgcm://a@b/#" + strings.Repeat("0", 96))
	f.Add("AESGCM://x?y#" + strings.Repeat("F", 88))
	f.Fuzz(func(t *testing.T, s string) {
		src, err := chat.ParseLink(s)
		if err != nil {
			if strings.Contains(err.Error(), "#") {
				t.Fatal(err)
			}
			return
		}
		link, err := src.Link()
		if err != nil || !strings.EqualFold(link, s) {
			t.Fatalf("%q became %q: %v", s, link, err)
		}
	})
}
