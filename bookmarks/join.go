package bookmarks

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/confab-im/confab"
	"mellium.im/xmpp/stanza"
)

// parallel is how many rooms are joined or left at a time.
const parallel = 8

// joiner joins and leaves rooms. For each room only what was wanted last counts, and
// one thing is done at a time.
type joiner struct {
	s   confab.Session
	cfg Config

	mu      sync.Mutex
	wanted  map[string]wish
	queue   []string // rooms in wanted that nobody works on
	working map[string]*work
	later   map[string]*later // rooms that could not be joined for now
}

// later is a join that will be tried again.
type later struct {
	timer *time.Timer
	fails int
}

// The pause before a join is tried again doubles from the one to the other.
const (
	firstPause = 30 * time.Second
	lastPause  = 30 * time.Minute
)

type wish struct {
	m    *Bookmark
	join bool
}

type work struct {
	join   bool
	cancel context.CancelFunc // nil before it has begun
}

// want has a room joined or left. It never blocks.
func (j *joiner) want(m *Bookmark, join bool) {
	if join && j.cfg.Join == nil || !join && j.cfg.Leave == nil && j.cfg.Join == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.wanted == nil {
		j.wanted, j.working, j.later = map[string]wish{}, map[string]*work{}, map[string]*later{}
	}
	j.forgive(m.key())
	j.put(m, join)
}

// put is want, of the user or of a timer. The lock is held.
func (j *joiner) put(m *Bookmark, join bool) {
	key := m.key()
	_, queued := j.wanted[key]
	j.wanted[key] = wish{m, join}
	if w := j.working[key]; w != nil {
		if w.join && w.cancel != nil {
			w.cancel() // what it does is not what is wanted
		}
		return
	}
	if !queued {
		j.queue = append(j.queue, key)
	}
	if len(j.working) < parallel {
		j.next()
	}
}

// next gives the first room of the queue to a goroutine of its own. The lock is held.
func (j *joiner) next() {
	for len(j.queue) > 0 {
		key := j.queue[0]
		j.queue = j.queue[1:]
		if _, ok := j.wanted[key]; !ok || j.working[key] != nil {
			continue
		}
		j.working[key] = &work{}
		j.s.Go(func(ctx context.Context) { j.work(ctx, key) })
		return
	}
}

// work does what is wanted of a room until that is done, and goes on with the next.
func (j *joiner) work(ctx context.Context, key string) {
	defer func() { // also if the user's function has panicked
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.working, key)
		if _, ok := j.wanted[key]; ok {
			j.queue = append(j.queue, key)
		}
		j.next()
	}()
	for {
		j.mu.Lock()
		w, ok := j.wanted[key]
		if !ok || ctx.Err() != nil {
			j.mu.Unlock()
			return
		}
		delete(j.wanted, key)
		rctx, cancel := context.WithCancel(ctx)
		*j.working[key] = work{w.join, cancel}
		j.mu.Unlock()
		j.do(rctx, w)
		cancel()
	}
}

func (j *joiner) do(ctx context.Context, w wish) {
	if !w.join {
		if j.cfg.Leave != nil {
			j.cfg.Leave(ctx, w.m.copy())
		}
		return
	}
	err := j.cfg.Join(ctx, w.m.copy())
	j.again(ctx, w, err)
	// Of what was given up, or is tried again after the next sign-in, nothing is told.
	if err != nil && ctx.Err() == nil && !errors.Is(err, confab.ErrLost) && !errors.Is(err, confab.ErrClosed) {
		j.s.Emit(JoinFailed{w.m.copy(), err})
	}
}

// again has a join tried again, if the room may let the user in another time.
func (j *joiner) again(ctx context.Context, w wish, err error) {
	key := w.m.key()
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, other := j.wanted[key]; other || ctx.Err() != nil || !temporary(err) {
		j.forgive(key)
		return
	}
	l := j.later[key]
	if l == nil {
		l = &later{}
		j.later[key] = l
	}
	pause := min(firstPause<<min(l.fails, 10), lastPause)
	l.fails++
	l.timer = time.AfterFunc(pause*3/4+rand.N(pause/2), func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.later[key] == l {
			j.put(w.m, true)
		}
	})
}

// forgive forgets that a room could not be joined. The lock is held.
func (j *joiner) forgive(key string) {
	if l := j.later[key]; l != nil {
		l.timer.Stop()
		delete(j.later, key)
	}
}

// temporary reports whether an error may be gone after a while: the room's server is
// down or cannot be reached, or the room is full.
func temporary(err error) bool {
	var se stanza.Error
	if errors.As(err, &se) {
		switch se.Condition {
		case stanza.RemoteServerNotFound, stanza.RemoteServerTimeout, stanza.ServiceUnavailable, stanza.InternalServerError, stanza.ResourceConstraint:
			return true
		}
		return se.Type == stanza.Wait
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// stop gives up all joins: the stream is lost. What is to be left is still left.
func (j *joiner) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for key := range j.later {
		j.forgive(key)
	}
	for key, w := range j.wanted {
		if w.join {
			delete(j.wanted, key)
		}
	}
	j.queue = slices.DeleteFunc(j.queue, func(key string) bool {
		_, ok := j.wanted[key]
		return !ok
	})
	for _, w := range j.working {
		if w.join && w.cancel != nil {
			w.cancel()
		}
	}
}
