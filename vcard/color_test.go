package vcard_test

import (
	"image/color"
	"testing"

	"github.com/confab-im/confab/vcard"
	"github.com/stretchr/testify/assert"
)

// The vectors of XEP-0392 §13.
func TestColor(t *testing.T) {
	for name, want := range map[string]struct{ hue, r, g, b float64 }{
		"Romeo":              {327.255249, 0.865, 0.000, 0.686},
		"juliet@capulet.lit": {209.410400, 0.000, 0.515, 0.573},
		"😺":                  {331.199341, 0.872, 0.000, 0.659},
		"council":            {359.994507, 0.918, 0.000, 0.394},
		"Board":              {171.430664, 0.000, 0.527, 0.457},
	} {
		assert.InDelta(t, want.hue, vcard.Hue(name), 1e-6, name)
		c := vcard.Color(name)
		for i, v := range []float64{want.r, want.g, want.b} {
			assert.InDelta(t, v, float64([]uint8{c.R, c.G, c.B}[i])/255, 0.003, "%s %d", name, i)
		}
	}
	assert.Equal(t, color.NRGBA{0, 0, 0, 255}, vcard.ColorOf(10, 100, 0))
	assert.Equal(t, color.NRGBA{255, 255, 255, 255}, vcard.ColorOf(10, 100, 100))
}

// The vectors for the 216 colours that are safe on the web.
func TestNearest(t *testing.T) {
	var palette []color.Color
	for r := range 6 {
		for g := range 6 {
			for b := range 6 {
				palette = append(palette, color.NRGBA{uint8(r * 51), uint8(g * 51), uint8(b * 51), 255})
			}
		}
	}
	for name, want := range map[string]color.NRGBA{
		"Romeo":              {255, 0, 204, 255},
		"juliet@capulet.lit": {0, 204, 255, 255},
		"😺":                  {255, 102, 204, 255},
		"council":            {204, 51, 102, 255},
		"Board":              {0, 255, 204, 255},
	} {
		i := vcard.Nearest(vcard.Hue(name), palette)
		assert.Equal(t, want, palette[i], name)
	}
	assert.Equal(t, -1, vcard.Nearest(10, []color.Color{color.Gray{10}}))
}

func BenchmarkColor(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		vcard.Color("juliet@capulet.lit")
	}
}
