package vcard

import (
	"crypto/sha1" // what XEP-0392 is made of
	"encoding/binary"
	"image/color"
	"math"
)

// Hue returns the angle, in degrees from 0 to 360, that stands for a name in all
// clients (XEP-0392 §5.1). Names are nicknames in rooms, and bare addresses, in the
// form that jid.JID.String gives, elsewhere.
func Hue(name string) float64 {
	sum := sha1.Sum([]byte(name))
	return float64(binary.LittleEndian.Uint16(sum[:])) / 65536 * 360
}

// Color returns the colour that stands for a name, of full saturation and a
// lightness of 50, which can be read on white and on black: those of the XEP's
// examples. Use [ColorOf] for others.
func Color(name string) color.NRGBA { return ColorOf(Hue(name), 100, 50) }

// ColorOf turns a hue in degrees with a saturation and a lightness from 0 to 100, as
// HSLuv has them, into a colour (XEP-0392 §5.2).
func ColorOf(hue, saturation, lightness float64) color.NRGBA {
	r, g, b := hsluv(hue, saturation, lightness)
	to := func(v float64) uint8 { return uint8(math.Round(min(max(v, 0), 1) * 255)) }
	return color.NRGBA{to(r), to(g), to(b), 255}
}

// Nearest returns the index of the colour in a palette that comes closest to a hue,
// or -1 if there is none: greys do not count (XEP-0392 §§5.3, 5.4).
func Nearest(hue float64, palette []color.Color) int {
	best, bestDistance, bestLight := -1, math.Inf(1), math.Inf(1)
	alpha := math.Mod(math.Round(hue), 360)
	for i, c := range palette {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		if n.R == n.G && n.G == n.B {
			continue
		}
		h, l := hueOf(float64(n.R)/255, float64(n.G)/255, float64(n.B)/255)
		beta := math.Round(h)
		d := math.Mod(math.Abs(hue-beta), 360)
		if d = min(d, 360-d); math.Mod(beta, 360) == alpha {
			d = -1 // an exact match
		}
		light := math.Abs(l - 73.2)
		if d < bestDistance || d == bestDistance && light < bestLight {
			best, bestDistance, bestLight = i, d, light
		}
	}
	return best
}

// What follows is HSLuv (www.hsluv.org, revision 4): the colour space CIELUV with
// the chroma stretched to what sRGB can show.

var (
	toRGB = [3][3]float64{
		{3.240969941904521, -1.537383177570093, -0.498610760293},
		{-0.96924363628087, 1.87596750150772, 0.041555057407175},
		{0.055630079696993, -0.20397695888897, 1.056971514242878},
	}
	toXYZ = [3][3]float64{
		{0.41239079926595, 0.35758433938387, 0.18048078840183},
		{0.21263900587151, 0.71516867876775, 0.072192315360733},
		{0.019330818715591, 0.11919477979462, 0.95053215224966},
	}
)

const (
	refU    = 0.19783000664283
	refV    = 0.46831999493879
	kappa   = 903.2962962
	epsilon = 0.0088564516
)

func hsluv(h, s, l float64) (r, g, b float64) {
	if l <= 1e-8 {
		return 0, 0, 0
	}
	if l >= 100-1e-7 {
		return 1, 1, 1
	}
	rad := h / 360 * 2 * math.Pi
	c := maxChroma(l, rad) / 100 * s
	u, v := math.Cos(rad)*c/(13*l)+refU, math.Sin(rad)*c/(13*l)+refV
	y := l / kappa
	if l > 8 {
		y = math.Pow((l+16)/116, 3)
	}
	x := 9 * y * u / (4 * v)
	z := (9*y - 15*v*y - v*x) / (3 * v)
	var out [3]float64
	for i, m := range toRGB {
		lin := m[0]*x + m[1]*y + m[2]*z
		if lin <= 0.0031308 {
			out[i] = 12.92 * lin
		} else {
			out[i] = 1.055*math.Pow(lin, 1/2.4) - 0.055
		}
	}
	return out[0], out[1], out[2]
}

// maxChroma returns how much colour sRGB can show in this direction: the distance to
// the nearest of the six lines that bound it.
func maxChroma(l, rad float64) float64 {
	sub1 := math.Pow(l+16, 3) / 1560896
	sub2 := sub1
	if sub1 <= epsilon {
		sub2 = l / kappa
	}
	least := math.Inf(1)
	for _, m := range toRGB {
		for t := range 2 {
			top1 := (284517*m[0] - 94839*m[2]) * sub2
			top2 := (838422*m[2]+769860*m[1]+731718*m[0])*l*sub2 - 769860*float64(t)*l
			bottom := (632260*m[2]-126452*m[1])*sub2 + 126452*float64(t)
			slope, intercept := top1/bottom, top2/bottom
			if d := intercept / (math.Sin(rad) - slope*math.Cos(rad)); d >= 0 {
				least = min(least, d)
			}
		}
	}
	return least
}

// hueOf returns the hue and the lightness of a colour of sRGB.
func hueOf(r, g, b float64) (h, l float64) {
	var lin, xyz [3]float64
	for i, c := range [3]float64{r, g, b} {
		if c > 0.04045 {
			lin[i] = math.Pow((c+0.055)/1.055, 2.4)
		} else {
			lin[i] = c / 12.92
		}
	}
	for i, m := range toXYZ {
		xyz[i] = m[0]*lin[0] + m[1]*lin[1] + m[2]*lin[2]
	}
	x, y, z := xyz[0], xyz[1], xyz[2]
	l = y * kappa
	if y > epsilon {
		l = 116*math.Cbrt(y) - 16
	}
	d := x + 15*y + 3*z
	if l == 0 || d == 0 {
		return 0, 0
	}
	h = math.Atan2(9*y/d-refV, 4*x/d-refU) * 180 / math.Pi
	if h < 0 {
		h += 360
	}
	return h, l
}
