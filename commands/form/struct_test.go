package form_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/confab-im/confab/commands/form"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

type mood string

// everything has a field of each kind.
type everything struct {
	_        struct{} `form:"urn:example:everything" title:"Everything" instructions:"Please."`
	Name     string   `form:"name,required" label:"Name" desc:"Your name"`
	Mood     mood     `form:"mood" options:"good=All is well,bad"`
	Moods    []mood   `form:"moods" options:"good,bad" open:"true"`
	Lines    []string `form:"lines"`
	Text     string   `form:"text,text-multi"`
	Password string   `form:"password,text-private"`
	On       bool     `form:"on"`
	Level    int8     `form:"level" min:"-5" max:"5"`
	Size     uint64   `form:"size"`
	Ratio    float64  `form:"ratio"`
	Who      jid.JID  `form:"who"`
	Admins   []jid.JID
	When     time.Time    `form:"when"`
	Address  netip.Addr   `form:"address"`
	Routes   []netip.Addr `form:"routes"`
	Maybe    *int         `form:"maybe"`
	Code     string       `form:"code" regex:"[a-z]+"`
	Session  string       `form:"session,hidden"`
	Left     string       `form:"-"`
	private  string
}

func TestStruct(t *testing.T) {
	five := 5
	v := everything{
		Name: "x", Mood: "good", Moods: []mood{"bad", "fair"}, Lines: []string{"a", "b"}, Text: "c\nd", Password: "secret", On: true,
		Level: -5, Size: 1 << 63, Ratio: 0.25, Who: jid.MustParse("a@b/c"), Admins: []jid.JID{jid.MustParse("d@e"), jid.MustParse("f")},
		When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Address: netip.MustParseAddr("::1"), Routes: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		Maybe: &five, Code: "abc", Session: "s", Left: "out", private: "p",
	}
	f, err := form.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, f.Check())
	assert.Equal(t, "Everything", f.Title)
	assert.Equal(t, "urn:example:everything", f.About())
	assert.Equal(t, []string{"Please."}, f.Instructions)
	types := map[string]form.FieldType{}
	for _, fd := range f.Fields {
		types[fd.Var] = fd.Type
	}
	assert.Equal(t, map[string]form.FieldType{
		form.FormType: form.Hidden, "name": form.TextSingle, "mood": form.ListSingle, "moods": form.ListMulti, "lines": form.TextMulti,
		"text": form.TextMulti, "password": form.TextPrivate, "on": form.Boolean, "level": form.TextSingle, "size": form.TextSingle,
		"ratio": form.TextSingle, "who": form.JIDSingle, "admins": form.JIDMulti, "when": form.TextSingle, "address": form.TextSingle,
		"routes": form.TextMulti, "maybe": form.TextSingle, "code": form.TextSingle, "session": form.Hidden,
	}, types)
	assert.Equal(t, []form.Option{{Label: "All is well", Value: "good"}, {Value: "bad"}}, f.Field("mood").Options)
	assert.Empty(t, f.Values("password"), "a password is not shown")
	assert.Equal(t, []string{"c", "d"}, f.Values("text"))
	assert.Equal(t, form.Validation{Datatype: "xs:integer", Min: "-5", Max: "5"}, *f.Field("level").Validate)

	// It comes back as it was, over the wire.
	a, err := f.Set("password", "secret").Submit()
	require.NoError(t, err)
	a, err = form.Parse(a.Element())
	require.NoError(t, err)
	var got everything
	require.NoError(t, form.Unmarshal(a, &got))
	v.Left, v.private = "", ""
	assert.Equal(t, v, got)

	// A pointer will do, and what the form has not stays.
	_, err = form.Marshal(&v)
	require.NoError(t, err)
	require.NoError(t, form.Unmarshal(form.New(form.Answers, "").Set("name", "y").Set("level", "").Set("maybe"), &got))
	assert.Equal(t, "y", got.Name)
	assert.Zero(t, got.Level)
	assert.Nil(t, got.Maybe)
	assert.True(t, got.On)
}

func TestStructZero(t *testing.T) {
	f, err := form.Marshal(everything{})
	require.NoError(t, err)
	require.ErrorIs(t, f.Check(), form.ErrRequired)
	for _, name := range []string{"name", "mood", "moods", "lines", "text", "who", "admins", "when", "address", "routes", "maybe"} {
		assert.Empty(t, f.Values(name), name)
	}
	assert.Equal(t, "0", f.Get("level"))
	assert.Equal(t, "0", f.Get("on"))
}

// What does not fit is an error that names the field; the rest is set.
func TestUnmarshalErrors(t *testing.T) {
	for name, value := range map[string]string{
		"mood": "odd", "on": "yes", "level": "6", "size": "-1", "ratio": "x", "who": "@", "admins": "a@", "when": "today",
		"address": "1.2.3", "maybe": "1.5", "code": "ABC", "routes": "x",
	} {
		var v everything
		err := form.Unmarshal(form.New(form.Answers, "").Set("name", "x").Set(name, value), &v)
		var fe *form.FieldError
		require.ErrorAs(t, err, &fe, name)
		assert.Equal(t, name, fe.Var)
		assert.Equal(t, "x", v.Name)
	}
	var v everything
	err := form.Unmarshal(form.New(form.Answers, ""), &v)
	require.ErrorIs(t, err, form.ErrRequired)
	require.ErrorIs(t, form.Unmarshal(nil, &v), form.ErrRequired)
	require.Error(t, form.Unmarshal(form.New(form.Answers, "").Set("name", "a", "b"), &v))

	f := form.New(form.Answers, "")
	for _, bad := range []any{nil, 1, v, (*everything)(nil), new(int), &struct{ F func() }{}, &struct{ F []bool }{}, &struct{ F struct{ X int } }{},
		&struct {
			F string `form:"f,odd"`
		}{}, &struct{ F [][]string }{}, &struct{ F map[string]string }{}} {
		require.Error(t, form.Unmarshal(f, bad), "%T", bad)
	}
	for _, bad := range []any{nil, 1, "x", (*everything)(nil), struct{ F chan int }{}, struct{ F any }{}} {
		_, err := form.Marshal(bad)
		require.Error(t, err, "%T", bad)
	}
}

func ExampleMarshal() {
	type Config struct {
		_       struct{} `form:"urn:example:config" title:"Configure"`
		Service string   `form:"service,required" label:"Service" options:"httpd=Web server,jabberd"`
		Level   int      `form:"level" label:"Run level" min:"1" max:"5"`
	}
	f, err := form.Marshal(Config{Level: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Title, f.Field("service").Type, f.Get("level"))

	answer, err := f.Set("service", "httpd").Submit()
	if err != nil {
		fmt.Println(err)
		return
	}
	var c Config
	fmt.Println(form.Unmarshal(answer, &c), c.Service, c.Level)
	fmt.Println(form.Unmarshal(answer.Set("level", "9"), &c))
	// Output:
	// Configure list-single 3
	// <nil> httpd 3
	// form: field Run level (level): "9" is more than 5
}
