package commands

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// session is a command that somebody uses.
type session struct {
	id, node string
	from     jid.JID
	used     time.Time // guarded by the Server's lock
	busy     bool      // a handler runs; guarded by the Server's lock
	cancel   func()    // ends the context of that handler; likewise
	// What follows is for the goroutine that made it busy.
	step  int
	shown Stage
	state any
}

// find returns the session that a request is about, or a new one, marked as busy. It
// resolves what execute stands for.
func (srv *Server) find(p *confab.Element, from jid.JID) (*session, Action, error) {
	a := Action(p.Get("action"))
	switch a {
	case "":
		a = Execution
	case Execution, Next, Prev, Complete, Cancel:
	default:
		return nil, "", badRequest("malformed-action")
	}
	node, id := p.Get("node"), p.Get("sessionid")
	srv.mu.Lock()
	defer srv.mu.Unlock()
	now := time.Now()
	for key, ss := range srv.sessions {
		if !ss.busy && now.Sub(ss.used) > srv.cfg.Expiry {
			delete(srv.sessions, key)
		}
	}
	if id == "" {
		if a != Execution {
			return nil, "", badRequest("bad-action")
		}
		ss, err := srv.begin(node, from, now)
		return ss, a, err
	}
	ss := srv.sessions[id]
	switch {
	case ss == nil, !ss.from.Equal(from), ss.node != node:
		if len(id) == len(rand.Text()) {
			return nil, "", &refusal{stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed}, "session-expired"}
		}
		return nil, "", badRequest("bad-sessionid")
	case ss.busy && a != Cancel:
		return nil, "", stanza.Error{Type: stanza.Wait, Condition: stanza.UnexpectedRequest}
	case ss.busy: // there is nothing to go on with when its handler is done
		return ss, a, nil
	}
	if a == Execution {
		a = ss.shown.Default
	}
	if a != Cancel && !slices.Contains(ss.shown.Actions, a) {
		return nil, "", badRequest("bad-action")
	}
	ss.busy = true
	return ss, a, nil
}

// full is the error for who asks for too much at once.
var full = stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint}

// begin makes a session. The lock is held.
func (srv *Server) begin(node string, from jid.JID, now time.Time) (*session, error) {
	// Those of the same address give way to new ones; those of others of the same
	// bare address, who may be the occupants of one room, do not.
	var own []*session
	near := 0
	for _, ss := range srv.sessions {
		if ss.from.Equal(from) {
			own = append(own, ss)
		} else if ss.from.Bare().Equal(from.Bare()) {
			near++
		}
	}
	if near >= 8*srv.cfg.MaxPerUser {
		return nil, full
	}
	if len(own) >= srv.cfg.MaxPerUser {
		var oldest *session
		for _, ss := range own {
			if !ss.busy && (oldest == nil || ss.used.Before(oldest.used)) {
				oldest = ss
			}
		}
		if oldest == nil {
			return nil, full
		}
		delete(srv.sessions, oldest.id)
	}
	if len(srv.sessions) >= srv.cfg.MaxSessions {
		return nil, full
	}
	ss := &session{id: rand.Text(), node: node, from: from, used: now, busy: true}
	srv.sessions[ss.id] = ss
	return ss, nil
}

// release lets a session go on with its next stage.
func (srv *Server) release(ss *session, shown Stage) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	ss.shown, ss.busy, ss.used = shown, false, time.Now()
}

// end ends a session.
func (srv *Server) end(ss *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sessions, ss.id)
	if ss.cancel != nil {
		ss.cancel()
	}
}

// enter takes a slot to run a handler in, if there is one left for this user: a
// session that was cancelled may leave its handler running for a while.
func (srv *Server) enter(ss *session, cancel func()) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	key, near := ss.from.String(), ss.from.Bare().String()+" "
	if srv.total >= maxRunning || srv.running[key] >= srv.cfg.MaxPerUser || srv.running[near] >= maxRunning/2 {
		delete(srv.sessions, ss.id)
		return false
	}
	srv.total++
	srv.running[key]++
	srv.running[near]++
	ss.cancel = cancel
	return true
}

// leave gives the slot back.
func (srv *Server) leave(ss *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.total--
	for _, k := range [...]string{ss.from.String(), ss.from.Bare().String() + " "} {
		if srv.running[k]--; srv.running[k] <= 0 {
			delete(srv.running, k)
		}
	}
}

// Sessions returns how many sessions are kept, for who watches a program.
func (srv *Server) Sessions() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.sessions)
}

// handle runs the handler for an action, and returns what to show.
func (srv *Server) handle(ctx context.Context, c Command, ss *session, a Action, q *confab.IQ) (Stage, error) {
	r := &Request{From: ss.from, Node: c.Node, Action: a, Step: ss.step, Payload: q.Payload.Children, State: ss.state}
	r.Lang = lang(q)
	switch a {
	case Prev:
		r.Step = max(0, r.Step-1)
	case Next, Complete:
		r.Step++
		if f := ss.shown.Form; f != nil && f.Type == form.Questions {
			var err error
			if r.Form, err = filled(f, form.Find(q.Payload, "")); err != nil {
				return again(ss.shown, r.Form, err), nil
			}
		}
	}
	rep, err := c.Run(ctx, r)
	var fe *form.FieldError
	if errors.As(err, &fe) && r.Form != nil {
		return again(ss.shown, r.Form, err), nil
	}
	if err != nil {
		if fe != nil {
			err = badRequest("bad-payload")
		}
		return Stage{}, err
	}
	st, err := rep.stage(c)
	if err == nil {
		ss.step, ss.state = r.Step, r.State
	}
	return st, err
}

func lang(q *confab.IQ) string {
	if l, ok := q.Payload.Lookup(nsXML, "lang"); ok {
		return l
	}
	l, _ := q.Stanza.Lookup(nsXML, "lang")
	return l
}

// stage makes what a reply shows.
func (rep *Reply) stage(c Command) (Stage, error) {
	if rep == nil {
		rep = &Reply{}
	}
	st := Stage{Status: Completed, Form: rep.Form, Notes: rep.Notes, Payload: rep.Payload}
	asks := rep.Form != nil && rep.Form.Type == form.Questions
	if asks && rep.Form.Title == "" && c.Name != "" {
		f := *rep.Form
		f.Title = c.Name
		st.Form = &f
	}
	if !asks && len(rep.Actions) == 0 {
		return st, nil
	}
	st.Status, st.Actions, st.Default = Executing, rep.Actions, rep.Default
	if len(st.Actions) == 0 {
		st.Actions = []Action{Complete}
	}
	for _, a := range st.Actions {
		switch a {
		case Next, Prev, Complete:
		default:
			return st, errors.New("commands: Reply.Actions are Next, Prev and Complete, not " + string(a))
		}
	}
	if st.Default == "" {
		for _, a := range []Action{Prev, Complete, Next} {
			if slices.Contains(st.Actions, a) {
				st.Default = a
			}
		}
	}
	if !slices.Contains(st.Actions, st.Default) {
		return st, errors.New("commands: Reply.Default is not among Reply.Actions")
	}
	return st, nil
}

// filled returns the form that was shown with the values that were submitted, nil for
// none. Hidden and fixed fields keep their values, and what was not asked for is
// left out.
func filled(shown, answers *form.Form) (*form.Form, error) {
	f := *shown
	f.Fields = slices.Clone(shown.Fields)
	for i := range f.Fields {
		switch fd := &f.Fields[i]; fd.Type {
		case form.Hidden, form.Fixed:
		default:
			fd.Values = slices.Clone(answers.Values(fd.Var))
		}
	}
	return &f, f.Check()
}

// again is the stage that was shown, with what was filled in and what is wrong with
// it. What should not be seen is not repeated.
func again(shown Stage, f *form.Form, err error) Stage {
	g := *f
	g.Fields = slices.Clone(f.Fields)
	for i := range g.Fields {
		n := 0
		for _, v := range g.Fields[i].Values {
			n += len(v)
		}
		// What is long is not sent back either: the answer must not grow with it.
		if g.Fields[i].Type == form.TextPrivate || n > maxRepeated {
			g.Fields[i].Values = nil
		}
	}
	shown.Form = &g
	shown.Notes = nil
	for _, e := range joined(err) {
		var fe *form.FieldError
		if !errors.As(e, &fe) {
			continue // not for who is there
		}
		name := fe.Label
		if name == "" {
			name = fe.Var
		}
		shown.Notes = append(shown.Notes, Note{Failure, name + ": " + short(fe.Err.Error())})
	}
	return shown
}

// maxRepeated is how many bytes of a field are shown again, and of an error.
const maxRepeated = 1000

func short(s string) string {
	if rs := []rune(s); len(rs) > maxRepeated/4 {
		return string(rs[:maxRepeated/4]) + "…"
	}
	return s
}

// joined takes what [errors.Join] has made apart.
func joined(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
