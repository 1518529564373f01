package stream

import (
	"bytes"
	"encoding/xml"
	"io"
	"testing"
)

const header = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' ` +
	`xmlns:stream='http://etherx.jabber.org/streams' from='localhost' id='abc' version='1.0' xml:lang='en'>`

// chat is a chat message as servers send it today; 608 bytes, as in the
// benchmark of whole libraries.
const chat = `<message to='bench@localhost/b' from='user17@localhost/Conversations.k3Xy' type='chat' ` +
	`id='3f2a9c1e-7b44-4d10-a9e2-5f6b1c8d7e90' xml:lang='en'><body>there were all häuser your when up use word ` +
	`how said an each she which do their</body><thread>9b1d6f3a-2c55-4e21-ab34-0d9e8f7a6b5c</thread>` +
	`<origin-id xmlns='urn:xmpp:sid:0' id='3f2a9c1e-7b44-4d10-a9e2-5f6b1c8d7e90'/>` +
	`<stanza-id xmlns='urn:xmpp:sid:0' by='bench@localhost' id='c4d5e6f7-1a2b-4c3d-ae4f-5a6b7c8d9e0f'/>` +
	`<markable xmlns='urn:xmpp:chat-markers:0'/><request xmlns='urn:xmpp:receipts'/>` +
	`<active xmlns='http://jabber.org/protocol/chatstates'/></message>`

// endless is a connection on which the header is followed by the same stanza
// over and over.
type endless struct {
	head, rest, stanza []byte
}

func (e *endless) Read(b []byte) (n int, err error) {
	if len(e.head) > 0 {
		n = copy(b, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	for n < len(b) {
		if len(e.rest) == 0 {
			e.rest = e.stanza
		}
		k := copy(b[n:], e.rest)
		e.rest = e.rest[k:]
		n += k
	}
	return n, nil
}

func benchmark(b *testing.B, stanza string) {
	r := NewReader(&endless{head: []byte(header), stanza: []byte(stanza)}, Limits{})
	if _, err := r.Open(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(stanza)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReaderChat(b *testing.B) { benchmark(b, chat) }

// One in eight bodies of the benchmark has to be unescaped.
func BenchmarkReaderEntities(b *testing.B) {
	benchmark(b, string(bytes.Replace([]byte(chat), []byte("how said"), []byte("&amp; &quot;it&apos;s&quot; &lt;3"), 1)))
}

func BenchmarkParseChat(b *testing.B) {
	doc := []byte(chat)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(doc, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodingXMLChat is what the standard library needs for the tokens
// alone.
func BenchmarkEncodingXMLChat(b *testing.B) {
	d := xml.NewDecoder(&endless{head: []byte(header), stanza: []byte(chat)})
	b.SetBytes(int64(len(chat)))
	b.ReportAllocs()
	depth := 0
	next := func() {
		for {
			t, err := d.Token()
			if err != nil {
				b.Fatal(err)
			}
			switch t.(type) {
			case xml.StartElement:
				depth++
				if depth == 1 {
					return
				}
			case xml.EndElement:
				if depth--; depth == 1 {
					return
				}
			}
		}
	}
	next()
	for b.Loop() {
		next()
	}
}

func TestAllocs(t *testing.T) {
	for name, stanza := range map[string]string{
		"chat":     chat,
		"entities": string(bytes.ReplaceAll([]byte(chat), []byte("how"), []byte("&lt;&#x1F600;\r\n"))),
	} {
		r := NewReader(&endless{head: []byte(header), stanza: []byte(stanza)}, Limits{})
		if _, err := r.Open(); err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(1000, func() {
			if _, err := r.Next(); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		})
		if n > 5 {
			t.Errorf("%s: %v allocations for a stanza, want at most 5", name, n)
		}
	}
}
