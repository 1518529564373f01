package upload

import (
	"encoding/binary"
	"io"
	"math"
	"time"
)

// webpSize returns the size of a WebP picture (RFC 9649 §2), 0 and 0 if this is none.
func webpSize(b []byte) (width, height int) {
	if len(b) < 30 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WEBP" {
		return 0, 0
	}
	le := binary.LittleEndian
	switch string(b[12:16]) {
	case "VP8 ":
		if b[23] == 0x9d && b[24] == 0x01 && b[25] == 0x2a {
			return int(le.Uint16(b[26:]) & 0x3fff), int(le.Uint16(b[28:]) & 0x3fff)
		}
	case "VP8L":
		if b[20] == 0x2f {
			n := le.Uint32(b[21:])
			return int(n&0x3fff) + 1, int(n>>14&0x3fff) + 1
		}
	case "VP8X":
		u24 := func(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
		return u24(b[24:]) + 1, u24(b[27:]) + 1
	}
	return 0, 0
}

// maxBoxes bounds how many boxes of a file are looked at.
const maxBoxes = 256

// mp4Length returns how long a sound or film in a file of boxes lasts (ISO 14496-12 §8.2),
// such as M4A, 0 if that is not known. The box that tells may stand at the end.
func mp4Length(in io.Reader, size int64) time.Duration {
	s, ok := in.(io.ReadSeeker)
	if !ok {
		return 0
	}
	at, end := int64(0), size
	for range maxBoxes {
		var h [16]byte
		if _, err := s.Seek(at, io.SeekStart); err != nil || end-at < 8 {
			return 0
		}
		if _, err := io.ReadFull(s, h[:8]); err != nil {
			return 0
		}
		n, body := int64(binary.BigEndian.Uint32(h[:])), int64(8)
		switch n {
		case 0:
			n = end - at
		case 1:
			if _, err := io.ReadFull(s, h[8:]); err != nil {
				return 0
			}
			u := binary.BigEndian.Uint64(h[8:])
			if u > math.MaxInt64 {
				return 0
			}
			n, body = int64(u), 16
		}
		if n < body || n > end-at {
			return 0
		}
		switch string(h[4:8]) {
		case "moov":
			at, end = at+body, at+n
		case "mvhd":
			return mvhdLength(io.LimitReader(s, n-body))
		default:
			at += n
		}
	}
	return 0
}

// mvhdLength reads the box that tells.
func mvhdLength(r io.Reader) time.Duration {
	var b [32]byte
	n, _ := io.ReadFull(r, b[:])
	var scale, length uint64
	switch {
	case n >= 20 && b[0] == 0:
		scale, length = uint64(binary.BigEndian.Uint32(b[12:])), uint64(binary.BigEndian.Uint32(b[16:]))
	case n >= 32 && b[0] == 1:
		scale, length = uint64(binary.BigEndian.Uint32(b[20:])), binary.BigEndian.Uint64(b[24:])
	}
	if scale == 0 || length == 0 || float64(length)/float64(scale) > maxSound.Seconds() {
		return 0
	}
	return time.Duration(float64(length) / float64(scale) * float64(time.Second))
}
