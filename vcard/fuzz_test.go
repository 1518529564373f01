package vcard

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/confab-im/confab"
)

// What was read can be written, and reads the same.
func FuzzProfile(f *testing.F) {
	f.Add(`<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>A</text></fn><adr><locality>c</locality></adr><url><uri>u</uri></url><bday><date/></bday></vcard>`)
	f.Add(`<vCard xmlns='vcard-temp'><FN>a</FN><ADR><LOCALITY/><CTRY>x</CTRY></ADR><EMAIL><USERID>e</USERID></EMAIL><NOTE>n</NOTE><PHOTO/></vCard>`)
	f.Add(`<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>A<a/></text></fn><fn/><note><text>a</text><text>b</text></note></vcard>`)
	f.Fuzz(func(t *testing.T, s string) {
		el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
		if err != nil {
			return
		}
		p, ok := ParseProfile(el)
		if !ok {
			return
		}
		d := four()
		if el.Name.Space == nsTemp {
			d = temp()
		}
		again := d.parse(d.apply(el, p))
		if again.FullName != p.FullName || again.City != p.City || again.Birthday != p.Birthday || len(again.Mails) != len(p.Mails) {
			t.Fatalf("%+v is not %+v", again, p)
		}
		changed := p
		changed.FullName, changed.City, changed.About, changed.Sites = "x", "y", "z", []string{"s"}
		again = d.parse(d.apply(el, changed))
		if again.FullName != "x" || again.City != "y" || again.About != "z" || len(again.Sites) != 1 {
			t.Fatalf("%+v from %s", again, s)
		}
		if again = d.parse(d.apply(el, Profile{})); again.FullName != "" || again.City != "" || again.Birthday != "" || again.About != "" {
			t.Fatalf("%+v is left of %s", again, s)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add(`<metadata xmlns='urn:xmpp:avatar:metadata'><info id='111f4b3c50d7b0df729d299bc6f8e9ef9066971f' bytes='1' width='-1' type='image/png'/></metadata>`, "x")
	f.Fuzz(func(t *testing.T, s, id string) {
		el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
		if err != nil {
			return
		}
		best, others := ParseMetadata(el, id)
		if best == nil && len(others) > 0 || best != nil && !isHash(best.ID) || len(others) >= most {
			t.Fatalf("%+v %+v", best, others)
		}
	})
}

func FuzzPicture(f *testing.F) {
	f.Add(somePNG(f))
	f.Add(bomb(f))
	f.Add([]byte("RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x3f\x00\x00\x2f\x00\x00\x00\x00"))
	f.Add([]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xd8\xff\xe0\x00\x10JFIF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := limits.check(data)
		if err == nil && (a.Width <= 0 || a.Height <= 0 || a.Width*a.Height > limits.MaxPixels || a.Bytes != len(data)) {
			t.Fatalf("%+v", a)
		}
	})
}
