package register_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/confab-im/confab/register"
	"github.com/confab-im/confab/roster"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestMain(m *testing.M) { os.Exit(testbed.Run(m)) }

func guest(t *testing.T, s *testbed.Server) *client.Guest {
	t.Helper()
	a, _ := s.Account(t)
	g, err := client.OpenGuest(testclient.Context(t), testclient.Config(s, jid.MustParse(a).Domainpart(), ""))
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// TestAccount: somebody makes an account, signs in, changes the password and deletes it.
func TestAccount(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		g := guest(t, s)
		if offered, _ := register.Offered(g); !offered {
			s.Skip(t, "registration on the stream")
		}
		f, err := register.Fetch(ctx, g)
		require.NoError(t, err)
		require.False(t, f.Registered)
		name := "new" + strings.ToLower(confab.NewID())
		_, err = register.Submit(ctx, g, f)
		var fe *form.FieldError
		require.ErrorAs(t, err, &fe)
		require.Equal(t, "username", fe.Var)
		f.Set("username", name)
		_, err = register.Submit(ctx, g, f)
		require.ErrorAs(t, err, &fe)
		require.Equal(t, "password", fe.Var)
		require.ErrorIs(t, err, form.ErrRequired)
		f.Set("password", "a long first password 1")
		if f.Field("email") != nil {
			f.Set("email", "romeo@example.org")
		}
		addr, err := register.Submit(ctx, g, f)
		require.NoError(t, err)
		require.Equal(t, name, addr.Localpart())

		// There is such an account now.
		again := guest(t, s)
		f2, err := register.Fetch(ctx, again)
		require.NoError(t, err)
		f2.Set("username", name).Set("password", "a long other password 1")
		_, err = register.Submit(ctx, again, f2)
		if s.Name == testbed.Prosody { // which looks for names that are alike first, and gives no reason
			require.ErrorIs(t, err, register.ErrNotAcceptable)
		} else {
			require.ErrorIs(t, err, register.ErrConflict)
		}
		var se stanza.Error
		require.ErrorAs(t, err, &se)

		require.Error(t, register.ChangePassword(ctx, again1{}, ""))
		c := testclient.Up(t, testclient.Config(s, addr.String(), "a long first password 1"))
		require.NoError(t, register.ChangePassword(ctx, c, "a long second password 2 & <"))
		c.Stop(t)
		c = testclient.Up(t, testclient.Config(s, addr.String(), "a long second password 2 & <"))
		require.NoError(t, register.Delete(ctx, c))
		gone, err := client.New(testclient.Config(s, addr.String(), "a long second password 2 & <"))
		require.NoError(t, err)
		var ae *client.AuthError
		require.ErrorAs(t, gone.Run(ctx), &ae)
	})
}

// TestCaptchaForm: accounts are for those who can read a picture, of a real server.
func TestCaptchaForm(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		if s.CaptchaDomain == "" {
			s.Skip(t, "a registration form with a CAPTCHA")
		}
		ctx := testclient.Context(t)
		open := func() (*client.Guest, *register.Form) {
			g, err := client.OpenGuest(ctx, testclient.Config(s, s.CaptchaDomain, ""))
			require.NoError(t, err)
			t.Cleanup(func() { _ = g.Close() })
			f, err := register.Fetch(ctx, g)
			require.NoError(t, err)
			require.Len(t, f.Captchas, 1)
			f.Set("username", "new"+strings.ToLower(confab.NewID())).Set("password", "a long first password 1")
			return g, f
		}
		g, f := open()
		var fe *form.FieldError
		_, err := register.Submit(ctx, g, f)
		require.ErrorAs(t, err, &fe, "nothing is sent without an answer")
		require.Equal(t, f.Captchas[0].Var, fe.Var)
		f.Set(f.Captchas[0].Var, "wrong")
		_, err = register.Submit(ctx, g, f)
		require.ErrorIs(t, err, register.ErrCaptcha)

		g, f = open()
		answer := ""
		for _, m := range f.Captchas[0].Media {
			if _, a, ok := strings.Cut(string(m.Data), "answer="); ok {
				require.Equal(t, "image/png", m.Type)
				answer = strings.TrimSpace(a)
			}
		}
		require.NotEmpty(t, answer, "the picture is in the form")
		f.Set(f.Captchas[0].Var, answer)
		addr, err := register.Submit(ctx, g, f)
		require.NoError(t, err)
		testclient.Up(t, testclient.Config(s, addr.String(), "a long first password 1"))
	})
}

// again1 is a session that must not be asked.
type again1 struct{ confab.Requester }

func TestAbout(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		a, pw := s.Account(t)
		c := testclient.Up(t, testclient.Config(s, a, pw))
		info, err := register.About(testclient.Context(t), c, c.LocalAddr().Domain())
		require.NoError(t, err)
		for what, uris := range info.Contacts {
			require.NotEmpty(t, uris, what)
		}
	})
}

// TestInvite: an invitation is made, and an account is made with it, once.
func TestInvite(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		a, pw := s.Account(t)
		c := testclient.Up(t, testclient.Config(s, a, pw))
		i, err := roster.RequestInvitation(ctx, c)
		if errors.As(err, new(stanza.Error)) {
			s.Skip(t, "invitations (XEP-0401)")
		}
		require.NoError(t, err)
		require.NotEmpty(t, i.Token)
		g := guest(t, s)
		require.ErrorIs(t, register.Present(ctx, g, "made-up"), register.ErrToken)
		if !i.Register && !i.Account {
			return
		}
		g = guest(t, s)
		require.NoError(t, register.Present(ctx, g, i.Token))
		f, err := register.Fetch(ctx, g)
		require.NoError(t, err)
		f.Set("username", "invited"+strings.ToLower(confab.NewID())).Set("password", "a long password 3")
		addr, err := register.Submit(ctx, g, f)
		require.NoError(t, err)
		testclient.Up(t, testclient.Config(s, addr.String(), "a long password 3"))
		require.ErrorIs(t, register.Present(ctx, guest(t, s), i.Token), register.ErrToken)
	})
}

// canned is a stream whose server says what the test wants.
type canned struct {
	t       *testing.T
	asked   []*confab.Element
	answers []any // *confab.Element or error
}

func (c *canned) Ask(_ context.Context, iq *confab.Element) (*confab.Element, error) {
	c.asked = append(c.asked, iq)
	require.NotEmpty(c.t, c.answers, "nobody should ask: %v", iq)
	a := c.answers[0]
	c.answers = c.answers[1:]
	if err, ok := a.(error); ok {
		return confab.El(confab.NSClient, "iq"), err
	}
	return a.(*confab.Element), nil
}
func (*canned) Server() jid.JID           { return jid.MustParse("shakespeare.lit") }
func (*canned) Features() *confab.Element { return vectorsFeatures }

var vectorsFeatures = confab.El("http://etherx.jabber.org/streams", "features", confab.El("urn:xmpp:ibr-token:0", "register"))

func example(t *testing.T, xep string, n int) *confab.Element {
	t.Helper()
	els := vectors.Elements(t, xep, n)
	require.NotEmpty(t, els)
	return els[0]
}

// TestExamples: what servers say in the XEPs' own examples.
func TestExamples(t *testing.T) {
	ctx := t.Context()
	s := &canned{t: t, answers: []any{example(t, "0077", 2), example(t, "0077", 5)}}
	f, err := register.Fetch(ctx, s)
	require.NoError(t, err)
	require.Contains(t, f.Instructions[0], "Choose a username and password")
	f.Set("username", "bill").Set("password", "Calliope").Set("email", "bard@shakespeare.lit")
	addr, err := register.Submit(ctx, s, f)
	require.NoError(t, err)
	require.Equal(t, "bill@shakespeare.lit", addr.String())
	pairs := func(q *confab.Element) (all []string) {
		for _, c := range q.Children {
			all = append(all, c.Name.Local, c.Text)
		}
		return all
	}
	require.Equal(t, pairs(example(t, "0077", 4).Child(register.NS, "query")), pairs(s.asked[1].Child(register.NS, "query")))

	offered, invited := register.Offered(s)
	require.False(t, offered)
	require.True(t, invited)
	s = &canned{t: t, answers: []any{example(t, "0445", 3)}}
	require.NoError(t, register.Present(ctx, s, "TOKEN"))
	require.Equal(t, example(t, "0445", 2).Child("urn:xmpp:pars:0", "preauth").String(), s.asked[0].Child("urn:xmpp:pars:0", "preauth").String())
}

const captchaForm = `<iq type='result' xmlns='jabber:client'><query xmlns='jabber:iq:register'><instructions>old</instructions><username/><password/>` +
	`<x xmlns='jabber:x:data' type='form'><field type='hidden' var='FORM_TYPE'><value>jabber:iq:register</value></field>` +
	`<field var='username' type='text-single' label='User'><required/></field><field var='password' type='text-private'><required/></field>` +
	`<field var='id' type='hidden'><value>42</value></field>` +
	`<field var='ocr' type='text-single' label='Enter the text you see'><required/><media xmlns='urn:xmpp:media-element' width='290' height='80'>` +
	`<uri type='image/png'>cid:sha1+%s@bob.xmpp.org</uri><uri type='image/png'>https://shakespeare.lit/captcha</uri></media></field>` +
	`<field var='qa' type='text-single' label='What colour has the sky?'/></x>` +
	`%s</query></iq>`

func parse(t *testing.T, s string) *confab.Element {
	t.Helper()
	el, err := vectors.Example{XML: s}.Elements()
	require.NoError(t, err)
	return el[0]
}

// TestCaptcha: a picture comes with the form, or is asked for; one that is not what its
// name says is not shown; a wrong answer is told as such.
func TestCaptcha(t *testing.T) {
	ctx := t.Context()
	const sum = "a9993e364706816aba3e25717850c26c9cd0d89d" // of "abc"
	bits := func(text string) string {
		return "<data xmlns='urn:xmpp:bob' cid='sha1+" + sum + "@bob.xmpp.org' type='image/png'>" + text + "</data>"
	}
	for _, c := range []struct {
		name, inside string
		fetched      any
		want         int
	}{
		{"within", bits("YWJj"), nil, 2},
		{"asked for", "", parse(t, "<iq xmlns='jabber:client' type='result'>"+bits("YWJj")+"</iq>"), 2},
		{"not there", "", stanza.Error{Condition: stanza.ItemNotFound}, 1},
		{"another picture", bits("YWJk"), parse(t, "<iq xmlns='jabber:client' type='result'>"+bits("eHh4")+"</iq>"), 1},
		{"no base64", bits("!"), stanza.Error{Condition: stanza.ItemNotFound}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &canned{t: t, answers: []any{parse(t, fmt.Sprintf(captchaForm, sum, c.inside))}}
			if c.fetched != nil {
				s.answers = append(s.answers, c.fetched)
			}
			f, err := register.Fetch(ctx, s)
			require.NoError(t, err)
			require.Len(t, f.Captchas, 2)
			require.Len(t, f.Captchas[0].Media, c.want)
			if c.want == 2 {
				require.Equal(t, register.Media{Type: "image/png", Data: []byte("abc")}, f.Captchas[0].Media[0])
			}
			require.Equal(t, "https://shakespeare.lit/captcha", f.Captchas[0].Media[c.want-1].URL)
			require.Equal(t, register.Captcha{Var: "qa", Question: "What colour has the sky?"}, f.Captchas[1])

			f.Set("username", "bill").Set("password", "x")
			_, err = register.Submit(ctx, s, f)
			var fe *form.FieldError
			require.ErrorAs(t, err, &fe)
			require.Equal(t, "ocr", fe.Var)
			f.Set("ocr", "7nHL3")
			s.answers = []any{stanza.Error{Condition: stanza.NotAllowed, Text: map[string]string{"en": "The CAPTCHA verification has failed"}}}
			_, err = register.Submit(ctx, s, f)
			require.ErrorIs(t, err, register.ErrCaptcha)
			sent := form.Find(s.asked[len(s.asked)-1].Child(register.NS, "query"), "jabber:iq:register")
			require.Equal(t, []string{"42", "7nHL3"}, []string{sent.Get("id"), sent.Get("ocr")})
		})
	}
}

// workForm is the form that example 12 of XEP-0158 answers.
const workForm = `<iq type='result' xmlns='jabber:client'><query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='form'>` +
	`<field type='hidden' var='FORM_TYPE'><value>jabber:iq:register</value></field><field type='hidden' var='challenge'><value>F3A6292C</value></field>` +
	`<field type='hidden' var='sid'><value>reg1</value></field><field type='hidden' var='answers'><value>3</value></field>` +
	`<field var='ocr' label='Enter the text you see'><media xmlns='urn:xmpp:media-element' height='80' width='290'>` +
	`<uri type='image/jpeg'> http://www.victim.com/challenges/ocr.jpeg?F3A6292C </uri></media></field>` +
	`<field label='93C7A' type='text-single' var='SHA-256'/><field type='text-single' var='username'><required/></field>` +
	`<field type='text-private' var='password'><required/></field></x><instructions>visit</instructions>` +
	`<x xmlns='jabber:x:oob'><url>http://www.victim.com/register.html</url></x></query></iq>`

// captioned returns an example of XEP-0158 by its caption.
func captioned(t *testing.T, caption string) *confab.Element {
	t.Helper()
	for _, e := range vectors.Examples(t, "0158") {
		if e.Caption == caption {
			els, err := e.Elements()
			require.NoError(t, err)
			return els[0]
		}
	}
	t.Fatal("no example ", caption)
	return nil
}

// TestWork: the form of XEP-0158, with a picture or some seconds of work, as one likes.
func TestWork(t *testing.T) {
	ctx := t.Context()
	s := &canned{t: t, answers: []any{parse(t, workForm)}}
	f, err := register.Fetch(ctx, s)
	require.NoError(t, err)
	require.Equal(t, "http://www.victim.com/register.html", f.Redirect)
	require.Equal(t, []register.Captcha{{Var: "ocr", Question: "Enter the text you see", Media: []register.Media{{Type: "image/jpeg", URL: "http://www.victim.com/challenges/ocr.jpeg?F3A6292C"}}}}, f.Captchas)
	f.Set("username", "bill").Set("password", "Calliope")
	_, err = register.Submit(ctx, s, f)
	require.ErrorContains(t, err, "one more of ocr, SHA-256")

	f.Set("ocr", "7nHL3")
	s.answers = []any{example(t, "0077", 5)}
	_, err = register.Submit(ctx, s, f)
	require.NoError(t, err)
	values := func(el *confab.Element) map[string]string {
		m := map[string]string{}
		for fd := range el.Child(register.NS, "query").Child("jabber:x:data", "x").All("jabber:x:data", "field") {
			m[fd.Get("var")] = fd.ChildText("jabber:x:data", "value")
		}
		return m
	}
	require.Equal(t, values(captioned(t, "Entity Provides Required Information In-Band")), values(s.asked[len(s.asked)-1]))

	f.Set("ocr", "")
	f.Field("SHA-256").Label = "93c7" // 16 bits are enough for a test
	require.NoError(t, f.Work(ctx, s.Server()))
	answer := f.Get("SHA-256")
	sum := sha256.Sum256([]byte(answer))
	require.True(t, strings.HasPrefix(answer, "shakespeare.lit"))
	require.Equal(t, []byte{0x93, 0xc7}, sum[30:])
	s.answers = []any{example(t, "0077", 5)}
	_, err = register.Submit(ctx, s, f)
	require.NoError(t, err)
	require.NotContains(t, values(s.asked[len(s.asked)-1]), "ocr")

	for _, label := range []string{"", "0", "no", "fffffffff", strings.Repeat("f", 1000)} {
		f.Field("SHA-256").Label = label
		require.Error(t, f.Work(ctx, s.Server()), label)
	}
	f.Field("SHA-256").Label = "8000001"
	gone, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, f.Work(gone, s.Server()), context.Canceled)
	f, err = register.Fetch(ctx, &canned{t: t, answers: []any{example(t, "0077", 2)}})
	require.NoError(t, err)
	require.NoError(t, f.Work(ctx, s.Server()))
}

func TestRefusals(t *testing.T) {
	ctx := t.Context()
	for want, said := range map[error]stanza.Error{
		register.ErrConflict:      {Condition: stanza.Conflict, Type: stanza.Cancel},
		register.ErrNotAllowed:    {Condition: stanza.NotAllowed, Type: stanza.Cancel},
		register.ErrTooOften:      {Condition: stanza.ResourceConstraint, Type: stanza.Wait},
		register.ErrNotAcceptable: {Condition: stanza.NotAcceptable, Type: stanza.Modify, Text: map[string]string{"en": "The password is too weak"}},
	} {
		s := &canned{t: t, answers: []any{example(t, "0077", 2), said}}
		f, err := register.Fetch(ctx, s)
		require.NoError(t, err)
		f.Set("username", "bill").Set("password", "x").Set("email", "a@b")
		_, err = register.Submit(ctx, s, f)
		require.ErrorIs(t, err, want)
		require.ErrorAs(t, err, new(stanza.Error))
	}
	_, err := register.Fetch(ctx, &canned{t: t, answers: []any{stanza.Error{Condition: stanza.ServiceUnavailable}}})
	require.ErrorIs(t, err, register.ErrNotAllowed)
	for _, q := range []string{"", "<query xmlns='jabber:iq:register'/>", "<query xmlns='other'/>"} {
		_, err := register.Fetch(ctx, &canned{t: t, answers: []any{parse(t, "<iq xmlns='jabber:client'>"+q+"</iq>")}})
		require.Error(t, err, q)
	}
	// On a web page only.
	s := &canned{t: t, answers: []any{parse(t, "<iq xmlns='jabber:client'><query xmlns='jabber:iq:register'><instructions>there</instructions><x xmlns='jabber:x:oob'><url>https://shakespeare.lit/register</url></x></query></iq>")}}
	f, err := register.Fetch(ctx, s)
	require.NoError(t, err)
	require.Equal(t, "https://shakespeare.lit/register", f.Redirect)
	_, err = register.Submit(ctx, s, f)
	require.ErrorIs(t, err, register.ErrNotAllowed)
	require.ErrorContains(t, err, "https://shakespeare.lit/register")
	_, err = register.Submit(ctx, s, nil)
	require.Error(t, err)
	for _, name := range []string{"", "a@b", "a/b", " ", strings.Repeat("x", 2000)} {
		s := &canned{t: t, answers: []any{example(t, "0077", 2)}}
		f, err := register.Fetch(ctx, s)
		require.NoError(t, err)
		f.Set("username", name).Set("password", "x").Set("email", "a@b")
		_, err = register.Submit(ctx, s, f)
		require.ErrorAs(t, err, new(*form.FieldError), name)
	}
}

// FuzzForm: no form takes the program down.
func FuzzForm(f *testing.F) {
	f.Add(fmt.Sprintf(captchaForm, "a9993e364706816aba3e25717850c26c9cd0d89d", ""))
	f.Add("<iq xmlns='jabber:client'><query xmlns='jabber:iq:register'><username/><x xmlns='jabber:x:oob'/></query></iq>")
	f.Fuzz(func(t *testing.T, s string) {
		els, err := vectors.Example{XML: s}.Elements()
		if err != nil || len(els) == 0 {
			return
		}
		c := &canned{t: t}
		for range 100 {
			c.answers = append(c.answers, els[0])
		}
		form, err := register.Fetch(t.Context(), c)
		if err == nil {
			c.answers = append(c.answers, els[0])
			_, _ = register.Submit(t.Context(), c, form)
		}
	})
}
