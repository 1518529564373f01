package main

import (
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// terminal is as much of a terminal as the program needs: text, the place of the cursor,
// and wiping. Colours are passed over.
type terminal struct {
	mu    sync.Mutex
	w, h  int
	cells [][]string
	x, y  int
	rest  []byte // what is not complete yet
}

func newTerminal(w, h int) *terminal {
	t := &terminal{w: w, h: h}
	t.wipe()
	return t
}

func (t *terminal) wipe() {
	t.cells = make([][]string, t.h)
	for y := range t.cells {
		t.cells[y] = make([]string, t.w)
		t.wipeLine(y, 0)
	}
}

func (t *terminal) wipeLine(y, from int) {
	for x := from; x < t.w; x++ {
		t.cells[y][x] = " "
	}
}

// String is what is on the screen.
func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, row := range t.cells {
		b.WriteString(strings.TrimRight(strings.Join(row, ""), " ") + "\n")
	}
	return b.String()
}

// Write takes what the program writes.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rest = append(t.rest, p...)
	for len(t.rest) > 0 {
		n := t.take(string(t.rest))
		if n == 0 {
			break
		}
		t.rest = t.rest[n:]
	}
	return len(p), nil
}

// take obeys the first thing in s and returns how long it is, 0 if it is not complete.
func (t *terminal) take(s string) int {
	switch {
	case strings.HasPrefix(s, "\x1b["):
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				t.control(s[2:i], s[i])
				return i + 1
			}
		}
		return 0
	case strings.HasPrefix(s, "\x1b]"), strings.HasPrefix(s, "\x1bP"): // titles and such
		for i := 2; i < len(s); i++ {
			if s[i] == '\a' {
				return i + 1
			}
			if strings.HasPrefix(s[i:], "\x1b\\") {
				return i + 2
			}
		}
		return 0
	case strings.HasPrefix(s, "\x1b("), strings.HasPrefix(s, "\x1b)"):
		return min(len(s), 3) / 3 * 3
	case s[0] == '\x1b':
		return min(len(s), 2) / 2 * 2
	case s[0] == '\r':
		t.x = 0
		return 1
	case s[0] == '\n':
		t.y = min(t.y+1, t.h-1)
		return 1
	case s[0] == '\b':
		t.x = max(t.x-1, 0)
		return 1
	case s[0] < ' ':
		return 1
	}
	return t.print(s)
}

// print puts one cluster of letters on the screen. At the end of what was read it may be
// only the beginning of one.
func (t *terminal) print(s string) int {
	end := strings.IndexFunc(s, func(r rune) bool { return r < ' ' })
	if end < 0 {
		end = len(s)
	}
	g, _, w, _ := uniseg.FirstGraphemeClusterInString(s[:end], -1)
	if g == s && s[len(s)-1] >= utf8.RuneSelf {
		return 0
	}
	if t.x < t.w && t.y < t.h && w > 0 {
		t.cells[t.y][t.x] = g
		for i := t.x + 1; i < min(t.x+w, t.w); i++ {
			t.cells[t.y][i] = ""
		}
		if t.x+w < t.w && t.cells[t.y][t.x+w] == "" {
			t.cells[t.y][t.x+w] = " " // the second half of what was there
		}
	}
	t.x += w
	return len(g)
}

func (t *terminal) control(args string, what byte) {
	if strings.HasPrefix(args, "?") || strings.HasPrefix(args, ">") {
		return
	}
	arg := func(i, otherwise int) int {
		if parts := strings.Split(args, ";"); i < len(parts) {
			if n, err := strconv.Atoi(parts[i]); err == nil {
				return n
			}
		}
		return otherwise
	}
	switch what {
	case 'H', 'f':
		t.y, t.x = min(max(arg(0, 1), 1), t.h)-1, min(max(arg(1, 1), 1), t.w)-1
	case 'A':
		t.y = max(t.y-arg(0, 1), 0)
	case 'B':
		t.y = min(t.y+arg(0, 1), t.h-1)
	case 'C':
		t.x = min(t.x+arg(0, 1), t.w-1)
	case 'D':
		t.x = max(t.x-arg(0, 1), 0)
	case 'J':
		if arg(0, 0) == 2 {
			t.wipe()
			return
		}
		t.wipeLine(t.y, t.x)
		for y := t.y + 1; y < t.h; y++ {
			t.wipeLine(y, 0)
		}
	case 'K':
		t.wipeLine(t.y, t.x)
	}
}
