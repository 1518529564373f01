package vcard

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var limits = Config{MaxBytes: 1 << 16, MaxPixels: 1_000_000}

func somePNG(t testing.TB) []byte {
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 9))))
	return b.Bytes()
}

// bomb is a small file that says to be a huge picture.
func bomb(t testing.TB) []byte {
	b := somePNG(t)
	binary.BigEndian.PutUint32(b[16:], 1<<30)
	binary.BigEndian.PutUint32(b[20:], 1<<30)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

func TestCheck(t *testing.T) {
	a, err := limits.check(somePNG(t))
	require.NoError(t, err)
	assert.Equal(t, "image/png", a.Type)
	assert.Equal(t, [2]int{8, 9}, [2]int{a.Width, a.Height})
	assert.Len(t, a.ID, 40)
	for name, data := range map[string][]byte{
		"nothing": nil,
		"text":    []byte("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
		"short":   []byte("\x89PNG\r\n\x1a\n"),
		"bomb":    bomb(t),
		"big":     append(somePNG(t), make([]byte, 1<<16)...),
		"webp":    []byte("RIFF\x1a\x00\x00\x00WEBPVP8L"),
		"webp 2":  []byte("RIFF\x1a\x00\x00\x00WEBPVP8Q0000000000000000000000"),
		"jpeg":    []byte("\xff\xd8\xff\xe0"),
		"gif":     []byte("GIF89a\x00\x00\x00\x00"),
	} {
		_, err := limits.check(data)
		require.ErrorIs(t, err, ErrPicture, name)
	}
	vp8 := []byte("RIFF\x1a\x00\x00\x00WEBPVP8 \x0d\x00\x00\x00\x00\x00\x00\x9d\x01\x2a\x40\x00\x30\x00\x00\x00\x00")
	a, err = limits.check(vp8)
	require.NoError(t, err)
	assert.Equal(t, [2]int{64, 48}, [2]int{a.Width, a.Height})
	vp8x := append([]byte("RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x3f\x00\x00\x2f\x00\x00"), vp8[12:]...)
	a, err = limits.check(vp8x)
	require.NoError(t, err)
	assert.Equal(t, [2]int{64, 48}, [2]int{a.Width, a.Height})
}

// TestFrames: a picture is no larger in its frames than it says.
func TestFrames(t *testing.T) {
	head := "RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // 1 by 1
	huge := "VP8L\x05\x00\x00\x00\x2f\xff\xff\xff\x0f\x00"                                         // 16384 by 16384
	_, err := limits.check([]byte(head + huge))
	require.ErrorIs(t, err, ErrPicture)
	_, err = limits.check([]byte(head + "ANMF\x1e\x00\x00\x00" + strings.Repeat("\x00", 16) + huge))
	require.ErrorIs(t, err, ErrPicture)
	_, err = limits.check([]byte(head))
	require.ErrorIs(t, err, ErrPicture, "nothing to show")

	pal := color.Palette{color.Black, color.White}
	anim := func(frames int) []byte {
		g := &gif.GIF{}
		for range frames {
			g.Image = append(g.Image, image.NewPaletted(image.Rect(0, 0, 32, 32), pal))
			g.Delay = append(g.Delay, 1)
		}
		var b bytes.Buffer
		require.NoError(t, gif.EncodeAll(&b, g))
		return b.Bytes()
	}
	a, err := limits.check(anim(maxFrames))
	require.NoError(t, err)
	assert.Equal(t, 32, a.Width)
	_, err = limits.check(anim(maxFrames + 1))
	require.ErrorIs(t, err, ErrPicture)
}

func TestDecode(t *testing.T) {
	data := somePNG(t)
	text := base64.StdEncoding.EncodeToString(data)
	a, err := limits.check(data)
	require.NoError(t, err)
	pic, err := limits.decodeAs("\n  "+text[:10]+"\r\n"+text[10:]+"\n", a)
	require.NoError(t, err)
	assert.Equal(t, data, pic.Data)
	_, err = limits.decodeAs(strings.TrimRight(text, "="), a)
	require.NoError(t, err)
	other := a
	other.ID = strings.Repeat("0", 40)
	_, err = limits.decodeAs(text, other)
	require.ErrorIs(t, err, ErrPicture)
	other = a
	other.Bytes++
	_, err = limits.decodeAs(text, other)
	require.ErrorIs(t, err, ErrPicture)
	for _, s := range []string{"", "!", strings.Repeat("A", 1<<20)} {
		_, err = limits.decode(s)
		require.ErrorIs(t, err, ErrPicture)
	}
}

// A profile that is read and written again is the same card.
func TestApply(t *testing.T) {
	const card = `<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>A</text></fn><nickname><text>n</text></nickname><nickname><text>m</text></nickname>` +
		`<bday><date>2000-01-02</date></bday><adr><parameters><type><text>home</text></type></parameters><street>s</street><locality>c</locality></adr>` +
		`<url><parameters><pref><integer>1</integer></pref></parameters><uri>u</uri></url><email><text>e</text></email><x-odd>1</x-odd></vcard>`
	el := parse(t, card)
	p, ok := ParseProfile(el)
	require.True(t, ok)
	assert.Equal(t, card, write(t, four().apply(p.raw, p)))
	p.Sites = append(p.Sites, "v")
	p.City, p.Birthday, p.Nickname, p.FullName = "", "in May", "", "B"
	got := write(t, four().apply(p.raw, p))
	assert.Contains(t, got, "<adr><parameters><type><text>home</text></type></parameters><street>s</street></adr>")
	assert.Contains(t, got, "<bday><text>in May</text></bday>")
	assert.Contains(t, got, "<pref><integer>1</integer></pref></parameters><uri>u</uri></url>")
	assert.Contains(t, got, "<url><uri>v</uri></url>")
	assert.Contains(t, got, "<x-odd>1</x-odd>")
	assert.Contains(t, got, "<fn><text>B</text></fn>")
	assert.NotContains(t, got, "nickname")
	assert.Equal(t, card, write(t, el), "the card that was read is not changed")

	again, _ := ParseProfile(parse(t, got))
	assert.Equal(t, "in May", again.Birthday)
	old := temp().apply(nil, again)
	q, ok := ParseProfile(old)
	require.True(t, ok)
	assert.Equal(t, again.Sites, q.Sites)
	assert.Equal(t, again.Mails, q.Mails)
	assert.Empty(t, temp().apply(old, Profile{}).Children)
}

func parse(t testing.TB, s string) *confab.Element {
	t.Helper()
	el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
	require.NoError(t, err)
	return el
}

func write(t testing.TB, el *confab.Element) string {
	t.Helper()
	b, err := el.AppendXML(nil, "")
	require.NoError(t, err)
	return strings.ReplaceAll(string(b), `"`, `'`)
}
