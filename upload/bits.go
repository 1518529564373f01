package upload

import (
	"context"
	"crypto/sha1" // what XEP-0231 names data by
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

const nsBits = "urn:xmpp:bob"

// MaxBits is how many bytes bits of binary may have here: what fits into a stanza. The
// XEP recommends not to have more than 8 KiB.
const MaxBits = 64 << 10

// maxOffered bounds what is offered at a time.
const maxOffered = 1024

// Bits are bits of binary: small data in a stanza (XEP-0231).
type Bits struct {
	// Type is the media type.
	Type string
	Data []byte
	// MaxAge is for how long a copy may be kept: 0 not at all, less than 0 if that is
	// not told.
	MaxAge time.Duration
}

// offers are the bits that are offered, by cid.
type offers struct {
	mu  sync.Mutex
	m   map[string]Bits
	err error // somebody else answers those who ask
}

// serveBits answers those who ask for what was offered.
func (c *Client) serveBits() {
	c.bits.m = map[string]Bits{}
	c.s.Advertise(nsBits)
	c.bits.err = c.s.HandleIQ(stanza.GetIQ, xml.Name{Space: nsBits, Local: "data"}, func(_ context.Context, q *confab.IQ) (any, error) {
		cid := q.Payload.Get("cid")
		c.bits.mu.Lock()
		b, ok := c.bits.m[cid]
		c.bits.mu.Unlock()
		if !ok {
			return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
		}
		return b.element(cid), nil
	})
}

// Offer lets everybody have these bits who asks for them by their cid: URI, until they
// are withdrawn. Who does not know the hash of what is in them cannot ask.
func (c *Client) Offer(b Bits) (uri string, err error) {
	if len(b.Data) == 0 || len(b.Data) > MaxBits {
		return "", fmt.Errorf("upload: bits of binary have 1 to %d bytes", MaxBits)
	}
	if c.bits.err != nil {
		return "", fmt.Errorf("upload: bits of binary: %w", c.bits.err)
	}
	sum := sha1.Sum(b.Data)
	cid := "sha1+" + hex.EncodeToString(sum[:]) + "@bob.xmpp.org"
	b.Data = append([]byte(nil), b.Data...)
	c.bits.mu.Lock()
	defer c.bits.mu.Unlock()
	if _, there := c.bits.m[cid]; !there && len(c.bits.m) >= maxOffered {
		return "", errors.New("upload: too many bits are offered already")
	}
	c.bits.m[cid] = b
	return "cid:" + cid, nil
}

// Withdraw ends an offer.
func (c *Client) Withdraw(uri string) {
	c.bits.mu.Lock()
	defer c.bits.mu.Unlock()
	delete(c.bits.m, strings.TrimPrefix(uri, "cid:"))
}

// Bits asks somebody, by the full address, for the bits with this cid: URI, and checks
// the hash that is in it. Others than those by SHA-1 and SHA-256 are refused.
func (c *Client) Bits(ctx context.Context, from jid.JID, uri string) (Bits, error) {
	cid := strings.TrimPrefix(uri, "cid:")
	if _, _, err := cidHash(cid); err != nil {
		return Bits{}, err
	}
	var el confab.Element
	err := confab.Do(ctx, c.s, stanza.IQ{Type: stanza.GetIQ, To: from}, confab.El(nsBits, "data").Set("cid", cid), &el)
	if err != nil {
		return Bits{}, err
	}
	return ParseBits(&el, uri)
}

// ParseBits reads bits that are in a stanza, such as a CAPTCHA (XEP-0158), and checks
// that they are those of the cid: URI.
func ParseBits(el *confab.Element, uri string) (Bits, error) {
	cid := strings.TrimPrefix(uri, "cid:")
	h, want, err := cidHash(cid)
	if err != nil {
		return Bits{}, err
	}
	if !el.Is(nsBits, "data") || el.Get("cid") != cid {
		return Bits{}, fmt.Errorf("%w: these are other bits than were asked for", ErrCorrupt)
	}
	if len(el.Text) > 2*MaxBits {
		return Bits{}, ErrLimit
	}
	b := Bits{Type: el.Get("type"), MaxAge: -1}
	text := strings.NewReplacer(" ", "", "\n", "", "\t", "", "\r", "").Replace(el.Text)
	if b.Data, err = base64.StdEncoding.DecodeString(text); err != nil {
		return Bits{}, fmt.Errorf("%w: it is no base64", ErrCorrupt)
	}
	h.Write(b.Data)
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, want) {
		return Bits{}, fmt.Errorf("%w: the bits have another hash", ErrCorrupt)
	}
	if n, err := strconv.ParseInt(el.Get("max-age"), 10, 32); err == nil && n >= 0 {
		b.MaxAge = time.Duration(n) * time.Second
	}
	return b, nil
}

// cidHash reads the hash in a cid.
func cidHash(cid string) (hash.Hash, string, error) {
	local, domain, _ := strings.Cut(cid, "@")
	algo, sum, ok := strings.Cut(local, "+")
	var h hash.Hash
	switch strings.ToLower(algo) {
	case "sha1", "sha-1":
		h = sha1.New()
	case "sha256", "sha-256":
		h = sha256.New()
	}
	if !ok || h == nil || domain != "bob.xmpp.org" || len(sum) != 2*h.Size() {
		return nil, "", errors.New("upload: this is no cid of bits of binary whose hash can be checked")
	}
	return h, sum, nil
}

func (b Bits) element(cid string) *confab.Element {
	el := confab.El(nsBits, "data").Set("cid", cid).Set("type", b.Type).SetText(base64.StdEncoding.EncodeToString(b.Data))
	if b.MaxAge >= 0 {
		el.Set("max-age", strconv.FormatInt(int64(b.MaxAge/time.Second), 10))
	}
	return el
}
