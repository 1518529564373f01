package upload

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// page makes a page of an Ogg file (RFC 3533 §6). Its checksum is not looked at.
func page(serial uint32, granule uint64, data []byte) []byte {
	b := append([]byte("OggS\x00\x00"), make([]byte, 20)...)
	binary.LittleEndian.PutUint64(b[6:], granule)
	binary.LittleEndian.PutUint32(b[14:], serial)
	n := len(data)
	b = append(b, byte(n/255+1))
	for ; n >= 255; n -= 255 {
		b = append(b, 255)
	}
	return append(append(b, byte(n)), data...)
}

// opus makes the frame of an Opus file with so many samples, of which 312 are to be
// skipped.
func opus(samples uint64) []byte {
	head := append([]byte("OpusHead\x01\x01"), 56, 1, 0x80, 0xbb, 0, 0, 0, 0, 0)
	b := page(7, 0, head)
	b = append(b, page(7, 0, []byte("OpusTags"))...)
	b = append(b, page(7, samples+312, make([]byte, 400))...)
	return append(b, page(8, 1<<40, nil)...) // of another stream
}

func TestSoundLength(t *testing.T) {
	length := func(b []byte) time.Duration {
		return soundLength(b, int64(len(b)), func() []byte { return b })
	}
	require.Equal(t, 2500*time.Millisecond, length(opus(120_000)))
	vorbis := append([]byte("\x01vorbis\x00\x00\x00\x00\x01"), 0x44, 0xac, 0, 0)
	require.Equal(t, 3*time.Second, length(append(page(1, 0, vorbis), page(1, 3*44100, nil)...)))
	require.Zero(t, length(nil))
	require.Zero(t, length([]byte("ID3 and so on, which is MP3")))
	b := opus(1)
	for i := range b {
		_ = length(b[:i]) // does not panic
	}
	require.Zero(t, length(append(page(1, 0, vorbis), page(1, 1<<62, nil)...)), "nobody speaks for so long")

	f, err := probe(FromBytes("said.ogg", opus(48_000)), false)
	require.NoError(t, err)
	require.True(t, f.Voice())
	require.Equal(t, "audio/ogg", f.Type)
	require.Equal(t, time.Second, f.Length)
}
