package chat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/pubsub"
	"mellium.im/xmpp/jid"
)

// A StickerRef says of which pack a sticker is.
type StickerRef struct {
	// Pack is the id of the pack; "" if the sticker is of none.
	Pack string
	// Owner and Node say where the pack is: if empty, with the sender.
	Owner jid.JID
	Node  string
}

// A StickerPack is a collection of stickers (XEP-0449 §4.3).
type StickerPack struct {
	// ID is made from what is in the pack.
	ID            string
	Name, Summary string
	// Restricted packs are not for others to use.
	Restricted bool
	Stickers   []Sticker
}

// A Sticker is one picture of a pack.
type Sticker struct {
	// Text stands for the picture where there are none: an emoji, mostly.
	Text string
	// Type is the media type, such as "image/png", Size the number of bytes.
	Type          string
	Size          int64
	Width, Height int
	// Hashes are those of the file, by algorithm, in base64: such as "sha-256".
	Hashes map[string]string
	// URLs are where it can be had. Check what you get against the hashes.
	URLs []string
	// Suggest are texts that it may be offered for.
	Suggest []string
}

// ErrStickers says that a pack's content is not what its id says.
var ErrStickers = errors.New("chat: the sticker pack is not the one that its id names")

// Limits of a pack.
const maxStickers = 1000

// Stickers gets the sticker pack with this id, from whom a [StickerRef] or a link
// names; an empty node is that of people's own packs. The pack is verified by its id.
func Stickers(ctx context.Context, s confab.Requester, owner jid.JID, node, pack string) (StickerPack, error) {
	if pack == "" {
		return StickerPack{}, errors.New("chat: a sticker pack has an id")
	}
	if node == "" {
		node = nsStickers
	}
	it, err := pubsub.New(s, owner).Item(ctx, node, pack)
	if err != nil {
		return StickerPack{}, err
	}
	p, ok := parsePack(it.Payload, pack)
	if !ok {
		return StickerPack{}, ErrStickers
	}
	return p, nil
}

// PublishStickers puts a pack among the user's own, for everybody to see, and returns
// its id. All stickers need the same kinds of hash.
func PublishStickers(ctx context.Context, s confab.Requester, p StickerPack) (id string, err error) {
	if p.Name == "" || len(p.Stickers) == 0 || len(p.Stickers) > maxStickers {
		return "", fmt.Errorf("chat: a sticker pack needs a name and 1 to %d stickers", maxStickers)
	}
	el := confab.El(nsStickers, "pack", confab.El(nsStickers, "name").SetText(p.Name))
	if p.Summary != "" {
		el.Add(confab.El(nsStickers, "summary").SetText(p.Summary))
	}
	if p.Restricted {
		el.Add(confab.El(nsStickers, "restricted"))
	}
	for _, st := range p.Stickers {
		if st.Text == "" || st.Hashes["sha-256"] == "" || len(st.URLs) == 0 {
			return "", errors.New("chat: a sticker needs a text, a sha-256 hash and a URL")
		}
		it := confab.El(nsStickers, "item", st.file(), st.sources())
		for _, t := range st.Suggest {
			it.Add(confab.El(nsStickers, "suggest").SetText(t))
		}
		el.Add(it)
	}
	sum := base64.StdEncoding.EncodeToString(packHash(el, sha256.New()))
	el.Add(confab.El(nsHashes, "hash").Set("algo", "sha-256").SetText(sum))
	c := pubsub.Open()
	c.MaxItems = pubsub.Max
	return pubsub.New(s, jid.JID{}).Publish(ctx, nsStickers, pubsub.Item{ID: sum[:24], Payload: el}, c)
}

// AsSticker makes the message a sticker: its text should be that of the sticker. Ref
// is the zero value if it is of no pack.
func AsSticker(ref StickerRef, st Sticker) Option {
	return func(c *composed) error {
		if len(st.URLs) == 0 {
			return errors.New("chat: a sticker needs a URL")
		}
		c.add(confab.El(nsStickers, "sticker").Set("pack", ref.Pack).Set("jid", ref.Owner.String()).Set("node", ref.Node),
			confab.El(nsSFS, "file-sharing", st.file(), st.sources()).Set("disposition", "inline"))
		return nil
	}
}

func (st Sticker) file() *confab.Element {
	return File{Type: st.Type, Desc: st.Text, Size: st.Size, Width: st.Width, Height: st.Height, Hashes: st.Hashes}.metadata()
}

// stickerOf makes a sticker of a shared file.
func stickerOf(f File) Sticker {
	st := Sticker{Text: f.Desc, Type: f.Type, Size: f.Size, Width: f.Width, Height: f.Height, Hashes: f.Hashes}
	for _, s := range f.Sources {
		if s.Cipher == "" {
			st.URLs = append(st.URLs, s.URL)
		}
	}
	return st
}

func (st Sticker) sources() *confab.Element {
	el := confab.El(nsSFS, "sources")
	for _, u := range st.URLs {
		el.Add(confab.El(nsURLData, "url-data").Set("target", u))
	}
	return el
}

// parsePack reads a pack whose id must be this.
func parsePack(el *confab.Element, id string) (StickerPack, bool) {
	if !el.Is(nsStickers, "pack") || len(el.Children) > 2*maxStickers {
		return StickerPack{}, false
	}
	ok := false
	for h := range el.All(nsHashes, "hash") {
		var f hash.Hash
		switch h.Get("algo") {
		case "sha-256":
			f = sha256.New()
		case "sha-512":
			f = sha512.New()
		default:
			continue
		}
		ok = ok || base64.StdEncoding.EncodeToString(packHash(el, f))[:24] == id
	}
	if !ok {
		return StickerPack{}, false
	}
	p := StickerPack{ID: id, Restricted: el.Child(nsStickers, "restricted") != nil}
	p.Name, p.Summary = el.ChildText(nsStickers, "name"), el.ChildText(nsStickers, "summary")
	for it := range el.All(nsStickers, "item") {
		p.Stickers = append(p.Stickers, parseSticker(it))
		if len(p.Stickers) == maxStickers {
			break
		}
	}
	return p, true
}

func parseSticker(it *confab.Element) Sticker {
	f := parseMetadata(it.Child(nsFile, "file"))
	src := it.Child(nsSFS, "sources")
	if src == nil {
		src = it.Child(nsStickers, "sources") // as the examples have it
	}
	f.Sources = parseSources(src, FileSource{}, false)
	st := stickerOf(f)
	for s := range it.All(nsStickers, "suggest") {
		if len(st.Suggest) < maxSources {
			st.Suggest = append(st.Suggest, s.Text)
		}
	}
	return st
}

// The separators of what is hashed, from the outermost on.
const (
	sep1 = 0x1c
	sep2 = 0x1d
	sep3 = 0x1e
	sep4 = 0x1f
)

// packHash is the hash over what makes a pack (XEP-0449 §4.3.2).
func packHash(pack *confab.Element, f hash.Hash) []byte {
	part := func(b []byte, s string, sep byte) []byte { return append(append(b, s...), sep) }
	join := func(parts [][]byte) {
		slices.SortFunc(parts, bytes.Compare)
		for _, p := range parts {
			f.Write(p)
		}
		f.Write([]byte{sep1})
	}
	var meta, items [][]byte
	for c := range pack.All(nsStickers, "") {
		switch c.Name.Local {
		case "name", "summary":
			lang, _ := c.Lookup("http://www.w3.org/XML/1998/namespace", "lang")
			b := part(part(part(nil, c.Name.Local, sep4), lang, sep4), c.Text, sep4)
			meta = append(meta, append(b, sep3))
		case "item":
			file := c.Child(nsFile, "file")
			var hashes [][]byte
			for h := range file.All(nsHashes, "hash") {
				hashes = append(hashes, append(part(part(nil, h.Get("algo"), sep4), h.Text, sep4), sep3))
			}
			slices.SortFunc(hashes, bytes.Compare)
			b := part(nil, file.ChildText(nsFile, "desc"), sep3)
			items = append(items, append(append(b, bytes.Join(hashes, nil)...), sep2))
		}
	}
	join(meta)
	join(items)
	return f.Sum(nil)
}
