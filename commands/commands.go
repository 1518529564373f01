package commands

import (
	"slices"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
)

// NS is the namespace of ad-hoc commands, which is also the feature of who serves
// them and the node under which they are listed.
const NS = "http://jabber.org/protocol/commands"

const nsXML = "http://www.w3.org/XML/1998/namespace"

// An Action is what the user of a command does next (XEP-0050 §4.1).
type Action string

// The actions.
const (
	// Execution begins a command; later it stands for the stage's default.
	Execution Action = "execute"
	Next      Action = "next"
	Prev      Action = "prev"
	Complete  Action = "complete"
	Cancel    Action = "cancel"
)

// A Status says how far a command has come.
type Status string

// The states of a command.
const (
	Executing Status = "executing"
	Completed Status = "completed"
	Canceled  Status = "canceled"
)

// A NoteType says what kind of note it is.
type NoteType string

// The types of notes.
const (
	Information NoteType = "info"
	Warning     NoteType = "warn"
	Failure     NoteType = "error"
)

// A Note is something to tell the user of a command.
type Note struct {
	Type NoteType
	Text string
}

// A Stage is what a command shows.
type Stage struct {
	Status Status
	// Actions are what may be done next, beside [Cancel], which always may. Default is
	// what [Dialog.Submit] does.
	Actions []Action
	Default Action
	Notes   []Note
	// Form is a form to fill in or, at the end, a result; nil if there is none.
	Form *form.Form
	// Payload is everything but actions and notes, the form included, in the order of
	// precedence.
	Payload []*confab.Element
}

// Failed returns the first note that tells of a failure: a command that completes need
// not have succeeded.
func (s Stage) Failed() (text string, failed bool) {
	for _, n := range s.Notes {
		if n.Type == Failure {
			return n.Text, true
		}
	}
	return "", false
}

// maxParts bounds what a command may hold.
const maxParts = 256

// parseStage reads a <command/> from who serves it.
func parseStage(el *confab.Element) Stage {
	s := Stage{Status: Status(el.Get("status"))}
	for i, c := range el.Children {
		if i == maxParts {
			break
		}
		switch {
		case c.Is(NS, "actions"):
			s.Actions, s.Default = parseActions(c)
		case c.Is(NS, "note"):
			n := Note{Type: NoteType(c.Get("type")), Text: c.FullText()}
			if n.Type != Warning && n.Type != Failure {
				n.Type = Information
			}
			s.Notes = append(s.Notes, n)
		case c.Name.Space == NS:
		default:
			s.Payload = append(s.Payload, c)
		}
	}
	s.Form = form.Find(el, "")
	if s.Status != Executing {
		s.Actions, s.Default = nil, ""
		return s
	}
	if el.Child(NS, "actions") == nil { // §3.4: a single stage
		s.Actions, s.Default = []Action{Complete}, Execution
	}
	return s
}

func parseActions(el *confab.Element) (list []Action, def Action) {
	for _, c := range el.Children {
		switch a := Action(c.Name.Local); a {
		case Next, Prev, Complete:
			if c.Name.Space == NS && !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	def = Action(el.Get("execute"))
	if def == "" {
		def = Next
	}
	if !slices.Contains(list, def) {
		def = "" // §3.4: such a stage is not valid; there is no default
	}
	return list, def
}

// element makes the <command/> that shows s.
func (s Stage) element(node, id string) *confab.Element {
	el := confab.El(NS, "command").Set("node", node).Set("sessionid", id).Set("status", string(s.Status))
	if s.Status == Executing {
		a := confab.El(NS, "actions").Set("execute", string(s.Default))
		for _, x := range s.Actions {
			a.Add(confab.El(NS, string(x)))
		}
		el.Add(a)
	}
	if s.Form != nil {
		el.Add(s.Form.Element())
	}
	el.Add(s.Payload...)
	for _, n := range s.Notes {
		el.Add(confab.El(NS, "note").Set("type", string(n.Type)).SetText(n.Text))
	}
	return el
}
