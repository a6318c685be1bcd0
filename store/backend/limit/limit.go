// Package limit wraps a backend in one that takes no more of a line than it is given.
//
// What is counted is the bytes of objects. An upload waits for its turn before it begins, a download for what it is
// about to fetch, or for what the ones before it fetched if that can't be known. An object goes over the line in one
// piece, at the speed that the line has, so it is the average that is kept.
package limit

import (
	"context"
	"errors"
	"sync"
	"time"

	"ensync/store/backend"
)

// Rates are bytes a second; 0 is no limit.
type Rates struct{ Up, Down int64 }

// Backend wraps another backend. All methods may be called concurrently.
type Backend struct {
	backend.Backend
	up, down bucket
}

// Wrap returns a backend around inner that keeps to the rates of each moment.
func Wrap(inner backend.Backend, rates func(time.Time) Rates) *Backend {
	return &Backend{Backend: inner,
		up:   bucket{rate: func(t time.Time) int64 { return rates(t).Up }},
		down: bucket{rate: func(t time.Time) int64 { return rates(t).Down }}}
}

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	ahead := max(length, 0)
	if ahead > believed {
		ahead = 0
	}
	if err := b.down.take(ctx, ahead); err != nil {
		return nil, err
	}
	data, err := b.Backend.Get(ctx, name, offset, length)
	b.down.charge(int64(len(data)) - ahead)
	return data, err
}

// Load implements backend.Backend.
func (b *Backend) Load(ctx context.Context, name string) ([]byte, backend.Version, error) {
	if err := b.down.take(ctx, 0); err != nil {
		return nil, "", err
	}
	data, version, err := b.Backend.Load(ctx, name)
	b.down.charge(int64(len(data)))
	return data, version, err
}

// Put implements backend.Backend.
func (b *Backend) Put(ctx context.Context, name string, data []byte) error {
	if err := b.up.take(ctx, int64(len(data))); err != nil {
		return err
	}
	return b.Backend.Put(ctx, name, data)
}

// Swap implements backend.Backend.
func (b *Backend) Swap(ctx context.Context, name string, old backend.Version, data []byte) (backend.Version, error) {
	if err := b.up.take(ctx, int64(len(data))); err != nil {
		return "", err
	}
	return b.Backend.Swap(ctx, name, old, data)
}

// Probe implements backend.Prober. It is not counted.
func (b *Backend) Probe(ctx context.Context) error {
	if p, ok := b.Backend.(backend.Prober); ok {
		return p.Probe(ctx)
	}
	return errors.ErrUnsupported
}

// Notify implements backend.Notifier. A notice costs nothing.
func (b *Backend) Notify(ctx context.Context, name string) (<-chan struct{}, error) {
	if n, ok := b.Backend.(backend.Notifier); ok {
		return n.Notify(ctx, name)
	}
	return nil, errors.ErrUnsupported
}

const (
	// believed is how many bytes an object may have that somebody asks for; for more, nobody waits ahead.
	believed = 64 << 20
	// saved is how much of the line that nobody used is kept for later: what goes out after a pause need not wait.
	saved = time.Second / 2
	// lookAgain is how long a wait goes on without a look whether the rate is another one.
	lookAgain = time.Second
)

// bucket gives out bytes in the order in which they were asked for.
type bucket struct {
	rate func(time.Time) int64

	mu    sync.Mutex
	asked float64   // bytes, by all
	given float64   // bytes; up to saved more than asked
	at    time.Time // when given was brought up to date
}

// charge counts bytes that were taken already, or, if n is negative, were taken and not used.
func (b *bucket) charge(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	if n < 0 { // those who wait behind have their turns
		b.given -= float64(n)
	} else {
		b.asked += float64(n)
	}
}

// take returns when n bytes may go, and all that were asked for before.
func (b *bucket) take(ctx context.Context, n int64) error {
	b.charge(n)
	b.mu.Lock()
	turn := b.asked
	b.mu.Unlock()
	for {
		wait := b.wait(turn)
		if wait <= 0 {
			return ctx.Err()
		}
		t := time.NewTimer(min(wait, lookAgain))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			b.charge(-n)
			return ctx.Err()
		}
	}
}

// wait returns how long it takes until all up to turn are given, at the rate of now.
func (b *bucket) wait(turn float64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	rate := b.fill()
	if rate <= 0 || b.given >= turn {
		return 0
	}
	return time.Duration((turn-b.given)/float64(rate)*float64(time.Second)) + time.Millisecond
}

// fill gives what the time since the last look allows, and returns the rate of now. b.mu is held.
func (b *bucket) fill() int64 {
	now := time.Now()
	rate := b.rate(now)
	if rate <= 0 {
		b.given = b.asked
	} else if passed := now.Sub(b.at); !b.at.IsZero() && passed > 0 {
		b.given += passed.Seconds() * float64(rate)
	}
	b.given = min(b.given, b.asked+saved.Seconds()*float64(rate))
	b.at = now
	return rate
}
