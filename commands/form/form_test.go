package form_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/internal/stream"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const commandsNS = "http://jabber.org/protocol/commands"

func parseXML(tb testing.TB, s string) *confab.Element {
	tb.Helper()
	el, err := stream.Parse([]byte(s), stream.Limits{})
	require.NoError(tb, err)
	return el
}

func parse(tb testing.TB, inner string) *form.Form {
	tb.Helper()
	f, err := form.Parse(parseXML(tb, "<x xmlns='jabber:x:data' type='form'>"+inner+"</x>"))
	require.NoError(tb, err)
	return f
}

// The bot of XEP-0004 §4: the form, and what is submitted.
func TestBot(t *testing.T) {
	f := form.Find(vectors.Elements(t, "0004", 2)[0].Child(commandsNS, "command"), "jabber:bot")
	require.NotNil(t, f)
	assert.Equal(t, form.Questions, f.Type)
	assert.Equal(t, "Bot Configuration", f.Title)
	assert.Equal(t, []string{"Fill out this form to configure your new bot!"}, f.Instructions)
	assert.Equal(t, "jabber:bot", f.About())
	assert.Equal(t, []string{"news", "search"}, f.Values("features"))
	fd := f.Field("features")
	assert.Equal(t, form.ListMulti, fd.Type)
	assert.Equal(t, form.Option{Label: "Contests", Value: "contests"}, fd.Options[0])
	assert.True(t, f.Field("public").Required)
	_, ok := f.Bool("public")
	assert.False(t, ok)
	assert.NotEmpty(t, f.Field("invitelist").Desc)

	_, err := f.Submit()
	var fe *form.FieldError
	require.ErrorAs(t, err, &fe)
	require.ErrorIs(t, err, form.ErrRequired)
	assert.Equal(t, "public", fe.Var)
	assert.Equal(t, "form: field Public bot? (public): a value is required", fe.Error())

	f.Set("botname", "The Jabber Google Bot").SetBool("public", false).Set("password", "v3r0na").Set("maxsubs", "50").
		Set("description", "This bot enables you to send requests to", "Google and receive the search results right",
			"in your Jabber client. It' really cool!", "It even supports Google News!").
		Set("invitelist", "juliet@capulet.com", "benvolio@montague.net")
	a, err := f.Submit()
	require.NoError(t, err)
	want := vectors.Elements(t, "0004", 3)[0].Child(commandsNS, "command").Child(form.NS, "x")
	assert.Equal(t, tidy(want), tidy(a.Element()))
	assert.True(t, strings.HasPrefix(a.Text("description"), "This bot enables you to send requests to\nGoogle"))
	v, ok := a.Bool("public")
	assert.True(t, ok)
	assert.False(t, v)
}

// tidy removes white space between elements.
func tidy(el *confab.Element) string {
	el = el.Clone()
	var walk func(*confab.Element)
	walk = func(e *confab.Element) {
		e.Tail = ""
		if len(e.Children) > 0 {
			e.Text = ""
		}
		for _, c := range e.Children {
			walk(c)
		}
		if v := e.Get("type"); v != "" && e.Name.Local == "field" {
			e.Set("type", "").Set("type", v) // the order of attributes
		}
	}
	walk(el)
	return el.String()
}

func TestTable(t *testing.T) {
	f := form.Find(vectors.Elements(t, "0004", 8)[0].Child(commandsNS, "command"), "")
	require.NotNil(t, f)
	assert.Equal(t, form.Result, f.Type)
	require.Len(t, f.Reported, 2)
	require.Len(t, f.Items, 5)
	assert.Equal(t, "name", f.Reported[0].Var)
	assert.Equal(t, []string{"http://www.hellasverona.it/"}, f.Items[1][1].Values)
	again, err := form.Parse(f.Element())
	require.NoError(t, err)
	assert.Equal(t, f, again)
}

// The fields of XEP-0122 take the values that they are said to take.
func TestValidate(t *testing.T) {
	field := func(number int) *form.Form {
		el := vectors.Elements(t, "0122", number)[0].Clone()
		var space func(*confab.Element)
		space = func(e *confab.Element) {
			if e.Name.Space == confab.NSClient {
				e.Name.Space = form.NS
			}
			for _, c := range e.Children {
				space(c)
			}
		}
		space(el)
		if el.Name.Local == "field" {
			el = confab.El(form.NS, "x", el).Set("type", "form")
		}
		f, err := form.Parse(el)
		require.NoError(t, err)
		again, err := form.Parse(f.Element())
		require.NoError(t, err)
		assert.Equal(t, f, again)
		return f
	}
	for _, tt := range []struct {
		number int
		name   string
		values []string
		ok     bool
	}{
		{1, "evt.date", []string{"2003-10-06T11:22:00-07:00"}, true},
		{1, "evt.date", []string{"2003-10-06T11:22:00"}, true},
		{2, "evt.date", []string{"yesterday"}, false},
		{4, "evt.date", []string{"2003-10-06T11:22:00-07:00"}, true},
		{4, "evt.date", []string{"2003-10-04T23:59:59-07:00"}, false},
		{4, "evt.date", []string{"2003-10-25T00:00:00-07:00"}, false},
		{4, "evt.date", []string{"2003-10-25T06:59:59Z"}, true},
		{5, "ssn", []string{"123-12-1234"}, true},
		{5, "ssn", []string{"x123-12-1234"}, false},
		{5, "ssn", []string{"123-12-1234\n"}, false},
		{6, "evt.notify-methods", []string{"e-mail", "jabber/xmpp"}, true},
		{6, "evt.notify-methods", []string{"e-mail", "jabber/xmpp", "work phone", "cell phone"}, false},
		{6, "evt.notify-methods", []string{"pigeon"}, false},
		{7, "date/start", []string{"2003-10-06"}, true},
		{7, "date/start", []string{"2003-10-06Z"}, true},
		{7, "date/start", []string{"06.10.2003"}, false},
	} {
		f := field(tt.number)
		require.NotNil(t, f.Field(tt.name))
		err := f.Set(tt.name, tt.values...).Check()
		assert.Equal(t, tt.ok, err == nil, "%d %v: %v", tt.number, tt.values, err)
	}
}

func TestCheck(t *testing.T) {
	number := func(datatype, bounds string) string {
		return "<field var='v'><validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='" + datatype + "'>" + bounds + "</validate></field>"
	}
	const list = "<field var='v' type='list-single'>%<option><value>a</value></option><option><value>b</value></option></field>"
	validate := func(s string) string {
		return "<validate xmlns='http://jabber.org/protocol/xdata-validate'>" + s + "</validate>"
	}
	for _, tt := range []struct {
		field  string
		values []string
		ok     bool
	}{
		{"<field var='v'/>", nil, true},
		{"<field var='v'/>", []string{"a", "b"}, false},
		{"<field var='v' type='text-multi'/>", []string{"a", "b"}, true},
		{"<field var='v'><required/></field>", nil, false},
		{"<field var='v'><required/></field>", []string{""}, false},
		{"<field var='v'><required/></field>", []string{"x"}, true},
		{"<field var='v' type='hidden'/>", []string{"a", "b"}, true},
		{"<field var='v' type='fixed'><required/></field>", nil, true},
		{"<field var='v' type='boolean'/>", []string{"true"}, true},
		{"<field var='v' type='boolean'/>", []string{"yes"}, false},
		{"<field var='v' type='boolean'/>", []string{""}, false},
		{"<field var='v' type='jid-single'/>", []string{"a@b/c"}, true},
		{"<field var='v' type='jid-single'/>", []string{"@b"}, false},
		{"<field var='v' type='jid-multi'/>", []string{"a@b", "c@"}, false},
		{"<field var='v' type='jid-multi'/>", []string{"a@b", "c"}, true},
		{"<field var='v' type='odd'/>", []string{"a"}, true},
		{strings.Replace(list, "%", "", 1), []string{"a"}, true},
		{strings.Replace(list, "%", "", 1), []string{"c"}, false},
		{strings.Replace(list, "%", validate("<open/>"), 1), []string{"c"}, true},
		{"<field var='v' type='list-single'/>", []string{"c"}, true},
		{number("xs:integer", "<range min='-5' max='100000000000000000000000'/>"), []string{"-5"}, true},
		{number("xs:integer", "<range min='-5' max='100000000000000000000000'/>"), []string{"-6"}, false},
		{number("xs:integer", "<range min='-5' max='100000000000000000000000'/>"), []string{"100000000000000000000001"}, false},
		{number("xs:integer", ""), []string{"1.5"}, false},
		{number("xs:integer", ""), []string{"0x10"}, false},
		{number("xs:integer", ""), []string{strings.Repeat("9", 1000)}, false},
		{number("xs:decimal", "<range max='0.1'/>"), []string{".1"}, true},
		{number("xs:decimal", "<range max='0.1'/>"), []string{"0.11"}, false},
		{number("xs:decimal", ""), []string{"1/3"}, false},
		{number("xs:double", ""), []string{"1e999"}, true},
		{number("xs:double", ""), []string{"1e9999"}, false},
		{number("xs:integer", "<range min='none'/>"), []string{"1"}, true},
		{number("urn:x:unknown", "<range min='5'/>"), []string{"1"}, true},
		{number("xs:string", "<regex>[</regex>"), []string{"not a pattern: who asks checks"}, true},
		{number("xs:string", "<regex>a|b</regex>"), []string{"ab"}, false},
	} {
		f := parse(t, tt.field).Set("v", tt.values...)
		err := f.Check()
		assert.Equal(t, tt.ok, err == nil, "%s %v: %v", tt.field, tt.values, err)
		if err != nil {
			var fe *form.FieldError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, "v", fe.Var)
			_, serr := f.Submit()
			assert.Equal(t, err, serr)
		}
	}
	// All that is wrong is reported.
	err := parse(t, "<field var='a'><required/></field><field var='b'/><field var='c'><required/></field>").Check()
	assert.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), 2)
}

// A picture belongs to its question (XEP-0221).
func TestMedia(t *testing.T) {
	var x *confab.Element
	for _, el := range vectors.Elements(t, "0221", 2) {
		if el.Is(form.NS, "x") {
			x = el
		}
	}
	f, err := form.Parse(x)
	require.NoError(t, err)
	assert.Equal(t, []form.Media{{Width: 290, Height: 80, URIs: []form.MediaURI{
		{Type: "image/jpeg", URI: "http://www.victim.com/challenges/ocr.jpeg?F3A6292C"},
		{Type: "image/jpeg", URI: "cid:sha1+f24030b8d91d233bac14777be5ab531ca3b9f102@bob.xmpp.org"},
	}}}, f.Field("ocr").Media)
	again, err := form.Parse(f.Element())
	require.NoError(t, err)
	assert.Equal(t, f, again)
	for _, size := range []string{"-1", "1e3", "99999999999999999999", ""} {
		f := parse(t, "<field var='v'><media xmlns='urn:xmpp:media-element' width='"+size+"' height='1'/></field>")
		assert.Equal(t, []form.Media{{Height: 1}}, f.Field("v").Media)
	}
}

func TestHostile(t *testing.T) {
	for _, s := range []string{
		"<x xmlns='urn:x'/>", "<y xmlns='jabber:x:data'/>", "<x xmlns='jabber:x:data' type='odd'/>",
		"<x xmlns='jabber:x:data'>" + strings.Repeat("<field/>", 5000) + "</x>",
	} {
		_, err := form.Parse(parseXML(t, s))
		require.Error(t, err, "%.60s", s)
	}
	_, err := form.Parse(nil)
	require.Error(t, err)
	f, err := form.Parse(parseXML(t, "<x xmlns='jabber:x:data'><field/><field xmlns='urn:x' var='a'/><other/><field><option/><value/><validate xmlns='http://jabber.org/protocol/xdata-validate'/></field></x>"))
	require.NoError(t, err)
	assert.Equal(t, form.Questions, f.Type)
	assert.Len(t, f.Fields, 2)
	require.NoError(t, f.Check())
	a, err := f.Submit()
	require.NoError(t, err)
	assert.Empty(t, a.Fields)

	var none *form.Form
	assert.Nil(t, none.Field("x"))
	assert.Empty(t, none.Get("x"))
	assert.Nil(t, form.Find(nil, ""))
	assert.Nil(t, form.Find(confab.El("", "a", parseXML(t, "<x xmlns='jabber:x:data' type='odd'/>")), ""))
	assert.NotNil(t, form.Find(confab.El("", "a", parseXML(t, "<x xmlns='jabber:x:data' type='odd'/>"), form.New(form.Result, "t").Element()), "t"))
}

func FuzzParse(f *testing.F) {
	f.Add("<x xmlns='jabber:x:data' type='form'><title>t</title><field var='a' type='list-multi'><required/><option label='l'><value>v</value></option>" +
		"<validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:integer'><range min='1' max='9'/><list-range min='1'/></validate>" +
		"<media xmlns='urn:xmpp:media-element' width='1' height='2'><uri type='a/b'>cid:x</uri></media><value>5</value></field></x>")
	f.Add("<x xmlns='jabber:x:data' type='result'><reported><field var='a'/></reported><item><field var='a'><value>b</value></field></item></x>")
	f.Fuzz(func(t *testing.T, s string) {
		el, err := stream.Parse([]byte(s), stream.Limits{})
		if err != nil {
			return
		}
		x, err := form.Parse(el)
		if err != nil {
			return
		}
		if a, err := x.Submit(); err == nil {
			if _, err := a.Element().AppendXML(nil, ""); err != nil {
				t.Fatal(err)
			}
		}
		b, err := x.Element().AppendXML(nil, "")
		if err != nil {
			t.Fatal(err)
		}
		el, err = stream.Parse(b, stream.Limits{MaxBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = form.Parse(el); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		var v everything
		var fe *form.FieldError
		if err := form.Unmarshal(x, &v); err != nil && !errors.As(err, &fe) {
			t.Fatal(err)
		}
	})
}
