package commands_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/confabtest"
	"github.com/confab-im/confab/internal/stream"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// scripted answers a client as the examples of XEP-0050 do.
func scripted(t *testing.T) (*confabtest.Transcript, *testclient.Client) {
	tr := confabtest.NewTranscript(t)
	c := testclient.Start(t, client.Config{Address: "requester@domain", Password: "secret", Dial: tr.Dial, NoPresence: true})
	tr.SignIn("requester@domain/x")
	c.WaitReady(t)
	return tr, c
}

// example returns the answer of an example, with the id that was asked with.
func example(t *testing.T, number int) string {
	el := vectors.Elements(t, "0050", number)[0]
	el.Set("id", "KEPT").Set("to", "requester@domain/x")
	s := el.String()
	return replaceID(s)
}

func replaceID(s string) string {
	const kept = "id='KEPT'"
	for i := 0; i+len(kept) <= len(s); i++ {
		if s[i:i+len(kept)] == kept {
			return s[:i] + "id='${id}'" + s[i+len(kept):]
		}
	}
	return s
}

var responder = jid.MustParse("responder@domain")

// The multi-stage command of XEP-0050 §2.4.2, with the way back and the end.
func TestExamples(t *testing.T) {
	tr, c := scripted(t)
	ctx := testclient.Context(t)
	type result struct {
		d   *commands.Dialog
		err error
	}
	begun := make(chan result, 1)
	go func() {
		d, err := commands.Execute(ctx, c, responder, "config")
		begun <- result{d, err}
	}()
	// The examples lack the second stage.
	const second = "<iq type='result' from='responder@domain' to='requester@domain/x' id='${id}'><command xmlns='http://jabber.org/protocol/commands' " +
		"sessionid='config:20020923T213616Z-700' node='config' status='executing'><actions execute='complete'><prev/><complete/></actions>" +
		"<x xmlns='jabber:x:data' type='form'><field var='state' label='Run State' type='list-single'><value>off</value>" +
		"<option><value>off</value></option><option><value>on</value></option></field></x></command></iq>"
	step := func(want string, answer int) {
		t.Helper()
		got := tr.Next()
		tr.Set("id", got.Get("id"))
		assert.Equal(t, "responder@domain", got.Get("to"))
		assert.Equal(t, "set", got.Get("type"))
		assert.Equal(t, want, got.Child(commands.NS, "command").String())
		if answer == 0 {
			tr.Send(second)
			return
		}
		tr.Send(example(t, answer))
	}
	step("<command xmlns='http://jabber.org/protocol/commands' node='config' action='execute'/>", 11)
	r := <-begun
	require.NoError(t, r.err)
	d := r.d
	st := d.Stage()
	assert.Equal(t, []commands.Action{commands.Next}, st.Actions)
	assert.Equal(t, commands.Next, st.Default)
	assert.Equal(t, "Configure Service", st.Form.Title)
	assert.Len(t, st.Form.Field("service").Options, 3)

	do := func(want string, answer int, f func() error) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- f() }()
		step(want, answer)
		require.NoError(t, <-done)
	}
	const session = "<command xmlns='http://jabber.org/protocol/commands' node='config' sessionid='config:20020923T213616Z-700'"
	do(session+" action='next'><x xmlns='jabber:x:data' type='submit'><field var='service' type='list-single'><value>httpd</value></field></x></command>",
		0, func() error { return d.Submit(ctx, st.Form.Set("service", "httpd")) })
	assert.Equal(t, []commands.Action{commands.Prev, commands.Complete}, d.Stage().Actions)
	assert.Equal(t, commands.Complete, d.Stage().Default)
	do(session+" action='prev'/>", 17, func() error { return d.Prev(ctx) })
	assert.Equal(t, "httpd", d.Stage().Form.Get("service"))
	do(session+" action='cancel'/>", 19, func() error { return d.Cancel(ctx) })
	assert.Equal(t, commands.Canceled, d.Stage().Status)
}

// Answers that are not about the command, and those that make little sense.
func TestOddAnswers(t *testing.T) {
	const ns = " xmlns='" + commands.NS + "'"
	for name, tt := range map[string]struct {
		answer string
		ok     bool
		want   commands.Stage
	}{
		"another element":        {answer: "<query xmlns='urn:x'/>"},
		"another node":           {answer: "<command" + ns + " node='other' status='completed'/>"},
		"no status":              {answer: "<command" + ns + " node='n'/>"},
		"odd status":             {answer: "<command" + ns + " node='n' status='odd' sessionid='x'/>"},
		"executing, no session":  {answer: "<command" + ns + " node='n' status='executing'/>"},
		"completed, no session":  {answer: "<command" + ns + " status='completed'/>", ok: true, want: commands.Stage{Status: commands.Completed}},
		"no actions":             {answer: "<command" + ns + " status='executing' sessionid='x'/>", ok: true, want: commands.Stage{Status: commands.Executing, Actions: []commands.Action{commands.Complete}, Default: commands.Execution}},
		"default is not offered": {answer: "<command" + ns + " status='executing' sessionid='x'><actions><prev/></actions></command>", ok: true, want: commands.Stage{Status: commands.Executing, Actions: []commands.Action{commands.Prev}}},
		"odd actions":            {answer: "<command" + ns + " status='executing' sessionid='x'><actions execute='frob'><frob/><next/><next/><prev xmlns='urn:x'/></actions></command>", ok: true, want: commands.Stage{Status: commands.Executing, Actions: []commands.Action{commands.Next}}},
		"notes":                  {answer: "<command" + ns + " status='completed'><note>a</note><note type='odd'>b</note><note type='error'>c</note></command>", ok: true, want: commands.Stage{Status: commands.Completed, Notes: []commands.Note{{Type: commands.Information, Text: "a"}, {Type: commands.Information, Text: "b"}, {Type: commands.Failure, Text: "c"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			el, err := stream.Parse([]byte(tt.answer), stream.Limits{})
			require.NoError(t, err)
			d, err := commands.Execute(context.Background(), answering{payload: el}, responder, "n")
			if !tt.ok {
				require.ErrorIs(t, err, commands.ErrAnswer)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, d.Stage())
			require.Error(t, d.Do(context.Background(), "frob", nil))
			if tt.want.Status == commands.Executing {
				require.Error(t, d.Submit(context.Background(), form.New(form.Result, "")))
			}
		})
	}
	_, err := commands.Execute(context.Background(), answering{}, responder, "")
	require.Error(t, err)
}

// answering answers every request with one payload.
type answering struct {
	confab.Session
	payload *confab.Element
}

func (a answering) Ask(context.Context, *confab.Element) (*confab.Element, error) {
	return confab.El(confab.NSClient, "iq", a.payload), nil
}

// FuzzAnswer reads any answer to a command.
func FuzzAnswer(f *testing.F) {
	f.Add("<command xmlns='" + commands.NS + "' node='n' status='executing' sessionid='x'><actions execute='next'><next/></actions><note type='warn'>x</note></command>")
	f.Add("<command xmlns='" + commands.NS + "' status='completed'><x xmlns='jabber:x:data' type='form'><field/></x></command>")
	f.Fuzz(func(t *testing.T, xml string) {
		el, err := stream.Parse([]byte(xml), stream.Limits{})
		if err != nil {
			return
		}
		d, err := commands.Execute(context.Background(), answering{payload: el}, responder, "n")
		if err != nil {
			return
		}
		st := d.Stage()
		_ = d.Submit(context.Background(), st.Form)
		_ = d.Cancel(context.Background())
	})
}

// FuzzRequest gives a server any command.
func FuzzRequest(f *testing.F) {
	f.Add("<command xmlns='"+commands.NS+"' node='config' action='execute'/>", true)
	f.Add("<command xmlns='"+commands.NS+"' node='config' action='next'><x xmlns='jabber:x:data' type='submit'><field var='service'><value>httpd</value></field></x></command>", true)
	srv := confabtest.NewServer(confabtest.Config{})
	defer srv.Close()
	var s *commands.Server
	b := testclient.Up(f, testclient.Embedded(srv, "bot"), func(c *client.Client) { s = bot(f, c, commands.Config{}, commands.Everyone) })
	c := testclient.Up(f, testclient.Embedded(srv, "user"))
	ask := func(el *confab.Element) (*confab.Element, error) {
		var res confab.Element
		err := confab.Do(context.Background(), c, stanza.IQ{Type: stanza.SetIQ, To: b.LocalAddr()}, el, &res)
		return &res, err
	}
	f.Fuzz(func(t *testing.T, xml string, begun bool) {
		el, err := stream.Parse([]byte(xml), stream.Limits{})
		if err != nil || !el.Is(commands.NS, "command") {
			return
		}
		if _, err := el.AppendXML(nil, ""); err != nil {
			return
		}
		if begun {
			first, err := ask(confab.El(commands.NS, "command").Set("node", "config"))
			if err != nil {
				t.Fatal(err)
			}
			el = el.Clone().Set("sessionid", first.Get("sessionid"))
		}
		_, _ = ask(el)
		if n := s.Sessions(); n > 8 {
			t.Fatal(fmt.Sprint(n, " sessions"))
		}
	})
}
