package commands_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/disco"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

type service struct {
	_       struct{} `form:"urn:example:service" instructions:"Please select the service to configure."`
	Service string   `form:"service,required" label:"Service" options:"httpd,jabberd,postgresql"`
	Level   int      `form:"level" label:"Level" min:"1" max:"5"`
}

// configure is a command of two stages: which service, and how it starts.
func configure(_ context.Context, r *commands.Request) (*commands.Reply, error) {
	v, _ := r.State.(service)
	switch r.Step {
	case 0:
		f, err := form.Marshal(v)
		return &commands.Reply{Form: f, Actions: []commands.Action{commands.Next}}, err
	case 1:
		if r.Action == commands.Next {
			if err := form.Unmarshal(r.Form, &v); err != nil {
				return nil, err
			}
			if v.Service == "postgresql" {
				return nil, &form.FieldError{Var: "service", Label: "Service", Err: errors.New("it is not installed")}
			}
			r.State = v
		}
		f := form.New(form.Questions, "")
		f.Fields = append(f.Fields, form.Field{Var: "state", Type: form.TextSingle, Required: true})
		return &commands.Reply{Form: f, Actions: []commands.Action{commands.Prev, commands.Complete}}, nil
	}
	return commands.Say(fmt.Sprintf("%s at %d is %s", v.Service, v.Level, r.Form.Get("state"))), nil
}

// bot serves commands.
func bot(t testing.TB, c *client.Client, cfg commands.Config, allow func(jid.JID) bool) *commands.Server {
	srv, err := commands.New(c, cfg)
	require.NoError(t, err)
	for _, cmd := range []commands.Command{
		{Node: "config", Name: "Configure Service", Allow: commands.Everyone, Run: configure},
		{Node: "secret", Name: "Secret", Allow: allow, Run: func(context.Context, *commands.Request) (*commands.Reply, error) {
			return commands.Say("psst"), nil
		}},
		{Node: "fail", Allow: commands.Everyone, Run: func(context.Context, *commands.Request) (*commands.Reply, error) {
			return nil, errors.New("the database is on fire")
		}},
		{Node: "panic", Allow: commands.Everyone, Run: func(context.Context, *commands.Request) (*commands.Reply, error) {
			panic("oh")
		}},
		{Node: "refuse", Allow: commands.Everyone, Run: func(context.Context, *commands.Request) (*commands.Reply, error) {
			return nil, fmt.Errorf("wrapped: %w", stanza.Error{Type: stanza.Wait, Condition: stanza.RecipientUnavailable})
		}},
		{Node: "control", Allow: commands.Everyone, Run: func(context.Context, *commands.Request) (*commands.Reply, error) {
			return commands.Say("a\x00b"), nil
		}},
	} {
		require.NoError(t, srv.Handle(cmd))
	}
	return srv
}

func condition(t testing.TB, want stanza.Condition, err error) {
	t.Helper()
	var se stanza.Error
	require.ErrorAs(t, err, &se)
	assert.Equal(t, want, se.Condition)
}

func TestCommands(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		botAddr, botPass := s.Account(t)
		addr, pass := s.Account(t)
		var srv *commands.Server
		b := testclient.Up(t, testclient.Config(s, botAddr, botPass), func(c *client.Client) {
			srv = bot(t, c, commands.Config{}, commands.Only(jid.MustParse(botAddr)))
		})
		failed := testclient.Watch[confab.HandlerError](b)
		c := testclient.Up(t, testclient.Config(s, addr, pass))
		to := b.LocalAddr()

		info, err := disco.GetInfo(ctx, c, to, "")
		require.NoError(t, err)
		assert.True(t, info.Has(commands.NS))
		info, err = disco.GetInfo(ctx, c, to, commands.NS)
		require.NoError(t, err)
		_, ok := info.Identity("automation", "command-list")
		assert.True(t, ok)
		info, err = disco.GetInfo(ctx, c, to, "config")
		require.NoError(t, err)
		id, ok := info.Identity("automation", "command-node")
		assert.True(t, ok)
		assert.Equal(t, "Configure Service", id.Name)
		assert.True(t, info.Has(commands.NS) && info.Has(form.NS))
		_, err = disco.GetInfo(ctx, c, to, "secret")
		condition(t, stanza.Forbidden, err)
		_, err = disco.GetInfo(ctx, c, to, "other")
		condition(t, stanza.ItemNotFound, err)

		list, err := commands.List(ctx, c, to)
		require.NoError(t, err)
		var nodes []string
		for _, it := range list {
			nodes = append(nodes, it.Node)
			assert.Equal(t, to.String(), it.JID.String())
		}
		assert.Equal(t, []string{"config", "fail", "panic", "refuse", "control"}, nodes)

		// Through both stages, back, and on.
		d, err := commands.Execute(ctx, c, to, "config")
		require.NoError(t, err)
		st := d.Stage()
		assert.Equal(t, commands.Executing, st.Status)
		assert.Equal(t, []commands.Action{commands.Next}, st.Actions)
		assert.Equal(t, commands.Next, st.Default)
		assert.Equal(t, "Configure Service", st.Form.Title)
		require.ErrorIs(t, d.Prev(ctx), commands.ErrAction)
		var fe *form.FieldError
		require.ErrorAs(t, d.Submit(ctx, st.Form.Set("service", "none")), &fe)
		// The server checks as well.
		wrong := form.New(form.Answers, "").Set("service", "none").Set("level", "9")
		require.NoError(t, d.Submit(ctx, wrong))
		text, bad := d.Stage().Failed()
		assert.True(t, bad)
		assert.Contains(t, text, "Service")
		assert.Len(t, d.Stage().Notes, 2)
		require.NoError(t, d.Submit(ctx, form.New(form.Answers, "").Set("service", "postgresql")))
		text, _ = d.Stage().Failed()
		assert.Equal(t, "Service: it is not installed", text)
		require.NoError(t, d.Submit(ctx, d.Stage().Form.Set("service", "httpd").Set("level", "3")))
		assert.Equal(t, []commands.Action{commands.Prev, commands.Complete}, d.Stage().Actions)
		require.NoError(t, d.Prev(ctx))
		assert.Equal(t, "httpd", d.Stage().Form.Get("service"))
		require.NoError(t, d.Next(ctx, d.Stage().Form.Set("service", "jabberd")))
		require.NoError(t, d.Complete(ctx, d.Stage().Form.Set("state", "on")))
		st = d.Stage()
		assert.Equal(t, commands.Completed, st.Status)
		assert.Equal(t, []commands.Note{{Type: commands.Information, Text: "jabberd at 3 is on"}}, st.Notes)
		require.ErrorIs(t, d.Submit(ctx, nil), commands.ErrDone)
		require.NoError(t, d.Cancel(ctx))
		assert.Zero(t, srv.Sessions())

		d, err = commands.Execute(ctx, c, to, "config")
		require.NoError(t, err)
		assert.Equal(t, 1, srv.Sessions())
		require.NoError(t, d.Cancel(ctx))
		assert.Equal(t, commands.Canceled, d.Stage().Status)
		assert.Zero(t, srv.Sessions())

		for node, want := range map[string]stanza.Condition{
			"secret": stanza.Forbidden, "other": stanza.ItemNotFound, "fail": stanza.InternalServerError,
			"panic": stanza.InternalServerError, "refuse": stanza.RecipientUnavailable, "control": stanza.InternalServerError,
		} {
			_, err := commands.Execute(ctx, c, to, node)
			condition(t, want, err)
			assert.NotContains(t, err.Error(), "fire", node)
		}
		failed.Next(t, func(e confab.HandlerError) bool { return strings.Contains(e.Err.Error(), "fire") })
		failed.Next(t, func(e confab.HandlerError) bool { return e.Panicked })
		assert.Zero(t, srv.Sessions())
		d, err = commands.Execute(ctx, b, to, "secret")
		require.NoError(t, err)
		assert.Equal(t, "psst", d.Stage().Notes[0].Text)
	})
}

// The servers have commands of their own.
func TestServersCommands(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		addr, pass := s.Account(t)
		c := testclient.Up(t, testclient.Config(s, addr, pass))
		list, err := commands.List(ctx, c, jid.MustParse(s.Domain))
		if err != nil || len(list) == 0 {
			s.Skip(t, "ad-hoc commands")
		}
		worked := false
		for _, it := range list {
			d, err := commands.Execute(ctx, c, it.JID, it.Node)
			var se stanza.Error
			if errors.As(err, &se) {
				continue
			}
			require.NoError(t, err, it.Node)
			worked = true
			t.Log(it.Node, it.Name, d.Stage().Status, d.Stage().Actions)
			if d.Stage().Status == commands.Executing {
				require.NoError(t, d.Cancel(ctx), it.Node)
			}
		}
		assert.True(t, worked, "%v", list)
	})
}

// raw has a bot and a client on the embedded server that sends what it likes.
func raw(t *testing.T, cfg commands.Config) (srv *commands.Server, send func(action, id, node, inner string) (*confab.Element, error), x *confabtest.Server, to jid.JID) {
	x = confabtest.NewServer(confabtest.Config{})
	t.Cleanup(x.Close)
	b := testclient.Up(t, testclient.Embedded(x, "bot"), func(c *client.Client) { srv = bot(t, c, cfg, commands.Everyone) })
	c := testclient.Up(t, testclient.Embedded(x, "user"))
	return srv, func(action, id, node, inner string) (*confab.Element, error) {
		el, err := confab.ReadElement(xml.NewDecoder(strings.NewReader("<command xmlns='" + commands.NS + "'>" + inner + "</command>")))
		require.NoError(t, err)
		iq := confab.El(confab.NSClient, "iq", el.Set("action", action).Set("sessionid", id).Set("node", node)).Set("type", "set").Set("to", b.LocalAddr().String())
		res, err := c.Ask(context.Background(), iq)
		if err != nil {
			return nil, err
		}
		return res.Children[0], nil
	}, x, b.LocalAddr()
}

func TestAttacks(t *testing.T) {
	srv, send, x, to := raw(t, commands.Config{MaxPerUser: 3})
	_, err := send("frob", "", "config", "")
	condition(t, stanza.BadRequest, err)
	for _, a := range []string{"next", "prev", "complete", "cancel"} {
		_, err = send(a, "", "config", "")
		condition(t, stanza.BadRequest, err)
	}
	_, err = send("next", "guess", "config", "")
	condition(t, stanza.BadRequest, err)
	_, err = send("next", strings.Repeat("A", 26), "config", "")
	condition(t, stanza.NotAllowed, err)

	el, err := send("", "", "config", "")
	require.NoError(t, err)
	id := el.Get("sessionid")
	require.Len(t, id, 26)
	_, err = send("prev", id, "config", "")
	condition(t, stanza.BadRequest, err)
	_, err = send("next", id, "fail", "") // another command's session
	condition(t, stanza.NotAllowed, err)

	// A session belongs to who has begun it.
	mallory := testclient.Up(t, testclient.Embedded(x, "mallory"))
	cmd := confab.El(commands.NS, "command").Set("node", "config").Set("sessionid", id).Set("action", "cancel")
	err = confab.Do(context.Background(), mallory, stanza.IQ{Type: stanza.SetIQ, To: to}, cmd, nil)
	condition(t, stanza.NotAllowed, err)
	assert.Equal(t, 1, srv.Sessions())

	// Payloads that are none; hidden fields are what the server says.
	for _, inner := range []string{"", "<x xmlns='jabber:x:data' type='odd'/>", "<x xmlns='jabber:x:data' type='submit'/>",
		"<x xmlns='jabber:x:data' type='cancel'/>", strings.Repeat("<x xmlns='urn:x'/>", 1000),
		"<x xmlns='jabber:x:data' type='submit'><field var='service'><value>httpd</value><value>jabberd</value></field></x>"} {
		el, err = send("next", id, "config", inner)
		require.NoError(t, err, inner)
		assert.Equal(t, "executing", el.Get("status"))
		assert.Equal(t, "error", el.Child(commands.NS, "note").Get("type"), inner)
	}
	el, err = send("", id, "config", "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>evil</value></field>"+
		"<field var='service'><value>httpd</value></field><field var='more'><value>x</value></field></x>")
	require.NoError(t, err)
	assert.Nil(t, el.Child(commands.NS, "note"))

	// However many sessions somebody opens, few are kept: the newest.
	var first string
	for i := range 50 {
		el, err := send("", "", "config", "")
		require.NoError(t, err)
		if i == 0 {
			first = el.Get("sessionid")
		}
	}
	assert.Equal(t, 3, srv.Sessions())
	_, err = send("next", first, "config", "")
	condition(t, stanza.NotAllowed, err)
}

func TestBounds(t *testing.T) {
	srv, send, x, to := raw(t, commands.Config{MaxPerUser: 5, MaxSessions: 8})
	for range 5 {
		_, err := send("", "", "config", "")
		require.NoError(t, err)
	}
	c := testclient.Up(t, testclient.Embedded(x, "second"))
	for i := range 5 {
		_, err := commands.Execute(context.Background(), c, to, "config")
		if i < 3 {
			require.NoError(t, err)
		} else {
			condition(t, stanza.ResourceConstraint, err)
		}
	}
	assert.Equal(t, 8, srv.Sessions())
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, send, _, _ := raw(t, commands.Config{Expiry: time.Minute})
		el, err := send("", "", "config", "")
		require.NoError(t, err)
		id := el.Get("sessionid")
		time.Sleep(50 * time.Second)
		el, err = send("next", id, "config", "<x xmlns='jabber:x:data' type='submit'><field var='service'><value>httpd</value></field></x>")
		require.NoError(t, err)
		assert.Equal(t, "executing", el.Get("status"))
		time.Sleep(50 * time.Second)
		_, err = send("prev", id, "config", "")
		require.NoError(t, err)
		time.Sleep(61 * time.Second)
		_, err = send("next", id, "config", "")
		condition(t, stanza.NotAllowed, err)
		assert.Zero(t, srv.Sessions())
	})
}

// Handlers of different sessions run side by side; a session's one after the other.
func TestSideBySide(t *testing.T) {
	x := confabtest.NewServer(confabtest.Config{})
	defer x.Close()
	ctx := testclient.Context(t)
	var both sync.WaitGroup
	both.Add(2)
	b := testclient.Up(t, testclient.Embedded(x, "bot"), func(c *client.Client) {
		srv, err := commands.New(c, commands.Config{})
		require.NoError(t, err)
		require.NoError(t, srv.Handle(commands.Command{Node: "wait", Allow: commands.Everyone,
			Run: func(_ context.Context, r *commands.Request) (*commands.Reply, error) {
				assert.Equal(t, "de", r.Lang)
				both.Done()
				both.Wait()
				return nil, nil
			}}))
		_, err = commands.New(c, commands.Config{})
		require.ErrorIs(t, err, confab.ErrTaken)
		require.ErrorIs(t, srv.Handle(commands.Command{Node: "wait", Allow: commands.Everyone, Run: configure}), confab.ErrTaken)
		require.Error(t, srv.Handle(commands.Command{Node: "x", Run: configure}))
	})
	c := testclient.Up(t, testclient.Embedded(x, "user"))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			d, err := commands.Execute(ctx, c, b.LocalAddr(), "wait", commands.Lang("de"))
			if assert.NoError(t, err) {
				assert.Equal(t, commands.Completed, d.Stage().Status)
			}
		})
	}
	wg.Wait()
}

// TestCancelFlood: a handler that runs on after its session was cancelled still counts,
// and keeps nobody else from being served.
func TestCancelFlood(t *testing.T) {
	x := confabtest.NewServer(confabtest.Config{})
	t.Cleanup(x.Close)
	var running, most atomic.Int64
	stop := make(chan struct{})
	b := testclient.Up(t, testclient.Embedded(x, "bot"), func(c *client.Client) {
		srv, err := commands.New(c, commands.Config{})
		require.NoError(t, err)
		for node, run := range map[string]commands.Handler{
			"slow": func(ctx context.Context, _ *commands.Request) (*commands.Reply, error) {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				select {
				case <-ctx.Done():
				case <-stop:
				}
				<-stop // it does not care
				return commands.Say("late"), nil
			},
			"fast": func(context.Context, *commands.Request) (*commands.Reply, error) { return commands.Say("here"), nil },
		} {
			require.NoError(t, srv.Handle(commands.Command{Node: node, Name: node, Allow: commands.Everyone, Run: run}))
		}
	})
	defer close(stop)
	mallory := testclient.Up(t, testclient.Embedded(x, "mallory"))
	alice := testclient.Up(t, testclient.Embedded(x, "alice"))
	ctx := testclient.Context(t)
	for range 100 {
		cmd := confab.El(commands.NS, "command").Set("node", "slow").Set("action", "execute")
		require.NoError(t, mallory.SendElement(ctx, confab.El(confab.NSClient, "iq", cmd).Set("type", "set").Set("id", confab.NewID()).Set("to", b.LocalAddr().String())))
	}
	d, err := commands.Execute(ctx, alice, b.LocalAddr(), "fast")
	require.NoError(t, err)
	require.Equal(t, commands.Completed, d.Stage().Status)
	require.LessOrEqual(t, most.Load(), int64(8))
}
