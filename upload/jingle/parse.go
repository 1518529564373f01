package jingle

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
)

const (
	nsJingle       = "urn:xmpp:jingle:1"
	nsJingleErrors = "urn:xmpp:jingle:errors:1"
	nsFile         = "urn:xmpp:jingle:apps:file-transfer:5"
	nsFileErrors   = "urn:xmpp:jingle:apps:file-transfer:errors:0"
	nsSOCKS        = "urn:xmpp:jingle:transports:s5b:1"
	nsInBand       = "urn:xmpp:jingle:transports:ibb:1"
	nsHashes       = "urn:xmpp:hashes:2"
	nsIBB          = "http://jabber.org/protocol/ibb"
	nsBytestreams  = "http://jabber.org/protocol/bytestreams"
)

// Limits of what others say.
const (
	maxID         = 256  // bytes of an id or the name of a content
	maxText       = 4096 // bytes of a text
	maxHashes     = 16
	maxCandidates = 16
)

// A File is what is told of a file before it is sent (XEP-0234 §5). What comes is what
// its sender says.
type File struct {
	// Name is a file name without any folder, that can be used in any; "" if not known.
	Name string
	// Type is the media type, Desc are words about it.
	Type, Desc string
	// Size is the number of bytes; -1 if not known.
	Size int64
	// Date is when it was changed last; zero if not known.
	Date time.Time
	// Hashes are those of the file, by algorithm, in base64: such as "sha-256".
	Hashes map[string]string
}

// algorithms are the hash functions that are checked, the best first (XEP-0300 §7).
var algorithms = []struct {
	name string
	make func() hash.Hash
}{
	{"sha3-512", func() hash.Hash { return sha3.New512() }},
	{"sha-512", sha512.New},
	{"sha3-256", func() hash.Hash { return sha3.New256() }},
	{"sha-256", sha256.New},
	{"sha-1", sha1.New},
}

// newHash returns the hash function of this name, or nil.
func newHash(name string) hash.Hash {
	for _, a := range algorithms {
		if a.name == name {
			return a.make()
		}
	}
	return nil
}

// best returns the name of the best hash function that has a value here, or "".
func best(hashes map[string]string) string {
	for _, a := range algorithms {
		if hashes[a.name] != "" {
			return a.name
		}
	}
	return ""
}

// sameHash compares a sum with what was announced.
func sameHash(h hash.Hash, want string) bool {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(want))
	return err == nil && slices.Equal(h.Sum(nil), b)
}

func sumText(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }

// description is what a content says: the file, and what part of it.
type description struct {
	File
	ranged         bool // parts can be asked for
	offset, length int64
	rangeHashes    map[string]string
	later          string // the hash function whose value comes later, or ""
}

var errMalformed = errors.New("jingle: this is malformed")

// parseFile reads a <file/>.
func parseFile(el *confab.Element) (d description, err error) {
	text := func(name string) string {
		if s := strings.TrimSpace(el.ChildText(nsFile, name)); len(s) <= maxText {
			return s
		}
		return ""
	}
	d.File = File{Name: chat.SafeName(text("name")), Type: strings.ToLower(text("media-type")), Desc: text("desc"), Size: -1, Hashes: parseHashes(el)}
	if s := text("size"); s != "" {
		if d.Size, err = parseSize(s); err != nil {
			return d, err
		}
	}
	if t, err := time.Parse(time.RFC3339Nano, text("date")); err == nil {
		d.Date = t
	}
	if u := el.Child(nsHashes, "hash-used"); u != nil && newHash(u.Get("algo")) != nil {
		d.later = u.Get("algo")
	}
	for h := range el.All(nsHashes, "hash") { // as XEP-0234 has it, beside XEP-0300
		if strings.TrimSpace(h.Text) == "" && d.later == "" && newHash(h.Get("algo")) != nil {
			d.later = h.Get("algo")
		}
	}
	d.length = -1
	r := el.Child(nsFile, "range")
	if r == nil {
		return d, nil
	}
	d.ranged, d.rangeHashes = true, parseHashes(r)
	if s := r.Get("offset"); s != "" {
		if d.offset, err = parseSize(s); err != nil {
			return d, err
		}
	}
	if s := r.Get("length"); s != "" {
		if d.length, err = parseSize(s); err != nil {
			return d, err
		}
	}
	if d.Size >= 0 && (d.offset > d.Size || d.length > d.Size-d.offset) {
		return d, errMalformed
	}
	return d, nil
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 62)
	if err != nil {
		return 0, errMalformed
	}
	return int64(n), nil
}

func parseHashes(el *confab.Element) map[string]string {
	hashes := map[string]string{}
	for h := range el.All(nsHashes, "hash") {
		if v := strings.TrimSpace(h.Text); v != "" && len(v) <= 256 && len(h.Get("algo")) <= 64 && len(hashes) < maxHashes {
			hashes[h.Get("algo")] = v
		}
	}
	return hashes
}

// element is the inverse of parseFile.
func (d description) element() *confab.Element {
	el := confab.El(nsFile, "file")
	text := func(name, value string) {
		if value != "" {
			el.Add(confab.El(nsFile, name).SetText(value))
		}
	}
	if !d.Date.IsZero() {
		text("date", d.Date.UTC().Format(time.RFC3339))
	}
	text("desc", d.Desc)
	text("media-type", d.Type)
	text("name", d.Name)
	if d.ranged {
		r := confab.El(nsFile, "range")
		if d.offset > 0 {
			r.Set("offset", strconv.FormatInt(d.offset, 10))
		}
		if d.length >= 0 {
			r.Set("length", strconv.FormatInt(d.length, 10))
		}
		addHashes(r, d.rangeHashes)
		el.Add(r)
	}
	if d.Size >= 0 {
		text("size", strconv.FormatInt(d.Size, 10))
	}
	addHashes(el, d.Hashes)
	if d.later != "" {
		el.Add(confab.El(nsHashes, "hash-used").Set("algo", d.later))
	}
	return el
}

func addHashes(el *confab.Element, hashes map[string]string) {
	for _, algo := range slices.Sorted(maps.Keys(hashes)) {
		el.Add(confab.El(nsHashes, "hash").Set("algo", algo).SetText(hashes[algo]))
	}
}

// content is one <content/>: a session has one here.
type content struct {
	creator, name, senders string
	description, transport *confab.Element
}

// action is one <jingle/> that came.
type action struct {
	name, sid string
	contents  []content
	end       *EndError // of the reason, if there is one
	el        *confab.Element
}

func good(id string) bool { return id != "" && len(id) <= maxID && utf8.ValidString(id) }

// parseAction reads a <jingle/> (XEP-0166 §7).
func parseAction(el *confab.Element) (*action, error) {
	a := &action{name: el.Get("action"), sid: el.Get("sid"), el: el}
	if !el.Is(nsJingle, "jingle") || !good(a.sid) || a.name == "" {
		return nil, errMalformed
	}
	for c := range el.All(nsJingle, "content") {
		k := content{creator: c.Get("creator"), name: c.Get("name"), senders: c.Get("senders")}
		if !good(k.name) || k.creator != "initiator" && k.creator != "responder" || len(a.contents) == maxCandidates {
			return nil, errMalformed
		}
		for _, kid := range c.Children {
			switch {
			case kid.Name.Local == "description" && k.description == nil:
				k.description = kid
			case kid.Name.Local == "transport" && k.transport == nil:
				k.transport = kid
			}
		}
		a.contents = append(a.contents, k)
	}
	if r := el.Child(nsJingle, "reason"); r != nil {
		a.end = &EndError{}
		for _, kid := range r.Children {
			switch {
			case kid.Is(nsJingle, "text"):
				a.end.Text = cut(kid.Text)
			case kid.Name.Space == nsJingle && a.end.Reason == "":
				a.end.Reason = kid.Name.Local
			case kid.Name.Space == nsFileErrors:
				a.end.Detail = kid.Name.Local
			}
		}
	}
	return a, nil
}

// cut makes a text of others one that can stand in an error.
func cut(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	for len(s) > 256 {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// candidate is a place to connect to (XEP-0260 §2.2).
type candidate struct {
	cid, host string
	jid       string // of the proxy, or of who listens
	port      int
	priority  uint32
	typ       string
}

// offer is a transport: what one side offers.
type offer struct {
	sid        string
	dst        string // what its proxies are asked for, or ""
	candidates []candidate
}

// parseOffer reads a <transport/> of XEP-0260. Candidates that cannot be are left out.
func parseOffer(el *confab.Element) (o offer, err error) {
	o.sid = el.Get("sid")
	if !el.Is(nsSOCKS, "transport") || !good(o.sid) || el.Get("mode") != "" && el.Get("mode") != "tcp" {
		return o, errMalformed
	}
	if dst := el.Get("dstaddr"); isDigest(dst) {
		o.dst = dst
	}
	for c := range el.All(nsSOCKS, "candidate") {
		k := candidate{cid: c.Get("cid"), host: c.Get("host"), jid: c.Get("jid"), typ: c.Get("type")}
		if k.typ == "" {
			k.typ = "direct"
		}
		port, perr := strconv.ParseUint(c.Get("port"), 10, 16)
		if c.Get("port") == "" {
			port, perr = 1080, nil
		}
		prio, err := strconv.ParseUint(c.Get("priority"), 10, 32)
		switch k.typ {
		case "direct", "assisted", "tunnel", "proxy":
		default:
			continue
		}
		if perr != nil || err != nil || port == 0 || !good(k.cid) || !goodHost(k.host) || len(k.jid) > maxText || len(o.candidates) == maxCandidates ||
			slices.ContainsFunc(o.candidates, func(c candidate) bool { return c.cid == k.cid }) {
			continue
		}
		k.port, k.priority = int(port), uint32(prio)
		o.candidates = append(o.candidates, k)
	}
	return o, nil
}

// element is the inverse of parseOffer. Only who begins says what mode it is.
func (o offer) element(first bool) *confab.Element {
	el := confab.El(nsSOCKS, "transport").Set("sid", o.sid)
	if first {
		el.Set("mode", "tcp")
	}
	for _, c := range o.candidates {
		if c.typ == "proxy" {
			el.Set("dstaddr", o.dst)
		}
		el.Add(confab.El(nsSOCKS, "candidate").Set("cid", c.cid).Set("host", c.host).Set("jid", c.jid).
			Set("port", strconv.Itoa(c.port)).Set("priority", strconv.FormatUint(uint64(c.priority), 10)).Set("type", c.typ))
	}
	return el
}

func isDigest(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// goodHost accepts names and addresses.
func goodHost(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '.' && r != '-' && r != ':' && r != '_' && r != '%' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r < 0x80 || r == utf8.RuneError
	})
}

// parseBlocks reads a <transport/> of XEP-0261, or an <open/> of XEP-0047.
func parseBlocks(el *confab.Element) (sid string, block int, err error) {
	n, err := strconv.ParseUint(el.Get("block-size"), 10, 16)
	if err != nil || n == 0 || !good(el.Get("sid")) {
		return "", 0, errMalformed
	}
	return el.Get("sid"), int(n), nil
}

func blocksElement(sid string, block int) *confab.Element {
	return confab.El(nsInBand, "transport").Set("sid", sid).Set("block-size", strconv.Itoa(block))
}
