package commands

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/disco"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Config are the settings of a [Server]. Its zero value is good.
type Config struct {
	// Expiry is how long a session is kept that nobody goes on with; 0 stands for ten
	// minutes.
	Expiry time.Duration
	// MaxSessions is how many there may be in all; 0 stands for 1000. MaxPerUser is how
	// many one full address may have, and how many of its handlers may run; 0 stands
	// for 8: beyond that the oldest ends. All resources of an account, or occupants of a
	// room, may have eight times as many together.
	MaxSessions, MaxPerUser int
}

// maxRunning is how many handlers run at a time; further requests are refused.
const maxRunning = 64

// A Command is one that others may use.
type Command struct {
	// Node names it, Name says what it does, to people.
	Node, Name string
	// Allow says who may see and use it, by full JID; it must be quick. [Everyone] and
	// [Only] make such functions. It must not be nil.
	Allow func(from jid.JID) bool
	// Run does it.
	Run Handler
}

// Everyone lets all use a command.
func Everyone(jid.JID) bool { return true }

// Only lets these accounts use a command, from any client. The address of a room lets
// all its occupants, of a domain nobody else there.
func Only(accounts ...jid.JID) func(jid.JID) bool {
	accounts = slices.Clone(accounts)
	return func(from jid.JID) bool {
		return slices.ContainsFunc(accounts, func(a jid.JID) bool { return a.Bare().Equal(from.Bare()) })
	}
}

// A Handler is called for each stage of a command. It runs on a goroutine of its own,
// so it may take its time, but one session's calls come one after the other. An
// error that is, or wraps, a [stanza.Error] is sent as it is; a [form.FieldError]
// shows the last form again, with what is wrong; any other becomes
// internal-server-error, and its text stays here. Each but a FieldError ends the
// session.
type Handler func(ctx context.Context, r *Request) (*Reply, error)

// A Request is what the user of a command has done.
type Request struct {
	// From is who uses the command. Sessions belong to one full JID.
	From jid.JID
	Node string
	// Lang is the language that the user reads, or "".
	Lang string
	// Action is [Execution] at first, then [Next], [Prev] or [Complete].
	Action Action
	// Step is which stage to show: 0 at first, one more after Next and Complete, one
	// less after Prev.
	Step int
	// Form is the form of the last stage with what the user has filled in, checked: see
	// [form.Unmarshal]. It is nil at first, after Prev, and if there was no form.
	Form *form.Form
	// Payload is all that the user has sent.
	Payload []*confab.Element
	// State is the handler's own, kept from stage to stage.
	State any
}

// A Reply is what a command shows.
type Reply struct {
	// Form is a form to fill in, which makes this a stage that others follow, or a
	// result.
	Form  *form.Form
	Notes []Note
	// Actions are what may be done next, beside cancelling, and Default is one of
	// them; by default the first of Next and Complete. Without any a form can be
	// completed, and what has no form is the end.
	Actions []Action
	Default Action
	// Payload is what else to show.
	Payload []*confab.Element
}

// Say makes a Reply that ends a command with a note.
func Say(text string) *Reply { return &Reply{Notes: []Note{{Information, text}}} }

// Fail makes a Reply that ends a command that has not succeeded.
func Fail(text string) *Reply { return &Reply{Notes: []Note{{Failure, text}}} }

// Form makes a Handler of one form, which a struct declares (see [form.Marshal]). Ask
// returns what it shows at first, done gets what was filled in.
func Form[T any](ask func(context.Context, *Request) (T, error), done func(context.Context, *Request, T) (*Reply, error)) Handler {
	return func(ctx context.Context, r *Request) (*Reply, error) {
		if r.Step == 0 {
			v, err := ask(ctx, r)
			if err != nil {
				return nil, err
			}
			f, err := form.Marshal(v)
			return &Reply{Form: f}, err
		}
		var v T
		if err := form.Unmarshal(r.Form, &v); err != nil {
			return nil, err
		}
		return done(ctx, r, v)
	}
}

// A Server lets others use commands of this client. Make one with [New].
type Server struct {
	s   confab.Session
	cfg Config

	mu       sync.Mutex
	commands []Command
	sessions map[string]*session
	running  map[string]int // handlers, by full and by bare address
	total    int            // of them
}

// New makes a Server, before the session runs. There is one for a session, which has
// to answer service discovery, as a client.Client does.
func New(s confab.Session, cfg Config) (*Server, error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&cfg.MaxSessions, 1000}, {&cfg.MaxPerUser, 8}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if cfg.Expiry <= 0 {
		cfg.Expiry = 10 * time.Minute
	}
	srv := &Server{s: s, cfg: cfg, sessions: map[string]*session{}, running: map[string]int{}}
	if err := s.HandleIQ(stanza.SetIQ, xml.Name{Space: NS, Local: "command"}, srv.command); err != nil {
		return nil, err
	}
	if err := s.HandleNode(NS, srv.list); err != nil {
		return nil, err
	}
	s.Advertise(NS, form.NS)
	return srv, nil
}

// Handle adds a command.
func (srv *Server) Handle(c Command) error {
	if c.Node == "" || c.Run == nil || c.Allow == nil {
		return errors.New("commands: a Command has Node, Run and Allow, such as Everyone")
	}
	if err := srv.s.HandleNode(c.Node, srv.describe(c)); err != nil {
		return err
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.commands = append(srv.commands, c)
	return nil
}

// list answers service discovery about all commands (XEP-0050 §2.2).
func (srv *Server) list(_ context.Context, q *confab.IQ) (any, error) {
	if q.Payload.Name.Space == disco.NSInfo {
		return disco.Info{
			Node:       NS,
			Identities: []disco.Identity{{Category: "automation", Type: "command-list"}},
			Features:   []string{NS, form.NS},
		}.Element(), nil
	}
	srv.mu.Lock()
	all := srv.commands
	srv.mu.Unlock()
	res := confab.El(disco.NSItems, "query").Set("node", NS)
	for _, c := range all {
		if c.Allow(q.From) {
			res.Add(confab.El(disco.NSItems, "item").Set("jid", srv.s.LocalAddr().String()).Set("node", c.Node).Set("name", c.Name))
		}
	}
	return res, nil
}

var errForbidden = stanza.Error{Type: stanza.Auth, Condition: stanza.Forbidden}

// describe answers service discovery about one command.
func (srv *Server) describe(c Command) confab.IQFunc {
	return func(_ context.Context, q *confab.IQ) (any, error) {
		switch {
		case !c.Allow(q.From):
			return nil, errForbidden
		case q.Payload.Name.Space == disco.NSItems:
			return confab.El(disco.NSItems, "query").Set("node", c.Node), nil
		}
		return disco.Info{
			Node:       c.Node,
			Identities: []disco.Identity{{Category: "automation", Type: "command-node", Name: c.Name}},
			Features:   []string{NS, form.NS},
		}.Element(), nil
	}
}

// refusal is an error with the condition that XEP-0050 §4.4 has for it.
type refusal struct {
	err      stanza.Error
	specific string
}

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

func badRequest(specific string) error {
	return &refusal{stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}, specific}
}

// command takes a request, and has it answered on another goroutine.
func (srv *Server) command(ctx context.Context, q *confab.IQ) (any, error) {
	p := q.Payload
	node := p.Get("node")
	srv.mu.Lock()
	i := slices.IndexFunc(srv.commands, func(c Command) bool { return c.Node == node })
	var c Command
	if i >= 0 {
		c = srv.commands[i]
	}
	srv.mu.Unlock()
	switch {
	case i < 0:
		return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	case !c.Allow(q.From):
		return nil, errForbidden
	}
	ss, a, err := srv.find(p, q.From)
	if err != nil {
		return srv.refuse(ctx, q, err)
	}
	if a == Cancel {
		srv.end(ss)
		return Stage{Status: Canceled}.element(strings.Clone(node), ss.id), nil
	}
	cctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if !srv.enter(ss, cancel) {
		cancel()
		return nil, full
	}
	srv.s.Go(func(ctx context.Context) {
		defer srv.leave(ss)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		srv.stage(ctx, cctx, c, ss, a, q)
	})
	return nil, confab.ErrAnswered
}

// stage runs the handler, with a context that ends when the session is cancelled, and
// answers.
func (srv *Server) stage(ctx, handling context.Context, c Command, ss *session, a Action, q *confab.IQ) {
	answered := false
	defer func() {
		if !answered { // it panicked, which the session reports
			srv.end(ss)
			_ = srv.fail(ctx, q, stanza.Error{Type: stanza.Cancel, Condition: stanza.InternalServerError}, "")
		}
	}()
	st, err := srv.handle(handling, c, ss, a, q)
	answered = true
	if err != nil {
		srv.end(ss)
		if _, err := srv.refuse(ctx, q, err); !errors.Is(err, confab.ErrAnswered) {
			var se stanza.Error
			if !errors.As(err, &se) {
				srv.s.Emit(confab.HandlerError{Err: fmt.Errorf("commands: %s: %w", c.Node, err)})
				se = stanza.Error{Type: stanza.Cancel, Condition: stanza.InternalServerError}
			}
			_ = srv.fail(ctx, q, se, "")
		}
		return
	}
	el := st.element(c.Node, ss.id)
	if st.Status == Executing {
		srv.release(ss, st)
	} else {
		srv.end(ss)
	}
	res := reply(q, "result", el)
	if _, err := res.AppendXML(nil, confab.NSClient); err != nil {
		srv.end(ss)
		srv.s.Emit(confab.HandlerError{Err: fmt.Errorf("commands: %s: %w", c.Node, err)})
		_ = srv.fail(ctx, q, stanza.Error{Type: stanza.Cancel, Condition: stanza.InternalServerError}, "")
		return
	}
	_ = srv.s.SendElement(ctx, res) // it fails only when the session is over
}

// refuse sends an error with a specific condition, and returns any other.
func (srv *Server) refuse(ctx context.Context, q *confab.IQ, err error) (any, error) {
	var r *refusal
	if !errors.As(err, &r) {
		return nil, err
	}
	if err := srv.fail(ctx, q, r.err, r.specific); err != nil {
		return nil, err
	}
	return nil, confab.ErrAnswered
}

func (srv *Server) fail(ctx context.Context, q *confab.IQ, se stanza.Error, specific string) error {
	el, err := confab.ToElement(se)
	if err != nil {
		return err
	}
	if specific != "" {
		el.Add(confab.El(NS, specific))
	}
	return srv.s.SendElement(ctx, reply(q, "error", el))
}

func reply(q *confab.IQ, typ string, payload *confab.Element) *confab.Element {
	return confab.El(confab.NSClient, "iq", payload).Set("type", typ).Set("id", q.ID).Set("to", q.Stanza.Get("from"))
}
