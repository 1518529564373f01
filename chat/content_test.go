package chat_test

import (
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/confab-im/confab"
	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/internal/vectors"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
)

// plain makes a Message of a stanza without a session.
func plain(el *confab.Element) *confab.Message {
	m := &confab.Message{Stanza: el, ID: el.Get("id")}
	m.From, _ = jid.Parse(el.Get("from"))
	m.To, _ = jid.Parse(el.Get("to"))
	if b := el.Child(confab.NSClient, "body"); b != nil {
		m.Body, m.HasBody = b.Text, true
	}
	return m
}

// TestExamples reads what the XEPs give as examples.
func TestExamples(t *testing.T) {
	read := func(t *testing.T, xep string, number int) chat.Content {
		els := vectors.Elements(t, xep, number)
		return chat.Parse(plain(els[0]))
	}
	t.Run("0085", func(t *testing.T) {
		seen := map[chat.State]bool{}
		for _, e := range vectors.Examples(t, "0085") {
			els, err := e.Elements()
			if err != nil {
				continue
			}
			for _, el := range els {
				if el.Name.Local == "message" {
					seen[chat.Parse(plain(el)).State] = true
				}
			}
		}
		for _, s := range []chat.State{chat.Active, chat.Composing, chat.Paused, chat.Inactive, chat.Gone} {
			require.True(t, seen[s], s)
		}
	})
	t.Run("0308", func(t *testing.T) {
		c := read(t, "0308", 4)
		require.Equal(t, "bad1", c.Replaces)
		require.Equal(t, "But soft, what light through yonder window breaks?", c.Text)
	})
	t.Run("0424", func(t *testing.T) {
		inner := vectors.Elements(t, "0424", 7)[0].Child("urn:xmpp:mam:2", "result").Child("urn:xmpp:forward:0", "forwarded").Child("urn:xmpp:forward:0", "message")
		require.True(t, chat.Parse(plain(inner)).Retracted)
	})
	t.Run("0444", func(t *testing.T) {
		require.Equal(t, []string{"👋"}, read(t, "0444", 5).Reactions)
		c := read(t, "0444", 6)
		require.Equal(t, []string{"👋", "🐢"}, c.Reactions)
		require.Equal(t, "744f6e18-a57a-11e9-a656-4889e7820c76", c.ReactsTo)
	})
	t.Run("0461", func(t *testing.T) {
		// The example is indented for print; what counts starts behind that.
		el := vectors.Elements(t, "0461", 4)[0].Clone()
		b := el.Child(confab.NSClient, "body")
		var lines []string
		for l := range strings.SplitSeq(strings.Trim(b.Text, "\n "), "\n") {
			lines = append(lines, strings.TrimSpace(l))
		}
		b.SetText(strings.Join(lines, "\n"))
		c := chat.Parse(plain(el))
		require.Equal(t, "message-id1", c.ReplyTo.ID)
		require.Equal(t, "anna@example.com/laptop", c.ReplyTo.To.String())
		require.Equal(t, "Great idea!", c.Text)
		require.Equal(t, "Anna wrote:\nWe should bake a cake", c.Quote)
	})
	t.Run("0382", func(t *testing.T) {
		require.True(t, read(t, "0382", 3).Spoiler)
		c := read(t, "0382", 4)
		require.Equal(t, "Love story end", c.SpoilerHint)
	})
	t.Run("0372", func(t *testing.T) {
		m := read(t, "0372", 3).Mentions
		require.Len(t, m, 1)
		require.Equal(t, chat.Mention{Begin: 72, End: 78, Addr: jid.MustParse("juliet@capulet.lit"), URI: "xmpp:juliet@capulet.lit"}, m[0])
		require.Empty(t, read(t, "0372", 4).Mentions, "data is no mention")
	})
	t.Run("0513", func(t *testing.T) {
		m := read(t, "0513", 1).Mentions
		require.Equal(t, []chat.Mention{{Begin: 7, End: 12, OccupantID: "alice@occupant-id"}}, m)
		require.Equal(t, "channel", read(t, "0513", 2).Mentions[0].Group)
		require.Equal(t, "moderators", read(t, "0513", 5).Mentions[0].Group)
		require.Len(t, read(t, "0513", 7).Mentions, 3)
		require.True(t, read(t, "0513", 10).Mentions[0].Quiet)
	})
	t.Run("0394", func(t *testing.T) {
		require.Equal(t, []chat.Span{{Begin: 9, End: 15, Style: chat.Emphasis}}, read(t, "0394", 1).Markup)
		require.Equal(t, []chat.Span{{Begin: 23, End: 48, Style: chat.CodeBlock}}, read(t, "0394", 2).Markup)
	})
	t.Run("0184", func(t *testing.T) {
		answered := false
		for _, e := range vectors.Examples(t, "0184") {
			els, err := e.Elements()
			if err != nil {
				continue
			}
			for _, el := range els {
				c := chat.Parse(plain(el))
				answered = answered || c.ReceiptFor != ""
			}
		}
		require.True(t, answered)
	})
	t.Run("0333", func(t *testing.T) {
		markable, marker := false, false
		for _, e := range vectors.Examples(t, "0333") {
			els, _ := e.Elements()
			for _, el := range els {
				c := chat.Parse(plain(el))
				markable, marker = markable || c.Markable, marker || c.MarkerFor != ""
			}
		}
		require.True(t, markable)
		require.True(t, marker)
	})
	t.Run("0449", func(t *testing.T) {
		c := read(t, "0449", 3)
		require.Equal(t, "EpRv28DHHzFrE4zd+xaNpVb4", c.Sticker.Pack)
		require.Equal(t, "😘", c.StickerFile.Text)
		require.Equal(t, int64(67016), c.StickerFile.Size)
		require.Equal(t, 512, c.StickerFile.Width)
		require.Equal(t, "gw+6xdCgOcvCYSKuQNrXH33lV9NMzuDf/s0huByCDsY=", c.StickerFile.Hashes["sha-256"])
		require.Len(t, c.StickerFile.URLs, 1)
	})
	t.Run("0224", func(t *testing.T) {
		found := false
		for _, e := range vectors.Examples(t, "0224") {
			els, _ := e.Elements()
			for _, el := range els {
				found = found || chat.Parse(plain(el)).Attention
			}
		}
		require.True(t, found)
	})
}

// TestCompose sends what Parse reads.
func TestCompose(t *testing.T) {
	to := jid.MustParse("juliet@example.net")
	compose := func(t *testing.T, text string, opts ...chat.Option) chat.Content {
		d, err := chat.Compose(text, opts...)
		require.NoError(t, err)
		d.To = to
		el, err := d.Element()
		require.NoError(t, err)
		return chat.Parse(plain(el))
	}
	t.Run("reply", func(t *testing.T) {
		c := compose(t, "gut 🐢", chat.InReply("m1", to, "two\nlines"),
			chat.Mentioning(chat.Mention{Begin: 0, End: 3, Addr: to}), chat.Marked(chat.Span{Begin: 4, End: 5, Style: chat.Strong | chat.Deleted}))
		require.Equal(t, "gut 🐢", c.Text)
		require.Equal(t, "two\nlines", c.Quote)
		require.Equal(t, "m1", c.ReplyTo.ID)
		require.Equal(t, 0, c.Mentions[0].Begin)
		require.Equal(t, 3, c.Mentions[0].End)
		require.Equal(t, []chat.Span{{Begin: 4, End: 5, Style: chat.Strong | chat.Deleted}}, c.Markup)
	})
	t.Run("me", func(t *testing.T) {
		c := compose(t, "/me waves", chat.Mentioning(chat.Mention{Begin: 4, End: 9, OccupantID: "x"}))
		require.True(t, c.Me)
		require.Equal(t, "waves", c.Text)
		require.Equal(t, []chat.Mention{{Begin: 0, End: 5, OccupantID: "x"}}, c.Mentions)
		require.False(t, compose(t, "/me").Me)
		require.False(t, compose(t, " /me waves").Me)
	})
	t.Run("others", func(t *testing.T) {
		c := compose(t, "x", chat.WithSpoiler("the end"), chat.InThread("t1", "t0"), chat.Unstyled(),
			chat.AsSticker(chat.StickerRef{Pack: "pack"}, chat.Sticker{URLs: []string{"https://example.org/x.png"}}), chat.WithAttention(), chat.Mentioning(chat.Mention{Group: "channel", Active: true}))
		require.Equal(t, "the end", c.SpoilerHint)
		require.Equal(t, "t0", c.ParentThread)
		require.True(t, c.Unstyled)
		require.True(t, c.Attention)
		require.Equal(t, "pack", c.Sticker.Pack)
		require.Equal(t, []string{"https://example.org/x.png"}, c.StickerFile.URLs)
		require.Equal(t, []chat.Mention{{Group: "channel", Active: true}}, c.Mentions)
	})
	t.Run("operations", func(t *testing.T) {
		parse := func(d confab.Draft, err error) chat.Content {
			require.NoError(t, err)
			d.To = to
			el, err := d.Element()
			require.NoError(t, err)
			return chat.Parse(plain(el))
		}
		c := parse(chat.Retraction("m1", "oops"))
		require.Equal(t, "m1", c.Retracts)
		require.Equal(t, "oops", c.Reason)
		require.Empty(t, c.Text, "the text is only for those who do not know retractions")
		c = parse(chat.Reaction("m1"))
		require.Equal(t, "m1", c.ReactsTo)
		require.Empty(t, c.Reactions)
		c = parse(chat.Correction("m1", "better", chat.WithSubject("s")))
		require.Equal(t, "m1", c.Replaces)
		require.Equal(t, "better", c.Text)
	})
	t.Run("refused", func(t *testing.T) {
		for _, o := range []chat.Option{
			chat.InReply("", to, ""), chat.InThread("", ""), chat.AsSticker(chat.StickerRef{}, chat.Sticker{}), chat.WithHint("keep"),
			chat.Marked(chat.Span{Begin: 0, End: 3}), chat.Marked(chat.Span{Begin: 1, End: 1}),
			chat.Mentioning(chat.Mention{Begin: 2, End: 1, Addr: to}),
		} {
			_, err := chat.Compose("no", o)
			require.Error(t, err)
		}
		_, err := chat.Compose("\xff")
		require.Error(t, err)
		for _, emoji := range [][]string{{""}, {"a", "a"}, make([]string, 65), {strings.Repeat("x", 65)}} {
			_, err := chat.Reaction("id", emoji...)
			require.Error(t, err)
		}
		_, err = chat.Reaction("")
		require.Error(t, err)
		_, err = chat.Retraction("", "")
		require.Error(t, err)
		_, err = chat.Correction("", "x")
		require.Error(t, err)
		_, err = chat.StateDraft("asleep")
		require.Error(t, err)
	})
}

// TestFallback: only what is understood is cut out, and only where it makes sense.
func TestFallback(t *testing.T) {
	const fb = "urn:xmpp:fallback:0"
	reply := confab.El("urn:xmpp:reply:0", "reply").Set("id", "x")
	body := func(start, end string) *confab.Element {
		return confab.El(fb, "body").Set("start", start).Set("end", end)
	}
	for _, c := range []struct {
		name, want string
		kids       []*confab.Element
	}{
		{"unknown", "> q\nyes", []*confab.Element{reply, confab.El(fb, "fallback", body("0", "4")).Set("for", "urn:x")}},
		{"no reply", "> q\nyes", []*confab.Element{confab.El(fb, "fallback", body("0", "4")).Set("for", "urn:xmpp:reply:0")}},
		{"cut", "yes", []*confab.Element{reply, confab.El(fb, "fallback", body("0", "4")).Set("for", "urn:xmpp:reply:0")}},
		{"no end", "> ", []*confab.Element{reply, confab.El(fb, "fallback", body("2", "")).Set("for", "urn:xmpp:reply:0")}},
		{"overlap", "es", []*confab.Element{reply, confab.El(fb, "fallback", body("3", "5"), body("0", "4")).Set("for", "urn:xmpp:reply:0")}},
		{"too far", "> q\nyes", []*confab.Element{reply, confab.El(fb, "fallback", body("0", "400")).Set("for", "urn:xmpp:reply:0")}},
		{"backwards", "> q\nyes", []*confab.Element{reply, confab.El(fb, "fallback", body("4", "1")).Set("for", "urn:xmpp:reply:0")}},
		{"no number", "> q\nyes", []*confab.Element{reply, confab.El(fb, "fallback", body("-1", "x")).Set("for", "urn:xmpp:reply:0")}},
		{"all", "", []*confab.Element{reply, confab.El(fb, "fallback").Set("for", "urn:xmpp:reply:0")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			el := confab.El(confab.NSClient, "message", confab.El(confab.NSClient, "body").SetText("> q\nyes")).Add(c.kids...)
			require.Equal(t, c.want, chat.Parse(plain(el)).Text)
		})
	}
}

// TestSpans: the styled parts make up the whole text.
func TestSpans(t *testing.T) {
	for text, want := range map[string][]chat.Span{
		"":         nil,
		"plain":    {{End: 5}},
		"so *ŝo*!": {{End: 3}, {Begin: 3, End: 4, Style: chat.Strong | chat.Mark}, {Begin: 4, End: 6, Style: chat.Strong}, {Begin: 6, End: 7, Style: chat.Strong | chat.Mark}, {Begin: 7, End: 8}},
		"> q":      {{End: 2, Style: chat.Quotation | chat.Mark, Depth: 1}, {Begin: 2, End: 3, Style: chat.Quotation, Depth: 1}},
	} {
		require.Equal(t, want, chat.Spans(text), text)
	}
	big := strings.Repeat("*", 1<<17)
	require.Equal(t, []chat.Span{{End: 1 << 17}}, chat.Spans(big))
}

// TestNotify reads and writes settings without losing what others wrote.
func TestNotify(t *testing.T) {
	const ns = "urn:xmpp:notification-settings:1"
	own := confab.El("custom:ns-1", "my-custom-extension")
	x := confab.El(ns, "notify",
		confab.El(ns, "never", confab.El(ns, "advanced", own)).Set("identity-category", "client").Set("identity-type", "pc"),
		confab.El(ns, "on-mention").Set("identity-category", "client"), confab.El("custom:ns-2", "other"), confab.El(ns, "always"))
	n, ok := chat.ParseNotify(confab.El("x", "extensions", x))
	require.True(t, ok)
	require.Equal(t, chat.NotifyAlways, n.Level)
	require.Equal(t, chat.NotifyNever, n.Of("client", "pc"))
	require.Equal(t, chat.NotifyOnMention, n.Of("client", "phone"))
	require.Equal(t, chat.NotifyAlways, n.Of("gateway", ""))
	n.Level = chat.NotifyNever
	el := n.Element()
	require.Equal(t, own, el.Child(ns, "never").Child(ns, "advanced").Child("custom:ns-1", ""))
	require.NotNil(t, el.Child("custom:ns-2", "other"))
	again, _ := chat.ParseNotify(confab.El("x", "extensions", el))
	require.Equal(t, chat.NotifyNever, again.Level)
	require.Equal(t, n.For, again.For)
	_, ok = chat.ParseNotify(nil)
	require.False(t, ok)
}

// TestSentExamples: what is sent is what the XEPs show.
func TestSentExamples(t *testing.T) {
	to := jid.MustParse("juliet@capulet.lit")
	sent := func(d confab.Draft, err error) *confab.Element {
		t.Helper()
		require.NoError(t, err)
		d.To, d.ID = to, "x"
		el, err := d.Element()
		require.NoError(t, err)
		return el
	}
	body := func(el *confab.Element) string { return el.ChildText(confab.NSClient, "body") }
	for _, c := range []struct {
		xep          string
		number       int
		space, local string
		el           func(example *confab.Element) *confab.Element
	}{
		{"0308", 4, "urn:xmpp:message-correct:0", "replace", func(e *confab.Element) *confab.Element { return sent(chat.Correction("bad1", body(e))) }},
		{"0444", 5, "urn:xmpp:reactions:0", "reactions", func(*confab.Element) *confab.Element {
			return sent(chat.Reaction("744f6e18-a57a-11e9-a656-4889e7820c76", "👋"))
		}},
		{"0444", 6, "urn:xmpp:reactions:0", "reactions", func(*confab.Element) *confab.Element {
			return sent(chat.Reaction("744f6e18-a57a-11e9-a656-4889e7820c76", "👋", "🐢"))
		}},
		{"0382", 4, "urn:xmpp:spoiler:0", "spoiler", func(e *confab.Element) *confab.Element {
			return sent(chat.Compose(body(e), chat.WithSpoiler("Love story end")))
		}},
		{"0372", 3, "urn:xmpp:reference:0", "reference", func(e *confab.Element) *confab.Element {
			return sent(chat.Compose(body(e), chat.Mentioning(chat.Mention{Begin: 72, End: 78, Addr: to})))
		}},
		{"0513", 1, "urn:xmpp:mentions:0", "mention", func(e *confab.Element) *confab.Element {
			return sent(chat.Compose(body(e), chat.Mentioning(chat.Mention{Begin: 7, End: 12, OccupantID: "alice@occupant-id"})))
		}},
		{"0394", 1, "urn:xmpp:markup:0", "markup", func(e *confab.Element) *confab.Element {
			return sent(chat.Compose(body(e), chat.Marked(chat.Span{Begin: 9, End: 15, Style: chat.Emphasis})))
		}},
		{"0280", 14, "urn:xmpp:carbons:2", "private", func(e *confab.Element) *confab.Element {
			return sent(chat.Compose(body(e), chat.WithHint(chat.NoCopy)))
		}},
	} {
		t.Run(c.xep, func(t *testing.T) {
			ex := vectors.Elements(t, c.xep, c.number)[0]
			el := c.el(ex)
			got, want := el.Child(c.space, c.local), ex.Child(c.space, c.local)
			require.NotNil(t, want)
			require.Equal(t, tidy(want).String(), tidy(got).String())
			require.Equal(t, body(ex), body(el))
		})
	}
}

// tidy is an element without the white space of print, its attributes in order.
func tidy(el *confab.Element) *confab.Element {
	c := el.Clone()
	slices.SortFunc(c.Attr, func(a, b xml.Attr) int { return strings.Compare(a.Name.Local, b.Name.Local) })
	c.Text, c.Tail = strings.TrimSpace(c.Text), ""
	for i, k := range c.Children {
		c.Children[i] = tidy(k)
	}
	return c
}
