package upload

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // the formats of pictures that are known
	"image/jpeg"
	_ "image/png"
	"io"
	"math"
	"strings"
	"time"

	"github.com/confab-im/confab/chat"
)

// headSize is how much of a file is looked at to find out what it is.
const headSize = 64 << 10

// probe finds out what a message can say of a file before it is read as a whole.
func probe(src Source, thumb bool) (chat.File, error) {
	f := chat.File{Name: src.Name, Type: src.Type, Size: src.Size, Date: src.Date, Disposition: chat.Attachment}
	in, err := src.Open()
	if err != nil {
		return f, fmt.Errorf("upload: opening the file: %w", err)
	}
	defer in.Close()
	head := make([]byte, min(src.Size, headSize))
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("upload: reading the file: %w", err)
	}
	head = head[:n]
	if f.Type == "" {
		f.Type = TypeOf(src.Name, head)
	}
	kind, _, _ := strings.Cut(f.Type, "/")
	switch kind {
	case "image":
		f.Disposition = chat.Inline
		rest := io.MultiReader(bytes.NewReader(head), in)
		if s, ok := in.(io.Seeker); ok && thumb {
			if _, err := s.Seek(0, io.SeekStart); err == nil {
				rest = in
			}
		}
		f.Width, f.Height = picture(io.LimitReader(rest, 8<<20))
		if f.Width == 0 {
			f.Width, f.Height = webpSize(head) // of which no thumbnail can be made
		} else if thumb {
			t, err := thumbnailOf(src, f.Width, f.Height)
			if err != nil {
				return f, err
			}
			f.Thumbnails = []chat.Thumbnail{t}
		}
	case "audio":
		f.Disposition = chat.Inline
		f.Length = soundLength(head, src.Size, func() []byte { return tail(in, src.Size) })
		if f.Length == 0 && isBoxes(head) {
			f.Length = mp4Length(in, src.Size)
		}
	case "video":
		f.Disposition = chat.Inline
		if isBoxes(head) {
			f.Length = mp4Length(in, src.Size)
		}
	}
	return f, nil
}

// isBoxes says that a file begins like MP4 and its kin.
func isBoxes(head []byte) bool { return len(head) >= 12 && string(head[4:8]) == "ftyp" }

// tail reads the end of a file that can seek.
func tail(in io.Reader, size int64) []byte {
	s, ok := in.(io.ReadSeeker)
	if !ok {
		return nil
	}
	n := min(size, headSize)
	if _, err := s.Seek(size-n, io.SeekStart); err != nil {
		return nil
	}
	b := make([]byte, n)
	k, _ := io.ReadFull(s, b)
	return b[:k]
}

// picture returns the size of a picture, 0 and 0 if it is not known.
func picture(r io.Reader) (width, height int) {
	c, _, err := image.DecodeConfig(r)
	if err != nil || c.Width <= 0 || c.Height <= 0 || c.Width > math.MaxInt32 || c.Height > math.MaxInt32 {
		return 0, 0
	}
	return c.Width, c.Height
}

// maxSound is the longest sound that is believed.
const maxSound = 1000 * time.Hour

// soundLength returns how long a sound lasts, 0 if that is not known. End gives the end
// of the file, or nothing.
func soundLength(head []byte, size int64, end func() []byte) time.Duration {
	var d time.Duration
	switch {
	case len(head) >= 12 && string(head[:4]) == "RIFF" && string(head[8:12]) == "WAVE":
		d = wavLength(head[12:], size-12)
	case len(head) >= 4 && string(head[:4]) == "OggS":
		d = oggLength(head, end())
	}
	if d < 0 || d > maxSound {
		return 0
	}
	return d
}

// wavLength reads the chunks of a WAV file; size is that of the file from there on.
func wavLength(b []byte, size int64) time.Duration {
	var rate uint32
	for len(b) >= 8 {
		name, n := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		b, size = b[8:], size-8
		switch name {
		case "fmt ":
			if n < 16 || len(b) < 16 {
				return 0
			}
			rate = binary.LittleEndian.Uint32(b[8:])
		case "data":
			if rate == 0 {
				return 0
			}
			// Who writes a stream does not know how long it will be.
			return seconds(uint64(max(0, min(n, size))), rate)
		}
		n += n & 1
		if n > int64(len(b)) {
			return 0
		}
		b, size = b[n:], size-n
	}
	return 0
}

func seconds(n uint64, rate uint32) time.Duration {
	if rate == 0 || n/uint64(rate) > uint64(maxSound/time.Second) {
		return 0
	}
	return time.Duration(n/uint64(rate))*time.Second + time.Duration(n%uint64(rate)*uint64(time.Second)/uint64(rate))
}

const oggHeader = 27

// oggLength reads the first packet of an Ogg file with Opus or Vorbis, which says how
// fast it runs, and the last page, which says where it ends (RFC 3533, RFC 7845).
func oggLength(head, end []byte) time.Duration {
	first, serial, _, ok := oggPage(head)
	if !ok {
		return 0
	}
	var rate uint32
	var skip uint64
	switch {
	case bytes.HasPrefix(first, []byte("OpusHead")) && len(first) >= 12:
		rate, skip = 48000, uint64(binary.LittleEndian.Uint16(first[10:]))
	case bytes.HasPrefix(first, []byte("\x01vorbis")) && len(first) >= 16:
		rate = binary.LittleEndian.Uint32(first[12:])
	default:
		return 0
	}
	if end == nil {
		return 0
	}
	for i := len(end) - oggHeader; i >= 0; i-- {
		if string(end[i:i+4]) != "OggS" || end[i+4] != 0 {
			continue
		}
		_, s, granule, _ := oggPage(end[i:])
		if s != serial || granule == math.MaxUint64 || granule < skip {
			continue
		}
		return seconds(granule-skip, rate)
	}
	return 0
}

// oggPage reads a page: what is in it, as far as it is there, of which stream it is, and
// where it ends.
func oggPage(b []byte) (data []byte, serial uint32, granule uint64, ok bool) {
	if len(b) < oggHeader || string(b[:4]) != "OggS" {
		return nil, 0, 0, false
	}
	granule, serial = binary.LittleEndian.Uint64(b[6:]), binary.LittleEndian.Uint32(b[14:])
	segments := int(b[26])
	if len(b) < oggHeader+segments {
		return nil, serial, granule, false
	}
	n := 0
	for _, s := range b[oggHeader : oggHeader+segments] {
		n += int(s)
	}
	b = b[oggHeader+segments:]
	return b[:min(n, len(b))], serial, granule, true
}

const (
	thumbSize = 96       // pixels, of the longer side
	maxPixels = 40 << 20 // of a picture that is decoded
	maxThumb  = 12 << 10 // bytes
)

// thumbnailOf makes a small picture of a picture.
func thumbnailOf(src Source, width, height int) (chat.Thumbnail, error) {
	if int64(width)*int64(height) > maxPixels {
		return chat.Thumbnail{}, fmt.Errorf("upload: a picture of %d x %d pixels is too large to make a thumbnail of", width, height)
	}
	in, err := src.Open()
	if err != nil {
		return chat.Thumbnail{}, fmt.Errorf("upload: opening the file: %w", err)
	}
	defer in.Close()
	m, _, err := image.Decode(in)
	if err != nil {
		return chat.Thumbnail{}, fmt.Errorf("upload: no thumbnail can be made: %w", err)
	}
	small := shrink(m, thumbSize)
	for quality := 70; quality > 0; quality -= 20 {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: quality}); err != nil {
			return chat.Thumbnail{}, fmt.Errorf("upload: no thumbnail can be made: %w", err)
		}
		if b.Len() <= maxThumb {
			return chat.Thumbnail{
				URI:  "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(b.Bytes()),
				Type: "image/jpeg", Width: small.Bounds().Dx(), Height: small.Bounds().Dy(),
			}, nil
		}
	}
	return chat.Thumbnail{}, errors.New("upload: no thumbnail is small enough")
}

// shrink makes a picture whose longer side has at most so many pixels, each the mean of
// those that it stands for, on white.
func shrink(m image.Image, most int) *image.RGBA {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	long := max(w, h, 1)
	if long > most {
		w, h = max(1, w*most/long), max(1, h*most/long)
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			x0, x1 := b.Min.X+x*b.Dx()/w, b.Min.X+max(x*b.Dx()/w+1, (x+1)*b.Dx()/w)
			y0, y1 := b.Min.Y+y*b.Dy()/h, b.Min.Y+max(y*b.Dy()/h+1, (y+1)*b.Dy()/h)
			var sum [3]uint64
			n := uint64(0)
			for j := y0; j < y1; j++ {
				for i := x0; i < x1; i++ {
					r, g, bl, a := m.At(i, j).RGBA()
					white := 0xffff - a
					sum[0], sum[1], sum[2], n = sum[0]+uint64(r+white), sum[1]+uint64(g+white), sum[2]+uint64(bl+white), n+1
				}
			}
			out.SetRGBA(x, y, color.RGBA{uint8(sum[0] / n >> 8), uint8(sum[1] / n >> 8), uint8(sum[2] / n >> 8), 0xff})
		}
	}
	return out
}
