package cache

import (
	"bytes"
	"context"
	"sync"
)

// group lets callers who want the same piece at the same time share one flight. A flight outlives the caller who
// started it, and ends when nobody waits for it any more.
type group struct {
	mu      sync.Mutex
	flights map[key]*flight
	running sync.WaitGroup
}

type flight struct {
	done    chan struct{} // closed when data and err are set
	cancel  context.CancelFunc
	waiting int
	shared  bool // more than one caller gets data
	data    []byte
	err     error
}

// do returns what fn returns, run by this or by an earlier caller, or ctx's error when ctx ends first.
func (g *group) do(ctx context.Context, k key, fn func(context.Context) ([]byte, error)) ([]byte, error) {
	g.mu.Lock()
	f := g.flights[k]
	if f == nil {
		f = g.start(ctx, k, fn)
	} else {
		f.shared = true
	}
	f.waiting++
	g.mu.Unlock()

	select {
	case <-f.done:
		g.mu.Lock()
		shared := f.shared
		g.mu.Unlock()
		if shared {
			return bytes.Clone(f.data), f.err
		}
		return f.data, f.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		// Who comes now must not join a flight that has been called off.
		if g.flights[k] == f {
			delete(g.flights, k)
		}
	}
	return nil, ctx.Err()
}

// start starts a flight with the values of ctx, but not its end. g.mu is held.
func (g *group) start(ctx context.Context, k key, fn func(context.Context) ([]byte, error)) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{done: make(chan struct{}), cancel: cancel}
	if g.flights == nil {
		g.flights = map[key]*flight{}
	}
	g.flights[k] = f
	g.running.Go(func() {
		defer cancel()
		data, err := fn(ctx)
		g.mu.Lock()
		f.data, f.err = data, err
		if g.flights[k] == f {
			delete(g.flights, k)
		}
		g.mu.Unlock()
		close(f.done)
	})
	return f
}

// wait calls off all flights and waits for their ends.
func (g *group) wait() {
	g.mu.Lock()
	for _, f := range g.flights {
		f.cancel()
	}
	g.mu.Unlock()
	g.running.Wait()
}
