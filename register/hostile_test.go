package register_test

import (
	"bytes"
	"context"
	"crypto/sha1" // what XEP-0231 names data by
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/commands/form"
	"github.com/confab-im/confab/register"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stanza"
)

// hostileForm is an answer with these fields.
func hostileForm(t *testing.T, more, fields string) *confab.Element {
	t.Helper()
	return parse(t, "<iq xmlns='jabber:client' type='result'><query xmlns='jabber:iq:register'>"+more+"<x xmlns='jabber:x:data' type='form'>"+
		"<field var='username'/><field var='password' type='text-private'/>"+fields+"</x></query></iq>")
}

func picture(name string, uris ...string) string {
	s := "<field var='" + name + "'><media xmlns='urn:xmpp:media-element'>"
	for _, u := range uris {
		s += "<uri type='image/png'>" + u + "</uri>"
	}
	return s + "</media></field>"
}

// TestManyMedia: a form cannot have the client ask, or keep, without end.
func TestManyMedia(t *testing.T) {
	ctx := t.Context()
	var uris []string
	for i := range 1000 {
		uris = append(uris, fmt.Sprintf("cid:sha1+%040x@bob.xmpp.org", i))
	}
	s := &canned{t: t, answers: []any{hostileForm(t, "", picture("ocr", uris...)+picture("a", uris[500:]...)+picture("b", uris[700:]...))}}
	for range 2000 {
		s.answers = append(s.answers, stanza.Error{Condition: stanza.ItemNotFound})
	}
	f, err := register.Fetch(ctx, s)
	require.NoError(t, err)
	require.Len(t, f.Captchas, 3)
	require.LessOrEqual(t, len(s.asked), 20)

	// What is not there is asked for once.
	s = &canned{t: t, answers: []any{hostileForm(t, "", picture("ocr", uris[0], uris[0], uris[0])+picture("a", uris[0])), stanza.Error{Condition: stanza.ItemNotFound}}}
	_, err = register.Fetch(ctx, s)
	require.NoError(t, err)
	require.Len(t, s.asked, 2)

	s = &canned{t: t, answers: []any{hostileForm(t, "", picture("ocr", strings.Split(strings.Repeat("https://example.org/x ", 500)+"https://example.org/y", " ")...))}}
	f, err = register.Fetch(ctx, s)
	require.NoError(t, err)
	require.LessOrEqual(t, len(f.Captchas[0].Media), 16)

	many := ""
	for i := range 500 {
		many += picture(fmt.Sprint("p", i), "https://example.org/x")
	}
	_, err = register.Fetch(ctx, &canned{t: t, answers: []any{hostileForm(t, "", many)}})
	require.ErrorContains(t, err, "more than")
	_, err = register.Fetch(ctx, &canned{t: t, answers: []any{hostileForm(t, "", strings.Repeat("<field var='x'/>", 5000))}})
	require.Error(t, err)

	// Pictures are taken as long as there is room.
	var data, cids string
	for i := range 3 {
		b := bytes.Repeat([]byte{byte(i)}, 400<<10)
		cid := fmt.Sprintf("sha1+%x@bob.xmpp.org", sha1.Sum(b))
		data += "<data xmlns='urn:xmpp:bob' type='image/png' cid='" + cid + "'>" + base64.StdEncoding.EncodeToString(b) + "</data>"
		cids += picture(fmt.Sprint("p", i), "cid:"+cid)
	}
	f, err = register.Fetch(ctx, &canned{t: t, answers: []any{hostileForm(t, data, cids), stanza.Error{Condition: stanza.ItemNotFound}}})
	require.NoError(t, err)
	require.Len(t, f.Captchas, 3)
	require.Len(t, f.Captchas[1].Media, 1)
	require.Empty(t, f.Captchas[2].Media)
	// A form that does not ask for a name gets none.
	_, err = register.Submit(ctx, &canned{t: t}, f)
	var fe *form.FieldError
	require.ErrorAs(t, err, &fe)
	require.Equal(t, "username", fe.Var)

	// The link is gone in the middle.
	gone := errors.New("gone")
	_, err = register.Fetch(ctx, &canned{t: t, answers: []any{hostileForm(t, "", picture("ocr", uris[0])), gone}})
	require.ErrorIs(t, err, gone)
}

// TestAddresses: only web pages are told as such; a server, or who gives a form in its
// name, leads to no file and to no script.
func TestAddresses(t *testing.T) {
	ctx := t.Context()
	bad := []string{
		"javascript:alert(1)", "JavaScript:alert(1)", "file:///etc/passwd", "data:text/html,x", "//evil.example/x", "/x", "https:///x", "https:x", "ftp://example.org/", "xmpp:a@b",
		"https://shakespeare.lit@evil.example/", "https://exa mple.org/", "https://example.org/" + strings.Repeat("x", 9000), "http://",
	}
	f, err := register.Fetch(ctx, &canned{t: t, answers: []any{hostileForm(t, "", picture("ocr", append(bad[:12:12], " https://other.example/x.png ")...))}})
	require.NoError(t, err)
	require.Equal(t, []register.Media{{Type: "image/png", URL: "https://other.example/x.png"}}, f.Captchas[0].Media)
	for _, u := range bad {
		oob := "<x xmlns='jabber:x:oob'><url>" + u + "</url></x>"
		f, err := register.Fetch(ctx, &canned{t: t, answers: []any{hostileForm(t, oob, "")}})
		require.NoError(t, err, u)
		require.Equal(t, "", f.Redirect)
		_, err = register.Fetch(ctx, &canned{t: t, answers: []any{parse(t, "<iq xmlns='jabber:client'><query xmlns='jabber:iq:register'>"+oob+"</query></iq>")}})
		require.ErrorContains(t, err, "no field", u)
	}
}

// TestWorkEnds: work that has begun ends with its context, and what is more than anybody
// would do is not begun.
func TestWorkEnds(t *testing.T) {
	asking := func(label string) *register.Form {
		f, err := register.Fetch(t.Context(), &canned{t: t, answers: []any{hostileForm(t, "", "<field var='SHA-256' label='"+label+"'/>")}})
		require.NoError(t, err)
		return f
	}
	server := (*canned)(nil).Server()
	ctx := &after{Context: t.Context(), n: 3}
	// A mistake shows within some minutes only, as the answer or the end of the test.
	require.ErrorIs(t, asking("8f00b7a").Work(ctx, server), context.Canceled)
	for _, label := range []string{"1fffffff", "ffffffffffffffff", "10000000000000000", "-1", "0x1", " ", "1 1"} {
		require.Error(t, asking(label).Work(&after{Context: t.Context(), n: 1000}, server), label)
		require.NotErrorIs(t, asking(label).Work(&after{Context: t.Context(), n: 1000}, server), context.Canceled, label)
	}
	require.NoError(t, asking("00000000000000000000000000f").Work(t.Context(), server))
}

// after is a context that ends when it was asked n times.
type after struct {
	context.Context
	n int
}

func (a *after) Err() error {
	if a.n--; a.n < 0 {
		return context.Canceled
	}
	return nil
}
