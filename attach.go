package confab

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"sync"

	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Attached is a [Session] over a plain mellium session; see [Attach].
type Attached struct {
	*Hub
	drv *Driver
	xs  *xmpp.Session

	mu      sync.Mutex
	answers map[string]chan *Element // to requests that mellium's reader waits with
	asked   chan struct{}            // closed and replaced whenever something is asked
}

// Attach makes a Session of a mellium session that was negotiated elsewhere, so
// that confab's features work on it. It lives as long as that one link: nothing
// is resumed or sent again, and tracking ends at [Written].
//
// Serve must run. mellium's own functions keep working beside it. One
// restriction comes from mellium: a handler of requests that itself asks
// something cannot answer any more, as mellium's reader has to go on; mellium
// then answers service-unavailable.
func Attach(xs *xmpp.Session) *Attached {
	a := &Attached{xs: xs, answers: map[string]chan *Element{}, asked: make(chan struct{})}
	a.Hub, a.drv = NewHub(attachedLink{a}, HubConfig{})
	a.Hub.asked = func() {
		a.mu.Lock()
		close(a.asked)
		a.asked = make(chan struct{})
		a.mu.Unlock()
	}
	return a
}

// Serve runs the session until the stream ends or ctx does, as
// [xmpp.Session.Serve] does. The stream is closed when it returns.
func (a *Attached) Serve(ctx context.Context) error {
	up, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		a.drv.Up(up, true)
		a.Emit(Ready{Addr: a.LocalAddr(), Fresh: true})
	})
	stop := context.AfterFunc(ctx, func() {
		_ = a.xs.Close()
		_ = a.xs.Conn().Close()
	})
	err := a.xs.Serve(a)
	stop()
	cancel()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	a.drv.Down(err, true)
	wg.Wait()
	return errors.Join(err, a.drv.Close(context.WithoutCancel(ctx)))
}

// HandleXMPP implements [xmpp.Handler]: instead of calling Serve, an Attached
// can be given to a mellium session or be one of the handlers of a mux.
func (a *Attached) HandleXMPP(t xmlstream.TokenReadEncoder, start *xml.StartElement) error {
	el, err := fromStart(t, *start)
	if err != nil {
		return err
	}
	if el.Name.Space == "" {
		el.Name.Space = NSClient
	}
	var answer chan *Element
	if typ := el.Get("type"); el.Name.Local == "iq" && (typ == "get" || typ == "set") {
		answer = make(chan *Element, 1)
		a.mu.Lock()
		a.answers[el.Get("id")] = answer
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			delete(a.answers, el.Get("id"))
			a.mu.Unlock()
		}()
	}
	a.mu.Lock()
	asked := a.asked
	a.mu.Unlock()
	if err := a.drv.Deliver(a.Hub.ctx, el, weight(el)); err != nil {
		// What is no stanza is not ours to judge, and a closed hub no reason to
		// end the stream.
		return nil
	}
	if answer == nil || a.Hub.waiters.waiting() {
		return nil
	}
	select {
	case res := <-answer:
		_, err := xmlstream.Copy(t, res.TokenReader())
		return err
	case <-asked:
	case <-a.Hub.ctx.Done():
	}
	return nil
}

// weight is about the size of an element on the wire, which mellium does not tell.
func weight(e *Element) int {
	n := 16 + 2*len(e.Name.Local) + len(e.Text) + len(e.Tail)
	for _, a := range e.Attr {
		n += 4 + len(a.Name.Local) + len(a.Value)
	}
	for _, c := range e.Children {
		n += weight(c)
	}
	return n
}

// attachedLink writes through mellium.
type attachedLink struct{ a *Attached }

// LocalAddr implements [Link].
func (l attachedLink) LocalAddr() jid.JID { return l.a.xs.LocalAddr() }

// Write implements [Link].
func (l attachedLink) Write(ctx context.Context, st Appender, sent *Sent) error {
	el, err := appended(st)
	if err != nil {
		return err
	}
	if typ := el.Get("type"); el.Name.Local == "iq" && (typ == "result" || typ == "error") {
		l.a.mu.Lock()
		answer := l.a.answers[el.Get("id")]
		l.a.mu.Unlock()
		if answer == nil {
			return nil // mellium has answered already
		}
		answer <- el
		return nil
	}
	if err := l.a.xs.Send(ctx, el.TokenReader()); err != nil {
		return err
	}
	if sent != nil {
		sent.NoAcks()
		sent.Advance(Written)
	}
	return nil
}

// appended makes an element of what can be appended, and checks it.
func appended(st Appender) (*Element, error) {
	var el *Element
	var err error
	switch st := st.(type) {
	case *Element:
		el = st
	case *Draft:
		el, err = st.Element()
	default:
		err = errors.New("confab: only an Element or a Draft can be sent here")
	}
	if err == nil {
		_, err = el.AppendXML(nil, NSClient)
	}
	return el, err
}

// Fallback gives every message, presence and request that no feature took to a
// mellium handler, such as a mux. The handler runs where confab's handlers run,
// on a whole stanza: it may send and ask, and an error from it is reported
// instead of ending the stream.
func Fallback(s Session, h xmpp.Handler) error {
	for _, typ := range []stanza.IQType{stanza.GetIQ, stanza.SetIQ} {
		err := s.HandleIQ(typ, xml.Name{}, func(ctx context.Context, q *IQ) (any, error) {
			answered, err := runMellium(ctx, s, h, q.Stanza)
			switch {
			case err != nil:
				return nil, err
			case answered:
				return nil, ErrAnswered
			}
			return nil, stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
		})
		if err != nil {
			return err
		}
	}
	s.HandleMessage(StageDeliver, func(ctx context.Context, m *Message) error {
		_, err := runMellium(ctx, s, h, m.Stanza)
		return err
	})
	s.HandlePresence(func(ctx context.Context, p *Presence) error {
		_, err := runMellium(ctx, s, h, p.Stanza)
		return err
	})
	return nil
}

// runMellium calls a mellium handler with one stanza and sends what it wrote.
func runMellium(ctx context.Context, s Session, h xmpp.Handler, el *Element) (answered bool, err error) {
	r := el.TokenReader()
	tok, err := r.Token()
	if err != nil {
		return false, err
	}
	start := tok.(xml.StartElement)
	var w tokenBuffer
	t := struct {
		xml.TokenReader
		*tokenBuffer
	}{r, &w}
	if err := h.HandleXMPP(t, &start); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	for i := 0; i < len(w); {
		out, err := ReadElement(xmlstream.ReaderFunc(func() (xml.Token, error) {
			if i == len(w) {
				return nil, io.EOF
			}
			i++
			return w[i-1], nil
		}))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return answered, err
		}
		if out.Name.Local == "iq" && out.Get("id") == el.Get("id") {
			answered = true
		}
		if err := s.SendElement(ctx, out); err != nil {
			return answered, err
		}
	}
	return answered, nil
}

// tokenBuffer keeps what a mellium handler writes.
type tokenBuffer []xml.Token

// EncodeToken implements xmlstream.TokenWriter.
func (b *tokenBuffer) EncodeToken(t xml.Token) error {
	*b = append(*b, xml.CopyToken(t))
	return nil
}

// Encode implements xmlstream.Encoder.
func (b *tokenBuffer) Encode(v any) error {
	el, err := ToElement(v)
	if err != nil {
		return err
	}
	_, err = xmlstream.Copy(b, el.TokenReader())
	return err
}

// EncodeElement implements xmlstream.Encoder.
func (b *tokenBuffer) EncodeElement(v any, start xml.StartElement) error {
	el, err := ToElement(v)
	if err != nil {
		return err
	}
	el = el.Clone()
	el.Name = start.Name
	el.Attr = append(el.Attr, start.Attr...)
	_, err = xmlstream.Copy(b, el.TokenReader())
	return err
}
