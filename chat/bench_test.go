package chat

import (
	"fmt"
	"testing"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/jid"
)

func benchMessage(i int) *confab.Message {
	id := fmt.Sprintf("%026d", i)
	el := confab.El(confab.NSClient, "message",
		confab.El(confab.NSClient, "body").SetText("And when it came to that, nobody knew."),
		confab.El(nsReceipts, "request"), confab.El(nsMarkers, "markable"), confab.El(nsStates, "active"),
		confab.El(nsSID, "origin-id").Set("id", id)).Set("id", id)
	return &confab.Message{Stanza: el, ID: id, Body: el.Children[0].Text, HasBody: true, From: jid.MustParse("juliet@example.com")}
}

func BenchmarkParse(b *testing.B) {
	m := benchMessage(1)
	b.ReportAllocs()
	for b.Loop() {
		Parse(m)
	}
}

// BenchmarkDedup sees each of 100,000 messages four times: live, as a carbon, from
// the archive, and after a resumption.
func BenchmarkDedup(b *testing.B) {
	const n = 100_000
	ids, server := make([]string, n), make([]string, n)
	for i := range n {
		ids[i], server[i] = fmt.Sprintf("%026d", i), fmt.Sprintf("s%d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		d := newDedup()
		copies := 0
		for i := range n {
			for _, s := range [...]string{"", server[i], server[i], ""} {
				if d.copyOf("juliet@example.com", ids[i], s, "And when it came to that, nobody knew.") {
					copies++
				}
			}
		}
		if copies != 3*n {
			b.Fatal(copies)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(4*n), "ns/message")
}

func BenchmarkTimeline(b *testing.B) {
	msgs := make([]*Message, 10_000)
	for i := range msgs {
		m := benchMessage(i)
		msgs[i] = &Message{Message: m, Content: Parse(m), Author: "juliet@example.com", Chat: m.From}
	}
	b.ReportAllocs()
	for b.Loop() {
		t := NewTimeline(jid.MustParse("juliet@example.com"), 0)
		for _, m := range msgs {
			t.Apply(m)
		}
	}
}
