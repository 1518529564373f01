package main

import (
	"strings"
	"sync"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"
)

// screen shows views and takes keys. It knows nothing of XMPP.
type screen struct {
	a     *app
	tv    *tview.Application
	list  *listBox
	log   *logBox
	title *bar
	foot  *bar
	input *tview.InputField

	mu   sync.Mutex
	v    view // the newest
	due  bool // it is about to be drawn
	past []string
	at   int // in past
}

func newScreen(a *app) *screen {
	s := &screen{a: a, tv: tview.NewApplication(), input: tview.NewInputField()}
	s.list = &listBox{Box: tview.NewBox()}
	s.log = &logBox{Box: tview.NewBox(), more: a.more}
	s.title = &bar{Box: tview.NewBox(), style: tcell.StyleDefault.Reverse(true)}
	s.foot = &bar{Box: tview.NewBox(), style: tcell.StyleDefault.Reverse(true)}
	s.input.SetLabel("> ").SetFieldStyle(tcell.StyleDefault).SetLabelStyle(tcell.StyleDefault.Bold(true))
	s.input.SetChangedFunc(a.composing)
	s.input.SetDoneFunc(func(key tcell.Key) {
		if key == tcell.KeyEnter {
			s.entered()
		}
	})
	right := tview.NewFlex().SetDirection(tview.FlexRow).
		AddItem(s.title, 1, 0, false).AddItem(s.log, 0, 1, false).
		AddItem(s.foot, 1, 0, false).AddItem(s.input, 1, 0, true)
	all := tview.NewFlex().AddItem(s.list, 30, 0, false).AddItem(right, 0, 1, true)
	s.tv.SetRoot(all, true).EnablePaste(true).SetInputCapture(s.key)
	return s
}

// run shows the screen until the user wants to end.
func (s *screen) run() error { return s.tv.Run() }

// show takes a new view.
func (s *screen) show(v view) {
	s.mu.Lock()
	s.v = v
	due := s.due
	s.due = true
	s.mu.Unlock()
	if !due {
		go s.tv.QueueUpdateDraw(s.update) // which never returns when the screen has ended
	}
}

func (s *screen) update() {
	s.mu.Lock()
	v := s.v
	s.due = false
	s.mu.Unlock()
	s.list.rows, s.title.text = v.Rows, v.Title
	if of := v.Chat.String(); of != s.log.of {
		s.log.of, s.log.back = of, 0
	}
	s.log.lines = v.Lines
	s.foot.text = strings.TrimSpace("[" + v.Status + "] " + v.Typing)
}

// entered takes the line that was typed.
func (s *screen) entered() {
	text := s.input.GetText()
	s.input.SetText("")
	if strings.TrimSpace(text) != "" {
		s.past = append(s.past, text)
	}
	s.at = len(s.past)
	s.log.back = 0
	if strings.TrimSpace(text) == "/quit" {
		s.tv.Stop()
		return
	}
	s.a.enter(text)
}

// key takes the keys that are not for the line.
func (s *screen) key(e *tcell.EventKey) *tcell.EventKey {
	switch e.Key() {
	case tcell.KeyTab, tcell.KeyCtrlN:
		s.move(1)
	case tcell.KeyBacktab, tcell.KeyCtrlP:
		s.move(-1)
	case tcell.KeyPgUp:
		s.log.scroll(1)
	case tcell.KeyPgDn:
		s.log.scroll(-1)
	case tcell.KeyUp:
		s.recall(-1)
	case tcell.KeyDown:
		s.recall(1)
	case tcell.KeyCtrlC:
		s.tv.Stop()
	case tcell.KeyCtrlL:
		s.tv.Sync()
	default:
		return e
	}
	return nil
}

// move goes up or down the list of chats.
func (s *screen) move(by int) {
	rows := s.list.rows
	for i, r := range rows {
		if r.Current {
			s.a.goTo(rows[(i+by+len(rows))%len(rows)].JID)
			return
		}
	}
}

// recall brings back what was typed before.
func (s *screen) recall(by int) {
	s.at = min(max(s.at+by, 0), len(s.past))
	text := ""
	if s.at < len(s.past) {
		text = s.past[s.at]
	}
	s.input.SetText(text)
}
