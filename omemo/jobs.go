package omemo

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/confab-im/confab"
)

// What is done in the background, each thing once however often it is wanted: keys
// are published, lists fetched, empty messages sent.

const (
	maxJobs    = 1000
	maxForeign = 900 // of those that others can cause
	jobTimeout = 2 * time.Minute
	jobsAtOnce = 8
)

// later does f after a while, unless a job of this name waits already.
func (m *Manager) later(name string, wait time.Duration, f func(context.Context) error) {
	m.jobMu.Lock()
	defer m.jobMu.Unlock()
	most := maxForeign
	if name == "republish" || name == "return" || name == "catch-up" || name == "prekeys" || strings.HasPrefix(name, "trust ") {
		most = maxJobs
	}
	if m.jobs[name] || len(m.jobs) >= most {
		return
	}
	m.jobs[name] = true
	m.s.Go(func(ctx context.Context) {
		if wait > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
		select {
		case m.slots <- struct{}{}:
			defer func() { <-m.slots }()
		case <-ctx.Done():
			return
		}
		m.jobMu.Lock()
		delete(m.jobs, name) // what is wanted from now on is another job
		m.jobMu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, jobTimeout)
		defer cancel()
		if err := f(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, confab.ErrLost) && !errors.Is(err, confab.ErrClosed) {
			m.s.Emit(Failed{err})
		}
	})
}
