package omemo

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/omemo/ratchet"
	"mellium.im/xmpp/jid"
)

// The namespaces of OMEMO as it is deployed: version 0.3 of the XEP, which most
// clients speak, and today's.
const (
	NSv1 = "eu.siacs.conversations.axolotl"
	NSv2 = "urn:xmpp:omemo:2"
)

const (
	nodeDevices1 = NSv1 + ".devicelist"
	nodeBundles1 = NSv1 + ".bundles:" // and the device's id
	nodeDevices2 = NSv2 + ":devices"
	nodeBundles2 = NSv2 + ":bundles"
	current      = "current" // the id of items of which there is one

	nsEME     = "urn:xmpp:eme:0"
	nsHints   = "urn:xmpp:hints"
	nsMUCUser = "http://jabber.org/protocol/muc#user"
)

// Bounds of what others may have us keep.
const (
	maxDevices = 200  // of one account
	maxPreKeys = 1000 // of one bundle
	maxTries   = 8    // keys of a message that are tried, if several have our id
	maxLabel   = 53   // code points of a label (XEP-0384 §5.3.1)
	maxBase64  = 1 << 20
)

// versions has both, the newer first.
var versions = [...]ratchet.Version{ratchet.V2, ratchet.V1}

// deviceID reads the id of a device, which is 1 to 2^31-1; but Converse has had 0.
func deviceID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < 1<<31
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func unbase64(s string) ([]byte, error) {
	if len(s) > maxBase64 {
		return nil, errors.New("omemo: too long")
	}
	s = strings.Map(func(r rune) rune {
		if r == ' ' || r == '\n' || r == '\t' || r == '\r' {
			return -1
		}
		return r
	}, s)
	return base64.StdEncoding.DecodeString(s)
}

func base64Element(ns, local string, data []byte) *confab.Element {
	return confab.El(ns, local).SetText(base64.StdEncoding.EncodeToString(data))
}

// listed is a device as a list has it.
type listed struct {
	id              uint32
	label, labelSig string
}

// parseList reads the list of an account's devices. It is not ok if el is none.
func parseList(v ratchet.Version, el *confab.Element) (ds []listed, ok bool) {
	name := "list"
	if v == ratchet.V2 {
		name = "devices"
	}
	if !el.Is(v.Namespace(), name) {
		return nil, false
	}
	for c := range el.All(v.Namespace(), "device") {
		id, ok := deviceID(c.Get("id"))
		if !ok || slices.ContainsFunc(ds, func(d listed) bool { return d.id == id }) {
			continue
		}
		d := listed{id: id}
		if l := c.Get("label"); v == ratchet.V2 && l != "" && utf8.RuneCountInString(l) < maxLabel {
			d.label, d.labelSig = l, c.Get("labelsig")
		}
		if ds = append(ds, d); len(ds) == maxDevices {
			break
		}
	}
	return ds, true
}

func listElement(v ratchet.Version, ds []listed) *confab.Element {
	ns, name := v.Namespace(), "list"
	if v == ratchet.V2 {
		name = "devices"
	}
	el := confab.El(ns, name)
	for _, d := range ds {
		c := confab.El(ns, "device").Set("id", itoa(d.id))
		if v == ratchet.V2 && d.labelSig != "" {
			c.Set("label", d.label).Set("labelsig", d.labelSig)
		}
		el.Add(c)
	}
	return el
}

// parseBundle reads the public keys of a device. They are not verified.
func parseBundle(v ratchet.Version, el *confab.Element) (*ratchet.Bundle, error) {
	ns := v.Namespace()
	if !el.Is(ns, "bundle") {
		return nil, fmt.Errorf("%w: no <bundle/>", ErrMalformed)
	}
	names := [...]string{"signedPreKeyPublic", "signedPreKeyId", "signedPreKeySignature", "identityKey", "preKeyPublic", "preKeyId"}
	if v == ratchet.V2 {
		names = [...]string{"spk", "id", "spks", "ik", "pk", "id"}
	}
	spk := el.Child(ns, names[0])
	id, ok := preKeyID(spk.Get(names[1]))
	if !ok {
		return nil, fmt.Errorf("%w: the signed prekey has no id", ErrMalformed)
	}
	b := &ratchet.Bundle{Version: v, SignedPreKeyID: id}
	key, err := unbase64(spk.FullText())
	if err == nil {
		b.SignedPreKey, err = ratchet.ParsePublicKey(v, key)
	}
	if err == nil {
		b.Signature, err = unbase64(el.Child(ns, names[2]).FullText())
	}
	if err == nil {
		key, err = unbase64(el.Child(ns, names[3]).FullText())
	}
	if err == nil {
		b.Identity, err = ratchet.ParseIdentityKey(v, key)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: a bundle: %w", ErrMalformed, err)
	}
	for c := range el.Child(ns, "prekeys").All(ns, names[4]) {
		id, ok := preKeyID(c.Get(names[5]))
		key, err := unbase64(c.FullText())
		if !ok || err != nil {
			continue
		}
		pk, err := ratchet.ParsePublicKey(v, key)
		if err != nil {
			continue // one bad key is no reason to do without the others
		}
		if b.PreKeys = append(b.PreKeys, ratchet.PublicPreKey{ID: id, Key: pk}); len(b.PreKeys) == maxPreKeys {
			break
		}
	}
	return b, nil
}

func preKeyID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// bundleElement writes the public keys of a device.
func bundleElement(b *ratchet.Bundle) *confab.Element {
	v := b.Version
	ns := v.Namespace()
	if v == ratchet.V2 {
		keys := confab.El(ns, "prekeys")
		for _, k := range b.PreKeys {
			keys.Add(base64Element(ns, "pk", k.Key.Wire(v)).Set("id", itoa(k.ID)))
		}
		return confab.El(ns, "bundle",
			base64Element(ns, "spk", b.SignedPreKey.Wire(v)).Set("id", itoa(b.SignedPreKeyID)),
			base64Element(ns, "spks", b.Signature), base64Element(ns, "ik", b.Identity.Wire(v)), keys)
	}
	keys := confab.El(ns, "prekeys")
	for _, k := range b.PreKeys {
		keys.Add(base64Element(ns, "preKeyPublic", k.Key.Wire(v)).Set("preKeyId", itoa(k.ID)))
	}
	return confab.El(ns, "bundle",
		base64Element(ns, "signedPreKeyPublic", b.SignedPreKey.Wire(v)).Set("signedPreKeyId", itoa(b.SignedPreKeyID)),
		base64Element(ns, "signedPreKeySignature", b.Signature), base64Element(ns, "identityKey", b.Identity.Wire(v)), keys)
}

// sealedKey is the key of a message for one device.
type sealedKey struct {
	to   jid.JID // bare
	rid  uint32
	kex  bool
	data []byte
}

// encryptedElement writes <encrypted/>. A nil payload makes an empty message; iv is of
// version 1 only.
func encryptedElement(v ratchet.Version, sid uint32, keys []sealedKey, iv, payload []byte) *confab.Element {
	ns := v.Namespace()
	header := confab.El(ns, "header").Set("sid", itoa(sid))
	if v == ratchet.V2 {
		by := map[string]*confab.Element{}
		for _, k := range keys {
			addr := k.to.String()
			if by[addr] == nil {
				by[addr] = confab.El(ns, "keys").Set("jid", addr)
				header.Add(by[addr])
			}
			by[addr].Add(keyElement(ns, "kex", k))
		}
	} else {
		for _, k := range keys {
			header.Add(keyElement(ns, "prekey", k))
		}
		header.Add(base64Element(ns, "iv", iv))
	}
	el := confab.El(ns, "encrypted", header)
	if payload != nil {
		el.Add(base64Element(ns, "payload", payload))
	}
	return el
}

func keyElement(ns, flag string, k sealedKey) *confab.Element {
	c := base64Element(ns, "key", k.data).Set("rid", itoa(k.rid))
	if k.kex { // never "false": see the package's notes on old peers
		c.Set(flag, "true")
	}
	return c
}

// An incoming is an <encrypted/> as far as it concerns us.
type incoming struct {
	v          ratchet.Version
	sid        uint32
	keys       []sealedKey // those that may be for us; to is not set
	iv         []byte
	payload    []byte
	hasPayload bool
}

// parseEncrypted reads an <encrypted/>; own is our bare address and rid our device.
func parseEncrypted(v ratchet.Version, el *confab.Element, own jid.JID, rid uint32) (in incoming, err error) {
	ns := v.Namespace()
	in.v = v
	header := el.Child(ns, "header")
	var ok bool
	if in.sid, ok = deviceID(header.Get("sid")); !ok {
		return in, fmt.Errorf("%w: no sid", ErrMalformed)
	}
	if p := el.Child(ns, "payload"); p != nil {
		in.hasPayload = true
		if in.payload, err = unbase64(p.FullText()); err != nil {
			return in, fmt.Errorf("%w: payload", ErrMalformed)
		}
	}
	flag, lists := "prekey", []*confab.Element{header}
	if v == ratchet.V2 {
		flag, lists = "kex", nil
		for l := range header.All(ns, "keys") {
			if j, err := jid.Parse(l.Get("jid")); err == nil && j.Bare().Equal(own) {
				lists = append(lists, l)
			}
		}
	} else if in.iv, err = unbase64(header.Child(ns, "iv").FullText()); err != nil {
		return in, fmt.Errorf("%w: iv", ErrMalformed)
	}
	want := itoa(rid)
	for _, l := range lists {
		for k := range l.All(ns, "key") {
			if strings.TrimLeft(k.Get("rid"), "0") != want && k.Get("rid") != want {
				continue
			}
			data, err := unbase64(k.FullText())
			if err != nil {
				continue
			}
			f := k.Get(flag)
			in.keys = append(in.keys, sealedKey{rid: rid, kex: f == "true" || f == "1", data: data})
			if len(in.keys) == maxTries {
				return in, nil
			}
		}
	}
	return in, nil
}
