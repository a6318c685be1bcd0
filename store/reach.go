package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ensync/store/backend"
)

const (
	// openWait bounds what Open waits for a store that is remembered.
	openWait = 1500 * time.Millisecond
	// knownWait bounds what is waited for a store of which the last that was heard is that it is out of reach.
	knownWait = time.Second
)

// reach is what is known of whether the store answers, for those who can't wait until a backend gives up. An object may
// take as long as it takes, while anything moves: it is silence that is waited for.
type reach struct {
	b    backend.Backend
	wait time.Duration // 0: as long as the backend tries

	back chan struct{} // has a value after the store came back

	mu     sync.Mutex
	since  time.Time // when the store went out of reach; zero: it is in reach
	why    error
	asking *question // under way
}

func newReach(b backend.Backend) *reach { return &reach{b: b, back: make(chan struct{}, 1)} }

// question is one probe, for all who want to know.
type question struct {
	done chan struct{}
	err  error
}

// Offline tells since when the store is out of reach, as far as anybody noticed, and how that showed; zero: it is not.
func (s *Store) Offline() (since time.Time, why error) {
	s.reach.mu.Lock()
	defer s.reach.mu.Unlock()
	return s.reach.since, s.reach.why
}

// Back gets a value when the store is in reach again, whoever noticed.
func (s *Store) Back() <-chan struct{} { return s.reach.back }

// Reached notes how it went to ask the store for something.
func (s *Store) Reached(err error) { s.reach.note(err) }

// note takes nil, and every answer, as a sign of life. An end that the caller chose is none of either.
func (r *reach) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, backend.ErrUnavailable):
		if r.since.IsZero() {
			r.since, r.why = now(), err
		}
	case err == nil || errors.Is(err, backend.ErrNotExist) || errors.Is(err, backend.ErrDenied):
		if r.since.IsZero() {
			return
		}
		r.since, r.why = time.Time{}, nil
		select {
		case r.back <- struct{}{}:
		default:
		}
	}
}

// patience is how long silence is waited for.
func (r *reach) patience() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() {
		return min(r.wait, knownWait)
	}
	return r.wait
}

// within calls fn, and ends it when the store is silent. Half of the patience goes by before the store is asked whether
// it lives, and half is for the answer.
func within[T any](ctx context.Context, r *reach, fn func(context.Context) (T, error)) (T, error) {
	if r.wait <= 0 {
		return fn(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go r.watch(ctx, cancel)
	v, err := fn(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, backend.ErrUnavailable) {
		err = cause
	}
	r.note(err)
	return v, err
}

// watch ends with ctx, and by cancel when the store is silent.
func (r *reach) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		half := r.patience() / 2
		if !rest(ctx, half) {
			return
		}
		if err := r.ask(ctx, half); err != nil {
			cancel(err)
			return
		}
	}
}

// rest waits; false: ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// ask asks the store whether it lives. Whoever asks meanwhile shares the answer.
func (r *reach) ask(ctx context.Context, atMost time.Duration) error {
	r.mu.Lock()
	q := r.asking
	if q == nil {
		q = &question{done: make(chan struct{})}
		r.asking = q
		go func() { // ends soon after atMost
			defer close(q.done)
			q.err = r.probe(atMost)
			r.note(q.err)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.asking = nil
		}()
	}
	r.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return nil
	}
}

// probe returns nil if there is any answer, and an error that is backend.ErrUnavailable if there is none.
func (r *reach) probe(atMost time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	err := errors.ErrUnsupported
	if p, ok := r.b.(backend.Prober); ok {
		err = p.Probe(ctx)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		_, err = r.b.Get(ctx, formatObject, 0, 1)
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("%w: %s does not answer", backend.ErrUnavailable, r.b.Location())
	case errors.Is(err, backend.ErrUnavailable):
		return err
	}
	return nil
}

// longSilence is how long a sync that nobody waits for goes on without a sign of life: the line may come back, and a sync
// that is begun anew looks at everything again.
const longSilence = 2 * time.Minute

// Watch returns a context that ends, with a cause that is backend.ErrUnavailable, when the store has been silent for too
// long: for as long as who reads content would wait if hurry says that somebody waits. Without [Options.Wait] it never ends
// by itself. stop ends it.
func (s *Store) Watch(ctx context.Context, hurry func() bool) (watched context.Context, stop context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if s.reach.wait > 0 {
		go s.reach.watchLong(ctx, cancel, hurry)
	}
	return ctx, func() { cancel(nil) }
}

func (r *reach) watchLong(ctx context.Context, cancel context.CancelCauseFunc, hurry func() bool) {
	var silent time.Time // since when nobody answers; zero: somebody did
	half := r.wait / 2   // also if it is known to be out of reach: a sync is what finds out that it is back
	for {
		if !rest(ctx, half) {
			return
		}
		asked := now()
		err := r.ask(ctx, half)
		if err == nil {
			silent = time.Time{}
			continue
		}
		if silent.IsZero() {
			silent = asked.Add(-half)
		}
		if hurry() || now().Sub(silent) >= max(longSilence, r.wait) {
			cancel(err)
			return
		}
	}
}
