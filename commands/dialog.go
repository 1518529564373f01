package commands

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/disco"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// What can go wrong, beside a [stanza.Error] from who serves the command.
var (
	// ErrAction is returned for an action that the stage does not offer.
	ErrAction = errors.New("commands: this stage does not offer the action")
	// ErrDone is returned when the command is over.
	ErrDone = errors.New("commands: the command is completed or cancelled")
	// ErrAnswer is returned for answers that are not about the command.
	ErrAnswer = errors.New("commands: the answer is not about this command")
)

// List returns the commands of an entity that it lets us use (XEP-0050 §2.2).
func List(ctx context.Context, s confab.Requester, to jid.JID) ([]disco.Item, error) {
	var list []disco.Item
	for it, err := range disco.Items(ctx, s, to, NS) {
		if err != nil {
			return nil, err
		}
		if it.Node != "" {
			list = append(list, it)
		}
	}
	return list, nil
}

// A Dialog is a command that we use. Its methods may be called from any goroutine;
// they take turns.
type Dialog struct {
	s    confab.Requester
	to   jid.JID
	node string
	lang string
	turn chan struct{} // holds one value while nobody asks
	id   string        // of the session, for whose turn it is

	mu    sync.Mutex
	stage Stage
}

// An Option is an option of [Execute].
type Option func(*Dialog)

// Lang asks for a language, such as "de"; the stream is in English.
func Lang(tag string) Option { return func(d *Dialog) { d.lang = tag } }

// Execute begins the command with this node (XEP-0050 §2.4).
func Execute(ctx context.Context, s confab.Requester, to jid.JID, node string, opts ...Option) (*Dialog, error) {
	if node == "" {
		return nil, errors.New("commands: a command has a node")
	}
	d := &Dialog{s: s, to: to, node: node, turn: make(chan struct{}, 1)}
	for _, f := range opts {
		f(d)
	}
	if err := d.ask(ctx, Execution, nil); err != nil {
		return nil, err
	}
	d.turn <- struct{}{}
	return d, nil
}

// Stage returns what the command shows now. Its form may be filled in.
func (d *Dialog) Stage() Stage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stage
}

// Submit does what the stage does by default, with a form: see [Dialog.Do].
func (d *Dialog) Submit(ctx context.Context, f *form.Form) error { return d.Do(ctx, Execution, f) }

// Next goes on to the next stage, with a form: see [Dialog.Do].
func (d *Dialog) Next(ctx context.Context, f *form.Form) error { return d.Do(ctx, Next, f) }

// Complete finishes the command, with a form: see [Dialog.Do].
func (d *Dialog) Complete(ctx context.Context, f *form.Form) error { return d.Do(ctx, Complete, f) }

// Prev goes back to the stage before.
func (d *Dialog) Prev(ctx context.Context) error { return d.Do(ctx, Prev, nil) }

// Cancel ends the command. Doing so when it is over does nothing.
func (d *Dialog) Cancel(ctx context.Context) error {
	if err := d.Do(ctx, Cancel, nil); !errors.Is(err, ErrDone) {
		return err
	}
	return nil
}

// Do takes an action, and returns when the command shows its next stage. F, if not
// nil, goes with it: the form of the stage, filled in, or one that was submitted
// already ([form.Form.Submit]). What the stage does not offer and what the form does
// not take are refused before anything is sent.
func (d *Dialog) Do(ctx context.Context, a Action, f *form.Form) error {
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	stage := d.Stage()
	if stage.Status != Executing {
		return ErrDone
	}
	switch a {
	case Cancel:
	case Execution:
		if stage.Default == "" {
			return fmt.Errorf("%w: it has no default", ErrAction)
		}
		a = stage.Default
	default:
		if !slices.Contains(stage.Actions, a) {
			return fmt.Errorf("%w: %q", ErrAction, a)
		}
	}
	if f != nil {
		switch f.Type {
		case form.Questions:
			var err error
			if f, err = f.Submit(); err != nil {
				return err
			}
		case form.Answers:
		default:
			return fmt.Errorf("commands: a form of type %q cannot be submitted", f.Type)
		}
	}
	return d.ask(ctx, a, f)
}

// ask sends an action and takes the answer.
func (d *Dialog) ask(ctx context.Context, a Action, f *form.Form) error {
	req := confab.El(NS, "command").Set("node", d.node).Set("sessionid", d.id).Set("action", string(a))
	if d.lang != "" {
		req.Attr = append(req.Attr, xml.Attr{Name: xml.Name{Space: nsXML, Local: "lang"}, Value: d.lang})
	}
	if f != nil {
		req.Add(f.Element())
	}
	var el confab.Element
	if err := confab.Do(ctx, d.s, stanza.IQ{Type: stanza.SetIQ, To: d.to}, req, &el); err != nil {
		return fmt.Errorf("commands: %s: %w", d.node, err)
	}
	id := el.Get("sessionid")
	if !el.Is(NS, "command") || el.Get("node") != "" && el.Get("node") != d.node || d.id != "" && id != "" && id != d.id {
		return ErrAnswer
	}
	st := parseStage(&el)
	switch st.Status {
	case Completed, Canceled:
	case Executing:
		if d.id == "" && (id == "" || len(id) > 4096) {
			return ErrAnswer
		}
	default:
		return fmt.Errorf("%w: status %q", ErrAnswer, el.Get("status"))
	}
	if d.id == "" {
		d.id = strings.Clone(id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stage = st
	return nil
}
