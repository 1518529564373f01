package vcard

import (
	"bytes"
	"crypto/sha1" // what XEP-0084 is made of
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
)

// ErrPicture says that a picture is not what it should be: too big, of an unknown
// kind, broken, or not the one that was announced.
var ErrPicture = errors.New("vcard: this is no picture that can be used")

// Picture is an avatar with its data.
type Picture struct {
	Avatar
	Data []byte
}

// check looks at data that are to be a picture, without decoding it, and describes
// it. Only what is described is safe to decode.
func (c Config) check(data []byte) (Avatar, error) {
	if len(data) == 0 || len(data) > c.MaxBytes {
		return Avatar{}, fmt.Errorf("%w: it has %d bytes, of at most %d", ErrPicture, len(data), c.MaxBytes)
	}
	var (
		cfg image.Config
		err error
		a   Avatar
	)
	r := bytes.NewReader(data)
	switch {
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		a.Type = "image/png"
		cfg, err = png.DecodeConfig(r)
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		a.Type = "image/jpeg"
		cfg, err = jpeg.DecodeConfig(r)
	case bytes.HasPrefix(data, []byte("GIF87a")), bytes.HasPrefix(data, []byte("GIF89a")):
		a.Type = "image/gif"
		if cfg, err = gif.DecodeConfig(r); err == nil {
			err = gifFrames(data, cfg.Width, cfg.Height)
		}
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		a.Type = "image/webp"
		cfg, err = webpConfig(data)
	default:
		return a, fmt.Errorf("%w: it is neither PNG, JPEG, GIF nor WebP", ErrPicture)
	}
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > c.MaxPixels/cfg.Height {
		return a, fmt.Errorf("%w: it has %d by %d pixels, of at most %d", ErrPicture, cfg.Width, cfg.Height, c.MaxPixels)
	}
	sum := sha1.Sum(data)
	a.ID, a.Bytes, a.Width, a.Height = hex.EncodeToString(sum[:]), len(data), cfg.Width, cfg.Height
	return a, nil
}

var errWebP = errors.New("broken WebP")

// webpConfig reads the size of a WebP, which the standard library does not know
// (RFC 9649 §2).
func webpConfig(data []byte) (image.Config, error) {
	if len(data) < 30 {
		return image.Config{}, errWebP
	}
	b := data[20:] // behind the header of the first chunk
	var w, h int
	switch string(data[12:16]) {
	case "VP8X":
		w, h = 1+(int(b[4])|int(b[5])<<8|int(b[6])<<16), 1+(int(b[7])|int(b[8])<<8|int(b[9])<<16)
	case "VP8L":
		if b[0] != 0x2f {
			return image.Config{}, errWebP
		}
		bits := binary.LittleEndian.Uint32(b[1:])
		w, h = 1+int(bits&0x3fff), 1+int(bits>>14&0x3fff)
	case "VP8 ":
		if b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
			return image.Config{}, errWebP
		}
		w, h = int(binary.LittleEndian.Uint16(b[6:])&0x3fff), int(binary.LittleEndian.Uint16(b[8:])&0x3fff)
	default:
		return image.Config{}, errWebP
	}
	if string(data[12:16]) == "VP8X" {
		// Decoders follow the frames, not what stands above them.
		total, err := webpFrames(data[12:])
		if err != nil || total > maxFrames*w*h || total == 0 {
			return image.Config{}, errWebP
		}
	}
	return image.Config{Width: w, Height: h}, nil
}

// maxFrames is how many times its size an animation may have in all its frames.
const maxFrames = 50

// webpFrames returns how many pixels all frames of an extended WebP have together.
func webpFrames(data []byte) (total int, err error) {
	for len(data) >= 8 {
		name, n := string(data[:4]), int(binary.LittleEndian.Uint32(data[4:]))
		data = data[8:]
		if n > len(data) {
			return 0, errWebP
		}
		b := data[:n]
		switch name {
		case "ANMF": // a frame, with chunks of its own behind 16 bytes
			if n < 16 {
				return 0, errWebP
			}
			in, err := webpFrames(b[16:])
			if err != nil {
				return 0, err
			}
			total += in
		case "VP8L":
			if n < 5 || b[0] != 0x2f {
				return 0, errWebP
			}
			bits := binary.LittleEndian.Uint32(b[1:])
			total += (1 + int(bits&0x3fff)) * (1 + int(bits>>14&0x3fff))
		case "VP8 ":
			if n < 10 {
				return 0, errWebP
			}
			total += int(binary.LittleEndian.Uint16(b[6:])&0x3fff) * int(binary.LittleEndian.Uint16(b[8:])&0x3fff)
		}
		data = data[min(n+n&1, len(data)):]
	}
	return total, nil
}

var errGIF = errors.New("broken GIF, or one with too many frames")

// gifFrames checks that the frames of a GIF are not too many for its size, without
// decoding them.
func gifFrames(data []byte, w, h int) error {
	if len(data) < 13 {
		return errGIF
	}
	table := func(flags byte) int {
		if flags&0x80 == 0 {
			return 0
		}
		return 3 << (flags&7 + 1)
	}
	at, total := 13+table(data[10]), 0
	blocks := func() bool { // skips data in blocks
		for at < len(data) {
			n := int(data[at])
			if at += 1 + n; n == 0 {
				return true
			}
		}
		return false
	}
	for at < len(data) {
		kind := data[at]
		at++
		switch kind {
		case 0x3b: // the end
			return nil
		case 0x21: // an extension
			if at++; !blocks() {
				return errGIF
			}
		case 0x2c: // a frame
			if at+9 > len(data) {
				return errGIF
			}
			total += int(binary.LittleEndian.Uint16(data[at+4:])) * int(binary.LittleEndian.Uint16(data[at+6:]))
			if total > maxFrames*w*h {
				return errGIF
			}
			at += 9 + table(data[at+8]) + 1
			if !blocks() {
				return errGIF
			}
		default:
			return errGIF
		}
	}
	return nil // cut off; what is there is harmless
}

// decode reads a picture that came in, in Base64 with or without white space.
func (c Config) decode(text string) (Picture, error) {
	if len(text) > 2*c.MaxBytes+1024 { // with room for line feeds
		return Picture{}, fmt.Errorf("%w: it is too big", ErrPicture)
	}
	text = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\n', '\r':
			return -1
		}
		return r
	}, text)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		if data, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return Picture{}, fmt.Errorf("%w: %w", ErrPicture, err)
		}
	}
	a, err := c.check(data)
	return Picture{a, data}, err
}

// decodeAs is decode for a picture that was announced.
func (c Config) decodeAs(text string, want Avatar) (Picture, error) {
	pic, err := c.decode(text)
	switch {
	case err != nil:
		return Picture{}, err
	case pic.ID != want.ID:
		return Picture{}, fmt.Errorf("%w: its hash is %s, not %s", ErrPicture, pic.ID, want.ID)
	case want.Bytes > 0 && want.Bytes != pic.Bytes:
		return Picture{}, fmt.Errorf("%w: it has %d bytes, not the %d that were announced", ErrPicture, pic.Bytes, want.Bytes)
	}
	pic.vcard = want.vcard
	return pic, nil
}
