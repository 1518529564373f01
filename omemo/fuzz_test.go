package omemo

import (
	"testing"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/internal/stream"
	"github.com/confab-im/confab/omemo/ratchet"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

var (
	romeo  = jid.MustParse("romeo@montague.example")
	juliet = jid.MustParse("juliet@capulet.example")
	garden = jid.MustParse("garden@rooms.example")
)

func FuzzEnvelope(f *testing.F) {
	e := envelope{content: []*confab.Element{confab.El(confab.NSClient, "body").SetText("hello")}, from: romeo, to: garden, stamp: time.Unix(1e9, 0)}
	b, err := e.marshal()
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte("<envelope xmlns='urn:xmpp:sce:1'><content><body xmlns='jabber:client'/></content><rpad/></envelope>"))
	f.Add([]byte("<!DOCTYPE x><envelope/>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, room := range []jid.JID{{}, garden} {
			e, err := parseEnvelope(b, romeo, room)
			if err != nil {
				continue
			}
			if e.from.String() != "" {
				require.True(t, e.from.Bare().Equal(romeo))
			}
			if room.String() != "" {
				require.True(t, e.to.Bare().Equal(garden))
			}
			for _, c := range e.content {
				require.NotEmpty(t, c.Name.Space)
				require.False(t, neverInside(c))
			}
			again, err := e.marshal()
			require.NoError(t, err)
			_, err = parseEnvelope(again, romeo, room)
			require.NoError(t, err)
		}
	})
}

func fuzzElement(f *testing.F, look func(t *testing.T, v ratchet.Version, el *confab.Element)) {
	f.Fuzz(func(t *testing.T, b []byte) {
		el, err := stream.Parse(b, stream.Limits{})
		if err != nil {
			return
		}
		for _, v := range versions {
			look(t, v, el)
		}
	})
}

func FuzzBundle(f *testing.F) {
	for _, v := range versions {
		id, err := ratchet.NewIdentity(testRand{})
		require.NoError(f, err)
		k, err := ratchet.NewPreKey(testRand{}, 1)
		require.NoError(f, err)
		b, err := bundleElement(ratchet.NewBundle(v, id, k, []*ratchet.PreKey{k})).AppendXML(nil, "")
		require.NoError(f, err)
		f.Add(b)
	}
	fuzzElement(f, func(t *testing.T, v ratchet.Version, el *confab.Element) {
		b, err := parseBundle(v, el)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(b.PreKeys), maxPreKeys)
		if b.Verify() == nil {
			again, err := parseBundle(v, bundleElement(b))
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
	})
}

// testRand is random bytes that are the same each time.
type testRand struct{}

func (testRand) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i*7 + 3)
	}
	return len(b), nil
}

func FuzzDeviceList(f *testing.F) {
	f.Add([]byte("<devices xmlns='urn:xmpp:omemo:2'><device id='1' label='x' labelsig='y'/><device id='1'/><device id='-1'/></devices>"))
	f.Add([]byte("<list xmlns='eu.siacs.conversations.axolotl'><device id='2147483648'/><device id='4'/></list>"))
	fuzzElement(f, func(t *testing.T, v ratchet.Version, el *confab.Element) {
		ds, ok := parseList(v, el)
		if !ok {
			require.Empty(t, ds)
			return
		}
		require.LessOrEqual(t, len(ds), maxDevices)
		seen := map[uint32]bool{}
		for _, d := range ds {
			require.False(t, seen[d.id])
			require.Less(t, d.id, uint32(1<<31))
			seen[d.id] = true
		}
		again, ok := parseList(v, listElement(v, ds))
		require.True(t, ok)
		require.Len(t, again, len(ds))
	})
}

func FuzzEncrypted(f *testing.F) {
	for _, v := range versions {
		b, err := encryptedElement(v, 7, []sealedKey{{to: juliet, rid: 9, kex: true, data: []byte{1}}}, []byte{2}, []byte{3}).AppendXML(nil, "")
		require.NoError(f, err)
		f.Add(b)
	}
	fuzzElement(f, func(t *testing.T, v ratchet.Version, el *confab.Element) {
		in, err := parseEncrypted(v, el, juliet, 9)
		if err == nil {
			require.LessOrEqual(t, len(in.keys), maxTries)
		}
	})
}

// TestEnvelope: what is wrong with an envelope is seen.
func TestEnvelope(t *testing.T) {
	const head = "<envelope xmlns='urn:xmpp:sce:1'><content><body xmlns='jabber:client'>x</body></content><rpad>abc</rpad>"
	for name, c := range map[string]struct {
		xml  string
		room jid.JID
		ok   bool
	}{
		"good":               {head + "<from jid='romeo@montague.example'/></envelope>", jid.JID{}, true},
		"with a resource":    {head + "<from jid='romeo@montague.example/x'/></envelope>", jid.JID{}, true},
		"no from":            {head + "</envelope>", jid.JID{}, true},
		"another from":       {head + "<from jid='mallory@montague.example'/></envelope>", jid.JID{}, false},
		"room":               {head + "<to jid='garden@rooms.example'/></envelope>", garden, true},
		"room without to":    {head + "</envelope>", garden, false},
		"another room":       {head + "<to jid='other@rooms.example'/></envelope>", garden, false},
		"no padding":         {"<envelope xmlns='urn:xmpp:sce:1'><content/></envelope>", jid.JID{}, false},
		"no content":         {"<envelope xmlns='urn:xmpp:sce:1'><rpad/></envelope>", jid.JID{}, false},
		"another namespace":  {"<envelope xmlns='urn:x'><content/><rpad/></envelope>", jid.JID{}, false},
		"no XML":             {"hello", jid.JID{}, false},
		"two documents":      {head + "</envelope><envelope/>", jid.JID{}, false},
		"an entity":          {"<envelope xmlns='urn:xmpp:sce:1'><content>&x;</content><rpad/></envelope>", jid.JID{}, false},
		"a bad time":         {head + "<time stamp='yesterday'/></envelope>", jid.JID{}, false},
		"a bad address":      {head + "<from jid='@'/></envelope>", jid.JID{}, false},
		"a doctype":          {"<!DOCTYPE e>" + head + "</envelope>", jid.JID{}, false},
		"nothing but spaces": {"   ", jid.JID{}, false},
	} {
		_, err := parseEnvelope([]byte(c.xml), romeo, c.room)
		if c.ok {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, ErrContent, name)
		}
	}
	// What servers and rooms say is not believed from inside.
	e, err := parseEnvelope([]byte("<envelope xmlns='urn:xmpp:sce:1'><content>"+
		"<body xmlns='jabber:client'>x</body><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='x'/><origin-id xmlns='urn:xmpp:sid:0' id='2'/>"+
		"<store xmlns='urn:xmpp:hints'/><delay xmlns='urn:xmpp:delay' stamp='x'/><x xmlns='http://jabber.org/protocol/muc#user'/>"+
		"<received xmlns='urn:xmpp:carbons:2'/><result xmlns='urn:xmpp:mam:2'/><event xmlns='http://jabber.org/protocol/pubsub#event'/>"+
		"<error xmlns='jabber:client'/><encrypted xmlns='urn:xmpp:omemo:2'/><occupant-id xmlns='urn:xmpp:occupant-id:0'/>"+
		"</content><rpad/></envelope>"), romeo, jid.JID{})
	require.NoError(t, err)
	require.Len(t, e.content, 2)
	require.Equal(t, "body", e.content[0].Name.Local)
	require.Equal(t, "origin-id", e.content[1].Name.Local)
	// The size of what is sent says little about the size of what is said.
	for _, text := range []string{"y", "no, never"} {
		b, err := (&envelope{content: []*confab.Element{confab.El(confab.NSClient, "body").SetText(text)}, from: romeo}).marshal()
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(b), padTo)
	}
}
