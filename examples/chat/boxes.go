package main

import (
	"fmt"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"
	"github.com/rivo/uniseg"
)

// The parts of the screen draw texts as they are. tview's own parts would read some of what
// others say as markup.

// put draws a text from x on, as far as there is room, and returns where it ends.
func put(t tcell.Screen, x, y, end int, text string, style tcell.Style) int {
	for g := uniseg.NewGraphemes(text); g.Next(); {
		w := g.Width()
		if x+w > end {
			break
		}
		if w > 0 {
			t.Put(x, y, g.Str(), style)
		}
		x += w
	}
	return x
}

// bar is one line of text.
type bar struct {
	*tview.Box
	text  string
	style tcell.Style
}

// Draw implements tview.Primitive.
func (b *bar) Draw(t tcell.Screen) {
	x, y, w, _ := b.GetInnerRect()
	for i := range w {
		t.Put(x+i, y, " ", b.style)
	}
	put(t, x, y, x+w, " "+b.text, b.style)
}

// listBox is the list of chats.
type listBox struct {
	*tview.Box
	rows []row
	top  int
}

// Draw implements tview.Primitive.
func (b *listBox) Draw(t tcell.Screen) {
	b.DrawForSubclass(t, b)
	x, y, w, h := b.GetInnerRect()
	for i, r := range b.rows { // the current one stays in sight
		if r.Current {
			b.top = min(b.top, i)
			b.top = max(b.top, i-h+1)
		}
	}
	for i := 0; i < h && b.top+i < len(b.rows); i++ {
		r, style := b.rows[b.top+i], tcell.StyleDefault
		if r.Unread > 0 {
			style = style.Bold(true)
		}
		if r.Named {
			style = style.Foreground(tcell.ColorRed)
		}
		if r.Current {
			style = style.Reverse(true)
		}
		count := ""
		if r.Unread > 0 {
			count = fmt.Sprintf(" %d", r.Unread)
			if r.Named {
				count += "!"
			}
		}
		mark := r.Mark
		if mark == "" {
			mark = " "
		}
		right := x + w - 1 - len(count)
		for at := put(t, x, y+i, right, mark+" "+r.Name, style); at < right; at++ {
			t.Put(at, y+i, " ", style)
		}
		put(t, right, y+i, x+w-1, count, style)
		t.Put(x+w-1, y+i, "│", tcell.StyleDefault)
	}
	for i := max(len(b.rows)-b.top, 0); i < h; i++ {
		t.Put(x+w-1, y+i, "│", tcell.StyleDefault)
	}
}

// logBox is what was said in a chat, the newest at the bottom.
type logBox struct {
	*tview.Box
	lines []line
	of    string // the chat
	back  int    // how many lines of the screen it is scrolled back
	page  int
	more  func()
	end   bool // the oldest line is on the screen
}

func (b *logBox) scroll(pages int) {
	b.back = max(b.back+pages*max(b.page-2, 1), 0)
	if pages > 0 && b.end {
		b.more()
	}
}

// Draw implements tview.Primitive.
func (b *logBox) Draw(t tcell.Screen) {
	b.DrawForSubclass(t, b)
	x, y, w, h := b.GetInnerRect()
	b.page = h
	type drawn struct {
		text  string
		style tcell.Style
	}
	// From the newest back, as far as the screen shows.
	var rows []drawn
	i := len(b.lines) - 1
	for ; i >= 0 && len(rows) < h+b.back; i-- {
		text, style := b.lines[i].format()
		parts := wrap(text, w-1)
		for j := len(parts) - 1; j >= 0; j-- {
			rows = append(rows, drawn{parts[j], style})
		}
	}
	b.end = i < 0
	b.back = max(min(b.back, len(rows)-h), 0)
	for i := range h {
		if j := b.back + h - 1 - i; j < len(rows) {
			put(t, x, y+i, x+w, rows[j].text, rows[j].style)
		}
	}
}

// format is a line as it is read, and how it looks.
func (l line) format() (string, tcell.Style) {
	at := l.At.Local().Format("15:04")
	if l.Kind == notice {
		return at + " -- " + l.Text, tcell.StyleDefault.Dim(true)
	}
	if l.Number > 0 {
		at += fmt.Sprintf(" #%d", l.Number)
	}
	text := at + " " + l.Who + ": " + l.Text
	if l.Tail != "" {
		text += "  " + l.Tail
	}
	switch l.Kind {
	case own:
		return text, tcell.StyleDefault.Foreground(tcell.ColorTeal)
	case naming:
		return text, tcell.StyleDefault.Foreground(tcell.ColorRed).Bold(true)
	}
	return text, tcell.StyleDefault
}
