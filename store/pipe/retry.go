package pipe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"ensync/store/backend"
)

const (
	// maxLosses is how many connections a call may lose before it is given up; a stall counts twice, for it is long.
	maxLosses = 4
	// maxDials is how many attempts to connect a call waits for.
	maxDials = 5
	// maxBackoff bounds what connecting again waits. Whoever asks for a server that is back is not to wait for much longer.
	maxBackoff = 5 * time.Second
)

// do makes a call until the server has answered it. again tells fn that an attempt before it may have been done
// although no answer came.
func (c *Client) do(ctx context.Context, what, name string, fn func(ctx context.Context, k *conn, again bool) error) error {
	fail := func(err error) error { return fmt.Errorf("%s %s: %w", what, name, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	c.hasten()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	for losses, dials := 0, 0; ; {
		k, err := c.connection(ctx)
		switch {
		case ctx.Err() != nil:
			return fail(ctx.Err())
		case err != nil:
			if dials++; dials >= maxDials || !c.worthwhile(err) {
				c.giveUp()
				return fail(fmt.Errorf("%w: %w", backend.ErrUnavailable, err))
			}
			continue
		}
		err = fn(ctx, k, losses > 0)
		var told stopped
		var refused *refusal
		switch {
		case err == nil:
			return nil
		case errors.As(err, &told):
			return told.error // a listing's reader gets its own error back
		case errors.As(err, &refused) || errors.Is(err, errUnclear):
			return fail(err)
		case ctx.Err() != nil:
			return fail(ctx.Err())
		}
		err = k.why(err)
		if losses++; errors.Is(err, errStalled) {
			losses++
		}
		if losses >= maxLosses {
			// What net/http says is for people only: its io.ErrUnexpectedEOF says nothing of an object.
			return fail(fmt.Errorf("%w: no answer, but a lost connection, again and again: %v", backend.ErrUnavailable, err))
		}
		if c.lost(k); losses > 1 {
			pause(ctx, c.opt.Backoff<<losses)
		}
	}
}

// worthwhile reports whether connecting again makes sense. A server that never was there, or for which a call has waited
// in vain already, is not waited for.
func (c *Client) worthwhile(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.awaited && !errors.As(err, new(final)) && c.life.Err() == nil
}

// giveUp lets the calls that come next see for themselves, at once and by one attempt, whether the server is back. Whoever
// reads a mount, or unmounts it, does not wait for minutes again and again.
func (c *Client) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaited && c.current == nil {
		c.awaited, c.failures, c.resume = false, 0, time.Time{}
	}
}

// hasten lets a call that is new see soon whether the server is back, while those that wait already ask it ever more seldom.
func (c *Client) hasten() {
	c.mu.Lock()
	defer c.mu.Unlock()
	soon := c.failed.Add(c.opt.Backoff)
	if c.resume.Before(soon) {
		return
	}
	c.resume = soon
	select {
	case c.hurry <- struct{}{}:
	default:
	}
}

// part is a random part of d, so that those who failed together do not come again together.
func part(d time.Duration) time.Duration {
	var random [8]byte
	rand.Read(random[:])
	return time.Duration(binary.LittleEndian.Uint64(random[:]) % uint64(max(d, 1)))
}

// pause waits for a random part of d.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(part(d))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lost forgets a connection that does not work any more. One request may fail on a connection that works.
func (c *Client) lost(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == k && k.dead() {
		c.current = nil
		k.end(nil)
	}
}

// attempt is one attempt to connect, for all who wait for it.
type attempt struct {
	done chan struct{}
	conn *conn
	err  error
}

// connection returns the connection, or waits for one attempt to make one.
func (c *Client) connection(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	if c.life.Err() != nil {
		c.mu.Unlock()
		return nil, errClosed
	}
	if c.current != nil && !c.current.dead() {
		defer c.mu.Unlock()
		return c.current, nil
	}
	if c.current != nil {
		c.current.end(nil)
		c.current = nil
	}
	a := c.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		c.attempt = a
		c.tasks.Go(func() { c.try(a) })
	}
	c.mu.Unlock()
	select {
	case <-a.done:
		return a.conn, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// try makes one attempt to connect, not before the time for it has come.
func (c *Client) try(a *attempt) {
	if c.awaitTurn() {
		a.conn, a.err = connect(c.life, c.followed, c.opt)
	} else {
		a.err = errClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(a.done)
	c.attempt = nil
	switch {
	case a.err != nil:
		longest := min(c.opt.Backoff<<min(c.failures, 10), maxBackoff)
		c.failed = time.Now()
		c.resume = c.failed.Add(part(longest))
		c.failures++
	case c.life.Err() != nil:
		a.conn.end(errClosed)
		a.err = errClosed
	default:
		c.current, c.awaited, c.failures, c.resume = a.conn, true, 0, time.Time{}
	}
}

// awaitTurn waits until an attempt may be made; false: there will be none any more.
func (c *Client) awaitTurn() bool {
	for {
		c.mu.Lock()
		wait := time.Until(c.resume)
		c.mu.Unlock()
		if wait <= 0 {
			return c.life.Err() == nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.hurry:
		case <-c.life.Done():
		}
		timer.Stop()
		if c.life.Err() != nil {
			return false
		}
	}
}

// followed dials. Close waits for the end of what was dialled.
func (c *Client) followed(ctx context.Context) (io.ReadWriteCloser, error) {
	raw, err := c.dial(ctx)
	if w, ok := raw.(interface{ Wait() }); ok && err == nil {
		c.tasks.Go(w.Wait)
	}
	return raw, err
}
