package caps_test

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/caps"
	"github.com/confab-im/confab/internal/stream"
)

const psiForm = `<x xmlns='jabber:x:data' type='result'>
	<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
	<field var='software'><value>Psi</value></field>
	<field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field>
	<field var='os'><value>Mac</value></field>
	<field var='os_version'><value>10.5.1</value></field>
	<field var='software_version'><value>0.11</value></field></x>`

func ver(t *testing.T, inner string) (string, error) {
	t.Helper()
	q, err := stream.Parse([]byte("<query xmlns='"+caps.NSInfo+"'>"+inner+"</query>"), stream.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return caps.Ver(q)
}

func hash(s string) string {
	sum := sha1.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestVer(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"XEP-0115 §5.2", `<identity category='client' name='Exodus 0.9.1' type='pc'/>
			<feature var='http://jabber.org/protocol/muc'/>
			<feature var='http://jabber.org/protocol/disco#info'/>
			<feature var='http://jabber.org/protocol/caps'/>
			<feature var='http://jabber.org/protocol/disco#items'/>`, "QgayPKawpkPSDYmwT/WM94uAlu0="},
		{"XEP-0115 §5.3", `<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
			<identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
			<feature var='http://jabber.org/protocol/disco#items'/>
			<feature var='http://jabber.org/protocol/caps'/>
			<feature var='http://jabber.org/protocol/disco#info'/>
			<feature var='http://jabber.org/protocol/muc'/>` + psiForm, "q07IKJEyjvHSyhy//CH0CxmKi8w="},
		{"empty", "", hash("")},
		// "#" and "+" sort before "<": what is sorted are the names, without it.
		{"prefixes", `<feature var='a#b'/><feature var='a'/><feature var='a+c'/>`, hash("a<a#b<a+c<")},
		{"identities", `<identity category='a-b' type='x'/><identity category='a' type='z'/><identity category='a' type='y'/>`,
			hash("a/y//<a/z//<a-b/x//<")},
		{"fields", `<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value></field>
			<field var='a#b'><value>2</value></field><field var='a'><value>1</value></field><field var='none'/></x>`, hash("t<a<1<a#b<2<none<")},
		{"forms", `<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t#u</value></field></x>
			<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value></field></x>`, hash("t<t#u<")},
		// Forms without a hidden type do not count.
		{"not hidden", `<x xmlns='jabber:x:data'><field var='FORM_TYPE'><value>t</value></field></x>`, hash("")},
		{"no type", `<x xmlns='jabber:x:data'><field var='a'><value>t</value></field></x>`, hash("")},
		{"same type twice in one", `<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value><value>t</value></field></x>`, hash("t<")},
	} {
		if got, err := ver(t, tt.in); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	form := func(values ...string) string {
		s := `<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'>`
		for _, v := range values {
			s += "<value>" + v + "</value>"
		}
		return s + "</field><field var='v'><value>" + values[0] + "</value></field></x>"
	}
	for name, in := range map[string]string{
		"identity":     `<identity category='a' type='b' name='c'/><identity name='c' category='a' type='b'/>`,
		"feature":      `<feature var='a'/><feature var='b'/><feature var='a'/>`,
		"form":         form("t") + form("t"),
		"type of form": form("t") + `<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value></field></x>`,
		"two types":    form("t", "u"),
	} {
		if got, err := ver(t, in); !errors.Is(err, caps.ErrMalformed) {
			t.Errorf("%s twice: %s, %v", name, got, err)
		}
	}
	// The same identity in two languages is two identities.
	if _, err := ver(t, `<identity category='a' type='b' xml:lang='de'/><identity category='a' type='b' xml:lang='en'/>`); err != nil {
		t.Error(err)
	}
	if _, err := caps.Ver(nil); err != nil {
		t.Error(err)
	}
}

func TestElement(t *testing.T) {
	c := caps.Element("urn:node", "v=")
	if got := c.String(); got != "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:node' ver='v='/>" {
		t.Error(got)
	}
	var _ confab.Appender = c
}
