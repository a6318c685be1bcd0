package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ensync/store/backend"
)

const (
	maxAttempts   = 10
	firstAttempts = 4 // as long as the server has not answered, ever or since a call has given up: it may be the wrong address
	maxBackoff    = 20 * time.Second
	budget        = 10 * time.Minute // of one call

	mostAtOnce  = 64 // requests
	startAtOnce = 16
)

// do makes a request until it has a clear answer. again tells check that an attempt before it may have been done; what
// check returns is the result, unless it wraps errAgain.
func (c *Client) do(ctx context.Context, what, name string, r request, check func(a answer, err error, again bool) error) error {
	fail := func(err error) error { return fmt.Errorf("%s %s: %w", what, name, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	started, again, renewed := time.Now(), false, false
	for n := 1; ; n++ {
		a, err := c.pass(ctx, r)
		open := errors.Is(err, errAgain)
		if err = check(a, err, again); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fail(ctx.Err())
		}
		if errors.Is(err, errExpired) && !renewed {
			renewed = true
			c.source.forget()
			continue
		}
		if !errors.Is(err, errAgain) {
			return fail(err)
		}
		again = again || open && !undone(err)
		wait := c.wait(n, a.header)
		if n >= maxAttempts || n >= firstAttempts && !c.gate.answered.Load() || time.Since(started)+wait > budget {
			c.gate.answered.Store(false)
			return fail(unreachable(err))
		}
		if err := pause(ctx, wait); err != nil {
			return fail(err)
		}
	}
}

// undone reports whether the server certainly did nothing: it was not reached, or it said so.
func undone(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, errConflict)
}

// pass makes one attempt when the gate lets it.
func (c *Client) pass(ctx context.Context, r request) (answer, error) {
	if err := c.gate.enter(ctx); err != nil {
		return answer{}, err
	}
	a, err := c.attempt(ctx, r)
	c.gate.leave(err)
	if a.status != 0 {
		c.gate.answered.Store(true)
	}
	return a, err
}

// wait is how long the attempt after the nth is put off: a random part of a time that doubles, so that those who failed
// together do not come again together; and at least as long as the server asks for.
func (c *Client) wait(n int, header http.Header) time.Duration {
	longest := min(c.opt.Backoff<<(n-1), maxBackoff)
	random, _ := rand.Int(rand.Reader, big.NewInt(int64(longest))) // the reader never fails
	wait := time.Duration(random.Int64()) + 1
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil && seconds > 0 {
		wait += min(time.Duration(seconds)*time.Second, time.Minute)
	} else if at, err := http.ParseTime(header.Get("Retry-After")); err == nil {
		wait += min(max(time.Until(at), 0), time.Minute)
	}
	return wait
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gate bounds the requests at a time: one more with each full round of answers, half of them when the server asks for
// fewer (additive increase, multiplicative decrease).
type gate struct {
	answered atomic.Bool // the server has answered, and no call has given it up since

	mu      sync.Mutex
	limit   float64
	active  int
	halved  time.Time
	waiting []chan struct{}
}

func newGate() *gate { return &gate{limit: startAtOnce} }

func (g *gate) enter(ctx context.Context) error {
	g.mu.Lock()
	if len(g.waiting) == 0 && float64(g.active) < g.limit {
		g.active++
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	g.waiting = append(g.waiting, turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == turn {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return ctx.Err()
		}
	}
	g.active-- // its turn came at the same moment
	g.next()
	return ctx.Err()
}

// leave notes how an attempt went. What failed because of one burst halves once.
func (g *gate) leave(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
	switch {
	case errors.Is(err, errSlow):
		if time.Since(g.halved) > 100*time.Millisecond {
			g.limit, g.halved = max(1, g.limit/2), time.Now()
		}
	case err == nil:
		g.limit = min(mostAtOnce, g.limit+1/g.limit)
	}
	g.next()
}

// next lets in who waits. The lock is held.
func (g *gate) next() {
	for len(g.waiting) > 0 && float64(g.active) < g.limit {
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
		g.active++
	}
}

// errUnclear says that a Swap may have been done and overtaken, or not be done at all.
var errUnclear = fmt.Errorf("%w: an answer was lost, and someone else changed it meanwhile: nobody can tell whether this change was made",
	backend.ErrUnavailable)
