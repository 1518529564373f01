package confab

import (
	"context"
	"iter"
)

// On calls f for every event of type T: *[Message], [Ready], or what the
// features emit, such as a *muc.Message. T may be an interface. All functions
// are called in order, one at a time, on a goroutine that is neither the
// reader's nor the dispatcher's: f may block, ask, send and join rooms; it
// holds up only later events. The context ends when the session is closed.
//
//	confab.On(c, func(ctx context.Context, m *confab.Message) { ... })
func On[T any](s Session, f func(context.Context, T)) (cancel func()) {
	return s.Subscribe(match[T], func(ctx context.Context, event any) { f(ctx, event.(T)) })
}

// Events is On turned round: a loop over the events of type T. It ends when ctx
// ends or the session is closed, with the reason as the last error, or when the
// loop is left. Only events from when the loop begins are seen, not from the call of
// Events: to miss nothing, subscribe with On before the session runs. An event
// counts as handed on when the loop takes it; a loop that does not come back
// holds up every later event.
//
//	for m, err := range confab.Events[*confab.Message](ctx, c) { ... }
func Events[T any](ctx context.Context, s Session) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ch := make(chan T)
		left := make(chan struct{})
		var ended <-chan struct{}
		cancel := s.Subscribe(match[T], func(sctx context.Context, event any) {
			select {
			case ch <- event.(T):
			case <-left:
			case <-sctx.Done():
			}
		})
		defer cancel()
		defer close(left)
		if h, ok := s.(interface{ done() <-chan struct{} }); ok {
			ended = h.done()
		} else {
			c := make(chan struct{})
			ended = c
			s.Go(func(sctx context.Context) {
				defer close(c)
				select {
				case <-sctx.Done():
				case <-left:
				}
			})
		}
		var zero T
		for {
			select {
			case v := <-ch:
				if !yield(v, nil) {
					return
				}
			case <-ctx.Done():
				yield(zero, ctx.Err())
				return
			case <-ended:
				yield(zero, ErrClosed)
				return
			}
		}
	}
}

func match[T any](event any) bool {
	_, ok := event.(T)
	return ok
}
