package chat_test

import (
	"encoding/xml"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
)

// FuzzParse: no message makes Parse panic, and positions are always in the text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"<message xmlns='jabber:client'><body>> a\nb</body><reply xmlns='urn:xmpp:reply:0' id='1'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='4'/></fallback></message>",
		"<message xmlns='jabber:client'><body>/me is</body><reference xmlns='urn:xmpp:reference:0' type='mention' begin='1' end='5' uri='xmpp:a@b'/><markup xmlns='urn:xmpp:markup:0'><span start='0' end='6'><strong/></span></markup></message>",
		"<message xmlns='jabber:client'><reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>x</reaction></reactions></message>",
		"<message xmlns='jabber:client'><apply-to xmlns='urn:xmpp:fasten:0' id='1'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to></message>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader(s)))
		if err != nil {
			return
		}
		c := chat.Parse(plain(el))
		n := utf8.RuneCountInString(c.Text)
		for _, m := range c.Mentions {
			if m.Begin < 0 || m.Begin > m.End || m.End > n && n > 0 {
				t.Errorf("%+v in %q", m, c.Text)
			}
		}
		for _, m := range c.Markup {
			if m.Begin < 0 || m.Begin > m.End || m.End > n && n > 0 {
				t.Errorf("%+v in %q", m, c.Text)
			}
		}
	})
}

// FuzzSpans: the spans follow each other from the beginning of the text to its end.
func FuzzSpans(f *testing.F) {
	f.Add("*a* _b_ `c`\n> > d\n```\ne\n```")
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		at := 0
		for _, sp := range chat.Spans(s) {
			if sp.Begin != at || sp.End <= sp.Begin {
				t.Fatalf("%+v after %d in %q", sp, at, s)
			}
			at = sp.End
		}
		if at != utf8.RuneCountInString(s) {
			t.Errorf("the spans end at %d of %q", at, s)
		}
	})
}
