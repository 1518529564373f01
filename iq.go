package confab

import (
	"errors"
	"sync"

	"mellium.im/xmpp/stanza"
)

// iqHandler runs the handler of one kind of request, on a goroutine that exists
// while there are some.
type iqHandler struct {
	hub     *Hub
	f       IQFunc
	mu      sync.Mutex
	q       ring[waitingIQ]
	bytes   int // of those in q
	running bool
}

type waitingIQ struct {
	*IQ
	size int
}

// maxRequests and maxRequestBytes are how many requests of a kind may wait. Beyond
// that they are dropped: an answer would wait as long. The own account and server
// may have more waiting, ownRequests times as much: what they push is not to be lost,
// nor kept out by what strangers send.
const (
	maxRequests     = 256
	maxRequestBytes = 8 << 20
	ownRequests     = 64
)

func (k *iqHandler) add(q *IQ, size int) {
	times := 1
	if self := k.hub.LocalAddr(); q.From.Equal(self.Bare()) || q.From.Equal(self.Domain()) {
		times = ownRequests
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.q.n >= times*maxRequests || k.q.n > 0 && k.bytes+size > times*maxRequestBytes {
		k.hub.bad(q.Stanza, errors.New("confab: too many requests of this kind wait for their answer"))
		return
	}
	k.q.push(waitingIQ{q, size})
	k.bytes += size
	if !k.running {
		k.running = true
		k.hub.workers.Go(k.run)
	}
}

func (k *iqHandler) run() {
	for {
		k.mu.Lock()
		if k.q.n == 0 || k.hub.ctx.Err() != nil {
			k.running = false
			k.mu.Unlock()
			return
		}
		q := k.q.pop()
		k.bytes -= q.size
		k.mu.Unlock()
		if el := k.answer(q.IQ); el != nil {
			err := k.hub.link.Write(k.hub.ctx, el, nil)
			if errors.Is(err, ErrTooLarge) {
				if no, ferr := q.fail(stanza.Error{Type: stanza.Cancel, Condition: stanza.ResourceConstraint}); ferr == nil {
					_ = k.hub.link.Write(k.hub.ctx, no, nil)
				}
			}
			if err != nil && k.hub.ctx.Err() == nil {
				k.hub.failed("answer to a request", err)
			}
		}
	}
}

func (k *iqHandler) answer(q *IQ) (el *Element) {
	var p *Element
	err := error(stanza.Error{Type: stanza.Cancel, Condition: stanza.InternalServerError})
	func() {
		defer k.hub.recover("request handler")
		payload, ferr := k.f(k.hub.ctx, q)
		if ferr == nil && payload != nil {
			p, ferr = ToElement(payload) // runs the payload's own code
		}
		err = ferr
	}()
	if err == nil {
		res := q.result(p)
		if _, err = res.AppendXML(nil, NSClient); err == nil {
			return res
		}
	}
	if errors.Is(err, ErrAnswered) {
		return nil
	}
	var se stanza.Error
	if !errors.As(err, &se) {
		k.hub.failed("request handler", err)
		se = stanza.Error{Type: stanza.Cancel, Condition: stanza.InternalServerError}
	}
	el, err = q.fail(se)
	if err != nil {
		k.hub.failed("request handler", err)
	}
	return el
}
