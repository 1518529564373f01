package chat

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/confab-im/confab"
)

const (
	nsFile      = "urn:xmpp:file:metadata:0"
	nsHashes    = "urn:xmpp:hashes:2"
	nsSFS       = "urn:xmpp:sfs:0"
	nsEncrypted = "urn:xmpp:esfs:0"
	nsThumbs    = "urn:xmpp:thumbs:1"
	nsURLData   = "http://jabber.org/protocol/url-data"
)

// The ciphers of encrypted files (XEP-0448 §5).
const (
	AES128GCM = "urn:xmpp:ciphers:aes-128-gcm-nopadding:0"
	AES256GCM = "urn:xmpp:ciphers:aes-256-gcm-nopadding:0"
	AES256CBC = "urn:xmpp:ciphers:aes-256-cbc-pkcs7:0"
)

// Limits of what a message says of files.
const (
	maxFiles     = 16
	maxSources   = 16
	maxThumbs    = 8
	maxHashes    = 16
	maxURL       = 8192     // bytes
	maxText      = 4096     // bytes of a name or a type
	maxThumbData = 64 << 10 // bytes of a thumbnail that is in the message
	maxName      = 254      // bytes of a cleaned name; file systems take 255
)

// A Disposition says what is to be done with a file (XEP-0447 §3.2).
type Disposition string

// What is to be done with a file.
const (
	// Inline is to be shown in the conversation, such as a picture or what was
	// spoken.
	Inline Disposition = "inline"
	// Attachment is to be saved, and not fetched before the user wants it.
	Attachment Disposition = "attachment"
)

// A File is a file that is shared by a message: what it is (XEP-0446) and where it can be
// had (XEP-0447). Package upload puts files on a server and fetches them. All that a
// message says of a file is what its sender says: upload checks it.
type File struct {
	// ID tells the files of one message apart; "" if there is but one.
	ID          string
	Disposition Disposition
	// Name is a file name without any folder, that can be used in any; "" if not known.
	Name string
	// Type is the media type, such as "image/png"; "" if not known.
	Type string
	// Desc are words about it.
	Desc string
	// Size is the number of bytes; 0 if not known.
	Size int64
	// Date is when it was changed last; zero if not known.
	Date time.Time
	// Width and Height are those of a picture or a film, in pixels.
	Width, Height int
	// Length is how long a sound or a film lasts.
	Length time.Duration
	// Hashes are those of the file, by algorithm, in base64: such as "sha-256"
	// (XEP-0300).
	Hashes     map[string]string
	Thumbnails []Thumbnail
	// Sources say where it can be had. Each has the same file.
	Sources []FileSource
}

// A Thumbnail is a small picture of a file (XEP-0264).
type Thumbnail struct {
	// URI is where it can be had: a cid: of bits of binary (XEP-0231), an https: or a
	// data: address.
	URI           string
	Type          string
	Width, Height int
}

// A FileSource says where a file can be had, and how it is decrypted.
type FileSource struct {
	// URL is where it is. It never has a fragment.
	URL string
	// Cipher is one of [AES256GCM] and others, with Key and IV; "" if what is at the
	// URL is the file itself (XEP-0448, XEP-0454).
	Cipher  string
	Key, IV Secret
	// Hashes are those of what is at the URL, encrypted.
	Hashes map[string]string
}

// A Secret is part of what decrypts a file. It does not print.
type Secret []byte

const hidden = "[secret]"

// Format implements [fmt.Formatter]: whatever the verb, the bytes are not shown.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// String returns a text that does not tell the secret.
func (s Secret) String() string { return hidden }

// MarshalText implements [encoding.TextMarshaler], for logs in JSON, without the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Voice reports whether the file is a voice message: something to be heard, whose length
// is told, that is to be shown in the conversation. There is no XEP for more.
func (f File) Voice() bool {
	return strings.HasPrefix(f.Type, "audio/") && f.Length > 0 && f.Disposition == Inline
}

// WithFile makes the message a shared file, which is a message of its own: its text has
// to be "" (put words into Desc). Clients that know no shared files see the link of the
// first source (XEP-0066); if that is encrypted it is an aesgcm: link (XEP-0454), which
// must be sent encrypted. At least one source is needed, and for an encrypted one size
// and a hash (XEP-0448 §3.1).
func WithFile(f File) Option {
	return func(c *composed) error {
		if len(f.Sources) == 0 {
			return errors.New("chat: a shared file needs a source")
		}
		if c.d.Body != "" {
			return errors.New("chat: a shared file is a message of its own: put words into File.Desc")
		}
		switch f.Disposition {
		case "", Inline, Attachment:
		default:
			return fmt.Errorf("chat: a file cannot have the disposition %q", f.Disposition)
		}
		src := confab.El(nsSFS, "sources")
		for _, s := range f.Sources {
			el, err := s.element(f)
			if err != nil {
				return err
			}
			src.Add(el)
		}
		c.add(confab.El(nsSFS, "file-sharing", f.metadata(), src).Set("disposition", string(f.Disposition)).Set("id", f.ID),
			confab.El(nsFallback, "fallback", confab.El(nsFallback, "body")).Set("for", nsSFS))
		first := f.Sources[0]
		if first.Cipher == "" {
			c.link = first.URL
			c.add(confab.El(nsOOB, "x", confab.El(nsOOB, "url").SetText(first.URL)))
			return nil
		}
		if link, err := first.Link(); err == nil {
			c.link = link
		}
		return nil
	}
}

func (s FileSource) element(f File) (*confab.Element, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	data := confab.El(nsURLData, "url-data").Set("target", s.URL)
	if s.Cipher == "" {
		return data, nil
	}
	if len(f.Hashes) == 0 || f.Size <= 0 {
		return nil, errors.New("chat: an encrypted file needs its size and a hash")
	}
	el := confab.El(nsEncrypted, "encrypted",
		confab.El(nsEncrypted, "key").SetText(base64.StdEncoding.EncodeToString(s.Key)),
		confab.El(nsEncrypted, "iv").SetText(base64.StdEncoding.EncodeToString(s.IV))).Set("cipher", s.Cipher)
	addHashes(el, s.Hashes)
	return el.Add(confab.El(nsSFS, "sources", data)), nil
}

// check refuses a source that cannot be one.
func (s FileSource) check() error {
	u, err := url.Parse(s.URL)
	switch {
	case len(s.URL) > maxURL || err != nil || u.Scheme != "https" && !isLoopback(u):
		return errors.New("chat: a source of a file needs an https address")
	case u.Host == "" || u.User != nil || u.Fragment != "" || strings.Contains(s.URL, "#"):
		return errors.New("chat: the address of a source has a host, and neither a user nor a fragment")
	}
	key, iv := 0, 12
	switch s.Cipher {
	case "":
		if len(s.Key) > 0 || len(s.IV) > 0 {
			return errors.New("chat: a source with a key needs a cipher")
		}
		return nil
	case AES128GCM:
		key = 16
	case AES256GCM:
		key = 32
	case AES256CBC:
		key, iv = 32, 16
	default:
		return fmt.Errorf("chat: the cipher %q is not known", s.Cipher)
	}
	if len(s.Key) != key || len(s.IV) != iv && (len(s.IV) != 16 || s.Cipher == AES256CBC) {
		return errors.New("chat: the key or the initialization vector has not the size that the cipher needs")
	}
	return nil
}

// isLoopback says that an address is on this machine, where http is good enough.
func isLoopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

// linkScheme is that of links to encrypted files.
const linkScheme = "aesgcm"

// Link returns the source as an aesgcm: link (XEP-0454 §3), which has the key in it.
func (s FileSource) Link() (string, error) {
	rest, ok := strings.CutPrefix(s.URL, "https://")
	if err := s.check(); err != nil || !ok || s.Cipher != AES256GCM {
		return "", errors.New("chat: only a file at an https address that is encrypted with AES-256-GCM has an aesgcm link")
	}
	return linkScheme + "://" + rest + "#" + hex.EncodeToString(s.IV) + hex.EncodeToString(s.Key), nil
}

// ParseLink reads an aesgcm: link, strictly (XEP-0454 §5). Old clients made
// initialization vectors of 16 bytes, which are read as well. The error never has the
// key in it.
func ParseLink(link string) (FileSource, error) {
	scheme, rest, ok := strings.Cut(link, "://")
	bad := errors.New("chat: this is no aesgcm link")
	if !ok || !strings.EqualFold(scheme, linkScheme) || len(link) > maxURL || strings.ContainsFunc(link, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError
	}) {
		return FileSource{}, bad
	}
	rest, fragment, ok := strings.Cut(rest, "#")
	secret, err := hex.DecodeString(fragment)
	if !ok || err != nil || len(secret) != 32+12 && len(secret) != 32+16 {
		return FileSource{}, bad
	}
	iv := len(secret) - 32
	s := FileSource{URL: "https://" + rest, Cipher: AES256GCM, IV: secret[:iv:iv], Key: secret[iv:]}
	if s.check() != nil {
		return FileSource{}, bad
	}
	return s, nil
}

// linkedFile reads a body that is an aesgcm: link, with or without a thumbnail in the
// next line.
func linkedFile(body string) (File, bool) {
	link, thumb, more := strings.Cut(body, "\n")
	s, err := ParseLink(link)
	if err != nil {
		return File{}, false
	}
	f := File{Name: nameIn(s.URL), Sources: []FileSource{s}}
	if more {
		if !strings.HasPrefix(thumb, "data:image/jpeg,") || len(thumb) > maxThumbData || strings.ContainsAny(thumb, " \r\n\t") {
			return File{}, false
		}
		f.Thumbnails = []Thumbnail{{URI: thumb, Type: "image/jpeg"}}
	}
	return f, true
}

// nameIn returns the name that an address ends in.
func nameIn(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return cleanName(path.Base(u.Path))
}

// SafeName makes a name that others have chosen one that can be a file's in any folder:
// nothing in it leads out of it, hides, or misleads a reader (XEP-0446 §3). It is "" if
// nothing is left. [File.Name] has it done already.
func SafeName(name string) string { return cleanName(name) }

func cleanName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == utf8.RuneError, strings.ContainsRune(`<>:"|?*`, r):
			return -1
		}
		return r
	}, name)
	name = strings.TrimRight(strings.TrimLeft(name, ". "), ". ")
	for len(name) > maxName {
		_, n := utf8.DecodeRuneInString(name) // what names what it is stands at the end
		name = strings.TrimLeft(name[n:], ". ")
	}
	if isDevice(name) {
		name = "_" + name
	}
	return name
}

// isDevice reports whether Windows takes a name for that of a device, whatever folder and
// ending it has.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	switch base = strings.ToUpper(strings.TrimRight(base, " ")); base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, ok := strings.CutPrefix(base, "COM")
	if !ok {
		port, ok = strings.CutPrefix(base, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.Contains("0123456789¹²³", port)
}

// metadata is the file as an element (XEP-0446 §2).
func (f File) metadata() *confab.Element {
	el := confab.El(nsFile, "file")
	text := func(name, value string) {
		if value != "" {
			el.Add(confab.El(nsFile, name).SetText(value))
		}
	}
	text("media-type", f.Type)
	text("name", f.Name)
	text("desc", f.Desc)
	if !f.Date.IsZero() {
		text("date", f.Date.UTC().Format(time.RFC3339))
	}
	if f.Size > 0 {
		text("size", strconv.FormatInt(f.Size, 10))
	}
	if f.Width > 0 && f.Height > 0 {
		text("width", itoa(f.Width))
		text("height", itoa(f.Height))
	}
	if f.Length > 0 {
		text("length", strconv.FormatInt(max(1, f.Length.Milliseconds()), 10))
	}
	addHashes(el, f.Hashes)
	for _, t := range f.Thumbnails {
		th := confab.El(nsThumbs, "thumbnail").Set("uri", t.URI).Set("media-type", t.Type)
		if t.Width > 0 && t.Height > 0 {
			th.Set("width", itoa(t.Width)).Set("height", itoa(t.Height))
		}
		el.Add(th)
	}
	return el
}

func addHashes(el *confab.Element, hashes map[string]string) {
	for _, algo := range slices.Sorted(keys(hashes)) {
		el.Add(confab.El(nsHashes, "hash").Set("algo", algo).SetText(hashes[algo]))
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// parseFile reads what a message says of a file. It is false if that is nothing: neither
// what it is nor where.
func parseFile(sharing *confab.Element) (File, bool) {
	el := sharing.Child(nsFile, "file")
	f := parseMetadata(el)
	f.ID = id(sharing.Get("id"))
	switch d := Disposition(sharing.Get("disposition")); d {
	case Inline, Attachment:
		f.Disposition = d
	}
	f.Sources = parseSources(sharing.Child(nsSFS, "sources"), FileSource{}, false)
	if f.Name == "" && len(f.Sources) > 0 {
		f.Name = nameIn(f.Sources[0].URL)
	}
	return f, el != nil || len(f.Sources) > 0
}

func parseMetadata(el *confab.Element) File {
	text := func(name string) string {
		s := strings.TrimSpace(el.ChildText(nsFile, name))
		if len(s) > maxText {
			return ""
		}
		return s
	}
	f := File{Name: cleanName(text("name")), Type: strings.ToLower(text("media-type")), Desc: el.ChildText(nsFile, "desc"), Hashes: parseHashes(el)}
	if n, err := strconv.ParseUint(text("size"), 10, 62); err == nil {
		f.Size = int64(n)
	}
	if d, err := time.Parse(time.RFC3339Nano, text("date")); err == nil {
		f.Date = d
	}
	w, h := text("width"), text("height")
	if d := text("dimensions") + text("dimension"); w == "" && d != "" { // as older versions have it
		w, h, _ = strings.Cut(d, "x")
	}
	f.Width, _ = position(w)
	f.Height, _ = position(h)
	if f.Width == 0 || f.Height == 0 {
		f.Width, f.Height = 0, 0
	}
	if ms, ok := position(text("length")); ok {
		f.Length = time.Duration(ms) * time.Millisecond
	}
	for t := range el.All(nsThumbs, "thumbnail") {
		if uri := t.Get("uri"); uri != "" && len(uri) <= maxThumbData && len(f.Thumbnails) < maxThumbs {
			th := Thumbnail{URI: uri, Type: t.Get("media-type")}
			th.Width, _ = position(t.Get("width"))
			th.Height, _ = position(t.Get("height"))
			f.Thumbnails = append(f.Thumbnails, th)
		}
	}
	return f
}

func parseHashes(el *confab.Element) map[string]string {
	hashes := map[string]string{}
	for h := range el.All(nsHashes, "hash") {
		if algo := h.Get("algo"); len(hashes) < maxHashes && len(algo) <= 64 && len(h.Text) <= 1024 {
			hashes[algo] = strings.TrimSpace(h.Text)
		}
	}
	return hashes
}

// parseSources reads the sources that can be understood. As has the cipher of those that
// are inside of an encrypted one.
func parseSources(el *confab.Element, as FileSource, inside bool) (list []FileSource) {
	if el == nil {
		return nil
	}
	for _, c := range el.Children {
		switch {
		case c.Is(nsURLData, "url-data"):
			s := as
			if s.URL = strings.TrimSpace(c.Get("target")); s.check() == nil {
				list = append(list, s)
			}
		case c.Is(nsEncrypted, "encrypted") && !inside:
			key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(c.ChildText(nsEncrypted, "key")))
			iv, err2 := base64.StdEncoding.DecodeString(strings.TrimSpace(c.ChildText(nsEncrypted, "iv")))
			if err == nil && err2 == nil && c.Get("cipher") != "" {
				s := FileSource{Cipher: c.Get("cipher"), Key: key, IV: iv, Hashes: parseHashes(c)}
				list = append(list, parseSources(c.Child(nsSFS, "sources"), s, true)...)
			}
		}
		if len(list) >= maxSources {
			return list[:maxSources]
		}
	}
	return list
}

// shared adds the files of a message that has no more than a link to one.
func (c *Content) shared(m *confab.Message) {
	switch {
	case len(c.Files) > 0:
	case c.URL != "":
		if s := (FileSource{URL: c.URL}); s.check() == nil {
			c.Files = []File{{Name: nameIn(c.URL), Sources: []FileSource{s}}}
		} else if f, ok := linkedFile(c.URL); ok && m.Seal != nil {
			c.Files = []File{f}
		}
	case m.Seal != nil:
		// In clear such a link is none: whoever has sent it, the servers know the key.
		if f, ok := linkedFile(m.Body); ok {
			c.Files = []File{f}
		}
	}
}
