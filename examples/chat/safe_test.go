package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/assert"
)

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, ünïcödé 😀":             "plain text, ünïcödé 😀",
		"two\nlines\r\nand more":            "two\nlines\nand more",
		"\x1b]0;title\a\x1b[31m":            "␛]0;title␇␛[31m",
		"\u009b31m":                         "\ufffd31m",
		"a\x7fb\x00":                        "a␡b␀",
		"abc\u202edcba\u2066x":              "abc\ufffddcba\ufffdx",
		"in\u200bvisible\ufeff":             "invisible",
		"family \U0001F468\u200d\U0001F469": "family \U0001F468\u200d\U0001F469",
		"bad \xff utf-8":                    "bad \ufffd utf-8",
		"a\tb":                              "a    b",
		"\U000e0041tag":                     "tag",
	} {
		assert.Equal(t, want, safeText(in))
	}
	assert.Equal(t, "one line", safeLine("one\nline\u2028", 20))
	assert.Equal(t, "cut…", safeLine("cut off", 3))
	huge := safeText(strings.Repeat("y", 10<<20))
	assert.Less(t, utf8.RuneCountInString(huge), maxText+100)
}

func TestWrap(t *testing.T) {
	assert.Equal(t, []string{"one two ", "three"}, wrap("one two three", 8))
	assert.Equal(t, []string{"abcd", "efgh", "", "x"}, wrap("abcdefgh\n\nx", 4))
	assert.Equal(t, []string{"日本", "語"}, wrap("日本語", 5))
	assert.Nil(t, wrap("x", 0))
}

// FuzzSafe: whatever comes, nothing is left that a terminal would obey, and every line
// has room.
func FuzzSafe(f *testing.F) {
	f.Add("\x1b[2Jhello\u202e 日本 \U0001F468\u200d\U0001F469", 10)
	f.Fuzz(func(t *testing.T, s string, width int) {
		width = 2 + (width&0x7fffffff)%200
		safe := safeText(s)
		if !utf8.ValidString(safe) {
			t.Fatalf("%q", safe)
		}
		for _, r := range safe {
			if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Fatalf("%q of %q", r, s)
			}
		}
		for _, l := range wrap(safe, width) {
			if w := uniseg.StringWidth(strings.TrimRight(l, " ")); w > width {
				t.Fatalf("%q has %d columns, not %d", l, w, width)
			}
		}
	})
}

func TestParse(t *testing.T) {
	for in, want := range map[string][2]string{
		"/JOIN  a@b c ": {"join", "a@b c"},
		"/quit":         {"quit", ""},
	} {
		name, arg, ok := parse(in)
		assert.True(t, ok)
		assert.Equal(t, want, [2]string{name, arg})
	}
	for _, in := range []string{"hello", "/me waves", "", " /quit", `\/etc`} {
		_, _, ok := parse(in)
		assert.False(t, ok, in)
	}
	for in, want := range map[string]int{"#12 text": 12, "#0 text": 0, "#-1": 0, "#1x": 0, "12": 0, "#99999999999999999999": 0, "": 0} {
		n, rest := numbered(in)
		assert.Equal(t, want, n, in)
		if n == 0 {
			assert.Equal(t, in, rest)
		} else {
			assert.Equal(t, "text", rest)
		}
	}
}
