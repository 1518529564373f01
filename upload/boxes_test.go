package upload

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func box(name string, inside ...[]byte) []byte {
	b := append([]byte{0, 0, 0, 0}, name...)
	for _, x := range inside {
		b = append(b, x...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

func mvhd(version byte, scale uint32, length uint64) []byte {
	b := []byte{version, 0, 0, 0}
	if version == 0 {
		b = binary.BigEndian.AppendUint32(append(b, make([]byte, 8)...), scale)
		return box("mvhd", binary.BigEndian.AppendUint32(b, uint32(length)), make([]byte, 80))
	}
	b = binary.BigEndian.AppendUint32(append(b, make([]byte, 16)...), scale)
	return box("mvhd", binary.BigEndian.AppendUint64(b, length), make([]byte, 80))
}

// TestBoxes finds out how long sounds in M4A last, wherever the file tells it.
func TestBoxes(t *testing.T) {
	ftyp, mdat := box("ftyp", []byte("M4A isom")), box("mdat", make([]byte, 100_000))
	for name, c := range map[string]struct {
		data []byte
		want time.Duration
	}{
		"before": {bytes.Join([][]byte{ftyp, box("moov", mvhd(0, 1000, 2500)), mdat}, nil), 2500 * time.Millisecond},
		"behind": {bytes.Join([][]byte{ftyp, mdat, box("moov", box("free"), mvhd(1, 48000, 96000))}, nil), 2 * time.Second},
		"none":   {append(ftyp, mdat...), 0},
		"zero":   {append(ftyp, box("moov", mvhd(0, 0, 5))...), 0},
		"ages":   {append(ftyp, box("moov", mvhd(1, 1, 1<<62))...), 0},
		"short":  {append(ftyp, box("moov", box("mvhd", []byte{0}))...), 0},
		"loop":   {append(ftyp, 0, 0, 0, 1, 'f', 'r', 'e', 'e', 0, 0, 0, 0, 0, 0, 0, 0), 0},
	} {
		f, err := probe(FromBytes("voice.m4a", c.data), false)
		require.NoError(t, err)
		require.Equal(t, c.want, f.Length, name)
		require.Equal(t, c.want > 0, f.Voice())
	}
}

// TestWebP finds out the size of pictures in WebP, and makes no thumbnail of them.
func TestWebP(t *testing.T) {
	head := func(kind string, rest ...byte) []byte {
		return append(append([]byte("RIFF\x20\x00\x00\x00WEBP"+kind+"\x10\x00\x00\x00"), rest...), make([]byte, 10)...)
	}
	for _, b := range [][]byte{
		head("VP8 ", 0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01),
		head("VP8L", 0x2f, 0x7f, 0xc2, 0x77, 0x00, 0, 0, 0, 0, 0),
		head("VP8X", 0, 0, 0, 0, 0x7f, 0x02, 0, 0xdf, 0x01, 0),
	} {
		f, err := probe(FromBytes("x.webp", b), true)
		require.NoError(t, err)
		require.Equal(t, [2]int{640, 480}, [2]int{f.Width, f.Height}, string(b[12:16]))
		require.Empty(t, f.Thumbnails)
	}
	w, h := webpSize(head("VP8 ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	require.Zero(t, w+h)
}

// FuzzBoxes reads anything.
func FuzzBoxes(f *testing.F) {
	f.Add(append(box("ftyp", []byte("M4A isom")), box("moov", mvhd(0, 1000, 2500))...))
	f.Add([]byte("RIFF\x20\x00\x00\x00WEBPVP8X\x10\x00\x00\x00\x00\x00\x00\x00\x7f\x02\x00\xdf\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d := mp4Length(bytes.NewReader(b), int64(len(b))); d < 0 || d > maxSound {
			t.Fatal(d)
		}
		if w, h := webpSize(b); w < 0 || h < 0 {
			t.Fatal(w, h)
		}
	})
}
