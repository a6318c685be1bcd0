// Package link wraps a backend in one that lies behind a long line, and counts what goes over it.
//
// It answers the three questions that decide how fast a store is from afar: how many requests, how many bytes, and how
// many of the requests had to wait for the answer of another one.
package link

import (
	"context"
	"sync"
	"time"

	"ensync/store/backend"
)

// Line says how the line is. The zero Line costs nothing.
type Line struct {
	RoundTrip time.Duration // of each call; several may be under way at once
	Up, Down  int64         // bytes a second that all calls share; 0: no bound
}

// Traffic is what went over the line.
type Traffic struct {
	Gets, Puts, Loads, Swaps, Lists, Deletes int
	Up, Down                                 int64 // bytes of objects
	// Depth is the length of the longest chain of calls of which each began after the one before had ended: what
	// the line's round trip is to be multiplied with. Calls that could go out together must overlap for that, so the
	// line needs a round trip that is longer than what the computer takes to send them.
	Depth int
}

// Reads and Writes are the calls that a store behind HTTP serves by GET and PUT.
func (t Traffic) Reads() int { return t.Gets + t.Loads }

// Writes is the counterpart of Reads.
func (t Traffic) Writes() int { return t.Puts + t.Swaps }

// Backend wraps another backend. All methods may be called concurrently.
type Backend struct {
	inner backend.Backend
	line  Line

	mu       sync.Mutex
	traffic  Traffic
	answered int // the greatest depth of a call that ended
	up, down time.Time
	held     int           // calls that are still to come before those that wait go on
	release  chan struct{} // closed when they do
}

// Wrap returns a backend that reaches inner over a line.
func Wrap(inner backend.Backend, line Line) *Backend { return &Backend{inner: inner, line: line} }

// Traffic returns what went over the line since the last Reset.
func (b *Backend) Traffic() Traffic {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.traffic
}

// Reset begins to count anew. No call should be under way.
func (b *Backend) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.traffic, b.answered = Traffic{}, 0
}

// Hold lets the next calls wait until there are n of them: it proves that they need not wait for each other, however
// slow the computer is.
func (b *Backend) Hold(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held, b.release = n, make(chan struct{})
}

// begin notes a call and returns its depth, and what it is to wait for.
func (b *Backend) begin(count *int, sent int) (depth int, wait time.Duration, hold <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*count++
	depth = b.answered + 1
	b.traffic.Depth = max(b.traffic.Depth, depth)
	b.traffic.Up += int64(sent)
	wait = b.line.RoundTrip + transmit(&b.up, b.line.Up, sent)
	if b.held > 0 {
		hold = b.release
		if b.held--; b.held == 0 {
			close(b.release)
		}
	}
	return depth, wait, hold
}

// transmit puts bytes into the queue of one direction and returns how long it takes until they are through.
func transmit(free *time.Time, rate int64, bytes int) time.Duration {
	if rate <= 0 || bytes == 0 {
		return 0
	}
	now := time.Now()
	if free.Before(now) {
		*free = now
	}
	*free = free.Add(time.Duration(float64(bytes) / float64(rate) * float64(time.Second)))
	return free.Sub(now)
}

// call makes one call over the line. do returns how many bytes of objects came back.
func (b *Backend) call(ctx context.Context, count *int, sent int, do func() (int, error)) error {
	depth, wait, hold := b.begin(count, sent)
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.answered = max(b.answered, depth)
	}()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := sleep(ctx, wait); err != nil {
		return err
	}
	got, err := do()
	b.mu.Lock()
	b.traffic.Down += int64(got)
	wait = transmit(&b.down, b.line.Down, got)
	b.mu.Unlock()
	if serr := sleep(ctx, wait); serr != nil {
		return serr
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	err = b.call(ctx, &b.traffic.Gets, 0, func() (int, error) {
		data, err = b.inner.Get(ctx, name, offset, length)
		return len(data), err
	})
	return data, err
}

// Put implements backend.Backend.
func (b *Backend) Put(ctx context.Context, name string, data []byte) error {
	return b.call(ctx, &b.traffic.Puts, len(data), func() (int, error) { return 0, b.inner.Put(ctx, name, data) })
}

// Load implements backend.Backend.
func (b *Backend) Load(ctx context.Context, name string) (data []byte, version backend.Version, err error) {
	err = b.call(ctx, &b.traffic.Loads, 0, func() (int, error) {
		data, version, err = b.inner.Load(ctx, name)
		return len(data), err
	})
	return data, version, err
}

// Swap implements backend.Backend.
func (b *Backend) Swap(ctx context.Context, name string, old backend.Version, data []byte) (version backend.Version, err error) {
	err = b.call(ctx, &b.traffic.Swaps, len(data), func() (int, error) {
		version, err = b.inner.Swap(ctx, name, old, data)
		return 0, err
	})
	return version, err
}

// List implements backend.Backend. It counts as one call, however long it is.
func (b *Backend) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	return b.call(ctx, &b.traffic.Lists, 0, func() (int, error) { return 0, b.inner.List(ctx, prefix, fn) })
}

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, name string) error {
	return b.call(ctx, &b.traffic.Deletes, 0, func() (int, error) { return 0, b.inner.Delete(ctx, name) })
}

// Location implements backend.Backend.
func (b *Backend) Location() string { return b.inner.Location() }

// Close implements backend.Backend: it closes the backend behind.
func (b *Backend) Close() error { return b.inner.Close() }
