package confabtest

import (
	"sync"

	"github.com/confab-im/confab"
)

// component is a domain that a function of the user's answers for.
type component struct {
	name  string
	f     func(e *confab.Element)
	mu    sync.Mutex
	cond  sync.Cond
	queue []*confab.Element
	done  bool
}

// Component has f get the stanzas for a domain, one after the other, on a
// goroutine of its own. F may call the server; it answers with [Server.Send].
// Nothing else may answer for the domain yet.
func (s *Server) Component(domain string, f func(e *confab.Element)) {
	c := &component{name: domain, f: f}
	c.cond.L = &c.mu
	s.lock()
	defer s.unlock()
	if s.closed {
		return
	}
	if s.hosts[domain] || s.domains[domain] != nil {
		panic("confabtest: Component: " + domain + " is served already")
	}
	s.domains[domain] = c
	s.wg.Go(c.run)
}

func (c *component) run() {
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.done {
			c.cond.Wait()
		}
		if c.done {
			c.mu.Unlock()
			return
		}
		e := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		c.f(e)
	}
}

func (c *component) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	c.cond.Broadcast()
}

// stanza implements domain.
func (c *component) stanza(_ *Server, _ *session, _, _ addr, e *confab.Element) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, e)
	c.cond.Broadcast()
}

// Send routes a stanza as if it came from another server or a component: from and
// to must be set and are not checked further.
func (s *Server) Send(e *confab.Element) error {
	from, err := parseAddr(e.Get("from"))
	if err != nil {
		return err
	}
	to, err := parseAddr(e.Get("to"))
	if err != nil {
		return err
	}
	s.lock()
	later := s.route(nil, from, to, e)
	s.unlock()
	if later != nil {
		later()
	}
	return nil
}
