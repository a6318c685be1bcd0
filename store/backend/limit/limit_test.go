package limit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ensync/store/backend"
	"ensync/store/backend/backendtest"
	"ensync/store/backend/memory"
)

func TestConformance(t *testing.T) {
	wrap := func(b backend.Backend) backend.Backend {
		return Wrap(b, func(time.Time) Rates { return Rates{Up: 1 << 30, Down: 1 << 30} })
	}
	backendtest.Run(t, func(*testing.T) backend.Backend { return wrap(memory.New()) }, backendtest.Options{
		Again: func(_ *testing.T, b backend.Backend) backend.Backend {
			return wrap(b.(*Backend).Backend.(*memory.Backend).Again())
		}})
}

// TestRate: what goes through takes the time that its bytes take, however many send at once; a pause saves little up;
// and the rate of each moment holds.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rate atomic.Int64
		rate.Store(1000)
		b := Wrap(memory.New(), func(time.Time) Rates { return Rates{Up: rate.Load(), Down: 500} })
		took := func(what string, want time.Duration, do func()) {
			t.Helper()
			start := time.Now()
			do()
			if d := time.Since(start); d < want-600*time.Millisecond || d > want+100*time.Millisecond {
				t.Errorf("%s took %v, not about %v", what, d, want)
			}
		}
		put := func(name string, n int) {
			if err := b.Put(t.Context(), name, make([]byte, n)); err != nil {
				t.Error(err)
			}
		}
		took("10 times 1000 bytes at once", 10*time.Second, func() {
			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() { put(string(rune('a'+i)), 1000) })
			}
			all.Wait()
		})
		time.Sleep(time.Hour)
		took("5000 bytes after a pause", 5*time.Second, func() { put("p", 5000) })
		took("10000 bytes of which half go faster", 7500*time.Millisecond, func() {
			time.AfterFunc(5*time.Second, func() { rate.Store(2000) })
			put("q", 10_000)
		})
		took("5000 bytes without a limit from now on", time.Second, func() {
			rate.Store(1000)
			time.AfterFunc(time.Second/2, func() { rate.Store(0) })
			put("r", 5000)
		})
		took("1000 bytes back", 2*time.Second, func() { b.Get(t.Context(), "a", 0, 1000) })
		took("1000 bytes back, of unknown length, and the next after them", 2*time.Second, func() {
			b.Get(t.Context(), "a", 0, -1)
			b.Get(t.Context(), "a", 0, 1)
		})
		rate.Store(1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		took("100000 bytes that nobody waits for", time.Second, func() {
			if err := b.Put(ctx, "x", make([]byte, 100_000)); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		took("the next", 2*time.Second, func() { put("y", 2000) })
	})
}
