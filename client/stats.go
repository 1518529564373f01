package client

import "sync/atomic"

// Stats is a snapshot of what a Client has done and holds.
type Stats struct {
	// StanzasIn and StanzasOut count stanzas, BytesIn and BytesOut their bytes.
	StanzasIn, StanzasOut, BytesIn, BytesOut int64
	// Links counts the links that were signed in, Resumptions those of them that
	// resumed a stream.
	Links, Resumptions int64
	// Backlog is how many bytes were read and are not yet handled. Outbox is how
	// many wait to be written or acknowledged.
	Backlog, Outbox int
	// Connected is true while there is a link. Mechanism is how it was signed in,
	// Token whether a FAST token did it.
	Connected bool
	Mechanism string
	Token     bool
	// Acks is true if the server acknowledges stanzas (XEP-0198), Resumable if
	// it will keep the stream when the link is lost.
	Acks, Resumable bool
}

type counters struct {
	stanzasIn, stanzasOut, bytesIn, bytesOut atomic.Int64
	links, resumptions                       atomic.Int64
}

func (s *counters) in(n int) {
	s.stanzasIn.Add(1)
	s.bytesIn.Add(int64(n))
}

func (s *counters) out(n int) {
	s.stanzasOut.Add(1)
	s.bytesOut.Add(int64(n))
}

// Stats returns a snapshot.
func (c *Client) Stats() Stats {
	s := Stats{
		StanzasIn: c.stats.stanzasIn.Load(), StanzasOut: c.stats.stanzasOut.Load(),
		BytesIn: c.stats.bytesIn.Load(), BytesOut: c.stats.bytesOut.Load(),
		Links: c.stats.links.Load(), Resumptions: c.stats.resumptions.Load(),
		Backlog: c.drv.Backlog(),
	}
	c.out.mu.Lock()
	s.Outbox, s.Acks = c.out.bytes, c.out.acks
	c.out.mu.Unlock()
	c.sm.mu.Lock()
	s.Resumable = c.sm.id != ""
	c.sm.mu.Unlock()
	c.mu.Lock()
	s.Connected, s.Mechanism, s.Token = c.t != nil, c.mechanism, c.byToken
	c.mu.Unlock()
	return s
}
